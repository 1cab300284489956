"""Sessions that share an inbox in Redis: through a gateway, in real time."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from feishu_trio import ConfigError, Event, EventDead, InboxError, LifecycleEvent, RedisInbox, Retry, Router
from feishu_trio.testing import open_gateway
from session.rig import come_true, open_real_session

from .servers import client_of, free_port, running
from .test_session import MESSAGE, USER, say, settled

Make = Callable[..., RedisInbox]


@pytest.fixture
def make(redis_url: str, prefix: str) -> Make:
    return functools.partial(RedisInbox, redis_url, prefix=prefix)


async def test_sessions_share_what_is_stored_and_each_event_is_handled_once_in_order(make: Make) -> None:
    handled: list[tuple[int, str]] = []

    def router_of(process: int) -> Router:
        router = Router()

        @router.on(MESSAGE, name="handle")
        async def handle(event: Event[Any]) -> None:
            await trio.sleep(0.002)
            handled.append((process, event.id))

        return router

    inboxes = [make(), make(), make()]
    with trio.fail_after(60):
        async with (
            open_gateway(seed=1) as gateway,
            open_real_session(gateway, router=router_of(0), inbox=inboxes[0], concurrency=4) as first,
            open_real_session(gateway, router=router_of(1), inbox=inboxes[1], concurrency=4) as second,
            open_real_session(gateway, router=Router(), inbox=inboxes[2], claim=False, store=MESSAGE),
        ):
            pushes = [await say(gateway, number, f"oc_{number % 5}") for number in range(150)]
            for push in pushes:
                assert (await push.settled()).code == 200
                assert len(push.deliveries) == 1
            await settled(inboxes[0], done=150)
            counts = Counter(process for process, _ in handled)
            assert set(counts) == {0, 1}, "both claim"
            assert first.stats().handled + second.stats().handled == 150
            stored = await inboxes[0].list("done", 150)
    for lane in {each.lane for each in stored}:
        of_lane = [each.id for each in stored if each.lane == lane]
        assert [event_id for _, event_id in handled if event_id in of_lane] == of_lane


async def test_a_lone_event_is_handled_at_once(make: Make) -> None:
    router, waited = Router(), []

    @router.on(USER)
    async def handle(event: Event[Any]) -> None:
        waited.append(trio.current_time())

    inbox = make()
    with trio.fail_after(20):
        async with open_gateway(seed=1) as gateway, open_real_session(gateway, router=router, inbox=inbox):
            for number in range(10):
                started = trio.current_time()
                await gateway.push(USER)
                await come_true(lambda n=number: len(waited) > n)  # type: ignore[misc]
                waited[number] -= started
                await trio.sleep(0.05)
    assert sorted(waited)[5] < 0.3, "without a ticket it waits for a second"


async def test_what_is_cancelled_by_another_process_ends_within_a_second(make: Make) -> None:
    started, ended = trio.Event(), trio.Event()
    router = Router()

    @router.on(MESSAGE)
    async def think(event: Event[Any]) -> None:
        started.set()
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    inbox = make()
    with trio.fail_after(20):
        async with (
            open_gateway(seed=1) as gateway,
            open_real_session(gateway, router=router, inbox=inbox),
            open_real_session(gateway, router=Router(), inbox=make(), claim=False) as other,
        ):
            await say(gateway, 1)
            await started.wait()
            assert await other.cancel("oc_1") == 1
            with trio.fail_after(1.5):
                await ended.wait()
            await settled(inbox, done=1)
            assert inbox.late == 0


async def test_a_handler_whose_lease_is_lost_is_cancelled_and_its_event_runs_elsewhere(
    make: Make, redis_url: str, prefix: str
) -> None:
    runs: list[tuple[int, int]] = []
    ended = trio.Event()

    def router_of(process: int) -> Router:
        router = Router()

        @router.on(USER, name="handle")
        async def handle(event: Event[Any]) -> None:
            runs.append((process, event.attempt))
            if len(runs) == 1:
                try:
                    await trio.sleep_forever()
                finally:
                    ended.set()

        return router

    client, inboxes = client_of(redis_url), [make(), make()]
    with trio.fail_after(20):
        async with (
            open_gateway(seed=1) as gateway,
            open_real_session(gateway, router=router_of(0), inbox=inboxes[0]),
            open_real_session(gateway, router=router_of(1), inbox=inboxes[1]),
        ):
            await gateway.push(USER)
            await come_true(lambda: runs)
            (owner,) = [
                each._lease.owner for each in inboxes if client.exists(f"{{{prefix}}}:o:{each._lease.owner}")
            ]
            # As long as its process is paused, nothing renews it.
            while not ended.is_set():
                client.zadd(f"{{{prefix}}}:owners", {owner: 0}, xx=True)
                await trio.sleep(0.01)
            await settled(inboxes[0], done=1)
    assert [attempt for _, attempt in runs] == [1, 1]
    assert len(runs) == 2


async def test_what_no_route_here_takes_another_process_handles(make: Make) -> None:
    router, handled = Router(), []

    @router.on(USER)
    async def handle(event: Event[Any]) -> None:
        handled.append(event.id)

    with_messages_only = Router()

    @with_messages_only.on(MESSAGE)
    async def message(event: Event[Any]) -> None: ...

    inbox = make()
    with trio.fail_after(30):
        async with (
            open_gateway(seed=1) as gateway,
            open_real_session(gateway, router=with_messages_only, inbox=inbox, store=USER),
        ):
            first = await gateway.push(USER)
            await settled(inbox, parked=1)
            async with open_real_session(gateway, router=router, inbox=make()):
                await settled(inbox, done=1)
                for _ in range(10):
                    await gateway.push(USER)
                await settled(inbox, done=11)
                assert (await inbox.counts()).parked == 0
    assert handled[0] == first.event_id


async def test_a_dead_letter_is_told_of_in_one_process(make: Make) -> None:
    told: list[str] = []
    seen: list[LifecycleEvent] = []

    def router_of(process: int) -> Router:
        router = Router()

        @router.on(USER, name="bad")
        async def bad(event: Event[Any]) -> None:
            raise ValueError("no")

        @router.dead
        async def dead(event: Event[Any], error: str) -> None:
            await trio.sleep(0.1)
            told.append(event.id)

        return router

    inbox = make(max_attempts=1)
    with trio.fail_after(20):
        async with (
            open_gateway(seed=1) as gateway,
            open_real_session(gateway, router=router_of(0), inbox=inbox, on_lifecycle=seen.append),
            open_real_session(
                gateway, router=router_of(1), inbox=make(max_attempts=1), on_lifecycle=seen.append
            ),
        ):
            ids = [(await gateway.push(USER)).event_id for _ in range(10)]
            await settled(inbox, dead=10)
            await come_true(lambda: len(told) >= 10)
            await trio.sleep(1.5)
    assert sorted(told) == sorted(ids)
    assert len([each for each in seen if isinstance(each, EventDead)]) == 10


async def test_an_orderly_end_gives_back_what_was_not_begun(make: Make) -> None:
    router, runs = Router(), []
    begun = trio.Event()

    @router.on(USER)
    async def slow(event: Event[Any]) -> None:
        runs.append(event.id)
        begun.set()
        await trio.sleep(0.5)
        if len(runs) == 1:
            raise Retry(after=0)

    inbox = make()
    with trio.fail_after(30):
        async with open_gateway(seed=1) as gateway:
            async with open_real_session(gateway, router=router, inbox=make(), concurrency=1):
                pushes = [await gateway.push(USER) for _ in range(3)]
                for push in pushes:
                    await push.settled()
                await begun.wait()
            async with open_real_session(gateway, router=router, inbox=inbox):
                await settled(inbox, done=3)
    assert Counter(Counter(runs).values()) == {1: 2, 2: 1}


async def test_while_the_server_is_away_events_are_refused_and_health_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    router, handled = Router(), []

    @router.on(USER)
    async def handle(event: Event[Any]) -> None:
        handled.append(event.id)

    with running(tmp_path, appendonly="yes", appendfsync="always") as server, trio.fail_after(60):
        inbox = RedisInbox(server.url, durability="disk")
        async with (
            open_gateway(seed=1, ladder=[0.5] * 100) as gateway,
            open_real_session(gateway, router=router, inbox=inbox) as session,
        ):
            await (await gateway.push(USER)).settled()
            await settled(inbox, done=1)
            server.kill()
            push = await gateway.push(USER)
            assert (await push.answer()).code == 500
            assert not session.health().ok
            assert "nothing can be written to RedisInbox" in session.health().reasons[0]
            await trio.to_thread.run_sync(server.start)
            assert (await push.settled()).code == 200
            await settled(inbox, done=2)
            await come_true(lambda: session.health().ok)
    assert len(handled) == 2
    assert "has no link to its server: the connection to the server was lost" in caplog.text


async def test_on_entry_a_server_that_is_away_is_waited_for_as_feishu_is(tmp_path: Path) -> None:
    with trio.fail_after(30):
        async with open_gateway(seed=1) as gateway:
            away = RedisInbox(f"redis://127.0.0.1:{free_port()}")
            with pytest.raises(InboxError, match=r"cannot be opened: .* cannot be reached"):
                async with open_real_session(gateway, router=Router(), inbox=away, max_reconnect_attempts=2):
                    pass
            with pytest.raises(InboxError, match="cannot be opened"):
                async with open_real_session(gateway, router=Router(), inbox=away, auto_reconnect=False):
                    pass
            with running(tmp_path) as server:
                server.kill()
                async with trio.open_nursery() as nursery:

                    async def start() -> None:
                        await trio.sleep(1)
                        await trio.to_thread.run_sync(server.start)

                    nursery.start_soon(start)
                    inbox = RedisInbox(server.url)
                    async with open_real_session(gateway, router=Router(), inbox=inbox) as session:
                        assert session.health().ok


async def test_a_server_that_is_not_to_be_used_is_refused_on_entry_as_itself(tmp_path: Path) -> None:
    with running(tmp_path, maxmemory="100mb", maxmemory_policy="allkeys-lru") as server:
        async with open_gateway(seed=1) as gateway:
            with pytest.raises(InboxError, match="write `maxmemory-policy noeviction`"):
                async with open_real_session(gateway, router=Router(), inbox=RedisInbox(server.url)):
                    pass
            server.set("maxmemory", "0")
            async with open_real_session(gateway, router=Router(), inbox=RedisInbox(server.url)):
                pass
            server.client.hset("{feishu}", "app", "cli_other")
            with pytest.raises(ConfigError, match="has the events of the app cli_other"):
                async with open_real_session(gateway, router=Router(), inbox=RedisInbox(server.url)):
                    pass
