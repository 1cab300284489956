"""The server's end of a WebSocket, written by hand so that it can misbehave."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio
from trio.testing import memory_stream_pair

from feishu_trio.testing import Gateway

DISCOVERY = "/callback/ws/endpoint"
URL = "ws://peer/ws/v2?device_id=7250&service_id=33554678&access_key=AK-SECRET&ticket=TK-SECRET"

Script = Callable[["Peer"], Awaitable[object]]


class Peer:
    """One client, as the server sees it."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.request = b""

    async def read_request(self) -> None:
        while b"\r\n\r\n" not in self.request:
            data = await self.stream.receive_some()
            assert data, "the client went away in the middle of its request"
            self.request += data

    async def accept(self, *, then: bytes = b"", key: str | None = None, headers: str = "") -> None:
        """Agree to the upgrade, and send `then` in the same segment."""
        await self.read_request()
        head = self.request.decode().lower()
        given = self.request.decode()[head.index("sec-websocket-key: ") + 19 :].split("\r\n")[0]
        digest = hashlib.sha1((given + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        answer = (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {key or base64.b64encode(digest).decode()}\r\n{headers}\r\n"
        )
        await self.stream.send_all(answer.encode("latin-1") + then)

    async def answer(self, response: bytes) -> None:
        """Read the request, and send this."""
        await self.read_request()
        await self.stream.send_all(response)

    async def frame(self, opcode: int, payload: bytes = b"", *, fin: bool = True) -> None:
        await self.stream.send_all(frame(opcode, payload, fin=fin))

    async def read_all(self) -> bytes:
        """All that comes until the client ends it."""
        data = b""
        try:
            while more := await self.stream.receive_some():
                data += more
        except trio.BrokenResourceError:
            pass
        return data


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """A WebSocket frame as servers send it: not masked."""
    head = bytes([opcode | fin << 7])
    if len(payload) < 126:
        return head + bytes([len(payload)]) + payload
    if len(payload) < 65536:
        return head + bytes([126]) + len(payload).to_bytes(2, "big") + payload
    return head + bytes([127]) + len(payload).to_bytes(8, "big") + payload


def client_frames(data: bytes) -> list[tuple[int, bytes]]:
    """Opcodes and payloads of what a client sent: masked."""
    found = []
    while data:
        size, at = data[1] & 127, 2
        if size >= 126:
            more = 2 if size == 126 else 8
            size, at = int.from_bytes(data[2 : 2 + more], "big"), 2 + more
        mask, masked = data[at : at + 4], data[at + 4 : at + 4 + size]
        found.append((data[0] & 15, bytes(byte ^ mask[i % 4] for i, byte in enumerate(masked))))
        data = data[at + 4 + size :]
    return found


CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


@asynccontextmanager
async def scripted(
    gateway: Gateway, *scripts: Script
) -> AsyncGenerator[Callable[[str, int], Awaitable[trio.abc.Stream]], None]:
    """A dialler that leads the first connections to these scripts, and those after them to the gateway.

    A script that returns has closed its end.
    """
    waiting = list(scripts)
    failure: Exception | None = None
    gateway.respond(DISCOVERY, {"code": 0, "data": {"URL": URL}}, times=len(scripts))
    async with trio.open_nursery() as nursery:

        async def play(script: Script, stream: trio.abc.Stream) -> None:
            try:
                await script(Peer(stream))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            finally:
                await trio.aclose_forcefully(stream)

        async def dial(host: str, port: int) -> trio.abc.Stream:
            if not waiting:
                return await gateway.dial(host, port)
            client, server = memory_stream_pair()
            nursery.start_soon(play, waiting.pop(0), server)
            return client

        try:
            yield dial
        except Exception as error:
            failure = error  # raised below, so that the nursery does not wrap it in a group
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
