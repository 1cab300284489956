"""The stream over a socket, on loopback sockets: the kernel decides what they do."""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest
import trio
import trio.testing

from feishu_trio.connection.ending import DisconnectReason
from feishu_trio.connection.line import Line
from feishu_trio.connection.tcp import TCPStream, connect_tcp


async def tcp_pair() -> tuple[TCPStream, TCPStream]:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        ours = await trio.testing.open_stream_to_socket_listener(listener)
        theirs = await listener.accept()
    return TCPStream(ours), TCPStream(theirs)


async def clogged_tcp_pair() -> tuple[TCPStream, TCPStream]:
    ours, theirs = await tcp_pair()
    for stream in (ours, theirs):
        while stream.send_now(bytes(65536)):
            pass
    return ours, theirs


async def test_it_is_a_stream_as_trio_wants_them() -> None:
    await trio.testing.check_two_way_stream(tcp_pair, clogged_tcp_pair)


async def test_it_says_why_nobody_takes_a_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(OSError, match=r"^Connection refused$"):
        await connect_tcp("127.0.0.1", port)

    class Two(trio.abc.HostnameResolver):
        async def getaddrinfo(self, *_: object, **__: object) -> list[Any]:
            return [
                (socket.AF_INET, socket.SOCK_STREAM, 0, "", (host, port))
                for host in ("127.0.0.1", "127.0.0.2")
            ]

        async def getnameinfo(self, *_: object) -> Any: ...

    trio.socket.set_custom_hostname_resolver(Two())
    with pytest.raises(OSError, match=r"^Connection refused$"):
        await connect_tcp("a.name", port)


async def test_what_is_sent_at_once_is_what_the_socket_takes() -> None:
    ours, theirs = await tcp_pair()
    async with ours, theirs:
        assert ours.send_now(b"whole") == 5
        assert await theirs.receive_some() == b"whole"
        data = bytes(50_000_000)
        sent = ours.send_now(data)
        assert 0 < sent < len(data)
        while ours.send_now(data):
            pass
        assert ours.send_now(b"x") == 0


async def test_more_than_a_socket_takes_arrives_whole() -> None:
    ours, theirs = await tcp_pair()
    data = bytes(range(256)) * 50_000
    received = bytearray()
    async with ours, theirs, trio.open_nursery() as nursery:
        nursery.start_soon(ours.send_all, data)
        while len(received) < len(data):
            received += await theirs.receive_some()
    assert received == data


async def test_a_reset_is_reported_with_its_cause() -> None:
    ours, theirs = await tcp_pair()
    async with ours:
        # Lingering for no time at all makes closing a reset.
        theirs._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await theirs.aclose()
        with pytest.raises(trio.BrokenResourceError) as caught:
            await ours.receive_some()
        assert isinstance(caught.value.__cause__, ConnectionResetError)
        with pytest.raises(trio.BrokenResourceError):
            ours.send_now(b"x")


async def test_a_line_keeps_what_the_socket_did_not_take() -> None:
    ours, theirs = await tcp_pair()
    line = Line(ours, 1000)
    first, second = b"first" * 2_000_000, b"second"
    received = bytearray()
    async with line, theirs:
        sent = line.writer.send_now(first)
        assert 0 < sent < len(first)
        assert line.writer.send_now(second) == 0, "not between the two halves of another"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(line.send_all, second)
            while len(received) < len(first + second):
                received += await theirs.receive_some()
    assert received == first + second


@pytest.mark.parametrize("state", ["finished", "broken", "closed", "no socket"])
async def test_a_line_that_cannot_send_at_once_sends_nothing(state: str) -> None:
    ours, theirs = await tcp_pair()
    line = Line(ours if state != "no socket" else trio.testing.memory_stream_pair()[0], 1000)
    async with ours, theirs:
        if state == "finished":
            await line.writer.finish(b"bye")
        elif state == "broken":
            theirs._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            await theirs.aclose()
        elif state == "closed":
            await line.aclose()
        assert line.writer.send_now(b"x") == 0
        if state == "broken":
            with pytest.raises(trio.BrokenResourceError):
                await line.send_all(b"x")
            assert line.end.fault is not None
            assert line.end.fault[0] is DisconnectReason.RESET
