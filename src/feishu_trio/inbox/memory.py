"""An inbox without a file: early answers and retries, for as long as the process lives."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import TypeVar, Unpack

import trio

from ..config.rules import number
from .database import Database
from .local import LocalInbox
from .protocol import InboxRules, RuleArguments

__all__ = ["MemoryInbox"]

T = TypeVar("T")


class MemoryInbox(LocalInbox):
    """Answers at once and retries what failed, but keeps nothing once its session has ended. For tests, too: its time
    is trio's.

    Args:
        max_bytes: Memory for stored events at the most; what does not fit is refused, so that it comes again.
        rules: What every inbox is told: fields of `InboxRules` by name.

    Raises:
        ConfigError: An argument is wrong.
    """

    def __init__(self, *, max_bytes: int = 256 << 20, **rules: Unpack[RuleArguments]) -> None:
        super().__init__(InboxRules(**rules))
        number(int, 1 << 20).check("max_bytes", max_bytes)
        self._max_bytes = max_bytes
        self._since = 0.0  # what trio's clock lacks to the time of day
        self._connection: sqlite3.Connection | None = None

    def __repr__(self) -> str:
        return "MemoryInbox()"

    async def _open(self, app_id: str) -> Database:
        self._since = time.time() - trio.current_time()
        # There are no threads: nothing here waits for a disk.
        self._connection = sqlite3.connect(":memory:", isolation_level=None)
        database = Database(self._connection)
        (page,) = self._connection.execute("PRAGMA page_size").fetchone()
        self._connection.execute(f"PRAGMA max_page_count = {self._max_bytes // page}")
        database.create(app_id)
        await trio.lowlevel.checkpoint()
        return database

    async def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        await trio.lowlevel.checkpoint()

    async def _call(self, function: Callable[..., T], *arguments: object) -> T:
        result = function(*arguments)
        await trio.lowlevel.cancel_shielded_checkpoint()
        return result

    def _time(self) -> float:
        return self._since + trio.current_time()
