"""Runs without an outcome, and their deadlines under a clock that jumps."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from feishu_trio.delivery import Run
from feishu_trio.delivery.deadlines import Deadlines

from .parts import make_run


@attrs.define
class Watched:
    deadlines: Deadlines = attrs.field(factory=Deadlines)
    overdue: list[tuple[float, float]] = attrs.field(factory=list)
    """When each was called overdue, and its deadline."""
    lags: list[float] = attrs.field(factory=list)

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
        nursery.start_soon(scene.deadlines.watch, scene.note, scene.lags.append)
        await wait_all_tasks_blocked()
        yield scene
        nursery.cancel_scope.cancel()


async def test_each_is_overdue_at_its_deadline_and_once(autojump_clock: MockClock) -> None:
    async with watched() as scene:
        scene.add(1, 2.5, 2.5, 4)
        await trio.sleep(100)
    assert scene.overdue == [(1, 1), (2.5, 2.5), (2.5, 2.5), (4, 4)]
    assert scene.lags == []


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


async def test_a_blocked_loop_is_noticed_and_what_it_delayed_is_overdue_then(
    autojump_clock: MockClock,
) -> None:
    async with watched() as scene:
        scene.add(2, 3, 50)
        await wait_all_tasks_blocked()
        autojump_clock.jump(2.4)  # less than half a second late
        await wait_all_tasks_blocked()
        assert scene.lags == []
        autojump_clock.jump(7.6)
        await wait_all_tasks_blocked()
    assert scene.lags == [7]
    assert scene.overdue == [(2.4, 2), (10, 3)]
