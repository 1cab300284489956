"""What a decoder has learned changes nothing but the time it takes."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feishu_trio.errors import FrameError
from feishu_trio.wire import CONTROL, DATA, Frame, decode_frame, encode_frame
from feishu_trio.wire import _shapes as shapes
from feishu_trio.wire._shapes import FrameDecoder

from .strategies import broken, length_delimited, odd

USUAL = {"type": "event", "message_id": "om_1", "sum": "1", "seq": "0", "trace_id": "t" * 32}


def frame(headers: dict[str, str] = USUAL, payload: bytes | None = b'{"a":1}', method: int = DATA) -> bytes:
    return encode_frame(
        seq_id=300, log_id=2**64 - 1, service=7, method=method, headers=list(headers.items()), payload=payload
    )


def taught(*frames: bytes, times: int = shapes._REPEATED) -> FrameDecoder:
    decoder = FrameDecoder()
    for data in frames:
        for _ in range(times):
            decoder.decode(data)
    return decoder


def outcome(decode: object, data: bytes) -> Frame | str:
    try:
        return decode(data)  # type: ignore[operator, no-any-return]
    except FrameError as error:
        return str(error)


LONG = frame(payload=b"x" * 300)
TEXTS = length_delimited(6, b"B") + length_delimited(7, b"json")
FULL = (
    frame(USUAL | {"seq": "10"}, None)
    + TEXTS
    + length_delimited(8, b'{"a":1}')
    + length_delimited(9, b"20251124")
)
LEARNED = taught(frame(), FULL)
assert len(LEARNED._patterns) == 2


def test_a_shape_is_learned_and_then_read_by_its_pattern(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = taught(frame())
    others = [
        frame(USUAL | {"message_id": "om_2", "trace_id": "0123456789" * 3 + "ab"}, payload)
        for payload in (b"", b"x", b"x" * 127, b"x" * 128, b"x" * 70_000)
    ]
    expected = [decode_frame(data) for data in others]
    monkeypatch.delattr(shapes, "decode_frame")  # whoever asks it fails
    assert [decoder.decode(data) for data in others] == expected


def test_texts_before_the_payload_and_a_log_id_behind_it_are_learned_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoder = taught(FULL)
    expected = decode_frame(FULL)
    assert expected.rest == FULL.replace(length_delimited(8, b'{"a":1}'), b"")
    monkeypatch.delattr(shapes, "decode_frame")
    assert decoder.decode(FULL) == expected


def mutated(data: bytes) -> st.SearchStrategy[bytes]:
    """With some bytes changed, left out or put in, or cut off."""
    at = st.integers(0, len(data))
    piece = st.binary(max_size=4)
    return st.tuples(at, st.integers(0, 4), piece).map(
        lambda cut: data[: cut[0]] + cut[2] + data[cut[0] + cut[1] :]
    ) | at.map(lambda end: data[:end])


VALUES = st.fixed_dictionaries({key: st.text(max_size=len(value) + 1) for key, value in USUAL.items()})


@given(
    st.one_of(
        mutated(frame()),
        mutated(LONG),
        mutated(FULL),
        st.builds(frame, VALUES, st.binary(max_size=300)),
        st.builds(frame, VALUES.map(lambda values: USUAL | {"message_id": values["message_id"]})),
        odd(),
        broken(),
        st.binary(max_size=60),
    )
)
@settings(max_examples=2000)
def test_what_it_returns_and_raises_is_the_same(data: bytes) -> None:
    assert outcome(LEARNED.decode, data) == outcome(decode_frame, data)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(frame(method=CONTROL), id="no event"),
        pytest.param(frame(payload=None), id="no payload"),
        pytest.param(frame(USUAL | {"trace_id": "ü"}), id="not ASCII"),
        pytest.param(frame({"ä": "1"}), id="a key that is not ASCII"),
        pytest.param(frame(USUAL | {"trace_id": "t" * 200}), id="a long value"),
        pytest.param(frame(USUAL | {"trace_id": "t" * 5_000}), id="headers beyond what is looked at"),
        pytest.param(frame(payload=None) + b"\x50\x01\x42\x07" + b'{"a":1}', id="a field nobody knows"),
    ],
)
def test_what_no_pattern_is_for_is_read_all_the_same(data: bytes) -> None:
    decoder = taught(data, times=3 * shapes._REPEATED)
    assert decoder._patterns == []
    assert decoder.decode(data) == decode_frame(data)


def test_four_shapes_are_learned_at_the_most() -> None:
    frames = [frame(USUAL | {"trace_id": "t" * length}) for length in range(1, 8)]
    decoder = taught(*frames)
    assert len(decoder._patterns) == 4
    assert [decoder.decode(data) for data in frames] == [decode_frame(data) for data in frames]


def test_a_server_whose_headers_are_ever_different_costs_no_memory() -> None:
    decoder = FrameDecoder()
    for number in range(3 * shapes._LESSONS):
        decoder.decode(frame({f"key{number}": "v" * 100, "type": "event"}))
        assert sys.getsizeof(decoder._seen) < 100_000
    assert (decoder._seen, decoder._patterns) == ({}, [])
