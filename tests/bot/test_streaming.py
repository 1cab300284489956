"""Streamed answers: they grow, are whole at the end, and go on after a restart."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from feishu_trio import Ack, ApiError, Event, MemoryInbox, Router, SQLiteInbox
from feishu_trio.events.im import MessageReceived
from feishu_trio.testing import Gateway
from session.rig import come_true, open_session

LONG = "".join(f"paragraph {n}\n\n" for n in range(4000))


async def fate(
    gateway: Gateway, handle: Callable[[Event[MessageReceived]], Awaitable[object]]
) -> list[BaseException]:
    """What a handler raised that was run once."""
    router, raised, done = Router(), list[BaseException](), trio.Event()

    @router.on(MessageReceived, ack=Ack.ON_RECEIPT)
    async def answer(event: Event[MessageReceived]) -> None:
        try:
            await handle(event)
        except BaseException as error:
            raised.append(error)
            raise
        finally:
            done.set()

    async with open_session(gateway, router=router):
        await gateway.user("Tom").says("tell")
        with trio.fail_after(100):
            await done.wait()
    return raised


async def test_it_grows(autojump_clock: object, gateway: Gateway) -> None:
    router = Router()

    @router.on(MessageReceived, ack=Ack.ON_RECEIPT)
    async def answer(event: Event[MessageReceived]) -> None:
        async with event.stream() as stream:
            for number in range(100):
                await stream.append(f"{number} ")
                await trio.sleep(0.03)

    tom = gateway.user("Tom")
    async with open_session(gateway, router=router):
        await tom.says("count")
        await tom.waits_for("0 1 2")
        assert "99" not in tom.sees()
        seen = await tom.waits_for(lambda seen: "98 99" in seen and "stream" not in seen)
    assert len(gateway.messages) == 1
    assert " ".join(map(str, range(100))) in seen


async def test_nothing_is_written_after_its_end(autojump_clock: object, gateway: Gateway) -> None:
    router, errors = Router(), []

    @router.on(MessageReceived)
    async def answer(event: Event[MessageReceived]) -> None:
        async with event.stream() as stream:
            await stream.append("one")
        for write in (stream.append, stream.replace):
            try:
                await write("two")
            except RuntimeError as error:
                errors.append(str(error))

    tom = gateway.user("Tom")
    async with open_session(gateway, router=router):
        await tom.says("count")
        with trio.fail_after(60):
            await come_true(lambda: len(errors) == 2)
    assert all("the answer has ended" in error for error in errors)
    assert tom.sees().splitlines()[-1] == "Bot: one"


async def test_newest_text_wins_at_ten_operations_a_second(autojump_clock: object, gateway: Gateway) -> None:
    """The gateway refuses the eleventh within a second; none is refused."""
    router, done = Router(), trio.Event()

    @router.on(MessageReceived, ack=Ack.ON_RECEIPT)
    async def answer(event: Event[MessageReceived]) -> None:
        async with event.stream() as stream:
            for number in range(3000):
                await stream.replace(f"now {number}")
                await trio.sleep(0.001)
        done.set()

    tom = gateway.user("Tom")
    async with open_session(gateway, router=router):
        await tom.says("count")
        await done.wait()
        assert "now 2999" in tom.sees()


async def test_a_long_text_takes_several_cards(autojump_clock: object, gateway: Gateway) -> None:
    router, done, text = Router(), trio.Event(), "".join(f"paragraph {n}\n\n" for n in range(8000))

    @router.on(MessageReceived, ack=Ack.ON_RECEIPT)
    async def answer(event: Event[MessageReceived]) -> None:
        async with event.stream() as stream:
            for at in range(0, len(text), 997):
                await stream.append(text[at : at + 997])
                await trio.sleep(0.2)
        assert len(stream.message_ids) > 3
        done.set()

    tom = gateway.user("Tom")
    async with open_session(gateway, router=router):
        await tom.says("tell")
        with trio.fail_after(200):
            await done.wait()
    seen = tom.sees()
    assert [n for n in range(8000) if f"paragraph {n}\n" not in f"{seen}\n"] == []


@pytest.mark.parametrize("how", ["fails", "is cancelled"])
async def test_broken_off(autojump_clock: object, gateway: Gateway, how: str) -> None:
    router = Router()

    @router.on(MessageReceived, ack=Ack.ON_RECEIPT, timeout=5)
    async def answer(event: Event[MessageReceived]) -> None:
        async with event.stream(interrupted="(no more)") as stream:
            await stream.append("half")
            await trio.sleep(1 if how == "fails" else 100)
            raise ValueError("no more")

    tom = gateway.user("Tom")
    async with open_session(gateway, router=router):
        await tom.says("tell")
        await tom.waits_for("half", timeout=10)
        seen = await tom.waits_for("(no more)", timeout=20)
        assert "half" in seen


async def test_the_handlers_own_exception_comes_out(autojump_clock: object, gateway: Gateway) -> None:
    router, raised = Router(), list[BaseException]()

    @router.on(MessageReceived, ack=Ack.ON_RECEIPT)
    async def answer(event: Event[MessageReceived]) -> None:
        try:
            async with event.stream() as stream:
                await stream.append("half")
                raise KeyError("mine")
        except BaseException as error:
            raised.append(error)

    tom = gateway.user("Tom")
    async with open_session(gateway, router=router):
        await tom.says("tell")
        await tom.waits_for("interrupted")
    assert [type(error) for error in raised] == [KeyError]


async def test_without_the_permission_it_is_a_message(autojump_clock: object, gateway: Gateway) -> None:
    router = Router()
    gateway.refuse_calls("/open-apis/cardkit/*", code=99991672, status=400)

    @router.on(MessageReceived, ack=Ack.ON_RECEIPT)
    async def answer(event: Event[MessageReceived]) -> None:
        async with event.stream() as stream:
            await stream.append("all ")
            await stream.append("of it")

    tom = gateway.user("Tom")
    async with open_session(gateway, router=router):
        await tom.says("tell")
        await tom.waits_for("all of it")
    assert [message.msg_type for message in gateway.messages] == ["post"]


async def test_the_end_is_shown_though_calls_fail_for_a_while(
    autojump_clock: object, gateway: Gateway
) -> None:
    router, done = Router(), trio.Event()

    @router.on(MessageReceived, ack=Ack.ON_RECEIPT)
    async def answer(event: Event[MessageReceived]) -> None:
        async with event.stream() as stream:
            await stream.append("one ")
            await trio.sleep(2)
            gateway.refuse_calls("/open-apis/cardkit/*", code=2200, status=500, times=3)
            await stream.append("two ")
            await trio.sleep(0.2)
            await stream.append("three")
        done.set()

    tom = gateway.user("Tom")
    async with open_session(gateway, router=router):
        await tom.says("tell")
        with trio.fail_after(60):
            await done.wait()
    assert "one two three" in tom.sees()


async def test_an_end_that_cannot_be_shown_is_a_failure(autojump_clock: object, gateway: Gateway) -> None:
    router, raised = Router(), list[ApiError]()

    @router.on(MessageReceived, ack=Ack.ON_RECEIPT)
    async def answer(event: Event[MessageReceived]) -> None:
        try:
            async with event.stream() as stream:
                gateway.refuse_calls("/open-apis/cardkit/*", code=2200, status=500)
                await stream.append("one")
        except ApiError as error:
            raised.append(error)

    async with open_session(gateway, router=router):
        await gateway.user("Tom").says("tell")
        with trio.fail_after(60):
            await come_true(lambda: raised)


async def test_it_outlives_the_ten_minutes_that_a_card_streams(
    autojump_clock: object, gateway: Gateway
) -> None:
    router, done = Router(), trio.Event()

    @router.on(MessageReceived, ack=Ack.ON_RECEIPT)
    async def answer(event: Event[MessageReceived]) -> None:
        async with event.stream() as stream:
            await stream.append("begun ")
            await trio.sleep(700)
            await stream.append("ended")
        done.set()

    tom = gateway.user("Tom")
    async with open_session(gateway, router=router):
        await tom.says("tell")
        await done.wait()
        assert "begun ended" in tom.sees()


async def test_with_an_inbox_the_next_attempt_goes_on_in_the_same_card(
    autojump_clock: object, gateway: Gateway
) -> None:
    router, runs = Router(), list[int]()

    @router.on(MessageReceived)
    async def answer(event: Event[MessageReceived]) -> None:
        runs.append(event.attempt)
        async with event.stream() as stream:
            await stream.append(f"run {len(runs)}")
            await trio.sleep(1)
            if len(runs) < 3:
                raise ValueError("once more")

    tom = gateway.user("Tom")
    async with open_session(
        gateway, router=router, inbox=MemoryInbox(retry_delay=5000, max_retry_delay=5000)
    ):
        await tom.says("tell")
        seen = await tom.waits_for("run 3", timeout=20_000)
        seen = await tom.waits_for(lambda seen: "stream" not in seen, timeout=100)
    assert len(gateway.messages) == 1
    assert ("interrupted" in seen, "run 1" in seen) == (False, False)


async def test_a_whole_answer_is_not_written_again(autojump_clock: object, gateway: Gateway) -> None:
    router, runs = Router(), list[tuple[str, ...]]()

    @router.on(MessageReceived)
    async def answer(event: Event[MessageReceived]) -> None:
        async with event.stream() as stream:
            await stream.append(f"run {len(runs) + 1}")
        runs.append(stream.message_ids)
        if len(runs) == 1:
            raise ValueError("once more")

    tom = gateway.user("Tom")
    async with open_session(gateway, router=router, inbox=MemoryInbox()):
        await tom.says("tell")
        with trio.fail_after(100):
            await come_true(lambda: len(runs) == 2)
        await trio.sleep(5)
    assert "run 1" in tom.sees()
    assert "run 2" not in tom.sees()
    assert runs[0] == runs[1]


async def test_it_goes_on_after_a_restart(gateway: Gateway, tmp_path: Path) -> None:
    router, runs = Router(), list[int]()

    @router.on(MessageReceived)
    async def answer(event: Event[MessageReceived]) -> None:
        runs.append(1)
        async with event.stream() as stream:
            await stream.append(f"run {len(runs)}")
            if len(runs) == 1:
                await trio.sleep_forever()

    tom, asked = gateway.user("Tom"), False
    for run in ("run 1", "run 2"):
        inbox = SQLiteInbox(tmp_path / "bot.db")
        async with open_session(gateway, router=router, inbox=inbox, shutdown_timeout=0.1):
            if not asked:
                await tom.says("tell")
            asked = True
            await tom.waits_for(run)
    seen = tom.sees()
    assert (len(gateway.messages), "interrupted" in seen, "run 1" in seen) == (1, False, False)


@pytest.mark.parametrize("steps", range(0, 60, 3))
async def test_cancelled_wherever_it_stands_no_card_is_left_streaming(
    autojump_clock: object, gateway: Gateway, steps: int
) -> None:
    was_cancelled = False

    async def handle(event: Event[MessageReceived]) -> None:
        nonlocal was_cancelled
        with trio.CancelScope() as scope:

            async def cancel() -> None:
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
                scope.cancel()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel)
                async with event.stream() as answer:
                    await answer.append("half")
                    await trio.sleep(0.5)
        was_cancelled = scope.cancelled_caught

    assert await fate(gateway, handle) == []
    seen = gateway.user("Tom").sees()
    assert was_cancelled
    assert "(streaming)" not in seen
    assert ("interrupted" in seen) == bool(gateway.messages)


async def test_a_shorter_text_empties_the_cards_behind(autojump_clock: object, gateway: Gateway) -> None:
    async def handle(event: Event[MessageReceived]) -> None:
        async with event.stream() as answer:
            await answer.append(LONG)
            await trio.sleep(5)
            assert len(answer.message_ids) > 1
            await answer.replace("short")

    assert await fate(gateway, handle) == []
    seen = gateway.user("Tom").sees()
    assert ("short" in seen, "paragraph" in seen) == (True, False)
    assert not gateway.refused


async def test_a_shorter_text_of_the_next_run_does_so_too(autojump_clock: object, gateway: Gateway) -> None:
    router, runs, done = Router(), list[int](), trio.Event()

    @router.on(MessageReceived)
    async def answer(event: Event[MessageReceived]) -> None:
        runs.append(1)
        async with event.stream() as stream:
            await stream.append(LONG if len(runs) == 1 else "short")
            await trio.sleep(5)
            if len(runs) == 1:
                raise ValueError("once more")
        done.set()

    tom = gateway.user("Tom")
    async with open_session(gateway, router=router, inbox=MemoryInbox()):
        await tom.says("tell")
        with trio.fail_after(100):
            await done.wait()
    assert ("short" in tom.sees(), "paragraph" in tom.sees()) == (True, False)


async def test_half_characters_are_joined(autojump_clock: object, gateway: Gateway) -> None:
    """As models hand them out, whose text comes in pieces of JSON."""

    async def handle(event: Event[MessageReceived]) -> None:
        async with event.stream() as answer:
            await answer.append("hello \ud83d")
            await trio.sleep(1)
            await answer.append("\ude00, and \ud83d alone")

    assert await fate(gateway, handle) == []
    assert "hello \U0001f600, and \ufffd alone" in gateway.user("Tom").sees()


async def test_nothing_to_say_without_cards(autojump_clock: object, gateway: Gateway) -> None:
    gateway.refuse_calls("/open-apis/cardkit/*", code=99991672, status=400)

    async def handle(event: Event[MessageReceived]) -> None:
        async with event.stream() as answer:
            await answer.append("\n")

    assert await fate(gateway, handle) == []
    assert not gateway.messages


@pytest.mark.parametrize(
    ("call", "code", "status"), [("/open-apis/cardkit/*", 1, 404), ("*/reply", 230099, 400)]
)
async def test_where_there_are_no_such_cards_it_is_a_message(
    autojump_clock: object, gateway: Gateway, call: str, code: int, status: int
) -> None:
    gateway.refuse_calls(call, code=404 if status == 404 else code, status=status, times=1)

    async def handle(event: Event[MessageReceived]) -> None:
        async with event.stream() as answer:
            await answer.append("all of it")

    assert await fate(gateway, handle) == []
    assert [message.msg_type for message in gateway.messages] == ["post"]


async def test_a_click_on_the_card_does_not_end_it(autojump_clock: object, gateway: Gateway) -> None:
    """Feishu takes no operation on a card while somebody clicks on it."""

    async def handle(event: Event[MessageReceived]) -> None:
        async with event.stream() as answer:
            await answer.append("one ")
            await trio.sleep(1)
            gateway.refuse_calls("*/content", code=200810, status=400, times=1)
            await answer.append("two ")
            await trio.sleep(3)
            await answer.append("three")

    assert await fate(gateway, handle) == []
    assert "one two three" in gateway.user("Tom").sees()
    assert len(gateway.messages) == 1


async def test_cancelled_at_its_end_it_is_cancelled_though_calls_fail(
    autojump_clock: object, gateway: Gateway
) -> None:
    was_cancelled = False

    async def handle(event: Event[MessageReceived]) -> None:
        nonlocal was_cancelled
        with trio.move_on_after(2) as scope:
            async with event.stream() as answer:
                await answer.append("one ")
                await trio.sleep(1)
                gateway.refuse_calls("/open-apis/cardkit/*", code=2200, status=500)
                await answer.append("two")
        was_cancelled = scope.cancelled_caught

    assert await fate(gateway, handle) == []
    assert was_cancelled


async def test_one_within_another_raises_what_was_raised(autojump_clock: object, gateway: Gateway) -> None:
    async def handle(event: Event[MessageReceived]) -> None:
        async with event.stream() as outer, event.stream() as inner:
            await outer.append("one")
            await inner.append("two")
            await trio.sleep(1)
            raise KeyError("mine")

    assert [type(error) for error in await fate(gateway, handle)] == [KeyError]
    assert gateway.user("Tom").sees().count("interrupted") == 2


async def test_a_writer_that_fails_says_why(autojump_clock: object, gateway: Gateway) -> None:
    """And not that the block was cancelled, which nobody had done."""

    async def handle(event: Event[MessageReceived]) -> None:
        async with event.stream() as answer:
            await answer.append("one")
            await trio.sleep(1)
            answer._text = 3  # type: ignore[attr-defined]
            answer._is_changed = True  # type: ignore[attr-defined]
            answer._changed.unpark_all()  # type: ignore[attr-defined]
            await trio.sleep(10)

    assert [type(error) for error in await fate(gateway, handle)] == [AttributeError]
