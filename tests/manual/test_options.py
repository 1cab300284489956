"""Each option of the manual's table, set in an `appsettings.json` as the .NET client has it: what it does."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from config.refusals import read_json
from feishu_trio import (
    ConnectError,
    Event,
    LifecycleEvent,
    ReconnectScheduled,
    Router,
    SessionConfig,
    open_feishu_session,
)
from feishu_trio.testing import Gateway

from .page import settings

USER = "contact.user.created_v3"
Configure = Callable[..., SessionConfig]


@pytest.fixture
def configure(tmp_path: Path, feishu_gateway: Gateway) -> Configure:
    """The settings that a file with these options gives, with the gateway in Feishu's place."""

    def read(**options: object) -> SessionConfig:
        config = read_json(tmp_path, {"Feishu": {"WebSocket": options}})
        return config.evolve(**settings(feishu_gateway))

    return read


async def outage(gateway: Gateway, config: SessionConfig, told: list[LifecycleEvent]) -> None:
    """A session that loses its connection, and finds no other."""
    async with open_feishu_session(config=config, on_lifecycle=told.append) as session:
        gateway.refuse_discovery(1)
        await gateway.drop()
        await session.wait_closed()


def waits(told: list[LifecycleEvent]) -> list[float]:
    return [event.delay for event in told if isinstance(event, ReconnectScheduled)]


async def test_manual_42_auto_reconnect(
    feishu_gateway: Gateway, autojump_clock: MockClock, configure: Configure
) -> None:
    async with open_feishu_session(config=configure(AutoReconnect=True)) as session:
        await feishu_gateway.drop()
        await trio.sleep(10)
        assert session.is_connected
    told: list[LifecycleEvent] = []
    with pytest.raises(ConnectError), trio.fail_after(10):
        await outage(feishu_gateway, configure(AutoReconnect=False), told)
    assert waits(told) == []


@pytest.mark.parametrize("attempts", [1, 5])
async def test_manual_43_max_reconnect_attempts(
    feishu_gateway: Gateway, autojump_clock: MockClock, configure: Configure, attempts: int
) -> None:
    told: list[LifecycleEvent] = []
    with pytest.raises(ConnectError, match=f"given up after {attempts} tr"):
        await outage(feishu_gateway, configure(MaxReconnectAttempts=attempts), told)
    assert len(waits(told)) == attempts


async def test_manual_44_reconnect_delay(
    feishu_gateway: Gateway, autojump_clock: MockClock, configure: Configure
) -> None:
    told: list[LifecycleEvent] = []
    with trio.move_on_after(120):
        await outage(feishu_gateway, configure(ReconnectDelayMs=5000), told)
    assert len(waits(told)) > 20
    assert all(4.5 <= delay <= 5 for delay in waits(told))


async def test_manual_45_heartbeat_interval(
    feishu_gateway: Gateway, autojump_clock: MockClock, configure: Configure
) -> None:
    async with open_feishu_session(config=configure(HeartbeatIntervalMs=12000)):
        await trio.sleep(119)
        assert len(feishu_gateway.pings) == 10


async def test_manual_46_connection_timeout(
    feishu_gateway: Gateway, autojump_clock: MockClock, configure: Configure
) -> None:
    feishu_gateway.hang_discovery()
    config = configure(ConnectionTimeoutMs=7000, MaxReconnectAttempts=0)
    start = trio.current_time()
    with pytest.raises(ConnectError):
        async with open_feishu_session(config=config):
            raise AssertionError("the block must not be entered")
    assert trio.current_time() - start == pytest.approx(7)


async def test_manual_47_receive_buffer_size(
    feishu_gateway: Gateway, autojump_clock: MockClock, configure: Configure
) -> None:
    sizes: list[int] = []
    router = Router()
    handled: list[int] = []

    @router.on(USER)
    async def handle(event: Event[Any]) -> None:
        handled.append(len(event.payload))

    async def dial(host: str, port: int) -> trio.abc.Stream:
        return Measured(await feishu_gateway.dial(host, port), sizes)

    config = configure(ReceiveBufferSize=4096).evolve(dial=dial)
    async with open_feishu_session(config=config, router=router):
        push = await feishu_gateway.push(USER, {"object": {"name": "x" * 100_000}})
        assert (await push.settled()).code == 200
    assert set(sizes) == {4096}, "so much is read at once"
    assert handled[0] > 100_000, "and it is no limit of messages"


class Measured(trio.abc.Stream):
    """A stream that notes how much each read asks for."""

    def __init__(self, stream: trio.abc.Stream, sizes: list[int]) -> None:
        self.stream = stream
        self.sizes = sizes

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        assert max_bytes is not None
        self.sizes.append(max_bytes)
        return await self.stream.receive_some(max_bytes)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self.stream.aclose()


async def test_manual_48_logging(
    feishu_gateway: Gateway,
    autojump_clock: MockClock,
    configure: Configure,
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = configure(EnableLogging=False)
    (record,) = caplog.records
    assert "EnableLogging (Python's logging decides" in record.getMessage()

    async def lines() -> list[str]:
        caplog.clear()
        async with open_feishu_session(config=config):
            await feishu_gateway.drop()
            await trio.sleep(10)
        return [r.getMessage() for r in caplog.records if r.name.startswith("feishu_trio")]

    assert "the connection was lost" in "".join(await lines())
    caplog.set_level(logging.CRITICAL, "feishu_trio")
    assert await lines() == [], "the line that the log names turns it off"


@pytest.mark.parametrize(
    ("options", "waiting"),
    [
        ({"MessageQueueCapacity": 10}, 10),
        ({"EnableMessageQueue": True, "MessageQueueCapacity": 10}, 10),
        ({"EnableMessageQueue": False, "MessageQueueCapacity": 10}, 1),
    ],
)
async def test_manual_49_message_queue_and_capacity(
    feishu_gateway: Gateway,
    autojump_clock: MockClock,
    configure: Configure,
    options: dict[str, object],
    waiting: int,
) -> None:
    router, handled = Router(), []

    @router.on(USER)
    async def handle(event: Event[Any]) -> None:
        await trio.sleep(10)
        handled.append(event.id)

    config = configure(**options).evolve(concurrency=1)
    async with open_feishu_session(config=config, router=router) as session:
        pushes = [await feishu_gateway.push(USER) for _ in range(waiting + 4)]
        await trio.sleep(9)
        assert session.stats().queue_depth == waiting
        assert session.stats().refused
        for push in pushes:
            assert (await push.settled()).code == 200
    assert len(set(handled)) == len(handled) == waiting + 4, "what did not fit came again"


@pytest.mark.parametrize(
    ("options", "began"),
    [
        ({}, {"a": 0, "b": 0}),
        ({"EnableMultiHandlerMode": True, "ParallelMultiHandlers": True}, {"a": 0, "b": 0}),
        ({"EnableMultiHandlerMode": True, "ParallelMultiHandlers": False}, {"a": 0, "b": 1}),
        ({"EnableMultiHandlerMode": False}, {"b": 0}),
    ],
)
async def test_manual_51_handler_modes(
    feishu_gateway: Gateway,
    autojump_clock: MockClock,
    configure: Configure,
    options: dict[str, object],
    began: dict[str, float],
) -> None:
    router, log = Router(), {}
    start = 0.0

    @router.on(USER)
    async def a(event: Event[Any]) -> None:
        log["a"] = trio.current_time() - start
        await trio.sleep(1)

    @router.on(USER)
    async def b(event: Event[Any]) -> None:
        log["b"] = trio.current_time() - start
        await trio.sleep(1)

    async with open_feishu_session(config=configure(**options), router=router):
        await wait_all_tasks_blocked()
        start = trio.current_time()
        assert (await (await feishu_gateway.push(USER)).settled()).code == 200
    assert log == began
