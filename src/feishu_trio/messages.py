"""JSON text messages: the other form in which gateways and proxies in front of Feishu speak.

They are told apart by `type`: `ping`, `pong`, `heartbeat`, `event`, `auth`, and whatever users register
handlers for with `Router.on_message`. Source: the .NET client Mud.Feishu.WebSocket, which speaks them, too.
"""

from __future__ import annotations

import inspect
import json
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import attrs
import trio

from .config import SessionConfig
from .connection import Connection, Outgoing
from .delivery import Dispatcher, Pool
from .errors import AuthenticationError, FrameError
from .router import Handler, Router
from .telemetry.heartbeat import HeartbeatStats
from .telemetry.lifecycle import (
    Authenticated,
    ErrorOccurred,
    HeartbeatReceived,
    Lifecycle,
    MessageReceived,
    PingReceived,
    PongReceived,
)
from .telemetry.stats import Counters

__all__ = ["TextMessages"]

logger = logging.getLogger("feishu_trio.messages")

_SHOWN: Final = 100


@attrs.frozen(eq=False)
class _Call:
    handler: Handler
    message_type: str
    message: dict[str, Any]


class _TextDelivery:
    """An event that came as text: it has no frame, and is not answered."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.message_id = ""
        self.trace_id = ""
        self.received_at = trio.current_time()

    def answer(self, body: bytes, sent: Callable[[], None] | None = None) -> None:
        """Nothing is sent, for this form has no answers."""
        if sent is not None:
            sent()


class TextMessages:
    """Takes the text messages of a session's connections."""

    def __init__(
        self,
        config: SessionConfig,
        router: Router,
        dispatcher: Dispatcher,
        counters: Counters,
        heartbeat: HeartbeatStats,
        lifecycle: Lifecycle,
    ) -> None:
        self._config = config
        self._router = router
        self._dispatcher = dispatcher
        self._counters = counters
        self._heartbeat = heartbeat
        self._lifecycle = lifecycle
        self._pool: Pool[_Call] = Pool(
            "messages", self._call, concurrency=config.concurrency, capacity=config.queue_capacity
        )

    def start(self, nursery: trio.Nursery) -> None:
        """Let handlers run in `nursery`."""
        self._pool.start(nursery)

    async def wait_idle(self) -> None:
        """Wait until every handler that was called has returned."""
        await self._pool.wait_idle()

    def authenticate(self, connection: Connection) -> None:
        """Send the app access token over a connection that has just come up, if one was given."""
        token = self._config.app_access_token
        if token is not None:
            data = {"app_access_token": token() if callable(token) else token}
            self._send(connection, {"type": "auth", "timestamp": int(time.time()), "data": data})

    def take(self, connection: Connection, text: str | bytes) -> Callable[[], Awaitable[None]] | None:
        """Take one message. What is returned must be awaited before more is read: something is full.

        Raises:
            AuthenticationError: The server did not accept the app access token.
        """
        message = _parse(text)
        kind = _kind(message)
        if message is None or kind is None:
            self._tell_bad(connection)
            return None
        if self._lifecycle:
            self._lifecycle.publish(MessageReceived(connection_id=connection.id, message_type=kind))
        if kind == "ping":
            self._send(connection, {"type": "pong", "timestamp": int(time.time())})
            if self._lifecycle:
                self._lifecycle.publish(PingReceived(connection_id=connection.id))
        elif kind == "pong":
            self._heartbeat.record(trio.current_time(), None)
            if self._lifecycle:
                self._lifecycle.publish(PongReceived(connection_id=connection.id, rtt=None))
        elif kind == "heartbeat":
            self._take_heartbeat(connection, message)
        elif kind == "auth":
            self._take_auth(connection, message)
        elif kind == "event":
            payload = _payload(message)
            if payload is None:
                self._tell_bad(connection)
                return None
            return self._dispatcher.accept(_TextDelivery(payload))
        return self._call_handlers(kind, message)

    def _take_heartbeat(self, connection: Connection, message: dict[str, Any]) -> None:
        self._heartbeat.record(trio.current_time(), None)
        if self._lifecycle:
            data = message.get("data")
            data = data if isinstance(data, dict) else {}
            status = data.get("status")
            self._lifecycle.publish(
                HeartbeatReceived(
                    connection_id=connection.id,
                    timestamp=_number(data.get("timestamp")),
                    interval=_number(data.get("interval")),
                    status=None if status is None else str(status)[:_SHOWN],
                )
            )

    def _take_auth(self, connection: Connection, message: dict[str, Any]) -> None:
        code = message.get("code")
        if code != 0 or isinstance(code, bool):
            said = str(message.get("msg", ""))[:_SHOWN]
            raise AuthenticationError(
                f"the app access token was not accepted: code {code!r:.20} ({said!r})",
                code=code if isinstance(code, int) else None,
            )
        logger.info("connection %s: the app access token was accepted", connection.id)
        if self._lifecycle:
            self._lifecycle.publish(Authenticated(connection_id=connection.id))

    def _call_handlers(self, kind: str, message: dict[str, Any]) -> Callable[[], Awaitable[None]] | None:
        calls = [_Call(handler, kind, message) for handler in self._router.message_handlers(kind)]
        if not calls:
            if kind not in _BUILT_IN:
                logger.debug("no handler takes messages of type %.100r", kind)
            return None

        async def submit_when_there_is_room() -> None:
            for call in calls:
                if await self._pool.wait_room():
                    self._pool.submit(call)
                else:
                    logger.warning("a message of type %.100r is dropped: its handlers are stuck", kind)

        if self._pool.is_full:
            return submit_when_there_is_room
        for call in calls:
            self._pool.submit(call)
        return None

    async def _call(self, call: _Call, threads: trio.CapacityLimiter) -> None:
        """Run one handler; what it raises is told, and harms nobody else."""
        try:
            if inspect.iscoroutinefunction(call.handler):
                await call.handler(call.message)
                return
            result = await trio.to_thread.run_sync(
                call.handler, call.message, limiter=threads, abandon_on_cancel=True
            )
            if inspect.isawaitable(result):
                await result
        except Exception as error:
            name = getattr(call.handler, "__qualname__", repr(call.handler))
            logger.error(
                "handler %s failed on a message of type %.100r", name, call.message_type, exc_info=error
            )
            if self._lifecycle:
                self._lifecycle.publish(ErrorOccurred(where="message", error=error))

    def _send(self, connection: Connection, message: dict[str, Any]) -> None:
        connection.post(Outgoing(json.dumps(message), portable=False))

    def _tell_bad(self, connection: Connection) -> None:
        self._counters.bad_frames += 1
        logger.warning(
            "connection %s: a text message that is no JSON object with a type was dropped", connection.id
        )
        if self._lifecycle:
            error = FrameError("a text message that is no JSON object with a type")
            self._lifecycle.publish(ErrorOccurred(where="message", error=error))


_BUILT_IN: Final = frozenset({"ping", "pong", "heartbeat", "auth", "event"})


def _parse(text: str | bytes) -> dict[str, Any] | None:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None


def _kind(message: dict[str, Any] | None) -> str | None:
    """The type of a message; both envelopes of events count as `event`."""
    if message is None:
        return None
    if message.get("schema") == "2.0" and isinstance(message.get("header"), dict):
        return "event"
    kind = message.get("type")
    if not isinstance(kind, str) or not kind:
        return None
    return (
        "event" if kind.lower() == "event_callback" else kind.lower() if kind.lower() in _BUILT_IN else kind
    )


def _payload(message: dict[str, Any]) -> bytes | None:
    """The event in a message, in one of the two envelopes that delivery knows; None if there is none.

    Beside these two the .NET client has a flat form in `data`: event_id, event_type, …, and the body as `event`.
    """
    if "header" in message or str(message.get("type")).lower() == "event_callback":
        return json.dumps(message).encode()
    data = message.get("data")
    if not isinstance(data, dict):
        return None
    if "event_type" in data:
        names = ("event_id", "event_type", "create_time", "app_id", "tenant_key")
        header = {name: str(data[name]) for name in names if data.get(name) is not None}
        data = {"schema": "2.0", "header": header, "event": data.get("event")}
    elif "event" not in data and "header" not in data:
        data = {"uuid": data.get("uuid"), "ts": data.get("ts"), "type": "event_callback", "event": data}
    return json.dumps(data).encode()


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
