"""Refusals: what went wrong, where, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from feishu_trio.api.refusals import Refusals, is_token_refused
from feishu_trio.errors import ApiError, PermissionMissing, QuotaExceeded, RateLimited

SECRET = "S3cr3t"


def refused(
    body: Any,
    headers: Mapping[str, str] | None = None,
    *,
    status: int = 400,
    domain: str = "https://open.feishu.cn",
) -> ApiError:
    refusals = Refusals(domain, "cli_a", lambda text: str(text).replace(SECRET, "***"))
    return refusals.error("GET /a", status, headers or {}, body)


PAGE = "https://open.feishu.cn/app/cli_a/auth?q=im:message,im:message:send_as_bot&op_from=openapi"
MSG = (
    "Access denied. One of the following scopes is required: [im:message, im:message:send_as_bot]."
    f"应用尚未开通所需的应用身份权限：[im:message, im:message:send_as_bot]，点击链接申请并开通任一权限即可：{PAGE}"
)
VIOLATIONS = [
    {"type": "action_privilege_required", "subject": scope} for scope in ("im:message", "im:resource")
]


@pytest.mark.parametrize(
    ("body", "scopes", "link"),
    [
        ({"msg": MSG}, ("im:message", "im:message:send_as_bot"), PAGE),
        (
            {"error": {"permission_violations": VIOLATIONS}},
            ("im:message", "im:resource"),
            "https://open.feishu.cn/app/cli_a/auth?q=im:message,im:resource",
        ),
        (
            {
                "error": {
                    "permission_violations": VIOLATIONS[:1],
                    "helps": [{"url": PAGE, "description": "x"}],
                }
            },
            ("im:message",),
            PAGE,
        ),
        (
            {"msg": "the scope is required: [im:chat]"},
            ("im:chat",),
            "https://open.feishu.cn/app/cli_a/auth?q=im:chat",
        ),
        ({"msg": "no"}, (), "https://open.feishu.cn/app/cli_a/auth?q="),
        ({}, (), "https://open.feishu.cn/app/cli_a/auth?q="),
        ({"error": [1]}, (), "https://open.feishu.cn/app/cli_a/auth?q="),
        (
            {"error": {"permission_violations": [1, {"subject": 2}, {"subject": "<b>"}], "helps": "x"}},
            (),
            "https://open.feishu.cn/app/cli_a/auth?q=",
        ),
        (
            {
                "error": {"helps": [{"url": "https://evil.test/app/cli_a/auth"}]},
                "msg": "see https://evil.test/",
            },
            (),
            "https://open.feishu.cn/app/cli_a/auth?q=",
        ),
    ],
)
def test_a_missing_permission_is_named_with_where_to_add_it(
    body: dict[str, Any], scopes: tuple[str, ...], link: str
) -> None:
    error = refused({"code": 99991672} | body)
    assert isinstance(error, PermissionMissing)
    assert (error.scopes, error.link) == (scopes, link)
    assert f"add it, and publish a version of the app, at {link}" in str(error)
    assert all(scope in str(error) for scope in scopes)


@pytest.mark.parametrize(
    ("domain", "console"),
    [
        ("https://open.larksuite.com", "https://open.larksuite.com"),
        ("http://127.0.0.1:8080", "https://open.feishu.cn"),
    ],
)
def test_permissions_are_added_on_the_console_of_the_domain(domain: str, console: str) -> None:
    error = refused({"code": 99991672, "msg": "scopes is required: [im:chat]"}, domain=domain)
    assert isinstance(error, PermissionMissing)
    assert error.link == f"{console}/app/cli_a/auth?q=im:chat"


@pytest.mark.parametrize("place", ["msg", "helps"])
def test_secrets_are_in_none_of_it(place: str) -> None:
    link = f"https://open.feishu.cn/app/cli_a/auth?q={SECRET}"
    body: dict[str, Any] = {"code": 99991672, "msg": f"{SECRET} scopes is required: [im:chat]"}
    body |= {"error": {"helps": [{"url": link}]}} if place == "helps" else {"msg": f"{body['msg']} {link}"}
    error = refused(body, {"X-Tt-Logid": SECRET})
    assert isinstance(error, PermissionMissing)
    assert error.link == "https://open.feishu.cn/app/cli_a/auth?q=***"
    assert SECRET not in f"{error} {error.msg} {error.log_id} {error.scopes}"


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        (99991400, 429, RateLimited),
        (99991400, 400, RateLimited),
        (0, 429, RateLimited),
        (99991403, 429, QuotaExceeded),
        (230020, 400, RateLimited),
        (230001, 400, ApiError),
    ],
)
def test_a_code_says_more_than_a_status(code: int, status: int, kind: type[ApiError]) -> None:
    assert type(refused({"code": code}, status=status)) is kind


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        ("5", 5.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("-1", None),
        ("", None),
        ("inf", None),
        ("nan", None),
        ("x", None),
    ],
)
def test_a_reset_is_seconds_or_nothing(reset: str, seconds: float | None) -> None:
    error = refused({"code": 99991400}, {"x-ogw-ratelimit-reset": reset})
    assert isinstance(error, RateLimited)
    assert error.retry_after == seconds


def test_a_token_is_refused_by_a_code_or_a_status() -> None:
    assert is_token_refused(refused({"code": 99991663}))
    assert is_token_refused(refused(None, status=401))
    assert not is_token_refused(refused({"code": 99991672}))


def test_errors_can_be_made_by_hand() -> None:
    assert RateLimited("x", retry_after=5, code=7).retry_after == 5
    assert RateLimited("x").retry_after is None
    assert PermissionMissing("x", scopes=("a",), link="b", msg="c").msg == "c"
    assert PermissionMissing("x").scopes == ()


def test_of_an_id_that_is_no_messages_it_says_where_one_is() -> None:
    assert "a chat message's id is event.about" in str(refused({"code": 99992354, "msg": "no valid id"}))
