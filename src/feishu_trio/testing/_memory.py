"""A pair of connected byte streams in memory, with bounded buffers, as two TCP sockets have them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from operator import index
from typing import Final

import attrs
import trio

CAPACITY: Final = 262144
"""Bytes one direction holds before its sender waits: about what the loopback interface does."""


@attrs.define(eq=False)
class _Pipe:
    """One direction: bytes on their way, and how either end closed it."""

    data: bytearray = attrs.field(factory=bytearray)
    ended: bool = False  # by the sender: what is in `data` can still be read
    reset: bool = False  # by the sender: nothing can be read any more
    refused: bool = False  # by the reader: nothing can be sent any more
    changed: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)


@attrs.define(eq=False)
class MemoryStream(trio.abc.Stream):
    """One end of the pair. Like a socket, it refuses two senders or two readers at once."""

    _incoming: _Pipe
    _outgoing: _Pipe
    _closed: bool = attrs.field(default=False, init=False)
    _busy: set[str] = attrs.field(factory=set, init=False)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data`; waits while the buffer is full.

        Raises `BrokenResourceError` if the other end is closed, `ClosedResourceError` if this one is. Cancelled, it
        may have sent a part, as with a socket.
        """
        with self._alone("sending"):
            await trio.lowlevel.checkpoint()
            pipe, rest = self._outgoing, memoryview(data)
            while True:
                self._check_open()
                if pipe.refused:
                    raise trio.BrokenResourceError("the other end is closed")
                if not rest:
                    return
                free = CAPACITY - len(pipe.data)
                if free:
                    pipe.data += rest[:free]
                    rest = rest[free:]
                    pipe.changed.unpark_all()
                else:
                    await pipe.changed.park()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the buffer is not full, or the other end is closed. `ClosedResourceError` if this one is."""
        with self._alone("sending"):
            await trio.lowlevel.checkpoint()
            self._check_open()
            while len(self._outgoing.data) >= CAPACITY and not self._outgoing.refused:
                await self._outgoing.changed.park()
                self._check_open()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """At least one byte, at most `max_bytes`; `b""` once the other end is closed.

        Raises `BrokenResourceError` if the other end was reset, `ClosedResourceError` if this one is closed.
        """
        if max_bytes is not None and index(max_bytes) < 1:
            raise ValueError(f"max_bytes is {max_bytes}; allowed is 1 or more")
        with self._alone("receiving"):
            await trio.lowlevel.checkpoint()
            pipe = self._incoming
            while True:
                self._check_open()
                if pipe.reset:
                    raise trio.BrokenResourceError("the other end reset the connection")
                if pipe.data:
                    chunk = bytes(pipe.data[:max_bytes])
                    del pipe.data[: len(chunk)]
                    pipe.changed.unpark_all()
                    return chunk
                if pipe.ended:
                    return b""
                await pipe.changed.park()

    async def aclose(self) -> None:
        """Close this end; the other reads what was sent, then the end. Done even if cancelled."""
        self._close(reset=False)
        await trio.lowlevel.checkpoint()

    def reset(self) -> None:
        """Close this end so that the other loses the bytes in flight and sees an error, as after a TCP RST."""
        self._close(reset=True)

    @contextmanager
    def _alone(self, doing: str) -> Iterator[None]:
        if doing in self._busy:
            raise trio.BusyResourceError(f"another task is {doing} on this stream")
        self._busy.add(doing)
        try:
            yield
        finally:
            self._busy.discard(doing)

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this stream is closed")

    def _close(self, *, reset: bool) -> None:
        if self._closed:
            return
        self._closed = True
        self._outgoing.ended = True
        self._outgoing.reset = reset
        self._incoming.refused = True
        self._outgoing.changed.unpark_all()
        self._incoming.changed.unpark_all()


def memory_stream_pair() -> tuple[MemoryStream, MemoryStream]:
    """Two ends of one connection; each direction holds `CAPACITY` bytes."""
    here, there = _Pipe(), _Pipe()
    return MemoryStream(here, there), MemoryStream(there, here)
