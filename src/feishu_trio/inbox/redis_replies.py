"""What the scripts give back, as data. Lua has false where Python has None, and one kind of strings for both of its."""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import Final, TypeVar

import msgspec

from .._quiet import QuietStruct
from .records import Claim, Counts, Details, Entry, HandlerState, State, Stored, Summary
from .redis_scripts import bytes_of

__all__ = [
    "Cancelled",
    "Claimed",
    "Event",
    "Listed",
    "Opened",
    "Renewed",
    "Requeued",
    "Scanned",
    "Status",
    "encode_body",
    "encode_event",
    "optional",
    "read_cancelled",
    "read_claimed",
    "read_counts",
    "read_details",
    "read_event",
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

_STORED: Final = 17  # characters of when an event was stored, which it begins with
_BEGINNING: Final = Struct(f">{_STORED}sIIBBdI")
_SIZE: Final = Struct(">I")

_LONG: Final = (
    64  # characters of an id or a lane, some of which may have to go once it is done: see `ends.lua`
)


def optional(value: T | bool) -> T | None:
    """None for false."""
    return None if isinstance(value, bool) else value


class _Body(QuietStruct, array_like=True, gc=False):
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


class _Facts(QuietStruct, array_like=True, gc=False):
    """What few steps of the scripts look into."""

    id: str
    digests: msgspec.Raw
    received: float
    is_odd: bool
    """Whether its key cannot be told from its id."""


class Event(QuietStruct, gc=False):
    """An event as it is kept, without its body."""

    id: str
    type: str
    lane: str | None
    received: float
    stored: float
    attempts: int
    crashes: int


class _Claim(QuietStruct, array_like=True, gc=False):
    number: str
    event: msgspec.Raw
    body: msgspec.Raw
    parts: tuple[list[tuple[str, msgspec.Raw]], list[tuple[str, str, msgspec.Raw]]] | None = None

    def claim(self, token: int, is_gathered: bool) -> Claim:
        event = read_event(bytes_of(self.event) or b"")
        body = _body_of(self.body)
        claim = Claim(
            number=int(self.number),
            token=token,
            id=event.id,
            type=event.type,
            lane=event.lane,
            payload=body.payload or b"",
            message_id=body.message_id,
            trace_id=body.trace_id,
            received=event.received,
            stored=event.stored,
            attempt=event.attempts + 1,
            crashes=event.crashes,
            is_gathered=is_gathered,
        )
        if self.parts is not None:
            succeeded, notes = self.parts
            claim.has_parts = True
            claim.succeeded = {name: bytes_of(result) for name, result in succeeded}
            claim.notes = {(handler, key): bytes_of(value) or b"" for handler, key, value in notes}
        return claim


class _Claims(QuietStruct, array_like=True):
    token: int
    is_gathered: bool
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


_encode: Final = msgspec.msgpack.Encoder().encode
_decode_facts: Final = msgspec.msgpack.Decoder(_Facts).decode
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
    return _encode((message_id, trace_id, payload))


def encode_event(entry: Entry, digests: msgspec.Raw, *, is_odd: bool) -> bytes:
    """What is kept of an event, as `base.lua` has it, but for when it was stored, which the server knows."""
    lane = (entry.lane or "").encode()
    has_more = len(entry.id) > _LONG or len(lane) > _LONG
    beginning = _beginning(entry.type, has_more, entry.lane is not None)
    return beginning + _SIZE.pack(len(lane)) + lane + _encode((entry.id, digests, entry.received, is_odd))


@lru_cache(256)
def _beginning(kind: str, has_more: bool, has_lane: bool) -> bytes:
    encoded = kind.encode()
    return _BEGINNING.pack(b"", 0, 0, has_more, has_lane, 0.0, len(encoded))[_STORED:] + encoded


def read_event(packed: bytes) -> Event:
    """What is kept of an event."""
    stored, attempts, crashes, _, has_lane, _, size = _BEGINNING.unpack_from(packed)
    end = _BEGINNING.size + size
    first = end + _SIZE.size
    last = first + _SIZE.unpack_from(packed, end)[0]
    facts = _decode_facts(packed[last:])
    return Event(
        id=facts.id,
        type=packed[_BEGINNING.size : end].decode(),
        lane=packed[first:last].decode() if has_lane else None,
        received=facts.received,
        stored=float(stored),
        attempts=attempts,
        crashes=crashes,
    )


def _body_of(raw: msgspec.Raw) -> _Body:
    packed = bytes_of(raw)
    return _decode_body(packed) if packed else _Body("", "", None)


def read_claimed(raw: msgspec.Raw) -> Claimed | None:
    """What was claimed; None if it was asked under a name that is outdated."""
    claimed = optional(_decode_claims(raw))
    if claimed is None:
        return None
    claims = [each.claim(claimed.token, claimed.is_gathered) for each in claimed.claims]
    return Claimed(claims, claimed.is_all, claimed.status)


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
