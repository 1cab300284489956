from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feishu_trio.errors import FrameError
from feishu_trio.wire import (
    CONTROL,
    DATA,
    OK,
    BadFrame,
    Frame,
    Ignored,
    JsonMessage,
    Pong,
    Received,
    Receiver,
    decode_frame,
    encode_answer,
    encode_frame,
    encode_ping,
)

from .strategies import KEYS, VALUES, broken, odd, varint

CARD_ACTION = b'{"schema":"2.0","header":{"event_id":"e","event_type":"card.action.trigger"},"event":{}}'
OLD_CARD = b'{"open_id":"ou_1","action":{"tag":"button"},"token":"c-1"}'


def receive(message: bytes) -> Received | None:
    return Receiver(max_assembled=1 << 20).receive(message, 0.0)


def encode(method: int = DATA, payload: bytes | None = b"{}", **headers: str) -> bytes:
    return encode_frame(method=method, headers=headers, payload=payload)


def part(message_id: str, total: int, seq: int | str, payload: bytes, kind: str = "event") -> bytes:
    return encode(payload=payload, type=kind, message_id=message_id, sum=str(total), seq=str(seq))


# What comes whole


def test_an_event_is_its_frame() -> None:
    message = encode(payload=b'{"a":1}', type="event", message_id="m", trace_id="t", sum="1", seq="0")
    event = receive(message)
    assert event == decode_frame(message)
    assert isinstance(event, Frame)
    assert event.payload == b'{"a":1}'


@pytest.mark.parametrize("payload", [None, b"", b"\xff", b"no JSON"])
def test_what_an_event_holds_is_not_judged_here(payload: bytes | None) -> None:
    event = receive(encode(payload=payload, type="event"))
    assert isinstance(event, Frame)
    assert event.payload == (payload or b"")


@pytest.mark.parametrize("payload", [None, b"", b'{"PingInterval":90}'])
def test_a_pong(payload: bytes | None) -> None:
    assert receive(encode(CONTROL, payload, type="pong")) == Pong(payload or b"")


def test_a_card_with_a_card_action_is_an_event() -> None:
    event = receive(encode(payload=CARD_ACTION, type="card"))
    assert isinstance(event, Frame)
    assert event.payload == CARD_ACTION


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(None, id="no payload"),
        pytest.param(OLD_CARD, id="the old callback"),
        pytest.param(CARD_ACTION[:-1], id="cut off"),
        pytest.param(CARD_ACTION.replace(b".trigger", b".other"), id="another type"),
        pytest.param(b'{"header":{"event_type":["card.action.trigger"]}}', id="a type that is no string"),
        pytest.param(b'{"header":{"event_type":"card.action.trigger\xff"}}', id="no UTF-8"),
        pytest.param(b'{"event_type":"card.action.trigger"}', id="a type outside of the header"),
        pytest.param(b'{"header":null}', id="no header"),
        pytest.param(b'"card.action.trigger"', id="no object"),
        pytest.param(b'{"a":' + b"[" * 100_000, id="deep"),
    ],
)
def test_any_other_card_is_ignored(payload: bytes | None) -> None:
    assert receive(encode(payload=payload, type="card")) == Ignored("card")


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        pytest.param(encode(type="new"), "new", id="an unknown type"),
        pytest.param(encode(), "", id="no type"),
        pytest.param(encode(type="新" * 1000), "新" * 40, id="a long type"),
        pytest.param(encode(CONTROL, type="event"), "event", id="an event that is a control frame"),
        pytest.param(encode(CONTROL, type="card", payload=CARD_ACTION), "card", id="a control card"),
        pytest.param(encode(DATA, type="pong"), "pong", id="a pong that is a data frame"),
        pytest.param(encode(2, type="event"), "event", id="an unknown method"),
        pytest.param(encode(-1, type="pong"), "pong", id="a negative method"),
        pytest.param(encode_ping(1), "ping", id="a ping"),
    ],
)
def test_frames_of_no_interest(message: bytes, kind: str) -> None:
    assert receive(message) == Ignored(kind)


@pytest.mark.parametrize("message", [b'{"type":"ping"}', b"\r\n\t {", b"{"])
def test_json_instead_of_a_frame(message: bytes) -> None:
    assert receive(message) == JsonMessage(message)


def test_a_frame_may_begin_with_the_byte_of_json() -> None:
    """`{` is also the start of a group 15, which the schema does not have."""
    group = b"{" + varint(15 << 3 | 4)
    assert receive(group + encode(CONTROL, b"", type="pong")) == Pong(b"")
    assert isinstance(receive(group + part("m", 2, "x", b"")), BadFrame)


@pytest.mark.parametrize("message", [b"", b"[]", b'"{"', b"\xff" * 20, encode(type="event")[:-1]])
def test_a_broken_frame(message: bytes) -> None:
    bad = receive(message)
    assert isinstance(bad, BadFrame)
    assert isinstance(bad.error, FrameError)
    assert str(bad.error).startswith("no frame: ")


@pytest.mark.parametrize(
    "message",
    [
        encode(type="event", payload=b"secret"),
        encode(CONTROL, type="pong", payload=b"secret"),
        b'{"token":"secret"}',
        b"secret",
        encode(type="secret"),
    ],
)
def test_no_repr_shows_what_was_received(message: bytes) -> None:
    assert "secret" not in repr(receive(message)).replace("'type': 'secret'", "")


# What comes in parts


def test_the_frame_of_a_split_message_is_the_last_part_with_the_whole_payload() -> None:
    receiver = Receiver(max_assembled=100)
    first, last = part("m", 2, 1, b'"b"}'), part("m", 2, 0, b'{"a":')
    assert receiver.receive(first, 0) is None
    event = receiver.receive(last, 0)
    assert isinstance(event, Frame)
    assert event.payload == b'{"a":"b"}'
    assert event.raw == last
    assert encode_answer(event, OK) == encode_answer(decode_frame(last), OK)


@pytest.mark.parametrize(("payload", "is_event"), [(CARD_ACTION, True), (OLD_CARD, False)])
def test_a_card_may_be_split(payload: bytes, is_event: bool) -> None:
    receiver = Receiver(max_assembled=1000)
    assert receiver.receive(part("m", 2, 0, payload[:20], "card"), 0) is None
    received = receiver.receive(part("m", 2, 1, payload[20:], "card"), 0)
    if is_event:
        assert isinstance(received, Frame)
        assert received.payload == payload
    else:
        assert received == Ignored("card")


@pytest.mark.parametrize("kind", ["event", "card"])
def test_a_part_whose_headers_cannot_be_true(kind: str) -> None:
    bad = receive(part("m", 2, 2, b"", kind))
    assert isinstance(bad, BadFrame)
    assert str(bad.error) == "the header seq of a part is '2'; allowed is 0 to 1"


def test_parts_of_other_frames_are_not_kept() -> None:
    receiver = Receiver(max_assembled=100)
    assert receiver.receive(part("m", 2, 0, b"0", "new"), 0) == Ignored("new")
    assert receiver.receive(part("m", 2, 1, b"1"), 0) is None


def test_a_split_message_is_bounded_in_bytes() -> None:
    receiver = Receiver(max_assembled=10)
    assert receiver.receive(part("m", 2, 0, b"123456"), 0) is None
    bad = receiver.receive(part("m", 2, 1, b"78901"), 0)
    assert isinstance(bad, BadFrame)
    assert "over 10 bytes" in str(bad.error)
    assert isinstance(receiver.receive(encode(type="event", payload=b"12345678901"), 0), Frame)  # not split


def test_a_split_message_is_bounded_in_age() -> None:
    receiver = Receiver(max_assembled=100)
    assert receiver.receive(part("m", 2, 0, b"0"), 100) is None
    assert receiver.receive(part("m", 2, 1, b"1"), 116) is None
    assert receiver.receive(part("m", 2, 0, b"0"), 117) is not None


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[dict[str, list[bytes]], list[tuple[str, int]]]:
    """Messages by id, each as its parts; and how they arrive, parts of unfinished ones again."""
    messages = {
        f"m{number}": parts
        for number, parts in enumerate(
            draw(st.lists(st.lists(st.binary(max_size=20), min_size=1, max_size=5), min_size=1, max_size=6))
        )
    }
    order = draw(
        st.permutations([(name, seq) for name, parts in messages.items() for seq in range(len(parts))])
    )
    arrivals: list[tuple[str, int]] = []
    for at, (name, seq) in enumerate(order):
        arrivals.append((name, seq))
        still_to_come = {later for later, _ in order[at + 1 :]}
        unfinished = [each for each in order[: at + 1] if each[0] in still_to_come]
        if draw(st.booleans()) and unfinished:
            arrivals.append(draw(st.sampled_from(unfinished)))
    return messages, arrivals


@given(deliveries())
def test_each_message_gives_one_whole_event_when_its_last_part_is_there(
    delivered: tuple[dict[str, list[bytes]], list[tuple[str, int]]],
) -> None:
    messages, arrivals = delivered
    receiver = Receiver(max_assembled=1 << 20)
    missing = {name: set(range(len(parts))) for name, parts in messages.items()}
    for name, seq in arrivals:
        parts = messages[name]
        event = receiver.receive(part(name, len(parts), seq, parts[seq]), 0)
        missing[name].discard(seq)
        if missing[name]:
            assert event is None
        else:
            assert isinstance(event, Frame)
            assert (event.headers["message_id"], event.headers["seq"]) == (name, str(seq))
            assert event.payload == b"".join(parts)
    assert not any(missing.values())


# Whatever comes

METHODS = st.sampled_from([CONTROL, DATA, DATA, 2, -1])
KINDS = st.sampled_from(["event", "card", "ping", "pong", "new", ""])
CARDS = st.sampled_from([CARD_ACTION, OLD_CARD, b"", b"{"])


@given(
    METHODS,
    st.none() | KINDS,
    st.lists(st.tuples(KEYS.filter(lambda key: key not in ("type", "sum")), VALUES), max_size=5),
    st.one_of(CARDS, st.binary(max_size=50)),
)
def test_a_frame_is_what_its_method_and_its_type_make_it(
    method: int, kind: str | None, headers: list[tuple[str, str]], payload: bytes
) -> None:
    if kind is not None:
        headers = [*headers, ("type", kind), ("type", "another")]
    message = encode_frame(method=method, headers=headers, payload=payload)
    expected: Any
    if method == DATA and (kind == "event" or (kind == "card" and payload == CARD_ACTION)):
        expected = decode_frame(message)
    elif method == CONTROL and kind == "pong":
        expected = Pong(payload)
    else:
        expected = Ignored(kind or "")
    assert receive(message) == expected


@given(st.dictionaries(st.text(max_size=9), st.text(max_size=9)), st.sampled_from(["", " ", "\n\t"]))
def test_json_is_no_frame(value: dict[str, str], blanks: str) -> None:
    message = (blanks + json.dumps(value)).encode()
    assert receive(message) == JsonMessage(message)


@st.composite
def hostile(draw: st.DrawFn) -> bytes:
    """An event whose headers and payload are anything."""
    pairs = st.tuples(
        st.sampled_from(["sum", "seq", "message_id", "type"]),
        st.sampled_from(["0", "1", "2", "3", "-1", "x", "", "9" * 50]) | VALUES,
    )
    headers = [("type", draw(st.sampled_from(["event", "card"]))), *draw(st.lists(pairs, max_size=4))]
    return encode_frame(method=DATA, headers=headers, payload=draw(CARDS | st.binary(max_size=30)))


@given(
    st.lists(st.one_of(odd(), broken(), hostile(), st.binary(max_size=60)), max_size=20),
    st.integers(0, 50),
)
@settings(max_examples=300)
def test_no_bytes_raise(messages: list[bytes], max_assembled: int) -> None:
    receiver = Receiver(max_assembled=max_assembled)
    for now, message in enumerate(messages):
        match receiver.receive(message, now):
            case Frame() as frame:
                assert frame.method == DATA
                assert frame.headers["type"] in ("event", "card")
            case Pong(payload):
                assert payload == decode_frame(message).payload
            case JsonMessage(text):
                assert text == message
                assert text.lstrip()[:1] == b"{"
            case BadFrame(error):
                assert isinstance(error, FrameError)
            case Ignored(kind):
                assert len(kind) <= 40
            case other:
                assert other is None
