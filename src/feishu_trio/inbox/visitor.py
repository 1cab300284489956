"""An SQLite inbox as another process sees it: it reads freely, and leaves what is to be changed to the owner."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from ..errors import InboxError
from .database import Database
from .file import DatabaseFile
from .records import Counts, Details, State, Summary, forgettable, known_state
from .requests import Answer, Purge, Request, Requests, Requeue

__all__ = ["InboxFile"]

_PATIENCE: Final = 5.0  # seconds for the owner to take a request up
_LOOK: Final = 0.05
_STEP: Final = 500


class InboxFile:
    """The file of an SQLite inbox, for another process than the bot that has it open, or for none.

    No trio is needed, and nothing is changed by looking. What is to be changed is left beside the file for its owner,
    who takes it up within a second, or changed here if it has none.

    Args:
        path: The database file.

    Raises:
        ConfigError: `path` is no path of a file.
    """

    def __init__(self, path: str | Path) -> None:
        self._file = DatabaseFile(path, repr(str(path)))
        self._requests = Requests(self._file.path)

    def __repr__(self) -> str:
        return f"InboxFile({str(self._file.path)!r})"

    def is_open(self) -> bool:
        """Whether a session has it open.

        If none has, an event that is `running` was so when its bot ended: it runs again when that starts.

        Raises:
            InboxError: It cannot be found out, as the lock may not be written to.
        """
        if not self._file.lock():
            return True
        self._file.close()
        return False

    def counts(self) -> Counts:
        """How many events stand where.

        Raises:
            InboxError: It cannot be read.
        """
        with self._file.reading() as database:
            return database.counts()

    def list(self, state: State | str, limit: int = 100, after: int = 0) -> list[Summary]:
        """As `Inbox.list`.

        Raises:
            ConfigError: There is no such state.
            InboxError: It cannot be read.
        """
        wanted = known_state(state)
        with self._file.reading() as database:
            return database.list(wanted, limit, after)

    def show(self, event: str | int) -> Details | None:
        """As `Inbox.show`.

        Raises:
            InboxError: It cannot be read.
        """
        with self._file.reading() as database:
            return database.show(event)

    def requeue(self, ids: Iterable[str | int]) -> int:
        """As `Inbox.requeue`.

        Raises:
            InboxError: It cannot be done, or the owner did not answer within 5 s: then it will be done.
        """
        return self._change(Requeue([ids] if isinstance(ids, str) else list(ids)))

    def purge(self, state: State | str, older_than: float) -> int:
        """As `Inbox.purge`.

        Raises:
            ConfigError: Events of this state are not forgotten.
            InboxError: It cannot be done, or the owner did not answer within 5 s: then it will be done.
        """
        return self._change(Purge(forgettable(state), time.time() - older_than))

    def backup(self, path: str | Path) -> None:
        """Copy all that is committed into a new file.

        Raises:
            InboxError: It cannot be written, or is there already.
        """
        self._file.backup(Path(path))

    def _change(self, request: Request) -> int:
        if not self._file.path.is_file():
            raise InboxError(f"{str(self._file.path)!r}: there is no such file")
        until = time.monotonic() + _PATIENCE
        left: Path | None = None
        try:
            while True:
                if self._file.lock():  # nobody has it open, or not any more
                    try:
                        if left is None or self._requests.withdraw(left):
                            return self._carry_out(request)
                    finally:
                        self._file.close()
                if left is None:
                    left = self._requests.put(request)
                answer = self._requests.take_answer(left)
                if answer is not None:
                    return _count(answer)
                if time.monotonic() >= until:
                    raise InboxError(
                        f"whoever has {str(self._file.path)!r} open has not taken this up within {_PATIENCE:g} s; "
                        f"it is still to be done, unless you delete {str(left)!r}"
                    )
                time.sleep(_LOOK)
        except OSError as error:
            raise InboxError(f"{str(self._requests.folder)!r} cannot be written to: {error}") from error
        finally:
            self._requests.leave()

    def _carry_out(self, request: Request) -> int:
        database = self._file.open(None)
        match request:
            case Requeue(ids):
                with database.transaction():
                    now = max(time.time(), database.latest())  # as its owner sees time
                    return len(database.requeue(database.numbers(ids), now))
            case Purge(state, before):
                return _purge(database, State(state), before)


def _purge(database: Database, state: State, before: float) -> int:
    total = 0
    while True:
        with database.transaction():
            count = database.purge(state, before, _STEP)
        total += count
        if count < _STEP and not database.shrink(_STEP):
            return total


def _count(answer: Answer) -> int:
    if answer.error is not None:
        raise InboxError(answer.error)
    return answer.count
