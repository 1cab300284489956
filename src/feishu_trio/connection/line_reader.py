"""Reading from the stream under the WebSocket: whole binary messages are taken out, the rest is left."""

from __future__ import annotations

from typing import Final, Literal

import h11
import trio

from ..wire import MessageSplitter
from .ending import DisconnectReason, StreamEnd

__all__ = ["LineReader"]

# Bytes left for `receive_some` from which on nothing more should be received.
_CLOGGED: Final = 65536


class LineReader:
    """Once hands have been shaken, `receive_messages` is what reads. It takes whole binary messages out of the
    bytes; all others wait for `receive_some`, with which trio-websocket reads.
    """

    def __init__(self, stream: trio.abc.Stream, end: StreamEnd, max_message_size: int) -> None:
        self.has_agreed = False
        """Whether the server agreed to speak WebSocket: from there on what comes is frames."""
        self.refusal: h11.Response | None = None
        """What it answered instead, if it did not."""
        self.is_clogged = False
        """Whether `receive_some` must keep up before more should be received."""
        self._stream = stream
        self._end = end
        self._splitter = MessageSplitter(max_message_size)
        self._handshake: _Handshake | None = _Handshake()  # None once that is over
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
        if not self.has_agreed:
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
        """Receive the head of the response, whole, or what comes instead of one.

        That is left to trio-websocket to judge, but where frames begin must be known here, from the first byte on.
        """
        handshake = self._handshake
        assert handshake is not None
        while True:
            try:
                data = await self._stream.receive_some(max_bytes)
            except trio.BrokenResourceError as error:
                self._end.note_broken(error)
                raise
            if not data:
                self._end.note(DisconnectReason.END_OF_FILE, "")
                return data
            head = handshake.feed(bytes(data))
            self.refusal = handshake.refusal
            if handshake.frames is not None:
                self.has_agreed = True
                self._early = handshake.frames
                self._handshake = None
            if head:
                return head


class _Handshake:
    """Finds the end of the handshake with h11, by which trio-websocket finds it as well. No I/O."""

    def __init__(self) -> None:
        self.refusal: h11.Response | None = None
        self.frames: bytes | None = None
        """What came behind a response that agrees, once that is there."""
        self._head = b""  # the bytes since the last interim response
        self._is_through = False
        # An upgrade must have been asked for, or none is agreed to.
        self._http = h11.Connection(h11.CLIENT)
        asked = [("Host", ""), ("Upgrade", "websocket"), ("Connection", "Upgrade")]
        self._http.send(h11.Request(method="GET", target="/", headers=asked))

    def feed(self, data: bytes) -> bytes:
        """What trio-websocket is to get, now that this was received: no part of a head, and no interim response.

        It takes 100 and 103 for refusals.
        """
        if self._is_through:
            return data
        self._head += data
        self._http.receive_data(data)
        while not self._is_through:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError:
                self._is_through = True  # which trio-websocket will find out as well
                break
            if event is h11.NEED_DATA:
                return b""
            rest = self._http.trailing_data[0]
            if isinstance(event, h11.InformationalResponse) and event.status_code != 101:
                self._head = rest
                continue
            self._is_through = True
            if isinstance(event, h11.Response):
                self.refusal = event
            else:
                self.frames = rest
                self._head = self._head[: len(self._head) - len(rest)]
        head, self._head = self._head, b""
        return head
