"""What a line of the log is about, as attributes of its record: the same names wherever they stand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..events import Event
from .limits import one_line

__all__ = ["of_connection", "of_event", "of_ids"]


def of_event(event: Event[Any], handler: str = "") -> Mapping[str, str]:
    """Of a line about an event, and perhaps a handler of it."""
    return of_ids(event_id=event.id, event_type=event.type, trace_id=event.trace_id, handler=handler)


def of_connection(connection_id: str) -> Mapping[str, str]:
    """Of a line about a connection."""
    return of_ids(connection_id=connection_id)


def of_ids(**ids: str) -> Mapping[str, str]:
    """Of a line about whatever has these ids; those that are empty are left out."""
    return {f"feishu_{name}": one_line(value) for name, value in ids.items() if value}
