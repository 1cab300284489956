"""What the inbox in Redis costs, beside other queues there: `python -m benchmarks.redis_inbox [--quick]`.

All is measured in one run, in turns, so that ratios mean something on a machine that others use; `README.md` says how.
"""

from __future__ import annotations

import argparse
import logging
import random
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

import attrs
import coredis
import trio

from feishu_trio.inbox.records import Entry
from feishu_trio.inbox.redis import RedisInbox

from . import answers
from .clients import (
    CLIENT_CORES,
    CLIENTS,
    CORES,
    ROOT,
    Client,
    Running,
    on_cores,
    pin_gateway,
    processor_seconds,
)
from .frames import SHAPES, message
from .gateway import Gateway
from .inbox import Store
from .peers.queues.ours import APP, entry
from .queues import OURS, QUEUES, install
from .scenarios import exchange
from .targets import Target, table, write
from .valkey import Server

_CHATS: Final = 100
_MANY_CHATS: Final = 1000  # so that no worker waits for the order of one
_WINDOW: Final = 512
_WARM: Final = 4096  # events before it is measured
_RATE: Final = 1000.0
_TURN: Final = 100
_PAUSE: Final = 0.01
_WORKERS: Final = (1, 2, 4)
_PATIENCE: Final = 120.0

TARGETS: Final = {
    "server": Target("server's processor time to store, claim and settle an event", 40, True, " µs"),
    "receiver": Target("receiver's processor time for an event, more than without an inbox", 15, True, " µs"),
    "bullmq": Target("events/s of a worker, of BullMQ's", 0.6),
    "faststream": Target("events/s of a worker, of FastStream's", 2),
    "arq": Target("events/s of a worker, of arq's", 5),
    "answer": Target("median time to answer at 1,000/s, of a PING by coredis", 3, is_most=True),
}
OTHERS: Final = {
    **{f"{each.name} events/s": (f"{each.title}: a worker", "events/s") for each in QUEUES},
    **{f"{each.name} µs": (f"{each.title}: a worker's processor time for an event", "µs") for each in QUEUES},
    **{f"{each.name} server µs": (f"{each.title}: the server's for an event", "µs") for each in QUEUES},
    "of bullmq": ("the server's processor time for an event, of that for one of BullMQ's", "×"),
    "receives": ("a receiver's processor time for an event, without an inbox", "µs"),
    "stores": ("with it", "µs"),
    "ping": ("median time of a PING at 1,000/s", "ms"),
    "answered": ("median time to answer at 1,000/s", "ms"),
    "answered disk": ("`appendfsync always`: median time to answer at 1,000/s", "ms"),
    "worker disk": ("`appendfsync always`: a worker", "events/s"),
    **{f"workers {many}": (f"workers whose handlers take 10 ms: {many}", "events/s") for many in _WORKERS},
    **{f"busy {many}": (f"how busy {many} and the server keep the cores", "%") for many in _WORKERS},
}


@attrs.frozen
class Sizes:
    """How much of everything, in each round."""

    rounds: int = 7
    events: int = 20_000
    slow_events: int = 2_000
    """For queues that are an order of magnitude slower."""
    received: int = 10_240
    answers: int = 1_000
    paused: int = 20_000


_QUICK: Final = Sizes(2, 5_000, 500, 2_048, 200, 4_000)
_SLOW: Final = ("arq", "faststream")


def work(server: Server, sizes: Sizes, folder: Path) -> dict[str, float]:
    """Every queue, filled beforehand and then worked off, in any order."""
    found: dict[str, float] = {}
    for queue in random.sample(QUEUES, len(QUEUES)):
        count = sizes.slow_events if queue.name in _SLOW else sizes.events
        file = events_file(folder, count, _CHATS)
        server.clear()
        before = server.cpu()
        queue.fill(server.url, file)
        seconds, cpu = queue.work(server.url, count)
        found[f"{queue.name} events/s"] = count / seconds
        found[f"{queue.name} µs"] = cpu / count * 1e6
        found[f"{queue.name} server µs"] = (server.cpu() - before) / count * 1e6
    ours = found["ours events/s"]
    return found | {
        "server": found["ours server µs"],
        "of bullmq": found["ours server µs"] / found["bullmq server µs"],
        **{queue.name: ours / found[f"{queue.name} events/s"] for queue in QUEUES if queue is not OURS},
    }


def work_on_disk(server: Server, sizes: Sizes, folder: Path) -> dict[str, float]:
    server.clear()
    OURS.fill(server.url, events_file(folder, sizes.events, _CHATS))
    seconds, _ = OURS.work(server.url, sizes.events)
    return {"worker disk": sizes.events / seconds}


def events_file(folder: Path, count: int, chats: int) -> Path:
    """Messages of 1 kB, JSON by line."""
    file = folder / f"{count}-{chats}.jsonl"
    if not file.exists():
        file.write_bytes(b"".join(message(number, 1024, chats) + b"\n" for number in range(count)))
    return file


def receive(gateway: Gateway, server: Server, count: int) -> dict[str, float]:
    """µs of processor time for an event, of a session that stores it, and of one whose handler does nothing."""
    server.clear()
    storing = (sys.executable, "-m", "benchmarks.peers.stored", server.url)
    clients = {"receives": CLIENTS["ours"], "stores": Client("stored", "feishu_trio, storing", storing, ())}
    found: dict[str, float] = {}
    for name in random.sample(list(clients), len(clients)):
        with clients[name].start(gateway) as running:
            receiver_seconds(running, 0, _WARM)
            found[name] = receiver_seconds(running, _WARM, count) / count * 1e6
    return found | {"receiver": found["stores"] - found["receives"]}


def receiver_seconds(running: Running, first: int, count: int) -> float:
    shape, sent = SHAPES["1 kB"], range(first, first + count)
    events = shape.batch(sent)
    before = running.cpu()
    exchange(running.connection, events, shape.size, _WINDOW)
    cpu = running.cpu() - before
    answers.check(running.connection.take_transcript(), sent, shape)
    return cpu


def answer(server: Server, disk: Server, count: int) -> dict[str, float]:
    """Medians in ms at 1,000/s: of PINGs, and of events that are stored, in any order in one process."""

    async def run() -> dict[str, float]:
        entries = [entry(message(number, 1024, _CHATS)) for number in range(count)]
        calls: dict[str, Store] = {}
        async with trio.open_nursery() as nursery, coredis.Redis.from_url(server.url) as client:
            calls["ping"] = lambda _: client.ping()
            for name, each in (("answered", server), ("answered disk", disk)):
                each.clear()
                inbox = RedisInbox(each.url)
                await nursery.start(inbox.serve, APP, 3600.0)
                calls[name] = storing(inbox)
            times: dict[str, list[float]] = defaultdict(list)
            for at in range(0, count, _TURN):  # short turns: what goes on beside falls on all of them
                for name in random.sample(list(calls), len(calls)):
                    times[name] += await call_seconds(calls[name], entries[at : at + _TURN])
            nursery.cancel_scope.cancel()
        found = {name: median(each) * 1000 for name, each in times.items()}
        return found | {"answer": found["answered"] / found["ping"]}

    with on_cores(CLIENT_CORES):
        return trio.run(run)


def storing(inbox: RedisInbox) -> Store:
    return lambda each: inbox.store([each])


async def call_seconds(call: Store, entries: Sequence[Entry]) -> list[float]:
    """The times that calls take, of which one begins each ms, whatever becomes of the others."""
    times: list[float] = []

    async def one(each: Entry) -> None:
        began = time.perf_counter()
        await call(each)
        times.append(time.perf_counter() - began)

    async with trio.open_nursery() as nursery:
        started = trio.current_time()
        for number, each in enumerate(entries):
            await trio.sleep_until(started + number / _RATE)
            nursery.start_soon(one, each)
    return times


def pause(server: Server, sizes: Sizes, folder: Path) -> dict[str, float]:
    """So many workers with handlers of 10 ms: the rate of the middle of the run, and how busy that keeps the machine."""
    found: dict[str, float] = {}
    for many in _WORKERS:
        server.clear()
        OURS.fill(server.url, events_file(folder, sizes.paused, _MANY_CHATS))
        with ExitStack() as stack:
            arguments = ("work", server.url, str(sizes.paused + 1), str(_PAUSE))
            workers = [stack.enter_context(OURS.start(*arguments, cores=CORES)) for _ in range(many)]
            for worker in workers:
                stack.callback(worker.kill)
            first = done(server, sizes.paused // 10)
            began, before = time.perf_counter(), busy_seconds(server, workers)
            last = done(server, sizes.paused * 9 // 10)
            took, cost = time.perf_counter() - began, busy_seconds(server, workers) - before
        found[f"workers {many}"] = (last - first) / took
        found[f"busy {many}"] = cost / took / len(CORES) * 100
    return found


def busy_seconds(server: Server, workers: Sequence[subprocess.Popen[bytes]]) -> float:
    return server.cpu() + sum(processor_seconds(worker.pid) for worker in workers)


def done(server: Server, least: int) -> int:
    """Wait until so many are done; how many are."""
    until = time.monotonic() + _PATIENCE
    while (count := int(server.client.zcard("{feishu}:done"))) < least:
        if time.monotonic() > until:
            raise TimeoutError(f"only {count} of {least} events are done")
        time.sleep(0.005)
    return count


def measure(sizes: Sizes, folder: Path) -> dict[str, list[float]]:
    """What each round found, by the names in `TARGETS` and `OTHERS`."""
    values: dict[str, list[float]] = defaultdict(list)
    with ExitStack() as stack:
        gateway = stack.enter_context(Gateway())
        server = stack.enter_context(Server(folder / "memory"))
        disk = stack.enter_context(Server(folder / "disk", is_on_disk=True))
        parts: list[Callable[[], dict[str, float]]] = [
            lambda: work(server, sizes, folder),
            lambda: work_on_disk(disk, sizes, folder),
            lambda: receive(gateway, server, sizes.received),
            lambda: answer(server, disk, sizes.answers),
            lambda: pause(server, sizes, folder),
        ]
        for _ in range(sizes.rounds):
            for part in random.sample(parts, len(parts)):
                for name, value in part().items():
                    values[name].append(value)
    return values


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.redis_inbox", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small and short: to see that it works")
    arguments = parser.parse_args()
    sizes = _QUICK if arguments.quick else Sizes()
    install()
    pin_gateway()
    logging.disable(logging.WARNING)
    with TemporaryDirectory(prefix=".inbox-", dir=ROOT) as folder:
        values = measure(sizes, Path(folder))
    text = "\n".join(table(values, TARGETS, OTHERS, "beside"))
    print(text)
    if not arguments.quick:
        write("redis_inbox", sizes, values, text)
    sys.exit(not all(target.holds(values[name]) for name, target in TARGETS.items()))


if __name__ == "__main__":
    main()
