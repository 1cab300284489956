"""A session inside an asyncio program."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
import trio

from feishu_trio import (
    AuthenticationError,
    ConnectError,
    Event,
    HandlerFailed,
    Router,
    Session,
    open_feishu_session,
)
from feishu_trio.asyncio import TrioThread, asyncio_handler, call_asyncio, call_trio, open_in_trio
from feishu_trio.events.im import MessageReceived
from feishu_trio.testing import Gateway
from session.rig import open_real_session

PAGE = Path(__file__).parents[1] / "docs" / "asyncio.md"


def a_session(
    gateway: Gateway, router: Router | None = None, **settings: Any
) -> AbstractAsyncContextManager[TrioThread[Session]]:
    return open_in_trio(open_real_session(gateway, router=router or Router(), **settings))


async def in_asyncio(main: Callable[[], Awaitable[None]]) -> None:
    """Run an asyncio program in a thread, while the gateway runs in this one; nothing of it is left."""

    async def bounded() -> None:
        await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(main())), 20)

    await trio.to_thread.run_sync(lambda: asyncio.run(bounded(), debug=True))
    assert not [thread for thread in threading.enumerate() if thread.name == "feishu_trio"]


@asynccontextmanager
async def endless(log: list[str]) -> AsyncGenerator[list[str], None]:
    try:
        yield log
    finally:
        log.append("left")


async def filled(log: list[str]) -> None:
    """Wait for its first line, in asyncio: that comes from the other thread."""
    while not log:  # noqa: ASYNC110
        await asyncio.sleep(0.001)


async def forever(log: list[str]) -> None:
    """Run until cancelled, and take a moment over it: of trio."""
    log.append("began")
    try:
        await trio.sleep_forever()
    finally:
        with trio.CancelScope(shield=True):
            await trio.sleep(0.05)
        log.append("ended")


async def test_handlers_run_on_either_side_and_answer(feishu_gateway: Gateway) -> None:
    router = Router()
    seen: list[str] = []

    @router.on(MessageReceived, name="asyncio")
    @asyncio_handler
    async def there(event: Event[MessageReceived]) -> None:
        await asyncio.sleep(0.001)
        await call_trio(event.reply, f"{event.text} to you, too")

    @router.on(MessageReceived, name="trio")
    async def here(event: Event[MessageReceived]) -> None:
        await trio.sleep(0.001)
        seen.append(event.text or "")

    async def main() -> None:
        async with a_session(feishu_gateway, router) as feishu:
            assert feishu.opened.router is router
            assert await feishu.call(feishu.opened.health)
            await asyncio.to_thread(over.wait)
            stats = await feishu.call(feishu.opened.stats)
            assert stats.handled == 1

    over = threading.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(in_asyncio, main)
        await feishu_gateway.wait_connected()
        tom = feishu_gateway.user("Tom")
        said = await tom.says("hello")
        await tom.waits_for("Bot: hello to you, too")
        assert (await said.push.settled()).code == 200
        over.set()
    assert seen == ["hello"]


async def test_what_a_handler_raises_is_its_failure_and_its_timeout_cancels_it_there(
    feishu_gateway: Gateway,
) -> None:
    router = Router()
    log: list[str] = []

    @router.on("a.raises")
    @asyncio_handler
    async def raises(event: Event[Any]) -> None:
        raise ValueError("no")

    @router.on("a.hangs", timeout=0.1)
    @asyncio_handler
    async def hangs(event: Event[Any]) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0.01)
            log.append("cancelled")
            raise

    @router.on("a.cancelled")
    @asyncio_handler
    async def cancelled(event: Event[Any]) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(60)

    failures: list[str] = []

    def follow(event: object) -> None:
        if isinstance(event, HandlerFailed):
            failures.append(f"{type(event.error).__name__}: {event.error}")

    async def main() -> None:
        async with a_session(feishu_gateway, router, on_lifecycle=follow):
            await asyncio.to_thread(over.wait)

    over = threading.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(in_asyncio, main)
        await feishu_gateway.wait_connected()
        for kind in ("a.raises", "a.hangs", "a.cancelled"):
            push = await feishu_gateway.push(kind)
            assert (await push.answer()).code == 500
        over.set()
    assert log == ["cancelled"]
    assert [failure.partition(":")[0] for failure in failures] == [
        "ValueError",
        "TimeoutError",
        "RuntimeError",
    ]
    assert "was cancelled on asyncio's side" in failures[2]


async def test_a_caller_that_is_cancelled_cancels_what_it_called_and_waits_for_its_end() -> None:
    async def main() -> None:
        log: list[str] = []
        async with open_in_trio(endless(log)) as opened:
            task = asyncio.create_task(opened.call(forever, log))
            await filled(log)
            task.cancel()
            await asyncio.sleep(0.01)
            task.cancel()  # once more, while it ends
            with pytest.raises(asyncio.CancelledError):
                await task
            assert log == ["began", "ended"]
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(opened.call(forever, log), 0.01)
            assert log[2:] == ["began", "ended"]
        assert log[-1] == "left"

    await in_asyncio(main)


async def test_what_fails_as_it_is_cancelled_fails() -> None:
    async def fails(log: list[str]) -> None:
        try:
            await forever(log)
        finally:
            raise ConnectionError("not saved")

    async def main() -> None:
        log: list[str] = []
        async with open_in_trio(endless(log)) as opened:
            task = asyncio.create_task(opened.call(fails, log))
            await filled(log)
            task.cancel()
            with pytest.raises(ConnectionError, match="not saved"):
                await task

    await in_asyncio(main)


async def test_results_errors_and_context_variables_go_over() -> None:
    whose: ContextVar[str] = ContextVar("whose")

    async def there() -> str:
        assert asyncio.get_running_loop()
        return whose.get() + ", asyncio"

    async def here(suffix: str) -> str:
        whose.set(whose.get() + ", trio")
        return await call_asyncio(there) + suffix

    def fails() -> None:
        raise StopIteration

    async def main() -> None:
        whose.set("mine")
        async with open_in_trio(endless([])) as opened:
            assert await opened.call(here, suffix="!") == "mine, trio, asyncio!"
            with pytest.raises(RuntimeError, match="StopIteration"):
                await opened.call(fails)
            with pytest.raises(TypeError, match="argument"):
                await opened.call(here, "a", "b")  # type: ignore[call-overload]
            assert await asyncio.gather(*(opened.call(abs, -i) for i in range(1000))) == [*range(1000)]
        assert whose.get() == "mine"

    await in_asyncio(main)


async def test_leaving_normally_lets_handlers_end(feishu_gateway: Gateway) -> None:
    router = Router()
    began = threading.Event()

    @router.on("a.slow")
    @asyncio_handler
    async def slow(event: Event[Any]) -> None:
        began.set()
        await asyncio.sleep(0.2)

    async def main() -> None:
        async with a_session(feishu_gateway, router):
            await asyncio.to_thread(began.wait)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(in_asyncio, main)
        await feishu_gateway.wait_connected()
        push = await feishu_gateway.push("a.slow")
        assert (await push.settled()).code == 200


@pytest.mark.parametrize(
    "error", [ValueError("mine"), KeyboardInterrupt()], ids=lambda error: type(error).__name__
)
async def test_leaving_with_an_error_ends_all_at_once(error: BaseException) -> None:
    log: list[str] = []

    async def main() -> None:
        async with open_in_trio(endless(log)) as opened:
            call = asyncio.create_task(opened.call(forever, log))
            await filled(log)
            raise error
        await call

    async def whole() -> None:
        with pytest.raises(type(error)) as raised:
            await main()
        assert raised.value is error

    await in_asyncio(whole)
    assert log[0] == "began"
    assert set(log[1:]) == {"left", "ended"}


async def test_a_block_that_is_cancelled_cancels_what_it_opened(feishu_gateway: Gateway) -> None:
    log: list[str] = []

    async def block() -> None:
        async with open_in_trio(endless(log)):
            log.append("entered")
            await asyncio.sleep(60)

    async def opening() -> None:
        async with open_in_trio(open_feishu_session("cli_1", "s", domain="http://127.0.0.1:9")):
            raise AssertionError("nobody listens there")

    async def main() -> None:
        task = asyncio.create_task(block())
        await filled(log)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert log == ["entered", "left"]
        for wait in (0, 0.2):  # before trio runs, and while it tries to connect
            task = asyncio.create_task(opening())
            await asyncio.sleep(wait)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    await in_asyncio(main)


async def test_what_cannot_be_opened_raises_as_itself(feishu_gateway: Gateway) -> None:
    async def main() -> None:
        with pytest.raises(AuthenticationError):
            async with a_session(feishu_gateway, app_secret="wrong"):
                raise AssertionError("refused")
        with pytest.raises(ConnectError):
            async with a_session(feishu_gateway, domain="http://127.0.0.1:9", max_reconnect_attempts=0):
                raise AssertionError("nobody listens there")

    await in_asyncio(main)


async def test_an_error_from_within_ends_the_block_as_itself() -> None:
    class FatalError(Exception):
        pass

    @asynccontextmanager
    async def fatal(seconds: float) -> AsyncGenerator[None, None]:
        async with trio.open_nursery() as nursery:

            async def fail() -> None:
                await trio.sleep(seconds)
                raise FatalError

            nursery.start_soon(fail)
            try:
                yield
            except trio.Cancelled:
                raise
        raise AssertionError("not reached")

    async def main() -> None:
        with pytest.raises(BaseExceptionGroup) as raised:
            async with open_in_trio(fatal(0.05)):
                await asyncio.sleep(60)
        assert raised.value.subgroup(FatalError)
        await asyncio.sleep(0)  # this task is not cancelled

        with pytest.raises(BaseExceptionGroup):
            async with open_in_trio(fatal(0.05)):
                time.sleep(0.2)  # noqa: ASYNC251  # the block ends before it can be cancelled
        await asyncio.sleep(0.01)

    await in_asyncio(main)


async def test_after_its_end_nothing_can_be_called() -> None:
    async def tasks(log: list[str]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(forever, log)
            await trio.sleep_forever()

    async def main() -> None:
        log: list[str] = []
        async with open_in_trio(endless(log)) as opened:
            waiting = asyncio.create_task(opened.call(trio.sleep_forever))
            working = asyncio.create_task(opened.call(tasks, log))
            await filled(log)
        # Not `pytest.raises`: a group of `Cancelled` that got through it would end the test as if it had passed.
        errors = await asyncio.gather(waiting, working, return_exceptions=True)
        assert [type(error) for error in errors] == [trio.ClosedResourceError] * 2
        assert ["sleep_forever" in str(errors[0]), "tasks" in str(errors[1])] == [True, True]
        with pytest.raises(trio.ClosedResourceError, match="abs cannot be called"):
            await opened.call(abs, 1)

    await in_asyncio(main)


async def test_calls_in_the_wrong_place_say_where_the_right_one_is() -> None:
    with pytest.raises(RuntimeError, match="was not begun by it"):
        await call_asyncio(asyncio.sleep, 0)

    async def main() -> None:
        with pytest.raises(RuntimeError, match="elsewhere use call"):
            await call_trio(trio.sleep, 0)
        async with open_in_trio(endless([])) as opened:

            async def elsewhere() -> None:
                await opened.call(abs, 1)

            with pytest.raises(RuntimeError, match="not the one in which"):
                await asyncio.to_thread(lambda: asyncio.run(elsewhere()))

    await in_asyncio(main)
    with pytest.raises(RuntimeError):
        async with open_in_trio(endless([])):
            raise AssertionError("this is trio")


async def test_a_blocked_asyncio_loop_holds_up_no_heartbeat_and_no_handler_of_trio(
    feishu_gateway: Gateway,
) -> None:
    router = Router()

    @router.on("a.quick")
    async def quick(event: Event[Any]) -> None:
        pass

    async def main() -> None:
        async with a_session(feishu_gateway, router):
            blocked.set()
            answered.wait(10)  # without giving way

    blocked, answered = threading.Event(), threading.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(in_asyncio, main)
        await trio.to_thread.run_sync(blocked.wait)
        push = await feishu_gateway.push("a.quick")
        assert (await push.settled()).code == 200
        answered.set()


async def test_the_page(feishu_gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first block of docs/asyncio.md, as it stands there."""
    block = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[0]
    for name, value in (("ID", "app_id"), ("SECRET", "app_secret")):
        monkeypatch.setenv(f"FEISHU_APP_{name}", getattr(feishu_gateway, value))
    monkeypatch.setenv("FEISHU_DOMAIN", feishu_gateway.domain)
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(block, PAGE.name, "exec"), names)
    over = threading.Event()

    async def until_over(*_: object) -> None:
        await asyncio.to_thread(over.wait)

    names["serve_the_rest"] = until_over
    async with trio.open_nursery() as nursery:
        nursery.start_soon(in_asyncio, names["main"])
        await feishu_gateway.wait_connected()
        tom = feishu_gateway.user("Tom")
        await tom.says("2 + 2")
        await tom.waits_for("Bot: thought of: 2 + 2")
        over.set()
