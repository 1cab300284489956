"""Events as the bytes that go over the wire: WebSocket frames as servers send them, protobuf written by hand.

A `Shape` is made once, with marks where the numbers go; a batch of events is the same bytes so many times
over, with the marks replaced. All events of a shape are of one size, so that sending some of a batch is slicing it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Final

import attrs

__all__ = [
    "FIRST_SEQ_ID",
    "LOG_ID",
    "SERVICE",
    "SHAPES",
    "Shape",
    "field",
    "message",
    "varint",
    "websocket_frame",
]

CHATS: Final = 100
"""Events go round so many chats, in turn."""

FIRST_SEQ_ID: Final = 1 << 28
"""Event number n has the SeqID n more than this: from here up to 2**35 a varint has five bytes."""

LOG_ID: Final = 7250184630112
SERVICE: Final = 33554678

# No text of an event has these but where its number stands, and its chat's.
_NUMBER: Final = b"@@@@@@@@@@@@"
_CHAT: Final = b"####"
_SEQ_ID: Final = b"\x08" + b"~~~~~"

_VARINT, _LENGTH = 0, 2


def varint(value: int) -> bytes:
    """A number as protobuf writes it."""
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)


def field(number: int, value: int | str | bytes) -> bytes:
    """One protobuf field."""
    if isinstance(value, int):
        return varint(number << 3 | _VARINT) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | _LENGTH) + varint(len(value)) + value


def websocket_frame(opcode: int, payload: bytes) -> bytes:
    """A whole WebSocket message, not masked."""
    if len(payload) < 126:
        size = bytes([len(payload)])
    elif len(payload) < 65536:
        size = b"\x7e" + len(payload).to_bytes(2, "big")
    else:
        size = b"\x7f" + len(payload).to_bytes(8, "big")
    return bytes([0x80 | opcode]) + size + payload


@attrs.frozen
class Shape:
    """Events of one kind and size."""

    template: bytes = attrs.field(repr=False)
    """One event: a WebSocket message, or several if it is split, with marks for the numbers."""
    headers: dict[str, str]
    """The headers of the frame that is answered."""
    _numbers: list[int] = attrs.field(init=False, repr=False)
    _chats: list[int] = attrs.field(init=False, repr=False)
    _seq_ids: list[int] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        for name, mark in (("_numbers", _NUMBER), ("_chats", _CHAT), ("_seq_ids", _SEQ_ID)):
            found = [match.start() for match in re.finditer(re.escape(mark), self.template)]
            object.__setattr__(self, name, found)

    @property
    def size(self) -> int:
        """Bytes of one event, all told."""
        return len(self.template)

    def batch(self, numbers: range, chats: Sequence[int] | None = None) -> memoryview:
        """The events of these numbers, one behind the other, in these chats; if none are given, in all in turn."""
        data = bytearray(self.template * len(numbers))
        at = 0
        for number, its_chat in zip(numbers, chats or (number % CHATS for number in numbers), strict=True):
            digits, chat = b"%012x" % number, b"%04x" % its_chat
            seq_id = b"\x08" + varint(FIRST_SEQ_ID + number)
            for place in self._numbers:
                data[at + place : at + place + 12] = digits
            for place in self._chats:
                data[at + place : at + place + 4] = chat
            for place in self._seq_ids:
                data[at + place : at + place + 6] = seq_id
            at += len(self.template)
        return memoryview(data)


def _shape(text: str, *, parts: int = 1) -> Shape:
    payload = _payload(text)
    step = -(-len(payload) // parts)
    frames = []
    for part in range(parts):
        headers = {
            "type": "event",
            "message_id": "7d2c0f4e-6a1b-4c59-9f3e-" + _NUMBER.decode(),
            "sum": str(parts),
            "seq": str(part),
            "trace_id": "8f14e45fceea167a5a36" + _NUMBER.decode(),
            "timestamp": "1760000000000",
            "instance_id": "7250184630112",
        }
        pairs = b"".join(field(5, field(1, key) + field(2, value)) for key, value in headers.items())
        numbers = field(2, LOG_ID) + field(3, SERVICE) + field(4, 1)
        frame = _SEQ_ID + numbers + pairs + field(8, payload[part * step : (part + 1) * step])
        frames.append(websocket_frame(2, frame))
    return Shape(b"".join(frames), headers)


def message(number: int, size: int, chats: int) -> bytes:
    """The payload alone of an event, of so many bytes; they go round so many chats."""
    payload = _payload("x" * (size - len(_payload(""))))
    chat = b"%04x" % (number % chats)
    return payload.replace(_NUMBER, b"%012x" % number).replace(_CHAT, chat)


def _payload(text: str) -> bytes:
    """A message in a group, as the platform writes it."""
    number, chat = _NUMBER.decode(), _CHAT.decode()
    event = {
        "schema": "2.0",
        "header": {
            "event_id": "5e3702a84e847582be8d" + number,
            "event_type": "im.message.receive_v1",
            "create_time": "1760000000000",
            "token": "rvaYgkND1GOiu5MM0E1rncYC6PLtF7JV",
            "app_id": "cli_9f5343c580712544",
            "tenant_key": "2ca1d211f64f6438",
        },
        "event": {
            "sender": {
                "sender_id": {
                    "union_id": "on_8ed6aa67826108097d9ee143816345",
                    "user_id": "e33ggbyz",
                    "open_id": "ou_84aad35d084aa403a838cf73ee18467",
                },
                "sender_type": "user",
                "tenant_key": "736588c9260f175e",
            },
            "message": {
                "message_id": "om_5ce6d572455d36115" + number,
                "create_time": "1760000000000",
                "update_time": "1760000000000",
                "chat_id": "oc_5ce6d572455d361153b7cb51da13" + chat,
                "chat_type": "group",
                "message_type": "text",
                "content": json.dumps({"text": text}),
                "user_agent": "Mozilla/5.0",
            },
        },
    }
    return json.dumps(event, separators=(",", ":")).encode()


SHAPES: Final = {
    "1 kB": _shape("Good morning, could you have a look at the build of last night, please?"),
    "10 kB": _shape("The quick brown fox jumps over the lazy dog. " * 205),
    "10 kB in 3 parts": _shape("The quick brown fox jumps over the lazy dog. " * 205, parts=3),
}
