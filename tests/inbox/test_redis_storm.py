"""Bots that share an inbox are killed and paused, and so is its server: what was answered is handled, and in order."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random

import msgspec
import trio
import valkey

from feishu_trio.testing import Gateway, Push, open_gateway
from session.rig import come_true

from .servers import Server, running

RECEIVE = "im.message.receive_v1"
BOT = Path(__file__).with_name("redis_bot.py")
LEASE = 3.0


class Bots:
    """Processes: some receive and handle, and one receives only."""

    def __init__(self, gateway: Gateway, server: Server, log: Path) -> None:
        self._arguments = [gateway.domain, gateway.app_id, gateway.app_secret, server.url, str(log)]
        self._processes = [self._start(place) for place in range(4)]

    def _start(self, place: int) -> subprocess.Popen[bytes]:
        claims = "claims" if place else "receives"
        return subprocess.Popen([sys.executable, str(BOT), *self._arguments, claims])

    def kill(self, place: int) -> None:
        self._processes[place].kill()
        self._processes[place].wait()
        self._processes[place] = self._start(place)

    async def pause(self, place: int, seconds: float) -> None:
        self._processes[place].send_signal(signal.SIGSTOP)
        await trio.sleep(seconds)
        self._processes[place].send_signal(signal.SIGCONT)

    def all_live(self) -> bool:
        return all(each.poll() is None for each in self._processes)

    def end(self) -> None:
        for each in self._processes:
            each.kill()
            each.wait()


async def test_whatever_is_killed_or_paused_each_event_is_handled_and_none_begins_after_its_success(
    tmp_path: Path, is_soak: bool
) -> None:
    faults = 150 if is_soak else 6
    random, log = Random(1), tmp_path / "log"
    log.touch()
    pushes: list[Push] = []
    recorded: list[tuple[int, set[tuple[str, str]]]] = []
    disturbed = 0
    with running(tmp_path / "server", appendonly="yes", appendfsync="always") as server:
        async with open_gateway(ladder=[0.3] * 10_000, answer_timeout=1.0, seed=1) as gateway:
            bots = Bots(gateway, server, log)
            try:
                with trio.fail_after(60):
                    await gateway.wait_connected(4)

                async def load() -> None:
                    while True:
                        message = {"message_id": f"om_{len(pushes)}", "chat_id": f"oc_{random.randrange(20)}"}
                        pushes.append(await gateway.push(RECEIVE, {"message": message}))
                        await trio.sleep(random.expovariate(100))

                async def watch() -> None:
                    while True:
                        await trio.sleep(0.5)
                        done = await trio.to_thread.run_sync(successes, server)
                        recorded.append((len(log.read_text().splitlines()), done))

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(load)
                    nursery.start_soon(watch)
                    await trio.sleep(1)
                    for fault in range(faults):
                        place = random.randrange(4)
                        disturbed += 1
                        match (fault if not is_soak else random.randrange(6)) % 6:
                            case 0 | 3:
                                bots.kill(place)
                            case 1 | 4:
                                nursery.start_soon(bots.pause, place, LEASE + random.uniform(0.5, 2))
                            case 2:
                                server.kill()
                                await trio.sleep(random.uniform(0, 1))
                                await trio.to_thread.run_sync(server.start)
                                disturbed += 3
                            case _:
                                server.pause()
                                await trio.sleep(random.uniform(0, LEASE + 2))
                                server.resume()
                                disturbed += 3
                        await trio.sleep(random.uniform(0, 3))
                    await trio.sleep(LEASE + 3)
                    nursery.cancel_scope.cancel()

                ids = {push.event_id for push in pushes}
                with trio.fail_after(120):
                    for push in pushes:
                        assert (await push.settled()).code == 200
                    await come_true(
                        lambda: bots.all_live() and server.client.zcard("{feishu}:done") == len(ids)
                    )
                recorded.append((len(log.read_text().splitlines()), successes(server)))
                await trio.sleep(LEASE + 1)
            finally:
                bots.end()
            stored = in_order(server)

    lines = [line.split() for line in log.read_text().splitlines()]
    runs = {
        handler: Counter(line[2] for line in lines if line[0] == handler) for handler in ("first", "second")
    }
    for handler, counts in runs.items():
        assert set(counts) == ids, f"each was handled by {handler}"
        # What ran as its process died or lost its lease runs once more for it: one of a chat at the most.
        assert sum(counts.values()) - len(ids) <= 20 * disturbed
    assert {line[2] for line in lines if line[0] == "first-end"} == ids
    for end, done in recorded:
        begun = {(line[0], line[2]) for line in lines[end:] if line[0] in runs}
        assert not done & begun, "no handler starts after its success was recorded"
    assert {event_id for _, event_id in stored} == ids
    first = list(dict.fromkeys(line[2] for line in lines if line[0] == "first"))
    lane_of = {event_id: lane for lane, event_id in stored}
    for lane in set(lane_of.values()):
        in_lane = [event_id for of, event_id in stored if of == lane]
        assert [each for each in first if lane_of[each] == lane] == in_lane


def successes(server: Server) -> set[tuple[str, str]]:
    """The handlers whose success the server has: they never start again. Nothing, while it does not answer."""
    client = server.client
    try:
        done = {(handler, event_id) for _, event_id in in_order(server) for handler in ("first", "second")}
        for number in client.zrange("{feishu}:live", 0, -1):
            event_id = client.hget(f"{{feishu}}:e:{int(number)}", "id")
            # It may be done meanwhile: then nothing is there.
            for name, value in client.hgetall(f"{{feishu}}:h:{int(number)}").items():
                if msgspec.msgpack.decode(value)[1]:
                    done.add((name.decode(), event_id.decode()))
    except valkey.ValkeyError:
        return set()
    return done


def in_order(server: Server) -> list[tuple[str, str]]:
    """The lanes and ids of the events that are done, in the order in which they were stored."""
    pipeline = server.client.pipeline(transaction=False)
    for number in sorted(map(int, server.client.zrange("{feishu}:done", 0, -1))):
        pipeline.hmget(f"{{feishu}}:e:{number}", "lane", "id")
    return [(lane.decode(), event_id.decode()) for lane, event_id in pipeline.execute()]
