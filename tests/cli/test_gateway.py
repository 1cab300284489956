from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from feishu_trio import (
    Ack,
    Card,
    CardAnswer,
    ConfigError,
    Event,
    Retry,
    Router,
    Session,
    Toast,
    open_feishu_session,
)
from feishu_trio.cli._keyboard import Prompt
from feishu_trio.cli._push_requests import PushRequest, read_push_request
from feishu_trio.events.card import ActionTriggered
from feishu_trio.events.im import MessageReceived

from .commands import Running, environment, run, running

V2 = '{"schema":"2.0","header":{"event_id":"e1","event_type":"contact.user.created_v3"},"event":{"a":1}}'
BUTTON = {"tag": "button", "text": {"tag": "plain_text", "content": "Yes"}, "value": {"a": 1}}
V1 = '{"uuid":"u1","type":"event_callback","event":{"type":"im.chat.disbanded_v1","name":"x"}}'


@asynccontextmanager
async def open_bot(gateway: Running, router: Router) -> AsyncGenerator[Session, None]:
    settings: dict[str, Any] = {}
    for name in ("DOMAIN", "APP_ID", "APP_SECRET"):
        line = await gateway.line_with(f"export FEISHU_{name}=")
        settings[name.lower()] = line.split("=", 1)[1]
    async with open_feishu_session(router=router, **settings) as session:
        yield session


async def type_line(gateway: Running, line: str) -> None:
    assert gateway.process.stdin is not None
    await gateway.process.stdin.send_all(f"{line}\n".encode())


async def words(gateway: Running) -> str:
    """The next line, without its time."""
    return " ".join((await gateway.line()).split()[1:])


async def test_lines_are_messages_and_payloads_and_what_comes_of_them_is_shown() -> None:
    router = Router()
    events: list[Event[object]] = []

    @router.on("*")
    async def keep(event: Event[object]) -> CardAnswer | None:
        events.append(event)
        if event.text:
            await session.api.reply(event.raw["event"]["message"]["message_id"], event.text.upper())
        return CardAnswer(toast=Toast("好")) if event.type == "card.action.trigger" else None

    async with running("gateway", env=environment()) as gateway:
        async with open_bot(gateway, router) as session:
            await gateway.line_with("connected")
            await type_line(gateway, "hello [b]你好[/b]")
            assert "you       hello [b]你好[/b]" in await gateway.line_with("you")
            assert "bot       HELLO [B]你好[/B]" in await gateway.line_with("reply")
            await gateway.line_with("answered in")
            await type_line(gateway, "{nonsense")
            await gateway.line_with("nothing is pushed: this is no JSON")
            await type_line(gateway, V2)
            await gateway.line_with('contact.user.created_v3 {"a": 1}')
            await gateway.line_with("answered in")
            await type_line(gateway, '{"header":{"event_type":"card.action.trigger"},"event":{}}')
            await gateway.line_with('"content": "好"')
        await gateway.line_with("disconnected")
        gateway.process.terminate()
        done = await gateway.done()
    assert (done.code, done.err) == (143, "")
    assert [event.type for event in events] == [
        "im.message.receive_v1",
        "contact.user.created_v3",
        "card.action.trigger",
    ]
    assert events[1].id == "e1"


async def test_a_line_in_brackets_is_a_click() -> None:
    router = Router()

    @router.on("im.message.receive_v1")
    async def ask(event: Event[MessageReceived]) -> None:
        await event.reply(f"chose {await event.ask('Deploy?', {'y': 'Yes', 'n': 'No'})}")

    async with running("gateway", env=environment()) as gateway:
        await type_line(gateway, "deploy")
        async with open_bot(gateway, router):
            await gateway.line_with("no bot is connected yet")
            await gateway.line_with("Deploy?")
            await type_line(gateway, "[Maybe]")
            await gateway.line_with("nothing comes of the click: no card")
            await type_line(gateway, "[Yes]")
            await gateway.line_with("you       [Yes] ")
            lines = [await words(gateway) for _ in range(3)]  # the reply comes at the same time
            lines.remove("bot chose y reply")
            assert re.fullmatch(r"bot Deploy\? answered in [\d.]+ ms / @you", " / ".join(lines))


async def test_a_toast_and_an_answer_that_feishu_would_not_show() -> None:
    router, answers = Router(), [CardAnswer(toast=Toast("好")), CardAnswer(card=Card.raw({"text": "hi"}))]

    @router.on("im.message.receive_v1")
    async def ask(event: Event[MessageReceived]) -> None:
        await event.reply(Card.raw({"elements": [BUTTON]}))

    @router.on("card.action.trigger")
    async def answer(event: Event[ActionTriggered]) -> CardAnswer:
        return answers.pop(0)

    async with running("gateway", env=environment()) as gateway, open_bot(gateway, router):
        await type_line(gateway, "ask")
        assert "[Yes]" in await gateway.line_with("reply")
        await type_line(gateway, "[Yes]")
        assert "toast: 好" in await gateway.line_with("toast")
        await type_line(gateway, "[Yes]")
        await gateway.line_with("Feishu would show an error: its card:")
        assert '{"card": {"type": "raw",' in await gateway.line_with("answered in")


async def test_an_answer_that_streams_is_shown_as_it_grows_and_when_it_is_whole() -> None:
    router, grown = Router(), trio.Event()

    @router.on("im.message.receive_v1")
    async def think(event: Event[MessageReceived]) -> None:
        async with event.stream() as answer:
            await answer.append("Let me")
            await grown.wait()
            await answer.append(" see")

    async with running("gateway", env=environment()) as gateway, open_bot(gateway, router):
        await type_line(gateway, "hello")
        await gateway.line_with("you")
        assert await words(gateway) == "bot Let me streams"
        grown.set()
        assert await words(gateway) == "bot Let me see reply"
        assert (await words(gateway)).startswith("bot answered in")


async def test_once_an_answer_that_streams_is_waited_for() -> None:
    router = Router()

    @router.on("im.message.receive_v1", ack=Ack.ON_RECEIPT)
    async def think(event: Event[MessageReceived]) -> None:
        async with event.stream() as answer:
            await trio.sleep(0.5)
            await answer.append("Let me see")

    async with (
        running("gateway", "--once", "--send", "a", env=environment()) as gateway,
        open_bot(gateway, router),
    ):
        done = await gateway.done()
    assert done.code == 0
    assert re.search(r"bot +Let me see +reply", done.out)


async def test_an_event_is_pushed_again_and_again_each_time_anew(tmp_path: Path) -> None:
    file = tmp_path / "body.json"
    file.write_text(json.dumps({"message": {"message_id": "om_1", "chat_id": "oc_1"}}))
    args = ("--file", str(file), "--event", "im.message.receive_v1", "--every", "0.05")
    async with (
        running("gateway", *args, env=environment()) as gateway,
        open_bot(gateway, Router()) as session,
    ):
        assert gateway.process.stdin is not None
        await gateway.process.stdin.aclose()  # the gateway goes on without
        async with session.events() as events:
            seen = set()
            async for event in events:
                seen.add((event.id, event.raw["event"]["message"]["message_id"]))
                if len(seen) == 4:
                    break
    assert len({event_id for event_id, _ in seen}) == 4
    assert len({message_id for _, message_id in seen}) == 4


async def test_a_handler_that_fails_is_shown() -> None:
    router = Router()

    @router.on("*")
    async def fail(event: Event[object]) -> None:
        raise RuntimeError

    async with (
        running("gateway", "--event", "x.y_v1", env=environment()) as gateway,
        open_bot(gateway, router),
    ):
        await gateway.line_with("answered 500 in")


async def test_once_it_ends_with_whether_all_was_answered() -> None:
    router = Router()

    @router.on("im.message.receive_v1", ack=Ack.ON_RECEIPT)
    async def late(event: Event[MessageReceived]) -> None:
        await trio.sleep(0.1)
        await event.reply(f"late to {event.text}")

    @router.on("x.y_v1")
    async def fail(event: Event[object]) -> None:
        raise Retry

    for args, code in ((("--send", "a", "--send", "[b]"), 0), (("--send", "a", "--event", "x.y_v1"), 1)):
        async with (
            running("gateway", "--once", *args, env=environment()) as gateway,
            open_bot(gateway, router),
        ):
            done = await gateway.done()
        assert done.code == code
        assert "late to a" in done.out
        assert "It ends once all" in done.out
        assert "A line here" not in done.out
        if code:
            assert done.err == "feishu-trio: the bot answered 500 to 1 of 2 events; its log says why\n"
        else:
            assert "late to [b]" in done.out
            assert done.err == ""


async def test_once_without_a_bot_it_fails_in_time() -> None:
    done = await run("gateway", "--once", "--send", "a", "--timeout", "0.2")
    assert done.code == 1
    assert done.err.startswith("feishu-trio: no bot has connected; ")
    done = await run("gateway", "--timeout", "0.2")
    assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ("abc\r", "abc"),
        ("a\x7f\x7fb\r", "b"),
        ("abc\x1b[D\x1b[D\x1b[3~x\r", "axc"),
        ("abc\x01x\x05y\r", "xabcy"),
        ("abc\x1b[Hx\x1b[Fy\r", "xabcy"),
        ("one two  \x17x\r", "one x"),
        ("abc\x02\x0b\r", "ab"),
        ("abc\x01\x04\r", "bc"),
        ("abc\x02\x15\r", "c"),
        ("a\x1b[1;5Cb\x1b[200~c\x1bz\x07\td\r", "abcd"),  # keys that do nothing
    ],
)
def test_the_keys_of_the_prompt(keys: str, line: str) -> None:
    assert Prompt("> ").press(keys) == [line]
    at_a_time = Prompt("> ")
    assert [each for key in keys for each in at_a_time.press(key)] == [line]


def test_the_prompt_has_a_history() -> None:
    prompt = Prompt("> ")
    prompt.press("one\rtwo\rtwo\r\r")
    assert prompt.press("new\x1b[A\x1b[A\x1b[A\r") == ["one"]
    assert prompt.press("new\x1b[A\x1b[B!\r") == ["new!"]


@pytest.mark.parametrize(
    ("keys", "shown"),
    [
        ("", "> \r\x1b[2C"),
        ("abc\x02", "> abc\r\x1b[4C"),
        ("你好", "> 你好\r\x1b[6C"),
        ("0123456789", "> 456789\r\x1b[8C"),
        ("0123456789\x01", "> 012345\r\x1b[2C"),
        ("你好你好你好", "> 好你好\r\x1b[8C"),
    ],
)
def test_the_prompt_shows_what_fits_around_the_cursor(keys: str, shown: str) -> None:
    prompt = Prompt("> ")
    prompt.press(keys)
    assert prompt.line(9) == shown


async def test_a_port_that_is_taken_is_2() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        port = listener.socket.getsockname()[1]
        done = await run("gateway", "--port", str(port))
    assert done.code == 2
    assert re.fullmatch(
        rf"feishu-trio: --port: {port} at 127\.0\.0\.1 cannot be listened on \(.*in use\); choose another, .*\n",
        done.err,
    )


async def test_wrong_uses_are_2(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text('{\n"a": }')

    async def misuse(message: str, *args: str) -> None:
        done = await run("gateway", *args)
        assert done.code == 2
        assert message in done.err
        assert "Traceback" not in done.err

    async with trio.open_nursery() as nursery:
        nursery.start_soon(misuse, "--every needs an event", "--every", "1")
        nursery.start_soon(misuse, "cannot be read", "--file", str(tmp_path / "none.json"))
        nursery.start_soon(misuse, "line 2 column 6", "--file", str(tmp_path / "broken.json"))


def test_payloads_are_read_in_both_schemas() -> None:
    assert read_push_request(V2) == PushRequest("contact.user.created_v3", {"a": 1}, event_id="e1")
    v1 = read_push_request(V1)
    assert (v1.event_type, v1.schema, v1.event_id, v1.body["name"]) == (
        "im.chat.disbanded_v1",
        "1.0",
        "u1",
        "x",
    )
    assert read_push_request('{"a": 1}', "x.y_v1") == PushRequest("x.y_v1", {"a": 1})


@pytest.mark.parametrize("text", ["[]", "1", "{}", '{"header": {}, "event": {}}', "", "{" * 100_000])
def test_what_is_no_payload_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        read_push_request(text)
