"""An inbox in a file: what was answered is handled, though the process dies."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar, Unpack

import trio

from ..errors import ConfigError, InboxError
from .database import Database
from .file import DatabaseFile
from .local import LocalInbox
from .protocol import InboxRules, RuleArguments
from .requests import Answer, Purge, Request, Requests, Requeue

__all__ = ["SQLiteInbox"]

logger = logging.getLogger("feishu_trio.inbox")

T = TypeVar("T")

# Seconds for which somebody who changes something in the file is waited for.
_LOCK: Final = 1.0
_LOCK_AGAIN: Final = 0.05
_LOOK: Final = 0.5  # seconds after which is looked again whether another process wants something


class SQLiteInbox(LocalInbox):
    """Keeps events in an SQLite database: each that was answered 200 is handled, whatever becomes of the process.

    One process has the file at a time; a second is refused. Each commit is on the disk before anybody is answered.

    Args:
        path: The database file, on a local disk; made if it is not there. Beside it stand `-wal`, `-shm`, `.lock` and,
            while another process wants something, `-requests`.
        rules: What every inbox is told: fields of `InboxRules` by name.

    Raises:
        ConfigError: An argument is wrong.
    """

    def __init__(self, path: str | Path, **rules: Unpack[RuleArguments]) -> None:
        super().__init__(InboxRules(**rules))
        self._file = DatabaseFile(path, f"SQLiteInbox({str(path)!r})")
        self._requests = Requests(self._file.path)
        self._limiter = trio.CapacityLimiter(1)

    def __repr__(self) -> str:
        return f"SQLiteInbox({str(self.path)!r})"

    @property
    def path(self) -> Path:
        """The database file."""
        return self._file.path

    async def backup(self, path: str | Path) -> None:
        """Copy all that is committed into a new file; nothing waits for it. Cancelled, it leaves none.

        Raises:
            InboxError: It cannot be written, or is there already.
        """
        await trio.to_thread.run_sync(self._file.backup, Path(path), abandon_on_cancel=True)

    async def _open(self, app_id: str) -> Database:
        until = trio.current_time() + _LOCK
        while True:
            if self._file.lock():
                break
            if trio.current_time() >= until:
                raise InboxError(
                    f"{self!r}: another process has this inbox open, or another session of this one; an SQLiteInbox "
                    "is one session's at a time. End the other one; several processes share a RedisInbox"
                )
            await trio.sleep(_LOCK_AGAIN)
        try:
            return await self._call(self._file.open, app_id)
        except BaseException:
            self._file.close()
            raise

    async def _close(self) -> None:
        await self._call(self._file.close)

    async def _call(self, function: Callable[..., T], *arguments: object) -> T:
        return await trio.to_thread.run_sync(function, *arguments, limiter=self._limiter)

    def _check(self) -> None:
        self._file.check()

    # What other processes want

    async def _watch(self) -> None:
        seen: set[Path] = set()  # that cannot be answered: each is told of once
        while True:
            await trio.sleep(_LOOK)
            try:
                for file in await trio.to_thread.run_sync(self._requests.pending):
                    if file not in seen:
                        seen.add(file)
                        await self._take_up(file)
                        seen.discard(file)
            except OSError as error:
                logger.warning("what another process wants of %r cannot be done: %s", self, error)

    async def _take_up(self, file: Path) -> None:
        try:
            request = await trio.to_thread.run_sync(self._requests.read, file)
            answer = Answer(await self._carry_out(request))
        except (InboxError, ConfigError, ValueError) as error:
            answer = Answer(error=str(error))
        await trio.to_thread.run_sync(self._requests.answer, file, answer)

    async def _carry_out(self, request: Request) -> int:
        match request:
            case Requeue(ids):
                return await self.requeue(ids)
            case Purge(state, before):
                return await self.purge(state, self._now() - before)
