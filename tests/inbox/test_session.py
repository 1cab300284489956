"""Sessions with an inbox: answered at once, handled for sure."""

from __future__ import annotations

import functools
import re
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing, suppress
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from feishu_trio import (
    Ack,
    ConfigError,
    Event,
    EventAnswered,
    EventDead,
    EventReceived,
    Inbox,
    InboxError,
    InboxState,
    LifecycleEvent,
    MemoryInbox,
    PoolConfig,
    Retry,
    Router,
    Session,
    SQLiteInbox,
    by_sender,
)
from feishu_trio.inbox import file, source
from feishu_trio.inbox.records import Entry
from feishu_trio.testing import Gateway, Push, open_gateway
from session.rig import come_true, open_real_session, open_session

from .test_contract import serving

MESSAGE, USER, CARD = "im.message.receive_v1", "contact.user.created_v3", "card.action.trigger"


async def say(gateway: Gateway, number: int, chat: str = "oc_1", **push: Any) -> Push:
    return await gateway.push(MESSAGE, {"message": {"message_id": f"om_{number}", "chat_id": chat}}, **push)


async def settled(inbox: Inbox, **wanted: int) -> None:
    """Wait until so many events stand in these states."""
    with trio.fail_after(1000):
        while True:
            await inbox.flush()
            if await counted(inbox, **wanted):
                return
            await trio.sleep(0.1)


async def counted(inbox: Inbox, **wanted: int) -> bool:
    counts = await inbox.counts()
    return all(getattr(counts, name) == count for name, count in wanted.items())


async def healthy(session: Session, *, ok: bool) -> bool:
    return session.health().ok is ok


async def nothing(event: Event[Any]) -> None:
    pass


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    while True:
        if await holds():
            return
        await trio.sleep(0.1)


async def test_an_event_is_answered_at_once_and_handled_however_long_that_takes(
    autojump_clock: MockClock,
) -> None:
    router, ended = Router(), []

    @router.on(MESSAGE)
    async def think(event: Event[Any]) -> None:
        await trio.sleep(60)
        ended.append((event.id, event.attempt))

    inbox = MemoryInbox()
    async with open_gateway(seed=1) as gateway, open_session(gateway, router=router, inbox=inbox) as session:
        pushes = [await say(gateway, number, f"oc_{number}") for number in range(10)]
        for push in pushes:
            assert (await push.settled()).latency < 0.1
        assert ended == []
        assert session.stats().stored == 10
        await settled(inbox, done=10)
        assert sorted(ended) == sorted((push.event_id, 1) for push in pushes)
        assert all(len(push.deliveries) == 1 for push in pushes)


async def test_what_failed_comes_again_with_a_backoff_and_only_what_failed_runs(
    autojump_clock: MockClock,
) -> None:
    router, runs, times = Router(), [], []

    @router.on(USER, name="good")
    async def good(event: Event[Any]) -> None:
        runs.append("good")

    @router.on(USER, name="bad")
    async def bad(event: Event[Any]) -> None:
        runs.append("bad")
        times.append(trio.current_time())
        assert event.attempt == len(times)
        if len(times) < 4:
            raise ValueError("not yet")

    inbox = MemoryInbox(retry_delay=8)
    async with open_gateway(seed=1) as gateway, open_session(gateway, router=router, inbox=inbox):
        await gateway.push(USER)
        await settled(inbox, done=1)
    assert runs.count("good") == 1
    assert runs.count("bad") == 4
    waits = [b - a for a, b in pairwise(times)]
    assert all(longest / 2 <= wait <= longest + 0.5 for wait, longest in zip(waits, (8, 16, 32), strict=True))


async def test_the_log_says_which_attempt_failed_and_when_the_next_comes(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    router = Router()

    @router.on(USER)
    async def fail(event: Event[Any]) -> None:
        raise Retry(after=1) if event.attempt == 1 and not caplog.messages else ValueError("no")

    caplog.set_level("INFO", "feishu_trio.delivery")
    inbox = MemoryInbox(max_attempts=3, retry_delay=10)
    async with open_gateway(seed=1) as gateway, open_session(gateway, router=router, inbox=inbox):
        push = await gateway.push(USER)
        await settled(inbox, dead=1)
    lines = [each for each in caplog.messages if ": attempt " in each]
    which = re.escape(f"event {push.event_id} ({USER})")
    assert len(lines) == 2, "a wish is none, and after the last there is none"
    assert re.fullmatch(which + r": attempt 1 of 3 failed; again in ([5-9]|10)\.\d s", lines[0])
    assert re.fullmatch(which + r": attempt 2 of 3 failed; again in (1\d|20)\.\d s", lines[1])


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (1, "an event was running when the inbox was last used: it runs again"),
        (2, "2 events were running when the inbox was last used: they run again"),
    ],
)
async def test_the_log_says_how_many_ran_as_the_process_died(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, count: int, words: str
) -> None:
    image = tmp_path / "image.db"
    async with serving(SQLiteInbox(tmp_path / "bot.db")) as inbox:
        assert isinstance(inbox, SQLiteInbox)
        await inbox.store(
            [Entry(keys=(str(n),), id=str(n), type="x", lane=None, payload=b"") for n in range(count)]
        )
        await inbox.claim(count)
        await inbox.backup(image)
    async with serving(SQLiteInbox(image)):
        assert caplog.messages == [words]


async def test_an_event_is_counted_and_told_of_once_however_often_it_runs(autojump_clock: MockClock) -> None:
    router, seen = Router(), list[LifecycleEvent]()

    @router.on(USER)
    async def fails_twice(event: Event[Any]) -> None:
        if event.attempt < 3:
            raise ValueError("not yet")

    inbox = MemoryInbox()
    async with (
        open_gateway(seed=1) as gateway,
        open_session(gateway, router=router, inbox=inbox, on_lifecycle=seen.append) as session,
    ):
        await gateway.push(USER)
        await settled(inbox, done=1)
        stats = session.stats()
    assert (stats.received, stats.stored, stats.answered, stats.handled, stats.failed) == (1, 1, 1, 1, 2)
    assert [type(each) for each in seen if isinstance(each, EventReceived | EventAnswered)] == [
        EventReceived,
        EventAnswered,
    ]


async def test_after_its_attempts_it_is_a_dead_letter_which_is_told(autojump_clock: MockClock) -> None:
    router, told, seen = Router(), [], list[LifecycleEvent]()

    @router.on(MESSAGE, name="bad")
    async def bad(event: Event[Any]) -> None:
        raise ValueError("no such thing")

    @router.dead
    async def sorry(event: Event[Any], error: str) -> None:
        told.append((event.data.message.chat_id, error))

    inbox = MemoryInbox(max_attempts=3)
    async with (
        open_gateway(seed=1) as gateway,
        open_session(gateway, router=router, inbox=inbox, on_lifecycle=seen.append) as session,
    ):
        push = await say(gateway, 1)
        await settled(inbox, dead=1)
        (dead,) = await inbox.list(InboxState.DEAD)
        assert (dead.id, dead.attempts, dead.error) == (push.event_id, 3, "bad: ValueError: no such thing")
        assert repr(dead) == f"<Summary 1: {MESSAGE} {push.event_id} is dead, attempts=3>"
        await wait_all_tasks_blocked()
        assert told == [("oc_1", "bad: ValueError: no such thing")]
        (event,) = [each for each in seen if isinstance(each, EventDead)]
        assert (event.event_id, event.event_type, event.error) == (push.event_id, MESSAGE, dead.error)
        assert session.stats().dead == 1


async def test_a_wish_to_come_again_is_no_attempt_and_says_when(autojump_clock: MockClock) -> None:
    router, times = Router(), []

    @router.on(USER)
    async def busy(event: Event[Any]) -> None:
        times.append(trio.current_time())
        assert event.attempt == 1
        if len(times) < 5:
            raise Retry(after=100)

    inbox = MemoryInbox(max_attempts=1)
    async with open_gateway(seed=1) as gateway, open_session(gateway, router=router, inbox=inbox):
        await gateway.push(USER)
        await settled(inbox, done=1)
    assert all(100 <= b - a < 101 for a, b in pairwise(times))


@pytest.mark.parametrize(("after", "delay"), [(300, 300), (1, 50)])
async def test_a_wish_beside_a_failure_is_heard_and_the_attempt_counts(
    autojump_clock: MockClock, after: float, delay: float
) -> None:
    router, runs = Router(), list[tuple[int, float]]()

    @router.on(USER, name="wishes")
    async def wishes(event: Event[Any]) -> None:
        runs.append((event.attempt, trio.current_time()))
        if len(runs) == 1:
            raise Retry(after=after)

    @router.on(USER, name="fails")
    async def fails(event: Event[Any]) -> None:
        if event.attempt == 1:
            raise ValueError("not yet")

    inbox = MemoryInbox(retry_delay=100)  # with jitter, 50 at least
    async with open_gateway(seed=1) as gateway, open_session(gateway, router=router, inbox=inbox):
        await gateway.push(USER)
        await settled(inbox, done=1)
    (first, at), (second, again_at) = runs
    assert (first, second) == (1, 2)
    assert delay <= again_at - at <= delay * 2 + 1


async def test_a_chat_is_handled_in_order_and_others_beside_it(autojump_clock: MockClock) -> None:
    router, ended, at_work, most = Router(), list[tuple[str, str]](), 0, 0

    @router.on(MESSAGE)
    async def handle(event: Event[Any]) -> None:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await trio.sleep(1)
        at_work -= 1
        ended.append((event.data.message.chat_id, event.data.message.message_id))

    inbox = MemoryInbox()
    async with open_gateway(seed=1) as gateway, open_session(gateway, router=router, inbox=inbox):
        for number in range(60):
            await say(gateway, number, f"oc_{number % 6}")
        await settled(inbox, done=60)
    for chat in range(6):
        assert [message for of, message in ended if of == f"oc_{chat}"] == [
            f"om_{n}" for n in range(chat, 60, 6)
        ]
    assert most == 6


async def test_callbacks_and_other_acks_run_as_they_do_without_an_inbox(autojump_clock: MockClock) -> None:
    router, seen = Router(), []

    @router.on(CARD)
    async def click(event: Event[Any]) -> dict[str, object]:
        return {"toast": {"content": "ok"}}

    @router.on(USER, ack=Ack.ON_SUCCESS, name="success")
    async def success(event: Event[Any]) -> None:
        await trio.sleep(1)
        seen.append("success")

    @router.on(USER, name="stored")
    async def stored(event: Event[Any]) -> None:
        seen.append("stored")

    @router.on("x.only", ack=Ack.ON_SUCCESS)
    async def only(event: Event[Any]) -> None:
        seen.append("only")

    inbox = MemoryInbox()
    async with open_gateway(seed=1) as gateway, open_session(gateway, router=router, inbox=inbox):
        assert (await (await gateway.push(CARD)).settled()).data == {"toast": {"content": "ok"}}
        assert (await (await gateway.push(USER)).settled()).latency == pytest.approx(1, abs=0.1)
        assert (await (await gateway.push("x.only")).settled()).code == 200
        await settled(inbox, done=1)
    assert sorted(seen) == ["only", "stored", "success"]


async def test_a_redelivery_that_memory_answers_is_an_arrival_on_the_disk_too(
    autojump_clock: MockClock,
) -> None:
    router = Router()
    router.on(USER, name="stored")(nothing)

    @router.on("x.slow", ack=Ack.ON_SUCCESS)
    async def slow(event: Event[Any]) -> None:
        await trio.sleep(2000)

    router.on("x.slow", name="slow, stored")(nothing)
    inbox = MemoryInbox()
    async with open_gateway(seed=1) as gateway, open_session(gateway, router=router, inbox=inbox) as session:
        for event_type in (USER, "x.slow"):  # answered from memory, and joined to a run
            await gateway.push(event_type, event_id=event_type, ladder=())
            await settled(inbox, done=1)
            (first,) = await inbox.list(InboxState.DONE)
            await trio.sleep(1000)
            await gateway.push(event_type, event_id=event_type, ladder=())
            await trio.sleep(0.1)
            (again,) = await inbox.list(InboxState.DONE)
            assert first.settled is not None
            assert again.settled == pytest.approx(first.settled + 1000, abs=1)
            assert await inbox.purge(InboxState.DONE, 0) == 1
        assert (session.stats().duplicates, session.stats().stored) == (2, 2)


async def test_what_no_durable_handler_takes_is_not_stored_unless_store_says_so(
    autojump_clock: MockClock,
) -> None:
    router, handled = Router(), []

    @router.on(MESSAGE, where=lambda event: event.data.message.chat_id == "oc_mine")
    async def handle(event: Event[Any]) -> None:
        handled.append(event.data.message.chat_id)

    inbox = MemoryInbox()
    async with (
        open_gateway(seed=1) as gateway,
        open_session(gateway, router=router, inbox=inbox, store=["contact.*"]) as session,
    ):
        for number, chat in enumerate(("oc_mine", "oc_other")):
            assert (await (await say(gateway, number, chat)).settled()).code == 200
        assert (await (await gateway.push("x.y")).settled()).code == 200
        assert (await (await gateway.push(USER)).settled()).code == 200
        await settled(inbox, done=1, parked=1)
        assert session.stats().stored == 2
        # A handler that comes later takes what waited for one.

        @router.on("contact.*")
        async def late(event: Event[Any]) -> None:
            handled.append(event.type)

        await say(gateway, 7, "oc_mine")
        await settled(inbox, done=3, parked=0)
    assert sorted(handled) == [USER, "oc_mine", "oc_mine"]


async def test_without_a_durable_handler_everything_is_stored_and_pulled_from_there(
    autojump_clock: MockClock,
) -> None:
    inbox, got = MemoryInbox(), []
    async with open_gateway(seed=1) as gateway, open_session(gateway, inbox=inbox) as session:
        pushes = [await say(gateway, number, f"oc_{number}") for number in range(3)]
        for push in pushes:
            assert (await push.settled()).latency < 0.1
        assert (await inbox.counts()).ready == 3
        async with session.events(MESSAGE) as events:
            async for event in events:
                got.append(event.id)
                if len(got) == 3:
                    break
        await inbox.flush()
    assert sorted(got) == sorted(push.event_id for push in pushes)


async def test_with_claim_false_events_are_stored_for_others(autojump_clock: MockClock) -> None:
    router = Router()

    @router.on(USER)
    async def handle(event: Event[Any]) -> None:
        raise AssertionError

    inbox = MemoryInbox()
    async with (
        open_gateway(seed=1) as gateway,
        open_session(gateway, router=router, inbox=inbox, claim=False),
    ):
        assert (await (await gateway.push(USER)).settled()).code == 200
        await trio.sleep(100)
        assert (await inbox.counts()).ready == 1


async def test_no_more_is_claimed_than_there_are_idle_workers(autojump_clock: MockClock) -> None:
    router = Router()

    @router.on(USER)
    async def handle(event: Event[Any]) -> None:
        await trio.sleep(10)

    inbox = MemoryInbox()
    async with (
        open_gateway(seed=1) as gateway,
        open_session(gateway, router=router, inbox=inbox, concurrency=4),
    ):
        for _ in range(30):
            await gateway.push(USER)
        await trio.sleep(1)
        counts = await inbox.counts()
        assert (counts.running, counts.ready) == (4, 26)
        await settled(inbox, done=30)
        assert trio.current_time() == pytest.approx(80, abs=5)


async def test_a_busy_pool_keeps_no_other_from_claiming(autojump_clock: MockClock) -> None:
    router, handled = Router(), []

    @router.on(USER, pool="slow")
    async def slow(event: Event[Any]) -> None:
        await trio.sleep(100)

    @router.on(MESSAGE)
    async def quick(event: Event[Any]) -> None:
        handled.append(trio.current_time())

    inbox = MemoryInbox()
    pools = {"slow": PoolConfig(concurrency=2, capacity=10)}
    async with (
        open_gateway(seed=1) as gateway,
        open_session(gateway, router=router, inbox=inbox, pools=pools, shutdown_timeout=0) as session,
    ):
        for _ in range(20):
            await gateway.push(USER)
        await trio.sleep(1)
        counts = await inbox.counts()
        assert (counts.running, counts.ready) == (2, 18), "what waits has not been claimed"
        start = trio.current_time()
        await say(gateway, 1)
        await settled(inbox, done=1)
        assert handled[0] - start < 0.2
        assert session.stats().queue_depth == 0


async def test_what_a_clean_stop_cuts_off_runs_again_without_a_count(tmp_path: Path) -> None:
    router, runs, runs_now = Router(), [], trio.Event()

    @router.on(USER)
    async def slow(event: Event[Any]) -> None:
        runs.append(event.attempt)
        runs_now.set()
        if len(runs) == 1:
            await trio.sleep_forever()

    make = functools.partial(SQLiteInbox, tmp_path / "bot.db")
    with trio.fail_after(20):
        async with open_gateway(seed=1) as gateway:
            async with open_real_session(gateway, router=router, inbox=make(), shutdown_timeout=0.1):
                assert (await (await gateway.push(USER)).settled()).code == 200
                await runs_now.wait()
            inbox = make()
            async with open_real_session(gateway, router=router, inbox=inbox):
                await settled(inbox, done=1)
    assert runs == [1, 1]


@pytest.mark.parametrize("how", ["cancelled", "failed"])
async def test_and_so_does_what_a_hard_end_cuts_off(tmp_path: Path, how: str) -> None:
    router, runs, runs_now = Router(), [], trio.Event()

    @router.on(USER)
    async def slow(event: Event[Any]) -> None:
        runs.append(event.attempt)
        runs_now.set()
        if len(runs) == 1:
            await trio.sleep_forever()

    make = functools.partial(SQLiteInbox, tmp_path / "bot.db")
    with trio.fail_after(20):
        async with open_gateway(seed=1) as gateway:
            with trio.CancelScope() as scope:
                try:
                    async with open_real_session(gateway, router=router, inbox=make()):
                        assert (await (await gateway.push(USER)).settled()).code == 200
                        await runs_now.wait()
                        if how == "failed":
                            raise ZeroDivisionError
                        scope.cancel()
                        await trio.sleep_forever()
                except ZeroDivisionError:
                    pass
            inbox = make()
            async with open_real_session(gateway, router=router, inbox=inbox):
                await settled(inbox, done=1)
                assert [each.crashes for each in await inbox.list(InboxState.DONE)] == [0]
    assert runs == [1, 1]


async def test_what_cannot_be_stored_is_refused_so_that_feishu_keeps_it(tmp_path: Path) -> None:
    router, handled = Router(), []

    @router.on(MESSAGE)
    async def handle(event: Event[Any]) -> None:
        handled.append(event.id)

    inbox = SQLiteInbox(tmp_path / "bot.db")

    async def pragma(what: str) -> int:
        """Between two transactions of the inbox."""
        connection = inbox._file.connection
        assert connection is not None
        row = await inbox._call(lambda: connection.execute(f"PRAGMA {what}").fetchone())
        return int(row[0])

    with trio.fail_after(30):
        async with (
            open_gateway(seed=1, ladder=[0.2] * 100) as gateway,
            open_real_session(gateway, router=router, inbox=inbox) as session,
        ):
            await pragma("wal_checkpoint(TRUNCATE)")
            pages = await pragma("page_count")
            await pragma(f"max_page_count = {pages}")
            body = {"message": {"message_id": "om_1", "chat_id": "oc_1", "content": "x" * 100_000}}
            push = await gateway.push(MESSAGE, body)
            assert (await push.answer()).code == 500
            assert "nothing can be written to" in session.health().reasons[0]
            await pragma("max_page_count = 1000000")
            assert (await push.settled()).code == 200
            await settled(inbox, done=1)
            assert session.health().ok
    assert handled == [push.event_id]


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"inbox": "bot.db"}, "^inbox: a value of type str .* it must be an inbox, such as SQLiteInbox"),
        ({"ack": Ack.ON_STORED}, "needs an inbox to store events in"),
        ({"store": "im.*"}, "^store is about an inbox, and there is none: give inbox="),
        ({"claim": False}, "^claim=False is about an inbox, and there is none: give inbox="),
        ({"inbox": MemoryInbox(), "claim": "no"}, "^claim: 'no' is not allowed; it must be True or False"),
    ],
)
async def test_a_wrong_inbox_is_named(settings: dict[str, Any], match: str) -> None:
    async with open_gateway() as gateway:
        with pytest.raises(ConfigError, match=match):
            async with open_session(gateway, **settings):
                pass


async def test_a_durable_handler_has_the_order_of_its_inbox() -> None:
    router = Router()

    @router.on(MESSAGE, order_by=by_sender)
    async def handle(event: Event[Any]) -> None: ...

    async with open_gateway() as gateway:
        with pytest.raises(ConfigError, match="its order_by is not the inbox's"):
            async with open_session(gateway, router=router, inbox=MemoryInbox()):
                pass
        async with open_session(gateway, router=router, inbox=MemoryInbox(order_by=by_sender)):
            pass


async def test_no_order_of_a_handler_s_own_is_refused_unless_the_inbox_has_none() -> None:
    router = Router()
    router.on(MESSAGE, order_by=None)(nothing)
    async with open_gateway(seed=1) as gateway:
        with pytest.raises(ConfigError, match="its order_by is not the inbox's"):
            async with open_real_session(gateway, router=router, inbox=MemoryInbox()):
                pass
        async with open_real_session(gateway, router=router, inbox=MemoryInbox(order_by=None)):
            pass


async def test_two_durable_handlers_of_one_name_are_refused() -> None:
    router = Router()
    for _ in range(2):

        @router.on(USER)
        async def handle(event: Event[Any]) -> None: ...

    async with open_gateway() as gateway:
        with pytest.raises(ConfigError, match=r"two handlers are named .*handle: with an inbox"):
            async with open_session(gateway, router=router, inbox=MemoryInbox()):
                pass
        async with open_session(gateway, router=router):
            pass
        router.on(USER, name=handle.__qualname__)(nothing)  # and neither by one that has it from its user
        router.remove(f"{handle.__qualname__}#2")
        assert len(router.routes()) == 2
        with pytest.raises(ConfigError, match=r"two handlers are named .*handle: with an inbox"):
            async with open_session(gateway, router=router, inbox=MemoryInbox()):
                pass


async def test_types_of_any_length_take_little_of_each_claim(autojump_clock: MockClock) -> None:
    router, seen, ends = Router(), list[str](), list[str]()
    long = [f"x.{'y' * 1_000_000}.{number}" for number in range(20)]

    @router.on("x.*")
    async def every(event: Event[Any]) -> None:
        seen.append(event.type)

    @router.on(["*.7", long[8], "z.*.1"])
    async def by_its_end(event: Event[Any]) -> None:
        ends.append(event.type)

    inbox = MemoryInbox()
    async with open_gateway(seed=1) as gateway, open_session(gateway, router=router, inbox=inbox):
        for each in (*long, f"z.{'y' * 1_000_000}.1"):
            await gateway.push(each)
        await settled(inbox, done=21)
        assert sum(map(len, inbox.types)) <= 2 * 256
    assert sorted(seen) == sorted(long)
    assert sorted(ends) == [long[7], long[8], f"z.{'y' * 1_000_000}.1"]


async def test_names_with_a_number_may_be_given(autojump_clock: MockClock) -> None:
    router, ran = Router(), list[str]()
    for name in ("a#2", "a", "storing", "(nobody)"):

        @router.on(USER, name=name, ack=Ack.ON_SUCCESS if name == "storing" else None)
        async def handle(event: Event[Any], name: str = name) -> None:
            ran.append(name)
            if ran == ["storing"]:
                raise ValueError("not yet")

    inbox = MemoryInbox()
    async with open_gateway(seed=1) as gateway, open_session(gateway, router=router, inbox=inbox):
        push = await gateway.push(USER)
        await settled(inbox, done=1)
        assert (await push.settled()).code == 200
    assert sorted(ran) == ["(nobody)", "a", "a#2", "storing", "storing"]


async def test_an_order_key_that_cannot_be_had_fails_its_event_alone(autojump_clock: MockClock) -> None:
    router, handled = Router(), []

    @router.on(USER)
    async def handle(event: Event[Any]) -> None:
        handled.append(event.id)

    def key(event: Event[Any]) -> str:
        return str(event.raw["event"]["key"])

    inbox = MemoryInbox(order_by=key)
    async with open_gateway(seed=1, ladder=()) as gateway, open_session(gateway, router=router, inbox=inbox):
        good = [await gateway.push(USER, {"key": "a"}) for _ in range(3)]
        bad = await gateway.push(USER, {})
        good += [await gateway.push(USER, {"key": "b"}) for _ in range(3)]
        assert (await bad.settled()).code == 500
        assert [(await push.settled()).code for push in good] == [200] * 6
        await settled(inbox, done=6)


async def test_an_inbox_that_cannot_be_opened_is_an_error_on_entry(tmp_path: Path) -> None:
    async with open_gateway() as gateway:
        with pytest.raises(InboxError, match="there is no folder"):
            async with open_session(gateway, inbox=SQLiteInbox(tmp_path / "no" / "bot.db")):
                pass
        assert not gateway.requests, "before anything is asked of Feishu"


class BrokenTextError(Exception):
    """Its text cannot be had."""

    def __str__(self) -> str:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError("bad\udcff.txt"),
        BrokenTextError(),
        ExceptionGroup("\x00", [ValueError("é" * 100_000)]),
        Retry(after=10**400),
        Retry(after=float("inf")),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_whatever_a_handler_raises_its_chat_goes_on(
    autojump_clock: MockClock, error: Exception
) -> None:
    router, handled = Router(), []

    @router.on(MESSAGE)
    async def handle(event: Event[Any]) -> None:
        if event.data.message.message_id == "om_0":
            raise error
        handled.append(event.id)

    inbox = MemoryInbox(max_attempts=2)
    async with open_gateway(seed=1) as gateway, open_session(gateway, router=router, inbox=inbox):
        for number in range(3):
            await say(gateway, number)
        await settled(inbox, done=2)
        with trio.fail_after(100):
            await until(lambda: counted(inbox, running=0))
        counts = await inbox.counts()
        assert counts.dead + counts.waiting == 1
    assert len(handled) == 2


async def test_a_dead_letter_of_the_last_moment_is_told(autojump_clock: MockClock) -> None:
    router, told = Router(), []

    @router.on(USER)
    async def slow(event: Event[Any]) -> None:
        await trio.sleep(2)
        raise ValueError("no")

    @router.dead
    async def sorry(event: Event[Any], error: str) -> None:
        await trio.sleep(1)
        told.append(event.id)

    inbox = MemoryInbox(max_attempts=1)
    async with open_gateway(seed=1) as gateway, open_session(gateway, router=router, inbox=inbox):
        push = await gateway.push(USER)
        await push.settled()
        await trio.sleep(1)
    assert told == [push.event_id]


async def test_what_is_too_old_keeps_its_chat_no_longer_than_a_moment_and_is_told(
    autojump_clock: MockClock,
) -> None:
    router, handled, told = Router(), [], []

    @router.on(MESSAGE)
    async def handle(event: Event[Any]) -> None:
        handled.append(event.data.message.message_id)
        if len(handled) == 1:
            await trio.sleep(60)

    @router.dead
    async def sorry(event: Event[Any], error: str) -> None:
        told.append(error)

    inbox = MemoryInbox(max_age=30)
    async with open_gateway(seed=1) as gateway, open_session(gateway, router=router, inbox=inbox):
        for number in range(10):
            await say(gateway, number)
        await trio.sleep(50)
        await say(gateway, 10)
        await settled(inbox, done=2, dead=9)
        assert trio.current_time() < 80
        await wait_all_tasks_blocked()
    assert handled == ["om_0", "om_10"]
    assert len(told) == 9
    assert "max_age" in told[0]


async def test_a_session_that_is_cancelled_while_its_inbox_opens_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file, "_BUSY", 1.0)
    path = tmp_path / "bot.db"
    async with open_gateway() as gateway:
        async with open_real_session(gateway, inbox=SQLiteInbox(path)):
            pass
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            # The lock is waited for in a thread, which cannot be cancelled: for five seconds, and one here.
            with trio.fail_after(30), suppress(InboxError), trio.move_on_after(0.2):
                async with open_real_session(gateway, inbox=SQLiteInbox(path)):
                    raise AssertionError("it is open though the file is locked")
            with trio.fail_after(30), pytest.raises(InboxError, match="database is locked"):
                async with open_real_session(gateway, inbox=SQLiteInbox(path)):
                    pass
            other.execute("ROLLBACK")
        async with open_real_session(gateway, inbox=SQLiteInbox(path)):
            pass


async def test_a_fault_is_over_when_its_cause_is_though_nothing_arrives(tmp_path: Path) -> None:
    router, runs = Router(), []

    @router.on(USER)
    async def handle(event: Event[Any]) -> None:
        runs.append(event.attempt)
        if len(runs) == 1:
            raise ValueError("once")

    inbox = SQLiteInbox(tmp_path / "bot.db", retry_delay=2)
    with trio.fail_after(60):
        async with (
            open_gateway(seed=1) as gateway,
            open_real_session(gateway, router=router, inbox=inbox) as session,
        ):
            assert (await (await gateway.push(USER)).settled()).code == 200
            await settled(inbox, waiting=1)
            assert inbox._file.connection is not None
            inbox._file.connection.execute("PRAGMA query_only = 1")
            await until(lambda: healthy(session, ok=False))
            inbox._file.connection.execute("PRAGMA query_only = 0")
            await until(lambda: healthy(session, ok=True))
            await settled(inbox, done=1)
    assert runs == [1, 2]


async def test_while_much_is_owed_whoever_asks_has_an_answer(tmp_path: Path) -> None:
    inbox = SQLiteInbox(tmp_path / "bot.db")
    async with serving(inbox):
        entries = [
            Entry(keys=(f"event:{n}",), id=str(n), type="x", lane=None, payload=b"{}") for n in range(600)
        ]
        await inbox.store(entries)
        claims = await inbox.claim(600)
        assert inbox._file.connection is not None
        inbox._file.connection.execute("PRAGMA query_only = 1")
        for claim in claims:
            inbox.done(claim)
        with trio.fail_after(5), pytest.raises(InboxError):
            await inbox.store([Entry(keys=("event:new",), id="new", type="x", lane=None, payload=b"{}")])
        inbox._file.connection.execute("PRAGMA query_only = 0")
        with trio.fail_after(20):
            await until(lambda: counted(inbox, done=600))


async def test_a_file_has_one_owner_by_whatever_name(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "bot.db")
    async with serving(SQLiteInbox(tmp_path / "bot.db")):
        with pytest.RaisesGroup(
            pytest.RaisesExc(InboxError, match="has this inbox open"), flatten_subgroups=True
        ):
            async with serving(SQLiteInbox(tmp_path / "link.db")):
                pass
    with pytest.raises(ConfigError, match=r"MemoryInbox\(\) has none"):
        SQLiteInbox(":memory:")


async def test_a_batch_takes_many_events_of_one_chat(autojump_clock: MockClock) -> None:
    router, batches = Router(), []

    @router.on_batch(MESSAGE, max_size=10, max_wait=5)
    async def handle(events: Sequence[Event[Any]]) -> None:
        batches.append([event.data.message.message_id for event in events])
        await trio.sleep(1)

    inbox = MemoryInbox()
    async with (
        open_gateway(seed=1) as gateway,
        open_session(gateway, router=router, inbox=inbox, concurrency=1),
    ):
        for number in range(25):
            await say(gateway, number)
        await settled(inbox, done=25)
    assert [len(batch) for batch in batches] == [10, 10, 5]
    assert sorted(chain.from_iterable(batches)) == sorted(f"om_{number}" for number in range(25))


@pytest.mark.parametrize("bound", [{"queue_capacity": 10}, {"queue_bytes": 20_000}])
async def test_a_batch_takes_no_more_than_may_wait(autojump_clock: MockClock, bound: dict[str, int]) -> None:
    router, sizes, waiting = Router(), [], []

    @router.on_batch(MESSAGE, max_size=100, max_wait=60)
    async def together(events: Sequence[Event[Any]]) -> None:
        sizes.append(len(events))
        await trio.sleep(2)
        waiting.append((session.stats().queue_depth, (await inbox.counts()).running))

    inbox = MemoryInbox(order_by=None)
    async with (
        open_gateway(seed=1) as gateway,
        open_session(gateway, router=router, inbox=inbox, concurrency=2, **bound) as session,
    ):
        text = {"message": {"chat_id": "oc_1", "content": "x" * 2000}}
        pushes = [await gateway.push(MESSAGE, text) for _ in range(200)]
        for push in pushes:
            await push.settled()
        await settled(inbox, done=200)
        assert session.stats().refused == 0
    assert max(sizes) <= 70
    assert all(depth <= 70 for depth, _ in waiting)
    assert max(running for _, running in waiting) < 200


async def test_a_session_with_many_events_in_batches_can_be_left_at_once(tmp_path: Path) -> None:
    router = Router()

    @router.on_batch("x.y", max_size=1000, max_wait=60)
    async def together(events: Sequence[Event[Any]]) -> None:
        await trio.sleep_forever()

    path = tmp_path / "bot.db"
    async with open_gateway(seed=1) as gateway:
        async with serving(SQLiteInbox(path), gateway.app_id) as inbox:
            await inbox.store(
                [
                    Entry(
                        keys=(f"event:{n}",),
                        id=str(n),
                        type="x.y",
                        lane=None,
                        payload=b'{"schema":"2.0","header":{"event_id":"%d","event_type":"x.y"}}' % n,
                    )
                    for n in range(12_000)
                ]
            )
        with trio.CancelScope() as scope:
            async with open_real_session(gateway, router=router, inbox=SQLiteInbox(path)) as session:
                with trio.fail_after(60):
                    await come_true(lambda: session.stats().in_flight == 12_000)
                left = trio.current_time()
                scope.cancel()
        assert trio.current_time() - left < 1.5


async def test_what_was_gathered_for_a_batch_as_the_process_died_has_not_crashed(tmp_path: Path) -> None:
    router, runs, image = Router(), list[str](), tmp_path / "image.db"

    @router.on_batch(USER, max_size=2, max_wait=3600)
    async def handle(events: Sequence[Event[Any]]) -> None:
        runs.extend(event.id for event in events)
        await trio.sleep_forever()

    with trio.fail_after(60):
        async with open_gateway(seed=1) as gateway:
            inbox = SQLiteInbox(tmp_path / "bot.db")
            async with open_real_session(gateway, router=router, inbox=inbox, shutdown_timeout=0.1):
                for _ in range(3):
                    await gateway.push(USER)
                await settled(inbox, running=3)
                await come_true(lambda: len(runs) == 2)
                began = set(runs)
                await inbox.backup(image)  # the file as a kill would leave it
    async with serving(SQLiteInbox(image), app_id=gateway.app_id) as left:
        crashes = {each.id: each.crashes for each in await left.list(InboxState.READY)}
    assert sorted(crashes.values()) == [0, 1, 1]
    assert {name for name, count in crashes.items() if count} == began


async def test_a_batch_of_what_must_run_alone_waits_for_no_others(tmp_path: Path) -> None:
    router, path = Router(), tmp_path / "bot.db"
    router.on_batch(USER, max_size=2, max_wait=3600)(nothing)
    with trio.fail_after(20):
        async with open_gateway(seed=1) as gateway:
            async with open_real_session(gateway, router=router, inbox=SQLiteInbox(path), claim=False):
                await (await gateway.push(USER)).settled()
            with closing(sqlite3.connect(path)) as connection, connection:
                connection.execute("UPDATE event SET crashes = 2")
            inbox = SQLiteInbox(path)
            async with open_real_session(gateway, router=router, inbox=inbox):
                await settled(inbox, done=1)


async def test_a_batch_does_not_begin_while_that_cannot_be_written_down(tmp_path: Path) -> None:
    router, runs = Router(), list[int]()

    @router.on_batch(USER, max_size=2, max_wait=3600)
    async def handle(events: Sequence[Event[Any]]) -> None:
        runs.extend(event.attempt for event in events)

    path, away = tmp_path / "bot.db", tmp_path / "away.db"
    inbox = SQLiteInbox(path, retry_delay=0.01)
    with trio.fail_after(60):
        async with (
            open_gateway(seed=1) as gateway,
            open_real_session(gateway, router=router, inbox=inbox) as session,
        ):
            await gateway.push(USER)
            await settled(inbox, running=1)
            path.rename(away)
            session._engine.flush()
            await come_true(lambda: session.stats().retried)
            assert inbox.fault is not None
            assert runs == []
            away.rename(path)
            await come_true(lambda: not inbox.owes and inbox.fault is None)
            await settled(inbox, running=1)
            await gateway.push(USER)
            await settled(inbox, done=2)
    assert runs == [1, 1]


async def test_what_failed_in_a_batch_comes_again_by_itself(autojump_clock: MockClock) -> None:
    router, batches = Router(), []

    @router.on_batch(USER, max_size=5, max_wait=5)
    async def handle(events: Sequence[Event[Any]]) -> None:
        batches.append(sorted(event.data.object.open_id for event in events))
        if "ou_3" in batches[-1]:
            raise ValueError("ou_3")

    inbox = MemoryInbox(max_attempts=3, retry_delay=0.001)
    async with open_gateway(seed=1) as gateway, open_session(gateway, router=router, inbox=inbox):
        for number in range(5):
            await gateway.push(USER, {"object": {"open_id": f"ou_{number}"}})
        await settled(inbox, done=4, dead=1)
    assert batches[0] == [f"ou_{number}" for number in range(5)]
    assert sorted(batches[1:]) == [["ou_0"], ["ou_1"], ["ou_2"], ["ou_3"], ["ou_3"], ["ou_4"]]


async def test_what_comes_again_to_a_batch_joins_no_new_events(autojump_clock: MockClock) -> None:
    router, batches = Router(), []

    @router.on_batch(USER, max_size=5, max_wait=5)
    async def handle(events: Sequence[Event[Any]]) -> None:
        batches.append([(event.data.object.open_id, event.attempt) for event in events])
        if any(name.startswith("bad") for name, _ in batches[-1]):
            raise ValueError("bad")

    inbox = MemoryInbox(max_attempts=2, retry_delay=2)
    async with open_gateway(seed=1) as gateway, open_session(gateway, router=router, inbox=inbox):
        for number in range(40):
            name = f"bad_{number}" if number == 0 else f"good_{number}"
            await gateway.push(USER, {"object": {"open_id": name}})
            await trio.sleep(0.5)
        await settled(inbox, done=39, dead=1)
    again = [batch for batch in batches if any(attempt > 1 for _, attempt in batch)]
    assert all(len(batch) == 1 for batch in again)


async def test_dead_letters_of_crashes_are_told_at_the_next_opening(tmp_path: Path) -> None:
    router, told = Router(), []
    router.on(USER)(nothing)

    @router.dead
    async def sorry(event: Event[Any], error: str) -> None:
        told.append((event.type, error))

    path = tmp_path / "bot.db"
    with trio.fail_after(20):
        async with open_gateway(seed=1) as gateway:
            async with open_real_session(gateway, router=router, inbox=SQLiteInbox(path), claim=False):
                await (await gateway.push(USER)).settled()
            with closing(sqlite3.connect(path)) as connection, connection:
                connection.execute("UPDATE event SET state = 2, attempts = 1, crashes = 4")
            inbox = SQLiteInbox(path)
            async with open_real_session(gateway, router=router, inbox=inbox) as session:
                await settled(inbox, dead=1)
                await come_true(lambda: session.stats().dead)
            async with open_real_session(gateway, router=router, inbox=SQLiteInbox(path)) as session:
                await trio.sleep(0.1)
                assert session.stats().dead == 0, "it is told once"
    assert told == [(USER, "the process died 5 times while it ran")]


async def test_whoever_is_told_of_a_dead_letter_and_dies_of_it_is_told_again(tmp_path: Path) -> None:
    router, told = Router(), []

    @router.on(USER)
    async def fail(event: Event[Any]) -> None:
        raise ValueError("no")

    @router.dead
    async def sorry(event: Event[Any], error: str) -> None:
        told.append(event.id)
        if len(told) == 1:
            await trio.sleep_forever()

    path = tmp_path / "bot.db"
    with trio.fail_after(20):
        async with open_gateway(seed=1) as gateway:
            with trio.CancelScope() as scope:
                inbox = SQLiteInbox(path, max_attempts=1)
                async with open_real_session(gateway, router=router, inbox=inbox):
                    push = await gateway.push(USER)
                    await come_true(lambda: told)
                    scope.cancel()
            async with open_real_session(gateway, router=router, inbox=SQLiteInbox(path)):
                await come_true(lambda: len(told) == 2)
    assert told == [push.event_id] * 2


async def test_a_handler_of_dead_letters_that_hangs_keeps_others_from_no_more_than_a_minute(
    autojump_clock: MockClock,
) -> None:
    router, told = Router(), []

    @router.on(USER)
    async def fail(event: Event[Any]) -> None:
        raise ValueError("no")

    @router.dead
    async def hangs(event: Event[Any], error: str) -> None:
        told.append(event.id)
        await trio.sleep_forever()

    inbox = MemoryInbox(max_attempts=1)
    async with open_gateway(seed=1) as gateway, open_session(gateway, router=router, inbox=inbox):
        for _ in range(40):
            await gateway.push(USER)
        await trio.sleep(200)
        assert len(told) == 40


async def test_a_plain_handler_of_dead_letters_runs_in_a_thread(tmp_path: Path) -> None:
    router, told, threads = Router(), list[str](), set[int]()

    @router.on(USER)
    async def fail(event: Event[Any]) -> None:
        raise ValueError("no")

    async def later(event: Event[Any]) -> None:
        told.append(f"later {event.id}")

    @router.dead
    def plain(event: Event[Any], error: str) -> Awaitable[None]:
        threads.add(threading.get_ident())
        told.append(trio.from_thread.run_sync(lambda: f"at once {event.id}"))
        return later(event)

    @router.dead
    def fails(event: Event[Any], error: str) -> None:
        raise OSError("no chat")

    with trio.fail_after(20):
        async with open_gateway(seed=1) as gateway:
            inbox = MemoryInbox(max_attempts=1)
            async with open_real_session(gateway, router=router, inbox=inbox):
                push = await gateway.push(USER)
                await come_true(lambda: len(told) == 2 and not inbox.has_untold)
    assert told == [f"at once {push.event_id}", f"later {push.event_id}"]
    assert threading.get_ident() not in threads


async def test_a_thread_of_a_handler_of_dead_letters_that_hangs_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    router, told, may_end = Router(), list[str](), threading.Event()

    @router.on(USER)
    async def fail(event: Event[Any]) -> None:
        raise ValueError("no")

    @router.dead
    def hangs(event: Event[Any], error: str) -> None:
        told.append(event.id)
        may_end.wait(60)

    monkeypatch.setattr(source, "_CLOSE", 0.1)
    path = tmp_path / "bot.db"
    try:
        with trio.fail_after(20):
            async with open_gateway(seed=1) as gateway:
                inbox = SQLiteInbox(path, max_attempts=1)
                async with open_real_session(gateway, router=router, inbox=inbox):
                    push = await gateway.push(USER)
                    await come_true(lambda: told)
                assert inbox.has_untold, "it was stopped meanwhile: it is told again"
                monkeypatch.setattr(source, "_TELLING", 0.1)
                inbox = SQLiteInbox(path)
                async with open_real_session(gateway, router=router, inbox=inbox):
                    await come_true(lambda: not inbox.has_untold)  # it had its time
    finally:
        may_end.set()
    assert told == [push.event_id] * 2


async def test_what_goes_on_in_a_thread_keeps_its_claim(tmp_path: Path) -> None:
    router, runs, may_end = Router(), [], threading.Event()

    @router.on(USER)
    def slow(event: Event[Any]) -> None:
        runs.append(event.attempt)
        may_end.wait(20)

    path = tmp_path / "bot.db"
    try:
        with trio.fail_after(20):
            async with open_gateway(seed=1) as gateway:
                inbox = SQLiteInbox(path)
                async with open_real_session(gateway, router=router, inbox=inbox, shutdown_timeout=0.1):
                    await (await gateway.push(USER)).settled()
                    await come_true(lambda: runs)
                with closing(sqlite3.connect(path)) as connection:
                    assert connection.execute("SELECT state, crashes FROM event").fetchall() == [(2, 0)]
    finally:
        may_end.set()
    with trio.fail_after(20):
        async with open_gateway(seed=1) as gateway:
            inbox = SQLiteInbox(path)
            async with open_real_session(gateway, router=router, inbox=inbox):
                await settled(inbox, done=1)
    assert runs == [1, 1]


@pytest.mark.parametrize("is_keyless", [False, True])
async def test_stored_events_and_dead_letters_can_call_feishu(
    autojump_clock: MockClock, is_keyless: bool
) -> None:
    router = Router()

    @router.on(MESSAGE)
    async def fail(event: Event[Any]) -> None:
        await event.api.reply(event.data.message.message_id, f"attempt {event.attempt}")
        raise ValueError("no")

    @router.dead
    async def sorry(event: Event[Any], error: str) -> None:
        await event.api.reply(event.data.message.message_id, "sorry")

    inbox = MemoryInbox(max_attempts=2)
    settings: dict[str, Any] = {"app_secret": None, "client_assertion": "key"} if is_keyless else {}
    async with (
        open_gateway(seed=1, client_assertion="key") as gateway,
        open_session(gateway, router=router, inbox=inbox, **settings) as session,
    ):
        await say(gateway, 1)
        await settled(inbox, dead=1)
        await until(lambda: told(session))
        assert [message.content for message in gateway.messages] == [
            {"text": "attempt 1"},
            {"text": "attempt 2"},
            {"text": "sorry"},
        ]


async def told(session: Session) -> bool:
    return session.stats().dead == 1


@pytest.mark.parametrize("how", ["cancelled", "failed"])
async def test_what_goes_on_in_a_thread_keeps_its_claim_after_a_hard_end(tmp_path: Path, how: str) -> None:
    router, runs, may_end = Router(), [], threading.Event()

    @router.on(USER)
    def slow(event: Event[Any]) -> None:
        runs.append(event.attempt)
        may_end.wait(20)

    path = tmp_path / "bot.db"
    try:
        with trio.fail_after(20):
            async with open_gateway(seed=1) as gateway:
                with trio.CancelScope() as scope, suppress(ZeroDivisionError):
                    async with open_real_session(gateway, router=router, inbox=SQLiteInbox(path)):
                        await (await gateway.push(USER)).settled()
                        await come_true(lambda: runs)
                        if how == "failed":
                            raise ZeroDivisionError
                        scope.cancel()
                        await trio.sleep_forever()
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT state FROM event").fetchall() == [(2,)]
    finally:
        may_end.set()


async def test_types_that_share_a_pool_share_its_idle_workers(autojump_clock: MockClock) -> None:
    router, running = Router(), []
    other = "im.chat.disbanded_v1"

    async def handle(event: Event[Any]) -> None:
        running.append(event.type)
        await trio.sleep(100)

    router.on(USER, name="one")(handle)
    router.on(other, name="two")(lambda event: handle(event))
    router.on(other, name="three", pool="p")(nothing)
    inbox = MemoryInbox()
    pools = {"p": PoolConfig(concurrency=2, capacity=10)}
    async with (
        open_gateway(seed=1) as gateway,
        open_session(
            gateway, router=router, inbox=inbox, pools=pools, concurrency=2, shutdown_timeout=0, claim=True
        ) as session,
    ):
        for _ in range(5):
            await gateway.push(USER)
            await gateway.push(other)
        await trio.sleep(10)
        assert (await inbox.counts()).running == 2
        assert session.stats().queue_depth == 0


async def test_what_a_loop_does_not_handle_is_a_failed_attempt_and_what_it_did_not_begin_is_free_again(
    autojump_clock: MockClock,
) -> None:
    inbox = MemoryInbox(max_attempts=2, retry_delay=1)
    seen = []
    async with open_gateway(seed=1) as gateway, open_session(gateway, inbox=inbox) as session:
        for number in range(3):
            await say(gateway, number, f"oc_{number}")
        with suppress(ZeroDivisionError):
            async with session.events(MESSAGE) as events:
                async for event in events:
                    seen.append((event.data.message.message_id, event.attempt))
                    if len(seen) == 1:
                        event.nack()
                    else:
                        await wait_all_tasks_blocked()  # the third has been claimed, too
                        raise ZeroDivisionError
        await trio.sleep(5)
        async with session.events(MESSAGE) as events:
            async for event in events:
                seen.append((event.data.message.message_id, event.attempt))
                event.nack()
                if len(seen) == 6:
                    break
        await settled(inbox, dead=3)
    assert sorted(seen[:2]) == [("om_0", 1), ("om_1", 1)]
    # Only the attempts that were made are counted.
    assert sorted(seen[2:]) == [("om_0", 2), ("om_1", 2), ("om_2", 1), ("om_2", 2)]


async def test_what_the_block_raises_leaves_it_as_itself(autojump_clock: MockClock) -> None:
    async with open_gateway() as gateway:
        with pytest.raises(KeyError, match="mine"):
            async with open_session(gateway, router=Router(), inbox=MemoryInbox()):
                raise KeyError("mine")


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_results_that_come_late_are_counted(kind: str, tmp_path: Path) -> None:
    """As of a thread that goes on, say, while its event is ended."""
    inbox = MemoryInbox() if kind == "memory" else SQLiteInbox(tmp_path / "bot.db")
    router = Router()

    @router.on(MESSAGE)
    async def end_itself_unseen(event: Event[Any]) -> None:
        await inbox.cancel("oc_1")

    with trio.fail_after(20):
        async with open_gateway(seed=1) as gateway:
            async with open_session(gateway, router=router, inbox=inbox) as session:
                await say(gateway, 1)
                await until(lambda: counted(inbox, done=1))
                await inbox.flush()
            assert session.stats().late_results == 1
