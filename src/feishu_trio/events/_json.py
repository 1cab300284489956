"""JSON that does not fit: how that is told, as an `EventDecodeError`, and what can still be read of it."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import msgspec

from ..errors import EventDecodeError

UNFIT: Final = (msgspec.MsgspecError, ValueError, RecursionError)
"""What msgspec and `json` raise: their own errors, bad UTF-8 (a ValueError), nesting that is too deep."""

_MISSING: Final = r"Object missing required field `(\w+)`(?: - at `\$(.*)`)?"


def unfit(what: str, error: Exception, place: str) -> EventDecodeError:
    """The error for `what` that does not fit, with its path counted from `place` in the payload."""
    if isinstance(error, RecursionError):
        return EventDecodeError(f"{what} nests too deeply, at `{place}`")
    if isinstance(error, UnicodeError):
        return EventDecodeError(f"{what} is not in UTF-8, at `{place}`")
    reason = str(error)
    missing = re.fullmatch(_MISSING, reason)
    if missing:
        holder = place + (missing[2] or "")
        reason = f"`{holder}.{missing[1]}` is missing - at `{holder}`"
    elif "`$" in reason:
        reason = reason.replace("`$", f"`{place}")
    else:
        reason += f" - at `{place}`"
    return EventDecodeError(f"{what} does not fit: {reason}")


def read_patiently(payload: bytes) -> Any:
    """What msgspec refuses, with U+FFFD for bytes that are no UTF-8, and null for NaN and infinities; a ValueError if it is no JSON at all."""
    return json.loads(payload.decode("utf-8-sig", "replace"), parse_constant=lambda _: None)


def write_patiently(value: object) -> bytes:
    """JSON again, with `?` for half a surrogate pair, which `json` reads but nobody can write."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
