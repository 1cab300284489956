"""The envelope of an event: what is read of a payload on arrival.

A payload comes in one of two envelopes:

* 2.0: `{"schema", "header": {"event_id", "event_type", "create_time", "app_id", "tenant_key"}, "event": {…}}`
* 1.0: `{"uuid", "ts", "type": "event_callback", "event": {"type", "app_id", "tenant_key", …}}`
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from ..errors import EventDecodeError
from ._json import UNFIT, read_patiently, unfit, write_patiently
from .event import Event

__all__ = ["decode_event"]

# Of an Event, in the order of its parameters.
_Facts = tuple[msgspec.Raw, Literal["1.0", "2.0"], str, str, str | None, str | None, str | None]


class _Header(msgspec.Struct, gc=False):
    event_id: str | None = None
    event_type: str | None = None
    create_time: str | None = None
    app_id: str | None = None
    tenant_key: str | None = None


class _Envelope(msgspec.Struct, gc=False):
    event: msgspec.Raw = msgspec.Raw(b"null")
    header: _Header | None = None
    uuid: str | None = None
    ts: str | None = None


class _BodyOfV1(msgspec.Struct, gc=False):
    type: str | None = None
    app_id: str | None = None
    tenant_key: str | None = None


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_body_of_v1 = msgspec.json.Decoder(_BodyOfV1 | None).decode
# The strings that the three above are made of.
_STRINGS: Final = frozenset(
    {"uuid", "ts", "event_id", "event_type", "create_time", "app_id", "tenant_key", "type"}
)


def decode_event(
    payload: bytes, *, message_id: str = "", trace_id: str = "", received_at: float = 0.0
) -> Event[Any]:
    """Read the envelope of an event; its body stays bytes until `Event.data`.

    An event without an id is kept (`id` is ""), and so is one that is only nearly right: bytes that are no
    UTF-8, half a surrogate pair, a number where the envelope has a string. What cannot be read is replaced.

    `message_id` and `trace_id` are the frame's, `received_at` is in seconds since 1970.

    Raises:
        EventDecodeError: this is no event: no JSON object, without a type, or it nests too deeply.
    """
    try:
        facts = _read(payload)
    except UNFIT:
        try:
            facts = _read(_mended(payload))
        except UNFIT as error:
            raise unfit("an event's payload", error, "$") from error
    event: Event[Any] = Event(payload, *facts, message_id, trace_id, received_at)
    if not event.type:
        raise EventDecodeError(
            "a payload is no event: it has no type, neither at `header.event_type` (schema 2.0) nor at "
            "`event.type` (schema 1.0)"
        )
    return event


def _read(payload: bytes) -> _Facts:
    envelope = _decode_envelope(payload)
    body, header = envelope.event, envelope.header
    if header is not None:
        return (
            body,
            "2.0",
            header.event_id or "",
            header.event_type or "",
            header.create_time,
            header.app_id,
            header.tenant_key,
        )
    of_v1 = _decode_body_of_v1(body) or _BodyOfV1()
    return body, "1.0", envelope.uuid or "", of_v1.type or "", envelope.ts, of_v1.app_id, of_v1.tenant_key


def _mended(payload: bytes) -> bytes:
    """The payload as JSON that `_read` takes, as far as that can be had."""
    envelope = read_patiently(payload)
    if isinstance(envelope, dict):
        holder = envelope["header"] = _as_dict(envelope.get("header"))
        if holder is None:
            holder = envelope["event"] = _as_dict(envelope.get("event"))
        for strings in (envelope, holder or {}):
            strings |= {name: _as_text(strings[name]) for name in _STRINGS & strings.keys()}
    return write_patiently(envelope)


def _as_dict(value: object) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None


def _as_text(value: object) -> str | None:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
