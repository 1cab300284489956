from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from delivery.scene import CARD, MESSAGE, USER, open_scene, open_session
from feishu_trio import ConfigError, Event, EventStream, Router
from feishu_trio.events import contact
from feishu_trio.testing import Push, open_gateway


async def collect(stream: EventStream, into: list[str], seconds: float = 0) -> None:
    async for event in stream:
        into.append(event.id)
        if seconds:
            await trio.sleep(seconds)


async def test_the_next_step_of_the_loop_answers_the_last_event(autojump_clock: MockClock) -> None:
    async with open_scene() as scene:
        async with scene.session.events(USER) as events:
            seen = []
            pushes = [await scene.gateway.push(USER, event_id=each) for each in "cd"]
            async for event in events:
                seen.append(event.id)
                await trio.sleep(1)
                assert [push.status for push in pushes] == [200] * (len(seen) - 1) + [None] * (3 - len(seen))
                if len(seen) == 2:
                    break
        assert [(await push.settled()).at for push in pushes] == [1, 2]
        assert seen == ["c", "d"]


async def test_an_exception_in_the_body_gives_its_event_back(autojump_clock: MockClock) -> None:
    async with open_scene() as scene:

        async def fail() -> None:
            async with scene.session.events() as events:
                pushes.extend([await scene.gateway.push(USER, event_id=each) for each in "ab"])
                async for event in events:
                    assert event.id == "a"
                    await trio.sleep(1)
                    raise ValueError("not today")

        pushes: list[Push] = []
        with pytest.raises(ValueError, match="not today"):
            await fail()
        await trio.sleep(1)
        assert [answer.code for each in pushes for answer in each.answers] == [500, 500]
        async with scene.session.events() as events:
            seen: list[tuple[str, bool]] = []
            async for event in events:
                seen.append((event.id, event.redelivered))
                if len(seen) == 2:
                    break
        assert [(await each.settled()).code for each in pushes] == [200, 200]
        assert sorted(seen) == [("a", True), ("b", True)]


async def test_being_cancelled_gives_events_back(autojump_clock: MockClock) -> None:
    async with open_scene() as scene:
        push = await scene.gateway.push(USER, ladder=())
        await trio.sleep(1)
        with trio.move_on_after(1):
            async with scene.session.events() as events:
                push = await scene.gateway.push(USER, ladder=())
                async for _ in events:
                    await trio.sleep_forever()
        assert (await push.settled()).code == 500


async def test_ack_and_nack_answer_at_once_and_the_first_counts(autojump_clock: MockClock) -> None:
    async with open_scene(gateway={"ladder": ()}) as scene, scene.session.events() as events:
        acked, nacked, both = [await scene.gateway.push(USER, event_id=each) for each in "abc"]
        callback = await scene.gateway.push(CARD, event_id="d")
        async for event in events:
            if event.id == "a":
                event.ack()
            elif event.id == "b":
                event.nack()
            elif event.id == "c":
                event.nack()
                event.ack()
            else:
                event.ack({"toast": {"content": "hi"}})
            await trio.sleep(0.5)
            if event.id == "d":
                break
        assert [(push.status, push.answers[0].at) for push in (acked, nacked, both, callback)] == [
            (200, 0),
            (500, 0.5),
            (500, 1),
            (200, 1.5),
        ]
        assert callback.answers[0].data == {"toast": {"content": "hi"}}


async def test_a_handler_cannot_ack(autojump_clock: MockClock) -> None:
    router = Router()
    met = []

    @router.on(USER)
    async def handle(event: Event[Any]) -> None:
        with pytest.raises(RuntimeError, match="answered when its handlers are done"):
            event.ack()
        met.append(event.id)

    async with open_scene(router) as scene, scene.session.events() as events:
        push = await scene.gateway.push(USER, event_id="a")
        async for event in events:  # not even while a stream has the same event
            event.ack()
            break
        assert (await push.settled()).code == 200
    assert met == ["a"]


async def test_streams_that_overlap_each_have_every_event_and_answer_for_themselves(
    autojump_clock: MockClock,
) -> None:
    seen: dict[str, list[str]] = {"one": [], "two": [], "other": []}

    async def pull(stream: EventStream, name: str, *, nack_first: bool = False) -> None:
        async for event in stream:
            seen[name].append(event.id)
            if nack_first and not event.redelivered:
                event.nack()

    async with (
        open_scene() as scene,
        trio.open_nursery() as nursery,
        scene.session.events("contact.*") as one,
        scene.session.events("contact.*") as two,
        scene.session.events(MESSAGE) as other,
    ):
        nursery.start_soon(pull, one, "one")
        nursery.start_soon(lambda: pull(two, "two", nack_first=True))
        nursery.start_soon(pull, other, "other")
        push = await scene.gateway.push(USER, event_id="a")
        assert (await push.settled()).code == 200
        assert (await (await scene.say(1, event_id="m")).settled()).code == 200
    assert [answer.code for answer in push.answers] == [500, 200]
    assert seen == {"one": ["a"], "two": ["a", "a"], "other": ["m"]}


async def test_a_stream_opened_anew_is_not_given_what_it_had_acked(autojump_clock: MockClock) -> None:
    router = Router()
    runs = []

    @router.on(USER)
    async def bad_at_first(event: Event[Any]) -> None:
        runs.append(event.id)
        if len(runs) == 1:
            raise ValueError("not today")

    async with open_scene(router) as scene:
        async with scene.session.events(USER) as events:
            push = await scene.gateway.push(USER, event_id="a")
            async for event in events:
                event.ack()
                break
        seen: list[str] = []
        async with trio.open_nursery() as nursery, scene.session.events(USER) as events:
            nursery.start_soon(collect, events, seen)
            assert (await push.settled()).code == 200
        assert (seen, runs) == ([], ["a", "a"])


async def test_default_is_not_asked_for_what_is_pulled(autojump_clock: MockClock) -> None:
    router = Router()
    runs = []

    @router.default
    async def rest(event: Event[Any]) -> None:
        runs.append(event.id)

    async with open_scene(router) as scene:
        async with scene.session.events(USER) as events:
            await scene.gateway.push(USER, event_id="pulled")
            await (await scene.say(1, event_id="other")).settled()
            async for _ in events:
                break
        await (await scene.gateway.push(USER, event_id="later")).settled()
    assert runs == ["other", "later"]


async def test_a_loop_that_does_not_keep_up_holds_reading_back(autojump_clock: MockClock) -> None:
    async with open_scene(gateway={"ladder": ()}) as scene, scene.session.events(capacity=5) as events:
        pushes = [await scene.gateway.push(USER, event_id=f"{n}") for n in range(50)]
        await trio.sleep(10)
        waiting = [push for push in pushes if push.status is None]
        assert 5 <= len(waiting) <= 8
        assert {push.status for push in pushes if push not in waiting} == {500}
        # Not held up: heartbeats, and what comes once there is room.
        seen: list[str] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect, events, seen)
            await trio.sleep(1)
            assert (await (await scene.gateway.push(USER)).settled()).code == 200
            nursery.cancel_scope.cancel()
        assert seen[: len(waiting)] == [push.event_id for push in waiting]


async def test_the_end_of_the_session_ends_the_loop_and_gives_back_what_was_not_begun(
    autojump_clock: MockClock,
) -> None:
    async with open_scene() as scene:
        seen: list[str] = []
        async with trio.open_nursery() as nursery, scene.session.events() as events:
            nursery.start_soon(collect, events, seen, 2)
            pushes = [await scene.gateway.push(USER, event_id=each, ladder=()) for each in "abc"]
            await trio.sleep(1)
            await scene.session.aclose()
        await trio.sleep(1)
        assert seen == ["a"]
        assert [push.answers[0].code for push in pushes] == [200, 500, 500]
        async with scene.session.events() as events:
            assert [event async for event in events] == []


async def test_one_task_at_a_time(autojump_clock: MockClock) -> None:
    async with open_scene() as scene, scene.session.events() as events, trio.open_nursery() as nursery:
        nursery.start_soon(collect, events, [])
        await trio.sleep(1)
        with pytest.raises(trio.BusyResourceError):
            await anext(events)
        nursery.cancel_scope.cancel()


async def test_a_thousand_streams_leave_nothing_behind(autojump_clock: MockClock) -> None:
    async with open_scene() as scene:
        await trio.sleep(1)
        before = trio.lowlevel.current_statistics().tasks_living
        for number in range(1000):
            async with scene.session.events() as events:
                if number % 100 == 0:
                    await scene.gateway.push(USER)
                    async for _ in events:
                        break
        await trio.sleep(1)
        assert trio.lowlevel.current_statistics().tasks_living == before
        assert scene.session.stats().in_flight == 0


async def test_a_stream_that_is_left_while_reading_is_held_for_it(autojump_clock: MockClock) -> None:
    async with open_scene(gateway={"ladder": ()}) as scene:
        async with scene.session.events(capacity=1):
            pushes = [await scene.gateway.push(USER) for _ in range(10)]
            await trio.sleep(0.5)
        await trio.sleep(5)
        # Those it had are given back, as are the one held, and those behind it.
        assert [(await push.settled()).code for push in pushes] == [500] * 10
        assert scene.session.stats().refused == 0


async def test_no_event_comes_before_the_block_has_had_its_first_steps(autojump_clock: MockClock) -> None:
    """Feishu sends what it has as soon as a connection is up."""
    async with open_gateway() as gateway, trio.open_nursery() as nursery:
        seen: list[str] = []

        async def pull() -> None:
            async with open_session(gateway) as session, session.events() as events:
                async for event in events:
                    seen.append(event.id)
                    break

        async def push() -> None:
            await gateway.wait_connected()
            pushes.append(await gateway.push(USER, event_id="early", ladder=()))

        pushes: list[Push] = []
        nursery.start_soon(push)
        await pull()
        assert seen == ["early"]
        assert [answer.code for answer in pushes[0].answers] == [200]


async def test_a_loop_left_by_break_answers_its_event_though_the_session_ends(
    autojump_clock: MockClock,
) -> None:
    async with open_scene() as scene:
        push = await scene.gateway.push(USER, ladder=())
        async with scene.session.events() as events:
            async for _ in events:
                break
    assert [answer.code for answer in push.answers] == [200]


async def test_what_comes_while_nobody_pulls_comes_again(autojump_clock: MockClock) -> None:
    async with open_scene() as scene:
        async with scene.session.events():
            pass
        second = await scene.gateway.push(USER, event_id="second")
        assert (await second.wait_answers())[0].code == 500
        async with scene.session.events() as events:
            async for event in events:
                assert event.id == "second"
                break
    assert scene.session.stats().unhandled == 0


async def test_what_was_pulled_once_is_given_back_beside_handlers_of_other_types(
    autojump_clock: MockClock,
) -> None:
    router = Router()
    router.on(MESSAGE)(lambda event: None)
    async with open_scene(router) as scene:
        unknown = await scene.gateway.push(USER, ladder=())
        assert (await unknown.settled()).code == 200  # nobody ever asked for these
        async with scene.session.events("contact.*"):
            pass
        asked = await scene.gateway.push(USER, ladder=())
        assert (await asked.settled()).code == 500


@pytest.mark.parametrize("what", [contact.UserCreated, [MESSAGE, contact.UserCreated], "contact.*"])
async def test_what_is_pulled_is_said_as_for_a_handler(what: Any, autojump_clock: MockClock) -> None:
    async with open_scene() as scene, scene.session.events(what) as events:
        push = await scene.gateway.push(USER, ladder=())
        async for event in events:
            assert event.type == USER
            break
    assert [answer.code for answer in push.answers] == [200]


@pytest.mark.parametrize("what", [5, None, int, [], [5], ""])
async def test_what_is_no_event_type_is_refused_on_entry(what: Any, autojump_clock: MockClock) -> None:
    async with open_scene() as scene:
        with pytest.raises(ConfigError, match="event type"):
            await scene.session.events(what).__aenter__()
        push = await scene.gateway.push(USER)
        assert (await push.settled()).code == 200
