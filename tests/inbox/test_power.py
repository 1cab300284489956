"""Power is lost at any moment: what was committed is there, and all that is there can be worked to its end.

Between two fsyncs of a file, any of its sectors that were written may have reached the disk, and any length of what it
grew. So after each step of a run that ends with an fsync, files are made up that a loss within it may leave; each is
opened and looked at. When SQLite (3.40, seen with strace) writes what, and calls fsync:

- a commit: frames into the WAL, fsync of the WAL. The first into a WAL that is new or begun anew: its header, fsync of
  the WAL (and of the folder, if the file is new), then as above;
- a checkpoint: fsync of the WAL, pages into the database; and if those were all, its length, fsync of the database;
- a close: a checkpoint, then the WAL is deleted. The folder is not synced: the WAL may be back;
- until the database is in WAL mode: what is to be overwritten into a journal, fsync of the journal and the folder, pages
  into the database, fsync of the database, then the journal is deleted, and may be back as well.
"""

from __future__ import annotations

import sqlite3
import struct
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import attrs
import pytest

from feishu_trio.inbox.database import SUSPECT, Database
from feishu_trio.inbox.file import DatabaseFile
from feishu_trio.inbox.records import Claim, Entry, State, Summary
from feishu_trio.inbox.sqlite import SQLiteInbox

from .test_contract import serving

APP = "cli_a"
SECTOR = 512
PAGE = 4096
WAL_HEADER = 32
WINDOW = 30.0
LANES = (None, "a", "b", "c")
RESULTS = ("succeeded", "succeeded", "done", "done", "retry", "wish", "die", "release")
LATE = 2e9  # seconds since 1970, by when everything is due
NORMAL, FULL = 1, 2  # PRAGMA synchronous


# The disk


class Image(NamedTuple):
    """What a loss leaves; an empty file is none. The shared memory is gone with it."""

    database: bytes = b""
    wal: bytes = b""
    journal: bytes = b""

    def write(self, path: Path) -> None:
        path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
        for suffix, content in zip(("", "-wal", "-journal"), self, strict=True):
            file = path.with_name(path.name + suffix)
            file.unlink(missing_ok=True)  # to overwrite it is slow: ext4 flushes it
            if content:
                file.write_bytes(content)


@attrs.define
class File:
    """A file as programs see it, and as it was at its last fsync."""

    now: bytes = b""
    safe: bytes = b""

    def sync(self) -> None:
        self.safe = self.now

    def after_loss(self, random: Random) -> bytes:
        shorter, longer = sorted((len(self.safe), len(self.now)))
        length = random.choice((shorter, longer, random.randint(shorter, longer)))
        grown = length - len(self.safe)
        tail = random.choice((bytes, random.randbytes))(grown) if grown > 0 else b""
        left = bytearray(self.safe[:length] + tail)
        share = random.choice((0.02, 0.5, 0.98, 1.0))
        for start in range(0, min(length, len(self.now)), SECTOR):
            if random.random() < share:
                end = min(start + SECTOR, length, len(self.now))
                left[start:end] = self.now[start:end]
        return bytes(left)


class Disk:
    """Watches a database, and makes up what losses of power may leave of it."""

    def __init__(self, path: Path, image: Image, random: Random, torn: int) -> None:
        image.write(path)
        path.touch()
        self.path = path
        self.windows: list[list[Image]] = []
        """For each step between two fsyncs: as before, as after, and anything between."""
        self._random = random
        self._torn = torn
        self._database = File(image.database, image.database)
        self._wal = File(image.wal, image.wal)
        self._journal = image.journal
        self._deleted = Image()
        # Closed with the last connection only: to close a file drops all locks that its process has on it.
        self._file = path.open("rb")

    def close(self) -> None:
        self._file.close()

    def _read(self) -> tuple[bytes, bytes]:
        self._file.seek(0)
        wal = self.path.with_name(f"{self.path.name}-wal")
        return self._file.read(), wal.read_bytes() if wal.exists() else b""

    def written(self, synchronous: int) -> None:
        """A transaction may have ended."""
        database, wal = self._read()
        if database != self._database.now:
            self._written_with_journal(database)
        if wal == self._wal.now:
            return
        # A new header is synced before anything is written behind it.
        header = wal[:WAL_HEADER] + self._wal.now[WAL_HEADER:]
        if header != self._wal.now:
            self._wal.now = header
            self._window()
            if synchronous >= NORMAL:
                self._wal.sync()
                self._deleted = Image()
        self._wal.now = wal
        self._window()
        if synchronous >= FULL:
            self._wal.sync()

    def _written_with_journal(self, database: bytes) -> None:
        assert not self._wal.now, "only a checkpoint writes to the database"
        self._deleted = Image(journal=journal_of(self._database.safe))
        self._database.now = database
        self._window()
        torn = [self._database.after_loss(self._random) for _ in range(self._torn)]
        self.windows[-1] += [Image(each, journal=self._deleted.journal) for each in (database, *torn)]
        # Torn without its journal it cannot be.
        self.windows[-1] = [
            each
            for each in self.windows[-1]
            if each.journal or each.database in (database, self._database.safe)
        ]
        self._database.sync()

    def checkpointed(self, synchronous: int, *, is_whole: bool) -> None:
        if synchronous >= NORMAL:
            self._wal.sync()
        self._database.now, _ = self._read()
        if self._database.now != self._database.safe:
            self._window()
        if is_whole and synchronous >= NORMAL:
            self._database.sync()

    def closed(self, synchronous: int) -> None:
        self.checkpointed(synchronous, is_whole=True)
        _, wal = self._read()
        assert not wal, "the last connection deletes the WAL"
        if self._wal.now:
            self._deleted, self._wal = Image(wal=self._wal.safe), File()
            self._window()

    def _window(self) -> None:
        images = [
            Image(self._database.safe, self._wal.safe),
            Image(self._database.now, self._wal.now),
            *(
                Image(self._database.after_loss(self._random), self._wal.after_loss(self._random))
                for _ in range(self._torn)
            ),
        ]
        if not self._wal.safe and self._deleted != Image():
            images += [
                Image(self._database.safe, self._deleted.wal or wal, self._deleted.journal)
                for wal in (self._wal.safe, self._wal.now)
            ]
        self.windows.append(images)

    def take(self) -> list[list[Image]]:
        windows, self.windows = self.windows, []
        return windows


def journal_of(database: bytes) -> bytes:
    """The journal that makes it this again."""
    pages = [database[start : start + PAGE] for start in range(0, len(database), PAGE)]
    magic, nonce = bytes.fromhex("d9d505f920a163d7"), 7
    header = magic + struct.pack(">5I", len(pages), nonce, len(pages), SECTOR, PAGE)
    records = [
        struct.pack(">I", number) + page + struct.pack(">I", nonce + sum(page[PAGE - 200 : 0 : -200]))
        for number, page in enumerate(pages, 1)
    ]
    return header.ljust(SECTOR, b"\0") + b"".join(records)


class Connection(sqlite3.Connection):
    """Tells a disk of each transaction that has ended; its checkpoints are steps of their own."""

    disk: Disk
    random: Random

    def watch(self, disk: Disk, random: Random) -> None:
        self.disk, self.random = disk, random

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if "wal_autocheckpoint" in sql:
            sql = "PRAGMA wal_autocheckpoint = 0"
        if "wal_checkpoint" in sql:
            self._checkpoint()
            return super().execute("SELECT 0")
        cursor = super().execute(sql, parameters)
        if not self.in_transaction:
            self.disk.written(self._synchronous())
            if sql == "COMMIT" and self.random.random() < 0.2:
                self._checkpoint()
        return cursor

    def executescript(self, sql: str, /) -> sqlite3.Cursor:
        cursor = super().executescript(sql)
        self.disk.written(self._synchronous())
        return cursor

    def close(self) -> None:
        synchronous = self._synchronous()
        super().close()
        self.disk.closed(synchronous)

    def _checkpoint(self) -> None:
        _, pages, moved = super().execute("PRAGMA wal_checkpoint").fetchone()
        self.disk.checkpointed(self._synchronous(), is_whole=pages == moved)

    def _synchronous(self) -> int:
        (synchronous,) = super().execute("PRAGMA synchronous").fetchone()
        return int(synchronous)


class WatchedFile(DatabaseFile):
    def __init__(self, disk: Disk, random: Random) -> None:
        super().__init__(disk.path, "the watched file")
        self.disk, self.random = disk, random

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, isolation_level=None, check_same_thread=False, factory=Connection
        )
        connection.watch(self.disk, self.random)
        return connection


class WatchedInbox(SQLiteInbox):
    """An inbox on a disk that is watched, at a time that stands."""

    def __init__(self, run: Run, disk: Disk) -> None:
        super().__init__(disk.path, strict_order=run.strict_order)
        self.run = run
        self._file = run.file_class(disk, run.random)

    def _time(self) -> float:
        return self.run.now

    async def _purge_step(self) -> int:
        return 0  # not by itself

    async def forget(self) -> int:
        return await super()._purge_step()


# What is promised


@attrs.frozen
class Fact:
    """What was answered about an event. One that is blocked is ready here."""

    number: int
    lane: str | None
    state: State = State.READY
    attempts: int = 0
    crashes: int = 0
    due: float | None = None
    marks: Mapping[str, bytes] = attrs.Factory(dict)
    has_waited: bool = False
    """Whether it has stepped aside, and so has lost its place in its lane."""

    def fits(self, found: Summary) -> bool:
        return self.number == found.number and (
            (self.lane, self.state, self.attempts, self.crashes)
            == (found.lane, as_fact(found.state), found.attempts, found.crashes)
            and (self.state is not State.WAITING or self.due == found.due)
        )

    def recovered(self) -> Fact:
        if self.state is not State.RUNNING:
            return self
        state = State.DEAD if self.crashes + 1 >= SUSPECT + 3 else State.READY
        return attrs.evolve(self, state=state, attempts=self.attempts - 1, crashes=self.crashes + 1)


Facts = dict[str, Fact]


def as_fact(state: State) -> State:
    return State.READY if state is State.BLOCKED else state


def payload_of(name: str) -> bytes:
    return f"{name} ".encode() * (int(name[1:]) * 37 % 2500 + 1)  # up to three pages and a bit


def keys_of(name: str) -> tuple[str, ...]:
    return (f"event:{name}", f"message:{name}")


def entry(name: str, lane: str | None, keys: tuple[str, ...] = ()) -> Entry:
    return Entry(keys=keys or keys_of(name), id=name, type="x.y", lane=lane, payload=payload_of(name))


class Examiner:
    """Opens images, and holds them against what was promised."""

    def __init__(self, path: Path, strict_order: bool) -> None:
        self.path = path
        self.strict_order = strict_order
        self.images = 0

    def examine(
        self, window: Iterable[Image], before: Facts, after: Facts, claims: Iterable[Claim]
    ) -> list[Facts]:
        """What is there in each image of a window: of each event, what was before the step or what is after it."""
        as_before_or_after: list[Any] = []
        there = []
        for number, image in enumerate(window):
            content, facts = self._examine(image, before, after, claims)
            there.append(facts)
            if number < 2:
                as_before_or_after.append(content)
            assert content in as_before_or_after, "a transaction is there as a whole, or not at all"
        return there

    def _examine(
        self, image: Image, before: Facts, after: Facts, claims: Iterable[Claim]
    ) -> tuple[Any, Facts]:
        self.images += 1
        image.write(self.path)
        file = DatabaseFile(self.path, "the image")
        assert file.lock()
        database = file.open(APP)
        try:
            connection = file.connection
            assert connection is not None
            connection.execute("PRAGMA synchronous = OFF")  # this file has suffered its loss
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)
            content = everything(connection)
            there = self._there(database, before, after)
            database.recover(LATE)
            database.set_order(strict=self.strict_order)
            check_heads(database, self.strict_order)
            self._work(database, there, before.keys() | after.keys(), claims)
            return content, {name: facts[-1] for name, facts in there.items()}
        finally:
            file.close()

    def _there(self, database: Database, before: Facts, after: Facts) -> dict[str, list[Fact]]:
        found = summaries(database)
        assert found.keys() <= before.keys() | after.keys(), "none is made up"
        there = {}
        for name in sorted(before.keys() | after.keys()):
            was, then = before.get(name), after.get(name)
            if name not in found:
                assert was is None or then is None, f"{name} is lost: {was}"
                continue
            facts = [each for each in (was, then) if each is not None and each.fits(found[name])]
            assert facts, f"{name} was {was} and then {then}, but is {found[name]}"
            there[name] = facts
        return there

    def _work(
        self,
        database: Database,
        there: dict[str, list[Fact]],
        known: Iterable[str],
        outdated: Iterable[Claim],
    ) -> None:
        """Claim and finish all that there is."""
        expected = {name: facts[-1].recovered().state for name, facts in there.items()}
        order: dict[str, list[int]] = defaultdict(list)
        ran = set()
        with database.transaction():
            while claims := database.claim(1000, LATE) or database.claim_alone(LATE):
                for old in outdated:
                    assert not database.succeeded(old, "late", None, LATE), "its claim was before the loss"
                lanes = [each.lane for each in claims if each.lane is not None]
                assert len(lanes) == len(set(lanes)), "one of a lane at a time"
                for claim in claims:
                    assert claim.id not in ran, "it runs once"
                    assert expected[claim.id] in (State.READY, State.WAITING), "nothing else runs again"
                    assert claim.payload == payload_of(claim.id)
                    there[claim.id][:] = [
                        each
                        for each in there[claim.id]
                        if each.marks == claim.succeeded
                        and (each.recovered().attempts + 1, each.recovered().crashes)
                        == (claim.attempt, claim.crashes)
                    ]
                    assert there[claim.id], f"{claim} is none of what it could be"
                    ran.add(claim.id)
                    if claim.lane is not None and not there[claim.id][-1].has_waited:
                        order[claim.lane].append(claim.number)
                    assert database.done(claim, LATE)
        for numbers in order.values():
            assert numbers == sorted(numbers), "in the order in which they were stored"
        for name, summary in summaries(database).items():
            is_dead = expected[name] is State.DEAD
            assert summary.state is (State.DEAD if is_dead else State.DONE), "all is done, but the dead"
            shown = database.show(summary.number)
            assert shown is not None
            assert shown.payload == (payload_of(name) if is_dead else None), (
                "what is done goes with its payload"
            )
        with database.transaction():
            for name in known:
                for key in keys_of(name):
                    (stored,) = database.store([entry(name, None, (key,))], LATE)
                    assert stored.is_new == (name not in there), "it is known by each of its keys, or by none"


def everything(connection: sqlite3.Connection) -> dict[str, list[Any]]:
    tables = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
    ).fetchall()
    return {name: connection.execute(f"SELECT * FROM {name}").fetchall() for (name,) in tables}


def summaries(database: Database) -> dict[str, Summary]:
    return {each.id: each for state in State for each in database.list(state, 10_000)}


def check_heads(database: Database, strict_order: bool) -> None:
    lanes: dict[str, list[State]] = defaultdict(list)
    for each in summaries(database).values():
        assert each.state is not State.RUNNING
        assert each.lane is not None or each.state is not State.BLOCKED
        if each.lane is not None:
            lanes[each.lane].append(each.state)
    for states in lanes.values():
        assert states.count(State.READY) <= 1
        if State.BLOCKED in states:
            assert State.READY in states or (strict_order and State.WAITING in states), "somebody frees it"


# The run


class Run:
    """Whatever an inbox may be asked for, at random; after each step, what a loss within it would have left."""

    file_class: type[WatchedFile] = WatchedFile
    longest_life = 15
    share_of_losses = 0.6

    def __init__(self, folder: Path, seed: int, torn: int) -> None:
        self.random = Random(seed)
        self.strict_order = self.random.random() < 0.4
        self.now = 1e9
        self.folder = folder
        self.torn = torn
        (folder / "image").mkdir()
        self.examiner = Examiner(folder / "image" / "bot.db", self.strict_order)
        self.facts: Facts = {}
        self.claims: dict[str, Claim] = {}
        self.names = 0
        self.lives = 0
        self.readers: list[sqlite3.Connection] = []

    async def run(self, steps: int) -> None:
        image = Image()
        while steps > 0:
            self.lives += 1
            folder = self.folder / str(self.lives)
            folder.mkdir()
            disk = Disk(folder / "bot.db", image, self.random, self.torn)
            try:
                while steps > 0:
                    lived = min(steps, self.random.randint(1, self.longest_life))
                    steps -= lived
                    left = await self._live(disk, lived)
                    if self.random.random() < self.share_of_losses:
                        break
            finally:
                disk.close()
            # As if power had been lost in the last step before the close.
            image, self.facts = self._choose(left)

    def _choose(self, left: list[tuple[Image, Facts]]) -> tuple[Image, Facts]:
        return self.random.choice(left)

    async def _live(self, disk: Disk, steps: int) -> list[tuple[Image, Facts]]:
        """What its last step may leave."""
        inbox = WatchedInbox(self, disk)
        before = self.facts
        async with serving(inbox, APP, WINDOW):
            self.facts = {name: fact.recovered() for name, fact in before.items()}
            left = self._examine(disk, before)
            try:
                for _ in range(steps):
                    self.now += self.random.choice((0.0, 1.0, 5.0))
                    before = dict(self.facts)
                    await self._step(inbox)
                    left = self._examine(disk, before) or left
            finally:
                self._close_readers()
            before = dict(self.facts)
        for name in self.claims:
            self._change(name, State.READY, attempts=self.facts[name].attempts - 1)
        self.claims.clear()
        self._examine(disk, before)
        return left

    def _examine(self, disk: Disk, before: Facts) -> list[tuple[Image, Facts]]:
        left = []
        for window in disk.take():
            there = self.examiner.examine(window, before, self.facts, self.claims.values())
            left += list(zip(window, there, strict=True))
        return left

    def _change(self, name: str, state: State, **changes: Any) -> None:
        self.facts[name] = attrs.evolve(self.facts[name], state=state, **changes)

    async def _step(self, inbox: WatchedInbox) -> None:
        steps = (self._traffic, self._claim, self._requeue, self._purge, self._read)
        await self.random.choices(steps, (10, 8, 2, 2, 1))[0](inbox)

    async def _traffic(self, inbox: WatchedInbox) -> None:
        """New events, and results of those that run."""
        names = self.random.sample(sorted(self.claims), self.random.randint(0, len(self.claims)))
        results = [(name, self.random.choice(RESULTS)) for name in names]
        for name, result in results:
            self._settle(inbox, name, result)
        entries = [self._entry() for _ in range(self.random.randint(0, 6))]
        stored = list(zip(entries, await inbox.store(entries), strict=True))
        await inbox.flush()
        new = {each.id: Fact(of.number, each.lane) for each, of in stored if of.is_new}
        assert new.keys() == {each.id for each in entries} - self.facts.keys()
        self.facts |= new
        assert all(self.facts[each.id].number == of.number for each, of in stored)

    def _entry(self) -> Entry:
        if self.random.random() < 0.8:
            self.names += 1
        name = f"e{max(1, self.names - self.random.choice((0, 0, 0, 5, 10)))}"
        return entry(name, self.random.choice(LANES))

    def _settle(self, inbox: WatchedInbox, name: str, result: str) -> None:
        claim, fact = self.claims[name], self.facts[name]
        if result == "succeeded":
            handler, value = self.random.choice("fgh"), self.random.randbytes(10)
            inbox.succeeded(claim, handler, value)
            self._change(name, State.RUNNING, marks={**fact.marks, handler: value})
            return
        del self.claims[name]
        match result:
            case "done":
                inbox.done(claim)
                self._change(name, State.DONE)
            case "retry" | "wish":
                delay, counts = self.random.choice((0.0, 3.0, 60.0)), result == "retry"
                inbox.retry(claim, delay, "it failed", counts=counts)
                attempts = fact.attempts - (not counts)
                self._change(
                    name,
                    State.WAITING,
                    due=self.now + delay,
                    attempts=attempts,
                    has_waited=not self.strict_order,
                )
            case "die":
                inbox.die(claim, "it failed")
                self._change(name, State.DEAD)
            case _:
                inbox.release(claim)
                self._change(name, State.READY, attempts=fact.attempts - 1)

    async def _claim(self, inbox: WatchedInbox) -> None:
        await self._claim_some(inbox, alone=self.random.random() < 0.2)

    async def _claim_some(self, inbox: WatchedInbox, *, alone: bool) -> None:
        claims = await inbox.claim(self.random.randint(1, 5), alone=alone)
        for name, fact in self.facts.items():
            if fact.state is State.WAITING and fact.due is not None and fact.due <= self.now:
                self._change(name, State.READY)
        for claim in claims:
            fact = self.facts[claim.id]
            assert (fact.state, fact.marks) == (State.READY, claim.succeeded)
            self._change(claim.id, State.RUNNING, attempts=fact.attempts + 1)
            self.claims[claim.id] = claim

    async def _requeue(self, inbox: WatchedInbox) -> None:
        dead = [name for name, fact in sorted(self.facts.items()) if fact.state is State.DEAD]
        chosen = self.random.sample(dead, self.random.randint(0, len(dead)))
        assert await inbox.requeue(chosen) == len(chosen)
        for name in chosen:
            shown = await inbox.show(name)
            assert shown is not None
            self._change(name, State.READY, number=shown.number, attempts=0, crashes=0, has_waited=False)

    async def _purge(self, inbox: WatchedInbox) -> None:
        match self.random.choice(("done", "dead", "window")):
            case "window":  # which gives pages back, too
                count = await inbox.forget()
            case "done":
                count = await inbox.purge(State.DONE, 2.0)
            case _:
                count = await inbox.purge(State.DEAD, 10.0)
        kept = {each.id for state in State for each in await inbox.list(state, 10_000)}
        assert len(self.facts) - len(kept) == count
        for name in self.facts.keys() - kept:
            assert self.facts.pop(name).state in (State.DONE, State.DEAD)

    async def _read(self, inbox: WatchedInbox) -> None:
        """Somebody begins to look, or ends it: while he looks, a checkpoint stops where he is."""
        if self.readers:
            self._close_readers()
            return
        reader = sqlite3.connect(f"file:{inbox.path}?mode=ro", uri=True, isolation_level=None)
        self.readers.append(reader)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sqlite_master").fetchall()

    def _close_readers(self) -> None:
        while self.readers:
            self.readers.pop().close()


@pytest.mark.parametrize("seed", range(4))
async def test_nothing_is_lost_with_the_power(tmp_path: Path, seed: int, is_soak: bool) -> None:
    await Run(tmp_path, seed, torn=6 if is_soak else 3).run(250 if is_soak else 50)


async def test_a_first_opening_that_was_cut_off_is_begun_anew(tmp_path: Path) -> None:
    await Run(tmp_path, 1, torn=20).run(1)


class Doomed(Run):
    """Power is lost whenever something runs."""

    longest_life = 1
    share_of_losses = 1.0

    async def _step(self, inbox: WatchedInbox) -> None:
        if self.facts:
            suspects = [each for each in self.facts.values() if each.crashes >= SUSPECT]
            await self._claim_some(inbox, alone=any(each.state is State.READY for each in suspects))
            return
        for name in ("e1", "e2"):
            (stored,) = await inbox.store([entry(name, "a")])
            self.facts[name] = Fact(stored.number, "a")

    def _choose(self, left: list[tuple[Image, Facts]]) -> tuple[Image, Facts]:
        running = [each for each in left if any(fact.state is State.RUNNING for fact in each[1].values())]
        return super()._choose(running or [each for each in left if len(each[1]) == len(self.facts)])


async def test_an_opening_that_makes_a_dead_letter_may_be_cut_off(tmp_path: Path) -> None:
    run = Doomed(tmp_path, 1, torn=5)
    await run.run(1 + SUSPECT + 3 + 1)
    assert (run.facts["e1"].state, run.facts["e1"].crashes) == (State.DEAD, SUSPECT + 3)
    assert run.facts["e2"].state is State.RUNNING, "its lane goes on"


# Whether a loss would be found


class Hasty(WatchedFile):
    """Answers before a commit is on the disk."""

    def _prepare(self, connection: sqlite3.Connection, app_id: str | None) -> Database:
        database = super()._prepare(connection, app_id)
        connection.execute("PRAGMA synchronous = NORMAL")
        return database


async def is_found_out(run: Run, match: str) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(AssertionError, match=match), flatten_subgroups=True):
        await run.run(50)


async def test_an_inbox_that_does_not_wait_for_the_disk_is_found_out(tmp_path: Path) -> None:
    run = Run(tmp_path, 1, torn=3)
    run.file_class = Hasty
    await is_found_out(run, "as a whole|is lost|but is")


@pytest.mark.parametrize(
    ("step", "match"),
    [
        ("_insert", "a key that is known is an event's|known by each of its keys"),
        ("_free", "somebody frees it|goes with its payload"),
    ],
)
async def test_a_step_that_is_committed_by_itself_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, match: str
) -> None:
    whole = getattr(Database, step)

    def commit(database: Database) -> None:
        database._execute("COMMIT")
        database._execute("BEGIN IMMEDIATE")

    def by_itself(database: Database, *arguments: object) -> object:
        commit(database)
        result = whole(database, *arguments)
        commit(database)
        return result

    monkeypatch.setattr(Database, step, by_itself)
    await is_found_out(Run(tmp_path, 1, torn=3), match)
