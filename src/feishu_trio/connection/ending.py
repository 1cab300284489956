"""How a connection ends, and how the stream under it came to its end."""

from __future__ import annotations

import enum
import ssl
from collections.abc import Callable

import msgspec
import trio

__all__ = ["DisconnectReason", "Ended", "StreamEnd"]


class DisconnectReason(enum.StrEnum):
    """Why a connection ended."""

    CLOSED_BY_SERVER = "closed by server"
    """A WebSocket close frame came."""
    END_OF_FILE = "end of file"
    """The TCP connection ended without a close frame."""
    RESET = "reset"
    """The TCP connection broke."""
    TLS_ERROR = "TLS error"
    """What came was no valid TLS."""
    PROTOCOL_ERROR = "protocol error"
    """What came was no valid WebSocket."""
    NO_PONG = "no pong"
    """The server was silent, and answered no probe either."""
    WRITE_STALLED = "write stalled"
    """The server took no more bytes."""
    DEFECT = "defect"
    """Something was raised that nobody meant to raise: a defect, which the log shows with its traceback."""
    REPLACED = "replaced"
    """Another connection took its place, as `Session.reconnect` asked."""
    SESSION_CLOSED = "session closed"
    """The session was closed."""


class Ended(msgspec.Struct, frozen=True):
    """How a connection ended."""

    reason: DisconnectReason
    detail: str = ""
    code: int | None = None

    def __str__(self) -> str:
        code = f" with code {self.code}" if self.code is not None else ""
        return f"{self.reason}{code}" + (f" ({self.detail})" if self.detail else "")


class StreamEnd:
    """The end of a stream, as the first to meet it noted it: whoever reads it, or whoever writes to it."""

    def __init__(self) -> None:
        self.fault: tuple[DisconnectReason, str] | None = None
        """How the stream came to its end, if it did."""
        self.on_fault: Callable[[], object] | None = None
        """Called once, when it does."""

    def note(self, reason: DisconnectReason, detail: str = "") -> None:
        """It has ended; the first reason counts."""
        if self.fault is None:
            self.fault = reason, detail
            if self.on_fault is not None:
                self.on_fault()

    def note_broken(self, error: trio.BrokenResourceError) -> None:
        """It has ended with this error."""
        cause = error.__cause__
        tls = isinstance(cause, ssl.SSLError)
        self.note(DisconnectReason.TLS_ERROR if tls else DisconnectReason.RESET, str(cause or error))
