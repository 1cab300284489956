"""One request to Feishu, seen from outside: what it was, what came of it, and how long that took."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

import msgspec
import trio

from ..errors import ApiError

__all__ = ["Request", "Unanswered", "watched", "watcher"]


class Unanswered(Exception):
    """A request that came to nothing on its way; `error` is for whoever does not try again."""

    def __init__(self, error: ApiError) -> None:
        super().__init__()
        self.error = error


class Request(msgspec.Struct, eq=False):
    """One try of a call. It has neither the token nor the query nor a body."""

    method: str
    domain: str
    path: str
    """Without the query; it may name messages, files and people."""
    number: int
    """Which try of its call it is, from 0."""
    code: str = "cancelled"
    """What came of it, as in `SessionStats.api_requests`."""
    error: ApiError | None = None


watcher: ContextVar[Callable[[Request], AbstractContextManager[object]] | None] = ContextVar(
    "watcher", default=None
)
"""Is called for each request that is made in this context; the request is made within what it returns."""


@contextmanager
def watched(
    method: str, domain: str, path: str, number: int, on_end: Callable[[str, float], object] | None
) -> Iterator[None]:
    """Make a request within this: the context's watcher sees it, and `on_end` is called with its code and its seconds."""
    request = Request(method, domain, path.partition("?")[0], number)
    watch = watcher.get()
    began = trio.current_time()
    try:
        with nullcontext() if watch is None else watch(request):
            try:
                yield
            except Unanswered as lost:
                request.code, request.error = "unanswered", lost.error
                raise
            except ApiError as error:
                request.code, request.error = "failed" if error.code is None else str(error.code), error
                raise
            except Exception:
                request.code = "failed"
                raise
            request.code = "0"
    finally:
        if on_end is not None:
            on_end(request.code, trio.current_time() - began)
