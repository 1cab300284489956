"""Handlers run in contexts of their own: what one sets, no other event's handler reads."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from feishu_trio import Event, Router

from .scene import CARD, USER, open_scene

tenant: ContextVar[str] = ContextVar("tenant")


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("threaded", [False, True])
async def test_what_a_handler_sets_no_other_reads(
    autojump_clock: MockClock, waits: bool, threaded: bool
) -> None:
    router, seen = Router(), list[object]()

    async def coroutine(event: Event[Any]) -> None:
        seen.append(tenant.get("nobody"))
        tenant.set(event.id)
        if waits:
            await trio.sleep(0.1)
            seen.append(tenant.get() == event.id)
            await trio.sleep(0.1)
            seen.append(tenant.get() == event.id)

    def function(event: Event[Any]) -> None:
        seen.append(tenant.get("nobody"))
        tenant.set(event.id)

    router.on(USER)(function if threaded else coroutine)
    async with open_scene(router, concurrency=1) as scene:
        for _ in range(5):
            push = await scene.gateway.push(USER)
            assert (await push.settled()).code == 200
    assert seen.count("nobody") == 5
    assert set(seen) <= {"nobody", True}


async def test_handlers_see_what_was_set_where_the_session_was_opened(autojump_clock: MockClock) -> None:
    router, seen = Router(), []

    @router.on(USER)
    async def handle(event: Event[Any]) -> None:
        seen.append(tenant.get())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)

    async def child() -> None:
        seen.append(tenant.get())

    token = tenant.set("opened here")
    try:
        async with open_scene(router) as scene:
            tenant.set("later")
            await (await scene.gateway.push(USER)).settled()
    finally:
        tenant.reset(token)
    assert seen == ["opened here"] * 2


async def test_a_handler_in_its_context_is_cancelled_and_fails_as_ever(autojump_clock: MockClock) -> None:
    router, ended = Router(), []

    @router.on(USER, timeout=1)
    async def handle(event: Event[Any]) -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            ended.append(tenant.get("nobody"))
            with trio.CancelScope(shield=True):
                await trio.sleep(0.5)
            ended.append("cleaned up")
            raise

    async with open_scene(router) as scene:
        push = await scene.gateway.push(USER, ladder=())
        assert (await push.settled()).code == 500
    assert ended == ["nobody", "cleaned up"]


async def test_what_is_made_of_a_late_result_has_a_context_of_its_own(autojump_clock: MockClock) -> None:
    router, seen = Router(), []

    @router.on(CARD)
    async def slow(event: Event[Any]) -> dict[str, object]:
        await trio.sleep(3)
        return {"toast": {"content": event.id}}

    @router.late
    async def late(event: Event[Any], result: object) -> None:
        seen.append(tenant.get("nobody"))
        tenant.set(event.id)
        await trio.sleep(0.1)
        assert tenant.get() == event.id

    async with open_scene(router, concurrency=1) as scene:
        for _ in range(3):
            await scene.gateway.push(CARD)
            await trio.sleep(4)
    assert seen == ["nobody"] * 3
