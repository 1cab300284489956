"""What is known of event types: the model of each, and what a mistaken one was probably meant to be."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any, Final, cast

from . import types

__all__ = ["ALIASES", "ALIAS_STATUSES", "model_for", "nearest", "types_with"]

ALIASES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "im.chat.member.user_added_v1": types.IM_CHAT_MEMBER_USER_ADDED_V1,
        "im.chat.member.user_deleted_v1": types.IM_CHAT_MEMBER_USER_DELETED_V1,
        "calendar.event.updated_v4": types.CALENDAR_CALENDAR_EVENT_CHANGED_V4,
        "meeting.meeting.started_v1": types.VC_MEETING_MEETING_STARTED_V1,
        "meeting.meeting.ended_v1": types.VC_MEETING_MEETING_ENDED_V1,
        "approval.approval.approved_v1": types.APPROVAL_INSTANCE_STATUS_CHANGED_V4,
        "approval.approval.rejected_v1": types.APPROVAL_INSTANCE_STATUS_CHANGED_V4,
    }
)
"""Names in use (the .NET client has them) that Feishu never sends, to the type that it does send."""

ALIAS_STATUSES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "approval.approval.approved_v1": "APPROVED",
        "approval.approval.rejected_v1": "REJECTED",
    }
)
"""Of those whose type tells several things: the `status` in the body that stands for the name."""


def model_for(event_type: str) -> type[Any] | None:
    """The model of an event type's body, its module loaded on first use; None if the catalogue has none.

    Of a name that Feishu never sends it is that of what it sends: others may send it all the same.
    """
    # Here, so that importing the package reads nothing that may never be wanted.
    from ._index import MODELS

    event_type = ALIASES.get(event_type, event_type)
    name = MODELS.get(event_type)
    if name is None:
        return None
    domain = event_type.partition(".")[0]
    return cast("type[Any]", getattr(import_module(f".{domain}", __package__), name))


def nearest(event_type: str) -> str | None:
    """The known event type most like this one, itself if it is known; None if nothing is much like it."""
    from ._index import MODELS

    if event_type in MODELS:
        return event_type
    from difflib import get_close_matches

    return next(iter(get_close_matches(event_type, MODELS, n=1)), None)


def types_with(word: str) -> tuple[str, ...]:
    """The known event types of which `word` is one of the parts between the dots, whatever its letters' case."""
    from ._index import MODELS

    word = word.lower()
    return tuple(event_type for event_type in MODELS if word in event_type.split("."))
