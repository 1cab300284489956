"""Facts: each is counted, logged within limits, and published if anybody follows."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest
import trio

from feishu_trio import (
    AuthenticationError,
    ConfigError,
    ConnectError,
    ConnectionLimitError,
    EventDecodeError,
    ForbiddenError,
    HandlerFailed,
    HeldUp,
    LifecycleEvent,
    PingReceived,
    Retry,
    StuckHandler,
)
from feishu_trio.errors import FrameError, InboxUnreachable
from feishu_trio.events import Event, decode_event
from feishu_trio.telemetry import Telemetry, described

INFO, WARNING, ERROR = logging.INFO, logging.WARNING, logging.ERROR
BROKEN = RuntimeError("broken")
STUCK = StuckHandler(
    handler="a",
    pool="default",
    event_id="e1",
    event_type="x",
    trace_id="t1",
    key="oc_1",
    events=1,
    since=datetime(2026, 1, 1, tzinfo=UTC),
    seconds=61.0,
    in_thread=False,
)
HELD_UP = HeldUp(key="oc_1", handler="a", event_id="e1", pool="default", events=2, seconds=61.0)


def event(event_id: str = "e1", event_type: str = "x") -> Event[Any]:
    made = decode_event(b'{"schema":"2.0","header":{"event_type":"x"},"event":{}}')
    made.id, made.type = event_id, event_type
    return made


@attrs.frozen
class Fact:
    happens: Callable[[Telemetry], None]
    counts: dict[str, int] = attrs.field(factory=dict)
    """The counters that it adds to, and how much."""
    logs: int | None = None
    """The level of its line in the log."""
    publishes: str | None = None
    """The lifecycle event that it is."""


# By the method that is called, and what it is called with where that makes a difference.
FACTS = {
    "event_received": Fact(
        lambda t: t.event_received(event(), known=False), {"received": 1}, None, "EventReceived"
    ),
    "event_received, known": Fact(
        lambda t: t.event_received(event(), known=True),
        {"received": 1, "duplicates": 1},
        None,
        "EventReceived",
    ),
    "event_answered": Fact(
        lambda t: t.event_answered(event(), True, 0.1), {"answered": 1}, None, "EventAnswered"
    ),
    "event_late": Fact(lambda t: t.event_late(event(), 2.5, ["a"]), {"late": 1}, WARNING),
    "events_stored": Fact(lambda t: t.events_stored(3), {"stored": 3}),
    "attempt_failed": Fact(lambda t: t.attempt_failed("e", "x.y", 1, 8, 0.7), {}, INFO),
    "result_refused": Fact(lambda t: t.result_refused("e", "x.y"), {"late_results": 1}, WARNING),
    "events_cancelled": Fact(lambda t: t.events_cancelled(2), {"handled": 2}),
    "event_parked": Fact(lambda t: t.event_parked("x.y"), {}, WARNING),
    "event_dead": Fact(lambda t: t.event_dead("e", "x.y", "no"), {"dead": 1}, ERROR, "EventDead"),
    "message_ignored": Fact(lambda t: t.message_ignored(event(), "no"), {}, logging.DEBUG, "MessageIgnored"),
    "inbox_failed": Fact(lambda t: t.inbox_failed(BROKEN), {}, ERROR, "ErrorOccurred"),
    "dead_handler_failed": Fact(lambda t: t.dead_handler_failed("h", event(), BROKEN), {}, ERROR),
    "event_refused": Fact(lambda t: t.event_refused(event(), "pool default is full"), {"refused": 1}, INFO),
    "event_unrouted": Fact(lambda t: t.event_unrouted("x"), {"unhandled": 1}, WARNING),
    "payload_refused": Fact(
        lambda t: t.payload_refused(EventDecodeError("no event"), "t"),
        {"received": 1, "bad_frames": 1},
        WARNING,
        "ErrorOccurred",
    ),
    "handler_ended": Fact(lambda t: t.handler_ended("a", "x", "default", 0.1, 0.2)),
    "handler_failed": Fact(lambda t: t.handler_failed("a", [event()], BROKEN), {}, ERROR, "HandlerFailed"),
    "handler_failed, Retry": Fact(lambda t: t.handler_failed("a", [event()], Retry(5, "later")), {}, INFO),
    "handler_failed, Retry on receipt": Fact(
        lambda t: t.handler_failed("a", [event()], Retry(5, "later"), is_answered=True), {}, WARNING
    ),
    "event_ended": Fact(lambda t: t.event_ended(False, False), {"handled": 1}),
    "event_ended, failed": Fact(lambda t: t.event_ended(True, True), {"failed": 1}),
    "event_ended, retried": Fact(lambda t: t.event_ended(False, True), {"retried": 1}),
    "result_dropped": Fact(lambda t: t.result_dropped("a", event(), BROKEN), {}, WARNING),
    "answer_without_effect": Fact(
        lambda t: t.answer_without_effect("a", event(), "it is a string"), {}, WARNING
    ),
    "late_result_lost": Fact(lambda t: t.late_result_lost("a", event(), BROKEN), {}, ERROR, "ErrorOccurred"),
    "loop_blocked": Fact(lambda t: t.loop_blocked(1.5, ("bot.py:3 in f",)), {"loop_blocked": 1}, WARNING),
    "handler_stuck": Fact(lambda t: t.handler_stuck(STUCK), {}, WARNING, "HandlerStuck"),
    "key_held_up": Fact(lambda t: t.key_held_up(HELD_UP), {}, WARNING),
    "pool_missing": Fact(lambda t: t.pool_missing("a", "gpu"), {}, ERROR),
    "connected": Fact(lambda t: t.connected("7250", "peer", 42, 1), {}, INFO, "Connected"),
    "disconnected": Fact(
        lambda t: t.disconnected("7250", "reset", "by peer", None, 60.0), {}, INFO, "Disconnected"
    ),
    "reconnect_scheduled": Fact(
        lambda t: t.reconnect_scheduled(2, 1.0, ConnectError("no way there")),
        {},
        WARNING,
        "ReconnectScheduled",
    ),
    "connect_failed": Fact(lambda t: t.connect_failed(ConnectError("no")), publishes="ErrorOccurred"),
    "reconnected": Fact(lambda t: t.reconnected(), {"reconnects": 1}),
    "connection_given_up": Fact(
        lambda t: t.connection_given_up(1, ConnectError("no")), {}, ERROR, "ErrorOccurred"
    ),
    "connection_failed": Fact(lambda t: t.connection_failed("host", BROKEN), {}, ERROR, "ErrorOccurred"),
    "worker_began": Fact(lambda t: t.worker_began("an inbox", ["a"]), {}, INFO),
    "worker_ended": Fact(lambda t: t.worker_ended(60.0), {}, INFO),
    "drain_lasts": Fact(lambda t: t.drain_lasts(2, ["a"], 10), {}, INFO),
    "drain_cut": Fact(lambda t: t.drain_cut(1, ["a"], 10), {}, WARNING),
    "machine_slept": Fact(lambda t: t.machine_slept("7250"), {}, INFO),
    "ping_sent": Fact(lambda t: t.ping_sent("7250", probe=False), publishes="PingSent"),
    "pong_received": Fact(lambda t: t.pong_received("7250", 0.1, 30.0, 30.0), publishes="PongReceived"),
    "server_config_wrong": Fact(lambda t: t.server_config_wrong("PingInterval=%r", -1), {}, WARNING),
    "answers_dropped": Fact(lambda t: t.answers_dropped(10_000), {}, WARNING),
    "frame_dropped": Fact(
        lambda t: t.frame_dropped("7250", FrameError("no frame")),
        {"bad_frames": 1},
        WARNING,
        "ErrorOccurred",
    ),
    "frame_ignored": Fact(lambda t: t.frame_ignored("7250", "card"), {"ignored": 1}, INFO),
    "text_received": Fact(lambda t: t.text_received("7250", "ping"), publishes="TextMessageReceived"),
    "text_dropped": Fact(
        lambda t: t.text_dropped("7250", FrameError("no JSON")), {"bad_frames": 1}, WARNING, "ErrorOccurred"
    ),
    "text_ping_answered": Fact(lambda t: t.text_ping_answered("7250"), publishes="PingReceived"),
    "text_pong_received": Fact(lambda t: t.text_pong_received("7250"), publishes="PongReceived"),
    "text_heartbeat_received": Fact(
        lambda t: t.text_heartbeat_received("7250", None, 1.0, 2.0, "ok"), publishes="HeartbeatReceived"
    ),
    "authenticated": Fact(lambda t: t.authenticated("7250"), {}, INFO, "Authenticated"),
    "authentication_failed": Fact(
        lambda t: t.authentication_failed(AuthenticationError("no")), publishes="ErrorOccurred"
    ),
    "text_unhandled": Fact(lambda t: t.text_unhandled("card"), {}, WARNING),
    "raw_handler_failed": Fact(lambda t: t.raw_handler_failed("a", BROKEN), {}, ERROR, "ErrorOccurred"),
    "text_handler_failed": Fact(
        lambda t: t.text_handler_failed("a", "ping", BROKEN), {}, ERROR, "ErrorOccurred"
    ),
    "text_refused": Fact(lambda t: t.text_refused("a", "ping"), {"dropped_messages": 1}, WARNING),
    "request_ended": Fact(lambda t: t.request_ended("0", 0.1)),
    "lifecycle_lost": Fact(lambda t: t.lifecycle_lost(), {"lost_lifecycle": 1}, WARNING),
    "follower_failed": Fact(lambda t: t.follower_failed(BROKEN), {}, ERROR),
}

UNLIMITED = (FACTS["connection_given_up"],)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def counted(telemetry: Telemetry) -> dict[str, int]:
    """The counters that are not zero."""
    stats = attrs.asdict(telemetry.counters.snapshot(connections=0, in_flight=0, queue_depth=0))
    return {name: value for name, value in stats.items() if isinstance(value, int) and value}


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


@pytest.fixture(autouse=True)
def every_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="feishu_trio")


def test_there_is_a_row_for_every_fact() -> None:
    methods = {name for name, value in vars(Telemetry).items() if callable(value) and name[0] != "_"} - {
        "end"
    }
    assert methods == {name.split(",")[0] for name in FACTS}


@pytest.mark.parametrize("fact", FACTS.values(), ids=FACTS)
async def test_a_fact_is_counted_logged_and_published_if_anybody_follows(
    fact: Fact, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    telemetry, published = Telemetry(lambda: 0.0), list[LifecycleEvent]()
    monkeypatch.setattr(telemetry.lifecycle, "publish", published.append)
    fact.happens(telemetry)
    assert counted(telemetry) == fact.counts
    assert [record.levelno for record in caplog.records] == ([] if fact.logs is None else [fact.logs])
    assert all(record.name.startswith("feishu_trio.") for record in caplog.records)
    assert published == [], "nobody follows"
    telemetry.lifecycle.is_followed = True
    fact.happens(telemetry)
    assert [type(each).__name__ for each in published] == ([fact.publishes] if fact.publishes else [])


@pytest.mark.parametrize("fact", FACTS.values(), ids=FACTS)
def test_what_happens_again_and_again_is_logged_within_limits(
    fact: Fact, caplog: pytest.LogCaptureFixture
) -> None:
    telemetry = Telemetry(Clock())
    times = 1000
    for _ in range(times):
        fact.happens(telemetry)
    assert len(caplog.records) <= (times if fact in UNLIMITED else 10)
    assert counted(telemetry) == {name: times * count for name, count in fact.counts.items()}


@pytest.mark.parametrize("fact", FACTS.values(), ids=FACTS)
def test_a_line_says_what_it_is_about(fact: Fact, caplog: pytest.LogCaptureFixture) -> None:
    """As attributes of its record: the event, the handler, the connection that it names."""
    fact.happens(Telemetry(Clock()))
    for record in caplog.records:
        text, about = record.getMessage(), vars(record)
        for words, name, value in (
            (r"\b(event|message) e1\b", "feishu_event_id", "e1"),
            (r"\b(event|message) e\b", "feishu_event_id", "e"),
            (r"\bhandler [ah]\b", "feishu_handler", "h" if "handler h" in text else "a"),
            (r"\bconnection 7250\b", "feishu_connection_id", "7250"),
        ):
            if re.search(words, text):
                assert about.get(name) == value, text
        if re.search(r"\bevent e1? \(", text):
            assert about["feishu_event_type"] in ("x", "x.y")


async def test_a_line_about_an_event_has_its_trace_and_nothing_endless(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = event("e\n1" + "x" * 1000, "x")
    made.trace_id = "t1"
    Telemetry(Clock()).handler_failed("a", [made], BROKEN)
    about = vars(caplog.records[0])
    assert (about["feishu_trace_id"], about["feishu_handler"]) == ("t1", "a")
    assert about["feishu_event_id"].isprintable()
    assert len(about["feishu_event_id"]) < 200


def test_a_server_that_is_away_has_a_line_and_no_stack(caplog: pytest.LogCaptureFixture) -> None:
    telemetry = Telemetry(Clock())
    telemetry.handler_failed("a", [event()], InboxUnreachable("redis is away"))
    telemetry.handler_failed("b", [event()], BROKEN)
    away, broken = caplog.records
    assert "InboxUnreachable: redis is away" in away.getMessage()
    assert not away.exc_info
    assert broken.exc_info


def test_a_later_minute_says_how_many_lines_were_kept_back(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    telemetry = Telemetry(clock)
    for _ in range(15):
        telemetry.event_refused(event(), "pool default is full")
        telemetry.event_refused(event(), "pool slow is full")
    assert len(caplog.records) == 20, "each pool has its own limit"
    clock.now = 60.0
    telemetry.event_refused(event(), "pool slow is full")
    assert lines(caplog)[-1] == (
        "event e1 (x) is refused: pool slow is full (5 more lines like this were kept back)"
    )


def test_what_is_measured_by_name() -> None:
    telemetry = Telemetry(Clock())
    telemetry.event_received(event(), known=False)
    telemetry.event_answered(event(), True, 0.5)
    telemetry.event_answered(event(), False, 0.5)
    telemetry.handler_ended("a", "x", "slow", 0.25, 4.0)
    telemetry.handler_failed("a", [event()], BROKEN)
    telemetry.handler_failed("a", [event()], Retry())
    stats = telemetry.counters.snapshot(connections=0, in_flight=0, queue_depth=0)
    of_type = stats.by_type["x"]
    assert (of_type.received, of_type.answered, of_type.rejected) == (1, 2, 1)
    assert of_type.latency.sum == 1.0
    handler = stats.by_handler["a", "x"]
    assert (handler.failed, handler.retried, handler.time.sum) == (1, 1, 4.0)
    assert stats.by_pool["slow"].wait.sum == 0.25
    assert (stats.latency.max, stats.queue_wait.max, stats.handler_time.max) == (0.5, 0.25, 4.0)


def test_what_is_measured_of_connections_and_of_calls_to_feishu() -> None:
    telemetry = Telemetry(Clock())
    assert telemetry.counters.snapshot(connections=0, in_flight=0, queue_depth=0).last_event_at is None
    telemetry.event_received(event(), known=False)
    telemetry.disconnected("7250", "reset", "", None, 60.0)
    telemetry.disconnected("7251", "reset", "", None, 60.0)
    tries = {
        ConnectError("no way there"): "unreachable",
        ConnectError("busy", code=1): "busy",
        AuthenticationError("no"): "authentication",
        ForbiddenError("no"): "forbidden",
        ConnectionLimitError("no"): "connection limit",
        ConfigError("no"): "wrong setting",
    }
    for error in tries:
        telemetry.connect_failed(error)
    telemetry.request_ended("0", 0.25)
    telemetry.request_ended("230020", 0.5)
    stats = telemetry.counters.snapshot(connections=0, in_flight=0, queue_depth=0)
    assert stats.last_event_at == event().received_at
    assert stats.disconnects == {"reset": 2}
    assert stats.connect_failures == dict.fromkeys(tries.values(), 1)
    assert (stats.api_requests, stats.api_time.sum) == ({"0": 1, "230020": 1}, 0.75)


def test_what_a_worker_measures_takes_little_memory_until_somebody_looks() -> None:
    telemetry = Telemetry(Clock())
    for _ in range(10_000):  # none of which was received here
        telemetry.handler_ended("a", "x", "slow", 0.25, 4.0)
        telemetry.request_ended("0", 0.25)
    counters = telemetry.counters
    gathering = (counters.by_handler["a", "x"].time, counters.by_pool["slow"].wait, counters.api_time)
    assert all(0 < len(each._gathered) < 4096 for each in gathering)


def test_a_type_without_a_handler_is_warned_of_once_with_the_nearest_known(
    caplog: pytest.LogCaptureFixture,
) -> None:
    telemetry = Telemetry(Clock())
    for _ in range(3):
        telemetry.event_unrouted("im.message.recieve_v1")
        telemetry.event_unrouted("im.message.receive_v1")
    assert lines(caplog) == [
        "no handler takes events of type 'im.message.recieve_v1': they are answered and dropped; "
        "the nearest known type is 'im.message.receive_v1'",
        "no handler takes events of type 'im.message.receive_v1': they are answered and dropped",
    ]


# Handlers that failed


def test_a_failure_has_its_traceback_and_a_wish_to_come_again_has_none(
    caplog: pytest.LogCaptureFixture,
) -> None:
    telemetry = Telemetry(Clock())
    telemetry.handler_failed("a", [event()], BROKEN)
    telemetry.handler_failed("a", [event()], Retry(5, "the shop is closed"))
    telemetry.handler_failed("a", [event()], ExceptionGroup("", [Retry(), Retry()]))
    failed, asked, group = caplog.records
    assert failed.exc_info is not None
    assert failed.exc_info[1] is BROKEN
    assert not asked.exc_info
    assert not group.exc_info
    assert lines(caplog) == [
        "handler a failed on event e1 (x): RuntimeError: broken",
        "event e1 (x) is to come again: the shop is closed",
        "event e1 (x) is to come again: handler a asks for it",
    ]


async def test_a_batch_that_failed_is_one_line_and_an_event_for_each(
    caplog: pytest.LogCaptureFixture,
) -> None:
    telemetry = Telemetry(Clock())
    async with telemetry.lifecycle.subscribe(9) as stream:
        telemetry.handler_failed("a", [event("e1"), event("e2")], BROKEN)
        telemetry.lifecycle.end()
        published = [each async for each in stream]
    assert lines(caplog) == [
        "handler a failed on event e1 (x), the first of a batch of 2: RuntimeError: broken"
    ]
    assert [each.event_id for each in published if isinstance(each, HandlerFailed)] == ["e1", "e2"]


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise ValueError("this error has no text")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("wrong"), "ValueError: wrong"),
        (ValueError(), "ValueError"),
        (Unspeakable("x"), "Unspeakable"),
        (
            ExceptionGroup(
                "in a nursery", [ValueError("a"), ExceptionGroup("two", [KeyError("b"), Unspeakable()])]
            ),
            "ExceptionGroup: in a nursery (2 sub-exceptions): ValueError: a; KeyError: 'b'; Unspeakable",
        ),
        (
            ExceptionGroup("many", [ValueError(n) for n in range(10)]),
            "ExceptionGroup: many (10 sub-exceptions): ValueError: 0; ValueError: 1; ValueError: 2; ValueError: 3; …",
        ),
    ],
)
def test_an_error_in_words_even_if_it_has_none(error: Exception, text: str) -> None:
    assert described(error) == text


def test_an_error_without_words_harms_no_line(caplog: pytest.LogCaptureFixture) -> None:
    telemetry = Telemetry(Clock())
    telemetry.handler_failed("a", [event()], Unspeakable())
    telemetry.late_result_lost("a", event(), Unspeakable())
    telemetry.text_handler_failed("a", "ping", Unspeakable())
    assert len(lines(caplog)) == 3
    assert all(line.endswith(": Unspeakable") for line in lines(caplog))


# Who is told from the first on


async def test_what_a_follower_raises_is_logged_once_and_it_is_told_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told = list[LifecycleEvent]()

    def follower(event: LifecycleEvent) -> None:
        told.append(event)
        raise BROKEN

    telemetry = Telemetry(follower=follower)
    for _ in range(3):
        telemetry.text_ping_answered("7250")
    assert [type(event) for event in told] == [PingReceived] * 3
    (line,) = caplog.records
    assert line.getMessage() == "on_lifecycle raised, which is logged this once: RuntimeError: broken"
    assert line.exc_info is not None
    assert line.exc_info[1] is BROKEN


async def test_what_a_channel_has_no_room_for_is_lost_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    send, receive = trio.open_memory_channel[LifecycleEvent](2)
    telemetry = Telemetry(follower=send)
    for n in range(5):
        telemetry.text_ping_answered(str(n))
    assert counted(telemetry) == {"lost_lifecycle": 3}
    assert lines(caplog)[0] == (
        "the channel on_lifecycle is full: an event is lost (1 so far); read it faster, or give it more room"
    )
    telemetry.end()
    told = [event async for event in receive]
    assert [event.connection_id for event in told if isinstance(event, PingReceived)] == ["0", "1"]


# Texts off the wire


@pytest.mark.parametrize("text", ["two\nlines", "\x1b[31mred", "\u202eturned", "x" * 100_000])
def test_what_a_peer_sent_is_in_one_short_line_without_control_characters(
    text: str, caplog: pytest.LogCaptureFixture
) -> None:
    telemetry, sent = Telemetry(Clock()), event(text, text)
    telemetry.event_late(sent, 2.5, [])
    telemetry.event_refused(sent, "pool default is full")
    telemetry.event_unrouted(text)
    telemetry.payload_refused(EventDecodeError("no event"), text)
    telemetry.handler_failed("a", [sent], BROKEN)
    telemetry.handler_failed("a", [sent], Retry(reason=text))
    telemetry.handler_failed("a", [sent], Retry(), is_answered=True)
    telemetry.result_dropped("a", sent, BROKEN)
    telemetry.late_result_lost("a", sent, BROKEN)
    telemetry.frame_ignored("7250", text)
    telemetry.text_unhandled(text)
    assert len(lines(caplog)) == 11
    for line in lines(caplog):
        assert line.isprintable(), line
        assert len(line) < 1000, line
