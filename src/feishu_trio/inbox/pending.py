"""What is to be done for somebody who waits for it."""

from __future__ import annotations

from typing import Generic, TypeVar

import trio

from .._quiet import QuietStruct

__all__ = ["Pending"]

T = TypeVar("T")


class Pending(QuietStruct, Generic[T], eq=False):
    """One step, and what became of it. Whoever does it sets `result` or `error`, and then calls `finish`.

    It has a waiter of its own, and no `trio.Event`: there is one for each event that is stored.
    """

    result: T | None = None
    error: Exception | None = None
    is_done: bool = False
    waiter: trio.lowlevel.Task | None = None
    """The one task that waits for it to be done."""

    async def wait(self) -> None:
        """Wait until it is done. Cancelled, it may be done all the same, before this task runs or later."""
        self.waiter = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            self.waiter = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def finish(self) -> None:
        """It is done, or cannot be."""
        self.is_done = True
        waiter, self.waiter = self.waiter, None
        if waiter is not None:
            trio.lowlevel.reschedule(waiter)
