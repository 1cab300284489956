"""The frame: what every binary message of the long connection holds."""

from __future__ import annotations

from typing import Final

from attrs import define, field

CONTROL: Final = 0
"""`Frame.method` of pings and pongs."""

DATA: Final = 1
"""`Frame.method` of events, callbacks and their answers."""


@define
class Frame:
    """A frame as received. Made 30,000 times a second, so it is not frozen; treat it as if it were."""

    seq_id: int
    """`SeqID`, 0 to 2**64 - 1."""
    log_id: int
    """`LogID`, 0 to 2**64 - 1."""
    service: int
    """An int32: the `service_id` of the connection's URL."""
    method: int
    """An int32: `CONTROL` or `DATA`; others are not known."""
    headers: dict[str, str]
    """In order of arrival; the first value wins where a key is repeated, as in the official clients."""
    payload: bytes = field(repr=False)
    """Empty if there was none."""
    raw: bytes = field(repr=False, eq=False)
    """The bytes received."""
    rest: bytes = field(repr=False, eq=False)
    """The bytes received, less the payload's field: what an answer begins with."""
