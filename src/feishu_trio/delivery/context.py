"""Running a handler in a context of its own, so that context variables do not leak from one event to the next.

A task of its own would do it too, but costs steps of the scheduler. So the worker's task runs the coroutine's steps
in the context: the first by `context.run(coroutine.send, None)`, which is all for one that does not wait, and the
others here.
"""

from __future__ import annotations

import types
from collections.abc import Coroutine, Generator
from contextvars import Context
from typing import Any, cast

__all__ = ["resume", "run_in"]


@types.coroutine
def resume(
    context: Context, coroutine: Coroutine[Any, Any, object], trap: object
) -> Generator[Any, Any, object]:
    """Run a coroutine to its end that yielded `trap` in its first step; returned is its result.

    What it yields goes to trio; what trio sends or throws goes to the coroutine, in its context.
    """
    while True:
        step: Any = coroutine.send
        try:
            argument: Any = yield trap
        except GeneratorExit:
            coroutine.close()
            raise
        except BaseException as error:
            step, argument = coroutine.throw, error
        try:
            trap = context.run(step, argument)
        except StopIteration as done:
            return cast("object", done.value)


async def run_in(context: Context, coroutine: Coroutine[Any, Any, object]) -> object:
    """Run a coroutine in a context, from its first step to its last."""
    try:
        trap = context.run(coroutine.send, None)
    except StopIteration as done:
        return cast("object", done.value)
    return await resume(context, coroutine, trap)
