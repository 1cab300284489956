"""What a handler says is said once: each saying has an id of its own, the same whenever the handler runs again."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import trio

from .._quiet import QuietStruct
from ..errors import InboxError
from ..events import Event
from ..events.port import Notes

__all__ = ["Saying", "saying"]

_UUID_BYTES = 16  # 32 characters: Feishu takes 50, and parts of a message add some
_NOTING = 5.0  # seconds that a note may hold up the end of a handler that is cancelled


class Saying(QuietStruct):
    """One thing that a handler says, or asks: the first reply to an event, the second, the first stream."""

    uuid: str
    """Feishu sends what has the same within an hour once."""
    handler: str
    key: str
    """Under which it is noted."""
    notes: Notes | None
    """Where it is noted, if the event comes from an inbox."""

    @property
    def is_last(self) -> bool:
        """Whether no later run of the handler can go on with it."""
        return self.notes is None or self.notes.is_over

    def noted(self) -> Any:
        """What was noted of it when the handler ran before; None if nothing."""
        value = None if self.notes is None else self.notes.noted(self.handler, self.key)
        return None if value is None else msgspec.json.decode(value)

    async def note(self, value: object) -> None:
        """Note it, if the event comes from an inbox; also where that is cancelled, as it has been said.

        Raises:
            InboxError: It could not be written.
        """
        if self.notes is None:
            return
        try:
            with trio.fail_after(_NOTING, shield=True):
                await self.notes.note(self.handler, self.key, msgspec.json.encode(value))
        except trio.TooSlowError:
            raise InboxError(f"what was said could not be noted within {_NOTING:g} s") from None


def saying(event: Event[Any], handler: str, kind: str, what: str = "") -> Saying:
    """The next thing of its kind that a handler says of an event; `what`, if nothing else may take its place."""
    if what:
        kind = f"{kind} {_hash(what.encode())}"
    count = event.memo.get((handler, kind), 0) + 1
    event.memo[handler, kind] = count
    uuid = _hash("\0".join((_identity(event), handler, kind, str(count))).encode("utf-8", "surrogatepass"))
    return Saying(uuid, handler, f"{kind} {count}", event.notes)


def _hash(what: bytes) -> str:
    return hashlib.blake2b(what, digest_size=_UUID_BYTES).hexdigest()


def _identity(event: Event[Any]) -> str:
    # A message may come again under another event id.
    known = (event.about, event.id) if event.type == "im.message.receive_v1" else (event.id, event.about)
    return next(filter(None, known), None) or _hash(event.payload)
