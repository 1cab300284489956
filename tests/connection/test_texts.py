"""JSON text messages: what is understood, what is answered, who is called, and what harms nobody."""

# ruff: noqa: PT012 - what leaves a whole block is looked at

from __future__ import annotations

import functools
import gc
import json
import logging
import sys
import time
import traceback
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.lowlevel
import trio.testing
from trio.testing import MockClock, wait_all_tasks_blocked

from delivery.scene import MESSAGE, USER, message, open_scene, open_session
from feishu_trio import (
    Authenticated,
    AuthenticationError,
    ConfigError,
    ErrorOccurred,
    Event,
    HeartbeatReceived,
    LifecycleEvent,
    LifecycleStream,
    PingReceived,
    PongReceived,
    Router,
    Session,
    TextMessageReceived,
)
from feishu_trio.testing import Gateway, open_gateway
from session.rig import every_log, seen

TOKEN = "t-app-access-5e4d3c2b1a"


def log_lines(caplog: pytest.LogCaptureFixture, level: int = logging.WARNING) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno == level and record.name == "feishu_trio.messages"
    ]


async def happened(stream: LifecycleStream, last: type[LifecycleEvent]) -> list[LifecycleEvent]:
    """What happened until the first of these, pings of our own left out."""
    events = await seen(stream, last)
    return [
        event
        for event in events
        if not type(event).__name__.startswith("Ping") or isinstance(event, PingReceived)
    ]


async def still_works(gateway: Gateway, session: Session) -> None:
    """The connection lives: the next ping is answered, and so is the next event."""
    await wait_all_tasks_blocked()
    count = len(gateway.texts)
    await gateway.text({"type": "ping"})
    push = await gateway.push("demo.after_v1", {})
    with trio.fail_after(3):
        assert (await push.settled()).code == 200
    await wait_all_tasks_blocked()
    assert len(gateway.texts) == count + 1
    assert session.stats().connections == 1
    assert session.stats().reconnects == 0


# What is built in


@pytest.mark.parametrize("kind", ["ping", "PING", "Ping"])
async def test_a_ping_is_answered(autojump_clock: MockClock, kind: str) -> None:
    async with open_scene() as (gateway, session), session.lifecycle() as stream:
        await gateway.text({"type": kind})
        *_, received, ping = await happened(stream, PingReceived)
        await wait_all_tasks_blocked()
        (pong,) = gateway.texts
        assert isinstance(received, TextMessageReceived)
        assert isinstance(ping, PingReceived)
        assert received.message_type == "ping"
        assert ping.connection_id == received.connection_id == gateway.connections[0].device_id
    assert isinstance(pong, dict)
    assert pong.keys() == {"type", "timestamp"}
    assert pong["type"] == "pong"
    assert type(pong["timestamp"]) is int
    assert abs(time.time() - pong["timestamp"]) < 60


async def test_a_ping_is_answered_on_the_connection_it_came_by(autojump_clock: MockClock) -> None:
    async with open_scene(connections=2) as (gateway, _):
        first, second = await gateway.wait_connected(2)
        gateway.freeze(first)
        await gateway.text({"type": "ping"}, connection=second)
        await wait_all_tasks_blocked()
        assert len(gateway.texts) == 1


async def test_a_ping_to_a_connection_that_is_closing_is_answered_by_no_other(
    autojump_clock: MockClock,
) -> None:
    async with open_scene() as (gateway, session), session.lifecycle() as stream:
        (old,) = gateway.connections
        gateway.delay(1, old)
        await gateway.text({"type": "ping"}, connection=old)
        await session.reconnect()
        events = await happened(stream, PingReceived)  # it came
        await trio.sleep(10)
        assert events
        assert gateway.texts == []


async def test_a_pong_in_json_is_counted(autojump_clock: MockClock) -> None:
    async with open_scene(heartbeat_interval=30) as (gateway, session):
        await trio.sleep(100)
        total, interval, last = (
            session.heartbeat.total,
            session.heartbeat.average_interval,
            session.heartbeat.last_at,
        )
        for _ in range(3):
            await gateway.text({"type": "pong", "timestamp": 1700000000})
        await wait_all_tasks_blocked()
        assert total == 4
        assert session.heartbeat.total == total + 3
        # It answers no ping of ours, so that it has no round trip, and its interval is not that of our pings.
        assert not (session.heartbeat.last_rtt or 0) > 1
        assert session.heartbeat.average_interval == interval == pytest.approx(30)
        assert session.heartbeat.last_at is not None
        assert last is not None
        assert session.heartbeat.last_at > last


@pytest.mark.parametrize(
    ("data", "facts"),
    [
        ({"timestamp": 1700000000, "interval": 30, "status": "ok"}, (1700000000, 30, "ok")),
        ({"timestamp": "1700000000", "interval": "2.5", "status": 1}, (1700000000, 2.5, "1")),
        ({"timestamp": 1700000000250}, (1700000000.25, None, None)),
        ({"timestamp": "1700000000250"}, (1700000000.25, None, None)),
        ({"timestamp": 100000000000}, (100000000, None, None)),  # of 1973 at the earliest
        ({"timestamp": 99999999999}, (99999999999, None, None)),
        ({"timestamp": None, "interval": True, "status": None}, (None, None, None)),
        ({"timestamp": "now", "interval": [], "status": {}}, (None, None, None)),
        ({"timestamp": 10**400, "interval": "9" * 400, "status": "x" * 1000}, (None, None, "x" * 100)),
        ({}, (None, None, None)),
        ([], (None, None, None)),
        (None, (None, None, None)),
    ],
)
async def test_what_a_heartbeat_says(
    autojump_clock: MockClock, data: object, facts: tuple[float | None, float | None, str | None]
) -> None:
    async with open_scene() as (gateway, session), session.lifecycle() as stream:
        await gateway.text(json.dumps({"type": "heartbeat", "data": data}))
        *_, received, beat = await happened(stream, HeartbeatReceived)
        assert isinstance(received, TextMessageReceived)
        assert isinstance(beat, HeartbeatReceived)
        assert (beat.timestamp, beat.interval, beat.status) == facts


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
async def test_a_heartbeat_at_no_time(autojump_clock: MockClock, number: str) -> None:
    async with open_scene() as (gateway, session), session.lifecycle() as stream:
        await gateway.text(f'{{"type": "heartbeat", "data": {{"timestamp": {number}}}}}')
        *_, beat = await happened(stream, HeartbeatReceived)
        assert isinstance(beat, HeartbeatReceived)
        assert beat.timestamp is None


async def test_a_pong_is_published(autojump_clock: MockClock) -> None:
    async with open_scene() as (_, session):
        await wait_all_tasks_blocked()  # the pong of the connection's own first ping has come
        async with session.lifecycle() as stream:
            await session.send('{"type": "ping"}')
            received, pong = await happened(stream, PongReceived)
            assert isinstance(received, TextMessageReceived)
            assert isinstance(pong, PongReceived)
            assert pong.rtt is None


# Events

V1_BODY = {"type": USER, "app_id": "cli_1", "tenant_key": "tk", "object": {"name": "Tom"}}
V2 = {
    "schema": "2.0",
    "header": {"event_id": "e-1", "event_type": USER, "app_id": "cli_1", "tenant_key": "tk"},
    "event": {"object": {"name": "Tom"}},
}
V1 = {"uuid": "e-1", "ts": "1502199207.7171419", "type": "event_callback", "event": V1_BODY}
FLAT = {
    "event_id": "e-1",
    "event_type": USER,
    "create_time": 1608725989000,
    "app_id": "cli_1",
    "tenant_key": "tk",
    "event": {"object": {"name": "Tom"}},
}
FORMS: dict[str, tuple[object, str]] = {
    "2.0": (V2, "2.0"),
    "2.0 with a type": ({"type": "event"} | V2, "2.0"),
    "2.0 with a type, but no schema": ({"type": "Event"} | {k: V2[k] for k in ("header", "event")}, "2.0"),
    "2.0 in data": ({"type": "event", "data": V2}, "2.0"),
    "1.0": (V1, "1.0"),
    "1.0 in data": ({"type": "event", "data": V1}, "1.0"),
    "body of 1.0 in data": ({"type": "event", "data": V1_BODY | {"uuid": "e-1"}}, "1.0"),
    "body of 1.0 in data, the id beside it": ({"type": "event", "uuid": "e-1", "data": V1_BODY}, "1.0"),
    "flat": ({"type": "EVENT", "data": FLAT}, "2.0"),
}


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("form", FORMS)
async def test_an_event_in_each_form_is_handled_once(
    autojump_clock: MockClock, form: str, binary: bool
) -> None:
    router, handled = Router(), []

    @router.on(USER)
    async def take(event: Event[Any]) -> None:
        handled.append(event)

    whole, schema = FORMS[form]
    async with open_scene(router) as (gateway, session), session.lifecycle() as stream:
        for _ in range(2):
            if binary:
                await gateway.garbage(json.dumps(whole).encode())
            else:
                await gateway.text(whole)
            received = next(
                e for e in await seen(stream, TextMessageReceived) if isinstance(e, TextMessageReceived)
            )
            assert received.message_type == "event"
        await wait_all_tasks_blocked()
        assert session.stats().duplicates == 1
        assert session.stats().bad_frames == 0
        assert gateway.texts == []  # no answer
    (event,) = handled
    assert (event.id, event.type, event.schema) == ("e-1", USER, schema)
    assert (event.app_id, event.tenant_key) == ("cli_1", "tk")
    assert event.data.object.name == "Tom"
    if "flat" in form:
        assert event.create_time is not None
        assert event.create_time.year == 2020


@pytest.mark.parametrize("text_first", [False, True])
@pytest.mark.parametrize("slow", [False, True])
async def test_an_event_as_text_and_as_a_frame_is_one_event(
    autojump_clock: MockClock, text_first: bool, slow: bool
) -> None:
    router, handled = Router(), []

    @router.on(USER)
    async def take(event: Event[Any]) -> dict[str, str]:
        handled.append(event)
        await trio.sleep(2 if slow else 0)
        return {"result": "done"}

    async with open_scene(router) as (gateway, session):
        if text_first:
            await gateway.text(V2)
        push = await gateway.push(USER, {"object": {"name": "Tom"}}, event_id="e-1")
        if not text_first:
            await gateway.text(V2)
        answer = await push.settled()
        await wait_all_tasks_blocked()
        assert (answer.code, answer.data) == (200, {"result": "done"})
        assert len(push.deliveries) == 1
        assert session.stats().duplicates == 1
    assert len(handled) == 1


async def test_an_event_that_failed_as_text_runs_again_as_a_frame(autojump_clock: MockClock) -> None:
    router, tries = Router(), []

    @router.on(USER)
    async def take(event: Event[Any]) -> None:
        tries.append(event.redelivered)
        if len(tries) == 1:
            raise ValueError("not yet")

    async with open_scene(router) as (gateway, _):
        await gateway.text(V2)
        await wait_all_tasks_blocked()
        push = await gateway.push(USER, {}, event_id="e-1")
        assert (await push.settled()).code == 200
    assert tries == [False, True]


async def test_messages_of_a_chat_keep_their_order(autojump_clock: MockClock) -> None:
    router, order = Router(), []

    @router.on(MESSAGE)
    async def take(event: Event[Any]) -> None:
        number = int(event.data.message.message_id.removeprefix("om_"))
        await trio.sleep(1 / (number + 1))
        order.append(number)

    async with open_scene(router) as (gateway, _):
        for number in range(20):
            header = {"event_id": f"e-{number}", "event_type": MESSAGE}
            await gateway.text({"schema": "2.0", "header": header, "event": message(number)})
        await wait_all_tasks_blocked()
    assert order == list(range(20))


# Authentication


async def test_every_new_connection_is_authenticated(autojump_clock: MockClock) -> None:
    fresh = iter(range(100))
    async with open_scene(app_access_token=lambda: f"t-{next(fresh)}", connections=2) as (gateway, session):
        await gateway.wait_connected(2)
        await session.reconnect()
        await gateway.drop()
        await session.wait_state(session.state)
        await trio.sleep(60)
        sent = gateway.texts
        assert [text["data"] for text in sent if isinstance(text, dict)] == [
            {"app_access_token": f"t-{n}"} for n in range(6)
        ]
        for text in sent:
            assert isinstance(text, dict)
            assert text.keys() == {"type", "timestamp", "data"}
            assert text["type"] == "auth"
            assert abs(time.time() - text["timestamp"]) < 60


async def test_authentication_is_reported(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "feishu_trio.messages")
    async with open_scene(app_access_token=TOKEN) as (gateway, session), session.lifecycle() as stream:
        *_, received, authenticated = await happened(stream, Authenticated)
        assert isinstance(received, TextMessageReceived)
        assert isinstance(authenticated, Authenticated)
        assert received.message_type == "auth"
        assert authenticated.connection_id == gateway.connections[0].device_id
        (text,) = gateway.texts
        assert isinstance(text, dict)
        assert text["data"] == {"app_access_token": TOKEN}
    assert len(log_lines(caplog, logging.INFO)) == 1


async def test_without_a_token_there_is_no_authentication(autojump_clock: MockClock) -> None:
    async with open_scene() as (gateway, session):
        await session.reconnect()
        assert gateway.texts == []


@pytest.mark.parametrize(("code", "msg"), [(1, "bad token"), (-1, None), (99991663, ["?"]), (10**400, "")])
async def test_a_refused_token_leaves_the_block_as_itself(
    autojump_clock: MockClock, code: int, msg: object
) -> None:
    with pytest.raises(AuthenticationError) as refused:
        async with open_scene(app_access_token=TOKEN) as (gateway, session):
            await gateway.text(json.dumps({"type": "auth", "code": code, "msg": msg}))
            with trio.fail_after(60):
                await session.wait_closed()
    assert refused.value.code == code
    assert ("'bad token'" in str(refused.value)) is (msg == "bad token")
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("code", [None, "0", "1", True, False, 0.0, [], {}])
async def test_an_answer_without_a_code_says_nothing(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, code: object
) -> None:
    async with open_scene(app_access_token=TOKEN) as (gateway, session), session.lifecycle() as stream:
        await seen(stream, Authenticated)
        gateway_texts = len(gateway.texts)
        await gateway.text({"type": "auth", "code": code})
        await gateway.text({"type": "auth"})
        *_, error = await happened(stream, ErrorOccurred)
        assert not any(isinstance(each, Authenticated) for each in _)
        assert isinstance(error, ErrorOccurred)
        assert gateway_texts == len(gateway.texts)
        await still_works(gateway, session)
    assert len(log_lines(caplog)) == 2


@pytest.mark.parametrize("given", [TOKEN, lambda: TOKEN], ids=["text", "function"])
@pytest.mark.parametrize("before", [0, 85])  # where the token would be shown whole, and where cut in two
async def test_note_14_the_token_shows_nowhere(
    autojump_clock: MockClock, given: str | Callable[[], str], before: int
) -> None:
    records: list[logging.LogRecord] = []
    texts: list[str] = []
    router = Router()

    @router.on_message("auth")
    async def fails(message: dict[str, Any]) -> None:
        raise ValueError("handler's fault")

    # A server that repeats what it does not like.
    refusal = {"type": "auth", "code": 1, "msg": "x" * before + f"{TOKEN} is wrong"}
    with every_log(records), pytest.raises(AuthenticationError) as refused:
        async with open_scene(router, app_access_token=given) as (gateway, session):
            await trio.sleep(1)
            texts += [
                repr(session),
                repr(session.config),
                repr(vars(session)),
                repr(vars(session._connections.live[0])),
            ]
            await gateway.text(refusal)
            await session.wait_closed()
    with pytest.raises(ConfigError) as wrong:
        async with open_scene(app_access_token=f"with space {TOKEN}"):
            pass
    for error in (refused.value, wrong.value):
        texts += [repr(error), str(vars(error)), "".join(traceback.format_exception(error))]
    texts += [each.getMessage() + repr(each.args) for each in records if each.exc_info is None]
    assert any("accepted" in text for text in texts)
    halves = TOKEN[: len(TOKEN) // 2], TOKEN[len(TOKEN) // 2 :]
    for text in texts:
        assert not any(half in text for half in halves), text[:300]


# Handlers of the user's own


async def test_handlers_come_and_go(autojump_clock: MockClock) -> None:
    router, taken = Router(), []
    async with open_scene(router) as (gateway, session):

        @router.on_message("notice")
        async def first(message: dict[str, Any]) -> None:
            taken.append(("first", message))

        @router.on_message("notice")
        async def second(message: dict[str, Any]) -> None:
            taken.append(("second", message))

        notice = {"type": "notice", "data": {"n": 1}}
        await gateway.text(notice)
        await gateway.text({"type": "Notice"})  # what is not built in is spelled as it was registered
        await wait_all_tasks_blocked()
        assert taken == [("first", notice), ("second", notice)]
        router.remove(first)
        await gateway.text(notice)
        await wait_all_tasks_blocked()
        assert taken[2:] == [("second", notice)]
        router.remove(second)
        await gateway.text(notice)
        await wait_all_tasks_blocked()
        assert len(taken) == 3
        with pytest.raises(ConfigError):
            router.remove(second)
        await still_works(gateway, session)


async def test_handlers_of_an_included_router(autojump_clock: MockClock) -> None:
    router, inner, taken = Router(), Router(), []
    router.include(inner)

    @inner.on_message("notice")
    async def take(message: dict[str, Any]) -> None:
        taken.append(message)

    async with open_scene(router) as (gateway, _):
        await gateway.text({"type": "notice"})
        await wait_all_tasks_blocked()
    assert taken == [{"type": "notice"}]


async def test_handlers_of_globs_get_each_message_once(autojump_clock: MockClock) -> None:
    router, taken = Router(), []

    def register(name: str, what: str | list[str]) -> None:
        @router.on_message(what)
        async def take(message: dict[str, Any]) -> None:
            taken.append((name, message["type"]))

    register("all", "*")
    register("cards", ["card.*", "notice"])
    async with open_scene(router) as (gateway, _):
        for kind in ("card.sent", "notice", "other", "PING"):
            await gateway.text({"type": kind})
            await wait_all_tasks_blocked()
        await gateway.text(V1)
        await wait_all_tasks_blocked()
    assert sorted(taken) == [
        ("all", "PING"),
        ("all", "card.sent"),
        ("all", "event_callback"),
        ("all", "notice"),
        ("all", "other"),
        ("cards", "card.sent"),
        ("cards", "notice"),
    ]


async def test_an_unknown_type_is_told_once(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    router = Router()

    @router.on_message("known.*")
    async def take(message: dict[str, Any]) -> None: ...

    async with open_scene(router) as (gateway, session):
        for _ in range(3):
            for kind in ("strange", "known.one", "pong", "stranger"):
                await gateway.text({"type": kind})
        await still_works(gateway, session)
    assert log_lines(caplog) == [
        f"no handler takes messages of type {kind!r}: they are dropped" for kind in ("strange", "stranger")
    ]


class Handlers:
    """Every kind of callable."""

    def __init__(self) -> None:
        self.taken: list[str] = []

    async def method(self, message: dict[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        self.taken.append("method")

    async def __call__(self, message: dict[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        self.taken.append("object")

    async def with_more(self, more: str, message: dict[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        self.taken.append(more)


async def test_every_kind_of_async_handler_is_awaited(autojump_clock: MockClock) -> None:
    router, handlers = Router(), Handlers()
    router.on_message("notice")(handlers)
    router.on_message("notice")(handlers.method)
    router.on_message("notice")(functools.partial(handlers.with_more, "partial"))
    async with open_scene(router) as (gateway, _):
        await gateway.text({"type": "notice"})
        await wait_all_tasks_blocked()
    assert sorted(handlers.taken) == ["method", "object", "partial"]


async def test_plain_handlers_run_in_threads() -> None:
    router, taken, done = Router(), [], trio.Event()
    handlers = Handlers()

    @router.on_message("notice")
    def plain(message: dict[str, Any]) -> None:
        with pytest.raises(RuntimeError):
            trio.current_time()  # this is not trio's thread
        taken.append(message["n"])
        trio.from_thread.run_sync(done.set)

    router.on_message("notice")(lambda message: handlers.method(message))  # plain, and gives out a coroutine
    async with open_scene(router) as (gateway, _):
        await gateway.text({"type": "notice", "n": 1})
        with trio.fail_after(5):
            await done.wait()
    assert taken == [1]
    assert handlers.taken == ["method"]


@pytest.mark.parametrize("kind", ["ping", "pong", "heartbeat", "auth", "event", "event_callback"])
@pytest.mark.parametrize("spell", [str, str.upper])
async def test_handlers_of_built_in_types_run_too(
    autojump_clock: MockClock, kind: str, spell: Callable[[str], str]
) -> None:
    router, taken, events = Router(), [], []

    @router.on(USER)
    async def handle(event: Event[Any]) -> None:
        events.append(event)

    @router.on_message(kind)
    async def take(message: dict[str, Any]) -> None:
        taken.append(message)

    spelled = spell(kind)
    if spelled != kind:
        router.on_message(spelled)(take)
    sent: object = {"type": spelled, "code": 0, "data": FLAT}
    if kind == "event_callback":
        sent = V1 | {"type": spelled}
    async with open_scene(router) as (gateway, session), session.lifecycle() as stream:
        await gateway.text(sent)
        await wait_all_tasks_blocked()
        received = next(
            e for e in await seen(stream, TextMessageReceived) if isinstance(e, TextMessageReceived)
        )
        assert received.message_type == ("event" if kind == "event_callback" else kind)
        assert len(gateway.texts) == (kind == "ping")
    # By the type's name, and by the name as it was spelled if somebody asked for that.
    assert taken == [sent] * ((spelled != kind and kind != "event_callback") + 1)
    assert len(events) == kind.startswith("event")


async def test_a_whole_event_of_schema_2_is_one_for_handlers_of_events(autojump_clock: MockClock) -> None:
    router, taken = Router(), []

    @router.on_message("event")
    async def take(message: dict[str, Any]) -> None:
        taken.append(message)

    async with open_scene(router) as (gateway, _):
        await gateway.text(V2)
        await gateway.text(V2 | {"type": ["no", "string"]})
        await wait_all_tasks_blocked()
    assert taken == [V2, V2 | {"type": ["no", "string"]}]


async def test_a_handler_may_answer(autojump_clock: MockClock) -> None:
    router = Router()
    sessions: list[Session] = []

    @router.on_message("question")
    async def answer(message: dict[str, Any]) -> None:
        await sessions[0].send(json.dumps({"type": "answer", "to": message["id"]}))

    async with open_scene(router) as (gateway, session):
        sessions.append(session)
        for number in range(10):
            await gateway.text({"type": "question", "id": number})
        await wait_all_tasks_blocked()
        assert gateway.texts == [{"type": "answer", "to": number} for number in range(10)]


@pytest.mark.parametrize(
    "error",
    [
        ValueError("nothing I can use"),
        trio.Cancelled._create(),
        ExceptionGroup("several", [ValueError("nothing I can use"), KeyError(1)]),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_handler_that_raises_costs_its_message_alone(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    router, taken = Router(), []

    @router.on_message("notice")
    async def fails(message: dict[str, Any]) -> None:
        raise error

    @router.on_message("notice")
    async def works(message: dict[str, Any]) -> None:
        taken.append(message)

    async with open_scene(router) as (gateway, session), session.lifecycle() as stream:
        await gateway.text({"type": "notice"})
        *_, occurred = await happened(stream, ErrorOccurred)
        assert isinstance(occurred, ErrorOccurred)
        assert occurred.where == "message"
        await still_works(gateway, session)
    assert len(taken) == 1
    (line,) = log_lines(caplog, logging.ERROR)
    assert "fails" in line
    assert "'notice'" in line


async def test_what_ends_a_program_leaves_the_session(autojump_clock: MockClock) -> None:
    router = Router()

    @router.on_message("stop")
    async def stop(message: dict[str, Any]) -> None:
        raise SystemExit(3)

    async with open_gateway() as gateway:
        with pytest.raises(SystemExit):
            async with open_session(gateway, router) as session:
                await gateway.text({"type": "stop"})
                await session.wait_closed()


# Bounds


async def test_so_many_handlers_at_a_time_and_no_message_lost(autojump_clock: MockClock) -> None:
    router, running, most, taken = Router(), 0, 0, []

    @router.on_message("work")
    async def work(message: dict[str, Any]) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await trio.sleep(0.3)
        taken.append(message["n"])
        running -= 1

    async with open_scene(router, concurrency=3, queue_capacity=5) as (gateway, session):
        for number in range(100):
            await gateway.text({"type": "work", "n": number})
        await trio.sleep(1)
        assert session.stats().queue_depth <= 5
        await trio.sleep(20)
        await still_works(gateway, session)
    assert most == 3
    assert sorted(taken) == list(range(100))


async def test_note_10_stuck_handlers_cost_their_messages_alone(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    router, free, taken = Router(), trio.Event(), []

    @router.on_message("work")
    async def work(message: dict[str, Any]) -> None:
        await free.wait()
        taken.append(message["n"])

    async with open_scene(router, concurrency=2, queue_capacity=4) as (gateway, session):
        for number in range(50):
            await gateway.text({"type": "work", "n": number})
        await trio.sleep(200)  # heartbeats go on, or the connection would be given up
        await still_works(gateway, session)
        free.set()
    assert sorted(taken) == list(range(6))
    assert len(log_lines(caplog)) == 11  # ten, and how many more there were
    assert all("locals>.work" in line and "'work'" in line for line in log_lines(caplog)[:10])


async def test_an_event_and_its_message_each_wait_for_their_own_room(autojump_clock: MockClock) -> None:
    router, taken = Router(), []

    @router.on(USER)
    async def handle(event: Event[Any]) -> None:
        await trio.sleep(0.1)
        taken.append(event.id)

    @router.on_message("event")
    async def take(message: dict[str, Any]) -> None:
        await trio.sleep(0.1)
        taken.append(message["header"]["event_id"])

    async with open_scene(router, concurrency=1, queue_capacity=1) as (gateway, session):
        for number in range(6):
            header = {"event_id": f"e-{number}", "event_type": USER}
            await gateway.text({"schema": "2.0", "header": header, "event": {}})
        await trio.sleep(20)
        assert session.stats().refused == 0
    assert sorted(taken) == sorted([f"e-{number}" for number in range(6)] * 2)


async def test_a_message_reaches_its_handler_though_its_event_finds_no_room(
    autojump_clock: MockClock,
) -> None:
    router, taken = Router(), []

    @router.on(USER)
    async def stuck(event: Event[Any]) -> None:
        await trio.sleep_forever()

    @router.on_message("event")
    async def take(message: dict[str, Any]) -> None:
        taken.append(message["header"]["event_id"])

    settings: dict[str, Any] = {"pools": {"messages": 10}, "shutdown_timeout": 0}
    async with open_scene(router, concurrency=1, queue_capacity=1, **settings) as (gateway, session):
        for number in range(10):
            header = {"event_id": f"e-{number}", "event_type": USER}
            await gateway.garbage(json.dumps({"schema": "2.0", "header": header, "event": {}}).encode())
        await trio.sleep(20)
        assert session.stats().refused == 8
    assert sorted(taken) == [f"e-{number}" for number in range(10)]


async def test_leaving_lets_handlers_end(autojump_clock: MockClock) -> None:
    router, ended = Router(), []

    @router.on_message("work")
    async def work(message: dict[str, Any]) -> None:
        await trio.sleep(4)
        ended.append(message)

    async with open_scene(router, concurrency=1, shutdown_timeout=10) as (gateway, _):
        await gateway.text({"type": "work"})
        await gateway.text({"type": "work"})
        await wait_all_tasks_blocked()
        start = trio.current_time()
    assert len(ended) == 2
    assert 8 <= trio.current_time() - start < 9


async def test_note_05_what_does_not_end_in_time_is_cancelled(autojump_clock: MockClock) -> None:
    router, ends = Router(), []

    @router.on_message("work")
    async def work(message: dict[str, Any]) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ends.append(trio.current_time())

    async with open_scene(router, shutdown_timeout=5) as (gateway, _):
        await gateway.text({"type": "work"})
        await wait_all_tasks_blocked()
        start = trio.current_time()
    assert ends == [pytest.approx(start + 5, abs=0.1)]
    assert trio.current_time() == pytest.approx(start + 5, abs=0.1)


async def test_note_05_cancelling_the_block_ends_handlers_at_once(autojump_clock: MockClock) -> None:
    router, ends = Router(), []

    @router.on_message("work")
    async def work(message: dict[str, Any]) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ends.append(trio.current_time())

    start = trio.current_time()
    with trio.move_on_after(1):
        async with open_scene(router) as (gateway, session):
            await gateway.text({"type": "work"})
            await session.wait_closed()
    assert ends == [start + 1]
    assert trio.current_time() == start + 1


async def test_a_handler_may_close_the_session(autojump_clock: MockClock) -> None:
    router = Router()
    sessions: list[Session] = []

    @router.on_message("stop")
    async def stop(message: dict[str, Any]) -> None:
        await sessions[0].aclose()

    async with open_scene(router, shutdown_timeout=3) as (gateway, session):
        sessions.append(session)
        await gateway.text({"type": "stop"})
        with trio.fail_after(6):
            await session.wait_closed()


# What makes no sense

DEEP = 100_000
BAD: dict[str, str | bytes] = {
    "nothing": "",
    "no JSON": "hello",
    "JSON cut short": '{"type": "ping"',
    "a list": '[{"type": "ping"}]',
    "a string": '"ping"',
    "null": "null",
    "a number": "7",
    "no type": '{"data": {}}',
    "an empty type": '{"type": ""}',
    "a type that is no string": '{"type": 7}',
    "a type that is null": '{"type": null}',
    "a type that is a list": '{"type": ["ping"]}',
    "a number of 5,000 digits": '{"type": "event", "data": ' + "9" * 5000 + "}",
    "an event without data": '{"type": "event"}',
    "an event with data that is none": '{"type": "event", "data": "x"}',
    "an event with a list": '{"type": "event", "data": [1]}',
    "an event with a header that is none": '{"type": "event", "header": 7}',
    "two texts": '{"type": "ping"}{"type": "ping"}',
    "a text of NUL": "\0" * 100,
    "a BOM": '\ufeff{"type": "ping"}',
    "100,000 levels of lists": '{"type": "ping", "data": ' + "[" * DEEP + "]" * DEEP + "}",
    "100,000 levels of objects": '{"type": "event", "data": ' + '{"a":' * DEEP + "1" + "}" * DEEP + "}",
    "levels without end": '{"type": "event", "data": ' + "[" * DEEP,
    "bytes that are no UTF-8": b'{"type": "x", "data": "\xff\xfe"}',
    "bytes that are no JSON": b"{hello}",
    "bytes cut short": b'{"type": "pi',
}


@pytest.mark.parametrize("what", BAD)
async def test_what_makes_no_sense_is_reported_and_dropped(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    bad = BAD[what]
    async with open_scene() as (gateway, session), session.lifecycle() as stream:
        if isinstance(bad, str):
            await gateway.garbage(text=bad)
        else:
            await gateway.garbage(bad)
        events = await happened(stream, ErrorOccurred)
        assert not any(isinstance(each, TextMessageReceived) for each in events)
        assert gateway.texts == []
        assert session.stats().bad_frames == 1
        await still_works(gateway, session)
    (line,) = log_lines(caplog)
    assert len(line) < 200


# What Python's reader takes, and others may not; and what it takes just about.
ODD = {
    "NaN": "NaN",
    "infinity": "-Infinity",
    "1e999": "1e999",
    "a number of 4,000 digits": "9" * 4000,
    "half a surrogate pair": r'"\ud800"',
    "half a surrogate pair as a key": r'{"\udfff": 1}',
    "the same key twice": '{"a": 1, "a": 2}',
    "an empty key": '{"": {"": ""}}',
    "900 levels": "[" * 900 + "]" * 900,
}
# Each message has ODD where the odd value goes.
EVENT_OF_IT = '{"schema": "2.0", "header": {"event_id": "e", "event_type": "a.b"}, "event": ODD}'
ODD_IN = {
    "event": EVENT_OF_IT,
    "event in data": '{"type": "event", "data": ' + EVENT_OF_IT + "}",
    "flat": '{"type": "event", "data": {"event_id": "e", "event_type": ODD, "event": ODD}}',
    "odd id": '{"type": "event", "data": {"event_id": ODD, "event_type": "a.b"}}',
    "body of 1.0": '{"type": "event", "data": {"type": "a.b", "uuid": ODD}}',
    "heartbeat": '{"type": "heartbeat", "data": {"timestamp": ODD, "status": ODD}}',
    "auth": '{"type": "auth", "code": 0, "msg": ODD}',
    "auth code": '{"type": "auth", "code": ODD}',
    "ping": '{"type": "ping", "timestamp": ODD}',
    "schema": '{"type": "ping", "schema": ODD, "header": ODD}',
}


@pytest.mark.parametrize(
    ("what", "place"),
    [
        (what, place)
        for what in ODD
        for place in ODD_IN
        if (what, place) != ("a number of 4,000 digits", "auth code")  # a refusal
    ],
)
async def test_what_is_odd_is_outlived(autojump_clock: MockClock, what: str, place: str) -> None:
    async with open_scene() as (gateway, session):
        text = ODD_IN[place].replace("ODD", ODD[what])
        await gateway.garbage(text=text)
        await gateway.garbage(text.encode())
        await still_works(gateway, session)


@pytest.mark.parametrize("levels", range(900, 1000, 3))
async def test_no_depth_is_read_that_cannot_be_written(autojump_clock: MockClock, levels: int) -> None:
    # Somewhere here Python's reader gives up, and its writer, which has less room, gave up before.
    async with open_scene() as (gateway, session):
        for depth in range(levels, levels + 3):
            deep = '{"a":' * depth + "1" + "}" * depth
            for place in ODD_IN.values():
                await gateway.garbage(text=place.replace("ODD", deep))
        await still_works(gateway, session)


@pytest.mark.parametrize("start", [" ", "\t", "\n", "\r", "\r\n\t "])
async def test_binary_json_may_begin_with_white_space(autojump_clock: MockClock, start: str) -> None:
    async with open_scene() as (gateway, session):
        await gateway.garbage(f'{start}{{"type": "ping"}}'.encode())
        await wait_all_tasks_blocked()
        assert len(gateway.texts) == 1
        assert session.stats().bad_frames == 0


async def test_surrogates_get_through_to_handlers(autojump_clock: MockClock) -> None:
    router, taken = Router(), []

    @router.on(USER)
    async def handle(event: Event[Any]) -> None:
        taken.append(event.data.object.name)

    @router.on_message("event")
    async def take(message: dict[str, Any]) -> None:
        taken.append(message["data"]["event"]["object"]["name"])

    async with open_scene(router) as (gateway, _):
        flat = FLAT | {"event": {"object": {"name": "a\ud800b"}}}
        await gateway.text(json.dumps({"type": "event", "data": flat}))
        await wait_all_tasks_blocked()
    assert sorted(taken) == ["a?b", "a\ud800b"]


async def test_a_type_of_100_kb(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "feishu_trio.messages")
    router, taken = Router(), []
    kind = "x" * 100_000

    async with open_scene(router) as (gateway, session):
        await gateway.text({"type": kind})
        await wait_all_tasks_blocked()

        @router.on_message(kind)
        async def take(message: dict[str, Any]) -> None:
            taken.append(message)
            raise ValueError

        await gateway.text({"type": kind})
        await still_works(gateway, session)
    assert len(taken) == 1
    assert len(log_lines(caplog)) == len(log_lines(caplog, logging.ERROR)) == 1
    assert all(len(record.getMessage()) < 500 for record in caplog.records)


async def test_a_message_of_10_mb(autojump_clock: MockClock) -> None:
    router, taken = Router(), []

    @router.on(USER)
    async def handle(event: Event[Any]) -> None:
        taken.append(len(event.data.object.name))

    async with open_scene(router, max_message_size=20 << 20) as (gateway, session):
        flat = FLAT | {"event": {"object": {"name": "x" * (10 << 20)}}}
        await gateway.text({"type": "event", "data": flat})
        await gateway.garbage(json.dumps({"type": "event", "data": flat | {"event_id": "e-2"}}).encode())
        await trio.sleep(5)
        await still_works(gateway, session)
    assert taken == [10 << 20] * 2


def small_lists(kind: str, size: int) -> str:
    """A text of about so many bytes. Parsed, it takes 27 times as many."""
    return f'{{"type": "{kind}", "lists": [{",".join(["[]"] * (size // 3))}]}}'


async def test_a_large_message_that_nobody_handles_is_not_parsed(autojump_clock: MockClock) -> None:
    async with open_scene() as (gateway, session):
        text = small_lists("pong", 1 << 20)
        await wait_all_tasks_blocked()
        tracemalloc.start()
        try:
            await gateway.garbage(text=text)
            await gateway.garbage(text.encode())
            await wait_all_tasks_blocked()
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert session.heartbeat.total == 3
        assert most < 15 * len(text)


async def test_between_two_large_messages_others_have_a_turn(autojump_clock: MockClock) -> None:
    router, free, turns, seen_at = Router(), trio.Event(), 0, []

    @router.on_message("notice")
    async def take(message: dict[str, Any]) -> None:
        seen_at.append(turns)
        if len(seen_at) == 1:
            await free.wait()

    async with open_scene(router, pools={"messages": 1}) as (gateway, _):
        for _ in range(10):
            await gateway.text({"type": "notice"})
        await wait_all_tasks_blocked()
        free.set()
        while len(seen_at) < 10:
            turns += 1
            await trio.lowlevel.checkpoint()
    assert len(set(seen_at)) >= 5  # tasks of one round run in any order


async def test_parsing_a_large_message_starts_no_collector(autojump_clock: MockClock) -> None:
    """Small lists by the hundred thousand would have it go over them again and again, with the loop standing still."""
    router, taken, collected = Router(), [], 0

    @router.on_message("notice")
    async def take(message: dict[str, Any]) -> None:
        taken.append(len(message["lists"]))

    def note(phase: str, info: dict[str, int]) -> None:
        nonlocal collected
        collected += phase == "start"

    async with open_scene(router) as (gateway, _):
        text = small_lists("notice", 1 << 20)
        gc.callbacks.append(note)
        try:
            await gateway.garbage(text=text)
            await wait_all_tasks_blocked()
        finally:
            gc.callbacks.remove(note)
    assert taken == [(1 << 20) // 3]
    assert collected < 50
    assert gc.isenabled()


@pytest.mark.parametrize("odd", ["NaN", "-Infinity", r'"\ud800"'])
async def test_what_is_odd_is_read_up_to_a_megabyte(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, odd: str
) -> None:
    router, taken = Router(), []

    @router.on_message("notice")
    async def take(message: dict[str, Any]) -> None:
        taken.append(message)

    async with open_scene(router) as (gateway, session):
        for size in (1 << 19, 1 << 20):
            text = f'{{"type": "notice", "odd": {odd}, "padding": "{"x" * size}"}}'
            await gateway.garbage(text=text)
            await gateway.garbage(text.encode())
        await still_works(gateway, session)
        assert session.stats().bad_frames == 2
    assert [repr(message["odd"]) for message in taken] == [repr(json.loads(odd))] * 2
    assert all("1048576 bytes" in line and "NaN" in line for line in log_lines(caplog))


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("9" * 5000, id="number"),
        pytest.param(
            "[" * 960 + "]" * 960,
            id="depth",
            marks=pytest.mark.skipif(sys.version_info >= (3, 12), reason="newer Pythons read it"),
        ),
    ],
)
async def test_what_cannot_be_parsed_for_a_handler_is_dropped(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, value: str
) -> None:
    router, taken = Router(), []

    @router.on_message("notice")
    async def take(message: dict[str, Any]) -> None:
        taken.append(message)

    async with open_scene(router) as (gateway, session):
        await gateway.garbage(text=f'{{"type": "notice", "value": {value}}}')
        await still_works(gateway, session)
        assert session.stats().bad_frames == 1
    assert not taken
    (line,) = log_lines(caplog)
    assert "too long, or that nests too deeply" in line or "no JSON object" in line


async def test_5000_unknown_types_leave_nothing_behind(autojump_clock: MockClock) -> None:
    async with open_scene() as (gateway, session):

        async def strangers(numbers: range) -> None:
            for number in numbers:
                await gateway.text({"type": f"{number:01000d}"})
            await wait_all_tasks_blocked()
            gc.collect()

        tracemalloc.start()
        try:
            await strangers(range(500))
            before, _ = tracemalloc.get_traced_memory()
            await strangers(range(500, 5500))
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert after - before < 200_000  # of 5 MB of names
        assert session.stats().bad_frames == 0
        await still_works(gateway, session)


async def test_complaints_are_few(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    async with open_scene() as (gateway, session):
        for _ in range(2000):
            await gateway.text("nonsense")
        await wait_all_tasks_blocked()
        assert session.stats().bad_frames == 2000
        await still_works(gateway, session)
        assert len(log_lines(caplog)) == 10
        await trio.sleep(60)
        await gateway.text("nonsense")
        await wait_all_tasks_blocked()
    assert len(log_lines(caplog)) == 11
    assert log_lines(caplog)[-1].endswith("(1990 more lines like this were kept back)")


@pytest.mark.parametrize(
    ("data", "event_type", "event_id"),
    [
        ({"type": "leave_approval", "event": {"a": 1}, "uuid": "u-1"}, "leave_approval", "u-1"),
        ({"type": "leave_approval", "header": {"a": 1}, "uuid": "u-1"}, "leave_approval", "u-1"),
        ({"type": "leave_approval", "event_type": "x", "uuid": "u-1"}, "leave_approval", "u-1"),
        ({"event_id": "e-1", "event_type": USER, "event": {"type": "x"}}, USER, "e-1"),
        ({"uuid": "u-1", "event": {"type": "leave_approval"}}, "leave_approval", "u-1"),
    ],
)
async def test_the_forms_of_data_are_kept_apart(
    data: dict[str, Any], event_type: str, event_id: str, autojump_clock: MockClock
) -> None:
    router, seen = Router(), []

    @router.on("*")
    async def take(event: Event[Any]) -> None:
        seen.append((event.type, event.id))

    async with open_scene(router) as (gateway, _):
        await gateway.text({"type": "event", "data": data})
        await wait_all_tasks_blocked()
    assert seen == [(event_type, event_id)]


async def test_an_auth_message_that_answers_none_is_dropped(autojump_clock: MockClock) -> None:
    async with open_scene() as (gateway, session):
        await gateway.text({"type": "auth", "code": 99, "msg": "who are you?"})
        await still_works(gateway, session)
