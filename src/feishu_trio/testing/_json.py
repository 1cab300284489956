"""JSON that others wrote, which may be none, and JSON as it stands in messages."""

from __future__ import annotations

import json
from typing import Any

import msgspec


def decoded(text: str | bytes) -> Any:
    """What `text` says. ValueError if it is no JSON, or nests too deeply."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ValueError(str(error)) from None


def decoded_object(text: str | bytes) -> dict[str, Any] | None:
    """The object that `text` is; None if it is something else."""
    try:
        value = decoded(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def as_json(value: object) -> str:
    """JSON, as it stands in messages."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
