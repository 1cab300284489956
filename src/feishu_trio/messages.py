"""JSON text messages: the other form in which gateways and proxies in front of Feishu speak.

They are told apart by `type`: `ping`, `pong`, `heartbeat`, `event`, `auth`, and whatever users register
handlers for with `Router.on_message`. Source: the .NET client Mud.Feishu.WebSocket, which speaks them, too.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final
from weakref import WeakKeyDictionary

import attrs
import trio

from .config import SessionConfig
from .connection import Connection, Outgoing
from .delivery import Dispatcher, Pool
from .delivery.handlers import call, fault_of
from .errors import AuthenticationError, FrameError
from .router import MESSAGE_TYPES, Route, Router
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

# The facts of an event's header, which the .NET client's flat form has beside the body.
_FLAT: Final = ("event_id", "event_type", "create_time", "app_id", "tenant_key")
# Of a text off the wire, what is told of it.
_SHOWN: Final = 100
# Complaints about messages that are dropped: the first few, then one in so many.
_COMPLAINTS: Final = 10
_COMPLAIN_EVERY: Final = 1000


@attrs.frozen(eq=False)
class _Call:
    """One run of one handler, for one message."""

    route: Route
    message: dict[str, Any] = attrs.field(repr=False)
    key: None = None
    weight: int = 1


class _TextDelivery:
    """An event that came as text: it has no frame, and is not answered."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.message_id = ""
        self.trace_id = ""
        self.received_at = trio.current_time()

    def answer(self, body: bytes, took: float, sent: Callable[[], None] | None = None) -> None:
        """Nothing is sent, for this form has no answers."""
        if sent is not None:
            sent()

    def give_up(self) -> None:
        """Nothing waits for it."""


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
        self._no_room = 0
        self._tokens: WeakKeyDictionary[Connection, str] = WeakKeyDictionary()
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
        given = self._config.app_access_token
        if given is not None:
            token = self._tokens[connection] = given() if callable(given) else given
            data = {"app_access_token": token}
            self._send(connection, {"type": "auth", "timestamp": int(time.time()), "data": data})

    def take(self, connection: Connection, text: str | bytes) -> Callable[[], Awaitable[None]] | None:
        """Take one message. What is returned must be awaited before more is read: something is full.

        One that makes no sense is told, counted and dropped.

        Raises:
            AuthenticationError: The server did not accept the app access token.
        """
        try:
            message = _parse(text)
            names = _names(message)
            payload = _payload(message, text) if names[0] == "event" else None
        except FrameError as error:
            self._drop(connection, error)
            return None
        if self._lifecycle.is_followed:
            self._lifecycle.publish(MessageReceived(connection_id=connection.id, message_type=names[0]))
        match names[0]:
            case "ping":
                self._send(connection, {"type": "pong", "timestamp": int(time.time())})
                if self._lifecycle.is_followed:
                    self._lifecycle.publish(PingReceived(connection_id=connection.id))
            case "pong":
                self._count_heartbeat()
                if self._lifecycle.is_followed:
                    self._lifecycle.publish(PongReceived(connection_id=connection.id, rtt=None))
            case "heartbeat":
                self._take_heartbeat(connection, message)
            case "auth":
                self._take_auth(connection, message)
        held = None if payload is None else self._dispatcher.accept(_TextDelivery(payload))
        full = self._call_handlers(names, message)
        if held is None or full is None:
            return held or full

        async def both() -> None:
            await held()
            await full()

        return both

    def _count_heartbeat(self) -> None:
        # It is the answer to no ping of ours: there is no round trip, and its interval is the server's.
        self._heartbeat.record(None, None)

    def _take_heartbeat(self, connection: Connection, message: dict[str, Any]) -> None:
        self._count_heartbeat()
        if self._lifecycle.is_followed:
            data = message.get("data")
            data = data if isinstance(data, dict) else {}
            status = data.get("status")
            self._lifecycle.publish(
                HeartbeatReceived(
                    connection_id=connection.id,
                    timestamp=_number(data.get("timestamp")),
                    interval=_number(data.get("interval")),
                    status=str(status)[:_SHOWN] if isinstance(status, str | int | float) else None,
                )
            )

    def _take_auth(self, connection: Connection, message: dict[str, Any]) -> None:
        code = message.get("code")
        if isinstance(code, bool) or not isinstance(code, int):
            self._drop(connection, FrameError("an auth message without a code that is a whole number"))
            return
        if code and connection in self._tokens:
            raise AuthenticationError(
                f"the app access token was not accepted: code {code!r:.20} ({self._said(connection, message)!r})",
                code=code,
            )
        if code:
            self._drop(connection, FrameError("an auth message that answers none"))
            return
        logger.info("connection %s: the app access token was accepted", connection.id)
        if self._lifecycle.is_followed:
            self._lifecycle.publish(Authenticated(connection_id=connection.id))

    def _said(self, connection: Connection, message: dict[str, Any]) -> str:
        """What the server said of the token, which it may have repeated."""
        said = message.get("msg")
        if not isinstance(said, str):
            return ""
        token = self._tokens.get(connection)
        return (said.replace(token, "***") if token else said)[:_SHOWN]

    def _call_handlers(
        self, names: tuple[str, ...], message: dict[str, Any]
    ) -> Callable[[], Awaitable[None]] | None:
        calls = [
            _Call(Route(handler=handler, name=_name_of(handler), patterns=(name,)), message)
            for name in names
            for handler in self._router.message_handlers(name)
        ]
        if not calls:
            if names[0] not in MESSAGE_TYPES:
                logger.debug("no handler takes messages of type %.100r", names[0])
            return None

        async def submit_when_there_is_room() -> None:
            for each in calls:
                if await self._pool.wait_room_while_moving():
                    self._pool.submit(each)
                else:
                    self._tell_no_room(each)

        if self._pool.is_full:
            return submit_when_there_is_room
        for each in calls:
            self._pool.submit(each)
        return None

    async def _call(self, this: _Call, threads: trio.CapacityLimiter) -> None:
        """Run one handler; what it raises is told, and harms nobody else."""
        try:
            await call(this.route, this.message, threads)
        except BaseException as error:
            fault = fault_of(error)
            if fault is None:
                raise
            logger.error(
                "handler %s failed on a message of type %.100r",
                this.route.name,
                this.route.patterns[0],
                exc_info=fault,
            )
            if self._lifecycle.is_followed:
                self._lifecycle.publish(ErrorOccurred(where="message", error=fault))
            await trio.lowlevel.checkpoint_if_cancelled()

    def _tell_no_room(self, this: _Call) -> None:
        self._no_room += 1
        if _is_worth_telling(self._no_room):
            logger.warning(
                "there is no room for handler %s: it does not get a message of type %.100r (the %d. so far)",
                this.route.name,
                this.route.patterns[0],
                self._no_room,
            )

    def _send(self, connection: Connection, message: dict[str, Any]) -> None:
        # Once the connection has ended, so has the peer that this is for: no other connection is to carry it.
        if connection.ended is None:
            connection.post(Outgoing(json.dumps(message), portable=False))

    def _drop(self, connection: Connection, error: FrameError) -> None:
        counters = self._counters
        counters.bad_frames += 1
        if _is_worth_telling(counters.bad_frames):
            logger.warning(
                "connection %s: bad message dropped (the %d. so far): %s",
                connection.id,
                counters.bad_frames,
                error,
            )
        if self._lifecycle.is_followed:
            self._lifecycle.publish(ErrorOccurred(where="message", error=error))


def _is_worth_telling(count: int) -> bool:
    return count <= _COMPLAINTS or count % _COMPLAIN_EVERY == 0


def _parse(text: str | bytes) -> dict[str, Any]:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):  # no JSON, no UTF-8, a number of thousands of digits, or too deep
        message = None
    if not isinstance(message, dict):
        raise FrameError("a text message that is no JSON object")
    return message


def _names(message: dict[str, Any]) -> tuple[str, ...]:
    """The type of a message, and what the message itself calls it if that is something else.

    Letters' case does not count for the types that are known here, and both envelopes of events are `event`.
    """
    said = message.get("type")
    if message.get("schema") == "2.0" and isinstance(message.get("header"), dict):
        return ("event",)
    if not isinstance(said, str) or not said:
        raise FrameError("a JSON message without a type")
    known = "event" if _is_v1(message) else said.lower()
    if known not in MESSAGE_TYPES:
        return (said,)
    return (known,) if said.lower() == known else (known, said)


def _is_v1(message: dict[str, Any]) -> bool:
    """Whether this is the whole envelope of an event of schema 1.0."""
    return str(message.get("type")).lower() == "event_callback"


def _payload(message: dict[str, Any], text: str | bytes) -> bytes:
    """The event in a message, in one of the two envelopes that delivery knows.

    The message may be the envelope, or have in `data` either an envelope, or the body of schema 1.0, or the
    .NET client's flat form: the facts of the header, and the body as `event`.
    """
    if isinstance(message.get("header"), dict) or _is_v1(message):
        return text.encode() if isinstance(text, str) else text
    data = message.get("data")
    if not isinstance(data, dict):
        raise FrameError("an event message without data")
    if "type" not in data and "event_type" in data:
        header = {name: data[name] for name in _FLAT if name in data}
        data = {"schema": "2.0", "header": header, "event": data.get("event")}
    elif "type" in data and not _is_v1(data):
        facts = {name: data.get(name, message.get(name)) for name in ("uuid", "ts")}
        data = {**facts, "type": "event_callback", "event": data}
    try:
        return json.dumps(data).encode()
    except RecursionError:  # reading goes a little deeper than writing
        raise FrameError("an event message that nests too deeply") from None


def _number(value: object) -> float | None:
    """A number, be it in a string; None for all else, and for what no clock shows."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _name_of(handler: object) -> str:
    return getattr(handler, "__qualname__", None) or type(handler).__qualname__
