"""The frame: what each binary message of the long connection holds."""

from __future__ import annotations

from typing import Any, Final

from .._quiet import QuietStruct
from ._fields import MAX_DEPTH, allowance, walk
from ._tags import LOG_ID, SEQ_ID, SERVICE
from ._varint import read_varint

CONTROL: Final = 0
"""`Frame.method` of pings and pongs."""

DATA: Final = 1
"""`Frame.method` of events, callbacks and their answers."""


class Frame(QuietStruct, gc=False):  # no cycle can go through it
    """A frame as received.

    Made 30,000 times a second, so it is not frozen; but only `Receiver` changes it: the last part of a split
    message gets the whole payload.
    """

    method: int
    """An int32: `CONTROL` or `DATA`; no others are known."""
    headers: dict[str, str]
    """In order of arrival; the first value wins where a key is repeated, as in the official clients."""
    payload: bytes
    """Empty if there was none. Of a frame from `Receiver` it is whole."""
    raw: bytes
    """The bytes received."""
    rest: bytes
    """The bytes received without the payload's field: what an answer begins with."""

    def __repr__(self) -> str:
        return f"<Frame method={self.method} headers={self.headers} payload of {len(self.payload)} bytes>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("method", self.method), ("headers", self.headers)]

    # An answer needs none of these, so they are decoded where they are read.

    @property
    def seq_id(self) -> int:
        """`SeqID`, 0 to 2**64 - 1."""
        return self._number(SEQ_ID)

    @property
    def log_id(self) -> int:
        """`LogID`, 0 to 2**64 - 1."""
        return self._number(LOG_ID)

    @property
    def service(self) -> int:
        """An int32: the `service_id` of the connection's URL."""
        unsigned = self._number(SERVICE) & 0xFFFF_FFFF
        return unsigned - (1 << 32) if unsigned >> 31 else unsigned

    def _number(self, tag: int) -> int:
        number = 0
        for found, _, value, _ in walk(self.raw, 0, len(self.raw), MAX_DEPTH, allowance()):
            if found == tag:
                number, _ = read_varint(self.raw, value)  # the last one counts
        return number
