"""Handlers of every kind, good and bad: what one does costs its own event alone."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from feishu_trio import CallNext, ConfigError, Event, Retry, Router, open_feishu_session

from .scene import CARD, MESSAGE, USER, open_scene, open_session


async def answers(router: Router, event_type: str = USER, **settings: Any) -> list[int]:
    """The codes of the answers to one event, delivered once."""
    async with open_scene(router, gateway={"ladder": ()}, **settings) as scene:
        push = await scene.gateway.push(event_type, event_id="e1")
        await push.settled()
        # The session has not suffered.
        router.on("x.y")(lambda event: None)
        router.remove(router.handlers("x.y")[0])
        assert (await (await scene.gateway.push("x.y")).settled()).code == 200
        return [answer.code for answer in push.answers]


def failures(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]


# Kinds


class Counting:
    def __init__(self) -> None:
        self.seen: list[str] = []

    async def method(self, event: Event[Any]) -> None:
        self.seen.append(event.id)

    async def __call__(self, event: Event[Any]) -> None:
        self.seen.append(event.id)

    async def with_more(self, more: int, event: Event[Any]) -> None:
        self.seen.append(event.id)

    def plain(self, event: Event[Any]) -> Awaitable[None]:
        return self.method(event)


@pytest.mark.parametrize(
    ("make", "is_async"),
    [
        (lambda c: c.method, True),
        (lambda c: c, True),
        (lambda c: functools.partial(c.with_more, 1), True),
        (lambda c: functools.partial(c), True),
        (lambda c: lambda event: c.method(event), False),
        (lambda c: c.plain, False),
        (lambda c: lambda event: c.seen.append(event.id), False),
    ],
    ids=["method", "object", "partial", "partial of an object", "lambda", "returns awaitable", "plain"],
)
async def test_every_kind_of_callable_is_called_and_awaited(
    make: Callable[[Counting], Any], is_async: bool
) -> None:
    counting = Counting()
    router = Router()
    router.on(USER)(make(counting))
    assert router.routes()[0].is_async is is_async
    with trio.fail_after(5):
        assert await answers(router) == [200]
    assert counting.seen == ["e1"]


async def test_a_plain_function_runs_in_a_thread_and_its_result_is_the_answer() -> None:
    router = Router()
    here = threading.get_ident()

    @router.on(CARD)
    def handle(event: Event[Any]) -> dict[str, bool]:
        return {"elsewhere": threading.get_ident() != here}

    async with open_scene(router) as scene:
        with trio.fail_after(5):
            assert (await (await scene.gateway.push(CARD)).settled()).data == {"elsewhere": True}


# Bad ones


class Stop(BaseException):
    pass


@pytest.mark.parametrize(
    "error",
    [
        ValueError("this went wrong"),
        trio.TooSlowError("this went wrong"),
        ExceptionGroup("this went wrong", [ValueError(), KeyError()]),
        TimeoutError("this went wrong"),
        StopAsyncIteration("this went wrong"),
        RecursionError("this went wrong"),
        MemoryError("this went wrong"),
        AssertionError("this went wrong"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_a_handler_raises_is_logged_once_and_costs_its_event_alone(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    router = Router()

    @router.on(USER, name="bad")
    async def bad(event: Event[Any]) -> None:
        raise error

    assert await answers(router) == [500]
    (line,) = failures(caplog)
    assert line.startswith(
        f"handler bad failed on event e1 ({USER}): {type(error).__name__}: this went wrong"
    )


async def test_an_error_without_words_is_logged_by_its_type(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    router = Router()

    @router.on(USER, name="bad")
    async def bad(event: Event[Any]) -> None:
        with trio.fail_after(1):
            await trio.sleep_forever()

    assert await answers(router) == [500]
    assert failures(caplog) == [f"handler bad failed on event e1 ({USER}): TooSlowError"]


@pytest.mark.parametrize("error", [Stop(), SystemExit(3), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("grouped", [False, True])
async def test_what_ends_a_program_leaves_the_session(
    autojump_clock: MockClock, error: BaseException, grouped: bool
) -> None:
    router = Router()

    @router.on(USER)
    async def ends_it(event: Event[Any]) -> None:
        if grouped:
            raise BaseExceptionGroup("some", [error, ValueError()])
        raise error

    met: BaseException | None = None
    try:
        async with open_scene(router) as scene:
            await scene.gateway.push(USER)
            await trio.sleep_forever()
    except BaseException as raised:
        met = raised
    assert _holds(met, error)


def _holds(raised: BaseException | None, error: BaseException) -> bool:
    if isinstance(raised, BaseExceptionGroup):
        return any(_holds(each, error) for each in raised.exceptions)
    return raised is error


async def test_a_handler_may_cancel_what_is_its_own(autojump_clock: MockClock) -> None:
    router = Router()

    @router.on(USER)
    async def cancels(event: Event[Any]) -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            await trio.sleep_forever()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.cancel_scope.cancel()

    assert await answers(router) == [200]


@pytest.mark.parametrize("grouped", [False, True])
async def test_a_cancellation_out_of_nowhere_is_the_handlers_own_failure(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, grouped: bool
) -> None:
    router = Router()

    @router.on(USER, name="odd")
    async def odd(event: Event[Any]) -> None:
        kept: BaseException | None = None
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.sleep_forever()
            except trio.Cancelled as error:
                kept = error
        assert kept is not None
        raise BaseExceptionGroup("some", [kept]) if grouped else kept

    assert await answers(router) == [500]
    assert failures(caplog) == [
        f"handler odd failed on event e1 ({USER}): "
        "RuntimeError: it raised trio.Cancelled although nobody had cancelled it"
    ]


@pytest.mark.parametrize("how", ["by leaving", "by cancelling"])
async def test_an_error_that_meets_the_end_of_the_session_does_not_leave_it(
    autojump_clock: MockClock, how: str
) -> None:
    router = Router()
    met = []

    async def fails_at_the_end() -> None:
        try:
            await trio.sleep_forever()
        finally:
            met.append(1)
            raise ValueError("while cleaning up")

    @router.on(USER)
    async def bad(event: Event[Any]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails_at_the_end)
            nursery.start_soon(trio.sleep_forever)

    with trio.CancelScope() as scope:
        async with open_scene(router, shutdown_timeout=1) as scene:
            await scene.gateway.push(USER)
            await trio.sleep(1)
            if how == "by cancelling":
                scope.cancel()
                await trio.sleep_forever()
    assert met == [1]


async def test_nothing_new_begins_once_the_session_is_cancelled(autojump_clock: MockClock) -> None:
    router = Router()
    began = []

    @router.on(USER)
    async def bad(event: Event[Any]) -> None:
        began.append(event.id)
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            raise ValueError("in the place of its cancellation") from None

    with trio.move_on_after(1):
        async with open_scene(router, concurrency=1) as scene:
            for _ in range(3):
                await scene.gateway.push(USER)
            await trio.sleep_forever()
    assert len(began) == 1


async def test_a_handler_that_swallows_cancellation_does_not_keep_the_session(
    autojump_clock: MockClock,
) -> None:
    router = Router()

    @router.on(USER)
    async def stubborn(event: Event[Any]) -> None:
        for _ in range(3):
            with contextlib.suppress(trio.Cancelled):
                await trio.sleep_forever()

    async with open_scene(router, shutdown_timeout=1) as scene:
        await scene.gateway.push(USER)
        await trio.sleep(1)
    assert trio.current_time() < 5


# Timeouts


async def test_a_handler_is_cancelled_at_its_timeout_and_runs_again(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    router = Router()
    began = []

    @router.on(USER, timeout=2, name="slow")
    async def slow(event: Event[Any]) -> None:
        began.append(trio.current_time())
        if len(began) == 1:
            await trio.sleep(3)

    async with open_scene(router) as scene:
        push = await scene.gateway.push(USER, event_id="e1")
        await push.settled()
        assert [(answer.code, answer.at) for answer in push.answers] == [(500, 2), (200, 17)]
    assert failures(caplog) == [
        f"handler slow failed on event e1 ({USER}): TimeoutError: not done after its timeout of 2 s"
    ]


async def test_a_handler_that_ignores_its_timeout_has_failed_all_the_same(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    router = Router()

    @router.on(USER, timeout=1, name="stubborn")
    async def stubborn(event: Event[Any]) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(2)

    assert await answers(router) == [500]
    assert failures(caplog) == [
        f"handler stubborn failed on event e1 ({USER}): "
        "TimeoutError: done only after its timeout of 1 s: it did not stop when cancelled"
    ]


async def test_a_thread_that_outlives_its_timeout_keeps_its_place_and_no_worker() -> None:
    # Threads, so in real time.
    router = Router()
    release = threading.Event()
    plain_runs = []

    @router.on(USER, timeout=0.05)
    def stuck(event: Event[Any]) -> None:
        plain_runs.append(event.id)
        release.wait(5)

    @router.on(MESSAGE)
    async def quick(event: Event[Any]) -> None:
        pass

    async with open_scene(router, concurrency=2, gateway={"ladder": ()}) as scene:
        with trio.fail_after(5):
            for _ in range(4):
                assert (await (await scene.gateway.push(USER)).settled()).code == 500
            # Two threads are stuck, the two after them never began; who needs no thread goes on.
            assert len(plain_runs) == 2
            assert (await (await scene.say(1)).settled()).code == 200
            release.set()
            while plain_runs[-1] != "last":
                await (await scene.gateway.push(USER, event_id="last")).settled()
                await trio.sleep(0.01)


# Results


async def test_a_result_that_json_cannot_hold_fails_a_callback(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    router = Router()

    @router.on(CARD, name="bad")
    async def bad(event: Event[Any]) -> object:
        return object()

    assert await answers(router, CARD) == [500]
    (line,) = failures(caplog)
    assert line.startswith(
        f"handler bad failed on event e1 ({CARD}): TypeError: a handler's result (object) cannot"
    )


async def test_and_is_only_not_sent_where_nobody_waits_for_it(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    router = Router()

    @router.on(USER, name="bad")
    async def bad(event: Event[Any]) -> object:
        return object()

    assert await answers(router) == [200]
    assert failures(caplog) == []
    assert f"what handler bad returned for event e1 ({USER}) is not sent" in caplog.text


async def test_an_exception_that_is_returned_is_said_to_be_one_to_raise(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    router = Router()

    @router.on(USER, name="bad")
    async def bad(event: Event[Any]) -> object:
        return Retry(30)

    assert await answers(router) == [200]
    assert "is not sent: Retry is an exception: it is raised, not returned" in caplog.text


# Filters and keys


def _raises(event: Event[Any]) -> object:
    raise LookupError("not there")


@pytest.mark.parametrize(
    "options",
    [{"where": _raises}, {"order_by": _raises}, {"order_by": lambda event: [1]}],
    ids=["where", "order_by", "unhashable"],
)
async def test_a_filter_or_key_function_that_fails_costs_its_handler_alone(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, options: dict[str, Any]
) -> None:
    router = Router()
    runs = []

    @router.on(USER, name="bad", **options)
    async def bad(event: Event[Any]) -> None:
        runs.append("bad")

    @router.on(USER)
    async def good(event: Event[Any]) -> None:
        runs.append("good")

    async with open_scene(router, gateway={"ladder": (15,)}) as scene:
        push = await scene.gateway.push(USER, event_id="e1")
        assert (await push.settled()).code == 500
        assert runs == ["good"], "it does not run again for the sake of the other"
    assert [line[: len("handler bad failed on event e1")] for line in failures(caplog)] == [
        "handler bad failed on event e1"
    ] * 2, "once for each delivery"


async def test_where_chooses(autojump_clock: MockClock) -> None:
    router = Router()
    seen = []

    @router.on(MESSAGE, where=lambda event: event.text == "hello")
    async def hello(event: Event[Any]) -> None:
        seen.append("hello")

    @router.on(MESSAGE, where=lambda event: event.text == "bye")
    async def bye(event: Event[Any]) -> None:
        seen.append("bye")

    async with open_scene(router) as scene:
        assert (await (await scene.say(1)).settled()).code == 200
        assert scene.session.stats().unhandled == 0
    assert seen == ["hello"]


# Order


async def test_note_16_one_chat_in_order_and_chats_side_by_side(autojump_clock: MockClock) -> None:
    router = Router()
    done: list[tuple[str, str, float]] = []

    @router.on(MESSAGE)
    async def handle(event: Event[Any]) -> None:
        number = int(event.data.message.message_id[3:])
        await trio.sleep(1 if number == 1 else 0.1)
        done.append(
            (event.data.message.chat_id, event.data.message.message_id, round(trio.current_time(), 3))
        )

    async with open_scene(router) as scene:
        for number, chat in enumerate(["b", "a", "a", "b", "a"]):
            await scene.say(number, chat)
        await trio.sleep(5)
    assert [each for each in done if each[0] == "a"] == [
        ("a", "om_1", 1),
        ("a", "om_2", 1.1),
        ("a", "om_4", 1.2),
    ]
    assert [each for each in done if each[0] == "b"] == [("b", "om_0", 0.1), ("b", "om_3", 0.2)]


async def test_note_16_the_handlers_of_one_event_do_not_wait_for_each_other(
    autojump_clock: MockClock,
) -> None:
    router = Router()
    done = []

    @router.on(MESSAGE)
    async def slow(event: Event[Any]) -> None:
        await trio.sleep(1)
        done.append(("slow", trio.current_time()))

    @router.on(MESSAGE)
    async def quick(event: Event[Any]) -> None:
        done.append(("quick", trio.current_time()))

    async with open_scene(router) as scene:
        for number in range(2):
            await scene.say(number)
        await trio.sleep(5)
    assert done == [("quick", 0), ("quick", 0), ("slow", 1), ("slow", 2)]


async def test_note_16_order_outlives_a_change_of_the_router(autojump_clock: MockClock) -> None:
    router = Router()
    at_work = most = 0

    @router.middleware
    async def count(event: Event[Any], call_next: CallNext) -> object:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await call_next(event)
        at_work -= 1
        return None

    @router.on(MESSAGE)
    async def handle(event: Event[Any]) -> None:
        await trio.sleep(1)

    async with open_scene(router) as scene:
        for number in range(3):
            await scene.say(number)
            await trio.sleep(0.1)
            router.on(f"x.y{number}")(lambda event: None)
        await trio.sleep(5)
    assert most == 1


async def test_a_key_of_ones_own(autojump_clock: MockClock) -> None:
    router = Router()
    done = []

    @router.on("x.*", order_by=lambda event: event.raw["event"].get("key"))
    async def handle(event: Event[Any]) -> None:
        await trio.sleep(1)
        done.append(trio.current_time())

    async with open_scene(router) as scene:
        for key in (1, 1, 2, None, None, 1):
            await scene.gateway.push("x.y", {"key": key})
        await trio.sleep(10)
    assert done == [1, 1, 1, 1, 2, 3]


# Middleware


async def test_middleware_wraps_in_the_order_it_was_added(autojump_clock: MockClock) -> None:
    router, inner = Router(), Router()
    seen = []

    def note(name: str) -> Callable[[Event[Any], CallNext], Awaitable[object]]:
        async def middleware(event: Event[Any], call_next: CallNext) -> object:
            seen.append(f"{name} in")
            result = await call_next(event)
            seen.append(f"{name} out")
            return result

        return middleware

    router.middleware(note("1"))
    inner.middleware(note("3"))
    router.middleware(note("2"))
    router.include(inner)

    @inner.on(CARD)
    async def handle(event: Event[Any]) -> str:
        seen.append("handler")
        return "result"

    async with open_scene(router) as scene:
        assert (await (await scene.gateway.push(CARD)).settled()).data == "result"
    assert seen == ["1 in", "2 in", "3 in", "handler", "3 out", "2 out", "1 out"]


async def test_middleware_that_skips_repeats_replaces_or_raises(autojump_clock: MockClock) -> None:
    router = Router()
    runs = []

    @router.middleware
    async def play(event: Event[Any], call_next: CallNext) -> object:
        match event.raw["event"].get("play"):
            case "skip":
                return "skipped"
            case "twice":
                await call_next(event)
                return await call_next(event)
            case "raise":
                raise ValueError("no")
            case _:
                return {"was": await call_next(event)}

    @router.on(CARD)
    async def handle(event: Event[Any]) -> int:
        runs.append(event.id)
        return len(runs)

    async with open_scene(router) as scene:

        async def ask(play: str) -> tuple[int, object]:
            answer = await (await scene.gateway.push(CARD, {"play": play})).settled()
            return answer.code, answer.data

        assert await ask("skip") == (200, "skipped")
        assert await ask("twice") == (200, 2)
        assert await ask("raise") == (500, None)
        assert await ask("") == (200, {"was": 3})


async def test_a_plain_handler_behind_middleware_runs_in_its_thread() -> None:
    router = Router()
    here = threading.get_ident()

    @router.middleware
    async def through(event: Event[Any], call_next: CallNext) -> object:
        assert threading.get_ident() == here
        return await call_next(event)

    @router.on(CARD, timeout=5)
    def handle(event: Event[Any]) -> bool:
        return threading.get_ident() != here

    async with open_scene(router) as scene:
        assert (await (await scene.gateway.push(CARD)).settled()).data is True


# At run time


async def test_handlers_come_and_go_while_the_session_runs(autojump_clock: MockClock) -> None:
    router = Router()
    runs = []

    async def handle(event: Event[Any]) -> None:
        runs.append(event.id)

    async with open_scene(router) as scene:
        for number in range(3):
            await (await scene.gateway.push(USER, event_id=f"without {number}")).settled()
            router.on(USER)(handle)
            await (await scene.gateway.push(USER, event_id=f"with {number}")).settled()
            router.remove(handle)
    assert runs == ["with 0", "with 1", "with 2"]


async def test_one_router_in_two_sessions(autojump_clock: MockClock) -> None:
    router = Router()
    runs = []

    @router.on(USER)
    async def handle(event: Event[Any]) -> None:
        runs.append(event.id)
        await trio.sleep(1)

    async with open_scene(router) as one, open_scene(router) as two:
        pushes = [await scene.gateway.push(USER, event_id="same") for scene in (one, two)]
        for push in pushes:
            assert (await push.settled()).at == 1
        assert runs == ["same", "same"], "each session has its own memory"


async def test_a_pool_that_is_not_there_is_reported_and_the_default_one_serves(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    router = Router()
    async with open_scene(router) as scene:

        @router.on(USER, pool="nowhere", name="lost")
        async def handle(event: Event[Any]) -> None:
            pass

        for _ in range(2):
            assert (await (await scene.gateway.push(USER)).settled()).code == 200
    assert failures(caplog) == [
        "handler lost: there is no pool 'nowhere', so it runs in the default one; name it in pools= of the session"
    ]


async def test_a_pool_that_is_not_there_when_the_session_opens_is_an_error() -> None:
    router = Router()

    @router.on(USER, pool="slow", name="lost")
    async def handle(event: Event[Any]) -> None: ...

    with pytest.raises(
        ConfigError,
        match=r"handler lost: there is no pool 'slow'; there are callbacks, default, messages; "
        r"name it in the session's settings: pools=\{'slow': 8\}, or in their file: "
        r'pools = \{ "slow" = 8 \}$',
    ):
        async with open_feishu_session("cli_a", "secret", router=router):
            pass


# The end


async def test_leaving_lets_handlers_end_and_writes_their_answers(autojump_clock: MockClock) -> None:
    router = Router()

    @router.on(USER)
    async def slow(event: Event[Any]) -> None:
        await trio.sleep(5)

    async with open_scene(router, concurrency=1) as scene:
        pushes = [await scene.gateway.push(USER, ladder=()) for _ in range(2)]
        await trio.sleep(0.1)
    assert [push.status for push in pushes] == [200, 200]
    assert trio.current_time() == pytest.approx(10)


async def test_what_does_not_end_in_time_is_cancelled_and_refused(autojump_clock: MockClock) -> None:
    router = Router()
    cancelled = []

    @router.on(USER)
    async def endless(event: Event[Any]) -> None:
        try:
            await trio.sleep_forever()
        finally:
            cancelled.append(event.id)

    payload = b'{"schema":"2.0","header":{"event_type":"' + USER.encode() + b'"},"event":{}}'
    async with open_scene(router, shutdown_timeout=2) as scene:
        pushes = [await scene.gateway.push(USER, ladder=()) for _ in range(2)]
        pushes.append(await scene.gateway.push(USER, payload=payload, ladder=()))
        await trio.sleep(0.1)
        await scene.session.aclose()
        await trio.sleep(1)
        assert [push.answers[0].code for push in pushes] == [500, 500, 500]
    assert len(cancelled) == 3
    assert trio.current_time() == pytest.approx(3.1)


async def test_cancelling_the_block_ends_it_at_once(autojump_clock: MockClock) -> None:
    router = Router()

    @router.on(USER)
    async def endless(event: Event[Any]) -> None:
        await trio.sleep_forever()

    with trio.move_on_after(1):
        async with open_scene(router) as scene:
            await scene.gateway.push(USER)
            await trio.sleep_forever()
    assert trio.current_time() == 1


async def test_a_handler_may_close_the_session(autojump_clock: MockClock) -> None:
    router = Router()

    async with open_scene(router, shutdown_timeout=3) as scene:

        @router.on(USER)
        async def closes(event: Event[Any]) -> None:
            await scene.session.aclose()

        push = await scene.gateway.push(USER, ladder=())
        await scene.session.wait_closed()
        assert trio.current_time() == pytest.approx(3), "it waited for itself, as long as it may"
        await trio.sleep(1)
        assert push.answers[0].code == 500


async def test_a_handler_may_open_a_session_of_its_own(autojump_clock: MockClock) -> None:
    router = Router()

    async with open_scene(router) as scene:

        @router.on(USER)
        async def opens(event: Event[Any]) -> None:
            async with open_session(scene.gateway) as session:
                assert session.is_connected

        assert (await (await scene.gateway.push(USER)).settled()).code == 200


class Wordless(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


@pytest.mark.parametrize("error", [Wordless(), asyncio.CancelledError(), GeneratorExit()])
@pytest.mark.parametrize("plain", [False, True])
async def test_errors_of_an_odd_kind_cost_their_event_alone(error: BaseException, plain: bool) -> None:
    router = Router()

    async def fail(event: object) -> None:
        raise error

    def fail_plainly(event: object) -> None:
        raise error

    router.on(MESSAGE)(fail_plainly if plain else fail)
    router.on(USER)(lambda event: None)
    async with open_scene(router) as scene:
        bad = await scene.gateway.push(MESSAGE, {"message": {}}, ladder=())
        assert (await bad.settled()).code == 500
        good = await scene.gateway.push(USER, {})
        assert (await good.settled()).code == 200


class OddKey:
    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        raise ValueError("never equal")


async def test_keys_that_cannot_be_compared_cost_their_event_alone(autojump_clock: MockClock) -> None:
    router = Router()

    @router.on(MESSAGE, order_by=lambda event: OddKey())
    async def slow(event: object) -> None:
        await trio.sleep(1)

    async with open_scene(router) as scene:
        pushes = [await scene.gateway.push(MESSAGE, {"message": {}}, ladder=()) for _ in range(3)]
        assert [(await push.settled()).code for push in pushes] == [200, 500, 500]
        assert scene.session.is_connected


async def test_a_callback_whose_filter_raises_gets_its_fallback(autojump_clock: MockClock) -> None:
    router = Router()

    @router.on(CARD, where=lambda event: 1 / 0, fallback={"toast": {"content": "later"}})
    async def click(event: object) -> None: ...

    async with open_scene(router) as scene:
        push = await scene.gateway.push(CARD, {})
        answer = await push.settled()
        assert (answer.code, answer.data) == (200, {"toast": {"content": "later"}})
