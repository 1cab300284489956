from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import given
from hypothesis import strategies as st

from feishu_trio.errors import FrameError
from feishu_trio.wire import (
    CONTROL,
    DATA,
    FAILED,
    OK,
    decode_frame,
    encode_answer,
    encode_frame,
    encode_ping,
    ok_with,
)

from . import proto2
from .strategies import ARGUMENTS, INT32, odd


@given(ARGUMENTS)
def test_what_is_written_is_what_google_reads(arguments: dict[str, Any]) -> None:
    message = proto2.read(encode_frame(**arguments))
    assert message.SeqID == arguments["seq_id"]
    assert message.LogID == arguments["log_id"]
    assert message.service == arguments["service"]
    assert message.method == arguments["method"]
    assert proto2.pairs(message) == arguments["headers"]
    assert message.HasField("payload") == (arguments["payload"] is not None)
    assert message.payload == (arguments["payload"] or b"")


@given(ARGUMENTS)
def test_what_is_written_is_what_google_writes(arguments: dict[str, Any]) -> None:
    message = proto2.Frame(
        SeqID=arguments["seq_id"],
        LogID=arguments["log_id"],
        service=arguments["service"],
        method=arguments["method"],
        headers=[{"key": key, "value": value} for key, value in arguments["headers"]],
        payload=arguments["payload"],
    )
    assert encode_frame(**arguments) == message.SerializeToString()


def test_headers_may_be_a_mapping() -> None:
    assert encode_frame(headers={"type": "pong"}) == encode_frame(headers=[("type", "pong")])


@given(INT32)
def test_a_ping_has_all_that_is_required(service_id: int) -> None:
    message = proto2.read(encode_ping(service_id))
    assert message.HasField("SeqID")
    assert message.HasField("LogID")
    assert message.HasField("method")
    assert (message.SeqID, message.LogID, message.service, message.method) == (0, 0, service_id, CONTROL)
    assert proto2.pairs(message) == [("type", "ping")]
    assert not message.HasField("payload")


@pytest.mark.parametrize("name", ["seq_id", "log_id", "service", "method"])
@pytest.mark.parametrize("value", [2**64, -(2**31) - 1])
def test_numbers_that_do_not_fit_are_refused(name: str, value: int) -> None:
    arguments: dict[str, Any] = {name: value}
    with pytest.raises(FrameError, match=f"{name} is {value}; allowed is "):
        encode_frame(**arguments)


def test_an_answer_is_the_frame_with_another_payload() -> None:
    headers = [("type", "event"), ("instance_id", "7"), ("trace_id", "t"), ("type", "twice")]
    event = encode_frame(service=33554678, method=DATA, headers=headers, payload=b'{"schema":"2.0"}')
    event += b"\x7a\x03new"  # field 15, which nobody knows yet
    answer = encode_answer(decode_frame(event), OK, biz_rt=12)

    message = proto2.read(answer)
    assert message.HasField("SeqID")
    assert (message.SeqID, message.service, message.method) == (0, 33554678, DATA)
    assert proto2.pairs(message) == [*headers, ("biz_rt", "12")]
    assert message.payload == OK
    assert unknown_fields(message) == [(15, 2, b"new")]
    assert b"schema" not in answer


def test_an_answer_without_biz_rt() -> None:
    message = proto2.read(encode_answer(decode_frame(encode_ping(1)), FAILED))
    assert proto2.pairs(message) == [("type", "ping")]
    assert message.payload == FAILED


@given(odd(), st.binary(max_size=200), st.none() | st.integers(0, 2**40))
def test_nothing_but_the_payload_is_lost_in_an_answer(
    data: bytes, payload: bytes, biz_rt: int | None
) -> None:
    event = proto2.read(data)
    if event is None:
        return
    answer = proto2.read(encode_answer(decode_frame(data), payload, biz_rt))
    added = [] if biz_rt is None else [("biz_rt", str(biz_rt))]
    assert proto2.pairs(answer) == proto2.pairs(event) + added
    assert answer.payload == payload
    assert unknown_fields(answer) == unknown_fields(event)
    for name in ("SeqID", "LogID", "service", "method", "payload_encoding", "payload_type", "LogIDNew"):
        assert answer.HasField(name) == event.HasField(name)
        assert getattr(answer, name) == getattr(event, name)


@given(st.dictionaries(st.text(), st.integers()))
def test_an_answer_that_returns_something(result: dict[str, int]) -> None:
    answer = json.loads(ok_with(json.dumps(result).encode()))
    assert answer.keys() == {"code", "data"}
    assert answer["code"] == json.loads(OK)["code"] == 200
    assert json.loads(base64.b64decode(answer["data"], validate=True)) == result
    assert json.loads(FAILED) == {"code": 500}


def unknown_fields(message: Any) -> list[tuple[int, int, Any]]:
    def listed(fields: Any) -> list[tuple[int, int, Any]]:
        return [
            (field.field_number, field.wire_type, listed(field.data) if field.wire_type == 3 else field.data)
            for field in fields
        ]

    return listed(UnknownFieldSet(message))
