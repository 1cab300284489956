"""Running one handler: on the loop or in a thread, inside its middleware, within its timeout."""

from __future__ import annotations

import inspect
import math
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

import trio

from ..router import Middleware
from .job import Job

__all__ = ["call", "caller", "fault_of", "in_thread_of_handler"]

caller: ContextVar[trio.lowlevel.Task] = ContextVar("caller")
"""In a handler's thread, and in what it runs from there on the loop, the worker that runs the handler."""

_thread: ContextVar[_Thread] = ContextVar("thread")
"""In a handler's thread, and in what it runs from there on the loop, that thread."""


class _Thread:
    """A thread of a handler: what it runs on the loop knows of the handler's end by this alone."""

    def __init__(self) -> None:
        self.scopes: set[trio.CancelScope] = set()
        self.is_abandoned = False

    def abandon(self) -> None:
        """Nobody waits for it any more."""
        self.is_abandoned = True
        for scope in self.scopes:
            scope.cancel()


@contextmanager
def in_thread_of_handler() -> Iterator[trio.CancelScope]:
    """A scope that is cancelled once the handler has ended whose thread runs this, if it is one's."""
    thread = _thread.get(None)
    with trio.CancelScope() as scope:
        if thread is None:
            yield scope
            return
        if thread.is_abandoned:
            scope.cancel()
        thread.scopes.add(scope)
        try:
            yield scope
        finally:
            thread.scopes.discard(scope)


async def call(job: Job, threads: trio.CapacityLimiter) -> object:
    """Run the handler of a job and return what it returned.

    A plain function runs in a worker thread; a thread that outlives its timeout, or the session, cannot be
    stopped and is left to end by itself, its place in `threads` taken until then.

    Raises:
        TimeoutError: The handler took longer than the route's timeout.
        BaseException: Whatever it raised; `fault_of` tells what of that is its own affair.
    """
    route = job.route
    if route.timeout is not None:
        return await _within(route.timeout, job, threads)
    return await _through(route.middleware, job, job.argument, threads)


def fault_of(error: BaseException) -> Exception | None:
    """The part of an error that concerns whoever raised it alone; None if the error is to go on its way.

    That goes on which ends the program, and cancellation by a scope around us. Trio's nurseries mix the latter
    with the errors that met it. Not so a `GeneratorExit`, or asyncio's cancellation, which come out of a
    handler that runs a loop of its own.
    """
    rest = error.split(trio.Cancelled)[1] if isinstance(error, BaseExceptionGroup) else error
    if isinstance(rest, Exception):
        return rest
    if rest is not None and _is_foreign(rest):
        fault = RuntimeError(f"it raised {type(rest).__name__}")
        fault.__cause__ = error
        return fault
    cancelled = rest is None or isinstance(rest, trio.Cancelled)
    if cancelled and trio.current_effective_deadline() > -math.inf:
        return RuntimeError("it raised trio.Cancelled although nobody had cancelled it")
    return None


def _is_foreign(error: BaseException) -> bool:
    """Whether an error, or all there is in a group of them, comes of a loop that the handler runs itself."""
    if isinstance(error, BaseExceptionGroup):
        return all(isinstance(each, Exception) or _is_foreign(each) for each in error.exceptions)
    return isinstance(error, GeneratorExit) or type(error).__module__ == "asyncio.exceptions"


async def _within(seconds: float, job: Job, threads: trio.CapacityLimiter) -> object:
    with trio.move_on_after(seconds) as scope:
        result = await _through(job.route.middleware, job, job.argument, threads)
    if scope.cancelled_caught:
        raise TimeoutError(f"not done after its timeout of {seconds:g} s")
    if scope.cancel_called:
        raise TimeoutError(f"done only after its timeout of {seconds:g} s: it did not stop when cancelled")
    return result


async def _through(
    middleware: tuple[Middleware, ...], job: Job, argument: Any, threads: trio.CapacityLimiter
) -> object:
    route = job.route
    if middleware:
        outermost, *inner = middleware

        async def call_next(event: Any) -> object:
            return await _through(tuple(inner), job, event, threads)

        return await outermost(argument, call_next)
    if route.is_async:
        return await cast("Awaitable[object]", route.handler(argument))

    def run() -> tuple[object]:
        job.in_thread = True
        try:
            # A plain function may hand on what an async one gave it, as a lambda or a decorator does: in a box,
            # because trio takes a coroutine that comes out of a thread for a mistake.
            return (route.handler(argument),)
        finally:
            job.in_thread = False

    thread = _Thread()
    caller.set(trio.lowlevel.current_task())
    _thread.set(thread)
    try:
        (result,) = await trio.to_thread.run_sync(run, limiter=threads, abandon_on_cancel=True)
    finally:
        thread.abandon()
    return await result if inspect.isawaitable(result) else result
