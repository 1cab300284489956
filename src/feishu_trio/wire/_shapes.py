"""Frames with headers like those of frames before: one pattern reads all of their headers at once.

A server that writes the same headers, in the same order and with values of the same lengths, is read twice as fast
by a pattern for just that. What the pattern does not fit is for `decode_frame`, which reads anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from ._decode import NUMBERS, decode_frame
from ._frame import DATA, Frame
from ._tags import (
    ENCODING,
    HEADERS,
    KEY,
    LOG_ID_NEW,
    METHOD,
    PAYLOAD,
    TYPE,
    VALUE,
)
from ._varint import read_length

# Characters of a frame that a pattern looks at.
_HEAD: Final = 512
# Shapes that have a pattern, and frames of one shape that are worth it: making one takes as long as a thousand frames.
_MOST: Final = 4
_REPEATED: Final = 32
# Frames without a pattern that are looked at: a server that writes them ever differently is none to learn from.
_LESSONS: Final = 1024

# The headers in their order, with the lengths of their values.
_Shape = tuple[tuple[str, int], ...]


class FrameDecoder:
    """Does what `decode_frame` does, for the frames of one connection."""

    def __init__(self) -> None:
        self._patterns: list[tuple[Callable[[str], re.Match[str] | None], tuple[str, ...]]] = []
        self._seen: dict[_Shape, int] = {}
        self._lessons = _LESSONS

    def decode(self, data: bytes) -> Frame:
        """Read one binary WebSocket message. Raises `FrameError`, and nothing else."""
        head = data[:_HEAD].decode("latin-1")
        for match, keys in self._patterns:
            found = match(head)
            if found is not None:
                i = found.end()  # where the payload's length stands
                length, start = read_length(data, i)
                end, size = start + length, len(data)
                # Nothing follows it, or a log id.
                if end == size or (
                    end + 1 < size and data[end] == LOG_ID_NEW and data[end + 1] == size - end - 2 <= 0x7F
                ):
                    headers = dict(zip(keys, found.groups()))  # noqa: B905 - they match; the keyword takes 0.15 us
                    return Frame(DATA, headers, data[start:end], data, data[: i - 1] + data[end:])
                break
        frame = decode_frame(data)
        if self._lessons and frame.method == DATA and len(frame.rest) <= _HEAD:
            self._learn(frame, head)
        return frame

    def _learn(self, frame: Frame, head: str) -> None:
        self._lessons -= 1
        shape = tuple([(key, len(value)) for key, value in frame.headers.items()])
        count = self._seen[shape] = self._seen.get(shape, 0) + 1
        if count == _REPEATED and (pattern := _pattern(shape, head)):
            self._patterns.append((re.compile(pattern).match, tuple(frame.headers)))
            if len(self._patterns) == _MOST:
                self._lessons = 0
        if not self._lessons:
            self._seen.clear()


def _pattern(shape: _Shape, head: str) -> str | None:
    """For all before the payload's length of an event's frame: its headers and short texts, as they are in `head`.

    None if there is anything else, or a value that is not ASCII.
    """
    pattern = rf"{NUMBERS}\x{METHOD:02x}\x{DATA:02x}"
    for key, length in shape:
        fixed = [HEADERS, 4 + len(key) + length, KEY, len(key), *key.encode(), VALUE, length]
        if max(fixed) > 0x7F:
            return None
        pattern += "".join(rf"\x{byte:02x}" for byte in fixed) + rf"([\0-\x7f]{{{length}}})"
    found = re.match(pattern, head)
    if found is None:
        return None
    start = end = found.end()
    while end + 1 < len(head) and ord(head[end]) in (ENCODING, TYPE) and ord(head[end + 1]) <= 0x7F:
        end += 2 + ord(head[end + 1])
    if end >= len(head) or ord(head[end]) != PAYLOAD:
        return None
    return rf"{pattern}{re.escape(head[start : end + 1])}(?=[\x80-\xff]{{0,4}}[\0-\x7f])"
