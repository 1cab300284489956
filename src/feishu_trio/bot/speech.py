"""What a handler says is said once: each saying has an id of its own, the same whenever the handler runs again."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from .._quiet import QuietStruct
from ..events import Event
from ..events.port import Notes

__all__ = ["Saying", "saying"]

_UUID_BYTES = 16  # 32 characters: Feishu takes 50, and parts of a message add some


class Saying(QuietStruct):
    """One thing that a handler says, or asks: the first reply to an event, the second, the first stream."""

    uuid: str
    """Feishu sends what has the same within an hour once."""
    handler: str
    key: str
    """Under which it is noted."""
    notes: Notes | None
    """Where it is noted, if the event comes from an inbox."""

    def noted(self) -> Any:
        """What was noted of it when the handler ran before; None if nothing."""
        value = None if self.notes is None else self.notes.noted(self.handler, self.key)
        return None if value is None else msgspec.json.decode(value)

    async def note(self, value: object) -> None:
        """Note it, if the event comes from an inbox.

        Raises:
            InboxError: It could not be written.
        """
        if self.notes is not None:
            await self.notes.note(self.handler, self.key, msgspec.json.encode(value))


def saying(event: Event[Any], handler: str, kind: str) -> Saying:
    """The next thing of its kind that a handler says of an event."""
    count = event.memo.get((handler, kind), 0) + 1
    event.memo[handler, kind] = count
    what = "\0".join((_identity(event), handler, kind, str(count)))
    uuid = hashlib.blake2b(what.encode("utf-8", "surrogatepass"), digest_size=_UUID_BYTES).hexdigest()
    return Saying(uuid, handler, f"{kind} {count}", event.notes)


def _identity(event: Event[Any]) -> str:
    # A message may come again under another event id.
    return (event.about or event.id) if event.type == "im.message.receive_v1" else (event.id or event.about)
