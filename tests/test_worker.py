"""Workers: handlers for what an inbox holds, without a connection."""

# ruff: noqa: PT012 - what leaves a whole block is what some of these tests are about

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from feishu_trio import (
    ApiError,
    ConfigError,
    Event,
    Inbox,
    InboxError,
    MemoryInbox,
    Router,
    SessionState,
    SQLiteInbox,
    Worker,
    open_worker,
    to_me,
)
from feishu_trio.events.im import MessageReceived
from feishu_trio.testing import Gateway
from session.rig import come_true, nothing_left, open_session


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bot.db"


async def filled(gateway: Gateway, path: Path, router: Router, *texts: str, **session: Any) -> None:
    """Store messages, as a receiver does that leaves the work to others."""
    async with open_session(gateway, router=router, inbox=SQLiteInbox(path), claim=False, **session):
        for text in texts:
            said = await gateway.user("Tom").says(text)
            assert (await said.push.settled()).code == 200


def worker(
    gateway: Gateway, path: Path, router: Router, **settings: Any
) -> AbstractAsyncContextManager[Worker]:
    usual: dict[str, Any] = {
        "app_id": gateway.app_id,
        "app_secret": gateway.app_secret,
        "domain": gateway.domain,
    }
    return open_worker(SQLiteInbox(path), router, **(usual | settings))


@asynccontextmanager
async def within(seconds: float) -> AsyncGenerator[None, None]:
    with trio.fail_after(seconds):
        yield


async def test_it_handles_what_others_stored_and_answers(feishu_gateway: Gateway, path: Path) -> None:
    router = Router()

    @router.on(MessageReceived)
    async def answer(event: Event[MessageReceived]) -> None:
        await event.reply(f"{event.text} yourself")

    tom = feishu_gateway.user("Tom")
    await filled(feishu_gateway, path, router, "hello", "bye")
    assert not feishu_gateway.messages
    async with nothing_left(), worker(feishu_gateway, path, router) as work:
        await tom.waits_for("bye yourself")
        async with within(5):
            await come_true(lambda: work.stats().handled == 2)
        assert work.health().ok
        assert (work.stats().connections, len(feishu_gateway.connections)) == (0, 0)
    assert not work.health().ok


async def test_a_filter_that_needs_to_know_the_bot(feishu_gateway: Gateway, path: Path) -> None:
    router = Router()

    @router.on(MessageReceived, where=to_me())
    async def answer(event: Event[MessageReceived]) -> None:
        await event.reply(event.text_to_me)

    await filled(feishu_gateway, path, router, "hello")
    async with worker(feishu_gateway, path, router):
        await feishu_gateway.user("Tom").waits_for("Bot: hello")


async def test_it_cannot_ask(feishu_gateway: Gateway, path: Path) -> None:
    router, errors = Router(), list[Exception]()

    @router.on(MessageReceived)
    async def ask(event: Event[MessageReceived]) -> None:
        try:
            await event.ask("Deploy?", ["Yes"])
        except ApiError as error:
            errors.append(error)

    await filled(feishu_gateway, path, router, "hello")
    async with worker(feishu_gateway, path, router), within(5):
        await come_true(lambda: errors)
    assert "a worker has no connection" in str(errors[0])
    assert not feishu_gateway.messages


async def test_events_are_pulled(feishu_gateway: Gateway, path: Path) -> None:
    await filled(feishu_gateway, path, Router(), "one", "two", store="*")
    texts = []
    async with worker(feishu_gateway, path, Router()) as work, work.events(MessageReceived) as events:
        async for event in events:
            texts.append(event.text)
            if len(texts) == 2:
                break
    assert texts == ["one", "two"]


async def test_cancel_and_close(feishu_gateway: Gateway, path: Path) -> None:
    router, begun = Router(), list[str | None]()

    @router.on(MessageReceived)
    async def hang(event: Event[MessageReceived]) -> None:
        begun.append(event.chat_id)
        await trio.sleep_forever()

    await filled(feishu_gateway, path, router, "one", "two", "three")
    async with worker(feishu_gateway, path, router, shutdown_timeout=0.1) as work, within(10):
        await come_true(lambda: begun)
        assert await work.cancel(begun[0]) == 3
        await work.aclose()
        await work.wait_closed()
    assert len(begun) == 1


async def test_what_was_cut_off_is_free_again(feishu_gateway: Gateway, path: Path) -> None:
    router, attempts = Router(), list[int]()

    @router.on(MessageReceived)
    async def answer(event: Event[MessageReceived]) -> None:
        attempts.append(event.attempt)
        if len(attempts) == 1:
            await trio.sleep_forever()

    await filled(feishu_gateway, path, router, "one")
    for times in (1, 2):
        async with worker(feishu_gateway, path, router, shutdown_timeout=0.1), within(5):
            await come_true(lambda times=times: len(attempts) == times)  # type: ignore[misc]
    assert attempts == [1, 1]


async def test_another_apps_inbox(feishu_gateway: Gateway, path: Path) -> None:
    await filled(feishu_gateway, path, Router(), "one", store="*")
    with pytest.raises(ConfigError, match="cli_other"):
        async with worker(feishu_gateway, path, Router(), app_id="cli_other"):
            pass


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((None, Router()), "inbox: a value of type NoneType"),
        (("bot.db", Router()), "inbox: a value of type str"),
    ],
)
async def test_wrong_arguments(arguments: tuple[Any, Any], words: str) -> None:
    inbox, router = arguments
    with pytest.raises(ConfigError, match=words):
        async with open_worker(inbox, router, app_id="cli_1", app_secret="s"):
            pass


async def test_a_router_is_wanted(path: Path) -> None:
    inbox: Inbox = SQLiteInbox(path)
    with pytest.raises(ConfigError, match="router"):
        async with open_worker(inbox, None, app_id="cli_1", app_secret="s"):  # type: ignore[arg-type]
            pass


async def test_without_credentials(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEISHU_APP_ID", raising=False)
    with pytest.raises(ConfigError, match="open_worker"):
        async with open_worker(SQLiteInbox(path), Router()):
            pass


async def test_it_tells_of_a_loop_that_stands_still(feishu_gateway: Gateway, path: Path) -> None:
    """Though nothing that is claimed has a deadline to miss."""
    router = Router()

    @router.on(MessageReceived)
    async def blocks(event: Event[MessageReceived]) -> None:
        time.sleep(0.6)  # noqa: ASYNC251 - as it should not

    await filled(feishu_gateway, path, router, "hello")
    async with worker(feishu_gateway, path, router) as work, within(5):
        await come_true(lambda: work.stats().loop_blocked == 1)


class Doomed(MemoryInbox):
    """An inbox that nothing helps any more once it is told so."""

    def __init__(self) -> None:
        super().__init__()
        self.doom = trio.Event()

    async def serve(
        self,
        app_id: str,
        window: float,
        *,
        tries: int | None = None,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        async with trio.open_nursery() as nursery:

            async def rest(*, task_status: trio.TaskStatus[None]) -> None:
                await super(Doomed, self).serve(app_id, window, tries=tries, task_status=task_status)

            await nursery.start(rest)
            task_status.started()
            await self.doom.wait()
            raise InboxError("it belongs to another app now")


async def test_an_inbox_that_fails_for_good_fails_its_worker_and_leaves_as_itself(
    feishu_gateway: Gateway,
) -> None:
    inbox = Doomed()
    ids = (feishu_gateway.app_id, feishu_gateway.app_secret)
    with pytest.raises(InboxError, match="another app now"):
        async with (
            nothing_left(),
            open_worker(
                inbox,
                Router(),
                app_id=ids[0],
                app_secret=ids[1],
                domain=feishu_gateway.domain,
            ) as work,
        ):
            inbox.doom.set()
            await work.wait_closed()
    assert work.health().reasons == ("the worker is failed",)


async def test_an_inbox_that_fails_for_good_fails_its_session(feishu_gateway: Gateway) -> None:
    inbox = Doomed()
    with pytest.raises(InboxError, match="another app now"):
        async with nothing_left(), open_session(feishu_gateway, router=Router(), inbox=inbox) as session:
            inbox.doom.set()
            await session.wait_closed()
    assert session.state is SessionState.FAILED


async def test_an_error_of_the_body_is_no_failure_of_the_session(feishu_gateway: Gateway) -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_session(feishu_gateway, router=Router(), inbox=MemoryInbox()) as session:
            1 / 0  # noqa: B018
    assert session.state is SessionState.CLOSED
