from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feishu_trio.errors import FrameError
from feishu_trio.wire import DATA, Frame, _pbbp2, decode_frame, encode_frame
from feishu_trio.wire._general import decode_general

from . import proto2
from .strategies import ARGUMENTS, REQUIRED, broken, length_delimited, odd, varint

MINIMAL = bytes([8, 0, 16, 0, 24, 0, 32, 0])


def read(data: bytes) -> Frame | None:
    """The frame, or None where it is refused. Any other exception fails the test."""
    try:
        return decode_frame(data)
    except FrameError:
        return None


def assert_read_as_google_reads(data: bytes) -> None:
    frame, truth = read(data), proto2.read(data)
    if truth is None:
        assert frame is None
        return
    assert frame is not None
    assert frame.seq_id == truth.SeqID
    assert frame.log_id == truth.LogID
    assert frame.service == truth.service
    assert frame.method == truth.method
    assert list(frame.headers.items()) == list(first_values(proto2.pairs(truth)).items())
    assert frame.payload == truth.payload
    assert frame.raw is data
    truth.ClearField("payload")
    assert proto2.read(frame.rest) == truth


def first_values(pairs: list[tuple[str, str]]) -> dict[str, str]:
    values: dict[str, str] = {}
    for key, value in pairs:
        values.setdefault(key, value)
    return values


@given(ARGUMENTS)
def test_frames_of_the_usual_shape(arguments: dict[str, Any]) -> None:
    data = encode_frame(**arguments)
    assert_read_as_google_reads(data)
    frame = decode_frame(data)
    assert {name: getattr(frame, name) for name in arguments} == arguments | {
        "headers": first_values(arguments["headers"]),
        "payload": arguments["payload"] or b"",
    }


@given(odd())
@settings(max_examples=500)
def test_odd_frames(data: bytes) -> None:
    assert_read_as_google_reads(data)


@given(broken() | st.binary(max_size=60))
@settings(max_examples=500)
def test_broken_frames(data: bytes) -> None:
    assert_read_as_google_reads(data)


@given(odd() | broken())
@settings(max_examples=300)
def test_the_common_way_and_the_general_way_are_one(data: bytes) -> None:
    frame = read(data)
    if frame is None:
        with pytest.raises(FrameError):
            decode_general(data)
        return
    general = decode_general(data)
    assert frame == general


# What betterproto itself reads rightly: known fields of their own wire type, texts in UTF-8, and unknown
# fields that are no groups. It reads groups as their contents and a value of any wire type as the right one,
# keeps bits beyond the 64th, and reads what is cut off as if it were whole.
PLAIN_HEADERS = st.tuples(st.text(max_size=20), st.text(max_size=20)).map(
    lambda pair: length_delimited(
        5, length_delimited(1, pair[0].encode()) + length_delimited(2, pair[1].encode())
    )
)
UNKNOWN = st.integers(10, 5000).flatmap(
    lambda number: st.one_of(
        st.binary(max_size=20).map(lambda value: length_delimited(number, value)),
        st.integers(0, 2**64 - 1).map(lambda value: varint(number << 3) + varint(value)),
    )
)
PLAIN = (
    st.tuples(
        REQUIRED,
        REQUIRED,
        st.lists(PLAIN_HEADERS | UNKNOWN | st.binary(max_size=20).map(lambda v: length_delimited(8, v))),
    )
    .flatmap(lambda parts: st.permutations([*parts[0], *parts[1], *parts[2]]))
    .map(b"".join)
)


@given(PLAIN)
def test_plain_frames_are_read_as_betterproto_reads_them(data: bytes) -> None:
    frame, truth = decode_frame(data), _pbbp2.Frame.FromString(data)
    assert (frame.seq_id, frame.log_id, frame.service, frame.method) == (
        truth.seq_id,
        truth.log_id,
        truth.service,
        truth.method,
    )
    assert frame.headers == first_values([(header.key or "", header.value or "") for header in truth.headers])
    assert frame.payload == (truth.payload or b"")


# A header of 1280 bytes with a strange key. If its length were taken for a single byte, it would be a short
# header `message_id`, and the rest of it fields of the frame.
DISGUISED = length_delimited(
    5,
    length_delimited(1, b"essage_id\x12r".ljust(109))
    + length_delimited(2, b" " * 14)
    + length_delimited(6, b" " * 127) * 8
    + length_delimited(6, b" " * 119),
)
assert DISGUISED[:5] == b"\x2a\x80\x0a\x0am"


@pytest.mark.parametrize(
    "field",
    [
        pytest.param(b"\x08" + b"\xff" * 9 + b"\x7f", id="bits beyond the 64th"),
        pytest.param(b"\x18" + b"\xff" * 9 + b"\x01", id="service -1"),
        pytest.param(b"\x18\xff\xff\xff\xff\x7f", id="service of 35 bits"),
        pytest.param(b"\x20\x81\x00", id="padded method"),
        pytest.param(b"\x88\x80\x80\x80\x00\x05", id="tag in five bytes"),
        pytest.param(b"\xf8\xff\xff\xff\x0f\x05", id="highest number"),
        pytest.param(b"\x42\x81\x80\x80\x80\x00x", id="length in five bytes"),
        pytest.param(b"\x0a\x01\x05", id="SeqID of another wire type"),
        pytest.param(b"\x0d\x01\x02\x03\x04", id="SeqID in 32 bits"),
        pytest.param(b"\x28\x05", id="headers that are a number"),
        pytest.param(b"\x43\x0a\x01a\x44", id="payload that is a group"),
        pytest.param(b"\x7b" * 100 + b"\x7c" * 100, id="groups 100 deep"),
        pytest.param(b"\x2a\x06\x0a\x01a\x12\x01\xff", id="value that is not UTF-8"),
        pytest.param(b"\x2a\x09\x0a\x01a\x12\x01b\x12\x01c", id="two values in one header"),
        pytest.param(b"\x2a\x06\x12\x01b\x0a\x01a", id="value before key"),
        pytest.param(b"\x2a\x0c\x0a\x04type\x12\x01b\x12\x01c", id="two values for a known key"),
        pytest.param(b"\x42\x00", id="empty payload"),
        pytest.param(b"\x42\x01a\x42\x01b", id="two payloads"),
        pytest.param(b"\x42\x01a\x42\x00", id="two payloads, the last one empty"),
        pytest.param(b"\x42\x00\x42\x01b", id="two payloads, the first one empty"),
        pytest.param(b"\x2a\xce\x01" + b"\x0a\x64" + b"k" * 100 + b"\x12\x64" + b"v" * 100, id="long header"),
        pytest.param(DISGUISED, id="header in disguise"),
        pytest.param(b"\x7b\x00\x05\x7c", id="number 0 in a group"),
        pytest.param(
            length_delimited(5, b"\x0a\x00\x12\x00" + b"\x7b" * 99 + b"\x7c" * 99), id="99 in a header"
        ),
    ],
)
def test_unusual_fields_at_the_end(field: bytes) -> None:
    assert_read_as_google_reads(MINIMAL + field)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"", "SeqID, LogID, service, method .required. not found in 0 bytes", id="empty"),
        pytest.param(MINIMAL[:6], "no frame: method .required.", id="no method"),
        pytest.param(MINIMAL[2:], "no frame: SeqID .required.", id="zero left out, as proto3 would"),
        pytest.param(b'{"type": "ping"}', "no frame: ", id="JSON"),
        pytest.param(
            MINIMAL + b"\x42\x05ab", "field that starts at byte 8 is cut off at byte 12", id="cut off"
        ),
        pytest.param(MINIMAL + b"\x42\xff\xff\xff\xff\x07", "byte 8 is cut off at byte 14", id="2 GiB"),
        pytest.param(
            MINIMAL + b"\x42\x80\x80\x80\x80\x08", "length at byte 9 is 2147483648", id="over 2 GiB"
        ),
        pytest.param(
            MINIMAL + b"\x42\x81\x80\x80\x80\x80\x00x", "length at byte 9 is 1 in 6 bytes", id="padded"
        ),
        pytest.param(
            MINIMAL + b"\x08" + b"\xff" * 10 + b"\x01", "varint at byte 9 is longer", id="long varint"
        ),
        pytest.param(MINIMAL + b"\x88\x80\x80\x80\x10\x05", "tag at byte 8 is 4294967304", id="long tag"),
        pytest.param(MINIMAL + b"\x00\x05", "field 0 of wire type 0 at byte 8", id="number 0"),
        pytest.param(MINIMAL + b"\x46", "field 8 of wire type 6 at byte 8", id="wire type 6"),
        pytest.param(MINIMAL + b"\x7b\x74", "byte 9 ends group 14, which is not open", id="other group"),
        pytest.param(MINIMAL + b"\x7b\x08\x01", "group 15 is still open at byte 11", id="open group"),
        pytest.param(MINIMAL + b"\x7b" * 101 + b"\x7c" * 101, "more than 100 deep at byte 108", id="deep"),
        pytest.param(
            MINIMAL + b"\x2a\x03\x12\x01b", r"key .required. not found in headers\[0\]", id="no key"
        ),
        pytest.param(
            MINIMAL + b"\x2a\x03\x0a\x01b", r"value .required. not found in headers\[0\]", id="no value"
        ),
        pytest.param(
            MINIMAL + b"\x2a\x06\x32\x01a\x12\x01b",
            r"key .required. not found in headers\[0\]",
            id="another field, and a value",
        ),
        pytest.param(
            MINIMAL + b"\x2a\x06\x0a\x01a\x32\x01b",
            r"value .required. not found in headers\[0\]",
            id="a key, and another field",
        ),
        pytest.param(
            MINIMAL + length_delimited(5, b"\x0a\x00\x12\x00" + b"\x7b" * 100 + b"\x7c" * 100),
            "more than 99 deep at byte 114",
            id="deep in a header",
        ),
        pytest.param(
            MINIMAL + b"\x2a\x05\x0a\x01a\x12\x05", "byte 13 is cut off at byte 15", id="in a header"
        ),
    ],
)
def test_what_is_no_frame_is_refused_with_where_and_why(data: bytes, message: str) -> None:
    assert proto2.read(data) is None
    with pytest.raises(FrameError, match=message):
        decode_frame(data)


def test_a_header_that_is_not_utf8_does_not_cost_the_event() -> None:
    data = MINIMAL + b"\x2a\x09\x0a\x04type\x12\x01\xff" + b"\x42\x02{}"
    frame = decode_frame(data)
    assert frame.headers == {"type": "�"}
    assert frame.payload == b"{}"


def test_of_a_repeated_header_the_first_value_wins() -> None:
    frame = decode_frame(encode_frame(headers=[("type", "event"), ("sum", "1"), ("type", "card")]))
    assert frame.headers == {"type": "event", "sum": "1"}


def test_the_repr_keeps_the_payload_to_itself() -> None:
    frame = decode_frame(encode_frame(method=DATA, payload=b'{"token": "secret"}'))
    assert "secret" not in repr(frame)
    assert frame.method == DATA


def test_what_encoders_write_is_read_without_betterproto() -> None:
    """betterproto takes longer to load than everything else together (and brings asyncio with it)."""
    program = """
import sys
import time
from feishu_trio.wire import decode_frame, encode_answer, encode_frame, encode_ping, OK
long = {"trace_id": "t" * 200, "x-new": "新", "type": "event"}
frame = decode_frame(
    encode_frame(seq_id=2**64 - 1, log_id=7 * 10**18, service=33554678, method=1, headers=long, payload=b"{}")
    + bytes([6 << 3 | 2, 4]) + b"gzip" + bytes([15 << 3 | 2, 1]) + b"?"
)
assert frame.headers == long
decode_frame(encode_answer(frame, OK, 12))
decode_frame(encode_ping(33554678))
sys.exit("betterproto" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def many(unit: bytes, size: int = 10 << 20) -> bytes:
    return unit * (size // len(unit))


UNKNOWN_FIELD = length_delimited(6, b"")
EMPTY_HEADER = length_delimited(5, length_delimited(1, b"") + length_delimited(2, b""))
KNOWN_HEADER = length_delimited(5, length_delimited(1, b"sum") + length_delimited(2, b"1"))


@pytest.mark.parametrize(
    "data",
    [
        MINIMAL + many(UNKNOWN_FIELD),
        MINIMAL + many(bytes([15 << 3, 1])),
        MINIMAL + many(EMPTY_HEADER),
        MINIMAL + many(KNOWN_HEADER),
        MINIMAL + many(length_delimited(8, b"")),
        MINIMAL + length_delimited(15, b"") + many(MINIMAL),
        MINIMAL + length_delimited(5, many(UNKNOWN_FIELD)),
        MINIMAL + bytes([9 << 3 | 3]) + many(bytes([15 << 3, 1])) + bytes([9 << 3 | 4]),
        MINIMAL + 300 * length_delimited(5, many(UNKNOWN_FIELD, 30_000)),
    ],
    ids=[
        "texts",
        "numbers",
        "headers",
        "known",
        "payloads",
        "required",
        "in a header",
        "in a group",
        "in headers",
    ],
)
def test_a_frame_of_very_many_fields_is_refused_before_they_are_read(data: bytes) -> None:
    before = time.process_time()
    with pytest.raises(FrameError, match=r"more than 1000 fields.* are allowed"):
        decode_frame(data)
    with pytest.raises(FrameError, match=r"more than 1000 fields.* are allowed"):
        decode_general(data)
    assert time.process_time() - before < 0.3


def test_both_decoders_allow_a_frame_as_many_fields() -> None:
    allowed = MINIMAL + UNKNOWN_FIELD * 996
    assert decode_frame(allowed) == decode_general(allowed)
    headers = MINIMAL + KNOWN_HEADER * 332
    assert decode_frame(headers) == decode_general(headers)
    for data in (allowed + UNKNOWN_FIELD, headers + KNOWN_HEADER):
        for decode in (decode_frame, decode_general):
            with pytest.raises(FrameError):
                decode(data)
