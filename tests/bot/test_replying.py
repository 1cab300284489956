"""Replies from handlers: where they go, and that they are said once."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from feishu_trio import (
    Ack,
    ApiError,
    Card,
    Event,
    Markdown,
    MemoryInbox,
    MessageGone,
    Router,
    Sent,
    SQLiteInbox,
)
from feishu_trio.events import decode_event
from feishu_trio.events.content import Image
from feishu_trio.events.im import MessageReceived
from feishu_trio.testing import Gateway
from session.rig import come_true, open_session

CARD = {"schema": "2.0", "body": {"elements": [{"tag": "markdown", "content": "a card"}]}}


async def test_a_handler_replies_in_one_line(autojump_clock: object, gateway: Gateway) -> None:
    router = Router()

    @router.on(MessageReceived)
    async def echo(event: Event[MessageReceived]) -> None:
        await event.reply(event.markdown)

    tom = gateway.user("Tom")
    async with open_session(gateway, router=router):
        said = await tom.says("hello")
        await tom.waits_for(f"{gateway.bot.name}: hello")
        await tom.sends_image()
        await said.push.settled()
    assert gateway.messages[0].to == said.message_id


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("a text", "text"),
        (Markdown("**bold**"), "post"),
        (Card.raw(CARD), "interactive"),
        (CARD, "interactive"),
        ({"text": "a dict"}, "text"),
    ],
)
async def test_what_can_be_said(autojump_clock: object, gateway: Gateway, content: Any, kind: str) -> None:
    sent = await reply_once(gateway, content)
    assert [message.msg_type for message in gateway.messages] == [kind]
    assert sent.message_id == gateway.messages[0].message_id


async def test_a_picture(autojump_clock: object, gateway: Gateway) -> None:
    key = gateway.add_image(b"\x89PNG\r\n\x1a\n" + bytes(50))
    await reply_once(gateway, Image(key))
    assert gateway.messages[0].content == {"image_key": key}


async def test_long_markdown_becomes_several_messages(autojump_clock: object, gateway: Gateway) -> None:
    sent = await reply_once(gateway, Markdown("a line\n\n" * 8000))
    assert len(sent.message_ids) == len(gateway.messages) > 1


async def reply_once(gateway: Gateway, *arguments: Any, **options: Any) -> Sent:
    """What a handler that replies to a text was given for it."""
    router, given = Router(), list[Sent]()

    @router.on(MessageReceived)
    async def answer(event: Event[MessageReceived]) -> None:
        given.append(await event.reply(*arguments, **options))

    async with open_session(gateway, router=router):
        said = await gateway.user("Tom").says("hello")
        with trio.fail_after(100):
            await said.push.settled()
    return given[0]


async def test_where_it_goes(autojump_clock: object, gateway: Gateway) -> None:
    router = Router()

    @router.on(MessageReceived)
    async def answer(event: Event[MessageReceived]) -> None:
        await event.reply("quoted")
        await event.reply("not quoted", quote=False)
        await event.reply("in a thread", in_thread=True)

    tom = gateway.user("Tom")
    async with open_session(gateway, router=router):
        first = await tom.says("hello", chat="Team")
        await first.push.settled()
        in_thread = await tom.says("and here?", thread=first)
        await in_thread.push.settled()
    quoted, free, threaded, *rest = gateway.messages
    assert (quoted.kind, quoted.to) == ("reply", first.message_id)
    assert (free.kind, free.to, free.receive_id_type) == ("send", first.chat_id, "chat_id")
    assert threaded.kind == "reply"
    # What was asked in a thread is answered there, quoted or not.
    assert {(each.kind, each.to) for each in rest} == {("reply", in_thread.message_id)}


async def test_said_once_however_often_the_handler_runs(autojump_clock: object, gateway: Gateway) -> None:
    router, runs = Router(), list[Sent]()

    @router.on(MessageReceived)
    async def answer(event: Event[MessageReceived]) -> None:
        await event.reply("first")
        runs.append(await event.reply("second"))
        if len(runs) < 3:
            raise ValueError("once more")

    async with open_session(gateway, router=router):
        said = await gateway.user("Tom").says("hello")
        with trio.fail_after(10_000):
            await said.push.settled()
    assert [message.content for message in gateway.messages] == [{"text": "first"}, {"text": "second"}]
    assert len(set(runs)) == 1


async def test_two_handlers_say_each_its_own(autojump_clock: object, gateway: Gateway) -> None:
    router = Router()

    @router.on(MessageReceived)
    async def one(event: Event[MessageReceived]) -> None:
        await event.reply("hello")

    @router.on(MessageReceived)
    def two(event: Event[MessageReceived]) -> None:
        trio.from_thread.run(event.reply, "hello")

    async with open_session(gateway, router=router):
        said = await gateway.user("Tom").says("hello")
        await said.push.settled()
    assert len(gateway.messages) == 2


async def test_a_task_of_a_handler_speaks_for_it(autojump_clock: object, gateway: Gateway) -> None:
    router, attempts = Router(), list[int]()

    @router.on(MessageReceived)
    async def answer(event: Event[MessageReceived]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(event.reply, "hello")
        attempts.append(1)
        if len(attempts) == 1:
            raise ValueError("once more")

    async with open_session(gateway, router=router):
        said = await gateway.user("Tom").says("hello")
        await said.push.settled()
    assert (len(gateway.messages), len(attempts)) == (1, 2)


async def test_with_an_inbox_said_once_beyond_the_hour(autojump_clock: object, gateway: Gateway) -> None:
    router, runs = Router(), list[Sent]()

    @router.on(MessageReceived)
    async def answer(event: Event[MessageReceived]) -> None:
        runs.append(await event.reply(Markdown("a line\n\n" * 8000)))
        if len(runs) == 1:
            raise ValueError("once more, in two hours")

    inbox = MemoryInbox(retry_delay=7200, max_retry_delay=7200)
    async with open_session(gateway, router=router, inbox=inbox):
        await gateway.user("Tom").says("hello")
        with trio.fail_after(8000):
            await come_true(lambda: len(runs) == 2)
    assert runs[0] == runs[1]
    assert len(gateway.messages) == len(runs[0].message_ids)


async def test_with_an_inbox_no_part_is_said_twice(autojump_clock: object, gateway: Gateway) -> None:
    """A long text breaks off between two of its messages, and goes on there two hours later."""
    router, done = Router(), trio.Event()

    @router.on(MessageReceived, timeout=4)
    async def answer(event: Event[MessageReceived]) -> None:
        await event.reply(Markdown("".join(f"line {n}\n\n" for n in range(30_000))))
        done.set()

    async def break_off() -> None:
        await come_true(lambda: len(gateway.messages) >= 5)
        gateway.hang_calls("*/reply")
        await trio.sleep(100)
        gateway.accept()

    inbox = MemoryInbox(retry_delay=7200, max_retry_delay=7200)
    async with open_session(gateway, router=router, inbox=inbox), trio.open_nursery() as nursery:
        nursery.start_soon(break_off)
        await gateway.user("Tom").says("hello")
        with trio.fail_after(20_000):
            await done.wait()
    texts = [str(message.content) for message in gateway.messages]
    assert len(texts) > 10
    assert len(texts) == len(set(texts))


async def test_cancelled_as_it_is_said_it_is_noted(autojump_clock: object, gateway: Gateway) -> None:
    router, runs, done = Router(), list[int](), trio.Event()

    @router.on(MessageReceived)
    async def answer(event: Event[MessageReceived]) -> None:
        runs.append(1)
        with trio.CancelScope() as scope:
            notes = event.notes
            assert notes is not None
            if len(runs) == 1:  # cancelled where the message was sent, and is about to be noted
                real = type(notes).note

                async def note(self: Any, *arguments: Any) -> None:
                    scope.cancel()
                    await trio.lowlevel.checkpoint()
                    await real(self, *arguments)

                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(type(notes), "note", note)
                    await event.reply("hello")
                    await trio.lowlevel.checkpoint()
            else:
                await event.reply("hello")
                done.set()
        if len(runs) == 1:
            raise ValueError("once more, in two hours")

    inbox = MemoryInbox(retry_delay=7200, max_retry_delay=7200)
    async with open_session(gateway, router=router, inbox=inbox):
        await gateway.user("Tom").says("hello")
        with trio.fail_after(20_000):
            await done.wait()
    assert len(gateway.messages) == 1


async def test_events_without_ids_are_told_apart(autojump_clock: object, gateway: Gateway) -> None:
    router, sent = Router(), list[Sent]()

    @router.on("custom.v1")
    async def answer(event: Event[Any]) -> None:
        sent.append(await event.reply("hello"))

    async with open_session(gateway, router=router) as session:
        for number in (1, 2):
            payload = (
                f'{{"type":"event_callback","event":{{"type":"custom.v1","chat_id":"oc_1","n":{number}}}}}'
            )
            event = decode_event(payload.encode())
            event.port = session._bot
            await answer(event)
    assert len({each.message_id for each in sent}) == 2


async def test_what_was_said_is_known_after_a_restart(gateway: Gateway, tmp_path: Path) -> None:
    router, runs = Router(), list[Sent]()

    @router.on(MessageReceived)
    async def answer(event: Event[MessageReceived]) -> None:
        runs.append(await event.reply(f"run {len(runs)}"))
        if len(runs) == 1:
            await trio.sleep_forever()

    said = None
    for run in (1, 2):
        async with open_session(
            gateway, router=router, inbox=SQLiteInbox(tmp_path / "bot.db"), shutdown_timeout=0.1
        ):
            said = said or await gateway.user("Tom").says("hello")
            with trio.fail_after(5):
                await come_true(partial(reached, runs, run))
    assert (len(runs), len(gateway.messages)) == (2, 1)
    assert runs[0] == runs[1]


async def test_nowhere_to_reply(autojump_clock: object, gateway: Gateway) -> None:
    router, errors = Router(), list[ApiError]()

    @router.on("contact.user.created_v3")
    async def answer(event: Event[Any]) -> None:
        with pytest.raises(ApiError) as raised:
            await event.reply("hello")
        errors.append(raised.value)

    async with open_session(gateway, router=router):
        push = await gateway.push("contact.user.created_v3", {"object": {"open_id": "ou_1"}})
        await push.settled()
    assert "event.api.send" in str(errors[0])


async def test_the_message_was_recalled(autojump_clock: object, gateway: Gateway) -> None:
    router, errors = Router(), list[ApiError]()

    @router.on(MessageReceived, ack=Ack.ON_RECEIPT)
    async def answer(event: Event[MessageReceived]) -> None:
        await trio.sleep(5)
        with pytest.raises(MessageGone) as raised:
            await event.reply("hello")
        errors.append(raised.value)

    tom = gateway.user("Tom")
    async with open_session(gateway, router=router):
        await tom.recalls(await tom.says("hello"))
        await trio.sleep(10)
    assert errors


async def test_without_a_session(gateway: Gateway) -> None:
    event = decode_event(b'{"schema":"2.0","header":{"event_type":"x"},"event":{}}')
    with pytest.raises(RuntimeError, match="not handled by a session"):
        await event.reply("hello")


async def test_a_loop_over_events_replies(autojump_clock: object, gateway: Gateway) -> None:
    async with open_session(gateway) as session, session.events("im.message.receive_v1") as events:
        await gateway.user("Tom").says("hello")
        async for event in events:
            await event.reply("hello yourself")
            break
    assert [message.content for message in gateway.messages] == [{"text": "hello yourself"}]


def reached(values: list[Any], count: int) -> bool:
    return len(values) == count
