"""What an event is about: chat, message, thread, and who did it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feishu_trio import Person, by_thread
from feishu_trio.events import Event, decode_event, types

from .payloads import CATALOGUE, sample, v1, v2
from .test_models import specimen

IDS = {"open_id": "ou_1", "user_id": "u1", "union_id": "on_1"}
ANN = Person("ou_1", "u1", "on_1")
RECEIVED = types.IM_MESSAGE_RECEIVE_V1


def of(event_type: str, body: object) -> tuple[str, str, str, Person]:
    event = decode_event(v2(event_type, body))
    return event.chat_id, event.about, event.thread_key, event.sender


def test_samples() -> None:
    event = decode_event(sample("im.message.receive_v1"))
    assert event.chat_id == "oc_5ce6d572455d361153b7xx51da133945"
    assert event.about == "om_5ce6d572455d361153b7cb51da133945"
    assert event.thread_key == "omt_d4be107c616"
    assert event.sender == Person(
        "ou_84aad35d084aa403a838cf73ee18467",
        "e33ggbyz",
        "on_8ed6aa67826108097d9ee143816345",
        "736588c9260f175e",
    )
    event = decode_event(sample("card.action.trigger"))
    assert event.chat_id == "oc_e4d2605ca917e695f54f11aaf5600001"
    assert event.about == "om_574d639e4a44e4dd646eaf628e200001"
    assert (event.thread_key, event.sender.open_id) == ("", "ou_3c14f3a59eaf2825dbe25359f15a0001")
    assert event.sender.tenant_key == "736588c9260f175e"
    event = decode_event(sample("im.chat.member.user.added_v1"))
    assert (event.chat_id, event.about) == ("oc_26b66a5eb603162b849f91bcd8815b20", "")
    assert event.sender.open_id == "ou_84aad35d084aa403a838cf73ee18467"
    assert event.sender.tenant_key == "736588c9260f175e"
    event = decode_event(sample("contact.user.created_v3"))
    assert (event.chat_id, event.about, event.thread_key, event.sender) == ("", "", "", Person())
    assert decode_event(sample("v1.event_callback")).sender == Person(
        "", "g6964gd3", None, "736588c9260f175e"
    )


@pytest.mark.parametrize(
    ("event_type", "body", "expected"),
    [
        (
            "im.message.reaction.created_v1",
            {"message_id": "om_1", "operator_type": "user", "user_id": IDS},
            ("", "om_1", "", ANN),
        ),
        (
            "im.message.reaction.deleted_v1",
            {"message_id": "om_1", "operator_type": "app", "app_id": "cli_1"},
            ("", "om_1", "", Person(is_bot=True)),
        ),
        (
            "im.message.recalled_v1",
            {"message_id": "om_1", "chat_id": "oc_1"},
            ("oc_1", "om_1", "oc_1", Person()),
        ),
        (
            "im.message.message_read_v1",
            {"reader": {"reader_id": IDS, "tenant_key": "t"}, "message_id_list": ["om_1"]},
            ("", "om_1", "", Person("ou_1", "u1", "on_1", "t")),
        ),
        ("im.message.message_read_v1", {"message_id_list": ["om_1", "om_2"]}, ("", "", "", Person())),
        ("im.chat.disbanded_v1", {"chat_id": "oc_1", "operator_id": IDS}, ("oc_1", "", "", ANN)),
        (
            "im.chat.access_event.bot_p2p_chat_entered_v1",
            {"chat_id": "oc_1", "operator_id": IDS, "last_message_id": "om_1"},
            ("oc_1", "", "", ANN),
        ),
        (
            "application.bot.menu_v6",
            {"operator": {"operator_name": "Ann", "operator_id": IDS}},
            ("", "", "", ANN),
        ),
        ("vc.meeting.join_meeting_v1", {"operator": {"id": IDS, "user_type": 1}}, ("", "", "", ANN)),
        (
            "hire.ehr_import_task.imported_v1",
            {"operator_id": "7", "operator_user_id": IDS},
            ("", "", "", ANN),
        ),
        ("drive.file.edit_v1", {"operator_id_list": [IDS, IDS]}, ("", "", "", Person())),
        ("auth.user_access_token.revoked_v4", {"open_id": "ou_1"}, ("", "", "", Person("ou_1"))),
        # What another domain calls a message is none of a chat.
        ("mail.user_mailbox.event.message_received_v1", {"message_id": "x"}, ("", "", "", Person())),
        (
            "helpdesk.ticket_message.created_v1",
            {"chat_id": "oc_1", "message_id": "7", "sender_id": IDS, "sender_type": 1},
            ("oc_1", "", "", ANN),
        ),
    ],
)
def test_shapes(event_type: str, body: object, expected: tuple[str, str, str, Person]) -> None:
    assert of(event_type, body) == expected


@pytest.mark.parametrize(
    ("sender_type", "is_bot"), [("user", False), ("app", True), ("bot", True), ("", False), (5, False)]
)
def test_a_bot_that_writes(sender_type: object, is_bot: bool) -> None:
    body = {"sender": {"sender_id": {"open_id": "ou_1"}, "sender_type": sender_type}, "message": {}}
    assert of(RECEIVED, body)[3] == Person("ou_1", is_bot=is_bot)


@pytest.mark.parametrize(
    ("message", "key"),
    [
        ({"thread_id": "omt_1", "root_id": "om_0", "chat_id": "oc_1"}, "omt_1"),
        ({"root_id": "om_0", "chat_id": "oc_1"}, "om_0"),
        ({"thread_id": "", "root_id": 5, "chat_id": "oc_1"}, "oc_1"),
        ({}, ""),
    ],
)
def test_the_thread_is_what_events_are_ordered_by(message: object, key: str) -> None:
    event = decode_event(v2(body={"message": message}))
    assert event.thread_key == key
    assert by_thread(event) == (key or None)


def test_messages_in_the_old_envelope() -> None:
    body = {"type": "message", "open_id": "ou_1", "open_chat_id": "oc_1", "open_message_id": "om_1"}
    event = decode_event(v1(body))
    assert (event.chat_id, event.about, event.sender) == ("oc_1", "om_1", Person("ou_1"))


def looks(event: Event[Any]) -> tuple[Any, ...]:
    return event.chat_id, event.about, event.thread_key, event.sender


@pytest.mark.parametrize("event_type", [name for name, event in CATALOGUE["events"].items() if event["body"]])
def test_every_type_has_strings(event_type: str) -> None:
    body = specimen(CATALOGUE["events"][event_type]["body"])
    odd: list[object] = [dict.fromkeys(body, 5), {key: {"x": [1]} for key in body}, {}, None, [], "x"]
    for given_body in (body, *odd):
        *texts, sender = looks(decode_event(v2(event_type, given_body)))
        assert all(isinstance(text, str) for text in texts)
        assert isinstance(sender.open_id, str)
        assert all(
            isinstance(each, str | None) for each in (sender.user_id, sender.union_id, sender.tenant_key)
        )


HOLDERS = ["message", "sender", "sender_id", "operator", "operator_id", "reader", "context", "id", "user_id"]
IDS_IN = ["chat_id", "open_chat_id", "open_id", "tenant_key", "message_id", "message_id_list", "thread_id"]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*HOLDERS, *IDS_IN, "sender_type"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@given(json_values)
def test_odd_bodies_are_no_errors(body: object) -> None:
    for event_type in (RECEIVED, "im.message.recalled_v1", "card.action.trigger", "im.chat.updated_v1"):
        *texts, sender = looks(decode_event(v2(event_type, body)))
        assert all(isinstance(text, str) for text in (*texts, sender.open_id))


@pytest.mark.parametrize(
    "body", [b"[" * 100 + b"]" * 100, b'{"chat_id": "\xff"}', b'{"chat_id": %s}' % (b"9" * 5000)]
)
def test_what_cannot_be_read_is_about_nothing(body: bytes) -> None:
    payload = json.dumps({"header": {"event_type": "im.chat.updated_v1"}, "event": 0}).encode()
    assert looks(decode_event(payload.replace(b": 0}", b": " + body + b"}"))) == ("", "", "", Person())
