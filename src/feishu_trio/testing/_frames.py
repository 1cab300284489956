"""The gateway's side of the wire: event payloads, their parts, and the headers of raw frames."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Final

import attrs
import msgspec

from ._json import decoded_object

CALLBACKS: Final = frozenset({"card.action.trigger", "url.preview.get"})
"""Types that are callbacks: synchronous, never delivered again."""

SERVICE_ID: Final = 33554678
"""The `service_id` of every connection; an int32, as the platform gives it."""

TENANT_KEY: Final = "2ca1d211f64f6438"
_VERIFICATION_TOKEN: Final = "local-verification-token"
_HEADERS_FIELD: Final = 5


def random_id(random: Random, bits: int = 128) -> str:
    """A hexadecimal id of so many bits."""
    return f"{random.getrandbits(bits):0{bits // 4}x}"


def event_payload(schema: str, event_type: str, event_id: str, app_id: str, body: object) -> bytes:
    """The JSON of an event (protocol, section 4): schema "2.0" or "1.0".

    `body` is a mapping, or an event model. ValueError for another schema.
    """
    now = time.time()
    if schema == "2.0":
        header = {
            "event_id": event_id,
            "event_type": event_type,
            "create_time": str(int(now * 1000)),
            "token": _VERIFICATION_TOKEN,
            "app_id": app_id,
            "tenant_key": TENANT_KEY,
        }
        return msgspec.json.encode({"schema": "2.0", "header": header, "event": body})
    if schema == "1.0":
        fields = msgspec.to_builtins(body)
        event = {"app_id": app_id, "tenant_key": TENANT_KEY, **fields, "type": event_type}
        envelope = {
            "ts": f"{now:.7f}",
            "uuid": event_id,
            "token": _VERIFICATION_TOKEN,
            "type": "event_callback",
        }
        return msgspec.json.encode({**envelope, "event": event})
    raise ValueError(f"schema is {schema!r}; allowed is '2.0' or '1.0'")


def body_of(payload: bytes) -> object:
    """The body in an event's payload; None in what is none."""
    return (decoded_object(payload) or {}).get("event")


def split(
    payload: bytes, parts: int | Sequence[bytes] | None, max_part_size: int | None
) -> tuple[bytes, ...]:
    """The payload's parts: as given, or of equal size, or no larger than `max_part_size` bytes."""
    if parts is None:
        if max_part_size is None or len(payload) <= max_part_size:
            return (payload,)
        size = max_part_size
        return tuple(payload[i : i + size] for i in range(0, len(payload), size))
    if not isinstance(parts, int):
        return tuple(parts)
    if parts < 1:
        raise ValueError(f"parts is {parts}; allowed is 1 or more")
    size = -(-len(payload) // parts)
    return tuple(payload[i * size : (i + 1) * size] for i in range(parts))


@attrs.frozen
class Parcel:
    """How a payload is put into frames, the same way in each delivery."""

    parts: tuple[bytes, ...]
    order: Sequence[int]
    """The parts sent, in that order."""
    headers: Mapping[str, str | None]
    """Changes to the frames' headers; None removes one."""
    trace_id: str | None
    """None, as for the two below: a new one for each delivery."""
    seq_id: int | None
    log_id: int | None
    extra: bytes
    """Protobuf appended to every frame."""

    def new_headers(self, message_id: str, trace_id: str) -> dict[str, str]:
        """The headers of a delivery's first part."""
        headers = {
            "type": "event",
            "message_id": message_id,
            "trace_id": trace_id,
            "sum": str(len(self.parts)),
            "seq": "0",
            "timestamp": str(int(time.time() * 1000)),
            "instance_id": "gateway-0",
        }
        for key, value in self.headers.items():
            if value is None:
                headers.pop(key, None)
            else:
                headers[key] = value
        return headers

    @property
    def answerable(self) -> Sequence[int]:
        """The part that makes the message whole, and those sent after it; none if the message never is whole."""
        missing = set(range(len(self.parts)))
        for n, part in enumerate(self.order):
            missing.discard(part)
            if not missing:
                return self.order[n:]
        return ()


def header_pairs(raw: bytes) -> list[tuple[str, str]]:
    """The headers of a frame that `decode_frame` accepted, in order and with repetitions."""
    pairs = []
    for field, value in _fields(raw):
        if field == _HEADERS_FIELD and value is not None:
            inner = dict(_fields(value))
            pairs.append(((inner[1] or b"").decode(), (inner[2] or b"").decode()))
    return pairs


def _fields(data: bytes) -> Iterator[tuple[int, bytes | None]]:
    """Field numbers and, where they are bytes, values. Raises IndexError or ValueError for what is no message."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        match tag & 7:
            case 0:
                _, at = _varint(data, at)
                yield tag >> 3, None
            case 1:
                at += 8
            case 2:
                size, at = _varint(data, at)
                yield tag >> 3, data[at : at + size]
                at += size
            case 5:
                at += 4
            case kind:
                raise ValueError(f"wire type {kind} at byte {at}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
