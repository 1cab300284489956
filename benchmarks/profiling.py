"""Where the time goes: a Python client under cProfile, with the events of the throughput scenario."""

from __future__ import annotations

import pstats
import re
import signal
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from . import answers
from .clients import CLIENTS, spawn
from .frames import SHAPES
from .gateway import Gateway
from .scenarios import exchange

__all__ = ["profile", "tables"]

_SHOWN = 40


def profile(client: str, events: int, window: int, *, tls: bool) -> None:
    """Print what one event costs a client, ours or a peer in Python, by package and by function.

    The profiler makes calls dearer than they are, and C functions cheaper beside them: read it for what is
    done, and for what is done how often; what it takes is what `--only throughput` says.
    """
    shape, numbers = SHAPES["1 kB"], range(events)
    with tempfile.TemporaryDirectory() as directory, Gateway(tls=tls) as gateway:
        path = Path(directory) / "profile"
        command = [sys.executable, "-m", "cProfile", "-o", str(path), *CLIENTS[client].command[1:]]
        command += [gateway.domain, "noop", "1"]
        process = spawn(command, subprocess.DEVNULL, authorities=gateway.authorities)
        try:
            connection = gateway.accept()
            seconds = exchange(connection, shape.batch(numbers), shape.size, window)
            answers.check(connection.take_transcript(), numbers, shape)
            process.send_signal(signal.SIGINT)
            process.wait(30)
        finally:
            process.kill()
            process.wait()
        print(
            f"\n{client}: {events} events at window {window}: {seconds / events * 1e6:.1f} µs each, under the profiler\n"
        )
        tables(path, events)


def tables(path: Path, events: int) -> None:
    """Print what cProfile wrote of so many events: by package, and by function."""
    stats: dict[tuple[str, int, str], tuple[int, int, float, float, Any]]
    stats = pstats.Stats(str(path)).stats  # type: ignore[attr-defined]  # not in the stubs
    # What happened less than once in fifty events is the start, the end, or the heartbeat.
    rows = [
        (own / events * 1e6, calls / events, _named(*where))
        for where, (_, calls, own, _, _) in stats.items()
        if calls * 50 > events and "select.epoll" not in where[2]  # which waits, and does no work
    ]
    packages: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for own, calls, (package, _) in rows:
        packages[package][0] += own
        packages[package][1] += calls
    print("| µs/event | calls/event | package |\n| ---: | ---: | --- |")
    for package, (own, calls) in sorted(packages.items(), key=lambda item: -item[1][0]):
        print(f"| {own:.2f} | {calls:.2f} | {package} |")
    print("\n| µs/event | calls/event | function |\n| ---: | ---: | --- |")
    for own, calls, (package, function) in sorted(rows, reverse=True)[:_SHOWN]:
        print(f"| {own:.2f} | {calls:.2f} | {package}: `{function}` |")


def _named(file: str, line: int, function: str) -> tuple[str, str]:
    """The package of a function, and the function, without where they are on this machine."""
    if file == "~":
        return "C", re.sub(r" at 0x\w+", "", function)
    path = Path(file)
    for top in ("feishu_trio", "site-packages"):
        if top in path.parts:
            inside = path.parts[len(path.parts) - path.parts[::-1].index(top) :]
            if top == "feishu_trio":
                room = inside[0].removesuffix(".py") if inside else ""
                return f"feishu_trio.{room}", f"{inside[-1]}:{line} {function}"
            return inside[0], f"{inside[-1]}:{line} {function}"
    return "stdlib", f"{path.name}:{line} {function}"
