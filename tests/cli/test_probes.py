"""`--metrics-port` of `feishu-trio run` and `worker`: probes from the start to the end of the process."""

from __future__ import annotations

import re
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio

from feishu_trio.testing import Gateway

from . import commands
from .commands import Running, environment, running

BOT = """
import trio
from feishu_trio import Router
router = Router()

@router.on("im.message.receive_v1")
async def answer(event):
    await event.reply("begun")
    await trio.sleep(60)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "bot.py").write_text(BOT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@asynccontextmanager
async def probes_of(service: Running) -> AsyncGenerator[httpx.AsyncClient, None]:
    """A client of the address that the log names."""
    assert service.process.stderr is not None
    seen = ""
    while (found := re.search(r"at (http://127\.0\.0\.1:\d+) are /metrics, /healthz, /readyz", seen)) is None:
        data = await service.process.stderr.receive_some()
        assert data, seen
        seen += data.decode()
    async with httpx.AsyncClient(base_url=found[1], trust_env=False) as http:
        yield http


async def ready(http: httpx.AsyncClient, *, until: int) -> list[str]:
    """Wait until it is ready, or is not; why not."""
    while True:
        answer = await http.get("/readyz")
        if answer.status_code == until:
            reasons: list[str] = answer.json()["reasons"]
            return reasons
        await trio.sleep(0.01)


AT: list[str] = ["--metrics-port", "0", "--metrics-host", "127.0.0.1"]


async def test_a_bot_is_probed_while_it_connects() -> None:
    env = environment(FEISHU_DOMAIN="http://127.0.0.1:9", FEISHU_APP_ID="cli_1", FEISHU_APP_SECRET="secret")
    async with running("run", "bot:router", *AT, env=env) as service, probes_of(service) as http:
        while len(reasons := await ready(http, until=503)) == 1 or "refused" not in reasons[1]:
            assert reasons[0] == "it is still starting: no session is connected yet"
        assert reasons[1].startswith("the session is connecting: http://127.0.0.1:9 could not be reached: ")
        assert (await http.get("/healthz")).status_code == 200
        metrics = (await http.get("/metrics")).text
        assert "feishu_build_info{" in metrics
        assert 'feishu_healthy{app_id="cli_1",role="session"} 0.0' in metrics
        assert 'feishu_connections{app_id="cli_1",role="session"} 0.0' in metrics
        failures = 'feishu_connect_failures_total{app_id="cli_1",reason="unreachable",role="session"} '
        assert float(metrics.partition(failures)[2].partition("\n")[0]) >= 1
        service.process.send_signal(signal.SIGTERM)
        assert (await service.done()).code == 0


async def test_a_bot_is_probed_while_it_works_and_while_it_drains(feishu_gateway: Gateway) -> None:
    env, tom = environment(feishu_gateway), feishu_gateway.user("Tom")
    async with running("run", "bot:router", *AT, env=env) as service, probes_of(service) as http:
        assert await ready(http, until=200) == []
        await tom.says("hello")
        await tom.waits_for("begun")
        metrics = (await http.get("/metrics")).text
        labels = f'app_id="{feishu_gateway.app_id}",pool="default",role="session"'
        assert f"feishu_pool_running{{{labels}}} 1.0" in metrics
        assert "process_cpu_seconds_total" in metrics, "the metrics of the process are there, too"

        port = str(http.base_url.port)
        second = await commands.run("run", "bot:router", "--metrics-port", port, *AT[2:], env=env)
        assert (second.code, second.out, second.err.count("\n")) == (2, "", 1)
        assert f"port: {port} at 127.0.0.1 cannot be listened on" in second.err

        service.process.send_signal(signal.SIGTERM)
        assert await ready(http, until=503) == ["the session is closing"]
        assert (await http.get("/healthz")).status_code == 200
        service.process.send_signal(signal.SIGTERM)
        assert (await service.done()).code == 143


async def test_a_worker_is_probed(feishu_gateway: Gateway) -> None:
    env = environment(feishu_gateway)
    async with (
        running("worker", "bot:router", "--inbox", "sqlite:bot.db", *AT, env=env) as worker,
        probes_of(worker) as http,
    ):
        assert await ready(http, until=200) == []
        labels = f'app_id="{feishu_gateway.app_id}",role="worker",state="dead"'
        assert f"feishu_inbox_events{{{labels}}} 0.0" in (await http.get("/metrics")).text
        worker.process.send_signal(signal.SIGTERM)
        assert (await worker.done()).code == 0
