"""A delivery that came over a connection: what the engine decides becomes Feishu's bytes."""

from __future__ import annotations

import base64
import json
from typing import Any

import attrs
import pytest

from feishu_trio.connection.arrival import Arrival, TextArrival
from feishu_trio.connection.outbox import Outgoing
from feishu_trio.delivery import DONE, Origin, Outcome
from feishu_trio.wire import DATA, Frame, decode_frame, encode_frame

HEADERS = [("type", "event"), ("message_id", "m-1"), ("trace_id", "t-1"), ("of the future", "kept")]


@attrs.define
class Connection:
    """Where answers go."""

    owed: int = 1
    posted: list[Outgoing] = attrs.field(factory=list)

    def post(self, item: Outgoing) -> None:
        self.posted.append(item)

    def answer(self) -> Frame:
        (item,) = self.posted
        assert isinstance(item.data, bytes)
        return decode_frame(item.data)


def arrive(connection: Connection) -> Arrival:
    frame = decode_frame(
        encode_frame(seq_id=7, log_id=2**63, service=42, method=DATA, headers=HEADERS, payload=b"{}")
    )
    return Arrival(connection, frame.rest, frame.payload, "m-1", "t-1", 1.7e9, 10.0, 12.5)


@pytest.mark.parametrize(
    ("outcome", "answer"),
    [
        (DONE, {"code": 200}),
        (Outcome(True, b'{"toast":"saved"}'), {"code": 200, "data": {"toast": "saved"}}),
        (Outcome(True, b"null"), {"code": 200, "data": None}),
        (Outcome(True, None, {"handler": b'"not for Feishu"'}), {"code": 200}),
        (Outcome(False, again=True), {"code": 500}),
        (Outcome(False, again=True, after=60), {"code": 500}),
        (Outcome(False), {"code": 500}),
    ],
)
def test_an_outcome_is_one_answer(outcome: Outcome, answer: dict[str, Any]) -> None:
    connection = Connection()
    arrive(connection).settle(outcome, 0.0)
    payload = json.loads(connection.answer().payload)
    if "data" in payload:
        payload["data"] = json.loads(base64.b64decode(payload["data"], validate=True))
    assert payload == answer


def test_an_answer_keeps_everything_of_the_frame_and_adds_how_long_it_took() -> None:
    connection = Connection()
    arrive(connection).settle(DONE, 1.2345)
    answer = connection.answer()
    assert list(answer.headers.items()) == [*HEADERS, ("biz_rt", "1234")]
    assert (answer.seq_id, answer.log_id, answer.service, answer.method) == (7, 2**63, 42, DATA)


def test_an_answer_may_go_by_another_connection_and_its_writing_is_reported() -> None:
    connection, written = Connection(), []
    arrive(connection).settle(DONE, 0.0, lambda: written.append(True))
    (item,) = connection.posted
    assert item.portable
    assert written == []
    assert item.sent is not None
    item.sent()
    assert written == [True]


def test_what_is_owed_is_paid_once_it_is_settled_or_given_up() -> None:
    connection = Connection(owed=3)
    arrival = arrive(connection)
    arrival.handler_succeeded("handler", b"1", is_last=True)
    assert (connection.owed, connection.posted) == (3, [])
    arrival.settle(DONE, 0.0)
    assert connection.owed == 2
    arrive(connection).give_up()
    assert connection.owed == 1
    assert len(connection.posted) == 1, "what is given up is not answered"


def test_it_comes_from_feishu_and_remembers_nothing() -> None:
    for arrival in (arrive(Connection()), TextArrival(b"{}", 1.7e9, 10.0, 12.5)):
        assert arrival.origin is Origin.ARRIVED
        assert arrival.succeeded == {}


def test_an_event_in_a_text_message_has_no_answer_but_an_end() -> None:
    arrival, written = TextArrival(b"{}", 1.7e9, 10.0, 12.5), []
    arrival.handler_succeeded("handler", None, is_last=True)
    arrival.settle(Outcome(False, again=True), 0.1)
    arrival.settle(DONE, 0.1, lambda: written.append(True))
    arrival.give_up()
    assert written == [True]
