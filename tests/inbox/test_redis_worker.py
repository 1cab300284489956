"""Sessions that only receive, and workers, on one inbox in Redis."""

from __future__ import annotations

from typing import Any

import trio

from feishu_trio import Event, RedisInbox, Router, open_worker
from feishu_trio.events.im import MessageReceived
from feishu_trio.testing import Gateway
from session.rig import come_true, open_real_session


async def test_what_a_session_stores_workers_handle_at_once(
    feishu_gateway: Gateway, redis_url: str, prefix: str
) -> None:
    router = Router()

    @router.on(MessageReceived)
    async def answer(event: Event[MessageReceived]) -> None:
        await event.reply(f"{event.text} yourself")

    def inbox() -> RedisInbox:
        return RedisInbox(redis_url, prefix=prefix)

    tom = feishu_gateway.user("Tom")
    who: dict[str, Any] = {"app_id": feishu_gateway.app_id, "app_secret": feishu_gateway.app_secret}
    async with (
        open_real_session(feishu_gateway, router=router, inbox=inbox(), claim=False) as session,
        open_worker(inbox(), router, domain=feishu_gateway.domain, **who) as one,
        open_worker(inbox(), router, domain=feishu_gateway.domain, **who) as two,
    ):
        for number in range(20):
            said = await tom.says(f"hello {number}", chat=f"oc_{number}")
            assert (await said.push.settled()).code == 200
        for number in range(20):
            await tom.waits_for(f"hello {number} yourself", chat=f"oc_{number}")
        with trio.fail_after(5):
            await come_true(lambda: one.stats().handled + two.stats().handled == 20)
        assert session.stats().stored == 20
    assert len(feishu_gateway.messages) == 20


async def test_what_a_worker_ends_too_late_is_refused_and_counted(
    feishu_gateway: Gateway, redis_url: str, prefix: str
) -> None:
    router, may_end = Router(), trio.Event()
    chats: list[str] = []

    @router.on(MessageReceived)
    async def think(event: Event[MessageReceived]) -> None:
        chats.append(event.data.message.chat_id)
        await may_end.wait()

    def inbox() -> RedisInbox:
        return RedisInbox(redis_url, prefix=prefix)

    who: dict[str, Any] = {"app_id": feishu_gateway.app_id, "app_secret": feishu_gateway.app_secret}
    with trio.fail_after(20):
        async with (
            open_real_session(feishu_gateway, router=router, inbox=inbox(), claim=False) as session,
            open_worker(inbox(), router, domain=feishu_gateway.domain, **who) as worker,
        ):
            await feishu_gateway.user("Tom").says("hello")
            await come_true(lambda: chats)
            assert await session.cancel(chats[0]) == 1
            may_end.set()  # before the worker has found out
            await come_true(lambda: worker.stats().late_results)
    assert (worker.stats().late_results, session.stats().late_results) == (1, 0)
