"""Frames for Hypothesis, put together from bytes: as encoders write them, odd, and broken."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

UINT64 = st.one_of(st.integers(0, 300), st.integers(0, 2**64 - 1), st.just(2**64 - 1))
INT32 = st.one_of(st.integers(0, 300), st.integers(-(2**31), 2**31 - 1))
KEYS = st.one_of(st.sampled_from(["type", "message_id", "sum", "seq", "biz_rt", ""]), st.text(max_size=200))
VALUES = st.text(max_size=200)
PAYLOADS = st.one_of(st.none(), st.binary(max_size=300))

# arguments of encode_frame
ARGUMENTS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "seq_id": UINT64,
        "log_id": UINT64,
        "service": INT32,
        "method": INT32,
        "headers": st.lists(st.tuples(KEYS, VALUES), max_size=9),
        "payload": PAYLOADS,
    }
)


def varint(value: int, padding: int = 0) -> bytes:
    """Any value, any size: more than readers allow, too."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    if not padding:
        return bytes([*out, value])
    return bytes([*out, value | 0x80, *[0x80] * (padding - 1), 0])


def length_delimited(number: int, value: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(value)) + value


NUMBERS = st.one_of(st.integers(1, 9), st.integers(1, 20), st.integers(0, 2**29 - 1))
PADDING = st.one_of(st.just(0), st.just(0), st.integers(0, 11))
TEXT_BYTES = st.one_of(st.text(max_size=20).map(str.encode), st.binary(max_size=20))
KEY_BYTES = st.one_of(st.sampled_from([b"type", b"sum", b"seq"]), TEXT_BYTES)


@st.composite
def numbers(draw: st.DrawFn) -> bytes:
    tag = varint(draw(NUMBERS) << 3, draw(PADDING))
    value = draw(st.one_of(UINT64, st.integers(0, 2**70 - 1)))
    return tag + varint(value, draw(PADDING))


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    value = draw(TEXT_BYTES)
    tag = varint(draw(NUMBERS) << 3 | 2, draw(PADDING))
    return tag + varint(len(value), draw(PADDING)) + value


@st.composite
def fixed(draw: st.DrawFn) -> bytes:
    if draw(st.booleans()):
        return varint(draw(NUMBERS) << 3 | 1) + draw(st.binary(min_size=8, max_size=8))
    return varint(draw(NUMBERS) << 3 | 5) + draw(st.binary(min_size=4, max_size=4))


@st.composite
def groups(draw: st.DrawFn, inside: st.SearchStrategy[bytes]) -> bytes:
    number = draw(NUMBERS)
    body = b"".join(draw(st.lists(inside, max_size=3)))
    return varint(number << 3 | 3) + body + varint(number << 3 | 4)


STRAY = st.one_of(numbers(), texts(), fixed())
ANY_FIELD = st.recursive(STRAY, groups, max_leaves=5)


@st.composite
def headers(draw: st.DrawFn) -> bytes:
    fields = [length_delimited(1, draw(KEY_BYTES)), length_delimited(2, draw(TEXT_BYTES))]
    if draw(st.integers(0, 3)) == 0:
        fields += draw(st.lists(ANY_FIELD, max_size=2))
        fields = draw(st.permutations(fields))
    return length_delimited(5, b"".join(fields))


REQUIRED = st.tuples(UINT64, UINT64, INT32, INT32).map(
    lambda four: [varint(number << 3) + varint(value % 2**64) for number, value in enumerate(four, 1)]
)
PAYLOAD_FIELD = st.binary(max_size=50).map(lambda value: length_delimited(8, value))


@st.composite
def odd(draw: st.DrawFn) -> bytes:
    """Mostly frames: fields in any order, repeated, unknown, padded, of other wire types, groups."""
    fields = draw(REQUIRED) + draw(st.lists(st.one_of(headers(), PAYLOAD_FIELD, ANY_FIELD), max_size=6))
    if draw(st.booleans()):
        fields = draw(st.permutations(fields))
    return b"".join(fields)


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    """Mostly no frames: cut off, flipped, with bytes put in; or anything at all."""
    data = bytearray(draw(odd()))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["cut", "flip", "insert", "delete"])):
            case "cut":
                del data[at:]
            case "flip" if at < len(data):
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=4))
            case _:
                del data[at : at + 1]
    return bytes(data)
