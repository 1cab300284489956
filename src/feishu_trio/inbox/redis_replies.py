"""What the scripts give back, as data. Lua has false where Python has None, and one kind of strings for both of its."""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from .._quiet import QuietStruct
from .records import Claim, Counts, Details, HandlerState, State, Stored, Summary
from .redis_scripts import bytes_of

__all__ = [
    "Cancelled",
    "Claimed",
    "Listed",
    "Opened",
    "Renewed",
    "Requeued",
    "Scanned",
    "Status",
    "encode_body",
    "optional",
    "read_cancelled",
    "read_claimed",
    "read_counts",
    "read_details",
    "read_facts",
    "read_listed",
    "read_number",
    "read_numbers",
    "read_opened",
    "read_renewed",
    "read_requeued",
    "read_scanned",
    "read_stored",
    "read_summaries",
    "read_untold",
]

T = TypeVar("T")


def optional(value: T | bool) -> T | None:
    """None for false."""
    return None if isinstance(value, bool) else value


class _Body(QuietStruct, array_like=True):
    """What an event has while it is not done."""

    message_id: str
    trace_id: str
    payload: bytes | None


class Status(msgspec.Struct, array_like=True):
    """What there is to do besides what was asked for."""

    has_suspect: bool
    """Whether an event is ready that must run alone."""
    has_untold: bool
    due_in: float | bool
    """In how many seconds the next attempt is due."""
    version: int
    """Of the types."""
    types: list[str] | bool
    """False if they are those of the version that is known."""
    parked_types: list[str]


class Opened(msgspec.Struct, array_like=True):
    """What came of being an owner."""

    version: int
    app_id: str
    is_new: bool
    lost: list[int]
    status: Status | bool


class Renewed(msgspec.Struct, array_like=True):
    """What came of renewing a lease."""

    lost: list[int]
    status: Status


class _Claim(QuietStruct, array_like=True):
    number: int
    token: int
    id: str
    type: str
    lane: str | bool
    body: msgspec.Raw
    received: str
    stored: str
    attempt: int
    crashes: int
    is_gathered: bool
    parts: tuple[list[tuple[str, msgspec.Raw]], list[tuple[str, str, msgspec.Raw]]] | bool

    def claim(self) -> Claim:
        body = _body_of(self.body)
        claim = Claim(
            number=self.number,
            token=self.token,
            id=self.id,
            type=self.type,
            lane=optional(self.lane),
            payload=body.payload or b"",
            message_id=body.message_id,
            trace_id=body.trace_id,
            received=float(self.received),
            stored=float(self.stored),
            attempt=self.attempt,
            crashes=self.crashes,
            is_gathered=self.is_gathered,
        )
        parts = optional(self.parts)
        if parts is not None:
            succeeded, notes = parts
            claim.has_parts = True
            claim.succeeded = {name: bytes_of(result) for name, result in succeeded}
            claim.notes = {(handler, key): bytes_of(value) or b"" for handler, key, value in notes}
        return claim


class _Claims(QuietStruct, array_like=True):
    claims: list[_Claim]
    is_all: bool
    status: Status


class Claimed(QuietStruct):
    """What came of claiming."""

    claims: list[Claim]
    is_all: bool
    """Whether none is left."""
    status: Status


class _Summary(QuietStruct, array_like=True):
    number: int
    id: str
    type: str
    state: State
    lane: str | bool
    attempts: int
    crashes: int
    received: float
    stored: float
    due: float | bool
    settled: float | bool
    error: str | bool

    def summary(self) -> Summary:
        return Summary(
            number=self.number,
            id=self.id,
            type=self.type,
            state=self.state,
            lane=optional(self.lane),
            attempts=self.attempts,
            crashes=self.crashes,
            received=self.received,
            stored=self.stored,
            due=optional(self.due),
            settled=optional(self.settled),
            error=optional(self.error),
        )


class _Details(QuietStruct, array_like=True):
    event: _Summary
    body: msgspec.Raw
    handlers: list[tuple[str, float, str | bool]]

    def details(self) -> Details:
        summary = self.event.summary()
        body = _body_of(self.body)
        return Details(
            **{name: getattr(summary, name) for name in summary.__struct_fields__},
            message_id=body.message_id,
            trace_id=body.trace_id,
            payload=body.payload,
            handlers=tuple(
                HandlerState(name=name, error=optional(error), at=at)
                for name, at, error in sorted(self.handlers)
            ),
        )


class Listed(QuietStruct, array_like=True):
    """Some events of a state."""

    events: list[_Summary]
    behind: int | bool
    """The number to go on behind; False at the end."""


class Scanned(msgspec.Struct, array_like=True):
    """The numbers of some events of a state."""

    numbers: list[int]
    cursor: str
    """Where to go on; "0" at the end."""


class Cancelled(msgspec.Struct, array_like=True):
    """What was ended in one step."""

    count: int
    running: list[int]
    known: int
    upto: int | bool
    """The highest number to go on with; False at the end."""


class Requeued(msgspec.Struct, array_like=True):
    """What came of requeueing."""

    count: int
    has_untold: bool


_encode_body: Final = msgspec.msgpack.Encoder().encode
_decode_body: Final = msgspec.msgpack.Decoder(_Body).decode
_decode_claims: Final = msgspec.msgpack.Decoder(_Claims | bool).decode
_decode_details: Final = msgspec.msgpack.Decoder(_Details | bool).decode
_decode_untold: Final = msgspec.msgpack.Decoder(list[_Details]).decode
_decode_summaries: Final = msgspec.msgpack.Decoder(list[_Summary]).decode
_decode_stored: Final = msgspec.msgpack.Decoder(list[tuple[int, bool]]).decode
_decode_counts: Final = msgspec.msgpack.Decoder(tuple[int, int, int, int, int, int, int, float | bool]).decode
_decode_renewed: Final = msgspec.msgpack.Decoder(Renewed | bool).decode

read_facts: Final = msgspec.msgpack.Decoder(tuple[int, str]).decode
read_cancelled: Final = msgspec.msgpack.Decoder(Cancelled).decode
read_listed: Final = msgspec.msgpack.Decoder(Listed).decode
read_number: Final = msgspec.msgpack.Decoder(int).decode
read_numbers: Final = msgspec.msgpack.Decoder(list[int]).decode
read_opened: Final = msgspec.msgpack.Decoder(Opened).decode
read_requeued: Final = msgspec.msgpack.Decoder(Requeued).decode
read_scanned: Final = msgspec.msgpack.Decoder(Scanned).decode


def encode_body(message_id: str, trace_id: str, payload: bytes) -> bytes:
    """What is kept of an event until it is done."""
    return _encode_body((message_id, trace_id, payload))


def _body_of(raw: msgspec.Raw) -> _Body:
    packed = bytes_of(raw)
    return _decode_body(packed) if packed else _Body("", "", None)


def read_claimed(raw: msgspec.Raw) -> Claimed | None:
    """What was claimed; None if it was asked under a name that is outdated."""
    claimed = optional(_decode_claims(raw))
    if claimed is None:
        return None
    return Claimed([each.claim() for each in claimed.claims], claimed.is_all, claimed.status)


def read_renewed(raw: msgspec.Raw) -> Renewed | None:
    """Which claims are lost; None if there is no lease any more."""
    return optional(_decode_renewed(raw))


def read_stored(raw: msgspec.Raw) -> list[Stored]:
    """What became of the entries of a group."""
    return [Stored(number, is_new) for number, is_new in _decode_stored(raw)]


def read_counts(raw: msgspec.Raw) -> Counts:
    """How many events stand where."""
    ready, blocked, running, waiting, done, dead, parked, oldest = _decode_counts(raw)
    return Counts(ready, blocked, running, waiting, done, dead, parked, optional(oldest))


def read_details(raw: msgspec.Raw) -> Details | None:
    """One event, if it is there."""
    details = optional(_decode_details(raw))
    return None if details is None else details.details()


def read_untold(raw: msgspec.Raw) -> list[Details]:
    """Several events."""
    return [each.details() for each in _decode_untold(raw)]


def read_summaries(raw: msgspec.Raw) -> list[Summary]:
    """Several events, without their payloads."""
    return [each.summary() for each in _decode_summaries(raw)]
