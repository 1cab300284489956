"""Ctrl-C and SIGTERM, as a cancellation."""

from __future__ import annotations

import signal
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import trio

__all__ = ["interruptible"]


@asynccontextmanager
async def interruptible() -> AsyncGenerator[trio.CancelScope, None]:
    """Cancel the block at the first SIGINT or SIGTERM; the scope's `cancelled_caught` is True if that happened.

    In nested blocks the first signal cancels the innermost. A command that ends in order leaves the inner block, and
    the next signal cancels the outer one at once.
    """
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as scope:
                nursery.start_soon(_cancel_at_first, signals, scope)
                yield scope
            nursery.cancel_scope.cancel()


async def _cancel_at_first(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel()
