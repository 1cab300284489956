from __future__ import annotations

import email
import itertools
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from trio.testing import MockClock

from feishu_trio import open_feishu_session
from feishu_trio.api import Api
from feishu_trio.errors import (
    ApiError,
    MessageGone,
    PermissionMissing,
    QuotaExceeded,
    RateLimited,
)
from feishu_trio.events.port import Form
from feishu_trio.testing import open_gateway
from feishu_trio.testing._http import Request

from .server import (
    CUT,
    HANG,
    SECRET,
    TOKEN,
    Reply,
    asked,
    limited,
    odd_api,
    open_api,
    open_gateway_api,
    open_real_api,
)

TOKEN_PATH = "/open-apis/auth/v3/tenant_access_token/internal"
SEND_PATH = "/open-apis/im/v1/messages"

# --- over a real socket -------------------------------------------------------------------------------------


async def test_calls_over_a_socket_share_one_token() -> None:
    with trio.fail_after(20):
        async with open_gateway() as gateway, httpx.AsyncClient(trust_env=False) as http:
            api = Api(http, gateway.domain + "/", gateway.app_id, gateway.app_secret)
            async with trio.open_nursery() as nursery:
                for n in range(30):
                    nursery.start_soon(api.send, f"oc_{n}", "hello 你好")
            assert {message.to for message in gateway.messages} == {f"oc_{n}" for n in range(30)}
            assert {json.dumps(message.content, ensure_ascii=False) for message in gateway.messages} == {
                '{"text": "hello 你好"}'
            }
            assert asked(gateway, TOKEN_PATH) == 1


async def test_an_unreachable_server_is_an_api_error() -> None:
    with trio.fail_after(20):
        async with open_gateway() as gateway, httpx.AsyncClient(trust_env=False) as http:
            await gateway.stop_listening()
            api = Api(http, gateway.domain, gateway.app_id, gateway.app_secret)
            with pytest.raises(ApiError, match="ConnectError") as caught:
                await api.send("oc_a", "hello")
            assert caught.value.code is None
            assert isinstance(caught.value.__cause__, httpx.ConnectError)
            await gateway.start_listening()
            await api.send("oc_a", "hello")  # and it recovers
            assert len(gateway.messages) == 1


# --- calls -------------------------------------------------------------------------------------------------


async def test_a_call_on_a_closed_session_is_an_api_error() -> None:
    with trio.fail_after(20):
        async with open_gateway() as gateway:
            async with open_feishu_session(
                gateway.app_id, gateway.app_secret, domain=gateway.domain
            ) as session:
                await session.api.send("oc_a", "hello")
            with pytest.raises(
                ApiError, match=r"POST /open-apis/im/v1/messages: the session is closed"
            ) as caught:
                await session.api.send("oc_a", "hello")
            assert caught.value.code is None


async def test_params_that_are_none_are_left_out() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["Authorization"] == f"Bearer t-{SECRET}"
        return httpx.Response(200, json={"code": 0, "query": str(request.url.query, "ascii")})

    api = odd_api(answer)
    assert (await api.request("GET", "/a", params={"page_size": 5, "page_token": None}))[
        "query"
    ] == "page_size=5"
    assert (await api.request("GET", "/a?b=1"))["query"] == "b=1"
    assert (await api.request("GET", "/a?b=1", params={}))["query"] == "b=1"


# --- the token ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lifetime", "margin"), [(7200, 300), (3000, 300), (1000, 100), (60, 6)])
async def test_the_token_is_renewed_before_it_ends(
    autojump_clock: MockClock, lifetime: float, margin: float
) -> None:
    async with open_gateway_api(token_lifetime=lifetime) as (gateway, api):
        await api.send("oc_a", "first")
        await trio.sleep(lifetime - margin - 1)
        await api.send("oc_a", "still the first token")
        assert asked(gateway, TOKEN_PATH) == 1
        await trio.sleep(2)
        await api.send("oc_a", "the second")
        assert asked(gateway, TOKEN_PATH) == 2
        assert asked(gateway, SEND_PATH) == 3  # none was refused: it was renewed in time


async def test_concurrent_callers_renew_once(autojump_clock: MockClock) -> None:
    async with open_gateway_api() as (gateway, api):
        for expected in (1, 2, 3):
            async with trio.open_nursery() as nursery:
                for n in range(30):
                    nursery.start_soon(api.send, f"oc_{n}", "hello")
            assert asked(gateway, TOKEN_PATH) == expected
            assert len(gateway.messages) == 30 * expected
            if expected == 1:
                gateway.expire_tokens()  # all thirty are refused, one renews
            else:
                await trio.sleep(7000)


async def test_a_refused_token_is_renewed_and_the_call_made_again() -> None:
    async with open_gateway_api() as (gateway, api):
        await api.send("oc_a", "one")
        gateway.expire_tokens()
        await api.send("oc_a", "two")
        assert [m.content for m in gateway.messages] == [{"text": "one"}, {"text": "two"}]
        assert asked(gateway, TOKEN_PATH) == 2
        assert asked(gateway, SEND_PATH) == 3


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (400, {"code": 99991663, "msg": "Invalid access token"}, 99991663),
        (200, {"code": 99991664}, 99991664),
        (200, {"code": 99991661}, 99991661),
        (200, {"code": 99991665}, 99991665),
        (200, {"code": 99991666}, 99991666),
        (200, {"code": 99991668}, 99991668),
        (401, "<html>", 401),
        (401, {"code": 5, "msg": "no"}, 5),
    ],
)
async def test_a_call_is_made_twice_at_most(status: int, body: Any, code: int) -> None:
    async with open_gateway_api() as (gateway, api):
        gateway.respond(SEND_PATH, body, status=status)
        with pytest.raises(ApiError) as caught:
            await api.send("oc_a", "hello")
        assert caught.value.code == code
        assert asked(gateway, SEND_PATH) == 2
        assert asked(gateway, TOKEN_PATH) == 2


async def test_other_refusals_are_not_tried_again() -> None:
    async with open_gateway_api() as (gateway, api):
        gateway.respond(SEND_PATH, {"code": 230002, "msg": "Bot/User can NOT be in the chat"}, status=400)
        with pytest.raises(ApiError, match="Bot/User can NOT be in the chat") as caught:
            await api.send("oc_a", "hello")
        error = caught.value
        assert (error.code, error.msg) == (230002, "Bot/User can NOT be in the chat")
        assert error.log_id
        assert error.log_id in str(error)
        assert f"POST {SEND_PATH}" in str(error)
        assert asked(gateway, SEND_PATH) == 1


async def test_wrong_credentials() -> None:
    async with open_gateway() as gateway, httpx.AsyncClient(transport=gateway.transport) as http:
        api = Api(http, gateway.domain, gateway.app_id, SECRET)
        with pytest.raises(ApiError, match="app secret invalid") as caught:
            await api.send("oc_a", "hello")
        assert caught.value.code == 10014
        assert SECRET not in str(caught.value)
        assert asked(gateway, TOKEN_PATH) == 1
        assert asked(gateway, SEND_PATH) == 0


async def test_a_cancelled_renewal_leaves_the_others_whole(autojump_clock: MockClock) -> None:
    async with open_gateway_api() as (gateway, api):
        gateway.delay(4)
        done = []

        async def impatient() -> None:
            with trio.move_on_after(1) as scope:
                await api.send("oc_impatient", "hello")
            assert scope.cancelled_caught

        async def patient() -> None:
            await trio.sleep(0.5)  # behind the impatient one, which is fetching the token by now
            await api.send("oc_patient", "hello")
            done.append(trio.current_time())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(impatient)
            nursery.start_soon(patient)
            nursery.start_soon(patient)
        assert [m.to for m in gateway.messages] == ["oc_patient"] * 2
        assert asked(gateway, TOKEN_PATH) == 2


async def test_a_failed_renewal_leaves_the_others_whole() -> None:
    async with open_gateway_api() as (gateway, api):
        gateway.respond(TOKEN_PATH, {"code": 1, "msg": "busy"}, times=1)
        outcomes = []

        async def call() -> None:
            try:
                await api.send("oc_a", "hello")
                outcomes.append("sent")
            except ApiError as error:
                outcomes.append(error.msg)

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(call)
        assert sorted(outcomes) == ["busy", "sent", "sent"]


@pytest.mark.parametrize("token", [None, "", " ", 5, f"{SECRET}\r\nX-Evil: 1", f"{SECRET}é", [SECRET]])
async def test_note_14_an_unusable_token_is_not_shown(token: Any) -> None:
    async with open_gateway_api() as (gateway, api):
        gateway.respond(TOKEN_PATH, {"code": 0, "tenant_access_token": token, "expire": 7200})
        with pytest.raises(ApiError, match="without a usable token") as caught:
            await api.send("oc_a", "hello")
        assert SECRET not in str(caught.value)
        assert asked(gateway, SEND_PATH) == 0


@pytest.mark.parametrize("expire", [None, 0, -5, "7200", "x", float("nan"), []])
async def test_a_token_of_unknown_life_is_used_once(expire: object) -> None:
    fetched = 0

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal fetched
        fetched += request.url.path == TOKEN_PATH
        body = {"code": 0, "tenant_access_token": "t-a", "expire": expire}
        return httpx.Response(200, content=json.dumps(body))

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        api = Api(http, "https://x.test", "cli_a", SECRET)
        await api.request("GET", "/a")
        await api.request("GET", "/a")
    assert fetched == 2


async def test_a_tokens_life_counts_from_when_it_was_asked_for(autojump_clock: MockClock) -> None:
    async with (
        open_gateway(token_lifetime=1000) as gateway,
        httpx.AsyncClient(transport=gateway.transport) as http,
    ):
        api = Api(http, gateway.domain, gateway.app_id, gateway.app_secret, timeout=900)
        gateway.delay(200)  # the token is 200 s old when it arrives, and to be renewed at 900
        await api.send("oc_a", "hello")
        gateway.delay(0)
        await trio.sleep(550)
        assert 900 < trio.current_time() < 1000 + 200 - 100
        await api.send("oc_a", "hello")
        assert asked(gateway, TOKEN_PATH) == 2


async def test_a_late_refusal_of_an_old_token_spares_the_fresh_one(autojump_clock: MockClock) -> None:
    tokens: list[str] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == TOKEN_PATH:
            tokens.append(f"t-{len(tokens)}")
            return httpx.Response(200, json={"code": 0, "tenant_access_token": tokens[-1], "expire": 7200})
        if request.headers["Authorization"] == "Bearer t-0":
            await trio.sleep(5 if request.url.path == "/slow" else 1)
            return httpx.Response(400, json={"code": 99991663})
        return httpx.Response(200, json={"code": 0})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        api = Api(http, "https://x.test", "cli_a", SECRET)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(api.request, "GET", "/slow")
            nursery.start_soon(api.request, "GET", "/quick")
    assert tokens == ["t-0", "t-1"]


async def test_a_token_said_to_live_for_ever_is_not_believed(autojump_clock: MockClock) -> None:
    async with open_gateway_api(token_lifetime=1e9) as (gateway, api):
        await api.send("oc_a", "hello")
        await trio.sleep(7200)
        await api.send("oc_a", "hello")
        assert asked(gateway, TOKEN_PATH) == 2


# --- time ---------------------------------------------------------------------------------------------------


async def test_note_01_a_call_ends_at_its_deadline(autojump_clock: MockClock) -> None:
    async with open_gateway_api() as (gateway, api):
        gateway.delay(6)  # the token comes in time, the answer to the call does not
        start = trio.current_time()
        with pytest.raises(ApiError, match="no answer within 10 s") as caught:
            await api.send("oc_a", "hello")
        assert trio.current_time() - start == pytest.approx(10)
        assert caught.value.code is None
        assert asked(gateway, SEND_PATH) == 1
        await api.send("oc_a", "hello")  # with the token that did come
        assert asked(gateway, TOKEN_PATH) == 1


async def test_note_01_waiting_for_anothers_token_is_part_of_the_deadline(autojump_clock: MockClock) -> None:
    async with open_gateway_api() as (gateway, api):
        gateway.delay(1e6)

        async def call(after: float) -> None:
            await trio.sleep(after)
            start = trio.current_time()
            with pytest.raises(ApiError, match="no answer within 10 s"):
                await api.send("oc_a", "hello")
            assert trio.current_time() - start == pytest.approx(10)

        async with trio.open_nursery() as nursery:
            for after in (0, 1, 5):
                nursery.start_soon(call, after)


async def test_a_callers_own_deadline_is_left_to_the_caller(autojump_clock: MockClock) -> None:
    async with open_gateway_api() as (gateway, api):
        gateway.delay(6)
        with pytest.raises(trio.TooSlowError), trio.fail_after(3):
            await api.send("oc_a", "hello")


# --- odd answers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "content", "code", "msg"),
    [
        (502, b"<html>Bad Gateway</html>", 502, ""),
        (200, b"<html>", 200, ""),
        (200, b"", 200, ""),
        (204, b"", 204, ""),
        (200, b"[1]", 200, ""),
        (200, b"\xff\xfe", 200, ""),
        (200, b"[" * 100_000, 200, ""),
        (500, b'{"code": 0}', 500, ""),
        (404, b"{}", 404, ""),
        (302, b'{"code": 0}', 302, ""),
        (200, b'{"code": 5, "msg": "no"}', 5, "no"),
        (200, b'{"code": 5, "msg": null}', 5, ""),
        (200, b'{"code": "5", "msg": ["no"]}', 200, ""),
        (200, b'{"code": [], "msg": "no"}', 200, "no"),
        (200, b'{"code": {}}', 200, ""),
        (400, b'{"error": "x"}', 400, ""),
    ],
)
async def test_odd_answers_are_api_errors(
    autojump_clock: MockClock, status: int, content: bytes, code: int, msg: str
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, content=content, headers={"x-tt-logid": "2026log"})

    with pytest.raises(ApiError) as caught:
        await odd_api(answer).request("GET", "/open-apis/x")
    error = caught.value
    assert (error.code, error.msg, error.log_id) == (code, msg, "2026log")
    assert f"HTTP status {status}" in str(error)
    assert "GET /open-apis/x" in str(error)


@pytest.mark.parametrize(
    "content", ['{"code": 0, "data": {"a": 1}}', '{"code": 0, "bot": {}}', '{"a": 1}', "{}"]
)
async def test_the_whole_body_is_handed_on(content: str) -> None:
    api = odd_api(lambda request: httpx.Response(201, content=content))
    assert await api.request("POST", "/x", json={}) == json.loads(content)


@pytest.mark.parametrize(
    "raised",
    [
        httpx.ReadError("reset"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError(f"said Bearer t-{SECRET}"),
        httpx.ProxyError("407"),
        httpx.DecodingError("gzip"),
        httpx.InvalidURL("odd"),
    ],
)
async def test_network_failures_are_api_errors(autojump_clock: MockClock, raised: Exception) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise raised

    with pytest.raises(ApiError, match=type(raised).__name__) as caught:
        await odd_api(answer).request("GET", "/x")
    assert caught.value.code is None
    assert caught.value.__cause__ is (None if SECRET in str(raised) else raised)
    assert SECRET not in str(caught.value)


async def test_note_14_secrets_in_an_answer_are_not_passed_on() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(400, json={"code": 7, "msg": f"token t-{SECRET} and secret {SECRET} are odd"})

    with pytest.raises(ApiError) as caught:
        await odd_api(answer).request("GET", "/x")
    assert SECRET not in str(caught.value)
    assert caught.value.msg == "token *** and secret *** are odd"


async def test_redirects_do_not_carry_the_token_away() -> None:
    hosts = []

    def answer(request: httpx.Request) -> httpx.Response:
        hosts.append(request.url.host)
        return httpx.Response(307, headers={"Location": "https://evil.test/"})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer), follow_redirects=True) as http:
        with pytest.raises(ApiError) as caught:
            await Api(http, "https://x.test", "cli_a", SECRET).request("GET", "/x")
    assert caught.value.code == 307
    assert hosts == ["x.test"]


@pytest.mark.parametrize(
    "path", ["open-apis/x", "@evil.test/x", ".evil.test/x", ":99/x", "https://evil.test", "", None, b"/x"]
)
async def test_a_path_cannot_run_on_in_the_host_name(path: Any) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise AssertionError(f"asked {request.url}")

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        with pytest.raises(ApiError, match="must be a string that begins with a slash"):
            await Api(http, "https://x.test", "cli_a", SECRET).request("GET", path)


def test_note_18_importing_does_not_load_httpx() -> None:
    code = "import sys, feishu_trio.api; print('httpx' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.strip() == "False"


async def test_note_14_a_request_that_failed_is_kept_without_its_secrets(autojump_clock: MockClock) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no way", request=request)

    with pytest.raises(ApiError) as caught:
        await odd_api(answer).request("GET", "/x", json={"secret": SECRET})
    cause = caught.value.__cause__
    assert isinstance(cause, httpx.RequestError)
    assert cause.request.url.path
    assert SECRET.encode() not in cause.request.content
    assert SECRET not in str(cause.request.headers.raw)


# --- apps without a secret ------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["assertion", lambda: "assertion"])
async def test_a_keyless_app_gets_its_token_for_an_assertion(
    autojump_clock: MockClock, given: str | Callable[[], str]
) -> None:
    async with (
        open_gateway(client_assertion="assertion", token_lifetime=1000) as gateway,
        httpx.AsyncClient(transport=gateway.transport) as http,
    ):
        api = Api(http, gateway.domain, gateway.app_id, "", assertion=given)
        await api.send("oc_1", "hi")
        await trio.sleep(990)
        await api.send("oc_2", "hi")
        assert [message.to for message in gateway.messages] == ["oc_1", "oc_2"]
        assert asked(gateway, "/oauth/v3/token") == 2
        assert asked(gateway, TOKEN_PATH) == 0


@pytest.mark.parametrize(
    ("domain", "accounts"),
    [
        ("https://open.feishu.cn", "https://accounts.feishu.cn"),
        ("https://open.larksuite.com", "https://accounts.larksuite.com"),
        ("https://feishu.example.com", "https://feishu.example.com"),
    ],
)
async def test_an_assertion_goes_to_the_domain_of_accounts(domain: str, accounts: str) -> None:
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(str(request.url))
        return httpx.Response(200, json={"access_token": "t-1", "expires_in": 7200, "code": 0})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        await Api(http, domain, "cli_a", "", assertion="x").request("GET", "/open-apis/bot/v3/info")
    assert seen == [f"{accounts}/oauth/v3/token", f"{domain}/open-apis/bot/v3/info"]


@pytest.mark.parametrize(
    ("domain", "audience"),
    [("https://open.feishu.cn", "accounts.feishu.cn"), ("http://127.0.0.1:8080", "127.0.0.1:8080")],
)
async def test_whoever_gives_an_assertion_is_told_for_whom(domain: str, audience: str) -> None:
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/oauth/v3/token":
            seen.append(json.loads(request.content)["client_assertion"])
        return httpx.Response(200, json={"access_token": "t-1", "expires_in": 7200, "code": 0})

    def given(audience: str) -> str:
        return f"for {audience}"

    def cached(audience: str = "any") -> str:
        return f"for {audience}"

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        for each in (given, cached):
            await Api(http, domain, "cli_a", "", assertion=each).request("GET", "/open-apis/bot/v3/info")
    assert seen == [f"for {audience}", "for any"]


def fails() -> str:
    raise OSError("the key store is down")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (fails, "client_assertion raised OSError: the key store is down"),
        (lambda: None, "client_assertion gave"),
        ("wr0ng-assertion", "client assertion invalid"),
    ],
)
async def test_an_assertion_that_cannot_be_had_or_is_refused_is_an_api_error(given: Any, words: str) -> None:
    async with open_gateway() as gateway, httpx.AsyncClient(transport=gateway.transport) as http:
        with pytest.raises(ApiError, match=words) as info:
            await Api(http, gateway.domain, gateway.app_id, "", assertion=given).reply("om_1", "hi")
        assert "wr0ng" not in str(info.value)


async def test_a_description_of_what_is_wrong_with_an_assertion_is_shown_without_it() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        text = "the assertion s3cret-assertion has expired"
        return httpx.Response(400, json={"error": "invalid_grant", "error_description": text})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        with pytest.raises(ApiError, match="has expired") as info:
            await Api(http, "https://x.test", "cli_a", "", assertion="s3cret-assertion").reply("om_1", "hi")
    assert "s3cret" not in str(info.value)


# --- what is sent ---------------------------------------------------------------------------------------------


async def test_json_is_sent_as_it_is_meant() -> None:
    async with open_api() as scene:
        scene.server.on("POST /a", {})
        await scene.api.request("POST", "/a", json={"text": "你好", "none": None, "list": [1, 2.5, True]})
        (request,) = scene.server.asked("POST /a")
        assert request.headers["content-type"] == "application/json; charset=utf-8"
        assert request.body == '{"text":"你好","none":null,"list":[1,2.5,true]}'.encode()


@pytest.mark.parametrize("content", [b"\x00raw", bytearray(b"\x00raw"), memoryview(b"\x00raw")])
async def test_raw_bytes_are_sent_as_they_are(content: Any) -> None:
    async with open_api() as scene:
        scene.server.on("PUT /a", {})
        await scene.api.request("PUT", "/a", content=content)
        (request,) = scene.server.asked("PUT /a")
        assert (request.headers["content-type"], request.body) == ("application/octet-stream", b"\x00raw")


def fields(request: Request) -> dict[str, tuple[str | None, bytes]]:
    """The fields of a form: the name of the file, and its bytes."""
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    form = {}
    for part in email.message_from_bytes(head + request.body).get_payload():
        assert isinstance(part, email.message.Message)
        name = part.get_param("name", header="content-disposition")
        value = part.get_payload(decode=True)
        assert isinstance(name, str)
        assert isinstance(value, bytes)
        form[name] = part.get_filename(), value
    return form


async def test_a_form_has_texts_bytes_and_files(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    files: Form = {"kind": "message", "raw": b"\x00", "named": ("x.bin", b"\x01"), "path": tmp_path / "a.png"}
    async with open_api() as scene:
        scene.server.on("POST /a", {})
        await scene.api.request("POST", "/a", files=files)
        (request,) = scene.server.asked("POST /a")
    assert fields(request) == {
        "kind": (None, b"message"),
        "raw": ("raw", b"\x00"),
        "named": ("x.bin", b"\x01"),
        "path": ("a.png", b"\x89PNG"),
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"json": {1}}, "POST /a: json: it cannot be written as JSON: Object of type set"),
        ({"json": {"x": math.nan}}, "POST /a: json: it cannot be written as JSON: Out of range float"),
        ({"json": "\ud800"}, "POST /a: json: it cannot be written as JSON: .*surrogates"),
        ({"json": {}, "content": b""}, "POST /a: give one of json, content and files"),
        ({"content": "text"}, "POST /a: content: a value of type str .* must be bytes"),
        ({"files": [1]}, "POST /a: files: a value of type list .* must be a mapping"),
        ({"files": {"a": 1}}, "POST /a: files: a: a value of type int .* must be a text, bytes"),
        ({"files": {"a": Path("/not/there")}}, "POST /a: files: a: /not/there cannot be read: No such file"),
        ({"files": {"a": Path("/")}}, "POST /a: files: a: / cannot be read"),
        ({"files": {"a": "\ud800"}}, "POST /a: files: a: .* without half surrogate pairs"),
        ({"files": {"a": ("\ud800", b"x")}}, "files: a: the file's name: .* without half surrogate pairs"),
        ({"files": {"\ud800": "a"}}, "POST /a: files: a field's name: .* without half surrogate pairs"),
        ({"files": {1: "a"}}, "POST /a: files: a field's name: a value of type int"),
        ({"params": {"a": "\ud800"}}, "params: .* without half surrogate pairs"),
        ({"params": {"a": ["b", "\ud800"]}}, "params: .* without half surrogate pairs"),
        ({"params": [("a", 1)]}, "params: a value of type list .* must be a mapping"),
        ({"timeout": 0}, "timeout: 0 is not allowed; it must be a number of seconds, more than 0"),
        ({"timeout": -1}, "timeout: -1 is not allowed"),
        ({"timeout": math.inf}, "timeout: inf is not allowed"),
        ({"timeout": "5"}, "timeout: '5' is not allowed"),
        ({"timeout": True}, "timeout: True is not allowed"),
    ],
)
async def test_what_cannot_be_sent_is_an_api_error(arguments: dict[str, Any], words: str) -> None:
    async with open_api() as scene:
        with pytest.raises(ApiError, match=words) as caught:
            await scene.api.request("POST", "/a", **arguments)
        assert (caught.value.code, caught.value.status) == (None, None)
        assert not scene.server.requests


async def test_a_path_is_utf8() -> None:
    async with open_api() as scene:
        with pytest.raises(ApiError, match=r"path: .* without half surrogate pairs"):
            await scene.api.request("GET", "/\ud800")


@pytest.mark.parametrize("method", [None, "", 5])
async def test_a_method_is_a_text(method: Any) -> None:
    async with open_api() as scene:
        with pytest.raises(ApiError, match=r"method: .* must be an HTTP method"):
            await scene.api.request(method, "/a")


async def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with trio.fail_after(5):
        async with open_api() as scene:
            with pytest.raises(ApiError, match="pipe cannot be read: it is no regular file"):
                await scene.api.request("POST", "/a", files={"a": tmp_path / "pipe"})


# --- too many calls -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "status"), [(99991400, 429), (99991400, 400), (230020, 400), (11232, 200), (0, 429)]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_call_that_came_too_soon_is_made_again_when_feishu_says_so(
    autojump_clock: MockClock, method: str, code: int, status: int
) -> None:
    async with open_api() as scene:
        scene.server.on(f"{method} /a", limited(3, code, status), limited(2, code, status), {"x": 1})
        assert await scene.api.request(method, "/a") == {"code": 0, "x": 1}
        first, second, third = scene.server.at(f"{method} /a")
        assert 3 <= second - first <= 3.3
        assert 2 <= third - second <= 2.3


@pytest.mark.parametrize("timeout", [None, 4.0])
async def test_what_is_too_late_for_the_timeout_is_told_at_once(
    autojump_clock: MockClock, timeout: float | None
) -> None:
    async with open_api(timeout=4) as scene:
        scene.server.on("POST /a", limited(5))
        start = trio.current_time()
        with pytest.raises(RateLimited, match=r"too many calls: make it again in 5 s") as caught:
            await scene.api.request("POST", "/a", timeout=timeout)
        assert trio.current_time() == start
        assert (caught.value.retry_after, caught.value.code, caught.value.status) == (5, 99991400, 429)
        assert len(scene.server.calls()) == 1


async def test_the_callers_own_deadline_counts_as_well(autojump_clock: MockClock) -> None:
    async with open_api() as scene:
        scene.server.on("POST /a", limited(5))
        with trio.fail_after(4), pytest.raises(RateLimited):
            await scene.api.request("POST", "/a")
        assert trio.current_time() < 1


@pytest.mark.parametrize("reset", ["", "soon", "-1", "nan", "inf"])
async def test_without_a_time_that_makes_sense_it_is_tried_again_later_and_later(
    autojump_clock: MockClock, reset: str
) -> None:
    async with open_api(timeout=60) as scene:
        scene.server.on("POST /a", Reply({"code": 99991400}, 429, {"x-ogw-ratelimit-reset": reset}))
        with pytest.raises(RateLimited, match="make it again later") as caught:
            await scene.api.request("POST", "/a")
        assert caught.value.retry_after is None
        times = scene.server.at("POST /a")
        waits = [later - sooner for sooner, later in itertools.pairwise(times)]
        assert len(waits) == 3
        for wait, longest in zip(waits, (1, 2, 4), strict=True):
            assert longest / 2 <= wait <= longest


async def test_a_limit_of_tokens_is_waited_out_too(autojump_clock: MockClock) -> None:
    async with open_api() as scene:
        scene.server.on(TOKEN, limited(3), {"tenant_access_token": "t-1", "expire": 7200})
        scene.server.on("POST /a", {})
        await scene.api.request("POST", "/a")
        assert 3 <= trio.current_time() <= 3.3


# --- calls that came to nothing -------------------------------------------------------------------------------

REPEATABLE = [("GET", None), ("get", None), ("POST", {"uuid": "u"}), ("PUT", {"uuid": "u"})]
NOT_REPEATABLE = [
    ("POST", None),
    ("POST", {"uuid": ""}),
    ("POST", {"uuid": None}),
    ("POST", ["uuid"]),
    ("DELETE", None),
    ("PATCH", {}),
]
LOST = [CUT, Reply({}, 500), Reply(b"<html>", 502), Reply({"x": "y" * 100}, sent=50)]


@pytest.mark.parametrize(("method", "json"), REPEATABLE)
@pytest.mark.parametrize("lost", LOST)
async def test_what_may_be_repeated_is_tried_again(
    autojump_clock: MockClock, method: str, json: Any, lost: Reply
) -> None:
    async with open_api() as scene:
        name = f"{method.upper()} /a"
        scene.server.on(name, lost, lost, {"x": 1})
        assert await scene.api.request(method, "/a", json=json) == {"code": 0, "x": 1}
        first, second, third = scene.server.at(name)
        assert 0.5 <= second - first <= 1
        assert 1 <= third - second <= 2


async def test_a_head_may_be_repeated_too(autojump_clock: MockClock) -> None:
    async with open_api() as scene:
        scene.server.on("HEAD /a", CUT, Reply({}, 500), {})
        with pytest.raises(ApiError, match="no JSON object, code 200"):  # as it has no body
            await scene.api.request("HEAD", "/a")
        assert len(scene.server.calls()) == 3


@pytest.mark.parametrize(("method", "json"), NOT_REPEATABLE)
@pytest.mark.parametrize("lost", LOST)
async def test_what_may_not_be_repeated_is_tried_once(
    autojump_clock: MockClock, method: str, json: Any, lost: Reply
) -> None:
    async with open_api() as scene:
        scene.server.on(f"{method} /a", lost)
        with pytest.raises(ApiError):
            await scene.api.request(method, "/a", json=json)
        assert len(scene.server.calls()) == 1


async def test_tries_are_counted(autojump_clock: MockClock) -> None:
    async with open_api(timeout=1000) as scene:
        scene.server.on("GET /a", Reply({"code": 7, "msg": "down"}, 500))
        with pytest.raises(ApiError, match="down") as caught:
            await scene.api.request("GET", "/a")
        assert (caught.value.code, caught.value.status) == (7, 500)
        assert len(scene.server.calls()) == 4


async def test_there_is_no_try_for_which_there_is_no_time(autojump_clock: MockClock) -> None:
    async with open_api(timeout=1) as scene:
        scene.server.on("GET /a", Reply({}, 500))
        with pytest.raises(ApiError, match="HTTP status 500"):
            await scene.api.request("GET", "/a")
        assert trio.current_time() <= 1
        assert len(scene.server.calls()) == 2


async def test_one_try_may_take_half_of_the_time(autojump_clock: MockClock) -> None:
    async with open_api() as scene:
        scene.server.on("GET /a", HANG, {"x": 1})
        await scene.api.request("GET", "/a")
        first, second = scene.server.at("GET /a")
        assert 5.5 <= second - first <= 6
        assert scene.server.there == 1, "the connection that hangs is left open"


@pytest.mark.parametrize(("method", "tries"), [("GET", 2), ("POST", 1)])
@pytest.mark.parametrize("timeout", [None, 20.0])
async def test_all_tries_end_at_the_deadline(
    autojump_clock: MockClock, method: str, tries: int, timeout: float | None
) -> None:
    async with open_api() as scene:
        scene.server.on(f"{method} /a", HANG)
        with pytest.raises(ApiError, match=f"{method} /a: no answer within {timeout or 10:g} s") as caught:
            await scene.api.request(method, "/a", timeout=timeout)
        assert caught.value.code is None
        assert trio.current_time() == pytest.approx(timeout or 10)
        assert len(scene.server.calls()) == tries


async def test_a_body_that_does_not_end_is_no_answer(autojump_clock: MockClock) -> None:
    async with open_api() as scene:
        scene.server.on("POST /a", Reply({"x": "y" * 100}, sent=50, then="hold"))
        with pytest.raises(ApiError, match="no answer within 10 s"):
            await scene.api.request("POST", "/a")


async def test_a_call_refused_for_its_token_and_then_lost_is_tried_again(autojump_clock: MockClock) -> None:
    async with open_api() as scene:
        scene.server.on("GET /a", Reply({"code": 99991663}, 400), CUT, limited(1), {"x": 1})
        await scene.api.request("GET", "/a")
        assert len(scene.server.asked(TOKEN)) == 2


async def test_a_token_that_is_refused_at_the_last_try_is_what_is_told(autojump_clock: MockClock) -> None:
    async with open_api() as scene:
        scene.server.on("GET /a", CUT, CUT, CUT, Reply({"code": 99991663, "msg": "Invalid token"}, 400))
        with pytest.raises(ApiError, match="Invalid token"):
            await scene.api.request("GET", "/a")


async def test_a_call_can_be_cancelled_while_it_waits_to_be_tried_again(autojump_clock: MockClock) -> None:
    async with open_api() as scene:
        scene.server.on("GET /a", limited(8))
        with trio.move_on_after(9) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(scene.api.request, "GET", "/a")
                await trio.sleep(2)
                nursery.cancel_scope.cancel()
        assert not scope.cancelled_caught
        assert trio.current_time() == 2


async def test_a_cancelled_call_leaves_no_connection() -> None:
    async with open_real_api() as scene:
        scene.server.on("POST /a", HANG)
        with trio.move_on_after(0.1) as scope:
            await scene.api.request("POST", "/a", content=b"x" * 10_000)
        assert scope.cancelled_caught
        await scene.server.wait_left()


# --- refusals with a name -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (99991403, QuotaExceeded, "calls that the tenant may make in a month are used up"),
        (230011, MessageGone, "the message was recalled or deleted"),
        (231003, MessageGone, "the message was recalled or deleted"),
        (230002, ApiError, "no, code 230002"),
    ],
)
async def test_refusals_have_a_class(code: int, kind: type[ApiError], words: str) -> None:
    async with open_api() as scene:
        headers = {"X-Tt-Logid": "2026log"}
        scene.server.on("GET /a", Reply({"code": code, "msg": "no"}, 400, headers))
        with pytest.raises(ApiError, match=words) as caught:
            await scene.api.request("GET", "/a")
        error = caught.value
        assert type(error) is kind
        assert (error.code, error.msg, error.status, error.log_id) == (code, "no", 400, "2026log")
        assert len(scene.server.calls()) == 1


async def test_a_missing_permission_is_named_with_the_page_to_add_it() -> None:
    async with open_api() as scene:
        scene.server.on("GET /a", Reply({"code": 99991672, "msg": "no"}, 400))
        with pytest.raises(PermissionMissing) as caught:
            await scene.api.request("GET", "/a")
        assert caught.value.scopes == ()
        assert caught.value.link == "https://open.feishu.cn/app/cli_a/auth?q="


# --- pages ----------------------------------------------------------------------------------------------------


def page(items: Any, token: Any = None, *, more: bool | None = None, field: str = "items") -> dict[str, Any]:
    return {
        "data": {field: items, "has_more": token is not None if more is None else more, "page_token": token}
    }


async def test_pages_are_read_one_after_the_other() -> None:
    async with open_api() as scene:
        scene.server.on("GET /a", page([{"n": 1}, {"n": 2}], "p2"), page([], "p3"), page([{"n": 3}], ""))
        assert [item async for item in scene.api.pages("/a", params={"page_size": 2})] == [
            {"n": 1},
            {"n": 2},
            {"n": 3},
        ]
        assert [request.query for request in scene.server.asked("GET /a")] == [
            {"page_size": "2"},
            {"page_size": "2", "page_token": "p2"},
            {"page_size": "2", "page_token": "p3"},
        ]


async def test_pages_are_asked_for_when_the_loop_comes_to_them() -> None:
    async with open_api() as scene:
        scene.server.on("GET /a", page([1, 2], "p2"), page([3]))
        async for item in scene.api.pages("/a"):
            if item == 2:
                break
        assert len(scene.server.calls()) == 1


@pytest.mark.parametrize(
    "answers",
    [
        [page([1], "p1"), page([1], "p2"), page([1], "p1")],
        [page([1]), page([1])],
        [page([1], "p1"), page([1], "p1")],
        [page([1], "", more=True)],
        [page([1], 5, more=True)],
        [page([1], "p", more=False)],
    ],
)
async def test_pages_end(answers: list[dict[str, Any]]) -> None:
    async with open_api() as scene:
        scene.server.on("GET /a", *answers)
        with trio.fail_after(5):
            items = [item async for item in scene.api.pages("/a")]
        assert len(items) == len(scene.server.calls())


async def test_the_list_of_a_page_may_have_another_name() -> None:
    async with open_api() as scene:
        scene.server.on("GET /a", page([1], field="members"))
        assert [item async for item in scene.api.pages("/a", items="members")] == [1]
        assert [item async for item in scene.api.pages("/a")] == []
        scene.server.on("GET /a", page({"a": 1}))
        with pytest.raises(ApiError, match="GET /a: 'items' of its data is no list"):
            await anext(scene.api.pages("/a"))


async def test_a_page_that_was_lost_is_tried_again(autojump_clock: MockClock) -> None:
    async with open_api() as scene:
        scene.server.on("GET /a", page([1], "p2"), CUT, limited(2), page([2]))
        assert [item async for item in scene.api.pages("/a")] == [1, 2]


# --- the bot --------------------------------------------------------------------------------------------------

BOT = "GET /open-apis/bot/v3/info"


async def test_the_bot_is_asked_for_once_by_all() -> None:
    async with open_api() as scene:
        scene.server.on(BOT, {"bot": {"app_name": "Echo", "open_id": "ou_bot"}})
        seen = []

        async def ask() -> None:
            seen.append(await scene.api.bot())

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(ask)
        assert {(bot.name, bot.open_id) for bot in seen} == {("Echo", "ou_bot")}
        assert scene.server.calls() == [BOT]


async def test_a_bot_that_could_not_be_had_is_asked_for_again() -> None:
    async with open_api() as scene:
        scene.server.on(BOT, {"bot": {}}, Reply({"code": 5}, 400), {"bot": {"open_id": "ou_bot"}})
        with pytest.raises(ApiError, match="without an open_id"):
            await scene.api.bot()
        with pytest.raises(ApiError, match="code 5"):
            await scene.api.bot()
        assert (await scene.api.bot()).open_id == "ou_bot"
