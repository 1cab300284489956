"""Where the time of an event goes that comes alone: stage by stage, from the loop's news of it to its answer's last byte."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from itertools import pairwise
from statistics import median

from . import answers
from .clients import spawn
from .frames import SHAPES
from .gateway import Gateway
from .scenarios import exchange, paced

__all__ = ["lone"]

_RATE = 1000.0
_WARM = 5_000
# In the order in which they are reached, and what is done until then.
_STAGES = {
    "woken": "",
    "reader runs": "the loop, until it runs the reader",
    "received": "the reader reads the socket (a system call)",
    "decrypted": "TLS: decrypting",
    "decoded": "WebSocket frame and protobuf",
    "accepted": "accepting: type, keys, order, plan, a worker",
    "reader waits": "the reader waits for more (a system call)",
    "worker runs": "the loop, until it runs the worker (a system call)",
    "handler runs": "the worker, until the handler runs",
    "answer written": "the handler, the outcome, the answer as a frame",
    "answer encrypted": "TLS: encrypting",
    "sent": "sending (a system call)",
}


def lone(events: int, *, tls: bool) -> None:
    """Print the median time of each stage at 1,000 events/s. Telling the time takes some tenths of a µs a stage."""
    shape, warm = SHAPES["1 kB"], range(_WARM)
    numbers = range(_WARM, _WARM + events)
    with Gateway(tls=tls) as gateway:
        command = [sys.executable, "-m", "benchmarks.peers.staged", gateway.domain]
        process = spawn(command, subprocess.PIPE, authorities=gateway.authorities)
        try:
            connection = gateway.accept()
            exchange(connection, shape.batch(warm), shape.size, 64)
            answers.check(connection.take_transcript(), warm, shape)
            due = [place / _RATE for place in range(events)]
            seconds = paced(connection, shape, shape.batch(numbers), numbers, due)
            process.send_signal(signal.SIGINT)
            printed, _ = process.communicate(timeout=30)
        finally:
            process.kill()
            process.wait()
    seen = [each for each in json.loads(printed.splitlines()[-1])[-events:] if "handler runs" in each]
    stages = [stage for stage in _STAGES if sum(stage in each for each in seen) > len(seen) / 2]
    print(
        f"\n{len(seen)} events at {_RATE:,.0f}/s; median from sending to answer: {median(seconds) * 1e6:.0f} µs\n"
    )
    print("| µs | % | |\n| ---: | ---: | --- |")
    whole = median(each["sent"] for each in seen) / 1000
    for before, stage in pairwise(stages):
        taken = median(each[stage] - each[before] for each in seen if stage in each and before in each) / 1000
        print(f"| {taken:.1f} | {taken / whole * 100:.0f} | {_STAGES[stage]} |")
    print(f"| {whole:.1f} | | all of it |")
