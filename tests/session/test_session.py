"""What a session does for its user while it is up."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from feishu_trio import (
    Ack,
    ConfigError,
    Connected,
    ConnectError,
    Disconnected,
    DisconnectReason,
    EventAnswered,
    EventReceived,
    ForbiddenError,
    LifecycleEvent,
    PingSent,
    PongReceived,
    ReconnectScheduled,
    Router,
    Session,
    SessionConfig,
    SessionState,
    open_feishu_session,
)
from feishu_trio.testing import Gateway, open_gateway

from .rig import all_up, follow, open_real_session, open_session, seen

RECEIVE = "im.message.receive_v1"


def message(n: int) -> dict[str, Any]:
    return {"message": {"message_id": f"om_{n}", "chat_id": f"oc_{n}", "content": "{}"}}


def echo() -> tuple[Router, list[Any]]:
    router, got = Router(), list[Any]()

    @router.on("im.message.*")
    async def take(event: Any) -> None:
        got.append(event)

    return router, got


# Bad input


@pytest.fixture
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FEISHU_APP_ID", "FEISHU_APP_SECRET"):
        monkeypatch.delenv(name, raising=False)


async def refused(*args: Any, **settings: Any) -> str:
    with pytest.raises(ConfigError) as info:
        async with open_feishu_session(*args, **settings):
            raise AssertionError("the block must not be entered")
    return str(info.value)


@pytest.mark.usefixtures("no_environment")
async def test_missing_credentials_say_what_to_do() -> None:
    text = await refused()
    assert "app_id" in text
    assert "FEISHU_APP_ID" in text
    text = await refused("cli_a")
    assert "app_secret" in text
    assert "FEISHU_APP_SECRET" in text


@pytest.mark.usefixtures("no_environment")
async def test_credentials_come_from_the_environment(
    feishu_gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEISHU_APP_ID", f" {feishu_gateway.app_id}\n")
    monkeypatch.setenv("FEISHU_APP_SECRET", feishu_gateway.app_secret)
    async with open_session(feishu_gateway, app_id=None, app_secret=None) as session:
        assert session.config.app_id == feishu_gateway.app_id


@pytest.mark.usefixtures("no_environment")
async def test_a_keyless_app_needs_no_secret() -> None:
    async with (
        open_gateway(client_assertion="token") as gateway,
        open_session(gateway, app_secret=None, client_assertion="token") as session,
    ):
        assert session.is_connected


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"heartbeat": 5}, ("heartbeat", "heartbeat_interval")),
        ({"domain": "open.feishu.cn"}, ("domain", "http")),
        ({"domain": "ftp://open.feishu.cn"}, ("domain", "http")),
        ({"domain": 7}, ("domain",)),
        ({"connections": 51}, ("connections", "51", "50")),
        ({"pong_timeout": 0}, ("pong_timeout",)),
        ({"ack": Ack.ON_STORED}, ("ON_STORED", "inbox")),
        ({"router": {}}, ("router", "Router")),
        ({"router": "module:router"}, ("router", "Router")),
        ({"config": {"connections": 2}}, ("config", "SessionConfig")),
    ],
)
async def test_bad_settings_are_named(settings: dict[str, Any], words: tuple[str, ...]) -> None:
    text = await refused("cli_a", "TOP-SECRET", **settings)
    assert all(word in text for word in words)
    assert "TOP-SECRET" not in text


async def test_a_pool_that_is_not_there_is_named_with_those_that_are() -> None:
    router = Router()

    @router.on("x", pool="slow")
    async def handler(event: object) -> None: ...

    text = await refused("cli_a", "s", router=router, pools={"fast": 3})
    assert "'slow'" in text
    assert "fast" in text
    assert "handler" in text


async def test_settings_win_over_the_config(feishu_gateway: Gateway) -> None:
    config = SessionConfig(app_id="cli_other", app_secret="other", concurrency=3, domain="http://nowhere")
    async with open_session(feishu_gateway, config=config, connections=1) as session:
        assert session.config.concurrency == 3
        assert session.config.domain == feishu_gateway.domain


@pytest.mark.parametrize("capacity", [0, -1, True, 1.5, "1"])
async def test_bad_capacities_are_refused(feishu_gateway: Gateway, capacity: Any) -> None:
    async with open_session(feishu_gateway) as session:
        with pytest.raises(ConfigError, match="capacity"):
            session.lifecycle(capacity=capacity)
        with pytest.raises(ConfigError, match="capacity"):
            async with session.events(capacity=capacity):
                pass


# State


async def test_states_can_be_waited_on(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    states: list[SessionState] = []

    async def watch(session: Session, state: SessionState) -> None:
        await session.wait_state(state)
        states.append(state)

    async with trio.open_nursery() as nursery:  # noqa: SIM117 - it outlives the session
        async with open_session(feishu_gateway) as session:
            assert session.state is SessionState.CONNECTED
            assert session.is_connected
            assert session.health()
            assert "connected" in repr(session)
            for state in SessionState.RECONNECTING, SessionState.CLOSING, SessionState.CLOSED:
                nursery.start_soon(watch, session, state)
            await trio.testing.wait_all_tasks_blocked()
            await feishu_gateway.drop()
            await session.wait_state(SessionState.RECONNECTING)
            assert not session.is_connected
            assert session.health().reasons == ("the session is reconnecting",)
            await session.wait_state(SessionState.CONNECTED)
    assert states == [SessionState.RECONNECTING, SessionState.CLOSING, SessionState.CLOSED]


async def test_note_15_a_drop_costs_a_second_at_the_most(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    router, got = echo()
    async with open_session(feishu_gateway, router=router) as session:
        for n in range(5):
            await trio.sleep(100)
            start = trio.current_time()
            await feishu_gateway.drop()
            await session.wait_state(SessionState.RECONNECTING)
            await session.wait_state(SessionState.CONNECTED)
            assert trio.current_time() - start <= 1.01
            push = await feishu_gateway.push(RECEIVE, message(n))
            assert (await push.settled()).code == 200
        assert session.stats().reconnects == 5
        assert len(got) == 5


async def test_note_15_a_server_that_drops_at_once_is_not_stormed(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_session(feishu_gateway) as session, trio.open_nursery() as nursery:

        async def drop_each() -> None:
            while True:
                await session.wait_state(SessionState.CONNECTED)
                await feishu_gateway.drop()
                await session.wait_state(SessionState.RECONNECTING)

        nursery.start_soon(drop_each)
        await trio.sleep(600)
        nursery.cancel_scope.cancel()
    # bounds of 1, 2, 4 … 120 s, drawn between nothing and them
    assert 5 <= session.stats().reconnects <= 40
    assert len(feishu_gateway.requests) <= 2 * 41


async def test_note_15_a_second_connection_leaves_no_gap(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    router, _ = echo()
    async with open_session(feishu_gateway, router=router, connections=2) as session:
        first, _ = await all_up(feishu_gateway, 2)
        await feishu_gateway.drop(connection=first)
        await feishu_gateway.connected.wait_value(1)
        assert session.is_connected
        push = await feishu_gateway.push(RECEIVE, message(1))
        assert (await push.settled()).code == 200
        assert session.state is SessionState.CONNECTED
        await all_up(feishu_gateway, 2)


# Answers


async def test_an_answer_whose_connection_has_ended_goes_out_on_the_next(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    router = Router()

    @router.on("card.action.trigger")
    async def slow(event: object) -> dict[str, Any]:
        await trio.sleep(2)
        return {"toast": {"content": "done"}}

    async with open_session(feishu_gateway, router=router, reconnect_delay=0.5) as session:
        push = await feishu_gateway.push("card.action.trigger", {"token": "c-1"})
        await trio.sleep(0.5)
        await feishu_gateway.drop()
        answer = await push.settled()
        assert (answer.code, answer.data) == (200, {"toast": {"content": "done"}})
        assert answer.connection is not push.deliveries[0].connection
        assert session.stats().reconnects == 1
    assert not feishu_gateway.violations


async def test_an_answer_whose_connection_has_ended_goes_out_on_another(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    router = Router()

    @router.on(RECEIVE)
    async def slow(event: object) -> None:
        await trio.sleep(2)

    async with open_session(
        feishu_gateway, router=router, connections=2, reconnect_delay=100, max_reconnect_delay=100
    ):
        first, second = await all_up(feishu_gateway, 2)
        push = await feishu_gateway.push(RECEIVE, message(1), connection=first)
        await trio.sleep(1)
        await feishu_gateway.drop(connection=first)
        answer = await push.settled()
        assert (answer.code, answer.connection) == (200, second)


async def test_an_answer_waits_until_there_is_a_connection(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    router = Router()

    @router.on(RECEIVE)
    async def slow(event: object) -> None:
        await trio.sleep(2)

    async with open_session(feishu_gateway, router=router):
        push = await feishu_gateway.push(RECEIVE, message(1), ladder=())
        await trio.sleep(0.1)
        await feishu_gateway.stop_listening()
        await feishu_gateway.drop()
        await trio.sleep(60)
        await feishu_gateway.start_listening()
        await feishu_gateway.wait_connected()
        await trio.testing.wait_all_tasks_blocked()
        assert [answer.code for answer in push.answers] == [200]


async def test_what_a_frozen_connection_swallowed_is_answered_on_the_next(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    router, got = echo()
    async with open_session(feishu_gateway, router=router):
        push = await feishu_gateway.push(RECEIVE, message(1))
        (frozen,) = feishu_gateway.connections
        feishu_gateway.freeze()
        await feishu_gateway.wait_connected(2)
        await feishu_gateway.drop(connection=frozen)  # Feishu has given it up, too, and delivers elsewhere
        assert (await push.settled()).code == 200
        assert len(got) == 1


# send


@pytest.mark.parametrize("text", ["hello", "", '{"type": "ping"}', "你好 🙂"])
async def test_texts_reach_the_server(feishu_gateway: Gateway, text: str) -> None:
    async with open_real_session(feishu_gateway) as session:
        await session.send(text)
        await session.send("the last one")
    # closing waits for the gateway, so that all has arrived
    assert feishu_gateway.texts == [{"type": "ping"} if text.startswith("{") else text, "the last one"]


async def test_bytes_reach_the_server() -> None:
    async with open_gateway(strict=False) as gateway, open_session(gateway) as session:
        await session.send(b"\x00no frame")
        await session.send(b"")
        await trio.testing.wait_all_tasks_blocked()
        assert len(gateway.violations) == 2


@pytest.mark.parametrize("wrong", [None, 7, {"type": "ping"}, bytearray(b"x")])
async def test_what_is_no_message_is_refused(feishu_gateway: Gateway, wrong: Any) -> None:
    async with open_session(feishu_gateway) as session:
        with pytest.raises(TypeError, match="str or bytes"):
            await session.send(wrong)


async def test_a_text_that_utf8_cannot_hold_is_the_callers_error(feishu_gateway: Gateway) -> None:
    async with open_session(feishu_gateway) as session:
        with pytest.raises(UnicodeEncodeError):
            await session.send("\ud800")
        await session.send("fine")
        assert session.stats().reconnects == 0


async def test_send_waits_while_the_session_reconnects(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_session(feishu_gateway) as session:
        await feishu_gateway.stop_listening()
        await feishu_gateway.drop()
        await session.wait_state(SessionState.RECONNECTING)
        with trio.move_on_after(50) as scope:
            await session.send("too early")
        assert scope.cancelled_caught
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.send, "in time")
            await trio.sleep(1)
            await feishu_gateway.start_listening()
        await trio.testing.wait_all_tasks_blocked()
        assert feishu_gateway.texts[-1] == "in time"


async def test_send_ends_as_soon_as_the_session_begins_to_close(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    router = Router()

    @router.on(RECEIVE)
    async def slow(event: object) -> None:
        await trio.sleep(60)

    async with (
        open_session(feishu_gateway, router=router, shutdown_timeout=100) as session,
        trio.open_nursery() as nursery,
    ):

        async def never_sent() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await session.send("x")
            assert session.state is SessionState.CLOSING

        await feishu_gateway.push(RECEIVE, message(1), ladder=())
        await trio.sleep(0.1)

        await feishu_gateway.stop_listening()
        await feishu_gateway.drop()
        await session.wait_state(SessionState.RECONNECTING)
        nursery.start_soon(never_sent)
        await trio.sleep(1)
        await session.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await session.send("x")


async def test_a_server_that_takes_no_bytes_is_given_up(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_session(feishu_gateway) as session, session.lifecycle() as lifecycle:
        feishu_gateway.freeze()
        await session.send("x" * (1 << 22))  # goes out on the next connection
        (ended,) = [event for event in await seen(lifecycle, Connected) if isinstance(event, Disconnected)]
        assert ended.reason is DisconnectReason.WRITE_STALLED
    assert [len(text) for text in feishu_gateway.texts if isinstance(text, str)] == [1 << 22]


# reconnect


async def test_reconnect_puts_a_new_connection_in_the_place_of_the_old(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    router, got = echo()
    async with open_session(feishu_gateway, router=router) as session, session.lifecycle() as lifecycle:
        (old,) = feishu_gateway.connections
        pushes = [await feishu_gateway.push(RECEIVE, message(0))]

        async def keep_pushing() -> None:
            for n in range(1, 50):
                pushes.append(await feishu_gateway.push(RECEIVE, message(n)))
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_pushing)
            await session.reconnect()
            assert session.is_connected
            (new,) = feishu_gateway.connections
        assert new is not old
        assert old.close_code == 1000
        assert session.stats().reconnects == 1
        for push in pushes:
            assert (await push.settled()).code == 200
            assert len(push.deliveries) == 1  # none needed the ladder
    assert len(got) == 50
    events = [event for event in await seen(lifecycle) if isinstance(event, Connected | Disconnected)]
    assert [type(event) for event in events] == [Connected, Disconnected]
    assert isinstance(events[1], Disconnected)
    assert (events[1].reason, events[1].connection_id) == (DisconnectReason.REPLACED, old.device_id)
    assert not feishu_gateway.violations


async def test_reconnect_with_several_connections(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_session(feishu_gateway, connections=3) as session:
        old = await all_up(feishu_gateway, 3)
        await session.reconnect()
        assert len(feishu_gateway.connections) == 3
        assert not set(old) & set(feishu_gateway.connections)
        assert [connection.close_code for connection in old] == [1000] * 3
        assert session.stats().connections == 3


@pytest.mark.parametrize(("code", "error"), [(1, ConnectError), (403, ForbiddenError)])
async def test_a_reconnect_that_fails_keeps_the_old_connection(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock, code: int, error: type[Exception]
) -> None:
    async with open_session(feishu_gateway) as session:
        (old,) = feishu_gateway.connections
        feishu_gateway.refuse_discovery(code)
        with pytest.raises(error):
            await session.reconnect()
        assert feishu_gateway.connections == (old,)
        assert session.is_connected
        feishu_gateway.accept()
        await session.reconnect()
        assert feishu_gateway.connections != (old,)


async def test_reconnect_does_not_wait_out_the_pause(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_session(feishu_gateway, reconnect_delay=3600, max_reconnect_delay=3600) as session:
        await feishu_gateway.drop()
        await session.wait_state(SessionState.RECONNECTING)
        feishu_gateway.refuse_discovery(1, times=1)
        start = trio.current_time()
        with pytest.raises(ConnectError):
            await session.reconnect()
        await session.reconnect()
        assert session.is_connected
        assert trio.current_time() - start < 1


async def test_reconnects_at_once_are_one(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_session(feishu_gateway) as session:
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(session.reconnect)
        assert session.stats().reconnects == 1
        assert len(feishu_gateway.connections) == 1


async def test_a_drop_in_the_middle_of_a_reconnect(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_session(feishu_gateway) as session, trio.open_nursery() as nursery:
        feishu_gateway.delay(0.5)
        (old,) = feishu_gateway.connections
        nursery.start_soon(session.reconnect)
        await trio.sleep(0.7)
        await feishu_gateway.drop(connection=old)
        await trio.sleep(30)
        assert session.is_connected
        assert len(feishu_gateway.connections) == 1


async def test_reconnect_ends_with_the_session(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_session(feishu_gateway) as session, trio.open_nursery() as nursery:

        async def reconnect() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await session.reconnect()

        feishu_gateway.hang_discovery()
        nursery.start_soon(reconnect)
        await trio.sleep(1)
        start = trio.current_time()
        await session.aclose()
        assert trio.current_time() - start < 0.1


# lifecycle


async def test_lifecycle_tells_what_happens_in_order(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    router, _ = echo()
    events: list[LifecycleEvent] = []
    async with trio.open_nursery() as nursery:  # noqa: SIM117 - it outlives the session
        async with open_session(feishu_gateway, router=router) as session:

            async def collect() -> None:
                events.extend(await follow(session))

            nursery.start_soon(collect)
            await trio.testing.wait_all_tasks_blocked()
            push = await feishu_gateway.push(RECEIVE, message(1))
            await push.settled()
            await feishu_gateway.drop(4321, "maintenance")
            await session.wait_state(SessionState.RECONNECTING)
            await session.wait_state(SessionState.CONNECTED)
            await trio.testing.wait_all_tasks_blocked()
    kinds: list[type[LifecycleEvent]] = [type(event) for event in events]
    assert kinds == [
        PongReceived,  # to the first ping
        EventReceived,
        EventAnswered,
        Disconnected,
        ReconnectScheduled,
        Connected,
        PingSent,
        PongReceived,
        Disconnected,
    ]
    assert [event.at for event in events] == sorted(event.at for event in events)
    lost, again = events[3], events[5]
    assert isinstance(lost, Disconnected)
    assert (lost.reason, lost.code, lost.detail) == (DisconnectReason.CLOSED_BY_SERVER, 4321, "maintenance")
    assert isinstance(again, Connected)
    assert (again.attempt, again.service_id) == (2, 33554678)
    assert again.connection_id == feishu_gateway.pings[-1][1].device_id


async def test_a_slow_subscriber_loses_the_oldest(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_session(feishu_gateway, heartbeat_interval=1) as session:
        await trio.testing.wait_all_tasks_blocked()
        async with session.lifecycle(capacity=4) as stream:
            await trio.sleep(20.5)
            assert stream.lost == 36
            events = [await anext(stream) for _ in range(4)]
    assert [type(event).__name__ for event in events] == ["PingSent", "PongReceived"] * 2
    assert events[-1].at == pytest.approx(trio.current_time(), abs=1)


async def test_a_subscription_after_the_end_is_empty(feishu_gateway: Gateway) -> None:
    async with open_session(feishu_gateway) as session:
        pass
    assert await follow(session) == []


# stats and start-up


async def test_stats_count(feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock) -> None:
    router = Router()

    @router.on(RECEIVE)
    async def take(event: Any) -> None:
        await trio.sleep(1)
        if event.data.message.message_id == "om_3":
            raise ValueError("no")

    async with open_session(feishu_gateway, router=router) as session:
        pushes = [await feishu_gateway.push(RECEIVE, message(n), ladder=()) for n in range(5)]
        await trio.sleep(0.5)
        assert (session.stats().in_flight, session.stats().answered) == (5, 0)
        for push in pushes:
            await push.settled()
        stats = session.stats()
        assert (stats.connections, stats.reconnects) == (1, 0)
        assert (stats.received, stats.handled, stats.failed, stats.answered) == (5, 4, 1, 5)
        assert (stats.in_flight, stats.queue_depth, stats.bad_frames) == (0, 0, 0)
        assert stats.latency.count == 5
        assert stats.latency.p50 == pytest.approx(1)
        with pytest.raises(AttributeError):
            stats.received = 0  # type: ignore[misc]


async def test_plain_http_loads_no_certificate_authorities(
    feishu_gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_dear() -> None:
        raise AssertionError("certificate authorities were loaded")

    monkeypatch.setattr("feishu_trio.connection.http.default_ssl_context", too_dear)
    monkeypatch.setattr("feishu_trio.connection.dial.default_ssl_context", too_dear)
    async with open_real_session(feishu_gateway) as session:
        assert session.is_connected


async def test_events_over_real_sockets(feishu_gateway: Gateway) -> None:
    router, got = echo()
    async with open_real_session(feishu_gateway, router=router) as session:
        for n in range(50):
            push = await feishu_gateway.push(RECEIVE, message(n))
            assert (await push.settled()).code == 200
        (old,) = feishu_gateway.connections
        await session.reconnect()
        assert old.close_code == 1000
        await feishu_gateway.drop()
        await feishu_gateway.wait_connected()
        push = await feishu_gateway.push(RECEIVE, message(51))
        assert (await push.settled()).code == 200
    assert len(got) == 51
    assert not feishu_gateway.violations


# the environment


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY"])
@pytest.mark.parametrize("url", ["ftp://me:hush@x", "://", "http://me:hush@[::1", "socks4://x"])
async def test_a_proxy_in_the_environment_that_is_none_is_a_config_error(
    monkeypatch: pytest.MonkeyPatch, variable: str, url: str
) -> None:
    monkeypatch.setenv(variable, url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(ConfigError, match=variable) as caught:
        await open_feishu_session("cli_1", "secret", domain="http://127.0.0.1:9").__aenter__()
    assert "hush" not in repr(caught.value)
    assert caught.value.__cause__ is None


async def test_the_domain_may_come_from_the_environment(
    feishu_gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEISHU_DOMAIN", feishu_gateway.domain)
    async with open_feishu_session(feishu_gateway.app_id, feishu_gateway.app_secret) as session:
        assert session.config.domain == feishu_gateway.domain
    monkeypatch.setenv("FEISHU_DOMAIN", "https://example.invalid")
    async with open_feishu_session(
        feishu_gateway.app_id, feishu_gateway.app_secret, domain=feishu_gateway.domain
    ) as session:
        assert session.is_connected


async def test_a_secret_that_is_no_text_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        await open_feishu_session("cli_1", "hush\udc80").__aenter__()
    assert "hush" not in repr(caught.value)
    assert caught.value.__cause__ is None


async def test_an_answer_larger_than_a_socket_takes_at_once_arrives_whole(feishu_gateway: Gateway) -> None:
    router = Router()

    @router.on("card.action.trigger")
    async def take(event: Any) -> object:
        return {"text": event.id * 500_000}

    async with open_real_session(feishu_gateway, router=router):
        for name in ("first", "other"):
            push = await feishu_gateway.push("card.action.trigger", {}, event_id=name)
            assert (await push.settled()).data == {"text": name * 500_000}
