"""The line to one client: a byte stream that can be slow, frozen or cut."""

from __future__ import annotations

import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import attrs
import trio
from trio_util import AsyncValue

from ._memory import MemoryStream

_CHUNK: Final = 65536
"""Bytes asked of the stream at once."""

_BATCH: Final = 262144
"""Bytes gathered from the outbox into one `send_all`."""

_LINGER_ZERO: Final = struct.pack("ii", 1, 0)
"""SO_LINGER on, 0 s: closing sends a TCP RST."""


@attrs.define(eq=False)
class Line:
    """Bytes to and from one client, over any stream.

    `send` only queues; one task writes. So an answer never waits for the client to read, the answers of one
    scheduler turn leave in one write, and a delay (`delay`, in seconds) keeps the order.
    """

    stream: trio.abc.Stream
    delay: float = 0.0
    frozen: AsyncValue[bool] = attrs.field(factory=lambda: AsyncValue(False))
    """While true nothing is sent, and received bytes are not read: the buffers below accept the peer's bytes, up to
    their size."""
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _outbox: deque[tuple[float, bytes]] = attrs.field(factory=deque, init=False)
    _closed: bool = attrs.field(default=False, init=False)
    _ending: bool = attrs.field(default=False, init=False)
    _wake: trio.Event = attrs.field(factory=trio.Event, init=False)

    def send(self, data: bytes) -> None:
        """Queue `data`."""
        self._outbox.append((trio.current_time() + self.delay, data))
        self._wake.set()

    async def receive(self) -> bytes:
        """The next bytes; `b""` at the end, for whatever reason it ended."""
        try:
            data = await self.stream.receive_some(_CHUNK)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            data = b""
        await self.frozen.wait_value(False)
        return bytes(data)

    def end(self) -> None:
        """Close the line once the queue has been sent."""
        self._ending = True
        self._wake.set()

    def expire(self, seconds: float) -> None:
        """Close the line in `seconds` at the latest."""
        self._scope.deadline = trio.current_time() + seconds

    def cut(self, *, reset: bool) -> None:
        """Close the line now. With `reset` the peer gets an error (a TCP RST), else just the end of the stream."""
        if reset and not self._closed:
            stream = self.stream
            if isinstance(stream, trio.SSLStream):
                stream = stream.transport_stream
            if isinstance(stream, trio.SocketStream):
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
            elif isinstance(stream, MemoryStream):
                stream.reset()
        self._scope.cancel()

    async def run(self, serve: Callable[[Line], Awaitable[None]]) -> None:
        """Serve this line until it ends; closes the stream in any case."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._pump)
                    await serve(self)
                    self.end()
        finally:
            self._closed = True
            await trio.aclose_forcefully(self.stream)

    async def _pump(self) -> None:
        try:
            while True:
                while not self._outbox:
                    if self._ending:
                        return
                    self._wake = trio.Event()
                    await self._wake.wait()
                await trio.sleep_until(self._outbox[0][0])
                await self.frozen.wait_value(False)
                await self.stream.send_all(self._due())
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._scope.cancel()  # the client has disconnected

    def _due(self) -> bytes:
        now = trio.current_time()
        batch: list[bytes] = []
        size = 0
        while self._outbox and self._outbox[0][0] <= now and size < _BATCH:
            batch.append(self._outbox.popleft()[1])
            size += len(batch[-1])
        return b"".join(batch)
