"""What it costs to store events, beside the least that SQLite can do: `python -m benchmarks.inbox [--quick]`.

All is measured in one run, in turns, so that ratios mean something on a machine that others use; `README.md` says how.
"""

from __future__ import annotations

import argparse
import gc
import logging
import multiprocessing
import random
import sqlite3
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from multiprocessing.synchronize import Event as Ready
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeAlias

import attrs
import trio

from feishu_trio.events import decode_event
from feishu_trio.events.order import by_chat
from feishu_trio.inbox.file import DatabaseFile
from feishu_trio.inbox.records import Entry
from feishu_trio.inbox.sqlite import SQLiteInbox
from feishu_trio.inbox.storing import entry_of

from .clients import ROOT
from .frames import message
from .targets import Target, table, write

_APP: Final = "cli_9f5343c580712544"
_WAITING: Final = 64  # tasks, each of which stores one event at a time; and the most that a claim asks for
_SLOWER: Final = 0.002
_RATE: Final = 1000.0
_FILLED: Final = 120.0  # seconds that the process that is killed may take to store everything


TARGETS: Final = {
    "store": Target("store, of plain grouped inserts", 0.40),
    "store and done": Target("store, claim and done, of plain grouped inserts", 0.20),
    "slow store": Target("store, of plain grouped inserts; a commit takes 2 ms more", 0.60),
    "grouping": Target("store, of one commit an event; a commit takes 2 ms more", 20),
    "answer": Target(
        "median time to answer at 1,000/s, of one commit; it takes 2 ms more", 2.5, is_most=True
    ),
    "opening": Target("first claim after a kill -9 with {waiting:,} events waiting", 1.0, True, " s"),
    "size": Target("on disk for a done event that is remembered", 350, True, " bytes"),
    "shrunk": Target("of the file when they are purged", 0.1, is_most=True),
}


@attrs.frozen
class Sizes:
    """How much of everything, in each round."""

    rounds: int = 9
    events: int = 10_000
    commits: int = 200
    answers: int = 1_000
    kills: int = 3
    waiting: int = 100_000


_QUICK: Final = Sizes(2, 10_000, 50, 200, 1, 10_000)


class SlowConnection(sqlite3.Connection):
    """Each fsync takes 2 ms more: of a commit there is one, and three more of a checkpoint, which some commits do."""

    def __init__(self, path: Path, **options: Any) -> None:
        super().__init__(path, **options)
        self._log = Path(f"{path}-wal")
        self._checkpoints = b""

    def execute(self, statement: str, *arguments: Any) -> sqlite3.Cursor:
        cursor = super().execute(statement, *arguments)
        if statement == "COMMIT":
            with self._log.open("rb", buffering=0) as log:
                log.seek(12)  # where it is counted how often the log was begun anew
                checkpoints = log.read(4)
            time.sleep(_SLOWER if checkpoints == self._checkpoints else 4 * _SLOWER)
            self._checkpoints = checkpoints
        return cursor


class SlowFile(DatabaseFile):
    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(
            self.path, isolation_level=None, check_same_thread=False, factory=SlowConnection
        )


class SlowInbox(SQLiteInbox):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._file = SlowFile(path, repr(self))


class PlainInserts:
    """The least that a durable queue does: a payload in a table, what has gathered in one commit, in one thread."""

    def __init__(self, path: Path, connection_class: type[sqlite3.Connection] = sqlite3.Connection) -> None:
        self.connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, factory=connection_class
        )
        for statement in (
            "PRAGMA journal_mode = WAL",
            "PRAGMA synchronous = FULL",
            "CREATE TABLE body (number INTEGER PRIMARY KEY, payload BLOB NOT NULL)",
        ):
            self.connection.execute(statement)
        self._waiting: list[tuple[bytes, trio.Event]] = []
        self._filled = trio.lowlevel.ParkingLot()

    async def store(self, entry: Entry) -> None:
        done = trio.Event()
        self._waiting.append((entry.payload, done))
        self._filled.unpark_all()
        await done.wait()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[PlainInserts]:
        with closing(self.connection):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                yield self
                nursery.cancel_scope.cancel()

    async def _write(self) -> None:
        while True:
            while not self._waiting:
                await self._filled.park()
            group, self._waiting = self._waiting, []
            await trio.to_thread.run_sync(self.commit, [payload for payload, _ in group])
            for _, done in group:
                done.set()

    def commit(self, payloads: Iterable[bytes]) -> None:
        execute = self.connection.execute
        execute("BEGIN IMMEDIATE")
        for payload in payloads:
            execute("INSERT INTO body (payload) VALUES (?)", (payload,))
        execute("COMMIT")


Store: TypeAlias = Callable[[Entry], Awaitable[object]]


async def rate(store: Store, entries: Sequence[Entry]) -> float:
    """Events per second, with so many waiting at any time, each of which stores again once answered."""
    left = iter(entries)

    async def one() -> None:
        for entry in left:
            await store(entry)

    started = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(_WAITING):
            nursery.start_soon(one)
    return len(entries) / (time.perf_counter() - started)


async def done_rate(inbox: SQLiteInbox, entries: Sequence[Entry]) -> float:
    """The same, until all are done and that is committed, by handlers that take no time."""

    async def handle() -> None:
        done = 0
        while done < len(entries):
            claims = await inbox.claim(_WAITING)
            for claim in claims:
                inbox.done(claim)
            done += len(claims)
            if not claims:
                await inbox.wait_changed()
        await inbox.flush()

    started = time.perf_counter()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(handle)
        await rate(storing(inbox), entries)
    return len(entries) / (time.perf_counter() - started)


async def answer_seconds(store: Store, entries: Sequence[Entry]) -> float:
    """The median time from when an event was due, evenly spaced, until it may be answered."""
    times: list[float] = []

    async def one(entry: Entry, due: float) -> None:
        await store(entry)
        times.append(trio.current_time() - due)

    async with trio.open_nursery() as nursery:
        started = trio.current_time()
        for number, entry in enumerate(entries):
            due = started + number / _RATE
            await trio.sleep_until(due)
            nursery.start_soon(one, entry, due)
    return median(times)


async def commit_seconds(plain: PlainInserts, entries: Sequence[Entry]) -> float:
    """The median time that one commit of one event takes."""

    def run() -> float:
        times = []
        for entry in entries:
            started = time.perf_counter()
            plain.commit([entry.payload])
            times.append(time.perf_counter() - started)
        return median(times)

    return await trio.to_thread.run_sync(run)


def storing(inbox: SQLiteInbox) -> Store:
    return lambda entry: inbox.store([entry])


async def measure(sizes: Sizes, folder: Path) -> dict[str, list[float]]:
    """What each round found, by the names in `TARGETS` and `DIVIDED`."""
    entries = make_entries(sizes.events)
    gc.freeze()
    values: dict[str, list[float]] = defaultdict(list)
    for number in range(sizes.rounds):
        path = folder / f"{number}"
        path.mkdir()
        for name, value in (await measure_round(sizes, path, entries)).items():
            values[name].append(value)
        values["size"].append(used_bytes(path / "done") / sizes.events)
        size = (path / "done").stat().st_size
        await purge(path / "done")
        values["shrunk"].append((path / "done").stat().st_size / size)
        if number < sizes.kills:
            values["opening"].append(await opening_seconds(path / "killed", sizes.waiting))
    return values


async def measure_round(sizes: Sizes, folder: Path, entries: Sequence[Entry]) -> dict[str, float]:
    """All that is divided, in any order, each with a new file; and the ratios."""
    async with AsyncExitStack() as stack:

        async def inbox(name: str, kind: type[SQLiteInbox] = SQLiteInbox) -> SQLiteInbox:
            return await stack.enter_async_context(serving(kind(folder / name)))

        async def plain(name: str, kind: type[sqlite3.Connection] = sqlite3.Connection) -> PlainInserts:
            return await stack.enter_async_context(PlainInserts(folder / name, kind).serving())

        store, done = storing(await inbox("store")), await inbox("done")
        slow_store, slow_answer = [storing(await inbox(name, SlowInbox)) for name in ("slow", "answer")]
        inserts, slow_inserts = await plain("plain"), await plain("slow plain", SlowConnection)
        single = await plain("single", SlowConnection)
        steps: dict[str, Callable[[], Awaitable[float]]] = {
            "plain": lambda: rate(inserts.store, entries),
            "stored": lambda: rate(store, entries),
            "done": lambda: done_rate(done, entries),
            "slow plain": lambda: rate(slow_inserts.store, entries),
            "slow stored": lambda: rate(slow_store, entries),
            "commit": lambda: commit_seconds(single, entries[: sizes.commits]),
            "answered": lambda: answer_seconds(slow_answer, entries[: sizes.answers]),
        }
        found = {name: await steps[name]() for name in random.sample(list(steps), len(steps))}
    return found | {
        "store": found["stored"] / found["plain"],
        "store and done": found["done"] / found["plain"],
        "slow store": found["slow stored"] / found["slow plain"],
        "grouping": found["slow stored"] * found["commit"],
        "answer": found["answered"] / found["commit"],
    }


async def opening_seconds(path: Path, waiting: int) -> float:
    """From opening what a killed process left until its first events are claimed."""
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Event()
    process = spawn.Process(target=fill, args=(path, waiting, ready))
    process.start()
    try:
        if not ready.wait(_FILLED):
            raise TimeoutError("the process that was to be killed has not stored everything")
    finally:
        process.kill()
        process.join()
    inbox = SQLiteInbox(path)
    started = time.perf_counter()
    async with serving(inbox):
        claims = await inbox.claim(_WAITING)
        seconds = time.perf_counter() - started
    assert claims
    return seconds


def fill(path: Path, waiting: int, ready: Ready) -> None:
    """Store so many, claim some, and wait to be killed."""

    async def run() -> None:
        inbox = SQLiteInbox(path)
        async with serving(inbox):
            entries = make_entries(waiting)
            for at in range(0, waiting, 1000):
                await inbox.store(entries[at : at + 1000])
            await inbox.claim(_WAITING)
            ready.set()
            await trio.sleep_forever()

    trio.run(run)


def used_bytes(path: Path) -> int:
    """Without the pages that the next events fill."""
    with closing(sqlite3.connect(path)) as connection:
        names = ("page_count", "freelist_count", "page_size")
        pages, free, page = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names]
    return int(pages - free) * int(page)


async def purge(path: Path) -> None:
    """Be a bot that finds all events to be older than its window."""
    inbox = SQLiteInbox(path, window=0.001)
    async with serving(inbox):
        while (await inbox.counts()).done:  # noqa: ASYNC110  # nothing says when
            await trio.sleep(0.001)


@asynccontextmanager
async def serving(inbox: SQLiteInbox) -> AsyncIterator[SQLiteInbox]:
    async with trio.open_nursery() as nursery:
        await nursery.start(inbox.serve, _APP, 3600.0)
        yield inbox
        nursery.cancel_scope.cancel()


def make_entries(count: int) -> list[Entry]:
    """Messages of 1 kB in 50 chats, as a session would store them."""
    events = (
        decode_event(
            message(number, 1024, 50),
            message_id=f"7d2c0f4e-6a1b-4c59-9f3e-{number:012x}",
            trace_id=f"8f14e45f{number:012x}",
        )
        for number in range(count)
    )
    return [entry_of(event, by_chat) for event in events]


DIVIDED: Final = {
    "plain": ("plain grouped inserts", "events/s"),
    "stored": ("store", "events/s"),
    "done": ("store, claim and done", "events/s"),
    "slow plain": ("plain grouped inserts; a commit takes 2 ms more", "events/s"),
    "slow stored": ("store; a commit takes 2 ms more", "events/s"),
    "commit": ("one commit; it takes 2 ms more", "s"),
    "answered": ("median time to answer at 1,000/s; a commit takes 2 ms more", "s"),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inbox", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small and short: to see that it works")
    arguments = parser.parse_args()
    sizes = _QUICK if arguments.quick else Sizes()
    logging.disable(logging.WARNING)
    with TemporaryDirectory(prefix=".inbox-", dir=ROOT) as folder:
        values = trio.run(measure, sizes, Path(folder))
    targets = {
        name: attrs.evolve(target, title=target.title.format(waiting=sizes.waiting))
        for name, target in TARGETS.items()
    }
    text = "\n".join(table(values, targets, DIVIDED, "what was divided"))
    print(text)
    if not arguments.quick:
        write("inbox", sizes, values, text)
    sys.exit(not all(target.holds(values[name]) for name, target in TARGETS.items()))


if __name__ == "__main__":
    main()
