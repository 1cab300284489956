"""By what an event is known again, and behind what it waits its turn."""

from __future__ import annotations

import json

import pytest

from feishu_trio.delivery.identity import identify
from feishu_trio.errors import EventDecodeError
from feishu_trio.events import decode_event

RECEIVED = "im.message.receive_v1"


def identity(
    event_type: str, body: object, event_id: str | None = "e1"
) -> tuple[tuple[str, ...], str | None]:
    header = {"event_id": event_id, "event_type": event_type}
    return identify(decode_event(json.dumps({"schema": "2.0", "header": header, "event": body}).encode()))


@pytest.mark.parametrize(
    ("event_type", "body", "keys", "chat"),
    [
        ("contact.user.created_v3", {"chat_id": "oc_1"}, ("event:e1",), None),
        (
            RECEIVED,
            {"message": {"message_id": "om_1", "chat_id": "oc_1"}},
            ("event:e1", "message:om_1"),
            "oc_1",
        ),
        (
            RECEIVED,
            {"message": {"message_id": "om_1"}, "chat_id": "oc_2"},
            ("event:e1", "message:om_1"),
            "oc_2",
        ),
        # Another event about the same message is another event.
        ("im.message.recalled_v1", {"message_id": "om_1", "chat_id": "oc_1"}, ("event:e1",), "oc_1"),
        (
            "im.message.other_v1",
            {"message": {"message_id": "om_1", "chat_id": "oc_1"}},
            ("event:e1",),
            "oc_1",
        ),
        (RECEIVED, {"message": {"message_id": ""}}, ("event:e1",), None),
        (RECEIVED, {"message": {}}, ("event:e1",), None),
        ("im.message.other_v1", {}, ("event:e1",), None),
        ("im.message.other_v1", None, ("event:e1",), None),
        ("im.message.other_v1", {"message": "of another shape"}, ("event:e1",), None),
        ("im.message.other_v1", {"message": {"message_id": 7, "chat_id": "oc_1"}}, ("event:e1",), None),
    ],
)
def test_keys_and_chat(event_type: str, body: object, keys: tuple[str, ...], chat: str | None) -> None:
    assert identity(event_type, body) == (keys, chat)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "event.message"),
        (None, "event.message"),
        (7, "event"),
        ({"message": None}, "event.message"),
        ({"message": "of another shape"}, "event.message"),
        ({"message": {"message_id": 7, "chat_id": "oc_1"}}, "event.message.message_id"),
        ({"message": {"content": {"text": "hi"}}}, "event.message.content"),
        ({"message": {}, "sender": []}, "event.sender"),
    ],
)
def test_a_message_that_is_none_is_told(body: object, path: str) -> None:
    with pytest.raises(EventDecodeError, match=f"`{path}`"):
        identity(RECEIVED, body)


def test_what_of_a_message_is_told_by_its_handler_is_not_told_before() -> None:
    body = {"message": {"message_id": "om_1", "chat_id": "oc_1", "mentions": 7}}
    assert identity(RECEIVED, body) == (("event:e1", "message:om_1"), "oc_1")


def test_an_event_without_an_id_has_no_key_but_its_messages() -> None:
    assert identity("contact.user.created_v3", {}, event_id=None) == ((), None)
    message = {"message": {"message_id": "om_1", "chat_id": "oc_1"}}
    assert identity(RECEIVED, message, event_id=None) == (("message:om_1",), "oc_1")


def test_no_event_id_is_a_messages_key() -> None:
    message = {"message": {"message_id": "om_77"}}
    of_message = identity(RECEIVED, message, event_id="e1")[0]
    for event_id in ("message:om_77", "om_77", "event:e2"):
        keys = identity("contact.user.created_v3", {}, event_id=event_id)[0]
        assert len(keys) == 1
        assert not set(keys) & set(of_message)


def payload_of(event_id: bytes, message_id: bytes = b"om_1") -> bytes:
    return (
        b'{"schema":"2.0","header":{"event_id":"%b","event_type":"im.message.receive_v1"},'
        b'"event":{"message":{"message_id":"%b","chat_id":"oc_1"}}}' % (event_id, message_id)
    )


def keys_of(payload: bytes) -> set[str]:
    return set(identify(decode_event(payload))[0])


@pytest.mark.parametrize("pair", [(b"e\xff", b"e\xfe"), (rb"e\ud800", rb"e\ud801"), (rb"e\ud800", b"e?")])
def test_ids_that_differ_in_what_cannot_be_read_are_not_one(pair: tuple[bytes, bytes]) -> None:
    one, other = pair
    assert not keys_of(payload_of(one, b"om_1")) & keys_of(payload_of(other, b"om_2"))
    assert not keys_of(payload_of(b"e1", one)) & keys_of(payload_of(b"e2", other))
    # What is delivered again is the same to the byte.
    assert len(keys_of(payload_of(one)) & keys_of(payload_of(one))) == 2
    assert keys_of(payload_of(b"e1", one)) == {"event:e1"}
