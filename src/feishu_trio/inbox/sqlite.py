"""An inbox in a file: what was answered is handled, though the process dies."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar, Unpack

import trio
from filelock import FileLock, Timeout

from ..errors import ConfigError, InboxError
from .database import APPLICATION_ID, VERSION, Database
from .local import LocalInbox
from .protocol import InboxRules, RuleArguments

__all__ = ["SQLiteInbox"]

T = TypeVar("T")

_BUSY: Final = 5.0  # seconds to wait for another program that reads the file and checkpoints it


class SQLiteInbox(LocalInbox):
    """Keeps events in an SQLite database: each that was answered 200 is handled, whatever becomes of the process.

    One process has the file at a time; a second is refused. Each commit is on the disk before anybody is answered.

    Args:
        path: The database file, on a local disk; made if it is not there. Beside it stand `-wal`, `-shm` and `.lock`.
        rules: What every inbox is told: fields of `InboxRules` by name.

    Raises:
        ConfigError: An argument is wrong.
    """

    def __init__(self, path: str | Path, **rules: Unpack[RuleArguments]) -> None:
        super().__init__(InboxRules(**rules))
        if not isinstance(path, str | Path) or not str(path).strip():
            raise ConfigError(f"path: {path!r} is not allowed; it must be the path of a file")
        if str(path) == ":memory:":
            raise ConfigError(
                "path: ':memory:' is not allowed; it must be the path of a file. MemoryInbox() has none"
            )
        self.path = Path(path)
        """The database file."""
        # Of the file itself, by whatever name it was given.
        self._lock = FileLock(f"{self.path.resolve()}.lock", thread_local=False)
        self._connection: sqlite3.Connection | None = None
        self._limiter = trio.CapacityLimiter(1)

    def __repr__(self) -> str:
        return f"SQLiteInbox({str(self.path)!r})"

    async def _open(self, app_id: str) -> Database:
        try:
            return await self._call(self._open_file, app_id)
        except BaseException:
            with trio.CancelScope(shield=True):
                await self._close()
            raise

    def _open_file(self, app_id: str) -> Database:
        if not self.path.parent.is_dir():
            raise InboxError(f"{self!r}: there is no folder {str(self.path.parent)!r}: make it first")
        if self.path.is_dir():
            raise InboxError(f"{self!r}: this is a folder; it must be the path of a file")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise InboxError(
                f"{self!r}: another process has this inbox open, or another session of this one; "
                "an SQLiteInbox is one session's at a time"
            ) from None
        except OSError as error:
            raise InboxError(
                f"{self!r}: its lock {str(self._lock.lock_file)!r} cannot be had: {error}"
            ) from error
        try:
            # Never two threads at a time: `_limiter` sees to it.
            connection = self._connection = sqlite3.connect(
                self.path, isolation_level=None, check_same_thread=False, timeout=_BUSY
            )
            return self._prepare(connection, app_id)
        except sqlite3.Error as error:
            raise InboxError(f"{self!r} cannot be opened: {error}{_remedy(error)}") from error

    def _prepare(self, connection: sqlite3.Connection, app_id: str) -> Database:
        execute = connection.execute
        database = Database(connection, strict_order=self.rules.strict_order)
        (tables,) = execute("SELECT count(*) FROM sqlite_master").fetchone()
        (kind,), (version,) = (
            execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
        )
        if tables and kind != APPLICATION_ID:
            raise InboxError(f"{self!r}: this is the SQLite database of another program; choose another path")
        if version > VERSION:
            raise InboxError(
                f"{self!r} was written by a newer feishu_trio (version {version} of its tables, where this one "
                f"knows {VERSION}): install that, or choose another path"
            )
        if not tables:
            execute("PRAGMA auto_vacuum = incremental")  # only before the first table
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = FULL")
        if not tables:
            database.create(app_id)
        elif database.app_id != app_id:
            raise ConfigError(
                f"{self!r} holds the events of the app {database.app_id}, not of {app_id}: each app has an inbox of its own"
            )
        else:
            database.migrate()
        return database

    async def _close(self) -> None:
        await self._call(self._close_file)

    def _close_file(self) -> None:
        try:
            connection, self._connection = self._connection, None
            if connection is not None:
                with suppress(sqlite3.Error):  # what was committed is safe; the next opening reads the WAL
                    connection.close()
        finally:
            self._lock.release()

    async def _call(self, function: Callable[..., T], *arguments: object) -> T:
        return await trio.to_thread.run_sync(function, *arguments, limiter=self._limiter)


def _remedy(error: sqlite3.Error) -> str:
    text = str(error)
    if "not a database" in text:
        return "; it is the path of some other file: choose another"
    if "malformed" in text:
        return "; restore it from a backup, or move it away to begin anew"
    if "readonly" in text or "unable to open" in text:
        return "; see who may write to it and its folder"
    return ""
