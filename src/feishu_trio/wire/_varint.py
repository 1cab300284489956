"""Protobuf's variable-length integers: seven bits a byte, the lowest first, the top bit says "more follows".

The limits are those of Google's readers.
"""

from __future__ import annotations

from typing import Final

from ..errors import FrameError

_MAX_BYTES: Final = 10
_64_BITS: Final = 2**64 - 1

_MAX_SHORT_BYTES: Final = 5
_MAX_TAG: Final = 2**32 - 1
_MAX_LENGTH: Final = 2**31 - 1

_SINGLE: Final = [bytes([value]) for value in range(0x80)]


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The unsigned 64-bit value that starts at byte `at`, and the place of the byte after it.

    Padding is allowed, up to ten bytes in all; bits beyond the 64th are lost.
    Raises `FrameError` for more than ten bytes, `IndexError` where the data ends too early.
    """
    value = shift = 0
    for byte in data[at : at + _MAX_BYTES]:
        if byte <= 0x7F:
            return (value | byte << shift) & _64_BITS, at + shift // 7 + 1
        value |= (byte & 0x7F) << shift
        shift += 7
    if at + _MAX_BYTES > len(data):
        raise IndexError(at)
    raise FrameError(f"no frame: the varint at byte {at} is longer than {_MAX_BYTES} bytes")


def read_tag(data: bytes, at: int) -> tuple[int, int]:
    """Like `read_varint`, for a tag: at most 2**32 - 1, in at most five bytes."""
    return _read_short(data, at, "tag", _MAX_TAG)


def read_length(data: bytes, at: int) -> tuple[int, int]:
    """Like `read_varint`, for a length: at most 2**31 - 1, in at most five bytes."""
    first = data[at]
    if first <= 0x7F:
        return first, at + 1
    second = data[at + 1]
    if second <= 0x7F:
        return first & 0x7F | second << 7, at + 2
    return _read_short(data, at, "length", _MAX_LENGTH)


def _read_short(data: bytes, at: int, what: str, most: int) -> tuple[int, int]:
    value, end = read_varint(data, at)
    if value > most or end - at > _MAX_SHORT_BYTES:
        raise FrameError(
            f"no frame: the {what} at byte {at} is {value} in {end - at} bytes; "
            f"allowed is {most} in {_MAX_SHORT_BYTES}"
        )
    return value, end


def varint(value: int) -> bytes:
    """`value` (0 to 2**64 - 1) in as few bytes as can be."""
    if value <= 0x7F:
        return _SINGLE[value]
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
