"""An inbox as a command sees it, beside the bot that has it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Protocol, TypeVarTuple

import trio

from feishu_trio import InboxCounts, InboxDetails, InboxFile, InboxState, InboxSummary

from ._serving import URLS, redis_inbox, sqlite_path, wrong_url

__all__ = ["File", "Visited", "visit"]

Ts = TypeVarTuple("Ts")


class Visited(Protocol):
    """What a command may ask of an inbox: as `Inbox` has it."""

    async def counts(self) -> InboxCounts: ...
    async def list(self, state: InboxState, limit: int, after: int) -> list[InboxSummary]: ...
    async def show(self, event: str | int) -> InboxDetails | None: ...
    async def requeue(self, ids: Iterable[str | int]) -> int: ...
    async def purge(self, state: InboxState, older_than: float) -> int: ...


class File:
    """An inbox in a file. Nothing else runs meanwhile, so that reading it needs no thread."""

    def __init__(self, path: str) -> None:
        self._file = InboxFile(path)
        self.is_open = self._file.is_open

    async def counts(self) -> InboxCounts:
        """As `InboxFile.counts`."""
        return self._file.counts()

    async def list(self, state: InboxState, limit: int, after: int) -> list[InboxSummary]:
        """As `InboxFile.list`."""
        return self._file.list(state, limit, after)

    async def show(self, event: str | int) -> InboxDetails | None:
        """As `InboxFile.show`."""
        return self._file.show(event)

    async def requeue(self, ids: Iterable[str | int]) -> int:
        """As `InboxFile.requeue`."""
        return self._file.requeue(ids)

    async def purge(self, state: InboxState, older_than: float) -> int:
        """As `InboxFile.purge`."""
        return self._file.purge(state, older_than)


def visit(url: str, do: Callable[[Visited, *Ts], Awaitable[None]], *arguments: *Ts) -> None:
    """Do something with the inbox of a URL, in a trio of its own."""

    async def visiting() -> None:
        async with _open(url) as inbox:
            await do(inbox, *arguments)

    trio.run(visiting)


@asynccontextmanager
async def _open(url: str) -> AsyncGenerator[Visited, None]:
    if path := sqlite_path(url):
        yield File(path)
        return
    inbox = redis_inbox(url)
    if inbox is None:
        raise wrong_url(url, URLS)
    async with inbox.visit():
        yield inbox
