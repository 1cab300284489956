"""JSON text messages: the other form in which gateways and proxies in front of Feishu speak.

They differ by `type`: `ping`, `pong`, `heartbeat`, `event`, `auth`, and whatever users register
handlers for with `Router.on_message`. Source: the .NET client Mud.Feishu.WebSocket, which speaks them, too.
"""

from __future__ import annotations

import gc
import json
import math
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

import msgspec
import trio

from .._quiet import QuietStruct
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
# Bytes up to which a text may hold what `json` reads and msgspec does not, such as NaN: it takes thirty times as long.
_MOST_LENIENT: Final = 1 << 20


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
        self.last_heartbeat: float | None = None
        """When the last heartbeat message came, on trio's clock; none if that was before a loss of the connection."""
        self._is_hurried = False
        self._waiting = trio.CancelScope()  # around the wait for room in the handlers' pool: one task waits
        self._parsing = trio.StrictFIFOLock()  # between any two large texts all others have a turn

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

    async def receive(self, text: bytes, *, may_wait: bool = True) -> None:
        """Take one message. While a pool is full, an event waits for room for a second at the most, a message for a
        handler as long as the pool gets on; but not if `may_wait` is False: events would wait behind it.

        One that makes no sense is counted, logged and dropped.

        Raises:
            AuthenticationError: The server did not accept the app access token.
        """
        try:
            message = _read(text)
            data = _read(message.data) if _is_object(message.data) else None
            names = _names(message)
            payload = _payload(message, data, text) if names[0] == "event" else None
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
                self._receive_heartbeat(data or _Object())
            case "auth":
                self._receive_auth(message)
        try:
            if payload is not None:
                await self._receive_event(payload)
        finally:  # though the wait for the event's room be cut short, so that others are read
            await self._call_handlers(names, text, may_wait=may_wait)

    async def _receive_event(self, payload: bytes) -> None:
        now = trio.current_time()
        delivery = TextArrival(payload, time.time(), now, now + self._config.ack_deadline)
        try:
            self._engine.accept_nowait(delivery)
        except trio.WouldBlock:
            await self._engine.accept(delivery)

    async def _call_handlers(self, names: tuple[str, ...], text: bytes, *, may_wait: bool) -> None:
        routes = [
            Route(handler=handler, name=name_of(handler), patterns=names, middleware=(self._parse,))
            for handler in self._router.message_handlers(*names)
        ]
        if not routes and names[0] not in MESSAGE_TYPES:
            self._telemetry.text_unhandled(names[0])
        for route in routes:
            try:
                self._engine.call_nowait(route, text)
            except trio.WouldBlock:
                if may_wait and not self._is_hurried:
                    with trio.CancelScope() as self._waiting:
                        await self._engine.call(route, text)
                else:
                    self._telemetry.text_refused(route.name, names[0])

    async def _parse(self, text: Any, call_next: Callable[[Any], Awaitable[object]]) -> object:
        """Call a handler with a message, now that its turn has come: what waited is its text, as large as it counts."""
        async with self._parsing:
            try:
                with _collector_off():
                    message = json.loads(text)
            except (ValueError, RecursionError):  # `_read` passes over such values
                self._drop("a text message with a number that is too long, or that nests too deeply")
                return None
        return await call_next(message)

    def _receive_heartbeat(self, data: _Object) -> None:
        status = _scalar(data.status)
        now = trio.current_time()
        since_last = None if self.last_heartbeat is None else now - self.last_heartbeat
        self.last_heartbeat = now
        self._telemetry.text_heartbeat_received(
            self._speaker.id,
            since_last,
            _seconds(_scalar(data.timestamp)),
            _number(_scalar(data.interval)),
            str(status)[:_SHOWN] if isinstance(status, str | int | float) else None,
        )

    def _receive_auth(self, message: _Object) -> None:
        code = _scalar(message.code)
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

    def _reason(self, message: _Object) -> str:
        """What the server says of the token, which it may have repeated."""
        reason = _scalar(message.msg)
        if not isinstance(reason, str):
            return ""
        return (reason.replace(self._token, "***") if self._token else reason)[:_SHOWN]

    def _send(self, message: dict[str, Any]) -> None:
        self._speaker.send_here(Outgoing(json.dumps(message), portable=False))

    def _drop(self, reason: str) -> None:
        self._telemetry.text_dropped(self._speaker.id, FrameError(reason))


class _Object(QuietStruct, gc=False):
    """What is looked at of a message, or of its `data`: the JSON of each value, none if there is none.

    All else is passed over, for objects may take thirty times the memory of their text.
    """

    type: msgspec.Raw = msgspec.Raw()
    schema: msgspec.Raw = msgspec.Raw()
    header: msgspec.Raw = msgspec.Raw()
    data: msgspec.Raw = msgspec.Raw()
    code: msgspec.Raw = msgspec.Raw()
    msg: msgspec.Raw = msgspec.Raw()
    uuid: msgspec.Raw = msgspec.Raw()
    ts: msgspec.Raw = msgspec.Raw()
    timestamp: msgspec.Raw = msgspec.Raw()
    interval: msgspec.Raw = msgspec.Raw()
    status: msgspec.Raw = msgspec.Raw()
    event_id: msgspec.Raw = msgspec.Raw()
    event_type: msgspec.Raw = msgspec.Raw()
    create_time: msgspec.Raw = msgspec.Raw()
    app_id: msgspec.Raw = msgspec.Raw()
    tenant_key: msgspec.Raw = msgspec.Raw()
    event: msgspec.Raw = msgspec.Raw()


_decode: Final = msgspec.json.Decoder(_Object).decode


@contextmanager
def _collector_off() -> Iterator[None]:
    """For parsing, which leaves no garbage: of a million small lists, the collector takes three quarters of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _read(text: bytes) -> _Object:
    try:
        written = str(text, "utf-8")  # msgspec does not look into what it passes over
        try:
            return _decode(text)
        except msgspec.DecodeError:
            if len(text) > _MOST_LENIENT:
                raise
        value = json.loads(written, parse_constant=lambda _: None)
        return _decode(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise FrameError(
            "a text message that is no JSON object"
            if len(text) <= _MOST_LENIENT
            else f"a text message of {len(text)} bytes that is no JSON object; NaN, Infinity and half a surrogate "
            f"pair are read in one of up to {_MOST_LENIENT} bytes"
        ) from None


def _is_object(value: msgspec.Raw) -> bool:
    return bytes(memoryview(value)[:1]) == b"{"


def _scalar(value: msgspec.Raw) -> object:
    """A string, a number or a truth value; None for all else, and for a number that is too long."""
    if bytes(memoryview(value)[:1]) in (b"", b"[", b"{"):
        return None
    try:
        return json.loads(bytes(value))
    except ValueError:
        return None


def _names(message: _Object) -> tuple[str, ...]:
    """The type of a message, and what the message itself calls it if that is something else.

    Letters' case does not count for the types that are known here, and both envelopes of events are `event`.
    """
    if _scalar(message.schema) == "2.0" and _is_object(message.header):
        return ("event",)
    written = _scalar(message.type)
    if not isinstance(written, str) or not written:
        raise FrameError("a JSON message without a type")
    known = "event" if _is_v1(message) else written.lower()
    if known not in MESSAGE_TYPES:
        return (written,)
    return (known,) if written.lower() == known else (known, written)


def _is_v1(message: _Object) -> bool:
    """Whether this is the whole envelope of an event of schema 1.0."""
    return str(_scalar(message.type)).lower() == "event_callback"


def _payload(message: _Object, data: _Object | None, text: bytes) -> bytes:
    """The event in a message, in one of the two envelopes that delivery knows.

    The message may be the envelope, or have in `data` either an envelope, or the body of schema 1.0, or the
    .NET client's flat form: the facts of the header, and the body as `event`.
    """
    if _is_object(message.header) or _is_v1(message):
        return text
    if data is None:
        raise FrameError("an event message without data")
    if not data.type and data.event_type:
        header = {name: value for name in _FLAT if (value := getattr(data, name))}
        return msgspec.json.encode({"schema": "2.0", "header": header, "event": data.event or None})
    if data.type and not _is_v1(data):
        facts = {name: getattr(data, name) or getattr(message, name) or None for name in ("uuid", "ts")}
        return msgspec.json.encode({**facts, "type": "event_callback", "event": message.data})
    return bytes(message.data)


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
