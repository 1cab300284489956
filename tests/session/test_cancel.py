"""`Session.cancel`: what runs or waits behind an order key is ended, and counts as handled."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from feishu_trio import Ack, Event, MemoryInbox, PoolConfig, Router, by_sender
from feishu_trio.testing import Gateway, Push, open_gateway

from .rig import come_true, open_real_session, open_session

MESSAGE, USER = "im.message.receive_v1", "contact.user.created_v3"


async def say(gateway: Gateway, number: int, chat: str = "oc_1", **push: Any) -> Push:
    return await gateway.push(MESSAGE, {"message": {"message_id": f"om_{number}", "chat_id": chat}}, **push)


class Log:
    """A handler that takes a minute, and what became of each of its runs."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []

    async def handle(self, event: Event[Any]) -> None:
        name = event.data.message.message_id
        self.begun.append(name)
        await trio.sleep(60)
        self.ended.append(name)


@pytest.mark.parametrize("stored", [False, True])
async def test_what_runs_and_waits_behind_a_key_is_ended_and_answered(
    autojump_clock: MockClock, stored: bool
) -> None:
    router, log = Router(), Log()
    router.on(MESSAGE)(log.handle)
    inbox = MemoryInbox() if stored else None
    async with open_gateway(seed=1) as gateway, open_session(gateway, router=router, inbox=inbox) as session:
        pushes = [await say(gateway, number) for number in range(5)]
        other = await say(gateway, 9, "oc_2")
        await trio.sleep(1)
        assert log.begun == ["om_0", "om_9"]
        assert await session.cancel("oc_1") == 5
        assert await session.cancel("oc_1") == 0
        assert await session.cancel("oc_3") == 0
        assert [(await push.settled()).code for push in pushes] == [200] * 5
        last = await say(gateway, 5)
        await trio.sleep(61)
        assert log.begun == ["om_0", "om_9", "om_5"]
        assert log.ended == ["om_9", "om_5"]
        assert [(await push.settled()).code for push in (other, last)] == [200, 200]
        stats = session.stats()
        assert (stats.handled, stats.failed, stats.in_flight, stats.queue_depth) == (7, 0, 0, 0)
        if inbox is not None:
            assert (await inbox.counts()).done == 7


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("where", ["handler", "nursery", "thread"])
async def test_the_callers_own_run_is_spared(where: str, stored: bool) -> None:
    router, log, go, ended = Router(), [], trio.Event(), trio.Event()

    async def stop() -> None:
        log.append(await session.cancel("oc_1"))

    async def in_handler(event: Event[Any]) -> None:
        await go.wait()
        if where == "nursery":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stop)
        else:
            await stop()
        await trio.lowlevel.checkpoint()
        ended.set()

    def in_thread(event: Event[Any]) -> None:
        trio.from_thread.run(go.wait)
        trio.from_thread.run(stop)
        trio.from_thread.run_sync(ended.set)

    router.on(MESSAGE)(in_thread if where == "thread" else in_handler)
    with trio.fail_after(20):
        async with (
            open_gateway(seed=1) as gateway,
            open_real_session(gateway, router=router, inbox=MemoryInbox() if stored else None) as session,
        ):
            for number in range(3):
                await say(gateway, number)
            await come_true(
                lambda: session.stats().received == 3 and session.stats().stored == (3 if stored else 0)
            )
            go.set()
            await ended.wait()
            assert log == [2]
            await come_true(lambda: session.stats().handled == 3)
            assert session.stats().failed == 0


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("where", ["loop", "nursery"])
async def test_the_event_of_a_loop_is_its_own(autojump_clock: MockClock, where: str, stored: bool) -> None:
    router, log, pulled, counts = Router(), Log(), [], []
    router.on(MESSAGE)(log.handle)
    inbox = MemoryInbox() if stored else None

    async def stop() -> None:
        counts.append(await session.cancel("oc_1"))

    async with (
        open_gateway(seed=1) as gateway,
        open_session(gateway, router=router, inbox=inbox) as session,
        session.events(MESSAGE) as events,
        session.events(MESSAGE) as others,
    ):
        pushes = [await say(gateway, number) for number in range(3)]
        await trio.sleep(1)
        async for event in events:
            pulled.append(event.data.message.message_id)
            async for other in others:  # one within another: each has its event
                assert other.id == event.id
                break
            if where == "nursery":
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(stop)
            else:
                await stop()
            await trio.sleep(100)
            break
        assert (pulled, counts, log.ended) == (["om_0"], [2], ["om_0"])
        others.settle(ok=True)
        events.settle(ok=True)
        await trio.sleep(1)
        assert session._engine.loops == {}
        assert (await pushes[0].settled()).code == 200
        if inbox is not None:
            assert (await inbox.counts()).done == session.stats().handled == 3
        assert session.stats().failed == 0


async def test_an_event_that_runs_at_arrival_and_from_the_inbox_is_one(autojump_clock: MockClock) -> None:
    router, log = Router(), Log()
    router.on(MESSAGE, name="stored")(log.handle)

    @router.on(MESSAGE, name="at arrival", ack=Ack.ON_RECEIPT)
    async def at_arrival(event: Event[Any]) -> None:
        await trio.sleep(60)

    @router.on(USER, ack=Ack.ON_SUCCESS, order_by=lambda event: "oc_1")
    async def only(event: Event[Any]) -> None:
        await trio.sleep(60)

    inbox = MemoryInbox()
    async with open_gateway(seed=1) as gateway, open_session(gateway, router=router, inbox=inbox) as session:
        for number in range(3):
            await say(gateway, number)
        await gateway.push(USER)
        await trio.sleep(1)
        assert await session.cancel("oc_1") == 4
        stats = session.stats()
        assert (stats.handled, stats.in_flight, (await inbox.counts()).done) == (4, 0, 3)


async def test_what_is_parked_behind_a_key_is_ended(autojump_clock: MockClock) -> None:
    router, inbox = Router(), MemoryInbox()
    async with (
        open_gateway(seed=1) as gateway,
        open_session(gateway, router=router, inbox=inbox, store=MESSAGE) as session,
    ):
        router.on(USER)(Log().handle)
        await say(gateway, 1)
        await trio.sleep(1)
        assert (await inbox.counts()).parked == 1
        assert await session.cancel("oc_1") == 1
        assert (await inbox.counts()).done == 1


async def test_a_stop_takes_what_is_being_stored_with_it(autojump_clock: MockClock) -> None:
    router, log, counts = Router(), Log(), []
    router.on(MESSAGE, where=lambda event: event.text != "/stop")(log.handle)

    @router.on(MESSAGE, ack=Ack.ON_RECEIPT, order_by=None, where=lambda event: event.text == "/stop")
    async def stop(event: Event[Any]) -> None:
        counts.append(await session.cancel(event.data.message.chat_id))

    inbox = MemoryInbox()
    async with open_gateway(seed=1) as gateway, open_session(gateway, router=router, inbox=inbox) as session:
        for _ in range(20):
            for number in range(4):
                text = '{"text":"/stop"}' if number == 3 else '{"text":"hi"}'
                message = {"chat_id": "oc_1", "message_type": "text", "content": text}
                await gateway.push(MESSAGE, {"message": message})
            await trio.sleep(1)
            assert (await inbox.counts()).done == session.stats().stored
        assert sum(counts) == session.stats().stored == 60
    assert log.ended == []


async def test_what_waits_for_its_next_attempt_is_ended_too(autojump_clock: MockClock) -> None:
    router, runs = Router(), []

    @router.on(MESSAGE)
    async def fail(event: Event[Any]) -> None:
        runs.append(event.attempt)
        raise ValueError

    inbox = MemoryInbox(order_by=by_sender)
    async with open_gateway(seed=1) as gateway, open_session(gateway, router=router, inbox=inbox) as session:
        await say(gateway, 1)
        await trio.sleep(0.1)
        assert (await inbox.counts()).waiting == 1
        assert await session.cancel("oc_1") == 1
        await trio.sleep(3600)
        assert (runs, (await inbox.counts()).done) == ([1], 1)


async def test_a_handler_that_does_not_stop_has_ended_all_the_same(autojump_clock: MockClock) -> None:
    router, ended = Router(), []

    @router.on(MESSAGE)
    async def stubborn(event: Event[Any]) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(10)
        ended.append(trio.current_time())
        raise ValueError("nobody asks any more")

    async with open_gateway(seed=1) as gateway, open_session(gateway, router=router) as session:
        push = await say(gateway, 1)
        await trio.sleep(1)
        assert await session.cancel("oc_1") == 1
        assert (await push.settled()).code == 200
        await say(gateway, 2)
        await trio.sleep(30)
        assert len(ended) == 2, "the key went on once it had ended"
        assert session.stats().failed == 1, "that of the second"


async def test_what_waits_for_room_is_not_begun(autojump_clock: MockClock) -> None:
    router, log = Router(), Log()
    router.on(MESSAGE, pool="small")(log.handle)
    small = PoolConfig(concurrency=1, capacity=1)
    async with (
        open_gateway(seed=1) as gateway,
        open_session(gateway, router=router, pools={"small": small}) as session,
    ):
        pushes = [await say(gateway, number, "oc_2" if number == 0 else "oc_1") for number in range(3)]
        await trio.sleep(0.1)
        assert await session.cancel("oc_1") == 2
        await trio.sleep(70)
        assert log.begun == ["om_0"]
        assert [(await push.settled()).code for push in pushes] == [200] * 3


async def test_in_sequence_the_handlers_that_have_not_begun_do_not(autojump_clock: MockClock) -> None:
    router, ran = Router(), []
    for name in "abc":

        @router.on(MESSAGE, name=name)
        async def handle(event: Event[Any], name: str = name) -> None:
            ran.append((name, event.data.message.message_id))
            await trio.sleep(10)

    async with (
        open_gateway(seed=1) as gateway,
        open_session(gateway, router=router, handler_mode="sequential") as session,
    ):
        first = [await say(gateway, number) for number in (1, 2)]
        await trio.sleep(11)
        assert await session.cancel("oc_1") == 2
        await wait_all_tasks_blocked()
        assert (session.stats().in_flight, session.stats().queue_depth) == (0, 0)
        assert [(await push.settled()).code for push in first] == [200, 200]
        before = ran.copy()
        await say(gateway, 3)
        await trio.sleep(40)
        assert [each for each in ran[len(before) :] if each[1] != "om_3"] == []
        assert {name for name, message in ran if message == "om_3"} == {"a", "b", "c"}


async def test_another_key_of_the_same_event_goes_on(autojump_clock: MockClock) -> None:
    router, ended = Router(), []

    @router.on(MESSAGE, name="by chat")
    async def first(event: Event[Any]) -> None:
        await trio.sleep(10)
        ended.append("by chat")

    @router.on(MESSAGE, name="by id", order_by=lambda event: event.id)
    async def second(event: Event[Any]) -> None:
        await trio.sleep(10)
        ended.append("by id")

    async with open_gateway(seed=1) as gateway, open_session(gateway, router=router) as session:
        push = await say(gateway, 1)
        await trio.sleep(1)
        assert await session.cancel("oc_1") == 1
        assert (await push.settled()).code == 200
    assert ended == ["by id"]


async def test_no_key_and_a_closed_session_are_named(autojump_clock: MockClock) -> None:
    async with open_gateway(seed=1) as gateway:
        async with open_session(gateway) as session:
            with pytest.raises(TypeError, match="None is no order key"):
                await session.cancel(None)
            with pytest.raises(TypeError, match="unhashable"):
                await session.cancel(["oc_1"])  # type: ignore[arg-type]  # as a user might
        with pytest.raises(trio.ClosedResourceError):
            await session.cancel("oc_1")


async def test_an_explicit_none_is_no_order(autojump_clock: MockClock) -> None:
    router, log = Router(), Log()
    router.on(MESSAGE, order_by=None)(log.handle)
    async with open_gateway(seed=1) as gateway, open_session(gateway, router=router) as session:
        for number in range(3):
            await say(gateway, number)
        await trio.sleep(1)
        assert sorted(log.begun) == ["om_0", "om_1", "om_2"]
        assert await session.cancel("oc_1") == 0, "nothing is behind the key"
