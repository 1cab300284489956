"""What is measured. Each scenario yields the samples of one step at a time; nothing runs between steps."""

from __future__ import annotations

import select
import subprocess
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from statistics import quantiles
from typing import Final

import attrs

from . import answers
from .clients import Client, Running, spawn
from .frames import SHAPES, Shape
from .gateway import Connection, Gateway, attend
from .results import Sample

__all__ = ["SCENARIOS", "Arena", "Scenario", "exchange", "paced"]

Steps = Generator[list[Sample], None, None]

# An event at a time, a busy bot, and a flood; then what a bigger event costs, whole and in parts.
_CASES: Final = (
    ("1 kB", 1),
    ("1 kB", 64),
    ("1 kB", 512),
    ("10 kB", 64),
    ("10 kB in 3 parts", 64),
)
_RATE: Final = 1000
"""Events a second, for latency."""
_SLOW_WINDOW: Final = 256


@attrs.frozen
class Arena:
    """What a scenario is run with."""

    gateway: Gateway
    clients: list[Client]
    rounds: int = 7
    seconds: float = 0.6
    """How long one round of one client is to last, about."""
    latency_seconds: float = 2.0
    slow_seconds: float = 3.0
    burst: int = 100_000
    burst_seconds: float = 20.0
    idle_sessions: int = 500
    idle_seconds: float = 30.0
    starts: int = 5
    _next: list[int] = attrs.field(factory=lambda: [0], init=False)

    def numbers(self, count: int) -> range:
        """Numbers for so many events: no two events ever have the same."""
        first = self._next[0]
        self._next[0] += count
        return range(first, first + count)

    @contextmanager
    def running(self, handler: str) -> Iterator[list[Running]]:
        """All clients at once, each on its own connection; those that nobody talks to do nothing."""
        with ExitStack() as stack:
            yield [stack.enter_context(client.start(self.gateway, handler)) for client in self.clients]


@attrs.frozen
class Scenario:
    """A name for the command line, a title for people, how to run it, and how many steps that has."""

    title: str
    run: Callable[[Arena], Steps]
    steps: Callable[[Arena], int]


# Throughput


def exchange(connection: Connection, events: memoryview, size: int, window: int) -> float:
    """Send events of this size, `window` of them unanswered at any time; returns the seconds it took."""
    count = len(events) // size
    answered, sent = 0, min(window, count)
    start = time.perf_counter()
    connection.send(events[: sent * size])
    while answered < count:
        answered += connection.receive()
        more = min(answered + window, count)
        if more > sent:
            connection.send(events[sent * size : more * size])
            sent = more
    return time.perf_counter() - start


def _throughput(arena: Arena) -> Steps:
    with arena.running("noop") as clients:
        for shape_name, window in _CASES:
            shape, case = SHAPES[shape_name], f"{shape_name}, window {window}"
            # Long enough for a compiler that learns to have learnt.
            counts = {client: _warmed_up(arena, client, shape, window) for client in clients}
            for round_ in range(arena.rounds):
                for client in _rotated(clients, round_):
                    _attend_all(clients)
                    yield _one_round(arena, client, case, shape, window, counts[client])


def _warmed_up(arena: Arena, client: Running, shape: Shape, window: int) -> int:
    """Warm a client up, and find out how many events it takes to fill a round."""
    attend([client.connection], 0)
    left, count, seconds = arena.seconds, max(2 * window, 100), 0.0
    while left > 0:
        sent = arena.numbers(count)
        seconds = exchange(client.connection, shape.batch(sent), shape.size, window)
        _check(client, sent, shape)
        left -= seconds
        rate = count / seconds
        count = max(count, int(rate * min(arena.seconds, 0.3)))
    client.rest()
    return max(2 * window, int(rate * arena.seconds))


def _check(client: Running, sent: range, shape: Shape) -> None:
    transcript = client.connection.take_transcript()
    answers.check(transcript, sent, shape, any_part=client.client.is_concurrent)


def _one_round(
    arena: Arena, client: Running, case: str, shape: Shape, window: int, count: int
) -> list[Sample]:
    sent = arena.numbers(count)
    events = shape.batch(sent)
    before = client.cpu()
    seconds = exchange(client.connection, events, shape.size, window)
    busy = client.cpu() - before
    client.rest()
    cpu = client.cpu() - before
    _check(client, sent, shape)
    return _samples(
        "Throughput",
        case,
        client,
        {
            "events/s": count / seconds,
            "µs CPU/event": cpu / count * 1e6,
            "% of its core": busy / seconds * 100,
        },
    )


# Latency


def _latency(arena: Arena) -> Steps:
    shape = SHAPES["1 kB"]
    with arena.running("noop") as clients:
        for client in clients:
            _warmed_up(arena, client, shape, 64)
        for round_ in range(arena.rounds):
            for client in _rotated(clients, round_):
                _attend_all(clients)
                sent = arena.numbers(int(_RATE * arena.latency_seconds))
                before = client.cpu()
                due = [place / _RATE for place in range(len(sent))]
                latencies = paced(client.connection, shape, shape.batch(sent), sent, due)
                client.rest()
                cpu = client.cpu() - before
                cuts = quantiles(latencies, n=1000, method="inclusive")
                yield _samples(
                    "Latency",
                    f"{_RATE:,} events/s",
                    client,
                    {
                        "p50 µs": cuts[499] * 1e6,
                        "p99 µs": cuts[989] * 1e6,
                        "p99.9 µs": cuts[998] * 1e6,
                        "µs CPU/event": cpu / len(sent) * 1e6,
                    },
                )


def paced(
    connection: Connection, shape: Shape, events: memoryview, sent: range, due: Sequence[float]
) -> list[float]:
    """Send events so many seconds after the beginning, whatever comes back; seconds from each to its answer."""
    size = shape.size
    sent_at: list[float] = []
    came: list[tuple[int, float]] = []  # so many answers had come by then
    answered = 0
    start = time.perf_counter()
    while answered < len(sent):
        wait = 1.0
        if len(sent_at) < len(sent):
            now = time.perf_counter()
            wait = start + due[len(sent_at)] - now
            if wait <= 0:
                at = len(sent_at) * size
                sent_at.append(now)
                connection.send(events[at : at + size])
                continue
        if select.select([connection.socket], [], [], wait)[0] or len(sent_at) == len(sent):
            more = connection.receive()
            if more:
                answered += more
                came.append((answered, time.perf_counter()))
    transcript = connection.take_transcript()
    answers.check(transcript, sent, shape)
    latencies, arrivals = [], iter(came)
    upto, at_time = next(arrivals)
    for place, number in enumerate(answers.numbers(transcript)):
        while place >= upto:
            upto, at_time = next(arrivals)
        latencies.append(at_time - sent_at[number - sent.start])
    return latencies


# Slow handlers


def _slow(arena: Arena) -> Steps:
    for handler, case in (("slow", "waiting 200 ms"), ("blocking", "blocking 200 ms")):
        for client in arena.clients:
            with client.start(arena.gateway, handler) as running:
                answered, alive = _sustained(
                    running.connection, SHAPES["1 kB"], arena, _SLOW_WINDOW, arena.slow_seconds
                )
            rate = None if client.is_early else answered / arena.slow_seconds
            yield _samples("Slow handlers", case, running, {"events/s": rate, "ms to answer a ping": alive})


def _sustained(
    connection: Connection, shape: Shape, arena: Arena, window: int, seconds: float
) -> tuple[int, float | None]:
    """Keep `window` events unanswered for so long; the answers, and the ms that a ping takes meanwhile."""
    answered = sent = 0
    deadline = time.perf_counter() + seconds
    while (left := deadline - time.perf_counter()) > 0:
        if sent < answered + window:
            more = answered + window - sent
            connection.send(shape.batch(arena.numbers(more)))
            sent += more
        if select.select([connection.socket], [], [], left)[0]:
            answered += connection.receive()
    start = time.perf_counter()
    alive = connection.is_alive(3)
    return answered, (time.perf_counter() - start) * 1000 if alive else None


# A burst


def _burst(arena: Arena) -> Steps:
    shape = SHAPES["1 kB"]
    for client in arena.clients:
        numbers = arena.numbers(arena.burst)
        events = shape.batch(numbers)
        with client.start(arena.gateway, "stuck") as running:
            time.sleep(0.5)  # to come to rest
            before = peak = running.rss()
            connection = running.connection
            sent = 0
            deadline = time.perf_counter() + arena.burst_seconds
            moved = time.perf_counter()
            while (now := time.perf_counter()) < min(deadline, moved + 2):
                at = sent
                wanted = [connection.socket] if sent < len(events) else []
                readable, writable, _ = select.select([connection.socket], wanted, [], 0.05)
                if readable:
                    connection.receive(wait=False)
                if writable:
                    sent += connection.send_some(events[sent : sent + (1 << 18)], shape.size)
                if sent > at or readable:
                    moved = now
                peak = max(peak, running.rss())
            transcript = connection.take_transcript()
            alive = connection.is_alive(3, events[sent : sent - sent % -shape.size])
        codes = answers.codes(transcript)
        if codes[200] and not client.is_early:
            raise answers.WrongAnswerError(f"{client.title} answered 200 for a handler that never ended")
        yield _samples(
            "Burst with a stuck handler",
            f"{arena.burst:,} events",
            running,
            {
                "MB more memory": (peak - before) / 1e6,
                "events the socket took": sent // shape.size,
                "answers 500": codes[500],
                "answers 200": codes[200],
                "answers a ping": int(alive),
            },
        )


# Idle


def _idle(arena: Arena) -> Steps:
    for client in _of_many_sessions(arena):
        with client.start(arena.gateway, sessions=1) as running:
            attend(running.connections, 1)
            one = running.rss()
        count = arena.idle_sessions
        with client.start(arena.gateway, sessions=count) as running:
            attend(running.connections, 1)
            many, before = running.rss(), running.cpu()
            attend(running.connections, arena.idle_seconds)
            cpu = running.cpu() - before
        yield _samples(
            "Idle",
            f"{count} sessions",
            running,
            {
                "kB/session": (many - one) / (count - 1) / 1e3,
                "ms CPU/session and minute": cpu / count / arena.idle_seconds * 60 * 1e3,
            },
        )


def _of_many_sessions(arena: Arena) -> list[Client]:
    return [client for client in arena.clients if not client.is_single]


# Start


def _start(arena: Arena) -> Steps:
    for _ in range(arena.starts):
        for client in arena.clients:
            seconds, cpu, peak = loaded(client.importing)
            load = {"import ms": seconds * 1e3, "import ms CPU": cpu * 1e3, "import MB": peak / 1e6}
            with client.start(arena.gateway) as running:
                up = {"connected after ms": running.ready_after * 1e3}
                attend(running.connections, 0.5)
                up["connected MB"] = running.rss() / 1e6
            yield _samples("Start", "one process", running, load | up)


def loaded(command: tuple[str, ...]) -> tuple[float, float, int]:
    """Run a program that prints its /proc/self/status in the end: seconds, seconds of CPU, peak bytes."""
    start = time.perf_counter()
    with spawn(command, subprocess.PIPE) as process:
        assert process.stdout is not None
        status = process.stdout.read().decode()
        seconds = time.perf_counter() - start
        cpu = time.clock_gettime((~process.pid << 3) | 2)  # not waited for yet, so it is still there
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with exit code {process.returncode}")
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return seconds, cpu, int(peak.split()[1]) * 1024


def _samples(scenario: str, case: str, client: Running, values: Mapping[str, float | None]) -> list[Sample]:
    return [
        Sample(scenario, case, metric, client.client.name, value, client.tls)
        for metric, value in values.items()
    ]


def _attend_all(clients: list[Running]) -> None:
    attend([client.connection for client in clients], 0)


def _rotated(clients: list[Running], by: int) -> list[Running]:
    """In another order each round, so that no client always follows the same one."""
    by %= len(clients)
    return clients[by:] + clients[:by]


SCENARIOS: Final = {
    "throughput": Scenario(
        "Throughput", _throughput, lambda arena: len(_CASES) * arena.rounds * len(arena.clients)
    ),
    "latency": Scenario("Latency", _latency, lambda arena: arena.rounds * len(arena.clients)),
    "slow": Scenario("Slow handlers", _slow, lambda arena: 2 * len(arena.clients)),
    "burst": Scenario("Burst with a stuck handler", _burst, lambda arena: len(arena.clients)),
    "idle": Scenario("Idle", _idle, lambda arena: len(_of_many_sessions(arena))),
    "start": Scenario("Start", _start, lambda arena: arena.starts * len(arena.clients)),
}
