"""What a received message is: an event, a pong, JSON, broken, or of no interest."""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

from .._quiet import QuietStruct
from ..errors import FrameError
from ._assembler import Assembler
from ._frame import CONTROL, DATA, Frame
from ._shapes import FrameDecoder

_MAX_KIND: Final = 40  # characters of a type that nobody knows


class Pong(QuietStruct, gc=False):
    """The server answered a ping."""

    payload: bytes
    """A `ClientConfig` in JSON, or empty."""


class JsonMessage(QuietStruct, gc=False):
    """A message that is no frame, but begins as a JSON object does."""

    text: bytes


class BadFrame(QuietStruct):
    """A message that is no frame, or a part of a split message whose headers cannot be true."""

    error: FrameError


class Ignored(QuietStruct, gc=False):
    """A frame that carries nothing for this client."""

    kind: str
    """The start of its header `type`; "" without one."""


Received: TypeAlias = Frame | Pong | JsonMessage | BadFrame | Ignored
"""What `Receiver.receive` returns; a `Frame` is an event or callback, with its whole payload."""


class Receiver:
    """Reads the binary WebSocket messages of one connection.

        match receiver.receive(message, now):
            case Frame() as frame: ...      # an event or a callback, whole; answer it with encode_answer
            case Pong(payload): ...
            case JsonMessage(text): ...
            case BadFrame(error): ...
            case Ignored(kind): ...

    `max_assembled` bounds the bytes of unfinished split messages, and of each message put together of parts.
    """

    def __init__(self, *, max_assembled: int) -> None:
        self._decode = FrameDecoder().decode
        self._assembler = Assembler(max_bytes=max_assembled)

    def receive(self, message: bytes, now: float) -> Received | None:
        """What this message is; None for a part of a split message that is not complete yet. Never raises.

        The frame returned for a split message is that of the part that came last, with the whole payload. A
        `card`, the old form of a card's callback, is an event if its payload is that of a
        `card.action.trigger`. `now` is a monotonic time in seconds.
        """
        try:
            frame = self._decode(message)
        except FrameError as error:
            return JsonMessage(message) if message.lstrip().startswith(b"{") else BadFrame(error)
        kind = frame.headers.get("type", "")
        if frame.method == DATA and (kind == "event" or kind == "card"):
            try:
                payload = self._assembler.add(frame, now)
            except FrameError as error:
                return BadFrame(error)
            if payload is None:
                return None
            frame.payload = payload
            if kind == "event" or _is_card_action(payload):
                return frame
        elif frame.method == CONTROL and kind == "pong":
            return Pong(frame.payload)
        return Ignored(kind[:_MAX_KIND])


class _Header(msgspec.Struct, gc=False):
    event_type: str


class _Envelope(msgspec.Struct, gc=False):
    header: _Header


_decode_envelope: Final = msgspec.json.Decoder(_Envelope).decode


def _is_card_action(payload: bytes) -> bool:
    try:
        return _decode_envelope(payload).header.event_type == "card.action.trigger"
    except (msgspec.MsgspecError, ValueError, RecursionError):  # no JSON, bad UTF-8, too deep
        return False
