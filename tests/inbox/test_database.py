"""Stored events in SQLite, step by step: what may run, in which order, and what is refused."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from feishu_trio.inbox.database import SUSPECT, Database
from feishu_trio.inbox.records import Claim, Entry, State, Summary

DAY = 86_400.0


def connect(path: Path | str = ":memory:") -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


@pytest.fixture
def database() -> Iterator[Database]:
    with closing(connect()) as connection:
        database = Database(connection)
        database.create("cli_a")
        database.recover(1.0)
        yield database


def entry(name: str, lane: str | None = None, *more_keys: str) -> Entry:
    return Entry(
        keys=(f"event:{name}", *more_keys),
        id=name,
        type="x.y",
        lane=lane,
        payload=name.encode(),
        received=1.0,
    )


def store(database: Database, *entries: Entry, now: float = 1.0) -> list[int]:
    with database.transaction():
        return [stored.number for stored in database.store(entries, now)]


def claim(database: Database, limit: int = 100, now: float = 2.0) -> dict[str, Claim]:
    with database.transaction():
        return {each.id: each for each in database.claim(limit, now)}


def states(database: Database) -> dict[str, State]:
    return {each.id: each.state for each in everything(database)}


def payload(database: Database, number: int) -> bytes | None:
    details = database.show(number)
    assert details is not None
    return details.payload


def everything(database: Database) -> list[Summary]:
    return [each for state in State for each in database.list(state, 1000)]


def test_what_is_claimed_is_what_was_stored(database: Database) -> None:
    event = Entry(
        keys=("event:e", "message:m"),
        id="e\ud800",
        type="im.message.receive_v1",
        lane="oc_1",
        payload=b"\x00\xff{}",
        message_id="frame",
        trace_id="trace",
        received=12.5,
    )
    event.id = "e"
    store(database, event, now=13.0)
    got = claim(database)["e"]
    assert (got.id, got.type, got.lane, got.payload) == ("e", event.type, "oc_1", event.payload)
    assert (got.message_id, got.trace_id, got.received, got.stored) == ("frame", "trace", 12.5, 13.0)
    assert (got.attempt, got.crashes, dict(got.succeeded)) == (1, 0, {})


def test_an_event_is_stored_once_by_each_of_its_keys(database: Database) -> None:
    with database.transaction():
        (first,) = database.store([entry("a", None, "message:m")], 1.0)
        again, by_message, other = database.store(
            [entry("a"), entry("b", None, "message:m"), entry("c", None, "message:n")], 2.0
        )
        # `b` is a key of the first by now
        (third,) = database.store([entry("b")], 3.0)
    assert first.is_new
    assert other.is_new
    for known in (again, by_message, third):
        assert (known.number, known.is_new) == (first.number, False)


def test_within_one_group_too(database: Database) -> None:
    assert len(set(store(database, entry("a"), entry("a"), entry("b")))) == 2


def test_a_lane_runs_one_event_after_the_other(database: Database) -> None:
    store(
        database,
        entry("a1", "a"),
        entry("a2", "a"),
        entry("b1", "b"),
        entry("x"),
        entry("y"),
        entry("a3", "a"),
    )
    first = claim(database)
    assert list(first) == ["a1", "b1", "x", "y"]
    assert claim(database) == {}
    with database.transaction():
        assert database.done(first["a1"], 3.0)
    assert list(claim(database)) == ["a2"]


def test_what_waits_for_its_next_attempt_steps_aside_and_is_the_next_when_it_is_due(
    database: Database,
) -> None:
    store(database, entry("a1", "a"), entry("a2", "a"), entry("a3", "a"))
    with database.transaction():
        assert database.retry(claim_now(database, "a1"), 10.0, "it failed")
    two = claim(database, now=9.0)
    assert list(two) == ["a2"]
    assert claim(database, now=10.0) == {}, "another of its lane runs"
    with database.transaction():
        database.done(two["a2"], 11.0)
    again = claim(database, now=11.0)
    assert list(again) == ["a1"], "not a3"
    assert again["a1"].attempt == 2


def claim_now(database: Database, name: str) -> Claim:
    return next(each for each in database.claim(100, 2.0) if each.id == name)


def test_with_strict_order_its_lane_waits_for_it() -> None:
    with closing(connect()) as connection:
        database = Database(connection)
        database.create("cli_a")
        database.set_order(strict=True)
        database.recover(1.0)
        store(database, entry("a1", "a"), entry("a2", "a"))
        with database.transaction():
            database.retry(claim_now(database, "a1"), 10.0, "it failed")
        store(database, entry("a3", "a"))
        assert claim(database, now=9.0) == {}
        again = claim(database, now=10.0)
        assert list(again) == ["a1"]
        with database.transaction():
            database.die(again["a1"], "too often", 11.0)
        assert list(claim(database, now=11.0)) == ["a2"]


def test_those_that_wait_for_their_next_attempt_cost_the_others_of_their_lane_nothing() -> None:
    costs = [steps_of_a_lane_with(waiting) for waiting in (300, 3000)]
    assert costs[1] < 1.5 * costs[0], f"steps of SQLite's machine: {costs}"


def steps_of_a_lane_with(waiting: int) -> int:
    """What it takes to store one more event, claim it and be done with it, and to wake one that is due."""
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1

    with closing(connect()) as connection:
        database = Database(connection)
        database.create("cli_a")
        database.recover(1.0)
        store(database, *(entry(f"e{number}", "a") for number in range(waiting)))
        with database.transaction():
            while claims := database.claim(1, 2.0):
                database.retry(claims[0], 10.0 if claims[0].id == "e0" else 100.0, "it failed")
        connection.set_progress_handler(step, 10)
        store(database, entry("new", "a"), entry("newer", "a"))
        for name, now in (("new", 3.0), ("newer", 3.0), ("e0", 11.0)):
            (claimed,) = claim(database, 1, now).items()
            assert claimed[0] == name
            with database.transaction():
                database.done(claimed[1], now)
    return steps


def test_an_outdated_claim_changes_nothing(database: Database) -> None:
    store(database, entry("a"))
    old = claim(database)["a"]
    with database.transaction():
        assert database.release(old)
    new = claim(database)["a"]
    assert new.attempt == 1
    with database.transaction():
        assert not database.succeeded(old, "h", None, 3.0)
        assert not database.done(old, 3.0)
        assert not database.retry(old, 4.0, "late")
        assert not database.die(old, "late", 3.0)
        assert not database.release(old)
        assert not database.park(old, 3.0)
    assert states(database) == {"a": State.RUNNING}
    with database.transaction():
        assert database.done(new, 3.0)
        assert not database.done(new, 3.0)


def test_what_ran_when_its_owner_died_is_ready_again_and_its_claim_is_outdated(tmp_path: Path) -> None:
    path = tmp_path / "inbox.db"
    with closing(connect(path)) as connection:
        database = Database(connection)
        database.create("cli_a")
        database.recover(1.0)
        store(database, entry("a", "lane"), entry("b", "lane"))
        old = claim(database)["a"]
        with database.transaction():
            database.succeeded(old, "first", b"1", 3.0)
    with closing(connect(path)) as connection:
        database = Database(connection)
        assert database.app_id == "cli_a"
        assert database.recover(1.0) == 1
        with database.transaction():
            assert not database.done(old, 4.0)
        new = claim(database)["a"]
        assert (new.attempt, new.crashes, dict(new.succeeded)) == (1, 1, {"first": b"1"})
        assert new.token > old.token


def test_what_had_not_begun_when_its_owner_died_has_not_crashed(database: Database) -> None:
    store(database, entry("a"), entry("b"), entry("c"))
    with database.transaction():
        gathered = {each.id: each for each in database.claim(2, 2.0, gathers=True)}
        assert all(each.is_gathered for each in gathered.values())
        database.claim(1, 2.0)
        database.begin([gathered["a"]])
    assert database.recover(3.0) == 3
    again = claim(database)
    assert {name: (each.attempt, each.crashes) for name, each in again.items()} == {
        "a": (1, 1),
        "b": (1, 0),
        "c": (1, 1),
    }
    with database.transaction():
        database.release(again["b"])
        (new,) = database.claim(1, 2.0, gathers=True)
        database.begin([gathered["b"], again["b"]])  # outdated
    database.recover(3.0)
    assert claim(database)["b"].crashes == new.crashes == 0


def test_what_has_crashed_twice_is_claimed_alone(database: Database) -> None:
    store(database, entry("bad"), entry("good"))
    for _ in range(SUSPECT):
        claim(database, limit=1)
        database.recover(1.0)
    assert list(claim(database)) == ["good"]
    with database.transaction():
        (alone,) = database.claim_alone(3.0)
        assert (alone.id, alone.crashes) == ("bad", SUSPECT)
        assert database.claim_alone(3.0) == []


def test_what_crashes_on_and_on_is_a_dead_letter_and_frees_its_lane(database: Database) -> None:
    store(database, entry("bad", "a"), entry("good", "a"))
    for crash in range(SUSPECT + 3):
        with database.transaction():
            (bad,) = database.claim_alone(2.0) if crash >= SUSPECT else database.claim(1, 2.0)
        assert (bad.id, bad.crashes) == ("bad", crash)
        assert database.recover(3.0) == 1
    (dead,) = database.list(State.DEAD, 10)
    assert dead.error == "the process died 5 times while it ran"
    assert list(claim(database)) == ["good"]


def test_dead_letters_stay_and_run_again_behind_all_others_when_requeued(database: Database) -> None:
    store(database, entry("a1", "a"), entry("a2", "a"))
    first = claim(database)["a1"]
    with database.transaction():
        database.succeeded(first, "done before", None, 3.0)
        database.die(first, "too often", 3.0)
    (dead,) = database.list(State.DEAD, 10)
    assert (dead.id, dead.error) == ("a1", "too often")
    assert payload(database, dead.number) == b"a1"
    store(database, entry("a3", "a"), entry("a1", "a"))
    assert database.counts().dead == 1, "it is known"
    with database.transaction():
        (new,) = database.requeue([dead.number, 999], 3.0)
    order = []
    while found := claim(database):
        for each in found.values():
            order.append(each.id)
            assert each.attempt == 1
            assert list(each.succeeded) == (["done before"] if each.id == "a1" else [])
            with database.transaction():
                database.done(each, 5.0)
    assert order == ["a2", "a3", "a1"]
    assert store(database, entry("a1")) == [new], "its keys have moved with it"


def test_what_no_route_takes_is_parked_beside_its_lane(database: Database) -> None:
    store(database, entry("a1", "a"), entry("a2", "a"))
    first = claim(database)["a1"]
    with database.transaction():
        assert database.park(first, 3.0)
    assert list(claim(database)) == ["a2"]
    with database.transaction():
        assert database.unpark(["other"]) == 0
        assert database.unpark(["x.y"]) == 1
    assert states(database) == {"a1": State.BLOCKED, "a2": State.RUNNING}
    assert claim(database) == {}


def test_what_is_done_is_remembered_until_it_is_purged_and_leaves_nothing(database: Database) -> None:
    store(database, entry("a", None, "message:m"), entry("b"))
    claims = claim(database)
    with database.transaction():
        database.done(claims["a"], 10.0)
        database.done(claims["b"], 10.0)
        assert payload(database, claims["a"].number) is None
    store(database, entry("a", None, "message:late"), now=20.0)  # its window starts anew
    with database.transaction():
        assert database.purge(State.DONE, 15.0, 100) == 1
    assert states(database) == {"a": State.DONE}
    with database.transaction():
        assert database.purge(State.DONE, 21.0, 100) == 1
    for table in ("event", "body", "key", "handler"):
        (count,) = database._execute(f"SELECT count(*) FROM {table}").fetchone()
        assert count == 0, table
    assert claim(database) == {}
    with database.transaction():
        assert database.store([entry("a")], 30.0)[0].is_new


def test_a_failure_within_a_transaction_leaves_no_trace(database: Database) -> None:
    def store_and_fail() -> None:
        with database.transaction():
            database.store([entry("a")], 1.0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store_and_fail()
    assert states(database) == {}
    assert store(database, entry("a")) == [1]


def test_what_is_done_and_remembered_takes_350_bytes(tmp_path: Path) -> None:
    path = tmp_path / "inbox.db"
    with closing(connect(path)) as connection:
        connection.execute("PRAGMA auto_vacuum = incremental")
        database = Database(connection)
        database.create("cli_a")
        database.recover(1.0)
        count = 10_000
        for start in range(0, count, 500):
            events = [
                Entry(
                    keys=(f"event:{number:032}", f"message:om_{number:032}"),
                    id=f"{number:032}",
                    type="im.message.receive_v1",
                    lane=f"oc_{number % 100:032}",
                    payload=b"x" * 1000,
                    message_id=f"{number:036}",
                    trace_id=f"{number:032}",
                )
                for number in range(start, start + 500)
            ]
            store(database, *events)
            while claims := claim(database):
                with database.transaction():
                    for each in claims.values():
                        database.done(each, 3.0)
        while database.shrink(1000):
            pass
        # Free pages are not counted: the next events fill them.
        pages, free, page = (
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        assert free <= pages / 2
        assert (pages - free) * page / count <= 350


ASIDE = {State.WAITING, State.DONE, State.DEAD, State.PARKED}
LIVE = (State.READY, State.BLOCKED, State.RUNNING, State.WAITING)
LANES = st.sampled_from([None, "a", "b"])


class Inbox(RuleBasedStateMachine):
    """Any steps in any order, with crashes: order, fences, and what is remembered hold after each of them."""

    claims = Bundle("claims")

    @initialize(strict=st.booleans())
    def open(self, strict: bool) -> None:
        self.connection = connect()
        self.database = Database(self.connection)
        self.is_strict = strict
        self.now = 1.0
        self.database.create("cli_a")
        self.database.set_order(strict=strict)
        self.database.recover(self.now)
        self.lanes: dict[str, str | None] = {}
        self.live: dict[str, Claim] = {}
        self.finished: set[str] = set()
        self.marks: dict[str, set[str]] = {}
        self.notes: dict[str, dict[tuple[str, str], bytes]] = {}
        self.told: set[int] = set()

    def teardown(self) -> None:
        if hasattr(self, "connection"):
            self.connection.close()

    @rule(name=st.integers(0, 12), lane=LANES)
    def store(self, name: int, lane: str | None) -> None:
        key = f"e{name}"
        with self.database.transaction():
            (stored,) = self.database.store([entry(key, lane)], self.now)
        assert stored.is_new == (key not in self.lanes)
        self.lanes.setdefault(key, lane)

    @rule(limit=st.integers(1, 5), in_order=st.booleans(), target=claims)
    def claim(self, limit: int, in_order: bool) -> list[Claim]:
        before = {each.number: each for each in everything(self.database)}
        with self.database.transaction():
            claims = self.database.claim(limit, self.now, gathers=not in_order)
        assert len(claims) <= limit
        for each in claims:
            assert each.id not in self.live
            assert each.id not in self.finished
            assert set(each.succeeded) == self.marks.get(each.id, set())
            assert each.notes == self.notes.get(each.id, {})
            self.live[each.id] = each
            # Whoever stands before it in its lane has stepped aside, or must run alone.
            for other in before.values():
                if other.lane == each.lane is not None and other.number < each.number:
                    assert other.state in ASIDE or other.due is not None
        if not in_order:
            with self.database.transaction():
                for each in claims:
                    if each.lane is not None:
                        self.database.step_aside(each)
        return claims

    @rule(claims=claims)
    def begin(self, claims: list[Claim]) -> None:
        with self.database.transaction():
            self.database.begin(claims)
        for each in claims:
            each.is_gathered = False

    @rule(target=claims)
    def claim_alone(self) -> list[Claim]:
        with self.database.transaction():
            claims = self.database.claim_alone(self.now)
        self.live |= {each.id: each for each in claims}
        assert all(each.crashes >= SUSPECT for each in claims)
        return claims

    @rule(claims=claims, name=st.sampled_from(["h", "g"]))
    def succeed(self, claims: list[Claim], name: str) -> None:
        with self.database.transaction():
            for each in claims:
                if self.database.succeeded(each, name, None, self.now):
                    assert self.live.get(each.id) is each
                    self.marks.setdefault(each.id, set()).add(name)

    @rule(claims=claims, name=st.sampled_from(["h", "g", "f"]), value=st.binary(max_size=3))
    def fail_and_note(self, claims: list[Claim], name: str, value: bytes) -> None:
        with self.database.transaction():
            for each in claims:
                is_live = self.live.get(each.id) is each
                if name not in self.marks.get(each.id, ()):
                    assert self.database.failed(each, name, "no", self.now) == is_live
                assert self.database.note(each, name, "key", value) == is_live
                if is_live:
                    self.notes.setdefault(each.id, {})[name, "key"] = value

    @rule(lane=st.sampled_from(["a", "b"]), spares=st.sets(st.sampled_from(list(LIVE))))
    def cancel(self, lane: str, spares: set[State]) -> None:
        states = (*LIVE, State.PARKED)
        mine = [each for each in everything(self.database) if each.lane == lane and each.state in states]
        spared = [each.number for each in mine if each.state in spares]
        with self.database.transaction():
            cancelled = self.database.cancel(lane, spared, self.now)
        ended = [each for each in mine if each.number not in spared]
        assert cancelled.count == len(ended)
        assert cancelled.running == [each.number for each in ended if each.state is State.RUNNING]
        for each in ended:
            self.live.pop(each.id, None)
            self.finished.add(each.id)

    @rule()
    def bury_parked(self) -> None:
        before = {each.id: each.settled for each in self.database.list(State.PARKED, 100)}
        with self.database.transaction():
            count = self.database.bury_parked(self.now - 2, "nobody came", self.now, 100)
        assert count == sum(at is not None and at <= self.now - 2 for at in before.values())

    @rule(limit=st.integers(1, 3))
    def tell(self, limit: int) -> None:
        dead = {each.number for each in self.database.list(State.DEAD, 100)}
        with self.database.transaction():
            untold = self.database.untold(limit)
            for each in untold:
                assert each.state is State.DEAD
                assert each.payload == each.id.encode()
                self.database.told(each.number)
        assert {each.number for each in untold} <= dead - self.told
        assert self.database.has_untold() == bool(dead - self.told - {each.number for each in untold})
        self.told |= {each.number for each in untold}

    @rule(
        claims=consumes(claims),
        how=st.sampled_from(["done", "retry", "wish", "die", "release", "park"]),
        delay=st.integers(0, 3),
    )
    def settle(self, claims: list[Claim], how: str, delay: int) -> None:
        with self.database.transaction():
            for each in claims:
                match how:
                    case "done":
                        settled = self.database.done(each, self.now)
                    case "retry" | "wish":
                        settled = self.database.retry(each, self.now + delay, "no", counts=how == "retry")
                    case "die":
                        settled = self.database.die(each, "no", self.now)
                    case "release":
                        settled = self.database.release(each)
                    case _:
                        settled = self.database.park(each, self.now)
                assert settled == (self.live.get(each.id) is each)
                if settled:
                    del self.live[each.id]
                    if how == "done":
                        self.finished.add(each.id)

    @rule(strict=st.booleans())
    def crash(self, strict: bool) -> None:
        crashes = {each.id: each.crashes for each in everything(self.database)}
        for each in self.live.values():
            crashes[each.id] += not each.is_gathered
        self.database = Database(self.connection)
        self.database.keep_order()
        assert self.database.recover(self.now) == len(self.live)
        assert {each.id: each.crashes for each in everything(self.database)} == crashes
        self.database.set_order(strict=strict)
        self.is_strict = strict
        self.live.clear()

    @rule(seconds=st.integers(1, 3))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def unpark(self) -> None:
        with self.database.transaction():
            self.database.unpark(["x.y"])

    @rule()
    def requeue(self) -> None:
        with self.database.transaction():
            numbers = [each.number for each in self.database.list(State.DEAD, 100)]
            self.database.requeue(numbers, self.now)

    @rule()
    def purge(self) -> None:
        with self.database.transaction():
            self.database.purge(State.DONE, self.now - 5, 100)
        kept = {each.id for each in everything(self.database)}
        for name in list(self.finished - kept):
            self.finished.discard(name)
            self.lanes.pop(name)
            self.marks.pop(name, None)
            self.notes.pop(name, None)

    @invariant()
    def lanes_are_in_order(self) -> None:
        if not hasattr(self, "database"):
            return
        events = everything(self.database)
        assert {each.id for each in events} == set(self.lanes), "none is lost, and none is made up"
        for lane in ("a", "b"):
            mine = [each.state for each in events if each.lane == lane]
            heads = sum(state in (State.READY, State.RUNNING) for state in mine)
            assert heads <= 1
            if State.BLOCKED in mine:
                assert heads or (self.is_strict and State.WAITING in mine), "somebody will free it"
        assert all(each.state is not State.BLOCKED for each in events if each.lane is None)
        assert {each.id for each in events if each.state is State.RUNNING} == set(self.live)
        assert all(each.attempts >= 0 for each in events)
        done = [self.database.show(each.number) for each in events if each.state is State.DONE]
        assert all(each and each.payload is None and not each.handlers for each in done)


TestInbox = Inbox.TestCase
TestInbox.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)


def test_many_ids_that_are_not_there_are_looked_for_at_once() -> None:
    with closing(connect()) as connection:
        database = Database(connection)
        database.create("cli_a")
        store(database, entry("a"))
        statements: list[str] = []
        connection.set_trace_callback(statements.append)
        assert database.numbers(["x?", *map(str, range(300)), "a", 1, 7]) == [1, 1]
        assert sum("FROM event WHERE id" in each for each in statements) == 1
