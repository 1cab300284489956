"""What nobody meant to raise ends one connection, with its traceback in the log, and never the session."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
import trio
import trio.testing

from feishu_trio import (
    ApiError,
    Connected,
    ConnectError,
    Disconnected,
    ErrorOccurred,
    LifecycleEvent,
    ReconnectScheduled,
    open_feishu_session,
)
from feishu_trio.connection import connection as module
from feishu_trio.connection.reader import Reader
from feishu_trio.connection.watchdog import Watchdog
from feishu_trio.testing import Gateway, open_gateway

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


class BrokenTransport(httpx.AsyncBaseTransport):
    """Raises instead of the first answers, and then passes on."""

    def __init__(self, errors: list[Exception], inner: httpx.AsyncBaseTransport) -> None:
        self._errors = errors
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._errors:
            raise self._errors.pop()
        return await self._inner.handle_async_request(request)


def users_functions(gateway: Gateway, errors: list[Exception]) -> dict[str, dict[str, Any]]:
    """What a user may give that raises these errors, the last first, and then does what it should."""

    def returns(value: str) -> str:
        if errors:
            raise errors.pop()
        return value

    async def dial(host: str, port: int) -> trio.abc.Stream:
        returns(host)
        return await gateway.dial(host, port)

    return {
        "app_access_token": {"app_access_token": lambda: returns("token")},
        "client_assertion": {"client_assertion": lambda: returns("assertion")},
        "dial": {"dial": dial},
        "http_transport": {"http_transport": BrokenTransport(errors, gateway.transport)},
    }


@pytest.fixture
async def gateway() -> AsyncGenerator[Gateway, None]:
    async with open_gateway(client_assertion="assertion") as local:
        yield local


USERS = ["app_access_token", "client_assertion", "dial", "http_transport"]


@pytest.mark.parametrize("name", USERS)
@pytest.mark.parametrize("error", [OSError("the vault is away"), ValueError("odd"), ApiError("no token")])
async def test_what_a_function_of_the_users_raises_is_a_failed_try(
    gateway: Gateway,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
    name: str,
    error: Exception,
) -> None:
    errors, seen = [error], list[LifecycleEvent]()
    given = settings(gateway, **users_functions(gateway, errors)[name])
    is_ours = name == "dial" and isinstance(error, OSError)  # that is what a network raises
    async with open_feishu_session(
        gateway.app_id, gateway.app_secret, on_lifecycle=seen.append, **given
    ) as session:
        assert told_of(seen, error, is_ours=is_ours)
        assert any(isinstance(event, ReconnectScheduled) for event in seen)
        seen.clear()
        errors.append(error)
        with pytest.raises(ConnectError) as raised:
            await session.reconnect()
        assert raised.value.__cause__ is error
        assert told_of(seen, error, is_ours=is_ours)
        assert session.is_connected
        seen.clear()
        errors.append(error)
        await gateway.drop()
        await trio.sleep(60)
        assert told_of(seen, error, is_ours=is_ours)
        assert session.is_connected
    if not is_ours:
        record = next(record for record in caplog.records if "by a defect" in record.getMessage())
        assert record.exc_info is not None
        assert record.exc_info[1] is error


def told_of(seen: list[LifecycleEvent], error: Exception, *, is_ours: bool) -> bool:
    """Whether exactly this failed try was told of: the defect, unless it is none, and the `ConnectError` it means."""
    errors = [event for event in seen if isinstance(event, ErrorOccurred) and event.where != "message"]
    *defects, failed = errors
    assert failed.where == "connect"
    assert isinstance(failed.error, ConnectError)
    return [(each.where, each.error) for each in defects] == ([] if is_ours else [("connection", error)])


@pytest.mark.parametrize("name", USERS)
async def test_without_reconnects_it_ends_the_start_and_was_told_of(
    gateway: Gateway, autojump_clock: trio.testing.MockClock, name: str
) -> None:
    error, seen = LookupError("the vault is closed"), list[LifecycleEvent]()
    given = settings(gateway, **users_functions(gateway, [error])[name])
    with pytest.raises(ConnectError, match="failed by a defect: LookupError") as raised:
        async with open_feishu_session(
            gateway.app_id,
            gateway.app_secret,
            auto_reconnect=False,
            on_lifecycle=seen.append,
            **given,
        ):
            raise AssertionError("the block must not be entered")
    assert raised.value.__cause__ is error
    assert told_of(seen, error, is_ours=False)


async def test_an_exit_in_a_function_of_the_users_leaves_the_block(feishu_gateway: Gateway) -> None:
    def token() -> str:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        async with open_feishu_session(
            feishu_gateway.app_id,
            feishu_gateway.app_secret,
            **settings(feishu_gateway, app_access_token=token),
        ):
            raise AssertionError("the block must not be entered")


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
