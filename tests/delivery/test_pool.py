from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Hashable
from functools import partial
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from feishu_trio.delivery import Pool
from feishu_trio.delivery.pool import WaitingBytes

Play = Callable[[], Coroutine[Any, Any, None]]


@attrs.define(eq=False)
class Work:
    play: Play
    key: Hashable = None
    weight: int = 1
    size: int = 0
    is_held: bool = False


def make_pool(nursery: trio.Nursery, *, concurrency: int = 2, capacity: int = 10) -> Pool[Work]:
    async def run(job: Work, threads: trio.CapacityLimiter) -> None:
        await job.play()

    pool = Pool("test", run, concurrency=concurrency, capacity=capacity)
    pool.start(nursery)
    return pool


def sleep_for(seconds: float) -> Play:
    return partial(trio.sleep, seconds)


async def test_no_more_than_so_many_at_a_time(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        pool = make_pool(nursery, concurrency=3)
        for _ in range(10):
            pool.submit(Work(sleep_for(1)))
        await trio.sleep(0.5)
        assert (pool.running, pool.waiting, pool.is_full) == (3, 7, False)
        await pool.wait_idle()
        assert trio.current_time() == 4
        nursery.cancel_scope.cancel()


async def test_workers_are_as_many_as_there_is_work_for(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        pool = make_pool(nursery, concurrency=64)
        for _ in range(100):
            pool.submit(Work(trio.lowlevel.checkpoint))
            await pool.wait_idle()
        assert len(nursery.child_tasks) <= 2
        pool.close()
        await trio.sleep(0.1)
        assert len(nursery.child_tasks) == 0


async def test_a_closed_pool_ends_what_it_has_and_its_workers(autojump_clock: MockClock) -> None:
    done = []
    async with trio.open_nursery() as nursery:
        pool = make_pool(nursery, concurrency=2)

        async def job() -> None:
            await trio.sleep(1)
            done.append(trio.current_time())

        for _ in range(5):
            pool.submit(Work(job))
        pool.close()
        pool.submit(Work(job))  # what was on its way when the pool was closed is not lost
    assert done == [1, 1, 2, 2, 3, 3]


async def test_jobs_that_never_wait_leave_others_the_processor(autojump_clock: MockClock) -> None:
    turns = 0

    async def quick() -> None:
        pass

    async def other() -> None:
        nonlocal turns
        while not pool.is_idle:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        pool = make_pool(nursery, concurrency=1, capacity=1000)
        for _ in range(1000):
            pool.submit(Work(quick))
        nursery.start_soon(other)
        await pool.wait_idle()
        nursery.cancel_scope.cancel()
    assert turns > 20


# Room


async def test_a_full_pool_waits_a_second_and_then_refuses_at_once(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        pool = make_pool(nursery, concurrency=1, capacity=2)
        for _ in range(3):
            pool.submit(Work(trio.sleep_forever))
            await trio.lowlevel.checkpoint()
        assert pool.is_full
        for _ in range(1000):
            assert not await pool.wait_room()
        assert trio.current_time() == 1
        nursery.cancel_scope.cancel()


async def test_room_that_comes_in_time_is_taken(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        pool = make_pool(nursery, concurrency=1, capacity=1)
        pool.submit(Work(sleep_for(0.7)))
        await trio.lowlevel.checkpoint()
        pool.submit(Work(sleep_for(0.7)))
        assert await pool.wait_room()
        assert trio.current_time() == 0.7
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("seconds", [0.1, 5])
async def test_a_pool_that_cannot_keep_up_holds_its_callers_a_second_and_then_a_tenth_of_the_time(
    seconds: float, autojump_clock: MockClock
) -> None:
    """They have other pools to serve, be this one stuck, crawling or just overloaded."""
    held = 0.0
    async with trio.open_nursery() as nursery:
        pool = make_pool(nursery, concurrency=1, capacity=1)
        while trio.current_time() < 1000:
            if pool.is_full:
                before = trio.current_time()
                room = await pool.wait_room()
                held += trio.current_time() - before
                if not room:
                    await trio.sleep(0.01)
                    continue
            pool.submit(Work(sleep_for(seconds)))
            await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert 1 <= held < 1 + 1000 / 10


async def test_a_pool_that_was_idle_has_all_its_patience_again(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        pool = make_pool(nursery, concurrency=1, capacity=1)
        for _ in range(3):
            pool.submit(Work(sleep_for(10)))
            await trio.lowlevel.checkpoint()
            pool.submit(Work(sleep_for(1)))
            began = trio.current_time()
            assert not await pool.wait_room()
            assert trio.current_time() == began + 1
            await pool.wait_idle()
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()


async def test_who_waits_for_room_is_not_overtaken(autojump_clock: MockClock) -> None:
    order: list[str] = []

    async def wait(name: str) -> None:
        assert await pool.wait_room()
        order.append(name)
        pool.submit(Work(sleep_for(0.1)))

    async with trio.open_nursery() as nursery:
        pool = make_pool(nursery, concurrency=1, capacity=1)
        pool.submit(Work(sleep_for(0.1)))
        await trio.lowlevel.checkpoint()
        pool.submit(Work(sleep_for(0.1)))
        async with trio.open_nursery() as waiting:
            for name in "abcd":
                waiting.start_soon(wait, name)
                await trio.sleep(0.01)
            while order != list("abcd"):
                assert pool.is_full, "to newcomers it is, as long as others wait"
                await trio.lowlevel.checkpoint()
                await trio.sleep(0.001)
        nursery.cancel_scope.cancel()


async def test_room_belongs_to_who_waited_for_it_even_before_they_wake(autojump_clock: MockClock) -> None:
    seen = []

    async def newcomer() -> None:
        # This job has just left the queue; who waits for its place has been woken, but has not run yet.
        seen.append((pool.has_room, pool.is_full))

    async with trio.open_nursery() as nursery:
        pool = make_pool(nursery, concurrency=1, capacity=1)
        pool.submit(Work(sleep_for(0.5)))
        await trio.lowlevel.checkpoint()
        pool.submit(Work(newcomer))
        assert await pool.wait_room()
        assert (seen, pool.is_full) == ([(True, True)], False)
        nursery.cancel_scope.cancel()


async def test_who_stops_waiting_leaves_no_trace(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        pool = make_pool(nursery, concurrency=1, capacity=1)
        pool.submit(Work(sleep_for(0.5)))
        await trio.lowlevel.checkpoint()
        pool.submit(Work(sleep_for(0)))
        with trio.move_on_after(0.1) as scope:
            await pool.wait_room()
        assert scope.cancelled_caught
        await pool.wait_idle()
        assert not pool.is_full
        nursery.cancel_scope.cancel()


# Order by key


@settings(deadline=None, max_examples=100)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([None, "a", "b", "c", ("d", 1)]),
            st.sampled_from([0, 0, 1, 3]),
            st.sampled_from([0, 0, 0, 1]),
        ),
        max_size=40,
    ),
    st.integers(1, 4),
)
def test_note_16_one_key_in_order_and_others_side_by_side(
    jobs: list[tuple[Hashable, float, float]], concurrency: int
) -> None:
    began: defaultdict[Hashable, list[int]] = defaultdict(list)
    running: Counter[Hashable] = Counter()

    async def play() -> None:
        async with trio.open_nursery() as nursery:
            pool = make_pool(nursery, concurrency=concurrency, capacity=1000)
            for number, (key, takes, then) in enumerate(jobs):

                async def job(number: int = number, key: Hashable = key, takes: float = takes) -> None:
                    began[key].append(number)
                    running[key] += 1
                    assert key is None or running[key] == 1
                    assert running.total() <= concurrency
                    if takes:
                        await trio.sleep(takes)
                    running[key] -= 1

                pool.submit(Work(job, key))
                if then:
                    await trio.sleep(then)
            await pool.wait_idle()
            assert (pool.waiting, pool.running) == (0, 0)
            assert pool._lanes == {}
            assert len(nursery.child_tasks) <= concurrency
            nursery.cancel_scope.cancel()

    trio.run(play, clock=MockClock(autojump_threshold=0))
    for numbers in began.values():
        assert numbers == sorted(numbers)
    assert sum(map(len, began.values())) == len(jobs)


async def test_note_16_a_busy_key_holds_no_worker(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        pool = make_pool(nursery, concurrency=2, capacity=1000)
        for _ in range(100):
            pool.submit(Work(sleep_for(1), "slow chat"))
        done = trio.Event()

        async def job() -> None:
            done.set()

        pool.submit(Work(job, "other chat"))
        await done.wait()
        assert trio.current_time() == 0
        nursery.cancel_scope.cancel()


async def test_a_hundred_thousand_keys_leave_nothing_behind(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        pool = make_pool(nursery, concurrency=8, capacity=1000)
        for key in range(100_000):
            if pool.is_full:
                await pool.wait_room()
            pool.submit(Work(trio.lowlevel.checkpoint, key))
        await pool.wait_idle()
        assert pool._lanes == {}
        assert len(nursery.child_tasks) <= 8
        nursery.cancel_scope.cancel()


async def test_who_waited_first_has_room_first_even_if_another_asks_before_they_wake(
    autojump_clock: MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        pool = make_pool(nursery, concurrency=1, capacity=1)
        for _ in range(2):
            pool.submit(Work(sleep_for(0.4)))
            await trio.testing.wait_all_tasks_blocked()
        order: list[int] = []

        async def ask(number: int) -> None:
            if await pool.wait_room():
                order.append(number)
                pool.submit(Work(sleep_for(0.01)))

        class AsksAtOnce(trio.abc.Instrument):
            """Asks between the moment when there is room and that in which who waits for it wakes."""

            def after_task_step(self, task: trio.lowlevel.Task) -> None:
                if pool.has_room and len(nursery.child_tasks) < 5:
                    nursery.start_soon(ask, len(nursery.child_tasks))

        nursery.start_soon(ask, 0)
        nursery.start_soon(ask, 1)
        await trio.testing.wait_all_tasks_blocked()
        first = list(pool._held)
        assert len(first) == 2
        trio.lowlevel.add_instrument(AsksAtOnce())
        await trio.sleep(2)
        assert sorted(order[:2]) == [0, 1], "those who waited come before those who asked when there was room"
        nursery.cancel_scope.cancel()


async def test_what_waits_is_bounded_in_bytes_over_all_pools_and_each_takes_one(
    autojump_clock: MockClock,
) -> None:
    async def run(job: Work, threads: trio.CapacityLimiter) -> None:
        await job.play()

    waiting = WaitingBytes(100)
    one, two = (Pool(name, run, concurrency=1, capacity=10, waiting_bytes=waiting) for name in ("1", "2"))
    async with trio.open_nursery() as nursery:
        for pool in (one, two):
            pool.start(nursery)
            pool.submit(Work(sleep_for(0.5), size=1000))
        await trio.testing.wait_all_tasks_blocked()
        assert waiting.used == 0, "what runs does not wait"
        for _ in range(2):
            assert not one.is_full
            one.submit(Work(sleep_for(0.5), size=60))
        assert waiting.used == 120
        assert one.is_full
        assert not two.is_full, "nothing waits in it"
        two.submit(Work(sleep_for(0.1), size=60))
        assert two.is_full
        start = trio.current_time()
        async with trio.open_nursery() as waiters:
            for pool in (one, two):
                waiters.start_soon(pool.wait_room)
        assert trio.current_time() - start == 0.5
        await one.wait_idle()
        await two.wait_idle()
        assert waiting.used == 0
        nursery.cancel_scope.cancel()


# Jobs that are held


async def test_a_held_job_keeps_its_turn_and_no_worker(autojump_clock: MockClock) -> None:
    done: list[tuple[str, float]] = []

    def noted(name: str) -> Play:
        async def play() -> None:
            await trio.sleep(1)
            done.append((name, trio.current_time()))

        return play

    async with trio.open_nursery() as nursery:
        pool = make_pool(nursery, concurrency=1)
        held = Work(noted("held"), key="k", is_held=True)
        pool.submit(held)
        pool.submit(Work(noted("behind it"), key="k"))
        pool.submit(Work(noted("of no key")))
        await trio.sleep(5)
        assert done == [("of no key", 1)]
        assert (pool.waiting, pool.is_idle) == (2, False)
        held.is_held = False
        pool.release(held)
        await pool.wait_idle()
        assert done[1:] == [("held", 6), ("behind it", 7)]
        nursery.cancel_scope.cancel()


async def test_a_job_that_is_released_before_its_turn_waits_for_it(autojump_clock: MockClock) -> None:
    done: list[str] = []

    def noted(name: str) -> Play:
        async def play() -> None:
            await trio.sleep(1)
            done.append(name)

        return play

    async with trio.open_nursery() as nursery:
        pool = make_pool(nursery)
        pool.submit(Work(noted("first"), key="k"))
        held = Work(noted("held"), key="k", is_held=True)
        pool.submit(held)
        held.is_held = False
        pool.release(held)
        await trio.sleep(1.5)
        assert done == ["first"]
        await pool.wait_idle()
        assert done == ["first", "held"]
        nursery.cancel_scope.cancel()
