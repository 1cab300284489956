"""`--output-dir`: a file for each event."""

from __future__ import annotations

import itertools
import os
import re
from datetime import UTC
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from feishu_trio import ConfigError, Event

__all__ = ["Folder"]

_TYPE: Final = 100  # characters of an event's type in a name
_ID: Final = 80  # those of its id


class Folder:
    """A directory that gets a file for each event, whole and under a name of its own."""

    def __init__(self, path: Path) -> None:
        """Make it, if need be. Raises `ConfigError` if it cannot be, or not be written to."""
        self._path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._write(b"").unlink()
        except OSError as error:
            raise ConfigError(
                f"--output-dir: {str(path)!r} cannot be written to: {error.strerror}; it must be a directory"
            ) from None

    def save(self, event: Event[Any], data: bytes) -> None:
        """Write one file, named by when the event arrived, its type and its id; no file is ever overwritten.

        Whoever looks finds all of it or nothing. Raises OSError. It blocks.
        """
        at = f"{event.received_at.astimezone(UTC):%Y%m%dT%H%M%S.%f}"[:-3]
        name = f"{at}Z_{_safe(event.type, _TYPE)}_{_safe(event.id, _ID)}"
        written = self._write(data)
        try:
            for n in itertools.count(1):
                try:
                    # A link, for unlike a rename it fails where the name is taken.
                    os.link(written, self._path / (f"{name}.json" if n == 1 else f"{name}-{n}.json"))
                except FileExistsError:
                    continue
                return
        finally:
            written.unlink()

    def _write(self, data: bytes) -> Path:
        path = self._path / f".{uuid4().hex}.part"
        try:
            path.write_bytes(data)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        return path


def _safe(text: str, length: int) -> str:
    """What of it may stand in a file's name anywhere, and no more than this."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", text[:length])
