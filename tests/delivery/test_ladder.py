"""The whole of it against the platform's ladder: whatever happens, each event is handled once, and answered so."""

from __future__ import annotations

import json
import logging
from collections import Counter, defaultdict
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from feishu_trio import Ack, Event, Router
from feishu_trio.testing import Push

from .scene import CARD, MESSAGE, Scene, open_scene

HOUR = 3600.0


async def test_note_07_redeliveries_join_the_running_handler(autojump_clock: MockClock) -> None:
    runs = []
    router = Router()

    @router.on(MESSAGE)
    async def slow(event: Event[Any]) -> None:
        runs.append(event)
        await trio.sleep(60)

    async with open_scene(router) as scene:
        push = await scene.say(1)
        answer = await push.settled()
        assert (answer.code, answer.at) == (200, 60)
        # 3 s without an answer, 15 s of waiting: the second delivery came while the handler ran, and
        # the third is never needed.
        assert [delivery.at for delivery in push.deliveries] == [0, 18]
        await push.wait_answers(2)
        assert [answer.code for answer in push.answers] == [200, 200]
        await trio.sleep(8 * HOUR)
        assert len(push.deliveries) == 2
        assert len(runs) == 1
        assert runs[0].redelivered
        stats = scene.session.stats()
        assert (stats.received, stats.duplicates, stats.handled, stats.late) == (2, 1, 1, 1)


async def test_note_08_the_whole_ladder_is_remembered(autojump_clock: MockClock) -> None:
    runs = 0
    router = Router()

    @router.on(MESSAGE)
    async def handle(event: Event[Any]) -> None:
        nonlocal runs
        runs += 1

    async with open_scene(router) as scene:
        # The same event comes again after each step of the ladder, as if no answer had ever arrived.
        pushes = []
        for wait in (0, 15, 300, HOUR, 6 * HOUR):
            await trio.sleep(wait)
            pushes.append(await scene.say(1, event_id="e-1"))
            assert (await pushes[-1].settled()).code == 200
        assert runs == 1
        assert scene.session.stats().duplicates == 4


async def test_only_the_handlers_that_failed_run_again(autojump_clock: MockClock) -> None:
    runs: Counter[str] = Counter()
    router = Router()

    @router.on(MESSAGE)
    async def good(event: Event[Any]) -> None:
        runs["good"] += 1

    @router.on(MESSAGE)
    async def bad_at_first(event: Event[Any]) -> None:
        runs["bad"] += 1
        if not event.redelivered:
            raise ValueError("not today")

    async with open_scene(router) as scene:
        push = await scene.say(1)
        assert (await push.settled()).code == 200
        assert [answer.code for answer in push.answers] == [500, 200]
        assert runs == {"good": 1, "bad": 2}
        # Delivered once more, it is answered from the record.
        assert (await (await scene.say(1, event_id=push.event_id)).settled()).code == 200
        assert runs == {"good": 1, "bad": 2}
        assert (scene.session.stats().failed, scene.session.stats().handled) == (1, 1)


async def test_a_failure_beside_a_slow_handler_is_answered_when_both_are_done(
    autojump_clock: MockClock,
) -> None:
    runs: Counter[str] = Counter()
    router = Router()

    @router.on(MESSAGE)
    async def bad_at_first(event: Event[Any]) -> None:
        runs["bad"] += 1
        if runs["bad"] == 1:
            raise ValueError("not today")

    @router.on(MESSAGE)
    async def slow(event: Event[Any]) -> None:
        runs["slow"] += 1
        await trio.sleep(20)

    async with open_scene(router) as scene:
        push = await scene.say(1)
        await trio.sleep(19)  # delivered again at 18 s: that joins, and runs nothing
        assert runs == {"bad": 1, "slow": 1}
        await push.wait_answers(2)
        assert [(answer.code, answer.at) for answer in push.answers] == [(500, 20), (500, 20)]
        assert (await push.settled()).code == 200
        assert runs == {"bad": 2, "slow": 1}


async def test_handlers_that_come_and_go_between_failure_and_redelivery(autojump_clock: MockClock) -> None:
    runs: Counter[str] = Counter()
    router = Router()

    @router.on(MESSAGE)
    async def fine(event: Event[Any]) -> None:
        runs["fine"] += 1

    @router.on(MESSAGE)
    async def broken(event: Event[Any]) -> None:
        runs["broken"] += 1
        raise ValueError("always")

    async with open_scene(router) as scene:
        push = await scene.say(1)
        await push.wait_answers(1)
        router.remove(broken)

        @router.on(MESSAGE)
        async def new(event: Event[Any]) -> None:
            runs["new"] += 1

        assert (await push.settled()).code == 200
        assert runs == {"fine": 1, "broken": 1, "new": 1}

        router.remove(fine)
        router.remove(new)
        router.on(MESSAGE)(broken)
        push = await scene.say(2)
        await push.wait_answers(1)
        router.remove(broken)
        assert (await push.settled()).code == 200, "nobody is left whom the event waits for"


async def test_at_most_once_beside_on_success(autojump_clock: MockClock) -> None:
    runs: Counter[str] = Counter()
    router = Router()

    @router.on(MESSAGE, ack=Ack.ON_RECEIPT)
    async def at_most_once(event: Event[Any]) -> None:
        runs["once"] += 1
        await trio.sleep(100)
        raise ValueError("nobody hears")

    @router.on(MESSAGE)
    async def bad_at_first(event: Event[Any]) -> None:
        runs["bad"] += 1
        if runs["bad"] == 1:
            raise ValueError("not today")

    async with open_scene(router) as scene:
        push = await scene.say(1)
        # Not held up by the one that runs on receipt, neither the failure nor the second try.
        assert (await push.settled()).at == 15
        assert runs == {"once": 1, "bad": 2}
        assert scene.session.stats().in_flight == 1
        await trio.sleep(200)
        stats = scene.session.stats()
        assert (stats.in_flight, stats.failed, stats.handled) == (0, 1, 1)


async def test_on_receipt_answers_at_once(autojump_clock: MockClock) -> None:
    runs = 0
    router = Router()

    @router.on(MESSAGE)
    async def fails(event: Event[Any]) -> None:
        nonlocal runs
        runs += 1
        await trio.sleep(60)
        raise ValueError("nobody hears")

    async with open_scene(router, ack=Ack.ON_RECEIPT) as scene:
        push = await scene.say(1)
        answer = await push.settled()
        assert (answer.code, answer.latency) == (200, 0)
        await scene.say(1, event_id=push.event_id)
        await trio.sleep(100)
        assert runs == 1
        stats = scene.session.stats()
        assert (stats.failed, stats.handled, stats.late, stats.duplicates) == (1, 0, 0, 1)


async def test_an_event_without_an_id_is_answered_and_not_taken_for_another(
    autojump_clock: MockClock,
) -> None:
    runs = 0
    router = Router()

    @router.on("x.y")
    async def handle(event: Event[Any]) -> None:
        nonlocal runs
        runs += 1
        assert event.id == ""

    payload = b'{"schema":"2.0","header":{"event_type":"x.y"},"event":{}}'
    async with open_scene(router) as scene:
        for _ in range(3):
            assert (await (await scene.gateway.push("x.y", payload=payload)).settled()).code == 200
    assert runs == 3


@pytest.mark.parametrize("event_id", ["e1", "message:om_1"])
async def test_only_the_latest_of_many_deliveries_wait_for_the_answer(
    autojump_clock: MockClock, event_id: str
) -> None:
    router = Router()

    @router.on(MESSAGE)
    async def slow(event: Event[Any]) -> None:
        await trio.sleep(2)

    async with open_scene(router, gateway={"ladder": ()}) as scene:
        pushes = [await scene.say(1, event_id=event_id) for _ in range(20)]
        await trio.sleep(5)
        assert [push.status for push in pushes] == [None] * 12 + [200] * 8
        assert (await (await scene.say(1, event_id=event_id)).settled()).code == 200
        (connection,) = scene.session._connections.live
        assert connection.owed == 0, "what was given up is not waited for"


@pytest.mark.parametrize("body", [None, 3, [], {"message": 3}, {"message": {"chat_id": 3}}, {"chat_id": []}])
async def test_an_event_of_a_message_of_another_shape_is_known_by_its_event_id(
    autojump_clock: MockClock, body: object
) -> None:
    router = Router()
    runs = []

    @router.on("im.message.*")
    async def handle(event: Event[Any]) -> None:
        runs.append(event.raw["event"])

    event_type = "im.message.recalled_v1"
    payload = {"schema": "2.0", "header": {"event_id": "e1", "event_type": event_type}, "event": body}
    async with open_scene(router) as scene:
        for _ in range(2):
            push = await scene.gateway.push(event_type, payload=json.dumps(payload).encode())
            assert (await push.settled()).code == 200
    assert runs == [body]


async def test_one_message_under_two_event_ids_is_one_event(autojump_clock: MockClock) -> None:
    runs: Counter[str] = Counter()
    router = Router()

    @router.on(MESSAGE)
    async def bad_at_first(event: Event[Any]) -> None:
        runs[event.id] += 1
        await trio.sleep(1)
        if len(runs) == 1:
            raise ValueError("not today")

    async with open_scene(router) as scene:
        first = await scene.say(1, event_id="a", ladder=(15,))
        assert (await first.wait_answers(1))[0].code == 500
        second = await scene.say(1, event_id="b")
        await trio.sleep(0.5)
        third = await scene.say(
            1, event_id="a"
        )  # known as a failure by its id, and as running by its message
        assert ((await second.settled()).code, (await third.settled()).code) == (200, 200)
        assert runs == {"a": 1, "b": 1}


async def test_answers_whose_connection_has_ended_go_out_on_another(autojump_clock: MockClock) -> None:
    router = Router()

    @router.on(MESSAGE)
    async def slow(event: Event[Any]) -> None:
        await trio.sleep(2)

    async with open_scene(router, connections=2) as scene:
        first, second = await scene.gateway.wait_connected(2)
        push = await scene.say(1, connection=second)
        await trio.sleep(1)
        await scene.gateway.drop(connection=second)
        answer = await push.settled()
        assert (answer.code, answer.latency, answer.connection) == (200, 2, first)
        assert len(push.deliveries) == 1


async def test_one_event_on_two_connections_runs_once(autojump_clock: MockClock) -> None:
    runs = 0
    router = Router()

    @router.on(MESSAGE)
    async def slow(event: Event[Any]) -> None:
        nonlocal runs
        runs += 1
        await trio.sleep(1)

    async with open_scene(router, connections=2) as scene:
        for connection in await scene.gateway.wait_connected(2):
            await scene.say(1, event_id="e", connection=connection)
        await trio.sleep(5)
        stats = scene.session.stats()
        assert (runs, stats.received, stats.answered, stats.handled) == (1, 2, 2, 1)


# Any mix at all.


@attrs.frozen
class Try:
    """What one run of a handler does."""

    seconds: float
    ends: str


@attrs.frozen
class Happening:
    """Something that happens, and how long it is until the next thing does."""

    what: str
    tries: tuple[tuple[Try, ...], ...]
    chat: int
    then: float


class Crash(Exception):
    """What handlers raise here."""


_tries = st.lists(
    st.builds(
        Try,
        seconds=st.sampled_from([0, 0, 0.2, 2.4, 2.9, 4, 19, 40, 60]),
        ends=st.sampled_from(["well", "badly", "in a group", "in time", "swallowing"]),
    ),
    max_size=2,
).map(tuple)
_happenings = st.lists(
    st.builds(
        Happening,
        what=st.sampled_from(["event", "event", "event", "event again", "drop", "close", "reconnect"]),
        tries=st.lists(_tries, min_size=1, max_size=3).map(tuple),
        chat=st.integers(0, 2),
        then=st.sampled_from([0, 0, 0, 0.1, 1, 3, 16, 30]),
    ),
    max_size=12,
)
# Tries enough that the last delivery of each event finds a session that is up, and handlers that are done.
_LADDER = (15,) * 6 + (300,) * 16


@settings(deadline=None, max_examples=60)
@given(_happenings, st.integers(1, 2), st.sampled_from([1, 3, 64]), st.sampled_from([1, 1000]))
def test_any_mix_ends_with_each_handler_done_once_and_the_event_answered(
    happenings: list[Happening], connections: int, concurrency: int, capacity: int
) -> None:
    config = {"connections": connections, "concurrency": concurrency, "queue_capacity": capacity}
    logging.disable(logging.ERROR)  # hundreds of tracebacks that are meant
    try:
        trio.run(_play, happenings, config, clock=MockClock(autojump_threshold=0))
    finally:
        logging.disable(logging.NOTSET)


async def _play(happenings: list[Happening], config: dict[str, int]) -> None:
    router = Router()
    pushes: list[tuple[Push, Happening]] = []
    scripts: dict[str, tuple[tuple[Try, ...], ...]] = {}
    runs: defaultdict[tuple[str, int], list[str]] = defaultdict(list)
    at_work: Counter[tuple[int, str]] = Counter()
    wrongs: list[str] = []

    def register(number: int) -> None:
        @router.on(MESSAGE, name=f"handler {number}", timeout=45)
        async def handle(event: Event[Any]) -> None:
            script = scripts[event.id]
            tries = script[number] if number < len(script) else ()
            mine = runs[event.id, number]
            if "well" in mine:
                wrongs.append(f"{event.id} ran again after its success")
            chat = (number, event.data.message.chat_id)
            at_work[chat] += 1
            if at_work[chat] > 1:
                wrongs.append(f"{event.id} ran beside another of its chat")
            this = tries[len(mine)] if len(mine) < len(tries) else Try(0, "well")
            mine.append("began")
            try:
                if await _run(this):
                    mine[-1] = "well"
            finally:
                at_work[chat] -= 1

    for number in range(3):
        register(number)
    async with open_scene(router, gateway={"ladder": _LADDER}, heartbeat_interval=120, **config) as scene:
        for happening in happenings:
            if happening.what == "event" or (happening.what == "event again" and not pushes):
                push_id = f"e{len(scripts)}"
                scripts[push_id] = happening.tries
                pushes.append((await _say(scene, push_id, happening), happening))
            elif happening.what == "event again":
                old, first = pushes[-1]
                pushes.append((await _say(scene, old.event_id, first), first))
            elif happening.what == "drop":
                await scene.gateway.drop()
            elif happening.what == "close":
                await scene.gateway.drop(1001)
            else:
                await scene.session.reconnect()
            await trio.sleep(happening.then)
        await trio.sleep(sum(_LADDER))
        for push, _ in pushes:
            assert push.status == 200, (push, push.answers)
            for number in range(3):
                assert runs[push.event_id, number].count("well") == 1
        stats = scene.session.stats()
        assert (stats.in_flight, stats.queue_depth) == (0, 0)
        assert wrongs == []


async def _say(scene: Scene, event_id: str, happening: Happening) -> Push:
    return await scene.say(int(event_id[1:]), f"oc_{happening.chat}", event_id=event_id)


async def _run(this: Try) -> bool:
    """Whether it ended well."""
    try:
        await trio.sleep(this.seconds)
    except trio.Cancelled:
        if this.ends == "swallowing":
            return False
        raise
    if this.ends == "badly":
        raise Crash
    if this.ends == "in a group":
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_crash)
            nursery.start_soon(trio.sleep_forever)
    if this.ends == "in time":
        with trio.fail_after(0):
            await trio.sleep_forever()
    return True


async def _crash() -> None:
    await trio.sleep(0.1)
    raise Crash


@pytest.mark.parametrize("ends", ["badly", "well"])
async def test_callbacks_never_come_again(autojump_clock: MockClock, ends: str) -> None:
    runs = 0
    router = Router()

    @router.on(CARD)
    async def handle(event: Event[Any]) -> dict[str, int]:
        nonlocal runs
        runs += 1
        if ends == "badly":
            raise ValueError("no")
        return {"n": 1}

    async with open_scene(router) as scene:
        push = await scene.gateway.push(CARD, {})
        answer = await push.settled()
        assert (answer.code, answer.data) == ((500, None) if ends == "badly" else (200, {"n": 1}))
        await trio.sleep(HOUR)
        assert runs == 1
