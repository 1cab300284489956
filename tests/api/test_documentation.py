"""The page about the API: its blocks run, and its figures are those of the code."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from trio.testing import MockClock

from feishu_trio import Api
from feishu_trio.api.limits import keys_of
from feishu_trio.testing._http import Request

from .server import Answer, Reply, Scene, limited, open_api, open_real_api

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)

MESSAGES = "/open-apis/im/v1/messages"
MESSAGE = f"{MESSAGES}/om_1"
CHAT = "/open-apis/im/v1/chats/oc_1"
RESOURCE = f"GET {MESSAGE}/resources/file_1"
MEDIA = "GET /open-apis/drive/v1/medias/boxcn1/download"
CARDS = "/open-apis/cardkit/v1/cards"

Function = Callable[..., Awaitable[Any]]
NAMES = re.findall(r"^async def (\w+)", "".join(BLOCKS), re.MULTILINE)


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile("\n\n".join(BLOCKS), PAGE.name, "exec"), names)
    return names


def members(request: Request) -> dict[str, Any]:
    last = request.query.get("page_token") == "p2"
    return {"data": {"items": [{"name": "B" if last else "A"}], "has_more": not last, "page_token": "p2"}}


def answer_all(scene: Scene) -> None:
    """Answer what the page's blocks ask for."""
    new = {"data": {"message_id": "om_new"}}
    answers: dict[str, Answer] = {
        f"POST {MESSAGES}": new,
        f"POST {MESSAGE}/reply": new,
        f"PUT {MESSAGE}": new,
        f"GET {MESSAGE}": {"data": {"items": [{"message_id": "om_1"}]}},
        f"DELETE {MESSAGE}": {},
        f"POST {MESSAGE}/reactions": {"data": {"reaction_id": "r_1"}},
        f"DELETE {MESSAGE}/reactions/r_1": {},
        "POST /open-apis/im/v1/images": {"data": {"image_key": "img_1"}},
        "POST /open-apis/im/v1/files": {"data": {"file_key": "file_1"}},
        RESOURCE: b"data",
        f"POST {CARDS}": {"data": {"card_id": "c_1"}},
        f"PUT {CARDS}/c_1/elements/answer/content": {},
        f"PATCH {CARDS}/c_1/settings": {},
        "POST /open-apis/interactive/v1/card/update": {},
        f"GET {CHAT}": {"data": {"name": "Team"}},
        f"PUT {CHAT}": {},
        "POST /open-apis/drive/v1/files/upload_part": {},
        "GET /open-apis/bot/v3/info": {"bot": {"app_name": "Echo", "open_id": "ou_bot"}},
        MEDIA: b"media",
        f"GET {CHAT}/members": members,
    }
    for call, answer in answers.items():
        scene.server.on(call, answer)


RUNS: list[tuple[str, tuple[str, ...], object]] = [
    ("say", ("om_1", "oc_1"), "om_new"),
    ("change", ("om_1",), {"message_id": "om_1"}),
    ("think", ("om_1",), None),
    ("report", ("oc_1", "om_1"), ["om_new"]),
    ("share", ("oc_1",), None),
    ("keep", ("om_1", "file_1"), 12),
    ("stream", ("oc_1",), None),
    ("after_a_click", ("c-token",), None),
    ("anything", ("oc_1",), ["Team", "Echo", "A", "B"]),
    ("any_file", (), 5),
    ("careful", ("om_1",), "said"),
]


@pytest.mark.parametrize(("name", "arguments", "result"), RUNS)
async def test_what_the_page_shows_works(
    page: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    arguments: tuple[str, ...],
    result: object,
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in ("chart.png", "report.pdf"):
        (tmp_path / file).write_bytes(b"data")
    function: Function = page[name]
    async with open_real_api() as scene:
        answer_all(scene)
        assert await function(scene.api, *arguments) == result
        assert len(scene.server.calls()) > 0


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (limited(20), "again in 20.0 s"),
        (Reply({"code": 230011, "msg": "recalled"}, 400), "nobody is waiting any more"),
        (
            Reply({"code": 99991672, "msg": "scopes is required: [im:a, im:b]"}, 400),
            "add im:a or im:b at https://open.feishu.cn/app/cli_a/auth?q=im:a,im:b",
        ),
        (Reply({"code": 7, "msg": "no"}, 400, {"X-Tt-Logid": "log"}), "7: no (log id log)"),
    ],
)
async def test_the_errors_that_the_page_shows_are_told_apart(
    autojump_clock: MockClock, page: dict[str, Any], reply: Reply, said: str
) -> None:
    async with open_api() as scene:
        scene.server.on(f"POST {MESSAGE}/reply", reply)
        assert await page["careful"](scene.api, "om_1") == said


def test_all_functions_are_run_and_all_calls_are_shown() -> None:
    shown = PAGE.read_text(encoding="utf-8")
    assert [name for name, *_ in RUNS] == NAMES
    for name in dir(Api):
        assert name.startswith("_") or f"api.{name}(" in shown, f"{name} is not shown"


def test_the_rates_of_the_page_are_those_that_are_kept() -> None:
    rates = re.findall(r"^  \| .* \| (\d+ a second.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    kept = []
    for method, path in (("POST", MESSAGES), ("PATCH", MESSAGE), ("PUT", f"{CARDS}/c_1")):
        keys = keys_of(method, path, {"receive_id": "oc_1"}, None)
        of_one, of_all = [key for key in keys if key.which], [key for key in keys if not key.which]
        words = {1.0: "a second", 60.0: "a minute"}
        for group in (of_all, of_one):
            if group:
                kept.append(", ".join(f"{key.most:,} {words[key.period]}" for key in group))
    assert rates == kept
