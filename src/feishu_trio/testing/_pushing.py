"""Pushing events and callbacks to bots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from random import Random
from typing import Final

import msgspec
import trio

from ._connection import GatewayConnection
from ._frames import CALLBACKS, Parcel, body_of, event_payload, random_id, split
from ._openapi import OpenApi
from ._platform import Platform
from ._push import Push

_BURST: Final = 32
"""Pushes made in a row before other tasks run: so that a burst leaves in few writes."""


class Pushing:
    """The part of `Gateway` that pushes events."""

    __slots__ = ()

    app_id: str
    max_part_size: int | None
    ladder: tuple[float, ...]
    _platform: Platform
    _api: OpenApi
    _random: Random
    _numbers: count[int]

    async def push(
        self,
        event_type: str,
        body: object = None,
        *,
        event_id: str | None = None,
        schema: str = "2.0",
        payload: bytes | None = None,
        callback: bool | None = None,
        connection: GatewayConnection | None = None,
        ladder: Sequence[float] | None = None,
        parts: int | Sequence[bytes] | None = None,
        part_order: Sequence[int] | None = None,
        headers: Mapping[str, str | None] | None = None,
        trace_id: str | None = None,
        seq_id: int | None = None,
        log_id: int | None = None,
        extra: bytes = b"",
    ) -> Push:
        """Send an event, or a callback, to the bot, and go on delivering it as the platform would.

        The first delivery goes to one live connection, chosen at random, and the method returns. Without a live
        connection that attempt fails, and an event waits for the first step of the ladder.

        `body` is the event's body: a mapping, an event model, or None for an empty one.
        `event_id` defaults to a new one. `schema` is "2.0" or "1.0".
        `payload` is sent as it is, instead of a payload made from these.
        What the event names exists from now on: a message can be replied to, a clicked card updated.
        `callback` depends on the type by default; a callback is never delivered again.
        `connection` gets the first delivery. `ladder` overrides the gateway's, in seconds.
        `parts` splits the payload into that many parts of equal size, or is the parts themselves.
        `part_order` is the parts sent, in that order: it can repeat some and withhold others.
        `headers` are changed or added in the frames' headers; None removes one.
        `extra` is protobuf appended to every frame: fields that clients do not know.
        `trace_id`, `seq_id` and `log_id` default to new ones for each delivery.
        """
        event_id = event_id or random_id(self._random)
        is_callback = event_type in CALLBACKS if callback is None else callback
        body = {} if body is None else body
        card_token = None
        if event_type == "card.action.trigger":
            fields = msgspec.to_builtins(body)
            card_token = fields.get("token") or f"c-{random_id(self._random)}"
            body = {**fields, "token": card_token}
        if payload is not None:
            body = body_of(payload)
        else:
            payload = event_payload(schema, event_type, event_id, self.app_id, body)
        pieces = split(payload, parts, self.max_part_size)
        order = range(len(pieces)) if part_order is None else tuple(part_order)
        parcel = Parcel(pieces, order, headers or {}, trace_id, seq_id, log_id, extra)
        steps = self.ladder if ladder is None else tuple(ladder)
        push = Push(event_id, event_type, payload, is_callback, steps, parcel, card_token)
        self._api.pushed(push, body)
        self._platform.ladder.start(push, connection)
        if next(self._numbers) % _BURST:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            await trio.lowlevel.checkpoint()
        return push
