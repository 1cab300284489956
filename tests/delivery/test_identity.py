"""By what an event is known again, and behind what it waits its turn."""

from __future__ import annotations

import json

import pytest

from feishu_trio.delivery.identity import identify
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
        ("contact.user.created_v3", {"chat_id": "oc_1"}, ("e1",), None),
        (RECEIVED, {"message": {"message_id": "om_1", "chat_id": "oc_1"}}, ("e1", "message:om_1"), "oc_1"),
        (RECEIVED, {"message": {"message_id": "om_1"}, "chat_id": "oc_2"}, ("e1", "message:om_1"), "oc_2"),
        # Another event about the same message is another event.
        ("im.message.recalled_v1", {"message_id": "om_1", "chat_id": "oc_1"}, ("e1",), "oc_1"),
        ("im.message.other_v1", {"message": {"message_id": "om_1", "chat_id": "oc_1"}}, ("e1",), "oc_1"),
        (RECEIVED, {"message": {"message_id": ""}}, ("e1",), None),
        (RECEIVED, {}, ("e1",), None),
        (RECEIVED, None, ("e1",), None),
        (RECEIVED, {"message": "of another shape"}, ("e1",), None),
        (RECEIVED, {"message": {"message_id": 7, "chat_id": "oc_1"}}, ("e1",), None),
    ],
)
def test_keys_and_chat(event_type: str, body: object, keys: tuple[str, ...], chat: str | None) -> None:
    assert identity(event_type, body) == (keys, chat)


def test_an_event_without_an_id_has_no_key_but_its_messages() -> None:
    assert identity("contact.user.created_v3", {}, event_id=None) == ((), None)
    message = {"message": {"message_id": "om_1", "chat_id": "oc_1"}}
    assert identity(RECEIVED, message, event_id=None) == (("message:om_1",), "oc_1")


def test_a_key_is_there_once() -> None:
    message = {"message": {"message_id": "om_1"}}
    assert identity(RECEIVED, message, event_id="message:om_1") == (("message:om_1",), None)
