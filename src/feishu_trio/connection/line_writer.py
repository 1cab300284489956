"""Writing to the stream under the WebSocket: whole pieces in order, by any task, within a bound of time."""

from __future__ import annotations

from typing import Final

import trio

from .ending import DisconnectReason, StreamEnd
from .tcp import TCPStream
from .tls import TLSStream

__all__ = ["LineWriter"]

# Bytes that must be on their way within so many seconds, or the stream counts as stalled.
_PIECE: Final = 65536
_STALLED_AFTER: Final = 10.0


class LineWriter:
    """Several tasks may write. Bytes leave in the order they were given, in as few pieces as may be, and each
    write returns once its own have left.
    """

    def __init__(self, stream: trio.abc.Stream, end: StreamEnd) -> None:
        self._stream = stream
        self._end = end
        self._send_now = stream.send_now if isinstance(stream, TCPStream | TLSStream) else None
        self._secured = stream if isinstance(stream, TLSStream) else None
        self.pending: Final[list[bytes | bytearray | memoryview]] = []
        """What waits to be sent by `send_all`."""
        self._given = 0  # pieces to send, and
        self._sent = 0  # how many of them have been sent
        self._writing = False
        self._torn = False
        self._finished = False
        self._written = trio.lowlevel.ParkingLot()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send; but nothing is sent after the last bytes (`finish`).

        Raises `trio.BrokenResourceError` if the stream is broken, or was stalled; cancelling this breaks it.
        """
        if not self._finished:
            self._give(data)
        await self._flush()

    def send_now(self, data: bytes) -> int:
        """Send what the stream takes at once, and return how many bytes: none if it is not free, or cannot tell.

        If it is less than all, or something is `pending`, `send_all` must follow, be it with no bytes: it sends the rest first.
        """
        if self._send_now is None or self._writing or self.pending or self._torn or self._finished:
            return 0
        try:
            sent = self._send_now(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return 0  # the next to send, or to receive, finds out how
        if 0 < sent < len(data):
            self._give(memoryview(data)[sent:])
        elif self._secured is not None and self._secured.holds:
            self._give(b"")
        return sent

    async def finish(self, last: bytes | bytearray) -> None:
        """Send the last bytes there will be, a close frame; what is given to send later is dropped."""
        self._give(last)
        self._finished = True
        await self._flush()

    def _give(self, data: bytes | bytearray | memoryview) -> None:
        self.pending.append(data)
        self._given += 1

    async def _flush(self) -> None:
        mine = self._given
        while self._writing:
            await self._written.park()
        self._writing = True
        try:
            while self.pending:
                count = len(self.pending)
                data = self.pending[0] if count == 1 else b"".join(self.pending)
                self.pending.clear()
                if self._torn:
                    break
                self._torn = True
                sent = 0 if self._send_now is None else self._send_now(data)
                if sent < len(data) or (self._secured is not None and self._secured.holds):
                    await self._send(memoryview(data)[sent:])
                self._torn = False
                self._sent += count
        except trio.BrokenResourceError as error:
            self._end.note_broken(error)
            raise
        finally:
            self._writing = False
            if self._written:
                self._written.unpark_all()
        if self._sent < mine:  # another wrote it along with its own, or was to, and failed
            raise trio.BrokenResourceError("an earlier write was cut short")

    async def _send(self, rest: memoryview) -> None:
        while True:
            with trio.move_on_after(_STALLED_AFTER) as scope:
                await self._stream.send_all(rest[:_PIECE])
            if scope.cancelled_caught:
                self._end.note(DisconnectReason.WRITE_STALLED, f"for {_STALLED_AFTER:g} s")
                raise trio.BrokenResourceError("the peer takes no more")
            rest = rest[_PIECE:]
            if not rest:
                break
