"""One connection: the handshake, then reader, heartbeat and ack-writer as siblings, then an orderly end."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Protocol

import attrs
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection
from wsproto.frame_protocol import CloseReason, FrameProtocol

from .._quiet import QuietStruct
from ..config import SessionConfig
from ..delivery import Delivery
from ..errors import FeishuError, FrameError, first_error
from ..telemetry.heartbeat import HeartbeatStats
from ..telemetry.lifecycle import Connected, Disconnected, ErrorOccurred, Lifecycle, PingSent, PongReceived
from ..telemetry.stats import Counters
from ..wire import (
    CONTROL,
    DATA,
    Assembler,
    Frame,
    decode_frame,
    encode_answer,
    encode_message,
    encode_messages,
    encode_ping,
)
from .client_config import ClientConfig
from .dial import open_stream
from .discovery import Endpoint, shown
from .handshake import NO_WEBSOCKET, handshake_error, shake_hands
from .heartbeat import Pace, sleep_awake
from .line import DisconnectReason, Line
from .relay import Outbox, Outgoing, Relay

__all__ = ["Connection", "Ended", "Wiring"]

logger = logging.getLogger("feishu_trio.connection")

# When a pong is missing, it is asked for again so many times, quickly, before the connection is given up.
_PROBES: Final = 2
# While a pong is waited for, the ping is repeated after so many seconds: with 3 % of the pongs lost, three
# in a row are lost every two weeks, five in a row never.
_ASK_AGAIN: Final = 5.0
# Answers written at once, and answers waiting before the reader stops to let them out.
_BATCH: Final = 256
_BACKLOG: Final = 4096
# When writing fails, there may be a close frame yet to be read.
_LAST_WORDS: Final = 1.0
# The close handshake, on our way out.
_CLOSE_TIMEOUT: Final = 2.0
# Complaints about bad frames: the first few in full, then one in so many.
_COMPLAINTS: Final = 10
_COMPLAIN_EVERY: Final = 1000


@attrs.frozen
class Ended:
    """How a connection ended."""

    reason: DisconnectReason
    detail: str = ""
    code: int | None = None

    def __str__(self) -> str:
        code = f" with code {self.code}" if self.code is not None else ""
        return f"{self.reason}{code}" + (f" ({self.detail})" if self.detail else "")


class Accepts(Protocol):
    """Where deliveries go."""

    def accept(self, delivery: Delivery) -> Callable[[], Awaitable[None]] | None:
        """Take a delivery; or, if there is no room for it yet, give what to wait on."""


@attrs.frozen
class Wiring:
    """What the connections of a session share."""

    config: SessionConfig
    deliveries: Accepts
    take_text: Callable[[Connection, str | bytes], Callable[[], Awaitable[None]] | None]
    on_up: Callable[[Connection], object]
    ready: trio.Event
    """Set when events may come in: whoever handles them has had the time to say so."""
    relay: Relay
    counters: Counters
    heartbeat: HeartbeatStats
    lifecycle: Lifecycle


class Arrival(QuietStruct, eq=False):
    """One frame that carries an event, or the last part of one: what the dispatcher sees as a `Delivery`."""

    connection: Connection
    frame: Frame
    payload: bytes
    message_id: str
    trace_id: str
    received_at: float

    def answer(self, body: bytes, took: float, sent: Callable[[], None] | None = None) -> None:
        """Answer with this payload, by this connection or, if it is gone, another."""
        self.connection.owed -= 1
        self.connection.post(Outgoing(encode_answer(self.frame, body, int(took * 1000)), sent))

    def give_up(self) -> None:
        """It will not be answered."""
        self.connection.owed -= 1


class Connection:
    """A connection to `endpoint`, which is good for one only. Its life is `run`."""

    def __init__(self, endpoint: Endpoint, wiring: Wiring, pace: Pace, *, attempt: int) -> None:
        self.endpoint = endpoint
        self.client_config = endpoint.client_config
        self.outbox = Outbox()
        self.since = -math.inf
        """When it came up, on trio's clock."""
        self.ended: Ended | None = None
        self.owed = 0
        """Answers that are still to be given to what came on it."""
        self.gone = trio.Event()
        """Set once the connection has ended and its socket is closed."""
        self.is_overdue = False
        """Whether a heartbeat was not answered in time, and the connection is being probed."""
        self._wiring = wiring
        self._pace = pace
        self._attempt = attempt
        self._assembler = Assembler(max_bytes=wiring.config.max_message_size * 4)
        self._websocket: WebSocketConnection | None = None
        self._line: Line | None = None
        self._scope = trio.CancelScope()
        self._takes_events = True
        self._told: bytes | None = None
        self._frames = FrameProtocol(client=True, extensions=[])
        self._heard = trio.lowlevel.ParkingLot()
        self._inbound = 0
        self._pinged_at = -math.inf
        self._ponged_at: float | None = None
        self._asked_at: float | None = None  # when the first ping went out that awaits a pong
        self._held_since: float | None = None
        self._held = 0.0

    def __repr__(self) -> str:
        return f"<Connection {self.endpoint.device_id or '?'} to {self.endpoint.host}>"

    @property
    def id(self) -> str:
        """The connection's id, as the server gave it."""
        return self.endpoint.device_id

    # Life

    async def run(self, *, task_status: trio.TaskStatus[Connection] = trio.TASK_STATUS_IGNORED) -> None:
        """Connect, and live until the connection ends; `ended` tells how. Cancellation closes it at once.

        The deadline for getting to `task_status.started` is the caller's.

        Raises:
            ConnectError: It could not be established; worth another try.
            RefusedError: The server refused the app.
        """
        endpoint = self.endpoint
        stream = await open_stream(endpoint.host, endpoint.port, tls=endpoint.tls, config=self._wiring.config)
        line = self._line = Line(stream, self._wiring.config.max_message_size)
        try:
            async with trio.open_nursery() as transport:
                self._websocket = await shake_hands(transport, line, endpoint, self._wiring.config)
                self._join()
                task_status.started(self)
                await self._live()
                transport.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            error = first_error(group)
            if self._is_up and isinstance(error, NO_WEBSOCKET):
                self.end(DisconnectReason.PROTOCOL_ERROR, shown(error))
            else:
                failure = handshake_error(endpoint, error) or error
                if failure is None:
                    raise
                raise failure from failure.__cause__
        finally:
            try:
                await trio.aclose_forcefully(line)
            finally:
                self._leave()

    def end(self, reason: DisconnectReason, detail: str = "", code: int | None = None) -> None:
        """End the connection at once; the first reason counts."""
        self._retire(Ended(reason, detail, code))
        self._scope.cancel()

    def stop_reading(self) -> None:
        """Take in no more events; answers and heartbeats still go out."""
        self._takes_events = False

    async def close(self, reason: DisconnectReason) -> None:
        """Part with the server in good order, in bounded time; returns when the connection is gone.

        The answers there are go out, then the close frame (1000). Until the server's own comes, what it
        still sends is taken in; later answers take another connection. Cancelling this ends it at once.
        """
        assert self._line is not None
        try:
            with trio.move_on_after(_CLOSE_TIMEOUT):
                await self.outbox.wait_at_most(0)
                self._retire(Ended(reason))
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    await self._line.finish(self._frames.close(1000))
                    await self.gone.wait()
        finally:
            self.end(reason)
        await self.gone.wait()

    def post(self, item: Outgoing) -> None:
        """Have a message written by this connection; by another if this one has ended and it may be."""
        if self.ended is not None:
            if item.portable:
                self._wiring.relay.forward(item)
        elif self.owed or self.outbox.items or not self._write_now(item):
            self.outbox.put(item)

    def _write_now(self, item: Outgoing) -> bool:
        """Write a message that no other will come with, and spare it the ack-writer's turn; False if that cannot be."""
        assert self._line is not None
        assert self._websocket is not None
        if self._websocket.closed is not None:
            return False  # the reader will find out how
        data = encode_message(item.data)
        sent = self._line.send_now(data)
        if sent == len(data):
            if item.sent is not None:
                item.sent()
        elif sent:
            self.outbox.adopt(item)
        return sent > 0

    async def _live(self) -> None:
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read, name="feishu_trio reader")
                nursery.start_soon(self._read_others, name="feishu_trio reader of others")
                nursery.start_soon(self._beat, name="feishu_trio heartbeat")
                nursery.start_soon(self._write, name="feishu_trio ack-writer")

    def _join(self) -> None:
        wiring = self._wiring
        wiring.on_up(self)  # what it sends goes first
        self.since = trio.current_time()
        wiring.relay.joined(self)
        if wiring.lifecycle.is_followed:
            wiring.lifecycle.publish(
                Connected(connection_id=self.id, service_id=self.endpoint.service_id, attempt=self._attempt)
            )

    def _retire(self, ended: Ended) -> None:
        """From here on others write what this connection has not written."""
        if self.ended is None:
            self.ended = ended
            if self._is_up:
                self._wiring.relay.left(self)

    def _leave(self) -> None:
        if self._is_up:
            wiring = self._wiring
            self._retire(Ended(DisconnectReason.SESSION_CLOSED))
            assert self.ended is not None
            lived = trio.current_time() - self.since
            logger.info("connection %s ended after %.1f s: %s", self.id, lived, self.ended)
            if wiring.lifecycle.is_followed:
                wiring.lifecycle.publish(
                    Disconnected(
                        connection_id=self.id,
                        reason=self.ended.reason,
                        detail=self.ended.detail,
                        code=self.ended.code,
                        lived=lived,
                    )
                )
        self.gone.set()

    @property
    def _is_up(self) -> bool:
        return self.since > -math.inf

    # Reader

    async def _read(self) -> None:
        """Read whole binary messages, as many as come at once, until the line ends."""
        assert self._line is not None
        size = self._wiring.config.receive_buffer_size
        clock = trio.lowlevel.current_clock().current_time
        await self._wiring.ready.wait()
        while (messages := await self._line.receive_messages(size)) is not None:
            self._inbound += 1
            if self._inbound == 1:  # since the last ping
                self._heard.unpark_all()
            now = clock()
            for message in messages:
                wait = self._take(message, now)
                if wait is not None:
                    await self._hold(wait)
            if len(self.outbox) > _BACKLOG:
                await self._hold(lambda: self.outbox.wait_at_most(_BACKLOG))
            if self._line.is_clogged:
                await self._hold(self._line.wait_unclogged)
        await trio.sleep(_LAST_WORDS)  # the reader of others knows better how it ended, if it gets to it
        self.end(*(self._line.fault or (DisconnectReason.END_OF_FILE, "")))

    async def _read_others(self) -> None:
        """Read what trio-websocket makes of all else: messages in fragments or text, and the end."""
        assert self._websocket is not None
        await self._wiring.ready.wait()
        while True:
            try:
                message = await self._websocket.get_message()
            except ConnectionClosed as closed:
                self._closed(closed)
                return
            if isinstance(message, bytes):
                wait = self._take(message, trio.current_time())
            else:
                wait = self._wiring.take_text(self, message) if self._takes_events else None
            if wait is not None:
                await wait()

    def _take(self, message: bytes, now: float) -> Callable[[], Awaitable[None]] | None:
        """Take one binary message; what is returned must be awaited before the next: a pool is full."""
        try:
            frame = decode_frame(message)
            kind = frame.headers.get("type")
            if frame.method == DATA and kind == "event" and self._takes_events:
                payload = self._assembler.add(frame, now)
                if payload is not None:
                    headers = frame.headers
                    message_id, trace_id = headers.get("message_id", ""), headers.get("trace_id", "")
                    self.owed += 1
                    return self._wiring.deliveries.accept(
                        Arrival(self, frame, payload, message_id, trace_id, now)
                    )
            elif frame.method == CONTROL and kind == "pong":
                self._pong(frame)
            # "card" is the old callback, which clients ignore; others are of tomorrow
        except FrameError as error:
            if message.lstrip()[:1] == b"{" and self._takes_events:  # no frame, but maybe JSON
                return self._wiring.take_text(self, message)
            self._bad_frame(error)
        return None

    async def _hold(self, wait: Callable[[], Awaitable[None]]) -> None:
        """Read nothing until `wait` is over. Silence in that time is our own, not the server's."""
        self._held_since = trio.current_time()
        try:
            await wait()
        finally:
            self._held += trio.current_time() - self._held_since
            self._held_since = None

    def _pong(self, frame: Frame) -> None:
        now = trio.current_time()
        wiring = self._wiring
        rtt: float | None = None
        if self._asked_at is not None:
            rtt = now - self._asked_at
            interval = None if self._ponged_at is None else now - self._ponged_at
            wiring.heartbeat.record(rtt, interval, self._pace.interval(self.client_config.ping_interval))
            self._asked_at = None
            self._ponged_at = now
        if wiring.lifecycle.is_followed:
            wiring.lifecycle.publish(PongReceived(connection_id=self.id, rtt=rtt))
        if frame.payload and frame.payload != self._told:
            self._told = frame.payload  # the same again needs no second warning
            self.client_config = ClientConfig.parse_json(frame.payload) or self.client_config

    def _bad_frame(self, error: FeishuError) -> None:
        counters = self._wiring.counters
        counters.bad_frames += 1
        if counters.bad_frames <= _COMPLAINTS or counters.bad_frames % _COMPLAIN_EVERY == 0:
            logger.warning(
                "connection %s: bad frame dropped (the %d. so far): %s", self.id, counters.bad_frames, error
            )
        if self._wiring.lifecycle.is_followed:
            self._wiring.lifecycle.publish(ErrorOccurred(where="frame", error=error))

    def _closed(self, closed: ConnectionClosed) -> None:
        assert self._line is not None
        if closed.reason is None or closed.reason.code == CloseReason.ABNORMAL_CLOSURE:
            self.end(*(self._line.fault or (DisconnectReason.PROTOCOL_ERROR, "")))
        else:
            # These codes are our own verdict on what the server sent.
            invalid = closed.reason.code in (1002, 1007, 1009)
            reason = DisconnectReason.PROTOCOL_ERROR if invalid else DisconnectReason.CLOSED_BY_SERVER
            self.end(reason, shown(closed.reason.reason or ""), closed.reason.code)

    # Heartbeat

    async def _beat(self) -> None:
        """Ping at the interval; without a sign of life in time, probe, and then give the connection up."""
        while True:
            self._asked_at = None
            if await self._answers(self._wiring.config.pong_timeout, probe=False):
                self._pace.answered()
            else:
                await self._probe()
            while await self._rest():
                logger.info("the machine seems to have slept: connection %s is probed", self.id)
                await self._probe()

    async def _rest(self) -> bool:
        """Sleep until the next ping is due; True if the machine slept meanwhile."""
        due = self._pinged_at + self._pace.interval(self.client_config.ping_interval)
        return await sleep_awake(due - trio.current_time())

    async def _probe(self) -> None:
        """Ask quickly, and give the connection up if nothing comes."""
        self.is_overdue = True
        patience = self._wiring.config.pong_timeout / 3
        for _ in range(_PROBES):
            if await self._answers(patience, probe=True):
                self.is_overdue = False
                return
        self.end(DisconnectReason.NO_PONG, f"{_PROBES} probes had no answer")
        await trio.lowlevel.checkpoint_if_cancelled()

    async def _answers(self, patience: float, *, probe: bool) -> bool:
        """Ping, and again from time to time; whether anything comes within `patience`."""
        times = max(round(patience / _ASK_AGAIN), 1)
        for _ in range(times):
            self._ping(probe=probe)
            if await self._hears_within(patience / times):
                return True
        return False

    def _ping(self, *, probe: bool) -> None:
        self._pinged_at = trio.current_time()
        if self._asked_at is None:
            self._asked_at = self._pinged_at
        self._inbound = 0
        self.outbox.put(Outgoing(encode_ping(self.endpoint.service_id), portable=False))
        if self._wiring.lifecycle.is_followed:
            self._wiring.lifecycle.publish(PingSent(connection_id=self.id, probe=probe))

    async def _hears_within(self, patience: float) -> bool:
        """Whether anything came since the last ping. The time that nobody read does not count."""
        start = trio.current_time() - self._time_held()
        while not self._inbound:
            left = start + patience - (trio.current_time() - self._time_held())
            if left <= 0:
                return False
            # While nobody reads, `left` stays as it is: it must not become a busy loop.
            with trio.move_on_after(max(left, 0.1)):
                await self._heard.park()
        return True

    def _time_held(self) -> float:
        now_held = 0.0 if self._held_since is None else trio.current_time() - self._held_since
        return self._held + now_held

    # Ack-writer

    async def _write(self) -> None:
        """Write what the outbox has, many messages in one go."""
        assert self._websocket is not None
        assert self._line is not None
        outbox, line, websocket = self.outbox, self._line, self._websocket
        while True:
            batch = await outbox.take(_BATCH)
            if websocket.closed is not None:
                await trio.sleep_forever()  # the reader will find out how, and end the connection
            try:
                await line.send_all(encode_messages([item.data for item in batch]))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                await trio.sleep(_LAST_WORDS)  # the reader may know better
                self.end(*(line.fault or (DisconnectReason.RESET, "")))
                return
            outbox.written()
