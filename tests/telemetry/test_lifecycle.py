from __future__ import annotations

import trio
import trio.testing

from feishu_trio import LifecycleEvent, PingReceived
from feishu_trio.telemetry.lifecycle import Lifecycle


async def test_it_knows_whether_anybody_looks() -> None:
    lifecycle = Lifecycle()
    assert not lifecycle.is_followed
    async with lifecycle.subscribe(1), lifecycle.subscribe(1):
        assert lifecycle.is_followed
    assert not lifecycle.is_followed


async def test_every_subscriber_gets_what_happened_since() -> None:
    lifecycle = Lifecycle()
    first, second = PingReceived(connection_id="1"), PingReceived(connection_id="2")
    async with lifecycle.subscribe(9) as early:
        lifecycle.publish(first)
        async with lifecycle.subscribe(9) as late:
            lifecycle.publish(second)
            lifecycle.end()
            assert [event async for event in early] == [first, second]
            assert [event async for event in late] == [second]


async def test_the_oldest_are_lost_and_counted() -> None:
    lifecycle = Lifecycle()
    async with lifecycle.subscribe(3) as stream:
        for n in range(10):
            lifecycle.publish(PingReceived(connection_id=str(n)))
        lifecycle.end()
        assert [event.connection_id async for event in stream if isinstance(event, PingReceived)] == [
            "7",
            "8",
            "9",
        ]
    assert stream.lost == 7


async def test_waiting_subscribers_are_woken_by_events_and_by_the_end() -> None:
    lifecycle = Lifecycle()
    got: list[LifecycleEvent] = []

    async def collect() -> None:
        async with lifecycle.subscribe(9) as stream:
            async for event in stream:
                got.append(event)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(collect)
        await trio.testing.wait_all_tasks_blocked()
        lifecycle.publish(PingReceived(connection_id="1"))
        await trio.testing.wait_all_tasks_blocked()
        assert len(got) == 1
        lifecycle.end()


async def test_a_stream_ends_when_its_block_is_left() -> None:
    lifecycle = Lifecycle()
    async with lifecycle.subscribe(9) as stream:
        lifecycle.publish(PingReceived(connection_id="1"))
    lifecycle.publish(PingReceived(connection_id="2"))
    assert len([event async for event in stream]) == 1


async def test_a_subscription_after_the_end_is_over_at_once() -> None:
    lifecycle = Lifecycle()
    lifecycle.end()
    async with lifecycle.subscribe(9) as stream:
        assert [event async for event in stream] == []


# A follower from the first on


async def test_a_function_is_told_at_once_and_in_order() -> None:
    told: list[LifecycleEvent] = []
    lifecycle = Lifecycle(told.append)
    assert lifecycle.is_followed
    first, second = PingReceived(connection_id="1"), PingReceived(connection_id="2")
    async with lifecycle.subscribe(9):
        lifecycle.publish(first)
        assert told == [first]
    assert lifecycle.is_followed, "the function still does"
    lifecycle.publish(second)
    assert told == [first, second]


async def test_what_a_function_causes_comes_after_its_cause_for_everybody() -> None:
    first, second = PingReceived(connection_id="1"), PingReceived(connection_id="2")

    def cause(event: LifecycleEvent) -> None:
        if event is first:
            lifecycle.publish(second)

    lifecycle = Lifecycle(cause)
    async with lifecycle.subscribe(9) as stream:
        lifecycle.publish(first)
        lifecycle.end()
        assert [event async for event in stream] == [first, second]


async def test_a_channel_that_its_reader_closed_is_followed_no_more() -> None:
    send, receive = trio.open_memory_channel[LifecycleEvent](9)
    lost: list[None] = []
    lifecycle = Lifecycle(send, on_lost=lambda: lost.append(None))
    lifecycle.publish(PingReceived(connection_id="1"))
    receive.close()
    lifecycle.publish(PingReceived(connection_id="2"))
    assert not lifecycle.is_followed
    lifecycle.publish(PingReceived(connection_id="3"))
    lifecycle.end()
    assert not lost


async def test_a_stream_outlives_a_channel_that_its_reader_closed() -> None:
    send, receive = trio.open_memory_channel[LifecycleEvent](9)
    lifecycle = Lifecycle(send)
    async with lifecycle.subscribe(9) as stream:
        receive.close()
        lifecycle.publish(PingReceived(connection_id="1"))
        assert lifecycle.is_followed
        lifecycle.end()
        assert len([event async for event in stream]) == 1
