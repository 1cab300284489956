"""What other processes want of an inbox that is open: files in a folder beside it, each answered with one. No trio."""

from __future__ import annotations

import os
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

__all__ = ["Answer", "Purge", "Request", "Requests", "Requeue"]

_LARGEST: Final = 16 << 20  # bytes of a request
_MOST: Final = 100  # requests that are read at a time
_KEPT: Final = 60.0  # seconds for which an answer waits for whoever asked


class Requeue(msgspec.Struct, tag="requeue", forbid_unknown_fields=True):
    """Have dead letters run again."""

    ids: list[str | int]


class Purge(msgspec.Struct, tag="purge", forbid_unknown_fields=True):
    """Forget settled events."""

    state: str
    before: float
    """Those that were settled by then; in seconds since 1970, as it may take until the request is taken up."""


Request: TypeAlias = Requeue | Purge


class Answer(msgspec.Struct):
    """What became of a request."""

    count: int = 0
    error: str | None = None


_decode = msgspec.json.Decoder(Requeue | Purge).decode
_decode_answer = msgspec.json.Decoder(Answer).decode


class Requests:
    """The folder beside a database file. It is made by whoever asks first, and removed by whoever asked last.

    A file is complete from its beginning on: it gets its name once it is written.
    """

    def __init__(self, database: Path) -> None:
        self.folder = Path(f"{database.resolve()}-requests")

    # Who asks

    def put(self, request: Request) -> Path:
        """Leave a request; the path is its name.

        Raises:
            OSError: It cannot be written.
        """
        self.folder.mkdir(exist_ok=True)
        # In the order of time; two of a moment in any order.
        file = self.folder / f"{time.time_ns():020}-{secrets.token_hex(4)}.request"
        _write(file, msgspec.json.encode(request))
        return file

    def take_answer(self, file: Path) -> Answer | None:
        """The answer to a request, once it is there."""
        answer = file.with_suffix(".answer")
        try:
            content = answer.read_bytes()
        except FileNotFoundError:
            return None
        answer.unlink(missing_ok=True)
        return _decode_answer(content)

    def withdraw(self, file: Path) -> bool:
        """Take a request back; False if the owner has taken it up."""
        try:
            file.unlink()
        except FileNotFoundError:
            return False
        return True

    def leave(self) -> None:
        """Remove the folder, if nobody else needs it."""
        with suppress(OSError):
            self.folder.rmdir()

    # The owner

    def pending(self) -> list[Path]:
        """The requests there are, the oldest first. Answers that nobody came for are removed.

        Raises:
            OSError: They cannot be listed.
        """
        if not self.folder.is_dir():
            return []
        files = sorted(self.folder.iterdir())
        for file in files:
            with suppress(FileNotFoundError):  # whoever asked has come for it meanwhile
                if file.suffix != ".request" and time.time() - file.stat().st_mtime > _KEPT:
                    file.unlink()
        return [file for file in files if file.suffix == ".request"][:_MOST]

    def read(self, file: Path) -> Request:
        """One of them.

        Raises:
            ValueError: It is none.
            OSError: It cannot be read.
        """
        with file.open("rb") as opened:
            content = opened.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise ValueError(f"more than {_LARGEST} bytes")
        try:
            request: Request = _decode(content)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise ValueError(str(error)) from error
        return request

    def answer(self, file: Path, answer: Answer) -> None:
        """It was carried out, or cannot be.

        Raises:
            OSError: The answer cannot be written, or the request not be removed.
        """
        _write(file.with_suffix(".answer"), msgspec.json.encode(answer))
        file.unlink(missing_ok=True)


def _write(file: Path, content: bytes) -> None:
    unfinished = file.with_suffix(f"{file.suffix}.tmp")
    try:
        unfinished.write_bytes(content)
        os.replace(unfinished, file)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise
