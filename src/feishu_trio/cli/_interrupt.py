"""Ctrl-C and SIGTERM: as a cancellation, and where nothing can be cancelled."""

from __future__ import annotations

import atexit
import os
import signal
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

from ._endings import Interrupted

__all__ = ["Interruption", "end_at_signals", "interruptible"]

_NUMBERS: Final = (signal.SIGINT, signal.SIGTERM)


def end_at_signals() -> None:
    """From here on a signal ends the process at once, with its exit code, wherever no loop takes it.

    So it is before one runs, while a bot's module is imported, say, and after it, as Python takes itself down. The first
    process of a container would not get it at all. Once all is done but for Python's own end, which takes signals no more, it
    does not change the exit code.
    """
    for number in _NUMBERS:
        signal.signal(number, lambda number, _frame: os._exit(128 + number))
    atexit.register(lambda: [signal.signal(number, signal.SIG_IGN) for number in _NUMBERS])


@attrs.define
class Interruption:
    """What a block was cancelled by, if it was."""

    scope: trio.CancelScope
    signum: int = 0

    def check(self) -> None:
        """Raise `Interrupted` if it was."""
        if self.scope.cancelled_caught:
            raise Interrupted(self.signum)


@asynccontextmanager
async def interruptible() -> AsyncGenerator[Interruption, None]:
    """Cancel the block at the first SIGINT or SIGTERM; the code behind the block asks with `check` if that happened.

    In nested blocks the first signal cancels the innermost. A command that ends in order leaves the inner block, and
    the next signal cancels the outer one at once.
    """
    with trio.open_signal_receiver(*_NUMBERS) as signals:
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as scope:
                interruption = Interruption(scope)
                nursery.start_soon(_cancel_at_first, signals, interruption)
                yield interruption
            nursery.cancel_scope.cancel()


async def _cancel_at_first(signals: AsyncIterator[int], interruption: Interruption) -> None:
    async for signum in signals:
        interruption.signum = interruption.signum or signum
        interruption.scope.cancel()
