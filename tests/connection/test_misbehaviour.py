"""Servers that break the protocol once the connection is up: each time it is reported, and another one follows."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feishu_trio import (
    Connected,
    Disconnected,
    DisconnectReason,
    LifecycleEvent,
    Router,
    Session,
    open_feishu_session,
)
from feishu_trio.testing import Gateway, open_gateway
from feishu_trio.wire import DATA, encode_frame

from .peer import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Peer, Script, client_frames, frame, scripted


@asynccontextmanager
async def session_with(gateway: Gateway, script: Script, **given: Any) -> AsyncGenerator[Session, None]:
    """A session whose first connection follows the script, and whose next ones are the gateway's."""
    async with (
        scripted(gateway, script) as dial,
        open_feishu_session(
            gateway.app_id,
            gateway.app_secret,
            domain=gateway.domain,
            http_transport=gateway.transport,
            dial=dial,
            **given,
        ) as session,
    ):
        yield session


async def how_it_ends(gateway: Gateway, script: Script, **given: Any) -> Disconnected:
    """The first connection's end, once the second is up."""
    seen: list[LifecycleEvent] = []
    async with session_with(gateway, script, **given) as session, session.lifecycle() as lifecycle:
        with trio.fail_after(100):
            async for event in lifecycle:
                seen.append(event)
                if isinstance(event, Connected):
                    break
    (ended,) = [event for event in seen if isinstance(event, Disconnected)]
    return ended


def sends(data: bytes, *, then_end: bool = False) -> Script:
    """Agree to the handshake, send this, and wait for the client to go."""

    async def script(peer: Peer) -> None:
        await peer.accept()
        await trio.testing.wait_all_tasks_blocked()
        await peer.stream.send_all(data)
        if not then_end:
            await peer.read_all()

    return script


BROKEN = {
    "reserved opcode": b"\x83\x00",
    "masked": b"\x82\x81\x00\x00\x00\x00x",
    "compressed": b"\xc2\x01x",
    "control frame in parts": b"\x09\x00",
    "control frame too long": b"\x89\x7e\x00\x7e" + bytes(126),
    "length not minimal": b"\x82\x7e\x00\x01x",
    "length of 2**63": b"\x82\x7f\x80" + bytes(7),
    "text that is no UTF-8": frame(TEXT, b"\xff"),
    "continuation of nothing": frame(CONTINUATION, b"x"),
    "message within a message": frame(BINARY, b"x", fin=False) + frame(BINARY, b"y"),
    "close of one byte": frame(CLOSE, b"\x03"),
    "close with 1005": frame(CLOSE, b"\x03\xed"),
    "close with 1006": frame(CLOSE, b"\x03\xee"),
    "close with 1015": frame(CLOSE, b"\x03\xf7"),
    "close with 999": frame(CLOSE, b"\x03\xe7"),
    "close with 0": frame(CLOSE, b"\x00\x00"),
    "close with a reason that is no UTF-8": frame(CLOSE, b"\x03\xe8\xff"),
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
}


@pytest.mark.parametrize("what", BROKEN)
async def test_bytes_that_are_no_websocket(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock, what: str
) -> None:
    ended = await how_it_ends(feishu_gateway, sends(BROKEN[what]))
    assert ended.reason is DisconnectReason.PROTOCOL_ERROR


@pytest.mark.parametrize("then_end", [False, True])
@pytest.mark.parametrize(
    ("payload", "code", "detail"),
    [
        (b"", 1005, ""),
        (b"\x03\xe8", 1000, ""),
        (b"\x03\xe9going away", 1001, "going away"),
        (b"\x0f\xa0" + "再见".encode(), 4000, "再见"),
        (b"\x13\x87", 4999, ""),
        (b"\x03\xf3a\nb", 1011, r"'a\nb'"),
    ],
)
async def test_a_close_frame_is_reported_with_its_code(
    feishu_gateway: Gateway,
    autojump_clock: trio.testing.MockClock,
    payload: bytes,
    code: int,
    detail: str,
    then_end: bool,
) -> None:
    ended = await how_it_ends(feishu_gateway, sends(frame(CLOSE, payload), then_end=then_end))
    assert (ended.reason, ended.code, ended.detail) == (DisconnectReason.CLOSED_BY_SERVER, code, detail)


@pytest.mark.parametrize("data", [b"", b"\x82", b"\x82\x05abc", frame(BINARY, b"x", fin=False)])
async def test_an_end_without_a_close_frame(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock, data: bytes
) -> None:
    ended = await how_it_ends(feishu_gateway, sends(data or frame(PONG), then_end=True))
    assert ended.reason is DisconnectReason.END_OF_FILE


async def test_a_close_frame_counts_though_writing_fails_first(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        assert isinstance(peer.stream, trio.StapledStream)
        await peer.stream.receive_stream.aclose()
        await trio.sleep(0.5)  # by then nothing can be written
        await peer.frame(CLOSE, b"\x0f\xa5")

    async with session_with(feishu_gateway, script) as session, session.lifecycle() as lifecycle:
        await session.send("x")
        async for event in lifecycle:
            if isinstance(event, Disconnected):
                assert (event.reason, event.code) == (DisconnectReason.CLOSED_BY_SERVER, 4005)
                break


async def test_data_after_the_close_frame_is_not_looked_at(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    data = frame(CLOSE, b"\x03\xe8") + frame(BINARY, b"late") + b"\xff" * 50
    ended = await how_it_ends(feishu_gateway, sends(data))
    assert (ended.reason, ended.code) == (DisconnectReason.CLOSED_BY_SERVER, 1000)


@pytest.mark.parametrize("parts", [1, 3])
async def test_a_message_that_is_too_large_ends_the_connection_with_1009(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock, parts: int
) -> None:
    sent = b""

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.accept()
        await trio.testing.wait_all_tasks_blocked()
        await peer.stream.send_all(frame(BINARY, bytes(2000), fin=parts == 1))
        for left in range(parts - 1, 0, -1):
            await peer.stream.send_all(frame(CONTINUATION, bytes(2000), fin=left == 1))
        sent = await peer.read_all()

    ended = await how_it_ends(feishu_gateway, script, max_message_size=1999)
    assert (ended.reason, ended.code) == (DisconnectReason.PROTOCOL_ERROR, 1009)
    opcode, payload = client_frames(sent)[-1]
    assert (opcode, payload[:2]) == (CLOSE, b"\x03\xf1")


async def test_frames_in_the_same_segment_as_the_handshake(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(then=frame(PING, b"hello"))
        sent = await peer.stream.receive_some()
        while b"\x8a" not in sent:  # a pong
            sent += await peer.stream.receive_some()
        await peer.frame(CLOSE, b"\x0f\xa1")
        await peer.read_all()

    ended = await how_it_ends(feishu_gateway, script)
    assert ended.code == 4001


async def test_a_connection_that_ends_as_soon_as_it_is_up(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    async with session_with(feishu_gateway, lambda peer: peer.accept()) as session:
        await feishu_gateway.wait_connected()
        await trio.testing.wait_all_tasks_blocked()
        assert session.stats().reconnects == 1


async def test_a_server_that_never_answers_our_close_frame_is_left_in_time(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    sent = b""

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.accept()
        sent = await peer.read_all()

    async with session_with(feishu_gateway, script):
        await trio.sleep(1)
        start = trio.current_time()
    assert trio.current_time() - start == pytest.approx(2)
    assert [opcode for opcode, _ in client_frames(sent)] == [
        BINARY,
        CLOSE,
    ]  # a ping, and nothing after the close
    assert client_frames(sent)[-1] == (CLOSE, b"\x03\xe8")


async def test_a_server_that_sends_on_after_our_close_frame_is_left_in_time(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        while True:
            await peer.frame(BINARY, b"more")
            await peer.frame(PING, b"?")
            await trio.sleep(0.1)

    async with session_with(feishu_gateway, script):
        await trio.sleep(1)
        start = trio.current_time()
    assert trio.current_time() - start <= 2.01


async def test_events_that_come_while_a_connection_is_replaced_are_handled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """What the server sent before it saw our close frame is not lost, and answered by the new connection."""
    got = []
    router = Router()

    @router.on("x.y_v1")
    async def take(event: object) -> None:
        got.append(event)

    payload = b'{"schema":"2.0","header":{"event_id":"e1","event_type":"x.y_v1"},"event":{}}'
    data = encode_frame(method=DATA, headers={"type": "event", "message_id": "m"}, payload=payload)

    async def script(peer: Peer) -> None:
        await peer.accept()
        sent = b""
        while not any(opcode == CLOSE for opcode, _ in client_frames(sent)):
            sent += await peer.stream.receive_some()
        await peer.stream.send_all(frame(BINARY, data) + frame(CLOSE, b"\x03\xe8"))
        await peer.read_all()

    async with (
        open_gateway(strict=False) as gateway,
        session_with(gateway, script, router=router) as session,
    ):
        await session.reconnect()
        await trio.testing.wait_all_tasks_blocked()
        assert len(got) == 1
        assert "an answer is to message_id 'm'" in gateway.violations[0]
        assert session.stats().connections == 1


@pytest.mark.parametrize("size", [0, 1, 10_000])
async def test_garbage_in_whole_frames_is_dropped_and_the_connection_lives(
    feishu_gateway: Gateway,
    autojump_clock: trio.testing.MockClock,
    size: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        for _ in range(50):
            await peer.frame(BINARY, b"\xff" * size)
        await peer.read_all()

    async with session_with(feishu_gateway, script) as session:
        await trio.sleep(1)
        assert session.is_connected
        assert session.stats().bad_frames == 50
        assert session.stats().reconnects == 0
    records = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(records) == 11  # ten, and how many more there were
    assert all(len(record.getMessage()) < 500 for record in records)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.binary(max_size=300)
        | st.builds(frame, st.integers(0, 15), st.binary(max_size=200), fin=st.booleans()),
        max_size=8,
    )
)
def test_whatever_a_server_sends_the_session_outlives_it(chunks: list[bytes]) -> None:
    async def main() -> None:
        async def script(peer: Peer) -> None:
            await peer.accept()
            for chunk in chunks:
                await peer.stream.send_all(chunk)
                await trio.testing.wait_all_tasks_blocked()

        async with open_gateway() as gateway, session_with(gateway, script) as session:
            with trio.fail_after(200):
                await gateway.wait_connected()
                await session.reconnect()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
