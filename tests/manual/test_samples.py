"""The manual's samples as the migration page has them, run against the local gateway. Numbers are those of its claims."""

from __future__ import annotations

import functools
import itertools
import json
import logging
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from delivery.scene import MESSAGE, USER, message, open_scene, open_session
from feishu_trio import Event, Handler, Router, SessionConfig
from feishu_trio.testing import Gateway

from .page import ENGLISH, running, sample, settings

HEARTBEAT = {"type": "heartbeat", "data": {"timestamp": 1_700_000_000, "interval": 30, "status": "ok"}}


def appsettings(directory: Path) -> Path:
    """The page's own file, as it stands there."""
    (text,) = re.findall(r"^```json\n(.*?)^```", ENGLISH, re.DOTALL | re.MULTILINE)
    path = directory / "appsettings.json"
    path.write_text(text, encoding="utf-8")
    return path


async def test_manual_08_a_program_with_handlers(
    feishu_gateway: Gateway, autojump_clock: MockClock, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = SessionConfig.from_file(appsettings(tmp_path))
    assert (config.app_id, config.app_secret) == ("your_app_id", "your_app_secret")
    main = functools.partial(
        sample("A program with handlers")["main"], config.evolve(**settings(feishu_gateway))
    )
    async with running(feishu_gateway, main):
        await (await feishu_gateway.push(MESSAGE, message(1))).settled()
        await (await feishu_gateway.push(USER, {"object": {"name": "Tom"}})).settled()
        await trio.sleep(300)
        pings = [at for at, _ in feishu_gateway.pings]
    assert capsys.readouterr().out.splitlines() == ["message: hello", "user: Tom"]
    assert {round(b - a) for a, b in itertools.pairwise(pings)} == {30}


async def test_the_page_has_the_warnings_that_its_file_causes_and_how_to_be_rid_of_them(
    feishu_gateway: Gateway, autojump_clock: MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = appsettings(tmp_path)
    async with open_session(feishu_gateway, config=SessionConfig.from_file(path)):
        pass
    (shown,) = re.findall(r"^```\n(without effect.*?)^```", ENGLISH, re.DOTALL | re.MULTILINE)
    assert "".join(f"{record.getMessage()}\n" for record in caplog.records) == shown
    caplog.clear()
    text = re.sub(r'.*"(EnableLogging|MaxReconnectAttempts)".*\n', "", path.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8")
    async with open_session(feishu_gateway, config=SessionConfig.from_file(path)):
        assert not caplog.records


@pytest.mark.parametrize(
    ("name", "printed"), [("with_single_handler", ["second"]), ("with_multi_handler", ["first", "second"])]
)
async def test_manual_09_single_and_multi_handler(
    feishu_gateway: Gateway,
    autojump_clock: MockClock,
    capsys: pytest.CaptureFixture[str],
    name: str,
    printed: list[str],
) -> None:
    main = functools.partial(sample("One handler or several")[name], **settings(feishu_gateway))
    async with running(feishu_gateway, main):
        assert (await (await feishu_gateway.push(MESSAGE, message(1))).settled()).code == 200
    assert sorted(capsys.readouterr().out.splitlines()) == printed


async def test_manual_14_following_the_connection(
    feishu_gateway: Gateway, autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    main = functools.partial(sample("Following the connection")["main"], Router(), **settings(feishu_gateway))
    feishu_gateway.refuse_discovery(1, "too busy", times=1)
    async with running(feishu_gateway, main):
        await (await feishu_gateway.push(USER)).settled()
        await feishu_gateway.text(HEARTBEAT)
        await wait_all_tasks_blocked()
        await feishu_gateway.drop(code=1001)
        await trio.sleep(5)
    failed, *others = capsys.readouterr().out.splitlines()
    assert failed.startswith("error (connect): ")
    assert "too busy" in failed
    assert others[:3] == [
        "connected",
        f"event: {USER}",
        "heartbeat: 1700000000.0, interval: 30.0 s, status: ok",
    ]
    assert others[3:5] == ["disconnected: closed by server, code 1001", "connected"]


async def test_manual_17_heartbeat_monitor(
    feishu_gateway: Gateway, autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = sample("Heartbeats")
    async with open_session(feishu_gateway) as session, trio.open_nursery() as nursery:
        nursery.start_soon(shown["main"], session)
        await wait_all_tasks_blocked()
        for n in range(25):
            await feishu_gateway.text(HEARTBEAT)
            await trio.sleep(28 + n % 2 * 4)
        told = shown["statistics"](session)
        assert told["total"] == 25
        assert len(told["recent"]) == 20
        assert told["last"] == told["recent"][-1]
        assert told["average interval"] == pytest.approx(30)
        assert told["standard deviation"] == pytest.approx(2)
        assert "not well" not in (out := capsys.readouterr().out)
        assert out.splitlines() == ["heartbeat: 1700000000.0, interval: 30.0 s, status: ok"] * 25
        await trio.sleep(155)
        assert "not well: no heartbeat message has come for " in capsys.readouterr().out
        nursery.cancel_scope.cancel()


async def test_manual_30_messages_of_ones_own(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_scene(sample("Messages of your own type")["router"]) as (gateway, _):
        await gateway.text({"type": "custom_type", "data": {"name": "Tom", "count": 3}})
        await gateway.text({"type": "other_type", "data": {"name": "Ann", "count": 3}})
        await wait_all_tasks_blocked()
    assert capsys.readouterr().out.splitlines() == ["custom: Tom, 3"]


async def test_manual_31_a_processor_comes_and_goes(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = sample("Messages of your own type")
    async with open_scene(shown["router"]) as (gateway, _):
        await wait_all_tasks_blocked()

        async def printed() -> list[str]:
            await gateway.text("{}")
            await wait_all_tasks_blocked()
            await gateway.garbage(b"[]")
            await wait_all_tasks_blocked()
            return capsys.readouterr().out.splitlines()

        assert await printed() == []
        shown["register"]()
        assert await printed() == ["text message of 2", "binary message of 2"]
        shown["unregister"]()
        assert await printed() == []


async def test_manual_38_custom_handlers(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    router = sample("Handlers as classes")["build"](logging.getLogger("mine"))
    async with open_scene(router) as (gateway, _):
        await (await gateway.push("custom.event.example_v1")).settled()
        await (await gateway.push(USER)).settled()
    lines = [(r.name, r.getMessage()) for r in caplog.records if r.name in ("app", "mine")]
    assert lines == [
        ("app", "custom event: custom.event.example_v1"),
        ("mine", f"hr: {USER}"),
        ("mine", f"it: {USER}"),
    ]


async def test_manual_41_handlers_at_run_time(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    shown, router, handled = sample("Handlers at run time"), Router(), []

    class Handler:
        event_type = USER

        async def handle(self, event: Event[Any]) -> None:
            handled.append(event.type)

    manager, handler = shown["HandlerManager"](router), Handler()
    shown["with_default"](router)
    async with open_scene(router) as (gateway, _):

        async def push() -> None:
            await (await gateway.push(USER)).settled()

        await push()
        assert not manager.is_registered(USER)
        manager.register(handler)
        await push()
        assert manager.is_registered(USER)
        assert manager.get_handlers(USER) == (handler.handle,)
        assert manager.event_types() == (USER,)
        manager.unregister(handler)
        await push()
        assert manager.event_types() == ()
    assert handled == [USER]
    assert capsys.readouterr().out.splitlines() == [f"nobody takes {USER}"] * 2


async def test_manual_53_options_in_code(feishu_gateway: Gateway, autojump_clock: MockClock) -> None:
    config = sample("Options in code")["config"].evolve(**settings(feishu_gateway))
    async with open_session(feishu_gateway, config=config):
        await trio.sleep(200)
        pings = [at for at, _ in feishu_gateway.pings]
    assert {round(b - a) for a, b in itertools.pairwise(pings)} == {25}


@pytest.mark.parametrize(("environment", "interval"), [("Production", 25), ("Development", 15)])
async def test_manual_55_environments(
    feishu_gateway: Gateway,
    autojump_clock: MockClock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: str,
    interval: int,
) -> None:
    appsettings(tmp_path)
    monkeypatch.chdir(tmp_path)
    config = sample("Environments and features")["configure"](environment)
    assert config.app_id == "your_app_id"
    async with open_session(feishu_gateway, config=config):
        await trio.sleep(200)
        pings = [at for at, _ in feishu_gateway.pings]
    assert {round(b - a) for a, b in itertools.pairwise(pings)} == {interval}


@pytest.mark.parametrize("audited", [True, False])
async def test_manual_56_handlers_by_feature(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str], audited: bool
) -> None:
    router = sample("Environments and features")["build"]({"EnableAudit": audited})
    assert router.is_registered(MESSAGE)
    async with open_scene(router) as (gateway, session):
        await (await gateway.push(MESSAGE, message(1))).settled()
        assert session.stats().unhandled == 0
    assert capsys.readouterr().out.splitlines() == [f"audit: {MESSAGE}"] * audited


async def test_manual_62_connection_control(feishu_gateway: Gateway, autojump_clock: MockClock) -> None:
    controller = sample("Connection by hand")["ConnectionController"](**settings(feishu_gateway))
    await controller.start()
    assert controller.session.is_connected
    await controller.send(json.dumps({"hello": "there"}))
    await wait_all_tasks_blocked()
    assert list(feishu_gateway.texts) == [{"hello": "there"}]
    (before,) = feishu_gateway.connections
    await controller.reconnect()
    await wait_all_tasks_blocked()
    (after,) = feishu_gateway.connections
    assert after is not before
    assert (await (await feishu_gateway.push(USER)).settled()).code == 200
    await controller.stop()
    await wait_all_tasks_blocked()
    assert feishu_gateway.connections == ()


async def test_manual_66_several_processes(autojump_clock: MockClock) -> None:
    locked: set[str] = set()
    done: set[str] = set()

    @asynccontextmanager
    async def lock(key: str) -> AsyncGenerator[bool, None]:
        is_ours = key not in locked
        locked.add(key)
        try:
            yield is_ours
        finally:
            if is_ours:
                locked.discard(key)

    once: Callable[[Handler], Handler] = sample("Several processes")["once_over_all"](lock, done)
    began: list[str] = []
    succeeded: list[str] = []

    def router_of(process: str) -> Router:
        router = Router()

        @router.on(USER)
        @once
        async def slow(event: Event[Any]) -> None:
            began.append(process)
            await trio.sleep(40)
            if len(began) == 1:
                raise ValueError("the first process fails after all")
            succeeded.append("slow")

        @router.on(USER)
        @once
        async def quick(event: Event[Any]) -> None:
            succeeded.append("quick")

        return router

    async with open_scene(router_of("first"), gateway={"ladder": (15,) * 12}) as (gateway, first):
        (connection,) = gateway.connections
        async with open_session(gateway, router_of("second")) as second:
            push = await gateway.push(USER, connection=connection)
            assert (await push.settled()).code == 200
            assert second.stats().retried, "while it was locked, it was given back and not answered as done"
        assert len(began) == 2
        assert sorted(succeeded) == ["quick", "slow"], "each handler once over both"
        assert first.stats().failed + second.stats().failed == 1
