"""The files in examples/deploy, and a rolling update by processes."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio
import typer.main

from feishu_trio import open_probes
from feishu_trio.cli._app import app
from feishu_trio.testing import Push, open_gateway
from session.rig import come_true

from .commands import environment, running
from .test_probes import AT, probes_of, ready

DEPLOY = Path(__file__).parents[2] / "examples" / "deploy"

BOT = """
import os, trio
from feishu_trio import Router
router = Router()

@router.on("a.b")
async def handle(event):
    await trio.sleep(0.05)
    with open("handled", "a") as log:
        log.write(event.id + "\\n")
"""


def unit_command() -> list[str]:
    unit = (DEPLOY / "feishu-bot.service").read_text()
    found = re.search(r"^ExecStart=\S+/feishu-trio (.*)$", unit, re.MULTILINE)
    assert found
    return shlex.split(found[1])


def image_command() -> list[str]:
    found = re.search(r"^CMD (\[.*\])$", (DEPLOY / "Containerfile").read_text(), re.MULTILINE)
    assert found
    command: list[str] = json.loads(found[1])
    return command


def health_command() -> list[str]:
    found = re.search(
        r"HEALTHCHECK .*?CMD (\[.*?\])$", (DEPLOY / "Containerfile").read_text(), re.MULTILINE | re.DOTALL
    )
    assert found
    command: list[str] = json.loads(found[1])
    return command


def pod_commands() -> list[list[str]]:
    found = re.findall(r"^ +args: \[(.*)\]$", (DEPLOY / "kubernetes.yaml").read_text(), re.MULTILINE)
    return [[argument.strip().strip('"') for argument in arguments.split(", ")] for arguments in found]


@pytest.mark.parametrize("command", [unit_command(), image_command(), *pod_commands()], ids=" ".join)
def test_the_commands_in_the_files_are_understood(command: list[str]) -> None:
    group: Any = typer.main.get_command(app)
    name, *arguments = command
    context = group.commands[name].make_context(name, arguments)
    assert context.params["metrics_port"] == 9090
    assert context.params["router"] == "bot:router"


async def test_the_health_check_asks_the_bot_and_no_proxy() -> None:
    python, *arguments = health_command()
    assert python == "python"
    env = os.environ | {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    async with open_probes(host="127.0.0.1") as probes:
        for path, code in (("/healthz", 0), ("/readyz", 1)):
            command = [each.replace("9090", str(probes.port)).replace("/healthz", path) for each in arguments]
            run = await trio.run_process([sys.executable, *command], env=env, check=False)
            assert run.returncode == code


def test_there_are_receivers_and_workers() -> None:
    (receiver, worker) = pod_commands()
    assert (receiver[0], worker[0]) == ("run", "worker")
    assert "--no-claim" in receiver
    assert receiver[receiver.index("--inbox") + 1] == worker[worker.index("--inbox") + 1]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_understands_the_unit() -> None:
    unit = DEPLOY / "feishu-bot.service"
    run = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    complaints = [line for line in run.stderr.splitlines() if unit.name in line]
    # The bot is not installed here.
    assert [line for line in complaints if "is not executable" not in line] == []


async def test_a_rolling_update_handles_each_event_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bot.py").write_text(BOT)
    monkeypatch.chdir(tmp_path)
    pushes: list[Push] = []
    over = trio.Event()

    async def push() -> None:
        while not over.is_set():
            pushes.append(await gateway.push("a.b"))
            await trio.sleep(0.01)

    async def pushed(count: int) -> None:
        await come_true(lambda: len(pushes) >= count)

    async with open_gateway(answer_timeout=1, ladder=[0.2] * 10) as gateway:
        env = environment(gateway)
        async with (
            trio.open_nursery() as nursery,
            running("run", "bot:router", *AT, env=env) as first,
            probes_of(first) as http,
        ):
            assert await ready(http, until=200) == []
            nursery.start_soon(push)
            await pushed(20)
            async with running("run", "bot:router", *AT, env=env) as second, probes_of(second) as http:
                assert await ready(http, until=200) == []
                first.process.send_signal(signal.SIGTERM)
                assert (await first.done()).code == 0
                await pushed(len(pushes) + 20)
                over.set()
                answers = [await each.settled() for each in pushes]
    assert {answer.code for answer in answers} == {200}
    # What was on its way to the first as that ended came again.
    assert sum(len(each.deliveries) > 1 for each in pushes) < 10
    assert sorted((tmp_path / "handled").read_text().split()) == sorted(each.event_id for each in pushes)
