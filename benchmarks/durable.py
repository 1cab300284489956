"""What an event costs from end to end with an inbox: `python -m benchmarks.durable [--profile]`.

Received over TLS, stored, answered, claimed, handled by a handler that does nothing, and settled, in one process.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

from . import answers
from .clients import pin_gateway, processor_seconds, spawn
from .frames import SHAPES
from .gateway import Connection, Gateway
from .profiling import tables
from .scenarios import exchange
from .valkey import Server

_WINDOW: Final = 512
_WARM: Final = 4_096
_EVENTS: Final = 10_240
_ROUNDS: Final = 5
_REST: Final = 0.3  # seconds without work after which all is handled
_TITLES: Final = {"none": "no inbox", "sqlite": "`SQLiteInbox`", "redis": "`RedisInbox`"}


class Running:
    """A session with an inbox, as a process."""

    def __init__(self, place: str, gateway: Gateway, profile: Path | None = None) -> None:
        options = [] if profile is None else ["-m", "cProfile", "-o", str(profile)]
        command = [sys.executable, *options, "-m", "benchmarks.peers.durable", place, gateway.domain]
        self._process = spawn(command, subprocess.PIPE, authorities=gateway.authorities)
        self._connection: Connection = gateway.accept()
        self._sent = 0

    def work(self, count: int) -> tuple[float, float]:
        """Events answered a second, and µs of its processor time for an event, until all are handled."""
        shape, numbers = SHAPES["1 kB"], range(self._sent, self._sent + count)
        self._sent += count
        events = shape.batch(numbers)
        before = processor_seconds(self._process.pid)
        seconds = exchange(self._connection, events, shape.size, _WINDOW)
        answers.check(self._connection.take_transcript(), numbers, shape)
        return count / seconds, (self._rested() - before) / count * 1e6

    def stop(self) -> None:
        """End it; all that was sent must have been handled."""
        self._process.send_signal(signal.SIGINT)
        printed, _ = self._process.communicate(timeout=30)
        self._connection.close()
        if printed.split()[-1:] != [str(self._sent).encode()]:  # complaints stand before it
            raise answers.WrongAnswerError(f"{self._sent} events were sent, and handled: {printed.decode()}")

    def _rested(self) -> float:
        had = -1.0
        while (now := processor_seconds(self._process.pid)) - had > 0.003:
            had = now
            time.sleep(_REST)
        return had


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.durable", description=__doc__)
    parser.add_argument("--profile", action="store_true", help="where the time goes, by cProfile")
    arguments = parser.parse_args()
    pin_gateway()
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    with (
        TemporaryDirectory(dir=".") as folder,
        Gateway(tls=True) as gateway,
        Server(Path(folder) / "server") as server,
    ):
        places = {"none": "none", "sqlite": str(Path(folder).resolve() / "inbox.db"), "redis": server.url}
        if arguments.profile:
            for name in ("sqlite", "redis"):
                profile = Path(folder).resolve() / "profile"
                running = Running(places[name], gateway, profile)
                running.work(_WARM + _EVENTS)
                running.stop()
                print(f"\n{_TITLES[name]}")
                tables(profile, _WARM + _EVENTS)
            return
        clients = {name: Running(place, gateway) for name, place in places.items()}
        for each in clients.values():
            each.work(_WARM)
        for _ in range(_ROUNDS):
            for name in random.sample(list(clients), len(clients)):
                found[name].append(clients[name].work(_EVENTS))
        for each in clients.values():
            each.stop()
    print(
        "| | answered, events/s | µs of processor time for an event | rounds |\n| --- | ---: | ---: | ---: |"
    )
    for name, title in _TITLES.items():
        rates, costs = zip(*found[name], strict=True)
        print(
            f"| {title} | {median(rates):,.0f} | {median(costs):.1f} | {min(costs):.1f} to {max(costs):.1f} |"
        )


if __name__ == "__main__":
    main()
