"""Frames to bytes: pings, whole frames, and answers spliced from the frame they answer."""

from __future__ import annotations

import functools
from binascii import b2a_base64
from collections.abc import Iterable, Mapping
from typing import Final

from ..errors import FrameError
from ._frame import CONTROL, Frame
from ._tags import HEADERS, KEY, LOG_ID, METHOD, PAYLOAD, SEQ_ID, SERVICE, VALUE
from ._varint import varint

OK: Final = b'{"code":200}'
"""The payload of an answer: handled, with nothing to return."""

FAILED: Final = b'{"code":500}'
"""The payload of an answer: handling failed; the platform delivers an event again."""


def ok_with(result_json: bytes) -> bytes:
    """The payload of an answer that returns something: `{"code":200,"data":"<base64 of result_json>"}`."""
    return b'{"code":200,"data":"' + b2a_base64(result_json, newline=False) + b'"}'


def encode_frame(
    *,
    seq_id: int = 0,
    log_id: int = 0,
    service: int = 0,
    method: int = CONTROL,
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    payload: bytes | None = None,
) -> bytes:
    """A frame's bytes. Fields 1 to 4 are required (proto2), so they are always written, zero or not.

    `payload` None leaves the field out; `b""` writes it empty. `headers` keep their order and repetitions.
    Raises `FrameError` for a number that does not fit its field (uint64, uint64, int32, int32).
    """
    _check("seq_id", seq_id, 0, 2**64 - 1)
    _check("log_id", log_id, 0, 2**64 - 1)
    _check("service", service, -(2**31), 2**31 - 1)
    _check("method", method, -(2**31), 2**31 - 1)
    numbers = (
        (SEQ_ID, seq_id),
        (LOG_ID, log_id),
        (SERVICE, service % 2**64),  # protobuf widens a negative int32 to 64 bits
        (METHOD, method % 2**64),
    )
    parts = [b"%c%b" % (tag, varint(number)) for tag, number in numbers]
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    parts += [_header(key, value) for key, value in pairs]
    if payload is not None:
        parts.append(encode_field(PAYLOAD, payload))
    return b"".join(parts)


def encode_ping(service_id: int) -> bytes:
    """The ping of a connection: a control frame, with the `service_id` of its URL (an int32)."""
    return encode_frame(service=service_id, headers=[("type", "ping")])


def encode_answer(frame: Frame, payload: bytes, biz_rt: int | None = None) -> bytes:
    """The answer to `frame`: its own bytes, with `payload` in the place of its payload.

    Nothing is encoded again: in protobuf the order of fields does not matter and repeated fields append, so
    all headers and all unknown fields are kept. `biz_rt`, the milliseconds that the business code needed, is
    added as a header unless None.
    """
    return complete_answer(frame.rest, payload, biz_rt)


def complete_answer(rest: bytes, payload: bytes, biz_rt: int | None = None) -> bytes:
    """The same, from `Frame.rest` alone, so that whoever answers need not keep the frame and with it the payload."""
    return rest + (_short_ending if len(payload) <= len(OK) else _ending)(payload, biz_rt)


def _ending(payload: bytes, biz_rt: int | None) -> bytes:
    """What an answer adds to the bytes of its frame."""
    if biz_rt is None:
        return encode_field(PAYLOAD, payload)
    return _header("biz_rt", str(biz_rt)) + encode_field(PAYLOAD, payload)


# Most answers return nothing and follow quickly, so few endings differ.
_short_ending: Final = functools.lru_cache(maxsize=64)(_ending)


def _header(key: str, value: str) -> bytes:
    return encode_field(HEADERS, encode_field(KEY, key.encode()) + encode_field(VALUE, value.encode()))


def encode_field(tag: int, value: bytes) -> bytes:
    """A field that is a tag (below 0x80), a length and as many bytes."""
    return b"%c%b%b" % (tag, varint(len(value)), value)


def _check(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise FrameError(f"{name} is {value}; allowed is {low} to {high}")
