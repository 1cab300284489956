"""Reading: whole binary messages are taken out, and all else is left for trio-websocket."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MemoryReceiveStream, MockClock, memory_stream_pair, wait_all_tasks_blocked

from feishu_trio.connection.ending import DisconnectReason, StreamEnd
from feishu_trio.connection.line_reader import LineReader

from .streams import FakeStream

AGREED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
ONE, TWO = b"\x82\x03one", b"\x82\x03two"
PING, TEXT = b"\x89\x01p", b"\x81\x04text"

Server = trio.StapledStream["trio.testing.MemorySendStream", MemoryReceiveStream]


def make_reader() -> tuple[LineReader, StreamEnd, Server]:
    """A reader, what it notes of the stream's end, and the server's end of the stream."""
    here, there = memory_stream_pair()
    end = StreamEnd()
    return LineReader(here, end, 100_000), end, there


async def test_whole_messages_are_taken_out_and_the_rest_is_left() -> None:
    reader, _, server = make_reader()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.send_all, AGREED[:20])
        await wait_all_tasks_blocked()
        # The server's first frames come in one piece with the end of its response.
        nursery.start_soon(server.send_all, AGREED[20:] + ONE + PING + TWO[:2])
        assert await reader.receive_some() == AGREED
    assert reader.has_agreed
    assert await reader.receive_messages(4096) == [b"one"]
    assert await reader.receive_some() == PING
    await server.send_all(TWO[2:] + TEXT + ONE)
    assert await reader.receive_messages(4096) == [b"two", b"one"]
    assert await reader.receive_some() == TEXT


async def test_a_refusal_is_passed_on_with_its_body_and_kept() -> None:
    reader, _, server = make_reader()
    refusal = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\n" + ONE
    await server.send_all(refusal)
    assert await reader.receive_some() == refusal
    assert reader.refusal is not None
    assert reader.refusal.status_code == 403
    assert not reader.has_agreed


async def test_interim_responses_are_left_out() -> None:
    reader, _, server = make_reader()
    await server.send_all(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\n\n" + AGREED + ONE)
    assert await reader.receive_some() == AGREED
    assert await reader.receive_messages(4096) == [b"one"]


async def test_of_an_endless_response_only_the_beginning_is_kept() -> None:
    reader, _, server = make_reader()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.send_all, bytes(1 << 20))
        received = 0
        while received < 1 << 20:
            received += len(await reader.receive_some(10_000))
    handshake = reader._handshake
    assert handshake is not None
    assert not handshake._head
    assert len(handshake._http.trailing_data[0]) < 80_000


@pytest.mark.parametrize("data", [b"", AGREED[:30]], ids=["nothing", "half a response"])
async def test_an_end_within_the_handshake_is_noted(data: bytes) -> None:
    reader, end, server = make_reader()
    await server.send_all(data)
    await server.aclose()
    while await reader.receive_some():
        pass
    assert end.fault == (DisconnectReason.END_OF_FILE, "")


@pytest.mark.parametrize("broken", [False, True])
async def test_both_who_read_learn_of_the_end(broken: bool) -> None:
    reader, end, server = make_reader()
    await server.send_all(AGREED + TEXT)
    await reader.receive_some()
    assert await reader.receive_messages(4096) == []
    if broken:
        reader._stream = FakeStream(fails=ConnectionResetError("reset"))
    else:
        await server.aclose()
    assert await reader.receive_messages(4096) is None
    assert end.fault == ((DisconnectReason.RESET, "reset") if broken else (DisconnectReason.END_OF_FILE, ""))
    assert await reader.receive_some() == TEXT
    if broken:
        with pytest.raises(trio.BrokenResourceError):
            await reader.receive_some()
    else:
        assert await reader.receive_some() == b""


async def test_who_waits_for_the_rest_is_woken_by_the_end(autojump_clock: MockClock) -> None:
    reader, _, server = make_reader()
    await server.send_all(AGREED)
    await reader.receive_some()
    received = []

    async def receive() -> None:
        with trio.fail_after(1):
            received.append(await reader.receive_some())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        await server.aclose()
        assert await reader.receive_messages(4096) is None
    assert received == [b""]


async def test_who_is_slow_with_the_rest_holds_the_other_back() -> None:
    reader, _, server = make_reader()
    await server.send_all(AGREED)
    await reader.receive_some()
    flood = (b"\x81\x7e\x40\x00" + b"x" * 0x4000) * 5
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.send_all, flood + ONE)
        assert await reader.receive_messages(1 << 20) == [b"one"]
        assert reader.is_clogged
        nursery.start_soon(reader.wait_unclogged)
        await wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 1
        assert await reader.receive_some() == flood
        assert not reader.is_clogged
