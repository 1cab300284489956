"""Deadlines, callbacks, late results, and pools that are full."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from feishu_trio import Card, CardAnswer, Event, EventAnswered, HandlerFailed, PoolConfig, Router, Toast

from .scene import CARD, MESSAGE, USER, open_scene

BUSY = {"toast": {"content": "one moment"}}


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage() for record in caplog.records if record.name.startswith("feishu_trio.delivery")
    ]


async def test_a_slow_handler_is_named_when_the_deadline_passes(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    router = Router()

    @router.on(MESSAGE, name="the slow one")
    async def slow(event: Event[Any]) -> None:
        await trio.sleep(5)

    @router.on(MESSAGE, name="the quick one")
    async def quick(event: Event[Any]) -> None:
        pass

    async with open_scene(router) as scene:
        await (await scene.say(1, event_id="e1")).settled()
        assert scene.session.stats().late == 1
    assert warnings(caplog) == [
        f"event e1 ({MESSAGE}) is not answered after 2.5 s: still at work: the slow one"
    ]


async def test_note_20_a_handler_that_blocks_the_loop_is_named(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    router = Router()

    @router.on(MESSAGE, name="the thinker")
    async def thinks(event: Event[Any]) -> None:
        await trio.sleep(0.5)
        autojump_clock.jump(3.5)  # as time.sleep(3.5) would

    async with open_scene(router) as scene:
        await (await scene.say(1, event_id="e1")).wait_answers()
        await trio.sleep(1)
        stats = scene.session.stats()
        assert (stats.late, stats.latency.max, stats.handler_time.max) == (1, 4, 4)
    lines = warnings(caplog)
    assert lines[0] == f"event e1 ({MESSAGE}) is not answered after 4.0 s: still at work: the thinker"
    assert lines[1].startswith("the event loop stood still for 3.")
    assert float(lines[1].split()[6]) == pytest.approx(3.5, abs=0.11)
    assert len(lines) == 2


async def test_note_20_waiting_and_working_are_measured_apart(autojump_clock: MockClock) -> None:
    router = Router()

    @router.on(MESSAGE)
    async def slow(event: Event[Any]) -> None:
        await trio.sleep(1)

    async with open_scene(router, concurrency=1) as scene:
        pushes = [await scene.say(number, f"oc_{number}") for number in range(2)]
        await trio.sleep(0.1)
        assert scene.session.stats().queue_depth == 1
        for push in pushes:
            await push.settled()
        stats = scene.session.stats()
        assert (stats.queue_wait.max, stats.handler_time.max, stats.latency.max) == (1, 1, 2)


# Callbacks


async def test_a_callback_is_answered_with_what_its_handler_returns(autojump_clock: MockClock) -> None:
    router = Router()

    @router.on(CARD)
    async def handle(event: Event[Any]) -> CardAnswer:
        return CardAnswer(Toast("saved"))

    @router.on("url.preview.get")
    async def nothing(event: Event[Any]) -> None:
        pass

    async with open_scene(router) as scene:
        answer = await (await scene.gateway.push(CARD)).settled()
        assert (answer.code, answer.data) == (200, {"toast": {"content": "saved", "type": "info"}})
        answer = await (await scene.gateway.push("url.preview.get")).settled()
        assert (answer.code, answer.data) == (200, None)


@pytest.mark.parametrize(
    ("result", "data"),
    [
        ("ok", "ok"),
        ({"saved"}, ["saved"]),
        ({"tosat": {"content": "saved"}}, {"tosat": {"content": "saved"}}),
    ],
)
async def test_an_answer_without_effect_is_told_and_goes_out_as_it_is(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, result: object, data: object
) -> None:
    router = Router()

    @router.on(CARD, name="saves")
    async def handle(event: Event[Any]) -> object:
        return result

    async with open_scene(router) as scene:
        for number in range(30):
            answer = await (await scene.gateway.push(CARD, event_id=f"e{number}")).settled()
            assert (answer.code, answer.data) == (200, data)
    lines = [line for line in warnings(caplog) if line.startswith("the answer of")]
    assert len(lines) == 10
    assert lines[0].startswith(f"the answer of handler saves to event e0 ({CARD}) has no effect: it ")
    assert "an object with 'toast' and 'card'" in lines[0]


async def test_the_first_result_in_order_of_registration_is_the_answer(autojump_clock: MockClock) -> None:
    router = Router()

    @router.on(CARD)
    async def nothing(event: Event[Any]) -> None:
        pass

    @router.on(CARD)
    async def slower(event: Event[Any]) -> str:
        await trio.sleep(1)
        return "first"

    @router.on(CARD)
    async def quicker(event: Event[Any]) -> str:
        return "second"

    async with open_scene(router) as scene:
        answer = await (await scene.gateway.push(CARD)).settled()
        assert (answer.data, answer.latency) == ("first", 1)


@pytest.mark.parametrize(("fallback", "data"), [(BUSY, BUSY), (None, None)])
async def test_note_17_a_slow_callback_gets_the_fallback_and_the_handler_goes_on(
    autojump_clock: MockClock, fallback: object, data: object
) -> None:
    router = Router()
    late: list[tuple[str, object, float]] = []

    @router.on(CARD, fallback=fallback)
    async def slow(event: Event[Any]) -> str:
        await trio.sleep(20)
        return "done"

    @router.late
    async def take(event: Event[Any], result: object) -> None:
        late.append((event.id, result, trio.current_time()))

    async with open_scene(router) as scene:
        push = await scene.gateway.push(CARD, event_id="c1")
        answer = await push.settled()
        assert (answer.code, answer.data, answer.latency) == (200, data, 2.5)
        assert late == []
        await trio.sleep(60)
        assert late == [("c1", "done", 20)]
        assert len(push.answers) == 1
        assert (scene.session.stats().handled, scene.session.stats().late) == (1, 1)


async def test_note_17_a_late_card_updates_the_card(autojump_clock: MockClock) -> None:
    router = Router()

    @router.on(CARD, fallback=BUSY)
    async def slow(event: Event[Any]) -> CardAnswer:
        await trio.sleep(20)
        return CardAnswer(card=Card.raw({"elements": ["new"]}))

    async with open_scene(router) as scene:
        await (await scene.gateway.push(CARD, {"token": "c-token"})).settled()
        update = await scene.gateway.wait_message()
        assert trio.current_time() == 20
        assert (update.kind, update.to, update.content) == ("card", "c-token", {"elements": ["new"]})


async def test_note_17_nothing_late_overtakes_the_answer(autojump_clock: MockClock) -> None:
    router = Router()
    late = []

    @router.on(CARD, fallback=BUSY)
    async def slow(event: Event[Any]) -> str:
        await trio.sleep(3)
        return "late"

    @router.late
    async def take(event: Event[Any], result: object) -> None:
        late.append(trio.current_time())

    async with open_scene(router, reconnect_delay=0.1, max_reconnect_delay=0.1) as scene:
        push = await scene.gateway.push(CARD)
        await trio.sleep(2)
        await scene.gateway.stop_listening()
        await scene.gateway.drop()
        await trio.sleep(4)
        assert late == []
        await scene.gateway.start_listening()
        await push.wait_answers()
        await trio.sleep(1)
        assert late == [push.answers[0].at]
        assert push.answers[0].data == BUSY


async def test_note_17_what_is_there_at_the_deadline_is_better_than_the_fallback(
    autojump_clock: MockClock,
) -> None:
    router = Router()
    late = []

    @router.on(CARD, fallback=BUSY)
    async def slow(event: Event[Any]) -> str:
        await trio.sleep(20)
        return "late"

    @router.on(CARD)
    async def later(event: Event[Any]) -> str:
        await trio.sleep(30)
        return "later"

    @router.on(CARD)
    async def silent(event: Event[Any]) -> None:
        await trio.sleep(25)

    @router.on(CARD)
    async def quick(event: Event[Any]) -> str:
        return "in time"

    @router.late
    def take(event: Event[Any], result: object) -> None:
        late.append(result)

    async with open_scene(router) as scene:
        answer = await (await scene.gateway.push(CARD)).settled()
        assert (answer.data, answer.latency) == ("in time", 2.5)
        await trio.sleep(60)
        assert late == ["late", "later"]


async def test_a_failed_callback_has_the_fallback_if_there_is_one(autojump_clock: MockClock) -> None:
    router = Router()

    @router.on(CARD, where=lambda event: event.data.token == "c-1", fallback=BUSY)
    async def with_fallback(event: Event[Any]) -> None:
        raise ValueError("no")

    @router.on(CARD, where=lambda event: event.data.token == "c-2")
    async def without(event: Event[Any]) -> None:
        raise ValueError("no")

    async with open_scene(router) as scene:
        answer = await (await scene.gateway.push(CARD, {"token": "c-1"})).settled()
        assert (answer.code, answer.data) == (200, BUSY)
        answer = await (await scene.gateway.push(CARD, {"token": "c-2"})).settled()
        assert (answer.code, answer.data) == (500, None)
        assert scene.session.stats().failed == 2


async def test_a_failure_takes_nothing_from_another_handlers_result(autojump_clock: MockClock) -> None:
    router = Router()

    @router.on(CARD, fallback=BUSY)
    async def fails(event: Event[Any]) -> None:
        raise ValueError("no")

    @router.on(CARD)
    async def works(event: Event[Any]) -> str:
        return "fine"

    async with open_scene(router) as scene:
        assert (await (await scene.gateway.push(CARD)).settled()).data == "fine"


async def test_a_late_hook_that_fails_is_reported_and_costs_nothing_else(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    router = Router()

    @router.on(CARD, name="slow")
    async def slow(event: Event[Any]) -> str:
        await trio.sleep(4)
        return "late"

    @router.late
    async def take(event: Event[Any], result: object) -> None:
        raise ValueError("not mine")

    async with open_scene(router) as scene:
        await (await scene.gateway.push(CARD, event_id="c1")).settled()
        await trio.sleep(10)
        assert (await (await scene.gateway.push(USER)).settled()).code == 200
    assert (
        f"the late result of handler slow for event c1 ({CARD}) was not used: ValueError: not mine"
        in warnings(caplog)
    )


async def test_leaving_the_session_waits_for_a_late_hook(autojump_clock: MockClock) -> None:
    router = Router()
    taken = []

    @router.on(CARD)
    async def slow(event: Event[Any]) -> str:
        await trio.sleep(4)
        return "late"

    @router.late
    async def take(event: Event[Any], result: object) -> None:
        await trio.sleep(3)
        taken.append(result)

    async with open_scene(router) as scene:
        await (await scene.gateway.push(CARD)).settled()
    assert taken == ["late"]
    assert trio.current_time() == pytest.approx(7)


# Full pools


def tight(router: Router, what: str = USER) -> dict[str, Any]:
    """A pool for one at work and one that waits, its handler asleep for ever; and the settings for it."""

    @router.on(what, pool="tight", fallback=BUSY if what == CARD else None)
    async def stuck(event: Event[Any]) -> None:
        await trio.sleep_forever()

    return {"pools": {"tight": PoolConfig(concurrency=1, capacity=1)}, "shutdown_timeout": 0.1}


async def test_note_10_a_full_pool_holds_reading_back_a_second_and_then_refuses(
    autojump_clock: MockClock,
) -> None:
    router = Router()
    settings = tight(router)
    async with open_scene(router, gateway={"ladder": ()}, **settings) as scene:
        pushes = [await scene.gateway.push(USER) for _ in range(20)]
        await trio.sleep(1.5)
        assert [push.status for push in pushes] == [None, None, *[500] * 18]
        assert [push.answers[0].latency for push in pushes[2:]] == [1] * 18, "one second in all"
        stats = scene.session.stats()
        assert (stats.refused, stats.in_flight, stats.queue_depth) == (18, 2, 1)
        assert not scene.session.health()


async def test_what_was_refused_comes_again(autojump_clock: MockClock) -> None:
    router = Router()
    runs = []

    @router.on(MESSAGE)
    async def slow(event: Event[Any]) -> None:
        runs.append(event.id)
        await trio.sleep(5)

    async with open_scene(router, concurrency=1, queue_capacity=1) as scene:
        pushes = [await scene.say(number, f"oc_{number}") for number in range(3)]
        for push in pushes:
            assert (await push.settled()).code == 200
        assert sorted(runs) == sorted({push.event_id for push in pushes})
        assert [[answer.code for answer in push.answers] for push in pushes] == [[200], [200], [500, 200]]


async def test_note_09_a_stuck_pool_hurts_no_other_and_no_heartbeat(autojump_clock: MockClock) -> None:
    router = Router()
    settings = tight(router)

    @router.on(MESSAGE)
    async def quick(event: Event[Any]) -> None:
        pass

    async with open_scene(router, gateway={"ladder": (15,) * 40}, heartbeat_interval=10, **settings) as scene:
        pushes = [await scene.gateway.push(USER) for _ in range(200)]
        await trio.sleep(2)
        for number in range(100):
            push = await scene.say(number)
            answer = await push.settled()
            assert (answer.code, len(push.deliveries)) == (200, 1)
            assert answer.latency <= 1
            await trio.sleep(5)
        assert len(pushes[-1].deliveries) > 20, "the refused ones came again all the while"
        beats = [at for at, _ in scene.gateway.pings]
        assert max(b - a for a, b in pairwise(beats)) <= 11
        assert scene.session.stats().reconnects == 0


async def test_a_callback_that_a_full_pool_refuses_has_the_fallback(autojump_clock: MockClock) -> None:
    router = Router()
    settings = tight(router, CARD)
    async with open_scene(router, **settings) as scene:
        pushes = [await scene.gateway.push(CARD) for _ in range(4)]
        answers = [await push.settled() for push in pushes]
        assert [(answer.code, answer.data) for answer in answers] == [(200, BUSY)] * 4
        assert [answer.latency for answer in answers] == [2.5, 2.5, 1, 1]


async def test_the_deadline_holds_while_a_full_pool_holds_the_callback(autojump_clock: MockClock) -> None:
    router = Router()
    settings = tight(router, CARD)
    async with open_scene(router, ack_deadline=0.5, **settings) as scene:
        pushes = [await scene.gateway.push(CARD) for _ in range(3)]
        await trio.sleep(0.6)
        assert pushes[2].answers[0].latency == 0.5
        await trio.sleep(5)
        assert len(pushes[2].answers) == 1


async def test_one_event_on_two_connections_while_a_full_pool_holds_it(autojump_clock: MockClock) -> None:
    router = Router()
    runs = []

    @router.on(USER)
    async def handle(event: Event[Any]) -> None:
        runs.append(event.id)
        await trio.sleep(0.8)

    async with open_scene(router, connections=2, concurrency=1, queue_capacity=1) as scene:
        first, second = await scene.gateway.wait_connected(2)
        for event_id in ("a", "b"):
            await scene.gateway.push(USER, event_id=event_id, connection=first)
        await trio.sleep(0.1)
        held = await scene.gateway.push(USER, event_id="c", connection=first)
        await trio.sleep(0.1)
        again = await scene.gateway.push(USER, event_id="c", connection=second)
        # The second connection is not held: its delivery has joined the first, and it reads on.
        other = await scene.gateway.push("x.y", connection=second)
        assert (await other.settled()).latency == 0
        await trio.sleep(3)
        assert runs == ["a", "b", "c"]
        assert [push.answers[0].code for push in (held, again)] == [200, 200]
        assert scene.session.stats().duplicates == 1


async def test_two_connections_that_are_both_held(autojump_clock: MockClock) -> None:
    router = Router()

    @router.on(USER)
    async def handle(event: Event[Any]) -> None:
        await trio.sleep(0.3)

    async with open_scene(router, connections=2, concurrency=1, queue_capacity=1) as scene:
        first, second = await scene.gateway.wait_connected(2)
        for number in range(2):
            await scene.gateway.push(USER, event_id=f"{number}", connection=first)
            await trio.sleep(0.01)
        held = [await scene.gateway.push(USER, connection=each) for each in (first, second)]
        assert [(await push.settled()).code for push in held] == [200, 200]
        assert scene.session.stats().refused == 0


async def test_an_event_for_two_full_pools_is_held_a_second_in_all(autojump_clock: MockClock) -> None:
    router = Router()
    pools = {name: PoolConfig(concurrency=1, capacity=1) for name in "ab"}
    for name, seconds in (("b", 100), ("a", 0.4)):

        @router.on(["x.y", f"x.{name}"], pool=name, name=name)
        async def handle(event: Event[Any], seconds: float = seconds) -> None:
            await trio.sleep(seconds)

    async with open_scene(router, pools=pools, gateway={"ladder": ()}, shutdown_timeout=0) as scene:
        for event_type in ("x.a", "x.a", "x.b", "x.b"):
            await scene.gateway.push(event_type)
        await trio.sleep(0.1)
        answer = await (await scene.gateway.push("x.y")).settled()
        assert answer.code == 500
        assert answer.latency == pytest.approx(1)


async def test_an_event_is_handled_by_who_is_there_when_room_is_found(autojump_clock: MockClock) -> None:
    router = Router()
    runs: list[str] = []

    @router.on("x.y")
    async def slow(event: Event[Any]) -> None:
        runs.append(f"slow {event.id}")
        await trio.sleep(0.5)

    async with open_scene(router, concurrency=1, queue_capacity=1) as scene:
        pushes = []
        for number in range(3):
            pushes.append(await scene.gateway.push("x.y", event_id=f"{number}"))
            await trio.sleep(0.1)
        router.remove(slow)

        @router.on("x.y")
        async def new(event: Event[Any]) -> None:
            runs.append(f"new {event.id}")

        assert [(await push.settled()).code for push in pushes] == [200, 200, 200]
    assert runs == ["slow 0", "slow 1", "new 2"]


async def test_what_a_full_pool_held_when_the_session_ends_is_refused(autojump_clock: MockClock) -> None:
    router = Router()
    settings = tight(router)
    async with open_scene(router, gateway={"ladder": ()}, **settings) as scene:
        pushes = [await scene.gateway.push(USER) for _ in range(3)]
        await trio.sleep(0.5)
        await scene.session.aclose()
        assert [push.status for push in pushes] == [500, 500, 500]


async def test_more_handlers_than_the_pool_has_places(autojump_clock: MockClock) -> None:
    router = Router()
    for number in range(10):

        @router.on(USER, name=f"{number}")
        async def handle(event: Event[Any]) -> None:
            await trio.sleep(0.1)

    async with open_scene(router, concurrency=1, queue_capacity=1) as scene:
        pushes = [await scene.gateway.push(USER) for _ in range(2)]
        assert [(await push.settled()).code for push in pushes] == [200, 200]
        assert scene.session.stats().handled == 2


async def test_a_handler_that_failed_before_stays_known_when_its_event_is_refused(
    autojump_clock: MockClock,
) -> None:
    router = Router()
    runs = []

    @router.on(USER, name="good")
    async def good(event: Event[Any]) -> None:
        runs.append("good")

    @router.on(USER, pool="tight", name="bad")
    async def bad(event: Event[Any]) -> None:
        runs.append("bad")
        if runs.count("bad") == 1:
            raise ValueError("not today")

    @router.on("x.y", pool="tight")
    async def stuck(event: Event[Any]) -> None:
        await trio.sleep(20)

    pools = {"tight": PoolConfig(concurrency=1, capacity=1)}
    async with open_scene(router, pools=pools) as scene:
        push = await scene.gateway.push(USER)
        await push.wait_answers()
        for _ in range(2):
            await scene.gateway.push("x.y")
        assert (await push.settled()).code == 200
        assert sorted(runs) == ["bad", "bad", "good"]
        assert [answer.code for answer in push.answers] == [500, 500, 200]


# Telling


async def test_what_happens_is_published_as_it_happens(autojump_clock: MockClock) -> None:
    router = Router()

    @router.on(USER, name="fails")
    async def fails(event: Event[Any]) -> None:
        raise ValueError("no")

    async with open_scene(router, gateway={"ladder": ()}) as scene, scene.session.lifecycle() as stream:
        await (await scene.gateway.push(USER, event_id="e1")).settled()
        await scene.session.aclose()
        kinds = ("EventReceived", "HandlerFailed", "EventAnswered")
        lines = [name async for each in stream if (name := type(each).__name__) in kinds]
        assert lines == ["EventReceived", "HandlerFailed", "EventAnswered"]


async def test_a_failure_and_its_answer_say_whose_they_are(autojump_clock: MockClock) -> None:
    router = Router()

    @router.on(USER, name="fails")
    async def fails(event: Event[Any]) -> None:
        raise ValueError("no")

    async with open_scene(router, gateway={"ladder": ()}) as scene, scene.session.lifecycle() as stream:
        await (await scene.gateway.push(USER, event_id="e1")).settled()
        async for each in stream:
            if isinstance(each, HandlerFailed):
                assert (each.handler, each.event_id, each.event_type) == ("fails", "e1", USER)
                assert isinstance(each.error, ValueError)
            if isinstance(each, EventAnswered):
                assert (each.event_id, each.ok) == ("e1", False)
                break


async def test_a_payload_that_is_no_event_is_refused(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_scene(gateway={"ladder": ()}) as scene:
        for payload in (b"", b"null", b"[]", b"{", b'{"schema":"2.0","header":{}}', b"[" * 100_000):
            push = await scene.gateway.push("x.y", payload=payload)
            assert (await push.settled()).code == 500
        assert scene.session.stats().bad_frames == 6
        assert (await (await scene.gateway.push("x.y")).settled()).code == 200
    assert len([line for line in warnings(caplog) if "no event was refused" in line]) == 6


async def test_events_that_no_handler_takes_are_warned_of_once_a_type(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    long = "x" * 10_000
    async with open_scene() as scene:
        for event_type in ("im.message.recieve_v1", USER, long):
            for _ in range(3):
                assert (await (await scene.gateway.push(event_type)).settled()).code == 200
        assert scene.session.stats().unhandled == 9
    assert warnings(caplog) == [
        "no handler takes events of type 'im.message.recieve_v1': they are answered and dropped; "
        f"the nearest known type is '{MESSAGE}'",
        f"no handler takes events of type '{USER}': they are answered and dropped",
        f"no handler takes events of type '{'x' * 100}': they are answered and dropped",
    ]


async def test_note_09_handlers_that_block_run_side_by_side_and_hold_nobody_up() -> None:
    # Threads, so in real time.
    router = Router()

    @router.on(USER)
    def blocks(event: Event[Any]) -> None:
        time.sleep(0.2)

    @router.on(MESSAGE)
    async def quick(event: Event[Any]) -> None:
        pass

    async with open_scene(router, concurrency=20) as scene:
        with trio.fail_after(10):
            pushes = [await scene.gateway.push(USER) for _ in range(40)]
            await trio.sleep(0.05)
            quick_answer = await (await scene.gateway.push(MESSAGE, {"message": {}})).settled()
            answers = [await push.settled() for push in pushes]
        # One after the other they would take 8 s; 20 at a time it is 0.4 s.
        assert max(answer.latency for answer in answers) < 3
        # It waited for a worker of the same pool, but for no thread.
        assert quick_answer.latency < 1
