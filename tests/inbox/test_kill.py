"""A bot that is killed at any moment: what was answered is handled, and what is done does not run again."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from random import Random

import trio

from feishu_trio.testing import Gateway, Push, open_gateway

RECEIVE = "im.message.receive_v1"
BOT = Path(__file__).with_name("bot.py")


async def test_killed_at_random_moments_under_load_nothing_is_lost(tmp_path: Path, is_soak: bool) -> None:
    kills = 500 if is_soak else 15
    random, log = Random(1), tmp_path / "log"
    log.touch()
    pushes: list[Push] = []
    recorded: list[
        tuple[int, set[tuple[str, str]]]
    ] = []  # where the log ended, and what was recorded by then
    async with open_gateway(ladder=[0.3] * 10_000, answer_timeout=1.0, seed=1) as gateway:

        async def load() -> None:
            while True:
                chat = f"oc_{random.randrange(20)}"
                message = {"message_id": f"om_{len(pushes)}", "chat_id": chat}
                pushes.append(await gateway.push(RECEIVE, {"message": message}))
                await trio.sleep(random.expovariate(200))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(load)
            for _ in range(kills):
                with running(gateway, tmp_path, log) as bot:
                    await gateway.wait_connected(1)
                    await trio.sleep(random.uniform(0, 0.4))
                    bot.kill()
                await gateway.connected.wait_value(0)
                recorded.append((len(log.read_text().splitlines()), successes(tmp_path / "bot.db")))
            nursery.cancel_scope.cancel()

        with running(gateway, tmp_path, log) as bot:
            with trio.fail_after(120):
                for push in pushes:
                    assert (await push.settled()).code == 200
                while len(lines(log, "second")) < len(pushes) or len(lines(log, "first-end")) < len(pushes):
                    assert bot.poll() is None
                    await trio.sleep(0.1)
            await trio.sleep(0.5)
            bot.terminate()

    ids = {push.event_id for push in pushes}
    for handler in ("first", "second"):
        runs = Counter(line.split()[2] for line in lines(log, handler))
        assert set(runs) == ids, "each was handled"
        # What ran at a kill runs once more for it. One of a chat runs at a time, so few did.
        again = sum(runs.values()) - len(ids)
        assert again <= 20 * kills
    begun = [(line.split()[0], line.split()[2]) for line in log.read_text().splitlines() if line != "up"]
    for end, done in recorded:
        ups = log.read_text().splitlines()[:end].count("up")
        assert not done & set(begun[end - ups :]), "no handler starts after its success was recorded"
    with closing(sqlite3.connect(tmp_path / "bot.db")) as connection:
        stored = connection.execute("SELECT lane, id FROM event ORDER BY number").fetchall()
    assert {event_id for _, event_id in stored} == ids
    first = list(dict.fromkeys(event_id for what, event_id in begun if what == "first"))
    lane_of = {event_id: lane for lane, event_id in stored}
    for lane in set(lane_of.values()):
        assert [each for each in first if lane_of[each] == lane] == [
            each for of, each in stored if of == lane
        ]


def successes(database: Path) -> set[tuple[str, str]]:
    """The handlers whose success is on the disk: they never start again."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        try:
            single = connection.execute(
                "SELECT name, id FROM handler JOIN event USING (number) WHERE handler.error IS NULL"
            ).fetchall()
            whole = connection.execute("SELECT id FROM event WHERE state = 4").fetchall()
        except sqlite3.OperationalError:  # killed before it had made its tables
            return set()
    return {(name.rpartition(".")[2], event_id) for name, event_id in single} | {
        (name, event_id) for (event_id,) in whole for name in ("first", "second")
    }


def running(gateway: Gateway, folder: Path, log: Path) -> subprocess.Popen[bytes]:
    arguments = [gateway.domain, gateway.app_id, gateway.app_secret, str(folder / "bot.db"), str(log)]
    return subprocess.Popen([sys.executable, str(BOT), *arguments])


def lines(log: Path, what: str) -> list[str]:
    return [line for line in log.read_text().splitlines() if line.split()[0] == what and line.count(" ") == 2]
