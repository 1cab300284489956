"""Lists that come page by page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ._calls import bad_field
from ._http import Request

_LARGEST: Final = 100
_USUAL: Final = 20


def page(request: Request, items: Sequence[object]) -> dict[str, object]:
    """The page of `items` that a request asks for by `page_size` (20; at most 100) and `page_token`."""
    size, token = request.query.get("page_size", str(_USUAL)), request.query.get("page_token", "0")
    if not _is_number(size) or not 1 <= int(size) <= _LARGEST:
        raise bad_field("page_size", f"page_size is from 1 to {_LARGEST}", size)
    if not _is_number(token) or int(token) > len(items):
        raise bad_field("page_token", "page_token is one that the last page gave", token)
    start, end = int(token), int(token) + int(size)
    more = end < len(items)
    return {"has_more": more, "page_token": str(end) if more else "", "items": items[start:end]}


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) < 10
