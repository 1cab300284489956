"""Late results: what a callback's handler returns after the callback was answered at its deadline."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Final

import trio

from ..events import Event
from ..telemetry import Telemetry
from .context import run_in
from .handlers import fault_of
from .job import Job
from .run import Run

__all__ = ["LateResults"]

# The longest that a late result waits for the fallback to be written before it.
_WRITING: Final = 10.0
# Seconds for what becomes of a late result: it keeps a worker.
_USING: Final = 30.0


class LateResults:
    """Hands late results to `use`, once the answer before them is written; Feishu asks for that order.

    Each is used in a copy of `context`, as its handler ran in one.
    """

    def __init__(
        self,
        use: Callable[[Event[Any], object], Coroutine[Any, Any, None]],
        telemetry: Telemetry,
        context: Context,
    ) -> None:
        self._use = use
        self._telemetry = telemetry
        self._context = context
        self._written: dict[Run, trio.Event] = {}

    def expect(self, run: Run) -> Callable[[], None]:
        """A callback is answered without its handlers. What is returned is called when that is written."""
        written = self._written[run] = trio.Event()
        return written.set

    def forget(self, run: Run) -> None:
        """All handlers of a run have ended."""
        self._written.pop(run, None)

    def expected(self, job: Job) -> list[tuple[Run, trio.Event]]:
        """The runs of a job that were answered without it, and what is set when that is written."""
        if not self._written:
            return []
        return [(run, self._written[run]) for run in job.runs if run in self._written]

    async def bring(self, run: Run, written: trio.Event, handler: str, result: object) -> None:
        """Hand a result on."""
        try:
            with trio.fail_after(_WRITING):
                await written.wait()
            with trio.fail_after(_USING):
                await run_in(self._context.copy(), self._use(run.event, result))
        except BaseException as error:
            fault = fault_of(error)
            if fault is None:
                raise
            self._telemetry.late_result_lost(handler, run.event, fault)
