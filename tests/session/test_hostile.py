"""A server, or whoever stands in for it, that sends what nobody should: reported, counted, and outlived."""

from __future__ import annotations

import logging
import math
from typing import Any

import pytest
import trio
import trio.testing

from feishu_trio import Router, Session
from feishu_trio.testing import Gateway, Push
from feishu_trio.wire import CONTROL, DATA, encode_frame

from .rig import open_session

RECEIVE = "im.message.receive_v1"
ABSURD: list[Any] = [0, -1, None, 1e9, 1e-9, "x", "", [], {}, True, 10**400, "NaN", -math.pi]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


async def still_works(gateway: Gateway, session: Session) -> None:
    """The connection lives, and the next event is answered."""
    push = await gateway.push(RECEIVE, {"message": {"message_id": "om_after"}})
    with trio.fail_after(3):
        assert (await push.settled()).code == 200
    assert session.stats().reconnects == 0
    assert session.stats().connections == 1
    assert not gateway.violations


@pytest.fixture
def router() -> Router:
    router = Router()

    @router.on(RECEIVE)
    async def take(event: Any) -> None: ...

    return router


# ClientConfig


@pytest.mark.parametrize("value", ABSURD, ids=repr)
@pytest.mark.parametrize("source", ["discovery", "pong"])
async def test_note_13_an_absurd_client_config_makes_no_busy_loop(
    feishu_gateway: Gateway,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
    value: object,
    source: str,
) -> None:
    config = {
        "PingInterval": value,
        "ReconnectInterval": value,
        "ReconnectCount": value,
        "ReconnectNonce": value,
    }
    if source == "discovery":
        feishu_gateway.client_config = config
    else:
        feishu_gateway.pong_config = config
    async with open_session(feishu_gateway):
        await trio.sleep(600)
    # In ten minutes: every 30 s, or, where an interval is too short, every second.
    assert 20 <= len(feishu_gateway.pings) <= (601 if value == 1e-9 else 22)
    lines = [text for text in warnings(caplog) if "PingInterval" in text]
    assert len(lines) == (0 if value is None else 1)  # once, though every pong says it again


async def test_note_13_a_client_config_that_is_none(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    feishu_gateway.client_config = None
    feishu_gateway.pong_config = {}
    async with open_session(feishu_gateway):
        await trio.sleep(60)
    assert len(feishu_gateway.pings) == 3


async def test_the_servers_shorter_interval_is_followed_and_its_pongs_replace_it(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    feishu_gateway.client_config = {"PingInterval": 10}
    async with open_session(feishu_gateway):
        await trio.sleep(100.5)
        assert len(feishu_gateway.pings) == 11
        feishu_gateway.pong_config = {"PingInterval": 2}
        await trio.sleep(10)
        count = len(feishu_gateway.pings)
        await trio.sleep(100)
        assert len(feishu_gateway.pings) - count == 50


async def test_a_pong_with_garbage_leaves_the_config_in_force(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    feishu_gateway.client_config = {"PingInterval": 10}
    pong = encode_frame(method=CONTROL, headers={"type": "pong"}, payload=b"garbage")
    async with open_session(feishu_gateway):
        for _ in range(10):
            await feishu_gateway.garbage(pong)
        await trio.sleep(100.5)
        assert len(feishu_gateway.pings) == 11
    assert len(warnings(caplog)) == 1


# Frames


def event_frame(**headers: str) -> bytes:
    payload = b'{"schema":"2.0","header":{"event_id":"e","event_type":"im.message.receive_v1"},"event":{"message":{}}}'
    return encode_frame(method=DATA, headers={"type": "event", "message_id": "m"} | headers, payload=payload)


IMPOSSIBLE = {
    "sum of a thousand million": {"sum": "1000000000", "seq": "0"},
    "sum of more digits than there are atoms": {"sum": "9" * 5000, "seq": "0"},
    "seq that is sum": {"sum": "3", "seq": "3"},
    "seq beyond sum": {"sum": "3", "seq": "99"},
    "negative sum": {"sum": "-5", "seq": "0"},
    "negative seq": {"sum": "5", "seq": "-1"},
    "sum that is none": {"sum": "x", "seq": "0"},
    "seq that is none": {"sum": "2", "seq": ""},
    "float": {"sum": "2.0", "seq": "0"},
    "exotic digits": {"sum": "٣", "seq": "0"},
    "underscore": {"sum": "1_0", "seq": "0"},
    "no message_id": {"sum": "2", "seq": "0", "message_id": ""},
    "endless message_id": {"sum": "2", "seq": "0", "message_id": "m" * 100_000},
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
async def test_note_12_headers_that_cannot_be_true(
    feishu_gateway: Gateway,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
    router: Router,
    what: str,
) -> None:
    async with open_session(feishu_gateway, router=router) as session:
        for _ in range(30):
            await feishu_gateway.garbage(event_frame(**IMPOSSIBLE[what]))
        await trio.testing.wait_all_tasks_blocked()
        assert session.stats().bad_frames == 30
        assert session.stats().received == 0
        await still_works(feishu_gateway, session)
    assert len(warnings(caplog)) == 11  # ten, and how many more there were
    assert all(len(text) < 400 for text in warnings(caplog))


GARBAGE = {
    "nothing": b"",
    "noise": bytes(range(256)),
    "cut short": event_frame()[:-10],
    "required fields missing": b"\x28\x01",
    "length beyond the end": b"\x42\xff\xff\xff\xff\x0f",
    "varint without end": b"\x08" + b"\xff" * 30,
    "field zero": b"\x00\x00",
    "group": b"\x0b\x0c",
}


@pytest.mark.parametrize("what", GARBAGE)
async def test_garbage_is_counted_reported_and_dropped(
    feishu_gateway: Gateway,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
    router: Router,
    what: str,
) -> None:
    async with open_session(feishu_gateway, router=router) as session:
        for _ in range(2000):
            await feishu_gateway.garbage(GARBAGE[what])
        await trio.testing.wait_all_tasks_blocked()
        assert session.stats().bad_frames == 2000
        await still_works(feishu_gateway, session)
        assert len(warnings(caplog)) == 10
        await trio.sleep(60)
        await feishu_gateway.garbage(GARBAGE[what])
        await trio.testing.wait_all_tasks_blocked()
    assert len(warnings(caplog)) == 11
    assert warnings(caplog)[-1].endswith("(1990 more lines like this were kept back)")


UNKNOWN = {
    "old card callback": encode_frame(method=DATA, headers={"type": "card"}, payload=b"{}"),
    "unknown type": encode_frame(method=DATA, headers={"type": "unknown"}, payload=b"{}"),
    "no type": encode_frame(method=DATA, payload=b"{}"),
    "unknown method": encode_frame(method=7, headers={"type": "event"}, payload=b"{}"),
    "negative method": encode_frame(method=-1, headers={"type": "event"}),
    "unknown control frame": encode_frame(method=CONTROL, headers={"type": "goaway"}),
    "type that is no UTF-8": encode_frame(method=DATA, headers={"type": "event"}).replace(
        b"event", b"\xff" * 5
    ),
    "pong that nobody asked for": encode_frame(method=CONTROL, headers={"type": "pong"}),
}


@pytest.mark.parametrize("what", UNKNOWN)
async def test_frames_of_other_kinds_are_ignored(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock, router: Router, what: str
) -> None:
    async with open_session(feishu_gateway, router=router) as session:
        await feishu_gateway.garbage(UNKNOWN[what])
        await trio.testing.wait_all_tasks_blocked()
        assert (session.stats().bad_frames, session.stats().received) == (0, 0)
        await still_works(feishu_gateway, session)


@pytest.mark.parametrize(
    "text", ["", "hello", "{", "null", "[]", '{"type": 7}', '{"type": "event"}', "{" * 10_000]
)
async def test_texts_of_no_meaning_are_outlived(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock, router: Router, text: str
) -> None:
    async with open_session(feishu_gateway, router=router) as session:
        await feishu_gateway.garbage(text=text)
        await feishu_gateway.garbage(b" " + text.encode())
        await trio.testing.wait_all_tasks_blocked()
        await still_works(feishu_gateway, session)


@pytest.mark.parametrize("parts", [(b"", None), (None, b""), (b"", b"", None, b""), (None,)])
async def test_note_11_empty_parts_of_a_split_message(
    feishu_gateway: Gateway,
    autojump_clock: trio.testing.MockClock,
    router: Router,
    parts: tuple[bytes | None, ...],
) -> None:
    payload = b'{"schema":"2.0","header":{"event_id":"e","event_type":"im.message.receive_v1"},"event":{"message":{}}}'
    whole = [payload if part is None else part for part in parts]
    async with open_session(feishu_gateway, router=router) as session:
        for order in (range(len(whole)), range(len(whole) - 1, -1, -1)):
            push = await feishu_gateway.push(RECEIVE, payload=payload, parts=whole, part_order=tuple(order))
            assert (await push.settled()).code == 200
        assert session.stats().bad_frames == 0


async def test_note_11_parts_that_never_come_do_not_pile_up(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock, router: Router
) -> None:
    async with open_session(feishu_gateway, router=router) as session:
        for n in range(2000):
            await feishu_gateway.garbage(event_frame(sum="2", seq="0", message_id=f"m{n}"))
        await trio.testing.wait_all_tasks_blocked()
        assert session.stats().received == 0
        await still_works(feishu_gateway, session)


@pytest.mark.parametrize("payload", [b"", b"null", b"{}", b"\xff", b"[" * 100_000, b'{"header": 7}'])
async def test_payloads_that_are_no_events_are_answered_500(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock, router: Router, payload: bytes
) -> None:
    async with open_session(feishu_gateway, router=router) as session:
        push = await feishu_gateway.push("x", payload=payload, ladder=())
        assert (await push.settled()).code == 500
        assert session.stats().bad_frames == 1
        await still_works(feishu_gateway, session)


# What must live on


async def test_300_events_are_answered_with_all_that_was_in_them(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock, router: Router
) -> None:
    unknown = b"\x7a\x05later" + b"\x78\x07"  # field 15, as bytes and as a number
    headers = {"x-unknown": "kept", "empty": "", "text": "字"}
    async with open_session(feishu_gateway, router=router):
        pushes: list[Push] = []
        for n in range(300):
            seq_id = {0: 0, 1: 2**64 - 1}.get(n)
            log_id = {0: 0, 1: 2**64 - 1}.get(n)
            pushes.append(
                await feishu_gateway.push(
                    RECEIVE,
                    {"message": {"message_id": f"om_{n}"}},
                    extra=unknown,
                    headers=headers,
                    seq_id=seq_id,
                    log_id=log_id,
                )
            )
        for push in pushes:
            answer = await push.settled()
            (delivery,) = push.deliveries
            assert answer.code == 200
            assert (answer.frame.seq_id, answer.frame.log_id) == (delivery.seq_id, delivery.log_id)
            assert answer.header_pairs[:-1] == list(delivery.headers.items())
            name, value = answer.header_pairs[-1]
            assert (name, value.isdigit()) == ("biz_rt", True)
            assert answer.frame.raw.count(unknown) == 1
            assert push.payload not in answer.frame.raw
    assert not feishu_gateway.violations


@pytest.mark.parametrize(
    "evil", ["a\nERROR forged", "\x1b[2Jcleared", "x" * 1000], ids=["line", "escape", "long"]
)
async def test_no_line_of_a_log_is_written_by_a_peer(
    feishu_gateway: Gateway,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
    router: Router,
    evil: str,
) -> None:
    caplog.set_level(logging.DEBUG, "feishu_trio")
    part = {"type": "event", "message_id": evil, "sum": "3", "seq": "0", "trace_id": evil}
    async with open_session(feishu_gateway, router=router) as session:
        await feishu_gateway.push("x", payload=b"no JSON", trace_id=evil, ladder=())
        for headers in (part, part | {"sum": "2"}, part | {"type": evil}):
            frame = encode_frame(method=DATA, headers=headers, payload=b"no JSON")
            await feishu_gateway.garbage(frame)
        await feishu_gateway.text({"type": evil})
        await trio.testing.wait_all_tasks_blocked()
        await still_works(feishu_gateway, session)
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("feishu_trio")]
    assert len(lines) > 4
    assert all(line.isprintable() and len(line) < 700 for line in lines)
