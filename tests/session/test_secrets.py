"""What is secret shows nowhere: not in a log, a repr, an exception, or what an exception came of."""

# ruff: noqa: PT012 - what leaves a whole block is looked at

from __future__ import annotations

import inspect
import logging
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest
import trio
import trio.testing
from rich.pretty import pretty_repr

from feishu_trio import Event, FeishuError, ForbiddenError, Router, open_feishu_session
from feishu_trio.testing import Gateway, open_gateway

from .rig import every_log, open_real_session, open_session

SECRET = "app-secret-9f8e7d"
ASSERTION = "client-assertion-6c5b4a"
HEADER = "header-token-3d2e1f"


def chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and all it came of."""
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions


def secrets(gateway: Gateway) -> set[str]:
    """All that was secret in the conversation so far."""
    found = {gateway.app_secret, ASSERTION, HEADER}
    for request in gateway.requests:
        found |= {request.query[name] for name in ("access_key", "ticket") if name in request.query}
        if "authorization" in request.headers:
            found.add(request.headers["authorization"].removeprefix("Bearer "))
    return found


class Showcase:
    """Collects all that a user, or a log, may get to see."""

    def __init__(self) -> None:
        self.records: list[logging.LogRecord] = []
        self.texts: list[str] = []

    def add(self, *things: object) -> None:
        self.texts += [repr(thing) for thing in things] + [str(thing) for thing in things]

    def add_error(self, error: BaseException) -> None:
        self.texts.append("".join(traceback.format_exception(error)))
        for each in chain(error):
            self.add(each, each.args, vars(each))

    def check(self, gateway: Gateway) -> None:
        hidden = secrets(gateway)
        assert len(hidden) >= 5
        for record in self.records:
            for text in (record.getMessage(), repr(record.args), record.exc_text or ""):
                assert not any(secret in text for secret in hidden), (record.name, record.msg)
        for text in self.texts:
            assert not any(secret in text for secret in hidden), text[:200]
        # the proof that it looked at something
        assert any(record.name.startswith("feishu_trio") for record in self.records)


@pytest.mark.parametrize("keyless", [False, True])
async def test_note_14_no_secret_shows(autojump_clock: trio.testing.MockClock, keyless: bool) -> None:
    shown = Showcase()
    router = Router()

    @router.on("im.message.receive_v1")
    async def fails(event: Any) -> None:
        shown.add(event)
        raise ValueError("handler's fault")

    settings: dict[str, Any] = {"router": router, "headers": {"X-Token": HEADER}}
    if keyless:
        settings |= {"app_secret": None, "client_assertion": ASSERTION}
    async with open_gateway(app_secret=SECRET, client_assertion=ASSERTION) as gateway:
        with every_log(shown.records):
            # refused, unreachable, hanging, and at last in
            for refuse in (gateway.refuse_discovery, gateway.refuse_handshake):
                refuse(403, times=1)
                with pytest.raises(ForbiddenError) as refused:
                    async with open_session(gateway, **settings):
                        pass
                shown.add_error(refused.value)
            gateway.refuse_discovery(1, times=1)
            gateway.hang_discovery(times=1)
            gateway.refuse_handshake(514, times=1)
            gateway.hang_handshake(times=1)
            with pytest.raises(FeishuError) as failed:
                async with open_session(gateway, **settings) as session, session.lifecycle() as lifecycle:
                    shown.add(session, session.config, session.stats(), session.heartbeat, session.health())
                    shown.add(session.api, session.router, vars(session))
                    await gateway.push(
                        "im.message.receive_v1", {"message": {"message_id": "om_1"}}, ladder=()
                    )
                    if not keyless:
                        await session.api.send("oc_1", "hello")
                    await gateway.garbage(b"\xff")
                    await session.reconnect()
                    await gateway.drop(1011, "restart")
                    await session.wait_state(session.state)
                    await trio.sleep(5)
                    gateway.refuse_discovery(403)
                    await gateway.drop()
                    await session.wait_closed()
            shown.add_error(failed.value)
            shown.add(*[event async for event in lifecycle])
        shown.check(gateway)


async def test_note_14_no_secret_shows_over_real_sockets() -> None:
    shown = Showcase()
    async with open_gateway(app_secret=SECRET) as gateway:
        with every_log(shown.records):
            async with open_real_session(gateway, headers={"X-Token": HEADER}) as session:
                await session.api.send("oc_1", "hello")
                await session.reconnect()
                await gateway.drop()
                await gateway.wait_connected()
        shown.check(gateway)
        assert {record.name for record in shown.records} > {"httpcore.http11", "trio-websocket"}


async def test_note_14_no_secret_of_a_url_that_leads_nowhere(feishu_gateway: Gateway) -> None:
    shown = Showcase()
    for url in (
        "ws://127.0.0.1:1/ws/v2?access_key=AK-SECRET&ticket=TK-SECRET",
        "wss://127.0.0.1:1/ws/v2?access_key=AK-SECRET&ticket=TK-SECRET",
        "ws://[/ws/v2?access_key=AK-SECRET&ticket=TK-SECRET",
        feishu_gateway.domain.replace("http", "ws") + "/elsewhere?access_key=AK-SECRET&ticket=TK-SECRET",
    ):
        feishu_gateway.respond("/callback/ws/endpoint", {"code": 0, "data": {"URL": url}}, times=1)
        with every_log(shown.records), pytest.raises(FeishuError) as info:
            async with open_real_session(feishu_gateway, auto_reconnect=False):
                pass
        shown.add_error(info.value)
    for record in shown.records:
        assert "SECRET" not in record.getMessage()
    assert not any("SECRET" in text for text in shown.texts)


async def test_note_14_a_bad_secret_is_not_repeated() -> None:
    bad: list[dict[str, Any]] = [
        {"app_secret": "with space " + SECRET},
        {"client_assertion": "with space " + ASSERTION},
    ]
    for settings in bad:
        shown = Showcase()
        with pytest.raises(FeishuError) as info:
            async with open_feishu_session("cli_a", **settings):
                pass
        shown.add_error(info.value)
        assert not any(SECRET in text or ASSERTION in text for text in shown.texts)


def every_local(stack: FrameType | None) -> Iterator[object]:
    while stack is not None:
        yield from stack.f_locals.values()
        stack = stack.f_back


async def test_note_14_a_message_on_its_way_shows_nothing_of_itself(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    """To `repr`, and to rich, which shows the local variables of a traceback in its own way."""
    router, texts = Router(), list[str]()

    @router.on("im.message.receive_v1")
    async def take(event: Event[Any]) -> None:
        for value in every_local(inspect.currentframe()):
            if type(value).__module__.startswith("feishu_trio"):
                texts.extend((repr(value), pretty_repr(value, max_depth=6, max_length=20)))

    async with open_session(feishu_gateway, router=router):
        event = {"message": {"message_id": "om_1", "content": SECRET}}
        assert (await (await feishu_gateway.push("im.message.receive_v1", event)).settled()).code == 200
    assert any("Run" in text for text in texts), "no message was seen on its way"
    assert not [text for text in texts if SECRET in text]
