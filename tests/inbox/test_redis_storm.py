"""Processes that share an inbox are killed and paused, and so is its server: each event that was answered is handled, once
more for each death that it runs at, in order, and nothing is left of it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import trio
import valkey

from feishu_trio import RedisInbox
from feishu_trio.testing import Gateway, GatewayConnection, Push, open_gateway
from session.rig import come_true

from .evidence import SHORTEST_LEASE, Disturbance, Evidence
from .redis_bot import LEASE
from .servers import Server, client_of, running
from .test_contract import serving

RECEIVE = "im.message.receive_v1"
BOT = Path(__file__).with_name("redis_bot.py")
BOTS = ("receives", "receives", "receives", "works", "works", "works", "works")
FAULTS = ("kill", "pause", "pause shortly", "forget scripts", "kill server", "pause server")
A_FEW = (
    ("pause", 3),
    ("pause", 0),
    ("kill", 4),
    ("kill server", 0),
    ("kill", 1),
    ("pause", 5),
    ("pause shortly", 6),
    ("pause server", 0),
    ("kill", 6),
    ("forget scripts", 0),
)
DONE_BYTES = 540  # of memory for an event that is done, as docs/inbox.md says


class Storm:
    """The processes and their server, and what is done to them."""

    def __init__(self, gateway: Gateway, server: Server, log: Path, random: Random) -> None:
        self.disturbances: list[Disturbance] = []
        self.counts: Counter[str] = Counter()
        self._random = random
        self._server = server
        self._arguments = [gateway.domain, gateway.app_id, gateway.app_secret, server.url, str(log)]
        self._errors = log.with_suffix(".errors").open("wb")
        self._processes = [self._start(does) for does in BOTS]
        self._paused: set[int] = set()
        self._server_is_up = trio.Lock()

    def _start(self, does: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(BOT), *self._arguments, does]
        return subprocess.Popen(command, stderr=self._errors)

    async def strike(self, fault: str, place: int) -> None:
        """Do it to one of the processes, or to the server."""
        uniform = self._random.uniform
        match fault:
            case "kill":
                process, begun = self._processes[place], time.time()
                process.kill()
                process.wait()
                self.disturbances.append(Disturbance(process.pid, begun))
                self._processes[place] = self._start(BOTS[place])
            case "pause":
                await self._pause(place, LEASE + uniform(1, 2.5))
            case "pause shortly":
                await self._pause(place, uniform(0, 0.8))
            case _:
                async with self._server_is_up:
                    await self._strike_server(fault)
        self.counts[fault] += 1

    async def _pause(self, place: int, seconds: float) -> None:
        process, begun = self._processes[place], time.time()
        if process.pid not in self._paused:
            self._paused.add(process.pid)
            process.send_signal(signal.SIGSTOP)
            await trio.sleep(seconds)
            self.disturbances.append(Disturbance(process.pid, begun, time.time()))
            process.send_signal(signal.SIGCONT)  # it may have been killed meanwhile
            self._paused.discard(process.pid)

    async def _strike_server(self, fault: str) -> None:
        server, uniform = self._server, self._random.uniform
        match fault:
            case "forget scripts":
                await trio.to_thread.run_sync(server.client.script_flush)
            case "kill server":
                server.kill()
                await trio.sleep(uniform(0, 1))
                await trio.to_thread.run_sync(server.start)
            case "pause server":
                server.pause()
                await trio.sleep(uniform(0, LEASE + 2))
                server.resume()

    async def watch_server(self) -> None:
        """Note when the server was away, because of this or of a busy disk."""
        client, answered = client_of(self._server.url), time.time()
        while True:
            with suppress(valkey.ValkeyError):
                await trio.to_thread.run_sync(client.ping)
                if time.time() - answered > SHORTEST_LEASE:
                    self.disturbances.append(Disturbance(None, answered, time.time()))
                answered = time.time()
            await trio.sleep(0.1)

    async def end(self) -> None:
        """Have all processes end in order."""
        for each in self._processes:
            each.terminate()
        with trio.fail_after(20):
            await come_true(lambda: all(each.poll() == 0 for each in self._processes))

    def kill_all(self) -> None:
        for each in self._processes:
            each.kill()
            each.wait()
        self._errors.close()


class Load:
    """Events, of which some come again: at once to another receiver, or when they are known."""

    def __init__(self, gateway: Gateway, random: Random) -> None:
        self.pushed: dict[str, int] = {}
        """The events' ids, each with its number."""
        self.is_over = False
        self.to_two = 0
        """How many events two receivers said to have, each of its own delivery."""
        self._gateway = gateway
        self._random = random
        self._open: deque[list[Push]] = deque()

    async def push(self, events: int, rate: float, chats: int) -> None:
        """Push so many events, so many a second, and wait until each is answered 200."""
        random, pushes = self._random, deque[Push](maxlen=10_000)
        for number in range(events):
            message = {"message_id": f"om_{number}", "chat_id": f"oc_{random.randrange(chats)}"}
            push = await self._gateway.push(RECEIVE, {"message": message})
            pushes.append(push)
            self.pushed[push.event_id] = number
            self._open.append([push])
            if random.random() < 0.05:
                used = {each.connection for each in push.deliveries}
                others = [each for each in self._gateway.connections if each not in used]
                self._open[-1].append(await self._again(push, *others[:1]))
            if random.random() < 0.01:
                self._open.append([await self._again(random.choice(pushes))])
            await trio.sleep(random.expovariate(rate))
            while len(self._open) > 500:
                await self._settle()
        while self._open:
            await self._settle()
        self.is_over = True

    async def _again(self, push: Push, connection: GatewayConnection | None = None) -> Push:
        return await self._gateway.push(
            RECEIVE, event_id=push.event_id, payload=push.payload, connection=connection
        )

    async def _settle(self) -> None:
        pushes = self._open.popleft()
        for push in pushes:
            assert (await push.settled()).code == 200
        answers = [each for push in pushes for each in push.answers]
        self.to_two += len({each.connection for each in answers if each.code == 200}) > 1


async def test_whatever_is_killed_or_paused_each_event_is_handled_in_order_and_nothing_is_left(
    tmp_path: Path, is_soak: bool
) -> None:
    events, rate, chats = (100_000, 300, 200) if is_soak else (800, 150, 50)
    random, log, began = Random(1), tmp_path / "log", time.monotonic()
    log.touch()
    options = {"appendonly": "yes", "appendfsync": "always", "aof_disable_auto_gc": "yes"}
    with running(tmp_path / "server", **options) as server:
        empty = server.client.info("memory")["used_memory"]
        async with open_gateway(ladder=[1.0] * 10_000, answer_timeout=1.0, seed=1) as gateway:
            storm, load = Storm(gateway, server, log, random), Load(gateway, random)
            try:
                with trio.fail_after(60):
                    await come_true(lambda: log.read_text().count("up") == len(BOTS))
                async with trio.open_nursery() as watching:
                    watching.start_soon(storm.watch_server)
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(load.push, events, rate, chats)
                        await trio.sleep(1)  # all workers are at work
                        for fault, place in at_random(random, load) if is_soak else A_FEW:
                            nursery.start_soon(storm.strike, fault, place)
                            await trio.sleep(random.uniform(0, 4) if is_soak else 0.4)
                    with trio.fail_after(300):
                        await come_true(lambda: not server.client.exists("{feishu}:live"))
                    watching.cancel_scope.cancel()
                with trio.fail_after(2 * LEASE + 5):  # nobody keeps a lease but those that live
                    await come_true(lambda: server.client.zcard("{feishu}:owners") == len(BOTS))
                await storm.end()
            finally:
                storm.kill_all()
            assert not gateway.violations
        inbox_alone = Counter(["{feishu}", "{feishu}:types"])
        done = Counter({"{feishu}:done": 1, "{feishu}:e": events, "{feishu}:k": 2 * events})
        assert keys_of(server) == inbox_alone + done
        assert server.client.info("memory")["used_memory"] - empty < DONE_BYTES * events + (1 << 20)
        async with serving(RedisInbox(server.url), gateway.app_id) as inbox:
            assert await inbox.purge("done", older_than=0) == events
        assert keys_of(server) == inbox_alone
    evidence = Evidence(tmp_path / "server" / "appendonlydir", log, storm.disturbances)
    evidence.check(load.pushed)
    shutil.rmtree(tmp_path / "server")
    runs = Counter(run.outcome or "cut off" for each in evidence.runs.values() for run in each)
    print(  # what a long one was like: `make soak ARGS=-s`
        f"{time.monotonic() - began:.0f} s, {events} events, {load.to_two} of them from two receivers; "
        f"{dict(storm.counts)}; runs {dict(runs)}; late results {evidence.late}"
    )
    assert evidence.late or not is_soak


def at_random(random: Random, load: Load) -> Iterator[tuple[str, int]]:
    """Faults and places, until the load is over."""
    while not load.is_over:
        yield random.choice(FAULTS), random.randrange(len(BOTS))


def keys_of(server: Server) -> Counter[str]:
    """How many keys of each kind the server has, but for tickets, and what it forgets by itself within seconds."""
    keys = [key.decode("latin-1") for key in server.client.scan_iter(count=10_000)]
    kinds = Counter(":".join(key.split(":")[:2]) for key in keys)
    for kind in ("{feishu}:t", "{feishu}:w"):
        of_kind = [key for key in keys if key.startswith(f"{kind}:")]
        assert all(server.client.ttl(key) > 0 or server.client.llen(key) <= 1000 for key in of_kind)
        del kinds[kind]
    return kinds
