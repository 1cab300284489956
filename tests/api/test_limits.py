"""Rates: as fast as Feishu allows, no faster, and in turn."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from feishu_trio.api.limits import Key, Limiter, keys_of
from feishu_trio.errors import RateLimited

from .server import open_api

CHAT = Key(5, 1.0, "messages to a chat", "oc_1")
SEND = "POST /open-apis/im/v1/messages"


def at_times(run: Callable[[], Awaitable[None]]) -> None:
    trio.run(run, clock=MockClock(autojump_threshold=0))


# --- one rate ---------------------------------------------------------------------------------------------------


@given(
    st.integers(1, 4),
    st.lists(st.integers(0, 40).map(lambda tenths: tenths / 8), max_size=20).map(sorted),
)
def test_calls_start_as_soon_as_the_rate_allows_and_no_sooner(most: int, arrivals: list[float]) -> None:
    started: list[tuple[int, float]] = []

    async def run() -> None:
        limiter, key = Limiter(), Key(most, 1.0, "calls")

        async def call(number: int) -> None:
            await limiter.wait("POST /a", (key,))
            started.append((number, trio.current_time()))

        async with trio.open_nursery() as nursery:
            for number, arrival in enumerate(arrivals):
                await trio.sleep_until(arrival)
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(call, number)
                await trio.testing.wait_all_tasks_blocked()

    at_times(run)
    expected: list[float] = []
    for number, arrival in enumerate(arrivals):
        free = expected[number - most] + 1.0 if number >= most else 0.0
        expected.append(max(arrival, free))
    assert [number for number, _ in started] == list(range(len(arrivals)))
    assert [time for _, time in started] == pytest.approx(expected)


async def test_a_cancelled_call_leaves_its_place_to_the_next(autojump_clock: MockClock) -> None:
    limiter, started = Limiter(), []

    async def call(name: str) -> None:
        await limiter.wait(name, (CHAT,))
        started.append((name, trio.current_time()))

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(call, f"first {number}")
        await trio.testing.wait_all_tasks_blocked()
        async with trio.open_nursery() as impatient:
            for number in range(8):
                impatient.start_soon(call, f"impatient {number}")
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(call, "patient")
            await trio.testing.wait_all_tasks_blocked()
            impatient.cancel_scope.cancel()
    assert started[5:] == [("patient", 1.0)]


async def test_a_call_that_is_cancelled_as_it_starts_is_not_counted(autojump_clock: MockClock) -> None:
    limiter, app = Limiter(), keys_of("POST", "/open-apis/im/v1/messages", {"receive_id": "oc_1"}, None)
    for chat in range(10):  # the app's 50 are used up
        for _ in range(5):
            await limiter.wait("a", (CHAT._replace(which=f"oc_other {chat}"), *app[1:]))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(limiter.wait, "b", app)  # it has its turn of the chat, and waits for the app's
        await trio.sleep(0.5)
        nursery.cancel_scope.cancel()
    for _ in range(5):
        await limiter.wait("c", (CHAT,))
    assert trio.current_time() == 0.5


async def test_who_waits_for_a_chat_keeps_no_other_waiting(autojump_clock: MockClock) -> None:
    limiter = Limiter()
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(limiter.wait, "a", keys_of("POST", SEND[5:], {"receive_id": "oc_1"}, None))
        await trio.testing.wait_all_tasks_blocked()
        for number in range(30):
            await limiter.wait("b", keys_of("POST", SEND[5:], {"receive_id": f"oc_b {number}"}, None))
        assert trio.current_time() == 0
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("ahead", "turn"), [(0, 1.0), (4, 1.0), (5, 2.0), (12, 3.0)])
async def test_what_would_start_after_the_deadline_is_told_at_once(
    autojump_clock: MockClock, ahead: int, turn: float
) -> None:
    limiter = Limiter()
    for _ in range(5):
        await limiter.wait("a", (CHAT,))
    async with trio.open_nursery() as nursery:
        for _ in range(ahead):
            nursery.start_soon(limiter.wait, "a", (CHAT,))
        await trio.testing.wait_all_tasks_blocked()
        with (
            trio.fail_after(turn - 0.1),
            pytest.raises(RateLimited, match=r"POST /b: not sent, as") as caught,
        ):
            await limiter.wait("POST /b", (CHAT,))
        assert f"in {turn:.1f} s" in str(caught.value)
        assert caught.value.retry_after == pytest.approx(turn)
        assert trio.current_time() == 0
        with trio.fail_after(turn + 0.1):
            await limiter.wait("POST /b", (CHAT,))
        assert trio.current_time() == pytest.approx(turn)


async def test_what_is_remembered_does_not_grow(autojump_clock: MockClock) -> None:
    limiter = Limiter()
    for number in range(2000):
        await limiter.wait("a", (CHAT._replace(which=f"oc_{number}"),))
        await trio.sleep(0.1)
        assert len(limiter) <= 11


async def test_a_cancelled_call_is_cancelled_and_not_late() -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await Limiter().wait("a", (CHAT,))
    assert scope.cancelled_caught


async def test_a_turn_that_takes_long_is_not_forgotten(autojump_clock: MockClock) -> None:
    limiter, slow = Limiter(), Key(1, 100.0, "calls")
    await limiter.wait("a", (CHAT, slow))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            limiter.wait, "b", (CHAT, slow)
        )  # has its turn of the chat, and waits for the other
        await trio.sleep(50)
        await limiter.wait("c", (CHAT._replace(which="oc_2"),))
        await limiter.wait("d", (CHAT,))
        assert trio.current_time() == 100


# --- what a call counts for -----------------------------------------------------------------------------------

MESSAGES = "/open-apis/im/v1/messages"
CARDS = "/open-apis/cardkit/v1/cards"


@pytest.mark.parametrize(
    ("method", "path", "json", "rates"),
    [
        ("POST", MESSAGES, {"receive_id": "oc_1"}, {("oc_1", 5), ("", 50), ("", 1000)}),
        (
            "POST",
            f"{MESSAGES}?receive_id_type=chat_id",
            {"receive_id": "oc_1"},
            {("oc_1", 5), ("", 50), ("", 1000)},
        ),
        ("POST", MESSAGES, None, {("", 50), ("", 1000)}),
        ("POST", MESSAGES, {"receive_id": ["oc_1"]}, {("", 50), ("", 1000)}),
        ("POST", f"{MESSAGES}/om_1/reply", {}, {("oc_chat", 5), ("", 50), ("", 1000)}),
        ("PATCH", f"{MESSAGES}/om_1", {}, {("om_1", 5)}),
        ("PUT", f"{MESSAGES}/om_1", {}, set()),
        ("GET", MESSAGES, None, set()),
        ("GET", f"{MESSAGES}/om_1", None, set()),
        ("PUT", f"{CARDS}/c_1/elements/e/content", {}, {("c_1", 10)}),
        ("PATCH", f"{CARDS}/c_1/settings", {}, {("c_1", 10)}),
        ("PUT", f"{CARDS}/c_1", {}, {("c_1", 10)}),
        ("POST", CARDS, {}, set()),
        ("POST", "/open-apis/im/v1/chats", {}, set()),
    ],
)
def test_what_a_call_counts_for(method: str, path: str, json: Any, rates: set[tuple[str, int]]) -> None:
    keys = keys_of(method, path, json, "oc_chat")
    assert {(key.which, key.most) for key in keys} == rates
    assert {key.most: key.period for key in keys if key.most == 1000} in ({}, {1000: 60.0})


# --- through the API ------------------------------------------------------------------------------------------


async def test_messages_to_a_chat_are_five_a_second(autojump_clock: MockClock) -> None:
    async with open_api() as scene:
        scene.server.on(SEND, {})
        async with trio.open_nursery() as nursery:
            for number in range(12):
                nursery.start_soon(scene.api.send, "oc_1", f"{number}")
        assert scene.server.at(SEND) == pytest.approx([0] * 5 + [1] * 5 + [2] * 2)


async def test_replies_in_a_chat_that_is_known_are_five_a_second(autojump_clock: MockClock) -> None:
    async with open_api() as scene:
        for number in range(7):
            scene.server.on(f"{SEND}/om_{number}/reply", {})
            await scene.api.reply(f"om_{number}", "hi", chat="oc_1")
        assert scene.server.times[1:] == pytest.approx([0] * 5 + [1] * 2)


async def test_messages_of_an_app_are_fifty_a_second_and_a_thousand_a_minute(
    autojump_clock: MockClock,
) -> None:
    async with open_api(timeout=100) as scene:
        scene.server.on(SEND, {})
        for number in range(1020):
            await scene.api.send(f"ou_{number}", "hi", uuid=f"{number}")
        times = scene.server.at(SEND)
        assert times[49] == pytest.approx(0)
        assert times[50] == pytest.approx(1)
        assert times[999] == pytest.approx(19)
        assert times[1000] == pytest.approx(60)


async def test_a_message_that_waits_too_long_is_not_sent(autojump_clock: MockClock) -> None:
    async with open_api(timeout=3) as scene:
        scene.server.on(SEND, {})
        late = 0

        async def send() -> None:
            nonlocal late
            try:
                await scene.api.send("oc_1", "hi")
            except RateLimited:
                late += trio.current_time() == 0

        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(send)
        assert len(scene.server.at(SEND)) + late == 30
        assert late == 15  # five at 0, 1 and 2 s
