"""Storing is a handler: one route that stands for all durable routes of an event when it arrives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from ..config import Ack
from ..delivery import identify
from ..events import Event
from ..events.order import by_chat, by_sender, by_thread
from ..routes import BatchSize, Route
from ..telemetry import Telemetry
from .protocol import Inbox
from .records import Entry

__all__ = ["STORING_POOL", "lane_of", "storing_route"]

STORING_POOL: Final = "storing"
"""Where storing runs: handlers at work never keep an event from being stored."""

_GROUP: Final = 64  # events that one call stores; the inbox puts calls together
# Characters of a type that are kept beside the payload, and asked for at each claim. Feishu's own have less than 100; of
# what has more, the beginning says who may be idle for it, and its whole type who handles it.
_TYPE_LENGTH: Final = 256


def storing_route(inbox: Inbox, telemetry: Telemetry) -> Route:
    """The route that stores events in an inbox. Its success is that they are committed."""

    async def store(events: Sequence[Event[Any]]) -> None:
        await inbox.store([entry_of(event, inbox.rules.order_by) for event in events])
        telemetry.events_stored(len(events))

    def has_key(event: Event[Any]) -> bool:
        # A key that cannot be had is a failure of its event, not of all that are stored with it.
        lane = _lane(event, inbox.rules.order_by)
        return lane is None or lane.encode() is not None

    is_sure = inbox.rules.order_by in (None, by_chat, by_thread, by_sender)
    return Route(
        handler=store,
        name="(storing)",
        patterns=("*",),
        pool=STORING_POOL,
        ack=Ack.ON_SUCCESS,
        where=None if is_sure else has_key,
        batch=BatchSize(_GROUP, 0.0),
    )


def entry_of(event: Event[Any], order_by: Callable[[Event[Any]], object] | None) -> Entry:
    """What is stored of an event."""
    keys, chat = event._identity or identify(event)
    # Most are ordered by what has just been found.
    lane = chat if chat and order_by is by_chat else _lane(event, order_by)
    return Entry(
        keys=keys,
        id=event.id,
        type=event.type[:_TYPE_LENGTH],
        lane=lane,
        payload=event.payload,
        message_id=event.message_id,
        trace_id=event.trace_id,
        received=event._received,
    )


def _lane(event: Event[Any], order_by: Callable[[Event[Any]], object] | None) -> str | None:
    key = None if order_by is None else order_by(event)
    return None if key is None else lane_of(key)


def lane_of(key: object) -> str:
    """An order key as text, the same in each process; a key may be a number, a tuple or a frozenset, too."""
    return key if isinstance(key, str) else msgspec.json.encode(_in_order(key)).decode()


def _in_order(key: object) -> object:
    """The same key, with what is in its sets in the order of its JSON; their own is another in each process."""
    if isinstance(key, set | frozenset):
        return sorted(map(_in_order, key), key=msgspec.json.encode)
    return [_in_order(each) for each in key] if isinstance(key, tuple) else key
