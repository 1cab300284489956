"""Redelivery when answers are missing; hours of it, under the autojump clock."""

from __future__ import annotations

import gc

import pytest
import trio
from trio.testing import MockClock

from feishu_trio.testing import Push, open_gateway
from feishu_trio.wire import FAILED

from .client import connect


def times(push: Push, start: float) -> list[float]:
    return [round(delivery.at - start, 3) for delivery in push.deliveries]


async def test_no_answer_at_all(autojump_clock: MockClock) -> None:
    async with open_gateway() as gateway, connect(gateway):
        start = trio.current_time()
        push = await gateway.push("x")
        with pytest.raises(TimeoutError, match="no answer to 5 deliveries"):
            await push.settled()
        # each attempt fails after 3 s; then follow 15 s, 5 min, 1 h and 6 h
        assert times(push, start) == [0, 18, 321, 3924, 25527]
        assert trio.current_time() - start == 25530
        assert (push.done, push.status, push.lost) == (True, None, True)
        ids = {delivery.message_id for delivery in push.deliveries}
        traces = {delivery.headers["trace_id"] for delivery in push.deliveries}
        assert len(ids) == len(traces) == 5
        assert all(delivery.expired for delivery in push.deliveries)


async def test_500_until_the_end(autojump_clock: MockClock) -> None:
    async with open_gateway() as gateway, connect(gateway) as client:
        start = trio.current_time()
        push = await gateway.push("x", event_id="e-1")
        for _ in range(5):
            frame = await client.receive(within=30_000)
            assert b'"e-1"' in frame.payload
            await client.answer(frame, FAILED)
        answer = await push.settled()
        assert (answer.code, push.status, push.lost) == (500, 500, False)
        assert times(push, start) == [0, 15, 315, 3915, 25515]
        await trio.sleep(80_000)
        assert len(push.deliveries) == 5


async def test_200_ends_it(autojump_clock: MockClock) -> None:
    async with open_gateway(ladder=(10, 10)) as gateway, connect(gateway) as client:
        push = await gateway.push("x")
        await client.answer(await client.receive(within=30_000), FAILED)
        await client.answer(await client.receive(within=30_000))
        assert (await push.settled()).code == 200
        assert [answer.code for answer in push.answers] == [500, 200]
        await trio.sleep(1000)
        assert len(push.deliveries) == 2


async def test_a_late_200_settles_it(autojump_clock: MockClock) -> None:
    async with open_gateway() as gateway, connect(gateway) as client:
        push = await gateway.push("x")
        frame = await client.receive(within=30_000)
        await trio.sleep(10)
        await client.answer(frame)
        answer = await push.settled()
        assert (answer.code, round(answer.latency)) == (200, 10)
        await trio.sleep(80_000)
        assert len(push.deliveries) == 1


async def test_a_late_500_changes_nothing(autojump_clock: MockClock) -> None:
    async with open_gateway(ladder=(20,)) as gateway, connect(gateway) as client:
        start = trio.current_time()
        push = await gateway.push("x")
        frame = await client.receive(within=30_000)
        await trio.sleep(10)
        await client.answer(frame, FAILED)
        await push.wait_deliveries(2)
        assert times(push, start) == [0, 23]


async def test_a_200_after_the_end_counts_still(autojump_clock: MockClock) -> None:
    async with open_gateway(ladder=()) as gateway, connect(gateway) as client:
        push = await gateway.push("x")
        frame = await client.receive(within=30_000)
        await trio.sleep(10)
        assert push.lost
        await client.answer(frame)
        await push.wait_answers()
        assert (push.lost, push.status) == (False, 200)


async def test_every_delivery_may_be_answered(autojump_clock: MockClock) -> None:
    async with open_gateway() as gateway, connect(gateway) as client:
        push = await gateway.push("x")
        frames = [await client.receive(within=30_000), await client.receive(within=30_000)]
        for frame in frames:
            await client.answer(frame)
        await push.wait_answers(2)
        assert [delivery.answered for delivery in push.deliveries] == [True, True]
        assert push.settled_by is push.answers[0]
        assert gateway.violations == []


@pytest.mark.parametrize("event_type", ["card.action.trigger", "url.preview.get"])
async def test_callbacks_never_come_again(autojump_clock: MockClock, event_type: str) -> None:
    async with open_gateway() as gateway, connect(gateway) as client:
        failed = await gateway.push(event_type)
        await client.answer(await client.receive(within=30_000), FAILED)
        assert (await failed.settled()).code == 500

        late = await gateway.push(event_type)
        frame = await client.receive(within=30_000)
        with pytest.raises(TimeoutError):
            await late.settled()
        await client.answer(frame)
        await late.wait_answers()
        assert (late.lost, late.status) == (True, None)

        await trio.sleep(80_000)
        assert len(failed.deliveries) == len(late.deliveries) == 1


async def test_callback_can_be_chosen(autojump_clock: MockClock) -> None:
    async with open_gateway(ladder=(1,)) as gateway, connect(gateway):
        one = await gateway.push("x", callback=True)
        two = await gateway.push("card.action.trigger", callback=False)
        await trio.sleep(100)
        assert (len(one.deliveries), len(two.deliveries)) == (1, 2)


async def test_no_live_connection(autojump_clock: MockClock) -> None:
    async with open_gateway() as gateway:
        start = trio.current_time()
        callback = await gateway.push("card.action.trigger")
        assert (callback.done, callback.lost) == (True, True)
        push = await gateway.push("x")
        await trio.sleep(14)
        assert not push.deliveries
        async with connect(gateway) as client:
            await client.answer(await client.receive(within=30_000))
            assert (await push.settled()).code == 200
            assert times(push, start) == [15]


async def test_a_redelivery_goes_to_any_live_connection(autojump_clock: MockClock) -> None:
    async with open_gateway() as gateway:
        async with connect(gateway):
            (first,) = gateway.connections
            push = await gateway.push("x", connection=first)
            await gateway.drop()
        async with connect(gateway) as client:
            await client.answer(await client.receive(within=30_000))
            assert (await push.settled()).connection is not first


async def test_own_ladder_and_timeout(autojump_clock: MockClock) -> None:
    async with open_gateway(answer_timeout=1) as gateway, connect(gateway):
        start = trio.current_time()
        push = await gateway.push("x", ladder=[5, 6])
        await trio.sleep(1000)
        assert times(push, start) == [0, 6, 13]


async def test_many_at_once_keep_their_times(autojump_clock: MockClock) -> None:
    async with open_gateway(ladder=(7,)) as gateway, connect(gateway):
        start = trio.current_time()
        pushes = []
        for _ in range(50):
            pushes.append(await gateway.push("x"))
            await trio.sleep(0.5)
        await trio.sleep(100)
        assert [times(push, start) for push in pushes] == [[n / 2, n / 2 + 10] for n in range(50)]


async def test_a_forgotten_push_may_be_answered_again(autojump_clock: MockClock) -> None:
    async with open_gateway(ladder=()) as gateway, connect(gateway) as client:
        push = await gateway.push("x")
        frame = await client.receive(within=30_000)
        await client.answer(frame)
        await push.settled()
        await trio.sleep(10)
        del push
        gc.collect()
        await client.answer(frame)
        await client.ping()
        await client.receive(within=30_000)
        assert gateway.violations == []
