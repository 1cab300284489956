"""Claims of the manual that no other test proves, observed against the local gateway."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from delivery.scene import MESSAGE, USER, open_scene, open_session
from feishu_trio import (
    Authenticated,
    AuthenticationError,
    Connected,
    Disconnected,
    ErrorOccurred,
    Event,
    EventReceived,
    HeartbeatReceived,
    LifecycleEvent,
    PingReceived,
    PongReceived,
    RawMessage,
    Router,
    SessionState,
    TextMessageReceived,
)
from feishu_trio.events import approval, calendar, contact, im, vc
from feishu_trio.testing import Gateway

APPROVED, REJECTED = "approval.approval.approved_v1", "approval.approval.rejected_v1"
TOKEN = "t-app-access-token"

# What the manual calls an event, what Feishu sends, and the model of its body.
EVENTS: list[tuple[str, str, type]] = [
    (MESSAGE, MESSAGE, im.MessageReceived),
    ("im.message.message_read_v1", "im.message.message_read_v1", im.MessageRead),
    ("im.chat.member.user_added_v1", "im.chat.member.user.added_v1", im.ChatMemberUserAdded),
    ("im.chat.member.user_deleted_v1", "im.chat.member.user.deleted_v1", im.ChatMemberUserDeleted),
    ("im.chat.updated_v1", "im.chat.updated_v1", im.ChatUpdated),
    (USER, USER, contact.UserCreated),
    ("contact.user.updated_v3", "contact.user.updated_v3", contact.UserUpdated),
    ("contact.user.deleted_v3", "contact.user.deleted_v3", contact.UserDeleted),
    ("contact.department.created_v3", "contact.department.created_v3", contact.DepartmentCreated),
    ("contact.department.updated_v3", "contact.department.updated_v3", contact.DepartmentUpdated),
    ("contact.department.deleted_v3", "contact.department.deleted_v3", contact.DepartmentDeleted),
    ("calendar.event.updated_v4", "calendar.calendar.event.changed_v4", calendar.CalendarEventChanged),
    ("meeting.meeting.started_v1", "vc.meeting.meeting_started_v1", vc.MeetingStarted),
    ("meeting.meeting.ended_v1", "vc.meeting.meeting_ended_v1", vc.MeetingEnded),
]


async def test_manual_01_a_lost_connection_comes_back(autojump_clock: MockClock) -> None:
    async with open_scene() as (gateway, session):
        assert (session.state, session.is_connected) == (SessionState.CONNECTED, True)
        gateway.delay(0.1)
        await gateway.drop()
        await session.wait_state(SessionState.RECONNECTING)
        assert not session.is_connected
        await session.wait_state(SessionState.CONNECTED)
        await trio.sleep(100)
        assert session.heartbeat.total >= 3
        assert session.stats().reconnects == 1
    assert session.state is SessionState.CLOSED


async def test_manual_03_slow_handlers_hold_up_nothing(autojump_clock: MockClock) -> None:
    router = Router()

    @router.on(USER)
    async def slow(event: Event[Any]) -> None:
        await trio.sleep(60)

    @router.on("contact.user.deleted_v3", pool="quick")
    async def quick(event: Event[Any]) -> None: ...

    async with open_scene(router, pools={"quick": 1}, heartbeat_interval=10) as (gateway, session):
        start = trio.current_time()
        slow_ones = [await gateway.push(USER) for _ in range(64)]
        answer = await (await gateway.push("contact.user.deleted_v3")).settled()
        assert (answer.code, trio.current_time() - start) == (200, 0)
        for push in slow_ones:
            assert (await push.settled()).code == 200
        assert trio.current_time() - start == pytest.approx(60, abs=1), "side by side"
        assert session.heartbeat.total >= 6


@pytest.mark.parametrize("what", ["contact.user.created_v3", contact.UserCreated])
async def test_manual_22_both_schemas_reach_one_handler(autojump_clock: MockClock, what: Any) -> None:
    router, seen = Router(), []

    @router.on(what)
    async def handle(event: Event[Any]) -> None:
        seen.append((event.schema, event.data.object.name))

    async with open_scene(router) as (gateway, _):
        for schema in ("1.0", "2.0"):
            push = await gateway.push(USER, {"object": {"name": "Tom"}}, schema=schema)
            assert (await push.settled()).code == 200
    assert seen == [("1.0", "Tom"), ("2.0", "Tom")]


async def test_manual_23_binary_messages_in_parts_and_in_json(autojump_clock: MockClock) -> None:
    router, names = Router(), []

    @router.on(USER)
    async def handle(event: Event[Any]) -> None:
        names.append(event.data.object.name)

    async with open_scene(router) as (gateway, _):
        push = await gateway.push(USER, {"object": {"name": "Ann"}}, parts=4, part_order=(2, 0, 3, 1))
        assert (await push.settled()).code == 200
        header = {"event_id": "e1", "event_type": USER}
        event = {"schema": "2.0", "header": header, "event": {"object": {"name": "Tom"}}}
        await gateway.garbage(json.dumps({"type": "event", **event}).encode())
        await wait_all_tasks_blocked()
    assert names == ["Ann", "Tom"]


@pytest.mark.parametrize(("name", "sent", "model"), [EVENTS[n] for n in (0, 5, 1, 2, 3)])
async def test_manual_32_built_in_handlers(
    autojump_clock: MockClock, name: str, sent: str, model: type
) -> None:
    router, seen = Router(), []

    @router.on(model)
    async def handle(event: Event[Any]) -> None:
        seen.append((event.type, type(event.data)))

    async with open_scene(router) as (gateway, session):
        assert (await (await gateway.push(sent, {"message": {}})).settled()).code == 200
        assert session.stats().handled == 1
    assert seen == [(sent, model)]


async def test_manual_74_latency_and_queue_are_measured(autojump_clock: MockClock) -> None:
    router = Router()

    @router.on(USER)
    async def handle(event: Event[Any]) -> None:
        await trio.sleep(1)

    async with open_scene(router, concurrency=1) as (gateway, session):
        pushes = [await gateway.push(USER) for _ in range(2)]
        await trio.sleep(0.5)
        assert (session.stats().queue_depth, session.stats().in_flight) == (1, 2)
        for push in pushes:
            await push.settled()
        stats = session.stats()
        assert (stats.queue_depth, stats.in_flight, stats.handled) == (0, 0, 2)
        assert stats.latency.max == pytest.approx(2)
        assert stats.queue_wait.max == pytest.approx(1)
        assert stats.handler_time.max == pytest.approx(1)
        assert stats.by_type[USER].received == 2


async def test_manual_78_wrong_credentials_say_so(feishu_gateway: Gateway, autojump_clock: MockClock) -> None:
    feishu_gateway.refuse_discovery(514, "app not found", times=1)
    start = trio.current_time()
    with pytest.raises(AuthenticationError, match="app not found"):
        async with open_session(feishu_gateway):
            raise AssertionError("the block must not be entered")
    assert trio.current_time() == start, "nothing is tried again that cannot help"


async def test_manual_79_without_heartbeat_messages_pongs_count(autojump_clock: MockClock) -> None:
    async with open_scene() as (gateway, session):
        await trio.sleep(600)
        assert session.heartbeat.messages.total == 0
        assert session.heartbeat.total >= 20
        assert session.health()
        gateway.refuse_discovery(1)
        await gateway.drop()
        await trio.sleep(10)
        assert session.health().reasons == (
            "the session is reconnecting: Feishu could not take the connection: code 1 (refused)",
        )


async def test_manual_82_more_workers_make_it_faster(autojump_clock: MockClock) -> None:
    took = []
    for concurrency in (1, 10):
        router = Router()

        @router.on(USER)
        async def handle(event: Event[Any]) -> None:
            await trio.sleep(0.1)

        async with open_scene(router, concurrency=concurrency) as (gateway, _):
            start = trio.current_time()
            for push in [await gateway.push(USER) for _ in range(20)]:
                await push.settled()
            took.append(trio.current_time() - start)
    assert took == pytest.approx([2, 0.2])


@pytest.mark.parametrize(("name", "sent", "model"), EVENTS)
async def test_manual_89_event_types(autojump_clock: MockClock, name: str, sent: str, model: type) -> None:
    router, seen = Router(), []

    @router.on(name)
    async def handle(event: Event[Any]) -> None:
        seen.append((event.type, type(event.data)))

    async with open_scene(router) as (gateway, _):
        assert (await (await gateway.push(sent, {"message": {}})).settled()).code == 200
    assert seen == [(sent, model)]


async def test_manual_93_approvals_by_their_status(autojump_clock: MockClock) -> None:
    router, seen = Router(), []

    @router.on(APPROVED)
    async def approved(event: Event[approval.InstanceStatusChanged]) -> None:
        seen.append(("approved", event.data.status))

    @router.on(REJECTED)
    async def rejected(event: Event[approval.InstanceStatusChanged]) -> None:
        seen.append(("rejected", event.data.status))

    async with open_scene(router) as (gateway, _):
        for status in ("PENDING", "APPROVED", "REJECTED"):
            push = await gateway.push("approval.instance.status_changed_v4", {"status": status})
            assert (await push.settled()).code == 200
    assert seen == [("approved", "APPROVED"), ("rejected", "REJECTED")]


async def test_manual_97_what_the_client_tells(autojump_clock: MockClock) -> None:
    told: list[LifecycleEvent] = []
    router = Router()
    raw: list[RawMessage] = []
    router.on_raw(raw.append)
    async with open_scene(router, app_access_token=TOKEN, on_lifecycle=told.append) as (gateway, session):
        await wait_all_tasks_blocked()
        assert session.is_authenticated
        await gateway.text({"type": "ping"})
        await gateway.text({"type": "pong"})
        await gateway.text({"type": "heartbeat", "data": {"timestamp": 1_700_000_000_000}})
        await wait_all_tasks_blocked()
        assert gateway.texts[-1]["type"] == "pong"  # type: ignore[index]
        await (await gateway.push(USER)).settled()
        gateway.refuse_discovery(1, times=1)
        await gateway.drop()
        await trio.sleep(10)
    assert {type(event) for event in told} >= {
        Connected,
        Authenticated,
        PingReceived,
        PongReceived,
        HeartbeatReceived,
        TextMessageReceived,
        EventReceived,
        Disconnected,
        ErrorOccurred,
    }
    (heartbeat,) = [event for event in told if isinstance(event, HeartbeatReceived)]
    assert heartbeat.timestamp == 1_700_000_000
    assert {each.is_text for each in raw} == {True, False}


def test_manual_103_the_licence() -> None:
    licence = (Path(__file__).parents[2] / "LICENSE").read_text(encoding="utf-8")
    assert licence.startswith("MIT License")
    assert importlib.metadata.metadata("feishu-trio")["License-Expression"] == "MIT"
