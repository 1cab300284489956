"""Which pool a handler runs in, and the pools of routes that come and go."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from feishu_trio import PoolConfig
from feishu_trio.delivery.job import Job
from feishu_trio.delivery.pools import Pools
from feishu_trio.router import BatchSize
from feishu_trio.telemetry import Telemetry

from .parts import make_route

NAMES = ("default", "callbacks", "messages", "slow")


async def sleep_a_second(job: Job, threads: trio.CapacityLimiter) -> None:
    await trio.sleep(1)


def make_pools() -> Pools:
    configs = {name: PoolConfig(concurrency=1, capacity=number + 1) for number, name in enumerate(NAMES)}
    return Pools(configs, sleep_a_second, Telemetry(lambda: 0.0))


def text_job(pools: Pools, name: str = "default") -> Job:
    """A job that is for no event."""
    pool = pools.named.get(name) or next(pool for pool in pools if pool.name == name)
    return Job(make_route("job"), pool, None, {}, None, False)


def test_each_has_the_bounds_that_were_set() -> None:
    pools = make_pools()
    assert [(pool.name, pool.capacity) for pool in pools] == list(zip(NAMES, (1, 2, 3, 4), strict=True))


@pytest.mark.parametrize("is_callback", [False, True])
def test_callbacks_have_a_pool_of_their_own_unless_they_name_another(is_callback: bool) -> None:
    pools = make_pools()
    unnamed, named = make_route("a"), make_route("b", pool="slow")
    assert pools.of(unnamed, is_callback=is_callback).name == ("callbacks" if is_callback else "default")
    assert pools.of(named, is_callback=is_callback).name == "slow"


def test_a_batch_is_gathered_in_one_place() -> None:
    batch = make_route("a", batch=BatchSize(10, 1.0))
    pools = make_pools()
    assert pools.of(batch, is_callback=True) is pools.of(batch, is_callback=False) is pools.named["default"]


def test_instead_of_a_pool_that_is_missing_it_is_the_default_one(caplog: pytest.LogCaptureFixture) -> None:
    pools = make_pools()
    for _ in range(3):
        assert pools.of(make_route("a", pool="gpu"), is_callback=True).name == "default"
    assert [record.getMessage() for record in caplog.records] == [
        "handler a: there is no pool 'gpu', so it runs in the default one; name it in pools= of the session"
    ]


async def test_an_attached_route_has_a_pool_and_a_name_of_its_own() -> None:
    pools, route = make_pools(), make_route("stream")
    async with trio.open_nursery() as nursery:
        pools.start(nursery)
        pools.attach(route, concurrency=3, capacity=5)
        pools.attach(make_route("stream"), concurrency=1, capacity=1)
        first, second = pools.attached
        assert first is route, "the first keeps its name"
        assert second.name == "stream#2"
        pool = pools.of(first, is_callback=True)
        assert (pool.name, pool.concurrency, pool.capacity) == ("stream", 3, 5)
        assert [each.name for each in pools] == [*NAMES, "stream", "stream#2"]
        assert pools.of(make_route("another"), is_callback=False).name == "default"


async def test_a_detached_route_is_remembered_by_its_types_and_others_stay() -> None:
    async def other(event: object) -> None: ...

    pools = make_pools()
    route, stays = make_route("a", patterns=("im.*",)), make_route("b", handler=other, patterns=("y",))
    async with trio.open_nursery() as nursery:
        pools.start(nursery)
        for each in (route, stays):
            pools.attach(each, concurrency=1, capacity=1)
        assert not pools.was_attached("im.message.receive_v1")
        pools.detach(route)
        pools.detach(route)  # which does nothing
        assert list(pools.attached) == [stays]
        assert pools.was_attached("im.message.receive_v1")
        assert not pools.was_attached("y")
        assert pools.of(route, is_callback=False).name == "default"


async def test_what_is_remembered_of_detached_routes_is_bounded() -> None:
    pools = make_pools()
    async with trio.open_nursery() as nursery:
        pools.start(nursery)
        for number in range(300):
            route = make_route("a", patterns=(f"type-{number}",))
            pools.attach(route, concurrency=1, capacity=1)
            pools.detach(route)
    assert [pools.was_attached(f"type-{number}") for number in (0, 255, 256, 299)] == [
        True,
        True,
        False,
        False,
    ]


async def test_what_runs_for_a_detached_route_is_waited_for(autojump_clock: MockClock) -> None:
    pools, route = make_pools(), make_route("stream")
    async with trio.open_nursery() as nursery:
        pools.start(nursery)
        pools.attach(route, concurrency=1, capacity=5)
        pool = pools.of(route, is_callback=False)
        for _ in range(3):
            pool.submit(text_job(pools, "stream"))
        pools.detach(route)
        assert pool in list(pools)
        await pools.wait_idle()
        assert trio.current_time() == 3
        await wait_all_tasks_blocked()
        assert not nursery.child_tasks, "its workers have ended"
        # The next one to be detached takes what is through off the list.
        pools.attach(route, concurrency=1, capacity=1)
        pools.detach(route)
        assert pool not in list(pools)
        nursery.cancel_scope.cancel()


async def test_waiting_until_all_of_them_are_idle(autojump_clock: MockClock) -> None:
    pools = make_pools()
    async with trio.open_nursery() as nursery:
        pools.start(nursery)
        await pools.wait_idle()
        assert trio.current_time() == 0
        for name in ("default", "slow", "slow"):
            pools.named[name].submit(text_job(pools, name))
        await pools.wait_idle()
        assert trio.current_time() == 2
        nursery.cancel_scope.cancel()
