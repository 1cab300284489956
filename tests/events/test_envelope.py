from __future__ import annotations

import copy
import json
import pickle
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feishu_trio.errors import EventDecodeError
from feishu_trio.events import Event, decode_event, im

from .payloads import SAMPLES, message, sample, v1, v2

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def test_a_2_0_envelope() -> None:
    payload = sample("im.message.receive_v1")
    event = decode_event(payload, message_id="m-1", trace_id="t-1", received_at=4.5)
    assert event.id == "5e3702a84e847582be8db7fb73283c02"
    assert event.type == "im.message.receive_v1"
    assert event.schema == "2.0"
    assert event.tenant_key == "2ca1d211f64f6438"
    assert event.app_id == "cli_9f5343c580712544"
    assert event.create_time == datetime(2020, 12, 23, 12, 19, 49, tzinfo=UTC)
    assert event.payload is payload
    assert (event.message_id, event.trace_id) == ("m-1", "t-1")
    assert event.received_at == datetime(1970, 1, 1, 0, 0, 4, 500_000, tzinfo=UTC)
    assert event.redelivered is False
    assert event.raw == json.loads(payload)
    assert json.loads(bytes(event.body)) == json.loads(payload)["event"]


def test_a_1_0_envelope() -> None:
    event = decode_event(sample("v1.event_callback"))
    assert event.id == "bc447199585340d1f3728d26b1c0297a"
    assert event.type == "leave_approvalV2"
    assert event.schema == "1.0"
    assert event.tenant_key == "736588c9260f175e"
    assert event.app_id == "cli_9f5343c580712544"
    assert event.create_time == datetime(2017, 8, 8, 13, 33, 27, 717142, tzinfo=UTC)
    assert event.data["leave_type"] == "年假"
    assert event.data == event.raw["event"]


@pytest.mark.parametrize("path", sorted(SAMPLES.iterdir()), ids=lambda path: path.stem)
def test_every_sample_decodes(path: Any) -> None:
    event = decode_event(path.read_bytes())
    assert event.type == path.stem or path.stem == "v1.event_callback"
    assert event.data
    assert event.create_time is not None


def test_a_1_0_event_of_a_known_type_has_its_model() -> None:
    event = decode_event(v1({"type": "im.message.receive_v1", "message": {"chat_id": "oc_1"}}))
    assert event.data == im.MessageReceived(message=im.Message(chat_id="oc_1"))


@settings(deadline=None)
@given(st.datetimes(datetime(1974, 1, 1), datetime(2100, 1, 1)), st.sampled_from([1, 1_000, 1_000_000]))
def test_create_time_in_any_unit(moment: datetime, unit: int) -> None:
    since = moment.replace(tzinfo=UTC) - EPOCH
    written = since // timedelta(seconds=1) * unit + since.microseconds * unit // 1_000_000
    event = decode_event(v2(create_time=str(written)))
    assert event.create_time == EPOCH + timedelta(microseconds=written * 1_000_000 // unit)


@pytest.mark.parametrize("odd", [None, "", "0", "-1", "soon", "nan", "inf", "9" * 400, "1e300", [], {}, True])
def test_a_create_time_that_is_no_time(odd: object) -> None:
    event = decode_event(v2(create_time=odd))
    assert event.create_time is None
    assert event.id == "e-1"


def test_numbers_in_the_envelope_are_kept_as_strings() -> None:
    event = decode_event(v2("a.b", event_id=12, create_time=1608725989000, tenant_key=1.5, app_id=False))
    assert (event.id, event.tenant_key, event.app_id) == ("12", "1.5", None)
    assert event.create_time == datetime(2020, 12, 23, 12, 19, 49, tzinfo=UTC)
    assert event.raw["header"]["event_id"] == 12
    event = decode_event(v1({"type": "a", "app_id": 7}, uuid=5, ts=1502199207.5))
    assert (event.id, event.type, event.app_id) == ("5", "a", "7")
    assert event.create_time == datetime(2017, 8, 8, 13, 33, 27, 500000, tzinfo=UTC)


def test_an_event_without_an_id_is_kept() -> None:
    assert decode_event(b'{"header": {"event_type": "a"}}').id == ""
    assert decode_event(b'{"event": {"type": "a"}}').id == ""


def test_a_header_that_is_no_object_leaves_the_1_0_reading() -> None:
    assert decode_event(b'{"header": 5, "uuid": "u", "event": {"type": "a"}}').schema == "1.0"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x00\xff",
        b"null",
        b"5",
        b"[]",
        b'"event"',
        b"{}",
        b"{",
        b'{"header": {"event_type": "a"}',
        b'{"header": {"event_type": "a"}} x',
        b'{"schema": "2.0", "event": {}}',
        b'{"header": {}, "event": {"type": "a"}}',
        b'{"header": {"event_type": ""}}',
        b'{"header": {"event_type": {}}}',
        b'{"uuid": "u", "event": null}',
        b'{"uuid": "u", "event": []}',
        b'{"uuid": "u", "event": "type"}',
        b'{"uuid": "u"}',
        b"[" * 200_000,
        b'{"header": {"event_type": "a"}, "event": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b'{"header": {"event_type": "a"}, "event": ' + b'{"a":' * 200_000 + b"1" + b"}" * 200_000 + b"}",
    ],
    ids=lambda payload: payload[:50].decode("latin-1"),
)
def test_what_is_no_event(payload: bytes) -> None:
    with pytest.raises(EventDecodeError):
        decode_event(payload)


def test_the_last_of_duplicate_keys_counts() -> None:
    event = decode_event(b'{"header": {"event_type": "a", "event_type": "b"}, "event": {"x": 1, "x": 2}}')
    assert event.type == "b"
    assert event.data == {"x": 2}


@pytest.mark.parametrize("prefix", [b"", b"\xef\xbb\xbf"])
def test_half_a_surrogate_pair_does_not_cost_the_event(prefix: bytes) -> None:
    event = decode_event(prefix + v2(body={"message": {"content": '{"text": "cut \ud83d"}'}}))
    assert event.data.message.content == '{"text": "cut ?"}'
    assert event.raw["event"]["message"]["content"] == '{"text": "cut ?"}'


def test_bytes_that_are_no_utf_8() -> None:
    body = decode_event(v2(body={"message": {"chat_id": "oc_X"}}).replace(b"X", b"\xff"))
    with pytest.raises(EventDecodeError, match=r"e-1.* not in UTF-8.*`event`"):
        _ = body.data
    assert body.raw["event"]["message"]["chat_id"] == "oc_\ufffd"
    header = decode_event(v2(tenant_key="X").replace(b"X", b"\xff"))
    assert header.tenant_key == "\ufffd"


def test_a_type_of_100_kb() -> None:
    event = decode_event(v2("x" * 100_000, ["wrong"]))
    assert len(event.type) == 100_000
    assert len(repr(event)) < 250
    with pytest.raises(EventDecodeError) as caught:
        _ = event.data
    assert len(str(caught.value)) < 500


def test_a_type_that_would_break_a_line() -> None:
    assert repr(decode_event(v2("a\nb", event_id="\x1b[2J"))) == "<Event a\\nb id=\\x1b[2J>"


def test_a_body_of_10_mb() -> None:
    event = decode_event(message("text", {"text": "x" * 10_000_000}))
    assert len(event.text or "") == 10_000_000


def test_a_body_that_does_not_fit_is_told_where_it_is_used() -> None:
    event = decode_event(v2(body={"message": {"mentions": [{"id": {"open_id": 5}}]}}, event_id="e-9"))
    for _ in range(2):
        with pytest.raises(EventDecodeError) as caught:
            _ = event.data
        for part in ("im.message.receive_v1", "e-9", "`event.message.mentions[0].id.open_id`"):
            assert part in str(caught.value)
    assert event.raw["event"]["message"]["mentions"][0]["id"] == {"open_id": 5}


@pytest.mark.parametrize("body", [[], "text", 5, True])
@pytest.mark.parametrize("event_type", ["im.message.receive_v1", "unknown.type_v1"])
def test_a_body_that_is_no_object(event_type: str, body: object) -> None:
    event = decode_event(v2(event_type, body))
    with pytest.raises(EventDecodeError, match="`event`"):
        _ = event.data
    assert event.raw["event"] == body


@pytest.mark.parametrize("payload", ['{"header": %s, "event": null}', '{"header": %s}'])
def test_a_body_that_is_missing_or_null_is_empty(payload: str) -> None:
    header = '{"event_type": "im.message.recalled_v1"}'
    assert decode_event((payload % header).encode()).data == im.MessageRecalled()
    header = '{"event_type": "unknown.type_v1"}'
    assert decode_event((payload % header).encode()).data == {}


def test_unknown_fields_are_left_to_raw() -> None:
    event = decode_event(v2(body={"message": {"chat_id": "oc_1", "news": [1]}, "more": {}}))
    assert event.data == im.MessageReceived(message=im.Message(chat_id="oc_1"))
    assert event.raw["event"] == {"message": {"chat_id": "oc_1", "news": [1]}, "more": {}}


def test_data_and_raw_are_decoded_once() -> None:
    event = decode_event(sample("im.message.receive_v1"))
    assert event.data is event.data
    assert event.raw is event.raw


@pytest.mark.parametrize("number", [b"9" * 10_000, b"1e999"])
def test_a_number_too_large_to_hold(number: bytes) -> None:
    event = decode_event(v2("a.b").replace(b"{}", b'{"n": ' + number + b"}"))
    for name in ("data", "raw"):
        with pytest.raises(EventDecodeError, match=r"a\.b"):
            getattr(event, name)


def test_repr_shows_neither_payload_nor_token() -> None:
    event = decode_event(sample("card.action.trigger"))
    assert repr(event) == "<Event card.action.trigger id=f7984f25108f8137722bb63cee927e66>"
    assert event.data.token == "c-295ee57216a5dc9de90fefd0aadb4b1d7d000001"
    assert "c-295ee57216a5dc9" not in repr(event.data)
    assert "c-preview-1" not in repr(event.data)


def test_the_answer_is_the_users_only_where_it_was_given_to_them() -> None:
    event = decode_event(v2("a.b"))
    for answer in (event.ack, event.nack):
        with pytest.raises(RuntimeError, match=r"a\.b id=e-1.*session\.events\(\)"):
            answer()
    answers: list[tuple[bool, Any]] = []
    event.settle = lambda handled, result: answers.append((handled, result))
    event.ack({"toast": {}})
    event.nack()
    assert answers == [(True, {"toast": {}}), (False, None)]


def read_all(event: Event[Any]) -> None:
    assert isinstance(event.id, str)
    assert isinstance(event.type, str)
    assert event.type
    assert event.schema in ("1.0", "2.0")
    for fact in (event.tenant_key, event.app_id):
        assert fact is None or isinstance(fact, str)
    assert event.create_time is None or event.create_time.tzinfo is UTC
    repr(event)
    for name in ("raw", "data", "content", "text", "mentions"):
        with suppress(EventDecodeError):
            getattr(event, name)


@settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "schema": json_values,
            "uuid": json_values,
            "ts": json_values,
            "type": json_values,
            "header": json_values
            | st.fixed_dictionaries(
                {
                    "event_type": json_values
                    | st.sampled_from(["im.message.receive_v1", "card.action.trigger"])
                },
                optional={
                    name: json_values | st.text()
                    for name in ("event_id", "create_time", "app_id", "tenant_key")
                },
            ),
            "event": json_values
            | st.fixed_dictionaries(
                {"type": json_values | st.just("im.message.receive_v1")},
                optional={
                    "message": json_values
                    | st.fixed_dictionaries(
                        {"message_type": st.sampled_from(["text", "post", "interactive", "file"])},
                        optional={
                            "content": json_values | json_values.map(json.dumps),
                            "mentions": json_values,
                        },
                    )
                },
            ),
        },
    )
)
def test_any_envelope_is_an_event_or_an_error(envelope: dict[str, Any]) -> None:
    payload = json.dumps(envelope).encode()
    with suppress(EventDecodeError):
        read_all(decode_event(payload))


@settings(deadline=None)
@given(st.binary())
def test_any_bytes_are_an_event_or_an_error(payload: bytes) -> None:
    with suppress(EventDecodeError):
        read_all(decode_event(payload))


@settings(deadline=None)
@given(st.data())
def test_a_damaged_sample_is_an_event_or_an_error(data: st.DataObject) -> None:
    whole = bytearray(sample("im.message.receive_v1"))
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(whole) - 1))
        whole[start : start + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=3))
    with suppress(EventDecodeError):
        read_all(decode_event(bytes(whole)))


@settings(deadline=None)
@given(event_id=st.text(), tenant=st.none() | st.text(), body=st.dictionaries(st.text(), st.integers()))
def test_what_is_written_is_read(event_id: str, tenant: str | None, body: dict[str, int]) -> None:
    event = decode_event(v2("some.thing_v1", body, event_id=event_id, tenant_key=tenant))
    assert (event.id, event.tenant_key, event.data) == (event_id, tenant, body)
    assert event.raw["event"] == body


def test_a_copy_is_as_good() -> None:
    event = decode_event(v2("x.y", {"a": 1}))
    for copied in (copy.copy(event), copy.deepcopy(event), pickle.loads(pickle.dumps(event))):
        assert (copied.type, copied.data, copied.raw) == (event.type, event.data, event.raw)
    assert event != copy.copy(event), "an event is itself alone"
    assert hash(event) != hash(copy.copy(event))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_json_but_json_s_reader_takes_is_read_as_null(number: str) -> None:
    event = decode_event(
        b'{"schema":"2.0","header":{"event_id":"e","event_type":"x"},"event":{"n":%b}}' % number.encode()
    )
    assert event.raw["event"] == {"n": None}
