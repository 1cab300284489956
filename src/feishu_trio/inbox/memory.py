"""An inbox without a file: early answers and retries, for as long as the process lives."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import trio

from ..events import Event
from ..events.order import by_chat
from .database import Database
from .local import LocalInbox
from .protocol import Rules

__all__ = ["MemoryInbox"]

T = TypeVar("T")


class MemoryInbox(LocalInbox):
    """Answers at once and retries what failed, but keeps nothing once its session has ended. For tests, too: its time
    is trio's.

    The arguments are those of every inbox:

    Args:
        window: Seconds for which a done event is remembered after its last arrival; None: `dedupe_window`.
        max_attempts: Failed attempts after which an event is a dead letter.
        retry_delay: The longest wait for the second attempt, in seconds; it doubles with each further one.
        max_retry_delay: The longest wait of all.
        order_by: From an event to its order key (`by_chat`, `by_thread`, `by_sender`): events of one key run one after
            the other. None for no order.
        strict_order: Whether an event that waits for its next attempt holds up those of its key.
        max_age: Seconds since it was stored after which an event is not begun any more, but a dead letter; None: never.

    Raises:
        ConfigError: An argument is wrong.
    """

    def __init__(
        self,
        *,
        window: float | None = None,
        max_attempts: int = 8,
        retry_delay: float = 1.0,
        max_retry_delay: float = 3600.0,
        order_by: Callable[[Event[Any]], Hashable] | None = by_chat,
        strict_order: bool = False,
        max_age: float | None = None,
    ) -> None:
        super().__init__(
            Rules(
                window=window,
                max_attempts=max_attempts,
                retry_delay=retry_delay,
                max_retry_delay=max_retry_delay,
                order_by=order_by,
                strict_order=strict_order,
                max_age=max_age,
            )
        )
        self._since = 0.0  # what trio's clock lacks to the time of day
        self._connection: sqlite3.Connection | None = None

    def __repr__(self) -> str:
        return "MemoryInbox()"

    async def _open(self, app_id: str) -> Database:
        self._since = time.time() - trio.current_time()
        # There are no threads: nothing here waits for a disk.
        self._connection = sqlite3.connect(":memory:", isolation_level=None)
        database = Database(self._connection, strict_order=self.rules.strict_order)
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
