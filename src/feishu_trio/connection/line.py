"""The stream under the WebSocket: it takes whole messages out of what is received, and remembers its end."""

from __future__ import annotations

import enum
import re
import ssl
from collections.abc import Callable
from typing import Final, Literal

import trio

from ..wire import MessageSplitter
from .tcp import TCPStream

__all__ = ["DisconnectReason", "Line"]

# Bytes that must be on their way within so many seconds, or the line counts as stalled.
_PIECE: Final = 65536
_STALLED_AFTER: Final = 10.0
# A response that agrees to speak WebSocket.
_AGREED: Final = re.compile(rb"HTTP/1\.[01] 101[ \r]")


class DisconnectReason(enum.StrEnum):
    """Why a connection ended."""

    CLOSED_BY_SERVER = "closed by server"
    """A WebSocket close frame came."""
    END_OF_FILE = "end of file"
    """The TCP connection ended without a close frame."""
    RESET = "reset"
    """The TCP connection broke."""
    TLS_ERROR = "TLS error"
    """What came was no valid TLS."""
    PROTOCOL_ERROR = "protocol error"
    """What came was no valid WebSocket."""
    NO_PONG = "no pong"
    """The server was silent, and answered no probe either."""
    WRITE_STALLED = "write stalled"
    """The server took no more bytes."""
    REPLACED = "replaced"
    """Another connection took its place, as `Session.reconnect` asked."""
    SESSION_CLOSED = "session closed"
    """The session was closed."""


class Line(trio.abc.Stream):
    """Wraps the stream that the WebSocket is spoken over.

    Reading: once hands have been shaken, `receive_messages` is what reads. It takes whole binary messages out
    of the bytes; all others wait for `receive_some`, with which trio-websocket reads.

    Writing: several tasks may write. Bytes leave in the order they were given, in as few pieces as may be,
    and each write returns once its own have left.
    """

    def __init__(self, stream: trio.abc.Stream, max_message_size: int) -> None:
        self.fault: tuple[DisconnectReason, str] | None = None
        """How the stream came to its end, if it did."""
        self.on_fault: Callable[[], object] | None = None
        self.said: bytes | None = b""
        """How what was received begins, while somebody may want to know; None from then on."""
        self._stream = stream
        self._send_now = stream.send_now if isinstance(stream, TCPStream) else None
        self._splitter = MessageSplitter(max_message_size)
        self._is_split = False
        self._early = b""  # what came in one piece with the handshake's response
        self._others = bytearray()  # what trio-websocket has not read yet
        self._others_changed = trio.lowlevel.ParkingLot()
        self._end: trio.BrokenResourceError | Literal[b""] | None = None
        self._pending: list[bytes | bytearray | memoryview] = []
        self._given = 0  # pieces to send, and
        self._gone = 0  # how many of them have been sent
        self._writing = False
        self._torn = False
        self._finished = False
        self._written = trio.lowlevel.ParkingLot()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send; but nothing is sent after the last bytes (`finish`).

        Raises `trio.BrokenResourceError` if the line is broken, or was stalled; cancelling this breaks it.
        """
        if not self._finished:
            self._give(data)
        await self._flush()

    def send_now(self, data: bytes) -> int:
        """Send what the line takes at once, and return how many bytes: none if it is not free, or cannot tell.

        If it is less than all, `send_all` must follow, be it with no bytes: it sends the rest first.
        """
        if self._send_now is None or self._writing or self._pending or self._torn or self._finished:
            return 0
        try:
            sent = self._send_now(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return 0  # the next to send, or to receive, finds out how
        if 0 < sent < len(data):
            self._give(memoryview(data)[sent:])
        return sent

    async def finish(self, last: bytes | bytearray) -> None:
        """Send the last bytes there will be, a close frame; what is given to send later is dropped."""
        self._give(last)
        self._finished = True
        await self._flush()

    def _give(self, data: bytes | bytearray | memoryview) -> None:
        self._pending.append(data)
        self._given += 1

    async def _flush(self) -> None:
        mine = self._given
        while self._writing:
            await self._written.park()
        self._writing = True
        try:
            while self._pending:
                count = len(self._pending)
                data = self._pending[0] if count == 1 else b"".join(self._pending)
                self._pending.clear()
                if self._torn:
                    break
                self._torn = True
                sent = 0 if self._send_now is None else self._send_now(data)
                if sent < len(data):
                    await self._send(memoryview(data)[sent:])
                self._torn = False
                self._gone += count
        except trio.BrokenResourceError as error:
            self._note_broken(error)
            raise
        finally:
            self._writing = False
            if self._written:
                self._written.unpark_all()
        if self._gone < mine:  # another wrote it along with its own, or was to, and failed
            raise trio.BrokenResourceError("an earlier write was cut short")

    async def _send(self, rest: memoryview) -> None:
        while rest:
            with trio.move_on_after(_STALLED_AFTER) as scope:
                await self._stream.send_all(rest[:_PIECE])
            if scope.cancelled_caught:
                self._note(DisconnectReason.WRITE_STALLED, f"for {_STALLED_AFTER:g} s")
                raise trio.BrokenResourceError("the line takes no more")
            rest = rest[_PIECE:]

    async def wait_send_all_might_not_block(self) -> None:
        """As the wrapped stream does."""
        await self._stream.wait_send_all_might_not_block()

    @property
    def is_clogged(self) -> bool:
        """Whether `receive_some` must keep up before more should be received."""
        return len(self._others) > _PIECE

    async def wait_unclogged(self) -> None:
        """Wait until `receive_some` has kept up."""
        while self.is_clogged:
            await self._others_changed.park()

    async def receive_messages(self, max_bytes: int) -> list[bytes] | None:
        """Receive, and take out the messages that are whole and binary; None at the end of the line."""
        if self._early:
            data: bytes | bytearray = self._early
            self._early = b""
        else:
            try:
                data = await self._stream.receive_some(max_bytes)
            except trio.BrokenResourceError as error:
                self._note_broken(error)
                self._end = error
                data = b""
            if not data:
                self._note(DisconnectReason.END_OF_FILE, "")
                self._end = self._end or b""
                self._others_changed.unpark_all()
                return None
        messages, others = self._splitter.feed(data)
        if others:
            self._others += others
            self._others_changed.unpark_all()
        return messages

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive what is not for `receive_messages`: the handshake, and then what that has left."""
        if not self._is_split:
            return await self._receive_handshake(max_bytes)
        while not self._others:
            if self._end is not None:
                if isinstance(self._end, trio.BrokenResourceError):
                    raise self._end
                return self._end
            await self._others_changed.park()
        others = bytes(self._others)
        self._others.clear()
        self._others_changed.unpark_all()
        return others

    async def _receive_handshake(self, max_bytes: int | None) -> bytes | bytearray:
        try:
            data = await self._stream.receive_some(max_bytes)
        except trio.BrokenResourceError as error:
            self._note_broken(error)
            raise
        if not data:
            self._note(DisconnectReason.END_OF_FILE, "")
        if self.said is not None and len(self.said) < _PIECE:
            before = len(self.said)
            self.said += data
            head = self.said.find(b"\r\n\r\n")
            if head >= 0 and _AGREED.match(self.said):
                # Frames begin here, and their bounds must be known from the first byte on.
                self._is_split = True
                self._early = self.said[head + 4 :]
                data = self.said[before : head + 4]
        return data

    async def aclose(self) -> None:
        """Close the wrapped stream."""
        self._note(DisconnectReason.PROTOCOL_ERROR, "")
        await self._stream.aclose()

    def _note_broken(self, error: trio.BrokenResourceError) -> None:
        cause = error.__cause__
        tls = isinstance(cause, ssl.SSLError)
        self._note(DisconnectReason.TLS_ERROR if tls else DisconnectReason.RESET, str(cause or error))

    def _note(self, reason: DisconnectReason, detail: str) -> None:
        if self.fault is None:
            self.fault = reason, detail
            if self.on_fault is not None:
                self.on_fault()
