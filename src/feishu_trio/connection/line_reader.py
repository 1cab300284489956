"""Reading from the stream under the WebSocket: whole binary messages are taken out, the rest is left."""

from __future__ import annotations

import re
from typing import Final, Literal

import trio

from ..wire import MessageSplitter
from .ending import DisconnectReason, StreamEnd

__all__ = ["LineReader"]

# Bytes left for `receive_some` from which on nothing more should be received; and of a response that are kept.
_CLOGGED: Final = 65536
# A response that agrees to speak WebSocket.
_AGREED: Final = re.compile(rb"HTTP/1\.[01] 101[ \r]")


class LineReader:
    """Once hands have been shaken, `receive_messages` is what reads. It takes whole binary messages out of the
    bytes; all others wait for `receive_some`, with which trio-websocket reads.
    """

    def __init__(self, stream: trio.abc.Stream, end: StreamEnd, max_message_size: int) -> None:
        self.opening: bytes | None = b""
        """How what was received begins, while somebody may want to know; None from then on."""
        self.is_clogged = False
        """Whether `receive_some` must keep up before more should be received."""
        self._stream = stream
        self._end = end
        self._splitter = MessageSplitter(max_message_size)
        self._is_split = False
        self._early = b""  # what came in one piece with the handshake's response
        self._others = bytearray()  # what trio-websocket has not read yet
        self._others_changed = trio.lowlevel.ParkingLot()
        self._last: trio.BrokenResourceError | Literal[b""] | None = None  # what the stream ended with

    async def wait_unclogged(self) -> None:
        """Wait until `receive_some` has kept up."""
        while self.is_clogged:
            await self._others_changed.park()

    async def receive_messages(self, max_bytes: int) -> list[bytes] | None:
        """Receive, and take out the messages that are whole and binary; None at the end of the stream."""
        if self._early:
            data: bytes | bytearray = self._early
            self._early = b""
        else:
            try:
                data = await self._stream.receive_some(max_bytes)
            except trio.BrokenResourceError as error:
                self._end.note_broken(error)
                self._last = error
                data = b""
            if not data:
                self._end.note(DisconnectReason.END_OF_FILE, "")
                self._last = self._last or b""
                self._others_changed.unpark_all()
                return None
        messages, others = self._splitter.feed(data)
        if others:
            self._others += others
            self.is_clogged = len(self._others) > _CLOGGED
            self._others_changed.unpark_all()
        return messages

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive what is not for `receive_messages`: the handshake, and then what that has left."""
        if not self._is_split:
            return await self._receive_handshake(max_bytes)
        while not self._others:
            if self._last is not None:
                if isinstance(self._last, trio.BrokenResourceError):
                    raise self._last
                return self._last
            await self._others_changed.park()
        others = bytes(self._others)
        self._others.clear()
        self.is_clogged = False
        self._others_changed.unpark_all()
        return others

    async def _receive_handshake(self, max_bytes: int | None) -> bytes | bytearray:
        try:
            data = await self._stream.receive_some(max_bytes)
        except trio.BrokenResourceError as error:
            self._end.note_broken(error)
            raise
        if not data:
            self._end.note(DisconnectReason.END_OF_FILE, "")
        if self.opening is not None and len(self.opening) < _CLOGGED:
            before = len(self.opening)
            self.opening += data
            head = self.opening.find(b"\r\n\r\n")
            if head >= 0 and _AGREED.match(self.opening):
                # Frames begin here, and their bounds must be known from the first byte on.
                self._is_split = True
                self._early = self.opening[head + 4 :]
                data = self.opening[before : head + 4]
        return data
