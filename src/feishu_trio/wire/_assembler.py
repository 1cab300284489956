"""Split messages: each frame brings one part, and the payload is whole when all parts are there."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import msgspec

from ..errors import FrameError
from ._frame import Frame

_MAX_PARTS: Final = 10_000  # parts are stored as they come, so that a high `sum` alone costs no memory
_MAX_ID: Final = 1024  # characters of a message_id; Feishu's have 36


class _Message(msgspec.Struct):
    since: float
    total: int
    parts: dict[int, bytes] = msgspec.field(default_factory=dict)
    size: int = 0


class Assembler:
    """Assembles split messages. Parts come in any order, interleaved with those of others, twice, or never.

    Unfinished messages are bounded in number (`max_messages`), in bytes of payload (`max_bytes`, which also
    bounds each message) and in age (`max_age`, seconds since the first part came). What exceeds a bound is
    dropped, the oldest message first: the platform delivers its event again.
    """

    def __init__(
        self, *, max_messages: int = 256, max_bytes: int = 64 * 1024 * 1024, max_age: float = 15.0
    ) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._max_age = max_age
        self._messages: OrderedDict[str, _Message] = OrderedDict()  # the oldest first
        self._pending_bytes = 0
        self._dropped = 0

    @property
    def pending(self) -> int:
        """How many messages are unfinished."""
        return len(self._messages)

    @property
    def pending_bytes(self) -> int:
        """How many bytes of payload the unfinished messages hold."""
        return self._pending_bytes

    @property
    def dropped(self) -> int:
        """How many unfinished messages were dropped so far, because a bound was exceeded."""
        return self._dropped

    def add(self, frame: Frame, now: float) -> bytes | None:
        """The whole payload, if `frame` carries it or completes it; None while parts are missing.

        `now` is a monotonic time in seconds. Of a part that comes twice the first is kept. A `sum` of 0 is
        read as 1, as the official clients do.

        Raises `FrameError`, and stores nothing of `frame`, for headers that cannot be true: a `sum` or `seq`
        that is no plain number or out of range, a `sum` that differs from that of earlier parts, a part
        without `message_id`. Also where a message exceeds `max_bytes`: that message is dropped.
        """
        if self._messages:
            self._expire(now)
        headers = frame.headers
        if headers.get("sum", "1") == "1":
            return frame.payload
        total = _number(headers, "sum", _MAX_PARTS)
        if total <= 1:
            return frame.payload
        seq = _number(headers, "seq", total - 1)
        message_id = headers.get("message_id", "")
        if not 1 <= len(message_id) <= _MAX_ID:
            raise FrameError(
                f"message_id of a part has {len(message_id)} characters; allowed is 1 to {_MAX_ID}"
            )

        message = self._messages.get(message_id)
        if message is None:
            message = self._messages[message_id] = _Message(now, total)
        elif message.total != total:
            raise FrameError(
                f"message {message_id}: sum is {total}, but was {message.total} in an earlier part"
            )
        elif seq in message.parts:
            return None

        message.parts[seq] = frame.payload
        message.size += len(frame.payload)
        self._pending_bytes += len(frame.payload)
        if message.size > self._max_bytes:
            self._drop(message_id)
            raise FrameError(f"message {message_id}: over {self._max_bytes} bytes (max_bytes); dropped")
        if len(message.parts) == total:
            self._remove(message_id)
            return b"".join([message.parts[i] for i in range(total)])
        while len(self._messages) > self._max_messages or self._pending_bytes > self._max_bytes:
            self._drop(next(iter(self._messages)))
        return None

    def _expire(self, now: float) -> None:
        # Besides those that it drops, this looks at one message.
        while self._messages:
            message_id, message = next(iter(self._messages.items()))
            if now - message.since <= self._max_age:
                break
            self._drop(message_id)

    def _drop(self, message_id: str) -> None:
        self._remove(message_id)
        self._dropped += 1

    def _remove(self, message_id: str) -> None:
        self._pending_bytes -= self._messages.pop(message_id).size


def _number(headers: dict[str, str], name: str, most: int) -> int:
    text = headers.get(name, "")
    # str.isdigit alone would allow the digits of any script; int() allows signs, blanks and underscores too.
    if (
        text.isascii()
        and text.isdigit()
        and len(text) <= len(str(_MAX_PARTS))
        and (number := int(text)) <= most
    ):
        return number
    raise FrameError(f"the header {name} of a part is {text[:40]!r}; allowed is 0 to {most}")
