"""A session inside a program that runs on asyncio: trio runs in a thread of its own, and each side may call the other.

```python
import asyncio

from feishu_trio import Event, Router, open_feishu_session
from feishu_trio.asyncio import asyncio_handler, call_trio, open_in_trio
from feishu_trio.events.im import MessageReceived

router = Router()

@router.on(MessageReceived)
@asyncio_handler
async def answer(event: Event[MessageReceived]) -> None:
    await asyncio.sleep(1)  # any of asyncio's libraries
    await call_trio(event.reply, event.markdown)

async def main() -> None:
    async with open_in_trio(open_feishu_session(router=router)) as feishu:
        await feishu.call(feishu.opened.api.send, "oc_…", "hello")
        await asyncio.sleep(3600)
```

What is called on the other side runs there to its end. Cancelling the caller cancels it, and waits until it has ended; its
result, or its error, is the caller's. Context variables go along.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, Final, Generic, ParamSpec, TypeVar, overload

import outcome
import trio

__all__ = ["TrioThread", "asyncio_handler", "call_asyncio", "call_trio", "open_in_trio"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class TrioThread(Generic[T]):
    """What was opened in trio's thread, as asyncio sees it. `open_in_trio` makes it."""

    def __init__(self, opened: T, loops: _Loops) -> None:
        self.opened: Final = opened
        """The session, or whatever else was opened. What it does, it does under trio: call it with `call`."""
        self._loops = loops

    @overload
    async def call(self, function: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> R: ...

    @overload
    async def call(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...

    async def call(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call a function under trio, be it async or not, and wait for its result.

        Raises:
            trio.ClosedResourceError: What was opened is closed, or was before the function had ended.
            RuntimeError: This is not the asyncio loop in which it was opened.
        """
        if asyncio.get_running_loop() is not self._loops.host:
            raise RuntimeError("this asyncio loop is not the one in which open_in_trio was entered")
        return await self._loops.call_trio(function, args, kwargs)


@asynccontextmanager
async def open_in_trio(opened: AbstractAsyncContextManager[T]) -> AsyncGenerator[TrioThread[T], None]:
    """Open something under trio, in a thread of its own, for as long as this block of asyncio's lasts.

    Leaving the block normally leaves that of trio's normally: a session lets its handlers end within `shutdown_timeout`.
    Leaving it by cancellation or with an exception cancels it. Nothing is left running either way. An error that ends it
    from within, such as one of Feishu's, cancels the block, and leaves it as itself.

    Args:
        opened: What `open_feishu_session(…)`, `open_worker(…)` or `open_gateway()` returned, not entered yet.

    Raises:
        RuntimeError: This is not run by asyncio.
    """
    loops = _Loops(asyncio.get_running_loop())
    block = asyncio.current_task()
    assert block is not None
    cancellations = block.cancelling()
    entered: asyncio.Future[T] = loops.host.create_future()
    ended: asyncio.Future[BaseException | None] = loops.host.create_future()
    is_over = False  # the block, so that it need not be cancelled
    was_cut = False

    def cut(_: object) -> None:
        nonlocal was_cut
        if not is_over:
            was_cut = True
            block.cancel()

    def run() -> None:
        failure: BaseException | None = None
        try:
            trio.run(loops.run, opened, entered)
        except BaseException as error:
            failure = error  # raised in the block, in the other thread
        loops.host.call_soon_threadsafe(ended.set_result, failure)

    ended.add_done_callback(cut)
    thread = threading.Thread(target=run, name="feishu_trio", daemon=True)
    thread.start()
    error: BaseException | None = None
    try:
        yield TrioThread(await asyncio.shield(entered), loops)
    except BaseException as raised:
        error = raised
        loops.cancel()
    is_over = True
    if was_cut and not isinstance(error, asyncio.CancelledError):
        with suppress(asyncio.CancelledError):  # it is still to come
            await asyncio.sleep(0)
    loops.leave()
    try:
        await asyncio.shield(ended)
    except asyncio.CancelledError as raised:
        error = raised
        loops.cancel()
        await _through_cancellations(ended)
    thread.join()
    failure = ended.result()
    if was_cut and block.uncancel() <= cancellations and isinstance(error, asyncio.CancelledError):
        error = None  # it was this function that cancelled the block
    if error is not None:
        raise error
    if failure is not None:
        raise failure


@overload
async def call_trio(function: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> R: ...


@overload
async def call_trio(function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...


async def call_trio(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call a function under trio from a handler that runs under asyncio, such as `event.reply`, and wait for its result.

    Elsewhere in an asyncio program this is `call` of what `open_in_trio` gave.

    Raises:
        trio.ClosedResourceError: What was opened is closed, or was before the function had ended.
        RuntimeError: This is not within such a handler.
    """
    loops = _within.get(None)
    if loops is None or asyncio.get_running_loop() is not loops.host:
        raise RuntimeError(
            "call_trio is for what asyncio_handler or call_asyncio runs; elsewhere use call of what open_in_trio gave"
        )
    return await loops.call_trio(function, args, kwargs)


async def call_asyncio(function: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function under asyncio from trio, within what `open_in_trio` has opened, and wait for its result.

    Raises:
        RuntimeError: Nothing of this trio was opened by `open_in_trio`, or somebody cancelled the function on asyncio's side.
    """
    loops = _in_trio.get(None)
    if loops is None:
        raise RuntimeError(
            "asyncio is reached from what open_in_trio has opened, and this trio was not begun by it"
        )
    result: R = await loops.call_asyncio(function, args, kwargs)
    return result


def asyncio_handler(function: Callable[P, Awaitable[R]]) -> Callable[P, Coroutine[Any, Any, R]]:
    """A handler that runs under asyncio, in the loop that has entered `open_in_trio`: `@router.on(…)` above it."""

    @functools.wraps(function)
    async def handle(*args: P.args, **kwargs: P.kwargs) -> R:
        return await call_asyncio(function, *args, **kwargs)

    return handle


class _Loops:
    """Both loops, each as the other's thread may speak to it."""

    def __init__(self, host: asyncio.AbstractEventLoop) -> None:
        self.host: Final = host
        self._scope: Final = trio.CancelScope()
        self._left: Final = trio.Event()
        self._lock: Final = threading.Lock()
        self._token: trio.lowlevel.TrioToken | None = None
        self._calls: trio.Nursery | None = None  # in which calls from asyncio run; None if none may
        self._is_cancelled = False

    # In trio's thread

    async def run(self, opened: AbstractAsyncContextManager[T], entered: asyncio.Future[T]) -> None:
        """Keep it open until it is left."""
        _in_trio.set(self)
        failure: BaseException | None = None
        with self._lock:
            self._token = trio.lowlevel.current_trio_token()
            if self._is_cancelled:
                self._scope.cancel()
        with self._scope:
            async with trio.open_nursery() as calls:
                try:
                    async with opened as value:
                        self._calls = calls
                        self.host.call_soon_threadsafe(_set_result, entered, value)
                        await self._left.wait()
                except BaseException as error:
                    failure = error  # raised below, so that the nursery does not wrap it in a group
                self._calls = None
                calls.cancel_scope.cancel()
            if failure is not None:
                raise failure

    async def call_asyncio(
        self, function: Callable[..., Awaitable[Any]], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        await trio.lowlevel.checkpoint_if_cancelled()
        caller = trio.lowlevel.current_task()
        context = contextvars.copy_context()
        context.run(_within.set, self)
        cancelled: Callable[[], Any] | None = None  # raises `Cancelled`
        task: asyncio.Task[Any] | None = None

        def begin() -> None:
            nonlocal task
            task = self.host.create_task(_result_of(function, args, kwargs), context=context)
            task.add_done_callback(end)

        def end(task: asyncio.Task[Any]) -> None:
            assert self._token is not None
            self._token.run_sync_soon(trio.lowlevel.reschedule, caller, outcome.Value(task))

        def abort(raise_cancel: Callable[[], Any]) -> trio.lowlevel.Abort:
            nonlocal cancelled
            cancelled = raise_cancel
            self.host.call_soon_threadsafe(lambda: task and task.cancel())
            return trio.lowlevel.Abort.FAILED

        self.host.call_soon_threadsafe(begin)
        ended: asyncio.Task[Any] = await trio.lowlevel.wait_task_rescheduled(abort)
        try:
            return ended.result()
        except asyncio.CancelledError:
            if cancelled is not None:
                cancelled()
            raise RuntimeError(f"{_name(function)} was cancelled on asyncio's side") from None

    # In asyncio's thread

    def leave(self) -> None:
        """Leave what was opened."""
        self._soon(self._left.set)

    def cancel(self) -> None:
        """Cancel what was opened, or is being opened."""
        with self._lock:
            self._is_cancelled = True
        self._soon(self._scope.cancel)

    def _soon(self, do: Callable[[], object]) -> None:
        if self._token is not None:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(do)

    async def call_trio(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        done: asyncio.Future[Any] = self.host.create_future()
        scope = trio.CancelScope()
        context = contextvars.copy_context()

        closed = _closed(function)

        async def run() -> None:
            settle = functools.partial(_set_exception, done, closed)
            try:
                with scope:
                    result = await _result_of(function, args, kwargs)
                    settle = functools.partial(_set_result, done, result)
            except BaseException as error:
                if _is_cancelled(error):
                    raise  # all of this ends
                settle = functools.partial(_set_exception, done, error)
            finally:
                self.host.call_soon_threadsafe(settle)

        def begin() -> None:
            if self._calls is None:
                self.host.call_soon_threadsafe(_set_exception, done, closed)
            else:
                context.run(self._calls.start_soon, run)

        assert self._token is not None
        try:
            self._token.run_sync_soon(begin)
        except trio.RunFinishedError:
            raise closed from None
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            self._soon(scope.cancel)
            await _through_cancellations(done)
            error = done.exception()
            if error is None or error is closed:
                raise
            raise error from None


_in_trio: Final = trio.lowlevel.RunVar[_Loops | None]("feishu_trio.asyncio", default=None)
_within: Final = contextvars.ContextVar[_Loops | None]("feishu_trio.asyncio", default=None)


async def _result_of(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    result = function(*args, **kwargs)
    return await result if inspect.isawaitable(result) else result


async def _through_cancellations(future: asyncio.Future[Any]) -> None:
    """Wait for what ends soon, in a task that may be cancelled again meanwhile, and raises that later."""
    while not future.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([future])
    future.exception()  # looked at, so that asyncio does not tell of it


def _is_cancelled(error: BaseException) -> bool:
    """Whether it is trio's cancellation alone: functions with nurseries have it in groups."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_cancelled, error.exceptions))
    return isinstance(error, trio.Cancelled)


def _set_result(future: asyncio.Future[Any], result: object) -> None:
    if not future.done():
        future.set_result(result)


def _set_exception(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


def _closed(function: Callable[..., Any]) -> trio.ClosedResourceError:
    return trio.ClosedResourceError(
        f"{_name(function)} cannot be called: what open_in_trio has opened is closed"
    )


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", repr(function))
