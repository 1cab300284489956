"""JSON text messages: the other form in which gateways and proxies in front of Feishu speak.

They differ by `type`: `ping`, `pong`, `heartbeat`, `event`, `auth`, and whatever users register
handlers for with `Router.on_message`. Source: the .NET client Mud.Feishu.WebSocket, which speaks them, too.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

import trio

from ..errors import AuthenticationError, FrameError
from ..router import MESSAGE_TYPES, Route
from ..routes import name_of
from .arrival import TextArrival
from .outbox import Outgoing
from .shared import Shared

__all__ = ["TextMessages"]

# The facts of an event's header, which the .NET client's flat form has beside the body.
_FLAT: Final = ("event_id", "event_type", "create_time", "app_id", "tenant_key")
# From here on a time is in milliseconds: as seconds it would be the year 5138, as milliseconds it is 1973.
_MILLISECONDS: Final = 1e11
# Of a text off the wire, what users are shown.
_SHOWN: Final = 100


class Speaker(Protocol):
    """The connection that text messages come on and go out by."""

    @property
    def id(self) -> str:
        """The connection's id."""

    def send_here(self, item: Outgoing) -> None:
        """Have something written by this connection, or by none."""


class TextMessages:
    """Takes the text messages of one connection. `ack_deadline` is counted from when a message was read."""

    def __init__(self, speaker: Speaker, shared: Shared) -> None:
        self._speaker = speaker
        self._config = shared.config
        self._router = shared.router
        self._engine = shared.engine
        self._telemetry = shared.telemetry
        self.is_authenticated = shared.config.app_access_token is None
        """Whether the app access token was accepted; where none is sent, the handshake has seen to it."""
        self._token: str | None = None
        self._last_heartbeat: float | None = None
        self._is_hurried = False
        self._waiting = trio.CancelScope()  # around the wait for room in the handlers' pool

    @contextmanager
    def in_a_hurry(self) -> Iterator[None]:
        """Within this block no message waits for a handler: what has no room is dropped. Events wait behind it."""
        self._is_hurried = True
        self._waiting.cancel()
        try:
            yield
        finally:
            self._is_hurried = False

    def authenticate(self) -> None:
        """Send the app access token over the connection, which has just come up, if one was given."""
        given = self._config.app_access_token
        if given is not None:
            self._token = given() if callable(given) else given
            data = {"app_access_token": self._token}
            self._send({"type": "auth", "timestamp": int(time.time()), "data": data})

    async def receive(self, text: str | bytes, *, may_wait: bool = True) -> None:
        """Take one message. While a pool is full, an event waits for room for a second at the most, a message for a
        handler as long as the pool gets on; but not if `may_wait` is False: events would wait behind it.

        One that makes no sense is counted, logged and dropped.

        Raises:
            AuthenticationError: The server did not accept the app access token.
        """
        try:
            message = _parse(text)
            names = _names(message)
            payload = _payload(message, text) if names[0] == "event" else None
        except FrameError as error:
            self._telemetry.text_dropped(self._speaker.id, error)
            return
        self._telemetry.text_received(self._speaker.id, names[0])
        match names[0]:
            case "ping":
                self._send({"type": "pong", "timestamp": int(time.time())})
                self._telemetry.text_ping_answered(self._speaker.id)
            case "pong":
                self._telemetry.text_pong_received(self._speaker.id)
            case "heartbeat":
                self._receive_heartbeat(message)
            case "auth":
                self._receive_auth(message)
        if payload is not None:
            await self._receive_event(payload)
        await self._call_handlers(names, message, len(text), may_wait=may_wait)

    async def _receive_event(self, payload: bytes) -> None:
        now = trio.current_time()
        delivery = TextArrival(payload, time.time(), now, now + self._config.ack_deadline)
        try:
            self._engine.accept_nowait(delivery)
        except trio.WouldBlock:
            await self._engine.accept(delivery)

    async def _call_handlers(
        self, names: tuple[str, ...], message: dict[str, Any], size: int, *, may_wait: bool
    ) -> None:
        routes = [
            Route(handler=handler, name=name_of(handler), patterns=names)
            for handler in self._router.message_handlers(*names)
        ]
        if not routes and names[0] not in MESSAGE_TYPES:
            self._telemetry.text_unhandled(names[0])
        for route in routes:
            try:
                self._engine.call_nowait(route, message, size)
            except trio.WouldBlock:
                with trio.CancelScope() as self._waiting:
                    if self._is_hurried or not may_wait:
                        self._waiting.cancel()
                    await self._engine.call(route, message, size)

    def _receive_heartbeat(self, message: dict[str, Any]) -> None:
        data = message.get("data")
        data = data if isinstance(data, dict) else {}
        status = data.get("status")
        now = trio.current_time()
        since_last = None if self._last_heartbeat is None else now - self._last_heartbeat
        self._last_heartbeat = now
        self._telemetry.text_heartbeat_received(
            self._speaker.id,
            since_last,
            _seconds(data.get("timestamp")),
            _number(data.get("interval")),
            str(status)[:_SHOWN] if isinstance(status, str | int | float) else None,
        )

    def _receive_auth(self, message: dict[str, Any]) -> None:
        code = message.get("code")
        if isinstance(code, bool) or not isinstance(code, int):
            self._drop("an auth message without a code that is a whole number")
        elif code and self._token is not None:
            error = AuthenticationError(
                f"the app access token was not accepted: code {code!r:.20} ({self._reason(message)!r})",
                code=code,
            )
            self._telemetry.authentication_failed(error)
            raise error
        elif self._token is None:
            self._drop("an auth message that answers none")
        else:
            self.is_authenticated = True
            self._telemetry.authenticated(self._speaker.id)

    def _reason(self, message: dict[str, Any]) -> str:
        """What the server says of the token, which it may have repeated."""
        reason = message.get("msg")
        if not isinstance(reason, str):
            return ""
        return (reason.replace(self._token, "***") if self._token else reason)[:_SHOWN]

    def _send(self, message: dict[str, Any]) -> None:
        self._speaker.send_here(Outgoing(json.dumps(message), portable=False))

    def _drop(self, reason: str) -> None:
        self._telemetry.text_dropped(self._speaker.id, FrameError(reason))


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
    written = message.get("type")
    if message.get("schema") == "2.0" and isinstance(message.get("header"), dict):
        return ("event",)
    if not isinstance(written, str) or not written:
        raise FrameError("a JSON message without a type")
    known = "event" if _is_v1(message) else written.lower()
    if known not in MESSAGE_TYPES:
        return (written,)
    return (known,) if written.lower() == known else (known, written)


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


def _seconds(value: object) -> float | None:
    """A time since 1970 in seconds, be it written in seconds or in milliseconds."""
    number = _number(value)
    return number if number is None or abs(number) < _MILLISECONDS else number / 1000
