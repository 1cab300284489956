from __future__ import annotations

import subprocess
import sys
import time

import pytest

from feishu_trio.events import (
    ALIAS_STATUSES,
    ALIASES,
    card,
    contact,
    corehr,
    im,
    model_for,
    nearest,
    types,
    types_with,
    url,
    vc,
)

from .payloads import CATALOGUE


@pytest.mark.parametrize(
    ("event_type", "model"),
    [
        ("im.message.receive_v1", im.MessageReceived),
        ("im.message.message_read_v1", im.MessageRead),
        ("contact.user.created_v3", contact.UserCreated),
        ("vc.meeting.meeting_ended_v1", vc.MeetingEnded),
        ("corehr.department.created_v1", corehr.DepartmentCreated),
        ("corehr.department.created_v2", corehr.DepartmentCreatedV2),
        ("corehr.company.created_v2", corehr.CompanyCreated),
        ("card.action.trigger", card.ActionTriggered),
        ("url.preview.get", url.PreviewGet),
        ("security_and_compliance.device_record.device_change_event_v2", None),
        ("im.message", None),
        ("im", None),
        ("", None),
        ("envelope.decode_event", None),
        ("x" * 100_000, None),
    ],
)
def test_the_model_of_a_type(event_type: str, model: type | None) -> None:
    assert model_for(event_type) is model


@pytest.mark.parametrize(
    ("mistaken", "meant"),
    [
        ("im.message.receive_v1", "im.message.receive_v1"),
        ("im.message.recieve_v1", "im.message.receive_v1"),
        ("im.message.received_v1", "im.message.receive_v1"),
        ("contact.user.create_v3", "contact.user.created_v3"),
        ("qqqq", None),
        ("", None),
    ],
)
def test_what_was_probably_meant(mistaken: str, meant: str | None) -> None:
    assert nearest(mistaken) == meant


def test_guessing_is_not_done_on_nonsense() -> None:
    began = time.process_time()
    assert nearest("im.message." * 10_000) is None
    assert time.process_time() - began < 0.5


def test_the_names_that_feishu_never_sends() -> None:
    assert dict(ALIASES) == {
        "im.chat.member.user_added_v1": "im.chat.member.user.added_v1",
        "im.chat.member.user_deleted_v1": "im.chat.member.user.deleted_v1",
        "calendar.event.updated_v4": "calendar.calendar.event.changed_v4",
        "meeting.meeting.started_v1": "vc.meeting.meeting_started_v1",
        "meeting.meeting.ended_v1": "vc.meeting.meeting_ended_v1",
        "approval.approval.approved_v1": "approval.instance.status_changed_v4",
        "approval.approval.rejected_v1": "approval.instance.status_changed_v4",
    }
    for never_sent, real in ALIASES.items():
        assert never_sent not in CATALOGUE["events"]
        assert real in CATALOGUE["events"]
    assert set(ALIAS_STATUSES) == {each for each in ALIASES if each.startswith("approval.")}


@pytest.mark.parametrize(
    "event_type",
    [
        "im.message.receive_v1",
        "im.message.message_read_v1",
        "im.chat.member.user_added_v1",
        "im.chat.member.user_deleted_v1",
        "im.chat.updated_v1",
        "contact.user.created_v3",
        "contact.user.updated_v3",
        "contact.user.deleted_v3",
        "contact.department.created_v3",
        "contact.department.updated_v3",
        "contact.department.deleted_v3",
        "approval.approval.approved_v1",
        "approval.approval.rejected_v1",
        "calendar.event.updated_v4",
        "meeting.meeting.started_v1",
        "meeting.meeting.ended_v1",
    ],
)
def test_every_name_in_the_dotnet_clients_manual_leads_to_a_model(event_type: str) -> None:
    assert model_for(event_type) is model_for(ALIASES.get(event_type, event_type)) is not None


def test_the_types_with_a_word() -> None:
    assert "im.message.receive_v1" in types_with("message")
    assert types_with("MESSAGE") == types_with("message")
    assert all("message" in event_type.split(".") for event_type in types_with("message"))
    assert types_with("mess") == types_with("leave_approval") == types_with("") == ()


LOADED = """
import sys
def loaded():
    return {name.removeprefix("feishu_trio.events.") for name in sys.modules if "feishu_trio.events." in name}
from feishu_trio.events import Event, decode_event, types
first = loaded()
event = decode_event(b'{"header": {"event_type": "im.message.receive_v1"}, "event": {"message": {}}}')
event.type, event.id, event.raw
assert loaded() == first
event.data
print(sorted(first))
print(sorted(loaded() - first))
"""


def test_note_18_models_are_loaded_on_use() -> None:
    run = subprocess.run(
        [sys.executable, "-c", LOADED], capture_output=True, text=True, check=True, timeout=30
    )
    imported, by_data = run.stdout.splitlines()
    assert imported == str(
        ["_json", "answers", "catalogue", "content", "envelope", "event", "order", "port", "subject", "types"]
    )
    assert by_data == str(["_index", "im", "shared"])
    assert types.IM_MESSAGE_RECEIVE_V1 == im.MessageReceived.EVENT_TYPE
