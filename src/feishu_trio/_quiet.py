"""Structs that do not show what they hold: people's data, tokens, the URL of a connection."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["QuietStruct"]


class QuietStruct(msgspec.Struct):
    """Shows its class alone, unless a subclass knows what it may show: to `repr`, and to rich."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []
