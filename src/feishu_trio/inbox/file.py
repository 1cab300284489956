"""The file of an SQLite inbox: its lock, its owner's connection, and connections that only read. No trio."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from ..errors import ConfigError, InboxError
from .database import APPLICATION_ID, VERSION, Database

__all__ = ["DatabaseFile"]

# Keys are spread over the file, so that a commit changes two pages an event. Copied to the database less often than
# after 1,000 pages, as SQLite would, many are copied once for several commits. Pages have 4 kB.
_LOG_PAGES: Final = 4000
_CACHE_PAGES: Final = 4000
# What reading a file raises that is broken anywhere.
_BROKEN: Final = (sqlite3.Error, OSError, UnicodeError, IndexError)
_BUSY: Final = 5.0  # seconds to wait for another program that reads the file and checkpoints it


class DatabaseFile:
    """The file, of which `name` stands in messages.

    Raises:
        ConfigError: `path` is no path of a file.
    """

    def __init__(self, path: str | Path, name: str) -> None:
        if not isinstance(path, str | Path) or not str(path).strip() or "\0" in str(path):
            raise ConfigError(f"path: {path!r} is not allowed; it must be the path of a file")
        if str(path).startswith("sqlite:"):
            raise ConfigError(
                f"path: {str(path)!r} is not allowed; it must be the path alone, such as {str(path)[7:] or 'bot.db'!r}: "
                "sqlite: is for the command's --inbox"
            )
        if str(path) == ":memory:":
            raise ConfigError(
                "path: ':memory:' is not allowed; it must be the path of a file. MemoryInbox() has none"
            )
        self.path = Path(path).absolute()  # the process may go to another folder
        self.connection: sqlite3.Connection | None = None
        """The owner's, while it is open."""
        self._name = name
        # Of the file itself, by whatever name it was given.
        self._lock = FileLock(f"{self.path.resolve()}.lock", thread_local=False)
        self._identity: tuple[int, int] | None = None

    def lock(self) -> bool:
        """Become the owner; False if another is.

        Raises:
            InboxError: There is no such folder, or the lock cannot be had.
        """
        try:
            if not self.path.parent.is_dir():
                raise InboxError(f"{self._name}: there is no folder {str(self.path.parent)!r}: make it first")
            if self.path.is_dir():
                raise InboxError(f"{self._name}: this is a folder; it must be the path of a file")
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        except OSError as error:
            raise InboxError(
                f"{self._name}: its lock {str(self._lock.lock_file)!r} cannot be had: {error}"
            ) from error
        return True

    def open(self, app_id: str | None) -> Database:
        """Open it as its owner; it is made, for an app, if it is not there, and brought up to date.

        Raises:
            InboxError: It cannot be opened.
            ConfigError: It is another app's.
        """
        try:
            # Never two threads at a time: whoever calls sees to it.
            self.connection = self._connect()
            database = self._prepare(self.connection, app_id)
            with database.transaction():
                database.touch()  # if the file is read-only, all else goes well
            self._identity = self._identify()
        except _BROKEN as error:
            raise self._error(error) from error
        return database

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=_BUSY)

    def close(self) -> None:
        """Close it, and be its owner no more."""
        try:
            connection, self.connection = self.connection, None
            if connection is not None:
                with suppress(sqlite3.Error):  # what was committed is safe; the next opening reads the WAL
                    connection.close()
        finally:
            self._lock.release()

    def check(self) -> None:
        """Raise `sqlite3.OperationalError` if the file is not where it was: what is written to it would be lost."""
        try:
            is_there = self._identify() == self._identity
        except OSError:
            is_there = False
        if not is_there:
            raise sqlite3.OperationalError("it has been moved or deleted while it was open")

    @contextmanager
    def reading(self) -> Iterator[Database]:
        """A connection that only reads, whoever owns the file.

        Raises:
            InboxError: It cannot be read.
        """
        try:
            if not self.path.is_file():
                raise InboxError(f"{self._name}: there is no such file")
            uri = f"{self.path.resolve().as_uri()}?mode=ro"
            with closing(sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_BUSY)) as connection:
                version = self._version(connection)
                if not version:
                    raise InboxError(f"{self._name}: nothing has been stored in it yet")
                if version < VERSION:
                    raise InboxError(
                        f"{self._name} was written by an older feishu_trio: it is brought up to date when it is "
                        "next opened for a session"
                    )
                yield Database(connection)
        except _BROKEN as error:
            raise self._error(error) from error

    def backup(self, to: Path) -> None:
        """Copy all that is committed into a new file, whoever owns this one.

        Raises:
            InboxError: It cannot be written, or is there already.
        """
        if not to.parent.is_dir():
            raise InboxError(f"{str(to)!r}: there is no folder {str(to.parent)!r}: make it first")
        if to.exists():
            raise InboxError(f"{str(to)!r} is there already: choose another path")
        copy = to.with_name(f"{to.name}.{secrets.token_hex(4)}.tmp")
        try:
            with self.reading() as database:
                try:
                    database.copy(str(copy))
                except sqlite3.Error as error:
                    raise InboxError(f"{self._name} cannot be copied to {str(to)!r}: {error}") from error
            with copy.open("rb+") as file:
                os.fsync(file.fileno())
            copy.replace(to)
        except OSError as error:
            raise InboxError(f"{str(to)!r} cannot be written: {error}") from error
        finally:
            with suppress(OSError):
                copy.unlink(missing_ok=True)

    def _identify(self) -> tuple[int, int]:
        found = self.path.stat()
        return found.st_dev, found.st_ino

    def _version(self, connection: sqlite3.Connection) -> int:
        """The version of its tables; 0 if there are none yet."""
        execute = connection.execute
        (tables,) = execute("SELECT count(*) FROM sqlite_master").fetchone()
        (kind,), (version,) = (
            execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
        )
        if tables and kind != APPLICATION_ID:
            raise InboxError(
                f"{self._name}: this is the SQLite database of another program; choose another path"
            )
        if version > VERSION:
            raise InboxError(
                f"{self._name} was written by a newer feishu_trio (version {version} of its tables, where this one "
                f"knows {VERSION}): install that, or choose another path"
            )
        return int(version) if tables else 0

    def _prepare(self, connection: sqlite3.Connection, app_id: str | None) -> Database:
        version = self._version(connection)
        if not version:
            connection.execute("PRAGMA auto_vacuum = incremental")  # only before the first table
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
        connection.execute(f"PRAGMA cache_size = {_CACHE_PAGES}")
        database = Database(connection)
        if not version:
            if app_id is None:
                raise InboxError(f"{self._name}: nothing has been stored in it yet")
            database.create(app_id)
        elif app_id is not None and database.app_id != app_id:
            raise ConfigError(
                f"{self._name} holds the events of the app {database.app_id}, not of {app_id}: each app has an "
                "inbox of its own"
            )
        else:
            database.migrate()
        database.keep_order()
        return database

    def _error(self, error: Exception) -> InboxError:
        return InboxError(f"{self._name} cannot be opened: {error}{_remedy(error)}")


def _remedy(error: Exception) -> str:
    text = str(error)
    if "not a database" in text:
        return "; it is the path of some other file: choose another"
    if "malformed" in text:
        return "; restore it from a backup, or move it away to begin anew"
    if "readonly" in text or "unable to open" in text:
        return "; see who may write to it and its folder"
    return ""
