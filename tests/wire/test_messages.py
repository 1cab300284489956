from __future__ import annotations

from itertools import pairwise
from typing import Literal

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import BytesMessage, CloseConnection, Message, TextMessage
from wsproto.frame_protocol import FrameProtocol

from feishu_trio.wire import MessageSplitter, encode_messages

MAX_SIZE = 70_000


@attrs.frozen
class Part:
    """One message or control frame; `sizes` has several for one in fragments. Its bytes are its number."""

    kind: Literal["binary", "text", "ping", "pong"]
    sizes: tuple[int, ...]

    @property
    def is_quick(self) -> bool:
        return self.kind == "binary" and len(self.sizes) == 1


lengths = st.one_of(st.integers(0, 300), st.sampled_from([125, 126, 127, 65_535, 65_536, MAX_SIZE]))
whole = st.builds(Part, st.sampled_from(["binary", "binary", "text"]), st.tuples(lengths))
control = st.builds(Part, st.sampled_from(["ping", "pong"]), st.tuples(st.integers(0, 125)))
fragments = st.builds(
    Part,
    st.sampled_from(["binary", "text"]),
    st.lists(st.integers(0, 200), min_size=2, max_size=4).map(tuple),
)
streams = st.lists(st.one_of(whole, control, fragments), max_size=12)


def server_bytes(parts: list[tuple[int, Part]]) -> bytes:
    """What a server would send, by wsproto."""
    server = FrameProtocol(client=False, extensions=[])
    out = bytearray()
    for number, part in parts:
        mark = bytes([number])
        if part.kind == "ping":
            out += server.ping(mark * part.sizes[0])
        elif part.kind == "pong":
            out += server.pong(mark * part.sizes[0])
        else:
            for position, size in enumerate(part.sizes, 1):
                data = mark * size if part.kind == "binary" else chr(number) * size
                out += server.send_data(data, fin=position == len(part.sizes))
                if len(part.sizes) > 1:
                    out += server.ping(mark)
    return bytes(out)


def read_all(data: bytes) -> list[object]:
    """Every message and ping in the bytes, in order, by wsproto."""
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(data)
    found: list[object] = []
    gathered = b""
    for event in client.events():
        if isinstance(event, Message):
            gathered += event.data.encode() if isinstance(event.data, str) else event.data
            if event.message_finished:
                found.append((type(event), gathered))
                gathered = b""
        else:
            found.append(event)
    return found


@given(streams, st.data())
def test_splitter_and_wsproto_together_read_what_wsproto_reads_alone(
    parts: list[Part], data: st.DataObject
) -> None:
    numbered = list(enumerate(parts))
    stream = server_bytes(numbered)
    splitter = MessageSplitter(MAX_SIZE)
    separated: list[bytes] = []
    others = bytearray()
    at = 0
    while at < len(stream):
        step = data.draw(st.integers(1, min(len(stream) - at, 90_000)))
        messages, rest = splitter.feed(stream[at : at + step])
        separated += messages
        others += rest
        at += step
    # The splitter separates all that is whole, binary and not too long; the rest is left as it was.
    assert separated == [bytes([number]) * part.sizes[0] for number, part in numbered if part.is_quick]
    assert bytes(others) == server_bytes([(number, part) for number, part in numbered if not part.is_quick])
    assert len(read_all(stream)) == len(separated) + len(read_all(bytes(others)))


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=5))
def test_whatever_comes_in_is_accounted_for(noise: bytes, cuts: list[int]) -> None:
    splitter = MessageSplitter(MAX_SIZE)
    bounds = [0, *sorted(cut for cut in cuts if cut <= len(noise)), len(noise)]
    out = sum(
        len(rest) + sum(map(len, messages))
        for start, end in pairwise(bounds)
        for messages, rest in [splitter.feed(noise[start:end])]
    )
    assert out <= len(noise)


def test_a_masked_frame_is_left_to_the_full_implementation_for_good() -> None:
    splitter = MessageSplitter(MAX_SIZE)
    masked = encode_messages([b"a client's frame"])
    assert splitter.feed(b"\x82\x01a" + masked) == ([b"a"], masked)
    assert splitter.feed(b"\x82\x01b") == ([], b"\x82\x01b")


@pytest.mark.parametrize("first", [0x82, 0x81, 0x01, 0x02, 0x00], ids=hex)
@pytest.mark.parametrize("length", [MAX_SIZE + 1, 10_000_000, 1 << 60, 1 << 63, (1 << 64) - 1], ids=hex)
def test_a_frame_that_claims_to_be_too_long_is_refused_by_its_header(first: int, length: int) -> None:
    splitter = MessageSplitter(MAX_SIZE)
    header = b"\x82\x01a" + bytes([first, 127]) + length.to_bytes(8, "big")
    messages, others = splitter.feed(header)
    assert messages == [b"a"]
    (closed,) = read_all(others)
    assert isinstance(closed, CloseConnection)
    assert closed.code == 1009
    assert closed.reason == f"a frame of {length} bytes, where {MAX_SIZE} are allowed"
    assert splitter.feed(b"x" * 100 + b"\x82\x01b") == ([], b""), "where a frame begins is not known any more"


@pytest.mark.parametrize("first", [0x83, 0xC2, 0x89, 0x09])
def test_what_breaks_the_rules_besides_is_left_to_the_full_implementation(first: int) -> None:
    header = bytes([first, 127]) + (1 << 40).to_bytes(8, "big")
    assert MessageSplitter(MAX_SIZE).feed(header) == ([], header)


@given(
    st.one_of(st.binary(max_size=1000), st.text(max_size=300), st.binary(min_size=65_530, max_size=65_540))
)
def test_a_server_reads_what_encode_message_writes(payload: bytes | str) -> None:
    server = Connection(ConnectionType.SERVER)
    server.receive_data(encode_messages([payload]))
    events = list(server.events())
    joined = [event.data for event in events if isinstance(event, Message)]
    assert type(payload)().join(joined) == payload
    assert isinstance(events[-1], TextMessage if isinstance(payload, str) else BytesMessage)


def test_every_frame_has_a_key_of_its_own() -> None:
    size = len(encode_messages([b"the same"]))
    together = encode_messages([b"the same"] * 100)
    assert len({together[at + 2 : at + 6] for at in range(0, len(together), size)}) > 90
    assert len({encode_messages([b"the same"])[2:6] for _ in range(100)}) > 90
