"""Ctrl-C and SIGTERM, as a cancellation."""

from __future__ import annotations

import signal
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from ._endings import Interrupted

__all__ = ["Interruption", "interruptible"]


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
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
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
