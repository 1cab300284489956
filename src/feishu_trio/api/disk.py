"""Files on this machine: read whole in a thread, written beside and put in their place once they are whole."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterable
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Final

import trio

from ..errors import ApiError

__all__ = ["read_file", "save_parts"]

# Seconds that removing what is not whole may take.
_REMOVING: Final = 5.0


async def read_file(name: str, path: str | os.PathLike[str], limit: int | None = None) -> bytes:
    """All bytes of a file, read in a thread; `name` is what the call's argument is called.

    Raises:
        ApiError: It cannot be read, or has more than `limit` bytes.
    """

    def read() -> bytes:
        with open(path, "rb", opener=_open_at_once) as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):
                raise OSError("it is no regular file")
            if limit is not None and facts.st_size > limit:
                raise ApiError(f"{name}: {path!s} has {facts.st_size} bytes; Feishu takes {limit} at most")
            return file.read()

    try:
        return await trio.to_thread.run_sync(read)
    except (OSError, ValueError) as error:
        raise ApiError(
            f"{name}: {path!s} cannot be read: {_reason(error)}; give the path of a file that is there, or its bytes"
        ) from error


async def save_parts(parts: AsyncIterable[bytes], to: str | os.PathLike[str]) -> Path:
    """Write parts to a file, which is there once it is whole, in place of what was there before. Where it is.

    Whatever keeps it from becoming whole, cancellation too, leaves nothing of it.

    Raises:
        ApiError: It cannot be written.
    """
    target = Path(to)
    beside = target.parent / f".{token_hex(8)}.part"
    try:
        file = await trio.open_file(beside, "xb")
    except (OSError, ValueError) as error:
        raise _not_written(target, error) from error
    is_whole = False
    try:
        async with file:
            async for part in parts:
                await file.write(part)
        await trio.to_thread.run_sync(os.replace, beside, target)
        is_whole = True
    except (OSError, ValueError) as error:
        raise _not_written(target, error) from error
    finally:
        if not is_whole:
            with trio.move_on_after(_REMOVING, shield=True), suppress(OSError):
                await trio.to_thread.run_sync(os.remove, beside)
    return target


def _open_at_once(path: str, flags: int) -> int:
    # Opening a pipe would wait for a writer, and a thread cannot be cancelled.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _not_written(target: Path, error: Exception) -> ApiError:
    return ApiError(
        f"to: {target!s} cannot be written: {_reason(error)}; give the path of a file in a directory that is there"
    )


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
