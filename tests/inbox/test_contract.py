"""What every inbox does, in memory and in a file: one suite for all of them."""

from __future__ import annotations

import functools
import re
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trio
import trio.testing

from feishu_trio.errors import ConfigError, InboxError
from feishu_trio.events import decode_event
from feishu_trio.inbox import local
from feishu_trio.inbox.database import Database
from feishu_trio.inbox.local import LocalInbox
from feishu_trio.inbox.memory import MemoryInbox
from feishu_trio.inbox.protocol import Inbox
from feishu_trio.inbox.records import Claim, Entry, State
from feishu_trio.inbox.redis import RedisInbox
from feishu_trio.inbox.sqlite import SQLiteInbox
from feishu_trio.inbox.storing import entry_of

AnInbox = TypeVar("AnInbox", bound=Inbox)
Make = Callable[..., Inbox]


@pytest.fixture(params=["memory", "sqlite"])
def make_local(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Inboxes over SQLite, for what only they have: transactions, and a clock of their own."""
    if request.param == "memory":
        return MemoryInbox
    return functools.partial(SQLiteInbox, tmp_path / "inbox.db")


@pytest.fixture(params=["memory", "sqlite", "redis"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    if request.param == "memory":
        return MemoryInbox
    if request.param == "sqlite":
        return functools.partial(SQLiteInbox, tmp_path / "inbox.db")
    url, prefix = request.getfixturevalue("redis_url"), request.getfixturevalue("prefix")
    return functools.partial(RedisInbox, url, prefix=prefix)


@asynccontextmanager
async def serving(
    inbox: AnInbox, app_id: str = "cli_a", window: float = 3600
) -> AsyncGenerator[AnInbox, None]:
    async with trio.open_nursery() as nursery:
        await nursery.start(inbox.serve, app_id, window)
        yield inbox
        nursery.cancel_scope.cancel()


def entry(name: str, lane: str | None = None, payload: bytes = b"{}") -> Entry:
    return Entry(keys=(f"event:{name}",), id=name, type="x.y", lane=lane, payload=payload)


async def claim(inbox: Inbox, limit: int = 100, *, alone: bool = False) -> dict[str, Claim]:
    return {each.id: each for each in await inbox.claim(limit, alone=alone)}


def hours_of(inbox: Inbox) -> tuple[float, Callable[[float], Awaitable[None]]]:
    """An hour in seconds, and what lets some pass. A server's time cannot be moved: its hours are short, and real."""
    hour, now = 3600.0, 1e9
    if isinstance(inbox, LocalInbox):
        inbox._time = lambda: now  # type: ignore[method-assign]  # also where threads write
    else:
        hour = 1.2

    async def passes(hours: float) -> None:
        nonlocal now
        now += hour * hours
        if not isinstance(inbox, LocalInbox):
            await trio.sleep(hour * hours)

    return hour, passes


async def test_what_is_stored_is_claimed_once_and_done(make: Make) -> None:
    async with serving(make()) as inbox:
        first = await inbox.store([entry("a"), entry("b")])
        again = await inbox.store([entry("a"), entry("c")])
        assert [each.is_new for each in (*first, *again)] == [True, True, False, True]
        claims = await claim(inbox, 2)
        assert list(claims) == ["a", "b"]
        assert list(await claim(inbox)) == ["c"]
        for each in claims.values():
            inbox.done(each)
        await inbox.flush()
        counts = await inbox.counts()
        assert (counts.done, counts.running, counts.ready) == (2, 1, 0)
        assert counts.oldest is not None
        assert not (await inbox.store([entry("a")]))[0].is_new


async def test_many_callers_share_transactions(make_local: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = 0
    transaction = Database.transaction

    def counted(database: Database) -> AbstractContextManager[None]:
        nonlocal groups
        groups += 1
        return transaction(database)

    monkeypatch.setattr(Database, "transaction", counted)
    async with serving(make_local()) as inbox:
        async with trio.open_nursery() as nursery:
            for number in range(500):
                nursery.start_soon(inbox.store, [entry(f"e{number}")])
        assert len(await inbox.claim(1000)) == 500
        assert groups < 100


async def test_handlers_that_succeeded_are_known_at_the_next_claim(make: Make) -> None:
    async with serving(make(retry_delay=0.001)) as inbox:
        await inbox.store([entry("a")])
        first = (await claim(inbox))["a"]
        inbox.succeeded(first, "one", b'{"x":1}')
        inbox.retry(first, 0.0, "two: ValueError: no", counts=True)
        second = (await claim(inbox))["a"]
        assert (second.attempt, dict(second.succeeded)) == (2, {"one": b'{"x":1}'})
        inbox.done(first)  # outdated: it changes nothing
        inbox.release(second)
        third = (await claim(inbox))["a"]
        assert third.attempt == 2


async def test_a_result_that_comes_late_is_counted_and_told_of(make: Make) -> None:
    late: list[str] = []
    inbox = make()
    inbox.on_late = lambda claim: late.append(claim.id)
    async with serving(inbox):
        await inbox.store([entry("a"), entry("b"), entry("c")])
        first = await claim(inbox)
        for each in first.values():
            inbox.release(each)
        await inbox.flush()
        second = await claim(inbox)
        inbox.succeeded(first["a"], "one", None)
        inbox.done(first["a"])
        inbox.retry(first["b"], 0.0, "no", counts=True)
        inbox.failed(second["c"], "one", "no")
        inbox.die(second["c"], "no")
        await inbox.flush()
        assert (await inbox.counts()).running == 2
        inbox.park(second["c"])  # it is dead
        await inbox.flush()
    # That a handler succeeded may go without a word if its event is done.
    assert set(late) == {"a", "b", "c"}
    assert inbox.late == len(late) <= 4


async def test_what_is_seen_again_is_remembered_from_then_on(make: Make) -> None:
    inbox = make()
    hour, passes = hours_of(inbox)
    async with serving(inbox, window=hour):
        await inbox.store([entry("a"), entry("b")])
        for each in await inbox.claim(10):
            inbox.done(each)
        await inbox.flush()
        await passes(0.8)
        for keys in (("event:a", "message:a"), ("event:unknown",), ()):
            inbox.seen(keys)
        await inbox.flush()
        assert (await inbox.counts()).done == 2, "an unknown one is none"
        await passes(0.8)
        assert await inbox.purge(State.DONE, hour) == 1
        again, other, by_message = await inbox.store(
            [
                entry("a"),
                entry("b"),
                Entry(keys=("message:a",), id="m", type="x.y", lane=None, payload=b"{}"),
            ]
        )
    assert [each.is_new for each in (again, other, by_message)] == [False, True, False]


@pytest.mark.parametrize("is_stored", [False, True])
async def test_a_key_that_an_event_gets_while_it_runs_is_forgotten_with_it(
    make: Make, is_stored: bool
) -> None:
    async with serving(make()) as inbox:
        await inbox.store([entry("a")])
        running = (await claim(inbox))["a"]
        keys = ("event:a", "message:a")
        if is_stored:
            await inbox.store([Entry(keys=keys, id="a", type="x.y", lane=None, payload=b"{}")])
        else:
            inbox.seen(keys)
        inbox.done(running)
        by_message = Entry(keys=keys[1:], id="m", type="x.y", lane=None, payload=b"{}")
        assert not (await inbox.store([by_message]))[0].is_new
        assert await inbox.purge(State.DONE, 0) == 1
        assert (await inbox.store([by_message]))[0].is_new


async def test_while_nothing_can_be_written_what_is_seen_again_takes_no_memory(
    make_local: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(database: Database, keys: object, now: float) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    async with serving(make_local()) as inbox:
        await inbox.store([entry("a")])
        monkeypatch.setattr(Database, "seen", full)
        for _ in range(20_000):
            inbox.seen(("event:a",))
        assert len(inbox._owed) <= 10_000  # type: ignore[attr-defined]
        await inbox.flush()
        assert inbox.fault is not None
        owed = len(inbox._owed)  # type: ignore[attr-defined]
        for _ in range(100):
            inbox.seen(("event:a",))
        assert len(inbox._owed) == owed  # type: ignore[attr-defined]
        monkeypatch.undo()


async def test_waiting_for_a_change_ends_with_the_next_one(make: Make) -> None:
    async with serving(make()) as inbox:
        assert await inbox.claim(10) == []
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(inbox.wait_changed)
                await trio.testing.wait_all_tasks_blocked()
                await inbox.store([entry("a")])
        assert len(await inbox.claim(10)) == 1


async def test_what_came_between_claim_and_waiting_is_not_missed(make: Make) -> None:
    async with serving(make()) as inbox:
        for number in range(50):
            assert await inbox.claim(10) == []
            await inbox.store([entry(f"e{number}")])
            with trio.fail_after(5):
                await inbox.wait_changed()
            assert len(await inbox.claim(10)) == 1


async def test_dead_letters_are_listed_requeued_and_purged(make: Make) -> None:
    async with serving(make()) as inbox:
        await inbox.store([entry("a"), entry("b")])
        for each in await inbox.claim(10):
            inbox.die(each, "too often")
        dead = await inbox.list(State.DEAD)
        assert [(each.id, each.error) for each in dead] == [("a", "too often"), ("b", "too often")]
        assert await inbox.requeue([dead[0].id]) == 1
        assert list(await claim(inbox)) == ["a"]
        assert await inbox.purge(State.DEAD, 0.0) == 1
        assert await inbox.list(State.DEAD) == []


async def test_one_event_is_shown_with_all_there_is_of_it(make: Make) -> None:
    async with serving(make()) as inbox:
        await inbox.store([entry("a", "oc_1", b'{"x":1}')])
        first = (await claim(inbox))["a"]
        inbox.succeeded(first, "one", None)
        inbox.failed(first, "two", "ValueError: no")
        inbox.retry(first, 0.0, "two: ValueError: no", counts=True)
        shown = await inbox.show("a")
        assert shown is not None
        assert (shown.state, shown.lane, shown.payload, shown.error) == (
            "waiting",
            "oc_1",
            b'{"x":1}',
            "two: ValueError: no",
        )
        assert [(each.name, each.error) for each in shown.handlers] == [
            ("one", None),
            ("two", "ValueError: no"),
        ]
        assert all(each.at >= shown.stored for each in shown.handlers)
        second = (await claim(inbox))["a"]
        assert list(second.succeeded) == ["one"], "what failed runs again"
        inbox.done(second)
        done = await inbox.show(shown.number)
        assert done is not None
        assert (done.state, done.payload, done.handlers) == ("done", None, ())
        assert await inbox.show("b") is None
        assert await inbox.show(99) is None


async def test_what_a_handler_noted_is_there_at_the_next_claim_and_gone_once_it_is_done(make: Make) -> None:
    async with serving(make()) as inbox:
        await inbox.store([entry("a")])
        first = (await claim(inbox))["a"]
        assert first.notes == {}
        assert await inbox.note(first, "one", "said", b"om_1")
        assert await inbox.note(first, "one", "said", b"om_2")
        assert await inbox.note(first, "two", "said", b"")
        inbox.retry(first, 0.0, "no", counts=True)
        second = (await claim(inbox))["a"]
        assert second.notes == {("one", "said"): b"om_2", ("two", "said"): b""}
        assert not await inbox.note(first, "one", "said", b"late"), "the claim is outdated"
        with pytest.raises(ValueError, match="70000 bytes"):
            await inbox.note(second, "one", "said", bytes(70_000))
        inbox.done(second)
        await inbox.flush()
        assert not await inbox.note(second, "one", "said", b"late")


async def test_what_is_behind_a_key_is_ended_wherever_it_stands(make: Make) -> None:
    async with serving(make()) as inbox:
        await inbox.store([entry("a", "x"), entry("b", "x"), entry("c", "x"), entry("d", "y"), entry("e")])
        claims = await claim(inbox)
        inbox.retry(claims["a"], 60.0, "no", counts=True)
        again = await claim(inbox)
        assert list(again) == ["b"]
        cancelled = await inbox.cancel("x", keys=["event:a", "event:d", "event:unknown"])
        assert (cancelled.count, cancelled.running, cancelled.known) == (3, [again["b"].number], 1)
        assert [each.error for each in await inbox.list(State.DONE)] == [None] * 3
        inbox.retry(again["b"], 0.0, "late", counts=True)  # outdated: it changes nothing
        assert await claim(inbox) == {}
        counts = await inbox.counts()
        assert (counts.done, counts.running) == (3, 2)
        cancelled = await inbox.cancel("y", [claims["d"].number], ["event:d"])
        assert (cancelled.count, cancelled.running, cancelled.known) == (0, [], 0)
        await inbox.store([entry("f", "x")])
        assert list(await claim(inbox)) == ["f"]


@pytest.mark.parametrize(
    ("given", "asked"), [('""', ""), ('"a?b"', "a?b"), ('"\\ud800x"', "\ud800x"), ('"\\ufffd"', "\ufffd")]
)
async def test_events_whose_ids_are_odd_are_found_by_them(make: Make, given: str, asked: str) -> None:
    events = [
        decode_event(f'{{"header":{{"event_id":{given},"event_type":"x"}},"event":{number}}}'.encode())
        for number in range(4)
    ]
    async with serving(make()) as inbox:
        await inbox.store([entry_of(event, None) for event in events])
        for number, each in enumerate(await inbox.claim(10)):
            if number:
                inbox.die(each, "too often")
            else:
                inbox.done(each)
        found = await inbox.show(asked)
        assert found is not None
        assert (found.state, found.payload) == (State.DEAD, events[1].payload)
        assert await inbox.requeue([asked]) == 3
        assert await inbox.show("no?such") is None
        assert await inbox.requeue(["no?such", "\udcff"]) == 0


async def test_what_is_parked_of_a_key_is_ended_too(make: Make) -> None:
    async with serving(make()) as inbox:
        await inbox.store([entry("a", "x"), entry("b", "y"), entry("c")])
        for each in await inbox.claim(10):
            inbox.park(each)
        await inbox.store([entry("d", "x"), entry("e", "x")])
        assert (await inbox.cancel("x")).count == 3
        assert [each.id for each in await inbox.list(State.PARKED)] == ["b", "c"]
        assert await inbox.unpark(["x.y"]) == 2
        assert list(await claim(inbox)) == ["b", "c"]
        done = [await inbox.show(each.number) for each in await inbox.list(State.DONE)]
        assert [each and (each.id, each.payload) for each in done] == [("a", None), ("d", None), ("e", None)]


async def test_dead_letters_are_untold_until_somebody_was_told(make: Make) -> None:
    async with serving(make()) as inbox:
        await inbox.store([entry("a", payload=b"A"), entry("b", payload=b"B")])
        for each in await inbox.claim(10):
            inbox.die(each, "too often")
        with trio.fail_after(5):
            await inbox.wait_untold()
        untold = await inbox.untold(10)
        assert [(each.id, each.error, each.payload) for each in untold] == [
            ("a", "too often", b"A"),
            ("b", "too often", b"B"),
        ]
        inbox.told(untold[0].number)
        assert [each.id for each in await inbox.untold(10)] == ["b"]
        assert await inbox.requeue(["b"]) == 1
        assert not inbox.has_untold


async def test_what_has_no_order_once_claimed_lets_the_next_of_its_key_go_first(make: Make) -> None:
    async with serving(make()) as inbox:
        await inbox.store([entry(f"e{number}", "x") for number in range(10)])
        assert list(await claim(inbox)) == ["e0"]
        assert await inbox.claim(10, in_order=False) == [], "one of the key runs"
        for each in await inbox.list("running"):
            await inbox.cancel("x", [row.number for row in await inbox.list("blocked")])
            assert each.id == "e0"
        batch = await inbox.claim(5, in_order=False)
        assert [each.id for each in batch] == ["e1", "e2", "e3", "e4", "e5"]
        inbox.retry(batch[0], 0.0, "no", counts=True)
        inbox.release(batch[1])
        assert [each.id for each in await inbox.claim(10, in_order=False)] == [
            "e1",
            "e2",
            "e6",
            "e7",
            "e8",
            "e9",
        ]


async def test_what_goes_on_in_a_thread_is_not_ready_again_when_the_inbox_closes(tmp_path: Path) -> None:
    path = tmp_path / "inbox.db"
    async with serving(SQLiteInbox(path)) as inbox:
        await inbox.store([entry("a"), entry("b")])
        claims = await claim(inbox)
        inbox.keep(claims["a"])
    async with serving(SQLiteInbox(path)) as inbox:
        found = await claim(inbox)
        assert {name: (each.attempt, each.crashes) for name, each in found.items()} == {
            "a": (1, 1),
            "b": (1, 0),
        }


async def test_what_nobody_takes_for_seven_days_is_a_dead_letter(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with serving(MemoryInbox()) as inbox:
        await inbox.store([entry("a", "x"), entry("b", "x")])
        inbox.park((await claim(inbox))["a"])
        await trio.sleep(6.9 * 86_400)
        assert (await inbox.counts()).parked == 1
        with trio.fail_after(0.2 * 86_400):
            await inbox.wait_untold()
        (dead,) = await inbox.untold(10)
        assert (dead.id, dead.error) == ("a", "no handler took it for seven days")
        assert list(await claim(inbox)) == ["b"]


async def test_what_is_too_old_when_its_turn_comes_is_dead(make: Make) -> None:
    with trio.fail_after(5):
        async with serving(make(max_age=0.5)) as inbox:
            await inbox.store([entry("a")])
            await trio.sleep(0.6)
            await inbox.store([entry("b")])
            assert list(await claim(inbox)) == ["b"]
            (dead,) = await inbox.list(State.DEAD)
            assert dead.error == "it was older than max_age, 0.5 s, when its turn came"
            assert dead.attempts == 0, "it was not begun"


async def test_what_died_of_its_age_runs_once_it_is_requeued(make: Make) -> None:
    async with serving(make(max_age=0.5)) as inbox:
        await inbox.store([entry("a")])
        await trio.sleep(0.6)
        assert await claim(inbox) == {}
        assert await inbox.requeue(["a"]) == 1
        assert list(await claim(inbox)) == ["a"]


@pytest.mark.parametrize("number", [-1, 0, 2**63, 10**40])
async def test_a_number_that_no_event_has_is_none(make: Make, number: int) -> None:
    async with serving(make()) as inbox:
        await inbox.store([entry("a")])
        assert await inbox.show(number) is None
        assert await inbox.requeue([number]) == 0


async def test_a_claim_whose_caller_was_cancelled_is_given_back(make: Make) -> None:
    async with serving(make()) as inbox:
        await inbox.store([entry("a")])
        with trio.CancelScope() as scope:
            scope.cancel()
            await inbox.claim(1)
        with trio.fail_after(5):
            while not (found := await claim(inbox)):
                await inbox.wait_changed()
        assert found["a"].attempt == 1


async def test_outside_its_block_it_says_so(make: Make) -> None:
    inbox = make()
    with pytest.raises(InboxError, match="is not open"):
        await inbox.store([entry("a")])


async def test_it_serves_one_session_at_a_time(make: Make) -> None:
    inbox = make()
    with pytest.RaisesGroup(
        pytest.RaisesExc(InboxError, match="an inbox object of its own"), flatten_subgroups=True
    ):
        async with serving(inbox), serving(inbox):
            pass
    async with serving(inbox):
        pass


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("window", 0),
        ("window", "8h"),
        ("max_attempts", 0),
        ("max_attempts", True),
        ("retry_delay", -1),
        ("max_retry_delay", 0),
        ("max_age", -5),
        ("order_by", "chat"),
        ("order_by", trio.sleep),
        ("strict_order", 1),
    ],
)
def test_a_wrong_argument_is_named(make: Make, name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"{name}: {value!r} is not allowed")):
        make(**{name: value})


def test_arguments_that_are_none_or_do_not_go_together_are_named(make: Make) -> None:
    with pytest.raises(ConfigError, match=r"^max_retry_delay: 1 .* not less than retry_delay, which is 10"):
        make(retry_delay=10, max_retry_delay=1)
    with pytest.raises(ConfigError, match=r"'max_attempt' is no setting; the nearest is 'max_attempts'"):
        make(max_attempt=3)


async def test_only_what_is_settled_can_be_purged(make: Make) -> None:
    async with serving(make()) as inbox:
        await inbox.store([entry("a")])
        with pytest.raises(ConfigError, match=r"^state: 'gone' .* ready, blocked, running"):
            await inbox.list("gone")
        for state in (State.READY, State.RUNNING, "gone"):
            with pytest.raises(ConfigError, match=r"^state: "):
                await inbox.purge(state, 0.0)
        assert (await inbox.counts()).ready == 1


async def test_any_number_of_event_types_can_wait(make: Make) -> None:
    async with serving(make()) as inbox:
        entries = [
            Entry(keys=(), id=str(number), type=f"x.{number}", lane=None, payload=b"{}")
            for number in range(40_000)
        ]
        await inbox.store(entries)
        assert len(inbox.types) == 40_000
        assert len(await inbox.claim(10, inbox.types)) == 10
        assert [each.type for each in await inbox.claim(10, ["x.39999", "x.5"])] == ["x.39999"]


async def test_a_type_with_a_nul_is_claimed_and_unparked_like_any_other(make: Make) -> None:
    async with serving(make()) as inbox:
        for number, event_type in enumerate(("x\0y", "x", "x\0z")):
            odd = Entry(keys=(), id=str(number), type=event_type, lane=None, payload=b"{}")
            await inbox.store([odd])
        assert [each.type for each in await inbox.claim(10, ["x\0y"])] == ["x\0y"]
        claims = await inbox.claim(10, list(inbox.types))
        assert [each.type for each in claims] == ["x", "x\0z"]
        inbox.park(claims[1])
        assert await inbox.unpark(["x\0z"]) == 1
        assert [each.type for each in await inbox.claim(10, ["x\0z", "y"])] == ["x\0z"]


async def test_done_events_are_forgotten_under_load_too(autojump_clock: trio.testing.MockClock) -> None:
    async with serving(MemoryInbox(window=10)) as inbox:
        for number in range(2000):
            await inbox.store([entry(f"e{number}")])
            for each in await inbox.claim(1):
                inbox.done(each)
            await trio.sleep(0.1)
        assert (await inbox.counts()).done < 1000


async def test_an_inbox_most_of_which_is_free_comes_to_rest(
    make_local: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    purges = 0
    purge = Database.purge

    def counted(database: Database, *arguments: Any) -> int:
        nonlocal purges
        purges += 1
        return purge(database, *arguments)

    monkeypatch.setattr(Database, "purge", counted)
    monkeypatch.setattr(local, "_PURGE_EVERY", 0.05)
    async with serving(make_local()) as inbox:
        await inbox.store([entry(f"e{number}", payload=bytes(100_000)) for number in range(20)])
        for each in await inbox.claim(20):
            inbox.done(each)
        await inbox.purge("done", 0.0)
        await trio.sleep(0.2)
        purges = 0
        await trio.sleep(0.5)
        assert purges <= 10


async def test_memory_is_bounded_and_what_fits_goes_on() -> None:
    async with serving(MemoryInbox(max_bytes=4 << 20)) as inbox:
        stored = 0

        async def fill() -> None:
            nonlocal stored
            while True:
                await inbox.store([entry(f"e{stored}", payload=b"x" * 100_000)])
                stored += 1

        with pytest.raises(InboxError, match="full"):
            await fill()
        assert 20 <= stored <= 41
        while claims := await inbox.claim(10):
            for each in claims:
                inbox.done(each)
            await inbox.flush()
        assert (await inbox.counts()).done == stored
        assert not inbox.owes
        assert (await inbox.store([entry("new", payload=b"x" * 100_000)]))[0].is_new


async def test_of_many_some_are_requeued_at_a_time(make_local: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    steps, transactions = [], 0
    requeue, transaction = Database.requeue, Database.transaction

    def counted(database: Database) -> AbstractContextManager[None]:
        nonlocal transactions
        transactions += 1
        return transaction(database)

    def noted(database: Database, numbers: Iterable[int], now: float) -> list[int]:
        steps.append((transactions, len(found := requeue(database, numbers, now))))
        return found

    async with serving(make_local()) as inbox:
        names = [str(number) for number in range(1200)]
        await inbox.store([entry(name) for name in names])
        for each in (await claim(inbox, 1200)).values():
            inbox.die(each, "no")
        await inbox.flush()
        monkeypatch.setattr(Database, "transaction", counted)
        monkeypatch.setattr(Database, "requeue", noted)
        assert await inbox.requeue(names) == 1200
        assert [count for _, count in steps] == [500, 500, 200]
        assert len({of for of, _ in steps}) == 3, "each in a transaction of its own"
        assert list(await claim(inbox, 1200)) == names
        assert await inbox.requeue([]) == 0


async def test_long_ids_and_keys_are_not_kept_of_what_is_done(make: Make) -> None:
    name = "x" + "é" * 500_000
    async with serving(make()) as inbox:
        await inbox.store([entry(name, lane=name), entry("next", lane=name)])
        inbox.done((await claim(inbox))[name])
        await inbox.flush()
        (done,) = await inbox.list("done")
        assert len(done.id) + len(done.lane or "") < 1000
        assert done.id
        assert name.startswith(done.id)
        assert not (await inbox.store([entry(name)]))[0].is_new
        shown = await inbox.show(name)
        assert shown is not None
        assert shown.number == done.number
        assert list(await claim(inbox)) == ["next"]
