"""Messages: what is sent, and how."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import attrs
import httpx
import pytest
import trio
from trio.testing import MockClock

from feishu_trio.api import Markdown
from feishu_trio.errors import ApiError, MessageGone
from feishu_trio.events.content import Image

from .server import HANG, Reply, Scene, limited, odd_api, open_api, open_gateway_api

MESSAGES = "/open-apis/im/v1/messages"
MESSAGE = f"{MESSAGES}/om_1"


def bodies(scene: Scene, name: str) -> list[dict[str, Any]]:
    return [json.loads(request.body) for request in scene.server.asked(name)]


def numbered(scene: Scene, name: str) -> None:
    """Answer with a new message each time."""

    def answer(_: object) -> dict[str, Any]:
        return {"data": {"message_id": f"om_new {len(scene.server.asked(name))}"}}

    scene.server.on(name, answer)


async def test_reply() -> None:
    async with open_gateway_api() as (gateway, api):
        first = (await api.send("oc_1", "hello"))["data"]["message_id"]
        body = await api.reply(first, "hi", uuid="once")
        again = await api.reply(first, "hi", uuid="once")
        assert body["code"] == 0
        assert body["data"]["message_id"] == again["data"]["message_id"]
        _, message = gateway.messages
        assert (message.kind, message.to, message.msg_type, message.uuid) == ("reply", first, "text", "once")
        assert message.content == {"text": "hi"}


@pytest.mark.parametrize(
    ("content", "msg_type", "sent"),
    [
        ('a "quoted" text\n', "text", {"text": 'a "quoted" text\n'}),
        ('{"text": "looks like JSON"}', "text", {"text": '{"text": "looks like JSON"}'}),
        ({"text": "as a dict"}, "text", {"text": "as a dict"}),
        ({"elements": []}, "interactive", {"elements": []}),
        ('{"image_key": "img_1"}', "image", {"image_key": "img_1"}),
    ],
)
async def test_content(content: str | dict[str, Any], msg_type: str, sent: object) -> None:
    async with open_api() as scene:
        for name in (f"POST {MESSAGES}", f"POST {MESSAGE}/reply"):
            numbered(scene, name)
        await scene.api.send("oc_a", content, msg_type)
        await scene.api.reply("om_1", content, msg_type)
        said = [body for name in scene.server.calls() for body in bodies(scene, name)]
        assert [(each["msg_type"], json.loads(each["content"])) for each in said] == [(msg_type, sent)] * 2


@pytest.mark.parametrize(
    ("receive_id", "id_type"),
    [
        ("oc_a", "chat_id"),
        ("ou_a", "open_id"),
        ("on_a", "union_id"),
        ("someone@example.com", "email"),
        ("7f3a", "user_id"),
        ("o", "user_id"),
    ],
)
async def test_the_kind_of_a_receiver_is_guessed(receive_id: str, id_type: str) -> None:
    async with open_gateway_api() as (gateway, api):
        await api.send(receive_id, "hello")
        await api.send(receive_id, "hello", receive_id_type="user_id", uuid="u")
        assert [m.receive_id_type for m in gateway.messages] == [id_type, "user_id"]
        assert [m.uuid for m in gateway.messages] == [None, "u"]


async def test_a_message_id_cannot_leave_its_place_in_the_path() -> None:
    paths = []

    def answer(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.raw_path)
        return httpx.Response(200, json={"code": 0})

    await odd_api(answer).reply("om_/../x?a=b#c", "hi")
    assert paths == [b"/open-apis/im/v1/messages/om_%2F..%2Fx%3Fa%3Db%23c/reply"]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda api: api.reply(None, "hi"), "message_id: None is not allowed; it must be a message's id"),
        (lambda api: api.reply("", "hi"), "message_id: an empty string is not allowed"),
        (lambda api: api.reply("oc_a", "hi"), r"message_id: an id that begins with oc_ .* event\.about"),
        (lambda api: api.recall("ou_a"), "message_id: an id that begins with ou_"),
        (lambda api: api.download("img_v3_a", "img_v3_a"), "message_id: an id that begins with img_"),
        (
            lambda api: api.send("om_a", "hi"),
            r"receive_id: a message's id .* what answers a message is reply\(\)",
        ),
        (
            lambda api: api.send(7, "hi"),
            r"receive_id: a value of type int \(not shown\) is not allowed; it must be the id of a chat",
        ),
        (lambda api: api.update_card(None, {}), "token: None is not allowed"),
        (
            lambda api: api.send("oc_a", None),
            r"content: None is not allowed; it must be a text, a dict",
        ),
        (lambda api: api.reply("om_a", b"hi"), "content: a value of type bytes"),
        (
            lambda api: api.reply("om_a", {"text": {1}}),
            "content: it cannot be written as JSON: Object of type set",
        ),
    ],
)
async def test_what_is_no_id_and_no_content_is_an_api_error(call: Callable[[Any], Any], words: str) -> None:
    async with open_gateway_api() as (gateway, api):
        with pytest.raises(ApiError, match=words) as caught:
            await call(api)
        assert caught.value.code is None
        assert not gateway.requests


# --- what the calls ask for -----------------------------------------------------------------------------------


async def test_a_reply_may_go_into_a_thread() -> None:
    async with open_api() as scene:
        numbered(scene, f"POST {MESSAGE}/reply")
        await scene.api.reply("om_1", "hi", in_thread=True)
        await scene.api.reply("om_1", "hi")
        threaded, plain = bodies(scene, f"POST {MESSAGE}/reply")
        assert threaded["reply_in_thread"] is True
        assert "reply_in_thread" not in plain


async def test_what_a_message_is_made_of_may_be_more_than_text() -> None:
    async with open_api() as scene:
        numbered(scene, f"POST {MESSAGE}/reply")
        await scene.api.reply("om_1", Image("img_1"))
        await scene.api.reply("om_1", Markdown("**hi**"))
        await scene.api.reply("om_1", "**hi**", "markdown")
        image, *posts = bodies(scene, f"POST {MESSAGE}/reply")
        assert (image["msg_type"], image["content"]) == ("image", '{"image_key":"img_1"}')
        assert {(post["msg_type"], post["content"]) for post in posts} == {
            ("post", '{"zh_cn":{"content":[[{"tag":"md","text":"**hi**"}]]}}')
        }


@pytest.mark.parametrize("uuid", [None, "u" * 10, "u" * 48, "u" * 50])
async def test_long_markdown_is_sent_as_several_messages_in_order(
    autojump_clock: MockClock, uuid: str | None
) -> None:
    text = "\n\n".join(f"{number} " + "text " * 1000 for number in range(20))
    async with open_api(timeout=60) as scene:
        for name in (f"POST {MESSAGE}/reply", f"POST {MESSAGES}"):
            numbered(scene, name)
        replies = await scene.api.reply_markdown("om_1", text, uuid=uuid, in_thread=True, chat="oc_1")
        sent = await scene.api.send_markdown("oc_1", text, uuid=uuid)
        again = await scene.api.send("oc_1", Markdown(text), uuid=uuid)
        assert len(replies) == len(sent) > 3
        assert [data["message_id"] for data in sent] == [f"om_new {n + 1}" for n in range(len(sent))]
        assert again["data"]["message_id"] == f"om_new {len(sent) + 1}"  # the first of those
        said = bodies(scene, f"POST {MESSAGE}/reply")
        parts = [json.loads(each["content"])["zh_cn"]["content"][0][0]["text"] for each in said]
        assert "\n\n".join(part.strip() for part in parts).split() == text.split()
        assert all(each["reply_in_thread"] for each in said)
        sends = bodies(scene, f"POST {MESSAGES}")
        uuids = [each.get("uuid") for each in sends]
        assert uuids[: len(sent)] == uuids[len(sent) :]  # said again, they are the same messages
        assert [each.get("uuid") for each in said] == uuids[: len(sent)]
        if uuid is not None:
            assert len(set(uuids)) == len(sent)
            assert all(len(str(each)) <= 50 for each in uuids)


async def test_short_markdown_keeps_its_uuid() -> None:
    async with open_api() as scene:
        numbered(scene, f"POST {MESSAGES}")
        (data,) = await scene.api.send_markdown("ou_1", "hi", uuid="u" * 50)
        assert data == {"message_id": "om_new 1"}
        (body,) = bodies(scene, f"POST {MESSAGES}")
        assert body["uuid"] == "u" * 50
        assert scene.server.asked(f"POST {MESSAGES}")[0].query == {"receive_id_type": "open_id"}


@pytest.mark.parametrize(
    ("content", "msg_type", "method", "sent"),
    [
        ("new", "text", "PUT", {"msg_type": "text", "content": '{"text":"new"}'}),
        (
            Markdown("new"),
            "text",
            "PUT",
            {"msg_type": "post", "content": '{"zh_cn":{"content":[[{"tag":"md","text":"new"}]]}}'},
        ),
        ({"elements": []}, "interactive", "PATCH", {"content": '{"elements":[]}'}),
    ],
)
async def test_a_message_is_edited(content: Any, msg_type: str, method: str, sent: dict[str, Any]) -> None:
    async with open_api() as scene:
        scene.server.on(f"{method} {MESSAGE}", {"data": {"message_id": "om_1"}})
        assert (await scene.api.edit("om_1", content, msg_type))["data"] == {"message_id": "om_1"}
        assert bodies(scene, f"{method} {MESSAGE}") == [sent]


async def test_a_message_is_fetched_recalled_and_reacted_to() -> None:
    async with open_api() as scene:
        message = {"message_id": "om_1", "msg_type": "text"}
        scene.server.on(f"GET {MESSAGE}", {"data": {"items": [message, {"message_id": "om_of a forward"}]}})
        scene.server.on(f"DELETE {MESSAGE}", {})
        scene.server.on(f"POST {MESSAGE}/reactions", {"data": {"reaction_id": "r/1"}})
        scene.server.on(f"DELETE {MESSAGE}/reactions/r%2F1", {})
        assert await scene.api.fetch("om_1") == message
        assert await scene.api.react("om_1", "DONE") == "r/1"
        assert bodies(scene, f"POST {MESSAGE}/reactions") == [{"reaction_type": {"emoji_type": "DONE"}}]
        await scene.api.unreact("om_1", "r/1")
        await scene.api.recall("om_1")
        assert scene.server.calls()[-2:] == [f"DELETE {MESSAGE}/reactions/r%2F1", f"DELETE {MESSAGE}"]


async def test_a_reply_to_what_is_gone_says_so() -> None:
    async with open_api() as scene:
        scene.server.on(f"POST {MESSAGE}/reply", Reply({"code": 230011, "msg": "recalled"}, 400))
        with pytest.raises(MessageGone, match=r"POST .*/reply: recalled, code 230011"):
            await scene.api.reply("om_1", "hi")


@pytest.mark.parametrize("data", [{}, {"items": []}, {"items": None}, {"items": ["x"]}, None])
async def test_no_message_is_an_api_error(data: Any) -> None:
    async with open_api() as scene:
        scene.server.on(f"GET {MESSAGE}", {"data": data})
        with pytest.raises(ApiError, match="answered without a message"):
            await scene.api.fetch("om_1")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda api: api.edit("om_1", Image("img_1")), "a message cannot be changed to 'image'"),
        (lambda api: api.edit("om_1", Markdown("x " * 30_000)), "content: it takes 3 messages, and one can"),
        (lambda api: api.edit(None, "new"), "message_id: None is not allowed"),
        (lambda api: api.recall(""), "message_id: an empty string is not allowed"),
        (lambda api: api.fetch(7), "message_id: a value of type int"),
        (lambda api: api.react("om_1", None), "emoji_type: None is not allowed"),
        (lambda api: api.unreact("om_1", None), "reaction_id: None is not allowed"),
        (lambda api: api.reply("om_\ud800", "hi"), "message_id: .* without half surrogate pairs"),
        (lambda api: api.send_markdown("oc_1", None), "text: None is not allowed; it must be a text in"),
        (lambda api: api.send_markdown("oc_1", " \n"), "text: a blank text is not allowed"),
        (lambda api: api.send("oc_1", "hi", None), None),
        (lambda api: api.send("oc_1", "hi", 5), "msg_type: a value of type int"),
    ],
)
async def test_what_makes_no_sense_is_an_api_error(call: Callable[[Any], Any], words: str | None) -> None:
    async with open_api() as scene:
        if words is None:
            numbered(scene, f"POST {MESSAGES}")
            await call(scene.api)
            return
        with pytest.raises(ApiError, match=words):
            await call(scene.api)
        assert not scene.server.requests


# --- typing ---------------------------------------------------------------------------------------------------

ADDED = f"POST {MESSAGE}/reactions"
TAKEN_OFF = f"DELETE {MESSAGE}/reactions/r_1"


@attrs.frozen
class About:
    about: str


def typing_works(scene: Scene, after: float = 0.5) -> None:
    scene.server.on(ADDED, Reply({"data": {"reaction_id": "r_1"}}, after=after))
    scene.server.on(TAKEN_OFF, Reply({}, after=after))


@pytest.mark.parametrize("about", ["om_1", About("om_1")])
async def test_a_message_is_marked_while_a_block_runs(autojump_clock: MockClock, about: Any) -> None:
    async with open_api() as scene:
        typing_works(scene)
        async with scene.api.typing(about):
            assert trio.current_time() == 0, "the block waited for the mark"
            await trio.sleep(5)
            assert scene.server.calls() == [ADDED]
        assert trio.current_time() == pytest.approx(5.5)
        assert scene.server.calls() == [ADDED, TAKEN_OFF]
        assert bodies(scene, ADDED) == [{"reaction_type": {"emoji_type": "Typing"}}]


async def test_a_block_that_ends_before_the_mark_is_set_leaves_none(autojump_clock: MockClock) -> None:
    async with open_api() as scene:
        typing_works(scene)
        async with scene.api.typing("om_1"):
            pass
        assert scene.server.calls() == [ADDED, TAKEN_OFF]


async def test_the_error_of_a_marked_block_comes_out_as_it_is(autojump_clock: MockClock) -> None:
    async with open_api() as scene:
        typing_works(scene)
        mine = ValueError("mine")
        with pytest.raises(ValueError, match="mine") as caught:
            async with scene.api.typing("om_1"):
                raise mine
        assert caught.value is mine
        assert scene.server.calls() == [ADDED, TAKEN_OFF]


async def test_the_error_of_a_block_that_is_cancelled_as_well_comes_out(autojump_clock: MockClock) -> None:
    async with open_api() as scene:
        typing_works(scene)

        async def block() -> None:
            async with scene.api.typing("om_1"):
                scope.cancel()
                raise ValueError("mine")

        with trio.CancelScope() as scope, pytest.raises(ValueError, match="mine"):
            await block()


async def test_a_mark_is_taken_off_when_its_block_is_cancelled(autojump_clock: MockClock) -> None:
    async with open_api() as scene:
        typing_works(scene)
        with trio.move_on_after(3) as scope:
            async with scene.api.typing("om_1"):
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert trio.current_time() == pytest.approx(3.5)
        assert scene.server.calls() == [ADDED, TAKEN_OFF]


@pytest.mark.parametrize("hangs", [ADDED, TAKEN_OFF])
@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_server_that_hangs_holds_up_the_end_for_two_seconds(
    autojump_clock: MockClock, hangs: str, cancelled: bool
) -> None:
    async with open_api() as scene:
        typing_works(scene)
        scene.server.on(hangs, HANG)
        with trio.move_on_after(3) as scope:
            async with scene.api.typing("om_1"):
                await trio.sleep(4 if cancelled else 2)
        assert scope.cancelled_caught == cancelled
        assert trio.current_time() == pytest.approx(5 if cancelled else 4)


@pytest.mark.parametrize("fails", [ADDED, TAKEN_OFF])
async def test_a_mark_that_fails_is_told_in_the_log_once_in_a_while(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, fails: str
) -> None:
    async with open_api() as scene:
        typing_works(scene, after=0)
        scene.server.on(fails, Reply({"code": 231001, "msg": "no such reaction"}, 400))
        for _ in range(30):
            async with scene.api.typing("om_1"):
                await trio.sleep(1)
    lines = [record for record in caplog.records if record.name == "feishu_trio.api"]
    assert len(lines) == 10
    assert {record.levelno for record in lines} == {logging.WARNING}
    assert "no such reaction" in lines[0].getMessage()


async def test_a_mark_that_is_set_too_late_for_its_rate_is_none(autojump_clock: MockClock) -> None:
    async with open_api() as scene:
        scene.server.on(ADDED, limited(20))
        async with scene.api.typing("om_1"):
            await trio.sleep(1)
        assert trio.current_time() == pytest.approx(1)


async def test_what_is_about_no_message_is_not_marked() -> None:
    async with open_api() as scene:
        async with scene.api.typing(About("")):
            pass
        assert not scene.server.requests


@pytest.mark.parametrize("about", [None, "", 5, About(None)])  # type: ignore[arg-type]
async def test_what_is_no_event_cannot_be_marked(about: Any) -> None:
    async with open_api() as scene:
        with pytest.raises(ApiError, match=r"about: .* must be a message's id, .* or an event"):
            scene.api.typing(about)
