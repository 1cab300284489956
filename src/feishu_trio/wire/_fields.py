"""The fields of a protobuf message, one after the other, strictly: broken ones are refused here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ..errors import FrameError
from ._tags import END_GROUP, FIXED32, FIXED64, GROUP, LENGTH, VARINT
from ._varint import read_length, read_tag, read_varint

MAX_DEPTH: Final = 100
"""Messages and groups inside one another, as in Google's readers."""

MAX_FIELDS: Final = 1000
"""Fields of a frame, with those of its headers and groups: Feishu's have some 30. A field may be two bytes short,
and reading millions of them would keep all else waiting.
"""


def allowance() -> Iterator[int]:
    """What the walks through one frame share: each field takes one."""
    return iter(range(MAX_FIELDS))


def walk(
    data: bytes, at: int, end: int, depth: int, allowed: Iterator[int]
) -> Iterator[tuple[int, int, int, int]]:
    """The fields of the message in `data[at:end]`: tag, its start, the start of the value, the end.

    Groups, which are `depth` deep at most, are skipped; each field takes one from `allowed`. Raises `FrameError`
    for what is no protobuf, and where nothing is left of `allowed`.
    """
    groups: list[int] = []  # the numbers of those that are open
    while at < end:
        start = at
        if next(allowed, None) is None:
            raise FrameError(
                f"no frame: more than {MAX_FIELDS} fields, in headers and groups too, at byte {start}; "
                f"{MAX_FIELDS} are allowed"
            )
        try:
            tag, value = read_tag(data, start)
            number, wire_type = tag >> 3, tag & 7
            at = value
            if wire_type == VARINT:
                _, at = read_varint(data, value)
            elif wire_type == FIXED64:
                at += 8
            elif wire_type == LENGTH:
                length, value = read_length(data, value)
                at = value + length
            elif wire_type == FIXED32:
                at += 4
        except IndexError:
            at = end + 1
        if at > end:
            raise FrameError(f"no frame: the field that starts at byte {start} is cut off at byte {end}")
        # Google's readers allow a field 0 inside of a group.
        if wire_type > FIXED32 or (number == 0 and not groups):
            raise FrameError(f"no frame: field {number} of wire type {wire_type} at byte {start}")
        if wire_type == GROUP:
            groups.append(number)
            if len(groups) > depth:
                raise FrameError(f"no frame: groups are more than {depth} deep at byte {start}")
        elif wire_type == END_GROUP:
            if not groups or groups.pop() != number:
                raise FrameError(f"no frame: byte {start} ends group {number}, which is not open")
        elif not groups:
            yield tag, start, value, at
    if groups:
        raise FrameError(f"no frame: group {groups[-1]} is still open at byte {end}")
