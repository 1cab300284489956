"""Runs without an outcome, and their deadlines under a clock that jumps."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from feishu_trio.delivery import Run
from feishu_trio.delivery.deadlines import Deadlines

from .parts import make_run


@attrs.define
class Watched:
    deadlines: Deadlines = attrs.field(factory=Deadlines)
    overdue: list[tuple[float, float]] = attrs.field(factory=list)
    """When each was called overdue, and its deadline."""

    def add(self, *deadlines: float) -> list[Run]:
        runs = [make_run(deadline=deadline) for deadline in deadlines]
        for run in runs:
            self.deadlines.add(run)
        return runs

    def note(self, run: Run) -> None:
        self.overdue.append((trio.current_time(), run.deadline))


@asynccontextmanager
async def watched() -> AsyncGenerator[Watched, None]:
    scene = Watched()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.deadlines.watch, scene.note)
        await wait_all_tasks_blocked()
        yield scene
        nursery.cancel_scope.cancel()


async def test_each_is_overdue_at_its_deadline_and_once(autojump_clock: MockClock) -> None:
    async with watched() as scene:
        scene.add(1, 2.5, 2.5, 4)
        await trio.sleep(100)
    assert scene.overdue == [(1, 1), (2.5, 2.5), (2.5, 2.5), (4, 4)]


async def test_one_that_comes_later_with_a_sooner_deadline_is_not_late(autojump_clock: MockClock) -> None:
    async with watched() as scene:
        scene.add(10, 20)
        await trio.sleep(1)
        scene.add(5, 15)
        await trio.sleep(1)
        scene.add(3)
        await trio.sleep(100)
    assert scene.overdue == [(at, at) for at in (3, 5, 10, 15, 20)]


async def test_a_deadline_that_has_passed_already_is_overdue_at_once(autojump_clock: MockClock) -> None:
    async with watched() as scene:
        await trio.sleep(10)
        scene.add(4)
        await wait_all_tasks_blocked()
        assert scene.overdue == [(10, 4)]


async def test_with_an_outcome_in_time_it_is_not_overdue(autojump_clock: MockClock) -> None:
    async with watched() as scene:
        first, second, _ = scene.add(1, 2, 3)
        scene.deadlines.discard(first)
        await trio.sleep(1.5)
        scene.deadlines.discard(second)
        scene.deadlines.discard(second)
        await trio.sleep(100)
    assert scene.overdue == [(3, 3)]


async def test_those_without_an_outcome_are_the_overdue_then_the_others_by_deadline(
    autojump_clock: MockClock,
) -> None:
    async with watched() as scene:
        first, second, third, fourth = scene.add(1, 2, 30, 20)
        await trio.sleep(5)
        assert list(scene.deadlines) == [first, second, fourth, third]
        scene.deadlines.discard(first)
        scene.deadlines.discard(fourth)
        assert list(scene.deadlines) == [second, third]


async def test_what_a_blocked_loop_delayed_is_overdue_then(autojump_clock: MockClock) -> None:
    async with watched() as scene:
        scene.add(2, 3, 50)
        await wait_all_tasks_blocked()
        autojump_clock.jump(2.4)
        await wait_all_tasks_blocked()
        autojump_clock.jump(7.6)
        await wait_all_tasks_blocked()
    assert scene.overdue == [(2.4, 2), (10, 3)]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9), st.none() | st.integers(0, 8)), max_size=30))
def test_in_whatever_order_they_come_and_end(story: list[tuple[int, int, int | None]]) -> None:
    """Each is overdue at its deadline, unless it has its outcome before that."""
    expected = []

    async def play() -> None:
        async with watched() as scene, trio.open_nursery() as nursery:

            async def settle(run: Run, at: float) -> None:
                await trio.sleep_until(at)
                scene.deadlines.discard(run)

            for pause, patience, outcome_after in story:
                await trio.sleep(pause)
                now = trio.current_time()
                (run,) = scene.add(now + patience)
                if outcome_after is not None:
                    nursery.start_soon(settle, run, now + outcome_after + 0.5)
                if outcome_after is None or outcome_after + 0.5 > patience:
                    expected.append((now + patience, now + patience))
            await trio.sleep(20)
        assert sorted(scene.overdue) == sorted(expected)
        left = sum(outcome is None for _, _, outcome in story)
        assert len(list(scene.deadlines)) == left

    trio.run(play, clock=MockClock(autojump_threshold=0))


async def test_many_that_come_early_cost_no_more_than_others() -> None:
    """What is sooner than thousands that wait is put in its place without looking at all of them."""
    deadlines, compared = Deadlines(), 0

    class Counted(float):
        def __lt__(self, other: float) -> bool:
            nonlocal compared
            compared += 1
            return super().__lt__(other)

        def __ge__(self, other: float) -> bool:
            nonlocal compared
            compared += 1
            return super().__ge__(other)

    for number in range(5000):
        deadlines.add(make_run(deadline=Counted(1000 + number)))
    compared = 0
    for number in range(1000):
        deadlines.add(make_run(deadline=Counted(500 - number / 10)))
    assert compared < 1000 * 20
