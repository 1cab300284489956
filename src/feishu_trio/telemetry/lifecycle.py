"""What happens in a session, as typed events that any number of subscribers may follow."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

import msgspec
import trio

from .stuck import StuckHandler

__all__ = [
    "Authenticated",
    "Connected",
    "Disconnected",
    "ErrorOccurred",
    "EventAnswered",
    "EventDead",
    "EventReceived",
    "Follower",
    "HandlerFailed",
    "HandlerStuck",
    "HeartbeatReceived",
    "Lifecycle",
    "LifecycleEvent",
    "LifecycleStream",
    "MessageIgnored",
    "PingReceived",
    "PingSent",
    "PongReceived",
    "ReconnectScheduled",
    "TextMessageReceived",
]


class LifecycleEvent(msgspec.Struct, frozen=True, kw_only=True):
    """The base of all of them."""

    at: float = msgspec.field(default_factory=trio.current_time)
    """When it happened, in seconds on trio's clock."""


class Connected(LifecycleEvent, frozen=True, kw_only=True):
    """A connection is up."""

    connection_id: str
    """The id that Feishu gave it, by which the log names it, too; "" if it gave none."""
    service_id: int
    """The number from its URL, which its pings carry; 0 if there was none."""
    attempt: int
    """Which try it was, from 1."""


class Disconnected(LifecycleEvent, frozen=True, kw_only=True):
    """A connection has ended."""

    connection_id: str
    """Its id, as in `Connected`."""
    reason: str
    """One of `DisconnectReason`."""
    detail: str
    """More about it, such as the reason in a close frame; "" if nothing more is known."""
    code: int | None
    """The WebSocket close code, if the server sent one."""
    lived: float
    """Seconds for which it was up."""


class ReconnectScheduled(LifecycleEvent, frozen=True, kw_only=True):
    """The next try to connect, and why there must be one."""

    attempt: int
    """Which try in a row it is, from 1; after each connection it starts at 1 again."""
    delay: float
    """Seconds until it is made."""
    reason: str
    """What the last try failed with, or how the connection was lost, in words."""


class PingSent(LifecycleEvent, frozen=True, kw_only=True):
    """A ping went out."""

    connection_id: str
    """The connection that it went out on."""
    probe: bool
    """Whether it is one of the quick ones after a pong went missing."""


class PingReceived(LifecycleEvent, frozen=True, kw_only=True):
    """The server pinged (as a JSON text message) and was answered."""

    connection_id: str
    """The connection that it came by."""


class PongReceived(LifecycleEvent, frozen=True, kw_only=True):
    """A pong came."""

    connection_id: str
    """The connection that it came by."""
    rtt: float | None
    """Seconds since its ping; None if none was waiting for it."""


class HeartbeatReceived(LifecycleEvent, frozen=True, kw_only=True):
    """A JSON heartbeat message came. What it does not say, or not as it should, is None."""

    connection_id: str
    """The connection that it came by."""
    timestamp: float | None
    """The server's time, in seconds since 1970 (UTC), also if it was written in milliseconds."""
    interval: float | None
    """Seconds until the next heartbeat, as the server has it; what was measured is in `HeartbeatStats.messages`."""
    status: str | None
    """The server's word for how it is, 100 characters of it at the most."""


class Authenticated(LifecycleEvent, frozen=True, kw_only=True):
    """The server accepted the app access token that was sent as a JSON message.

    Without `app_access_token` none is sent, and `Connected` is all there is.
    """

    connection_id: str
    """The connection that the token was sent on."""


class EventReceived(LifecycleEvent, frozen=True, kw_only=True):
    """An event arrived."""

    event_id: str
    """Its id."""
    event_type: str
    """Its type."""
    redelivered: bool
    """Whether it was known already."""


class EventAnswered(LifecycleEvent, frozen=True, kw_only=True):
    """An event was answered."""

    event_id: str
    """Its id."""
    event_type: str
    """Its type."""
    ok: bool
    """Whether with success; else with 500."""
    latency: float
    """Seconds since that delivery arrived."""


class HandlerFailed(LifecycleEvent, frozen=True, kw_only=True):
    """A handler raised, ran into its timeout, or returned what cannot be sent."""

    handler: str
    """Its name."""
    event_id: str
    """The event's id; for a batch, there is one of these for each of its events."""
    event_type: str
    """The event's type."""
    error: BaseException
    """What was raised: of a timeout a `TimeoutError`, of a wrong result a `TypeError` or `ValueError`."""


class HandlerStuck(LifecycleEvent, frozen=True, kw_only=True):
    """A handler has been at work for `stuck_after` seconds, and still is."""

    stuck: StuckHandler
    """Which one, with what, and for how long."""


class TextMessageReceived(LifecycleEvent, frozen=True, kw_only=True):
    """A JSON text message came, of whatever type."""

    connection_id: str
    """The connection that it came by."""
    message_type: str
    """Its type; "event" for an event in any envelope."""


class EventDead(LifecycleEvent, frozen=True, kw_only=True):
    """An event from an inbox has become a dead letter: it is not tried again, unless it is requeued."""

    event_id: str
    """Its id."""
    event_type: str
    """Its type."""
    error: str
    """What the last failure was."""


class MessageIgnored(LifecycleEvent, frozen=True, kw_only=True):
    """A filter made by `to_me` turned a message away."""

    event_id: str
    """The id of the message's event."""
    reason: str
    """Why, in words."""


class ErrorOccurred(LifecycleEvent, frozen=True, kw_only=True):
    """Something went wrong. What the session does not survive leaves its block as well."""

    where: str
    """The stage: `connect` (a try to connect failed), `authentication` (the app access token was refused),
    `connection` (a defect, or one of several was given up), `frame`, `message`, `raw message`, `payload` (what came
    makes no sense, or its handler raised), or `late result` (of a callback).
    """
    error: BaseException
    """What was raised."""


Follower: TypeAlias = Callable[[LifecycleEvent], object] | trio.MemorySendChannel[LifecycleEvent]
"""Who is told of a session's lifecycle events from the first on: a plain function, or a memory channel's end."""


class LifecycleStream(AsyncIterator[LifecycleEvent]):
    """The events of a session since it was subscribed to, in order."""

    def __init__(self, capacity: int) -> None:
        self.lost = 0
        """How many have made way for newer ones, as nobody read them in time."""
        self._events: deque[LifecycleEvent] = deque(maxlen=capacity)
        self._waiting = trio.lowlevel.ParkingLot()
        self._ended = False

    def put(self, event: LifecycleEvent) -> None:
        """Add an event; the oldest goes if there is no room."""
        if len(self._events) == self._events.maxlen:
            self.lost += 1
        self._events.append(event)
        self._waiting.unpark_all()

    def end(self) -> None:
        """No more events: the iterator stops once it has given out those it has."""
        self._ended = True
        self._waiting.unpark_all()

    async def __anext__(self) -> LifecycleEvent:
        await trio.lowlevel.checkpoint()
        while not self._events:
            if self._ended:
                raise StopAsyncIteration
            await self._waiting.park()
        return self._events.popleft()


class Lifecycle:
    """Hands lifecycle events to whoever subscribes, and to `follower`, from the first on.

    `on_lost` is called for each event that a follower's channel had no room for, `on_error` with what a
    follower's function raised.
    """

    def __init__(
        self,
        follower: Follower | None = None,
        *,
        on_lost: Callable[[], object] = lambda: None,
        on_error: Callable[[Exception], object] = lambda error: None,
    ) -> None:
        self.is_followed = follower is not None
        """Whether anybody does: if not, no events need be made."""
        self._follower = follower
        self._on_lost = on_lost
        self._on_error = on_error
        self._streams: list[LifecycleStream] = []
        self._ended = False

    def publish(self, event: LifecycleEvent) -> None:
        """Give an event to every subscriber, none of whom can hold the caller up."""
        for stream in self._streams:
            stream.put(event)
        # The last, as a function of the user's may cause another event: all others have had this one by then.
        if isinstance(self._follower, trio.MemorySendChannel):
            self._send(self._follower, event)
        elif self._follower is not None:
            try:
                self._follower(event)
            except Exception as error:
                self._on_error(error)

    def end(self) -> None:
        """The session has ended, and with it every stream, and the follower's channel."""
        self._ended = True
        if isinstance(self._follower, trio.MemorySendChannel):
            self._follower.close()
        for stream in self._streams:
            stream.end()

    @asynccontextmanager
    async def subscribe(self, capacity: int) -> AsyncGenerator[LifecycleStream, None]:
        """Follow the events from here on; a stream holds `capacity` of them at the most."""
        stream = LifecycleStream(capacity)
        if self._ended:
            stream.end()
        self._streams.append(stream)
        self.is_followed = True
        try:
            yield stream
        finally:
            self._streams.remove(stream)
            self._update()
            stream.end()

    def _send(self, channel: trio.MemorySendChannel[LifecycleEvent], event: LifecycleEvent) -> None:
        try:
            channel.send_nowait(event)
        except trio.WouldBlock:
            self._on_lost()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._follower = None  # nobody reads any more
            self._update()

    def _update(self) -> None:
        self.is_followed = bool(self._streams) or self._follower is not None
