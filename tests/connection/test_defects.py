"""What nobody meant to raise ends one connection, with its traceback in the log, and never the session."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio
import trio.testing

from feishu_trio import Connected, Disconnected, ErrorOccurred, LifecycleEvent, open_feishu_session
from feishu_trio.connection import connection as module
from feishu_trio.connection.reader import Reader
from feishu_trio.connection.watchdog import Watchdog
from feishu_trio.testing import Gateway

from .peer import scripted


def breaks_once(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, error: Exception) -> None:
    """The first call fails, after a while; the others go on."""
    original = getattr(owner, name)
    left = [error]

    async def call(*arguments: Any) -> Any:
        if left:
            mine = left.pop()
            await trio.sleep(5)
            raise mine
        return await original(*arguments)

    monkeypatch.setattr(owner, name, call)


def settings(gateway: Gateway, **given: Any) -> dict[str, Any]:
    return {"domain": gateway.domain, "http_transport": gateway.transport, "dial": gateway.dial} | given


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (Reader, "run"),
        (Reader, "run_others"),
        (Watchdog, "run"),
        (module.Connection, "_write"),
        (module, "shake_hands"),
    ],
)
@pytest.mark.parametrize("error", [trio.BusyResourceError("two readers"), AssertionError(), KeyError("x")])
async def test_a_defect_is_the_end_of_one_connection(
    feishu_gateway: Gateway,
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    owner: Any,
    name: str,
    error: Exception,
) -> None:
    breaks_once(monkeypatch, owner, name, error)
    seen: list[LifecycleEvent] = []
    async with open_feishu_session(
        feishu_gateway.app_id,
        feishu_gateway.app_secret,
        **settings(feishu_gateway, connections=2),
    ) as session:
        await feishu_gateway.wait_connected(2)
        await trio.testing.wait_all_tasks_blocked()
        async with session.lifecycle() as lifecycle:
            with trio.move_on_after(30):
                async for event in lifecycle:
                    seen.append(event)
        assert session.is_connected
        assert session.stats().connections == 2
    told = [record for record in caplog.records if "by a defect" in record.getMessage()]
    (told_once,) = [record for record in told if record.levelno == logging.ERROR]
    assert told_once.exc_info is not None
    assert told_once.exc_info[1] is error
    if name != "shake_hands":
        assert sum(isinstance(event, Disconnected) for event in seen) == 1  # its healthy neighbour lives on
        assert sum(isinstance(event, Connected) for event in seen) == 1
        assert [event.error for event in seen if isinstance(event, ErrorOccurred)] == [error]


async def test_a_stream_that_cannot_be_closed_is_left(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Stubborn(trio.abc.Stream):
        def __init__(self, stream: trio.abc.Stream) -> None:
            self.send_all = stream.send_all  # type: ignore[method-assign]
            self.receive_some = stream.receive_some  # type: ignore[method-assign,assignment]
            self._stream = stream

        async def send_all(self, data: Any) -> None: ...

        async def receive_some(self, max_bytes: int | None = None) -> bytes:
            return b""

        async def wait_send_all_might_not_block(self) -> None:
            await self._stream.wait_send_all_might_not_block()

        async def aclose(self) -> None:
            try:
                await self._stream.aclose()
            finally:
                raise RuntimeError("stuck")

    async def dial(host: str, port: int) -> trio.abc.Stream:
        return Stubborn(await feishu_gateway.dial(host, port))

    async with open_feishu_session(
        feishu_gateway.app_id, feishu_gateway.app_secret, **settings(feishu_gateway, dial=dial)
    ) as session:
        await session.reconnect()
        await feishu_gateway.drop()
        await trio.sleep(10)
        assert session.is_connected
    assert "RuntimeError: stuck" in caplog.text


async def test_what_the_users_dial_raises_leaves_the_block_as_itself(feishu_gateway: Gateway) -> None:
    async def dial(host: str, port: int) -> trio.abc.Stream:
        raise LookupError("no route")

    with pytest.raises(LookupError, match="no route"):
        async with open_feishu_session(
            feishu_gateway.app_id, feishu_gateway.app_secret, **settings(feishu_gateway, dial=dial)
        ):
            pass


async def test_what_the_users_client_assertion_raises_leaves_the_block_as_itself(
    feishu_gateway: Gateway,
) -> None:
    def assertion() -> str:
        raise LookupError("the vault is closed")

    with pytest.raises(LookupError, match="the vault is closed"):
        async with open_feishu_session(
            feishu_gateway.app_id, **settings(feishu_gateway, client_assertion=assertion)
        ):
            pass


async def test_two_readers_of_one_socket_do_not_end_the_session(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where frames begin must be known before both read; if it is not, the connection is refused."""

    async def script(peer: Any) -> None:
        await peer.accept()
        await peer.read_all()

    from feishu_trio.connection.line_reader import LineReader

    original = LineReader._receive_handshake
    tries = 0

    async def passes_on(self: LineReader, max_bytes: int | None) -> bytes | bytearray:
        nonlocal tries
        tries += 1
        return await (original(self, max_bytes) if tries > 1 else self._stream.receive_some(max_bytes))

    monkeypatch.setattr(LineReader, "_receive_handshake", passes_on)
    async with (
        scripted(feishu_gateway, script) as dial,
        open_feishu_session(
            feishu_gateway.app_id, feishu_gateway.app_secret, **settings(feishu_gateway, dial=dial)
        ) as session,
    ):
        assert session.is_connected
    assert tries > 1
