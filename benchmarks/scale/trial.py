"""The same for real: a receiver, workers and a server as processes of this machine, and what an event costs them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from statistics import median
from typing import Final

import attrs
import trio

from ..answers import check
from ..clients import ROOT, environment, processor_seconds
from ..frames import SHAPES
from ..gateway import Connection, Gateway
from ..scenarios import exchange, paced
from .server import PREFIX, Entries, Server, Spent, serving
from .simulation import Cost, Outcome, Setup

__all__ = ["Trial", "cost_of_receiving", "cost_of_working", "network_seconds", "run"]

_SHAPE: Final = SHAPES["1 kB"]
_PATIENCE: Final = 60.0
_WARM_UP: Final = 500  # events
_HANDLER: Final = 0.001  # seconds, on average, where a worker's own cost is measured


class _Scene:
    """A server, and processes that are told to end in the end."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.server = stack.enter_context(Server.running())
        self._gateway = stack.enter_context(Gateway())
        self.processes: list[subprocess.Popen[str]] = []

    @classmethod
    @contextmanager
    def open(cls) -> Iterator[_Scene]:
        with ExitStack() as stack:
            yield cls(stack)

    def _start(self, domain: str, handler: float, slots: int) -> None:
        process = self._stack.enter_context(
            subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "benchmarks.scale.bot",
                    self.server.url,
                    domain,
                    f"{handler}",
                    f"{slots}",
                ],
                cwd=ROOT,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        self._stack.callback(process.kill)
        self.processes.append(process)

    def receiver(self) -> Connection:
        """Start a receiver: its connection."""
        self._start(self._gateway.domain, 0.0, 1)
        connection = self._gateway.accept()
        self._stack.callback(connection.close)
        return connection

    def workers(self, many: int, handler: float, slots: int) -> None:
        """Start workers, and wait until they are at work."""
        for _ in range(many):
            self._start("", handler, slots)
        self._wait(lambda: self._size("owners") == len(self.processes))

    def _size(self, name: str) -> int:
        return int(self.server.client.zcard(f"{{{PREFIX}}}:{name}"))

    def _wait(self, is_so: Callable[[], bool]) -> None:
        until = time.monotonic() + _PATIENCE
        while not is_so():
            if time.monotonic() > until:
                raise TimeoutError(f"the processes did not do their work within {_PATIENCE:g} s")
            time.sleep(0.01)

    def wait_done(self) -> None:
        self._wait(lambda: self._size("live") == 0)

    def spent(self) -> tuple[list[float], Spent]:
        """Seconds of each process so far, and what the server has spent."""
        return [processor_seconds(each.pid) for each in self.processes], self.server.spent()

    def stop(self, since: float = 0.0) -> list[float]:
        """End all processes: for how long events waited that were received since then, in seconds since 1970."""
        begun: list[tuple[float, float]] = []
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            begun += json.loads(process.communicate(timeout=_PATIENCE)[0] or "[]")
        return [begin - received for received, begin in begun if received >= since]


@attrs.frozen
class Trial:
    """What a run has come to."""

    outcome: Outcome
    """Without `claims`, `in_handlers` and `left`."""
    sender: float
    """Seconds of a processor that sending an event took."""
    others: float
    """Cores that other programs of this machine had meanwhile."""


def run(setup: Setup, seed: int = 1) -> Trial:
    """Run a setup with one receiver."""
    random = Random(seed)
    count = round(setup.rate * setup.seconds)
    times, at = [], 0.0
    for _ in range(count):
        at += random.expovariate(setup.rate)
        times.append(at)
    sent = range(_WARM_UP, _WARM_UP + count)
    events = _SHAPE.batch(sent, [setup.chats.draw(random) for _ in sent])
    with _Scene.open() as scene:
        connection = scene.receiver()
        scene.workers(setup.workers, setup.handler, setup.slots)
        _exchanged(connection, range(_WARM_UP), 64)
        scene.wait_done()
        since, own, busy = time.time(), time.process_time(), _busy_seconds()
        before, spent_before = scene.spent()
        latencies = paced(connection, _SHAPE, events, sent, times)
        own = time.process_time() - own
        scene.wait_done()
        after, spent_after = scene.spent()
        busy = _busy_seconds() - busy
        waits = scene.stop(since)
    used = [end - begin for begin, end in zip(before, after, strict=True)]
    spent = spent_after - spent_before
    outcome = Outcome(
        at,
        answers=latencies,
        waits=waits,
        stored=count,
        done=count,
        stores=0,
        server=spent.seconds / at,
        receiver=used[0] / at,
        worker=sum(used[1:]) / max(1, setup.workers) / at,
    )
    return Trial(outcome, own / count, max(0.0, busy - own - sum(used) - spent.seconds) / at)


def _busy_seconds() -> float:
    """Seconds for which the cores of this machine have been at work, all together."""
    user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _exchanged(connection: Connection, sent: range, window: int) -> None:
    exchange(connection, _SHAPE.batch(sent), _SHAPE.size, window)
    check(connection.take_transcript(), sent, _SHAPE)


def cost_of_receiving(events: int) -> Cost:
    """From what a receiver takes for events that come one by one, and for many at a time."""
    points = []
    with _Scene.open() as scene:
        connection = scene.receiver()
        _exchanged(connection, range(2000), 256)
        first = 2000
        for window, many in ((1, events), (512, 8 * events)):
            sent, first = range(first, first + many), first + many
            (before,), spent_before = scene.spent()
            _exchanged(connection, sent, window)
            (after,), spent_after = scene.spent()
            points.append(((spent_after - spent_before).calls / many, (after - before) / many))
        scene.stop()
    return _line(points)


def cost_of_working(events: int) -> Cost:
    """The same of a worker."""
    with _Scene.open() as scene:
        scene.workers(1, _HANDLER, 64)
        points = trio.run(_work, scene, events)
        scene.stop()
    return _line(points)


async def _work(scene: _Scene, events: int) -> list[tuple[float, float]]:
    entries = Entries()
    points = []
    async with serving(scene.server.url) as inbox:
        for size, many, pause in ((256, 2048, 0.0), (1, events, 0.001), (256, 8 * events // 256 * 256, 0.0)):
            groups = [entries.take(size) for _ in range(many // size)]
            (before,), spent_before = scene.spent()
            for group in groups:
                await inbox.store(group)
                await trio.sleep(pause)
            await trio.to_thread.run_sync(scene.wait_done)
            (after,), spent_after = scene.spent()
            calls = (spent_after - spent_before).calls - len(groups)
            points.append((calls / many, (after - before) / many))
    return points[1:]  # the first is to warm up


def _line(points: Sequence[tuple[float, float]]) -> Cost:
    """Through two points: calls an event, seconds an event."""
    (x, y), (other_x, other_y) = points
    call = (y - other_y) / (x - other_x)
    return Cost(call, y - call * x)


def network_seconds() -> float:
    """One way to a server on this machine."""
    with Server.running() as server, server.connected() as connection:
        times = []
        for _ in range(1000):
            begin = time.perf_counter()
            connection.sendall(b"PING\r\n")
            connection.recv(64)
            times.append(time.perf_counter() - begin)
    return median(times) / 2
