"""What is known of event types: the model of each, and what a mistaken one was probably meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any, Final, cast

from . import types

__all__ = ["ALIASES", "model_for", "nearest"]

ALIASES: Final[Mapping[str, str | None]] = MappingProxyType(
    {
        "im.chat.member.user_added_v1": types.IM_CHAT_MEMBER_USER_ADDED_V1,
        "im.chat.member.user_deleted_v1": types.IM_CHAT_MEMBER_USER_DELETED_V1,
        "calendar.event.updated_v4": types.CALENDAR_CALENDAR_EVENT_CHANGED_V4,
        "meeting.meeting.started_v1": types.VC_MEETING_MEETING_STARTED_V1,
        "meeting.meeting.ended_v1": types.VC_MEETING_MEETING_ENDED_V1,
        # One event tells both, `approval.instance.status_changed_v4`, by its `status`: a handler of approvals
        # would run on rejections too.
        "approval.approval.approved_v1": None,
        "approval.approval.rejected_v1": None,
    }
)
"""Names in use (the .NET client has them) that Feishu never sends, to the type that it does send.

None where no type means the same.
"""


def model_for(event_type: str) -> type[Any] | None:
    """The model of an event type's body, its module loaded on first use; None if the catalogue has none."""
    # Here, so that importing the package reads nothing that may never be wanted.
    from ._index import MODELS

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
    return next(iter(difflib.get_close_matches(event_type, MODELS, n=1)), None)
