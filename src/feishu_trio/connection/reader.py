"""The reader of one connection: what is received goes to the engine, the watchdog or the text messages."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final, Protocol

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection
from wsproto.frame_protocol import CloseReason

from ..delivery import PATIENCE
from ..routes import RawMessage, name_of
from ..wire import BadFrame, Frame, Ignored, JsonMessage, Pong, Receiver
from .arrival import Answers, Arrival
from .discovery import shown
from .ending import DisconnectReason, Ended
from .line import Line
from .outbox import Outbox
from .shared import Shared
from .texts import TextMessages
from .watchdog import Watchdog

__all__ = ["LAST_READ", "Reader", "ended_by"]

LAST_READ: Final = 1.0
"""Seconds for which what was sent before the end may still be read, when writing fails, or the other reader is through."""

# Seconds for which what is read may have waited while nothing was read. It is taken to be read up in the same time.
_FURTHEST_BEHIND: Final = 2.0
# Answers waiting before reading stops to let them out.
_BACKLOG: Final = 4096


class Host(Answers, Protocol):
    """The connection that is read."""

    @property
    def id(self) -> str:
        """The connection's id."""

    @property
    def outbox(self) -> Outbox:
        """What it has to write."""


class Reader:
    """Reads one connection until it ends, and tells `end` how it did. Two tasks read: see `run` and `run_others`."""

    def __init__(
        self,
        connection: Host,
        line: Line,
        websocket: WebSocketConnection,
        shared: Shared,
        texts: TextMessages,
        watchdog: Watchdog,
        end: Callable[[Ended], object],
    ) -> None:
        self._connection = connection
        self._line = line
        self._websocket = websocket
        self._router = shared.router
        self._engine = shared.engine
        self._telemetry = shared.telemetry
        self._texts = texts
        self._watchdog = watchdog
        self._end = end
        self._ack_deadline = shared.config.ack_deadline
        self._buffer_size = shared.config.receive_buffer_size
        self._patience = PATIENCE
        self._spent_at = 0.0  # when some of it was last spent
        self._caught_up_at = -math.inf  # when what is read has not waited in the socket any more, presumably
        self._receiver = Receiver(max_assembled=shared.config.max_message_size * 4)

    async def run(self) -> None:
        """Read whole binary messages, as many as come at once, until the stream ends."""
        read, watchdog, outbox = self._line.reader, self._watchdog, self._connection.outbox
        clock = trio.lowlevel.current_clock().current_time
        while (messages := await read.receive_messages(self._buffer_size)) is not None:
            if not watchdog.has_heard:
                watchdog.heard(whole=bool(messages))
            now, received_at = clock(), time.time()
            # What came while nobody read has waited in the socket, and those who wait for an answer with it.
            behind = self._caught_up_at - now
            deadline = now + self._ack_deadline - (behind if behind > 0 else 0)
            for message in messages:
                waiting = self._receive(message, now, received_at, deadline)
                if waiting is not None:
                    await self._hold(self._within_patience(waiting))
            if len(outbox) > _BACKLOG:
                await self._hold(outbox.wait_at_most(_BACKLOG))
            if read.is_clogged:
                with self._texts.in_a_hurry():
                    await self._hold(read.wait_unclogged())
        await trio.sleep(LAST_READ)  # `run_others` knows better how it ended, if it gets to it
        self._end(Ended(*(self._line.end.fault or (DisconnectReason.END_OF_FILE, ""))))

    async def run_others(self) -> None:
        """Read what trio-websocket makes of all else: messages in fragments or text, and the end."""
        while True:
            try:
                message = await self._websocket.get_message()
            except ConnectionClosed as closed:
                self._end(ended_by(closed, self._line))
                return
            self._watchdog.heard()
            if isinstance(message, bytes):
                now = trio.current_time()
                waiting = self._receive(message, now, time.time(), now + self._ack_deadline)
                if waiting is not None:
                    await waiting
            else:
                if self._router.raw_handlers:
                    self._show_raw(message, time.time())
                await self._texts.receive(message.encode())

    def _receive(
        self, message: bytes, now: float, received_at: float, deadline: float
    ) -> Awaitable[object] | None:
        """Take one binary message. What is returned must be awaited before the next: a pool is full."""
        if self._router.raw_handlers:
            self._show_raw(message, received_at)
        match self._receiver.receive(message, now):
            case Frame(headers=headers) as frame:
                connection = self._connection
                delivery = Arrival(
                    connection,
                    frame.rest,
                    frame.payload,
                    headers.get("message_id", ""),
                    headers.get("trace_id", ""),
                    received_at,
                    now,
                    deadline,
                )
                connection.owed += 1
                try:
                    self._engine.accept_nowait(delivery)
                except trio.WouldBlock:
                    return self._engine.accept(delivery)
            case Pong(payload):
                self._watchdog.pong_received(payload)
            case JsonMessage(text):
                return self._texts.receive(text, may_wait=False)
            case BadFrame(error):
                self._telemetry.frame_dropped(self._connection.id, error)
            case Ignored(kind):
                self._telemetry.frame_ignored(self._connection.id, kind)
        return None

    def _show_raw(self, message: bytes | str, received_at: float) -> None:
        """Call whoever wants every message as it came."""
        raw = RawMessage(self._connection.id, message, datetime.fromtimestamp(received_at, UTC))
        for handler in self._router.raw_handlers:
            try:
                handler(raw)
            except Exception as error:
                self._telemetry.raw_handler_failed(name_of(handler), error)

    async def _within_patience(self, accepting: Awaitable[object]) -> None:
        """Wait for room for a second at the most, over all pools, and then for no longer than was read since.

        Each pool has its own patience. Several that are full would add them up, and who waits for an answer behind
        them would be answered too late.
        """
        start = trio.current_time()
        patience = min(PATIENCE, self._patience + start - self._spent_at)
        if not self._engine.ready.is_set():
            patience = math.inf  # nothing is full, but nobody is there yet
        with trio.move_on_after(patience):
            await accepting
        self._spent_at = trio.current_time()
        self._patience = min(PATIENCE, max(0.0, patience - (self._spent_at - start)))

    async def _hold(self, waiting: Awaitable[object]) -> None:
        """Read nothing until this is over. Silence in that time is our own, not the server's."""
        start = trio.current_time()
        self._watchdog.pause()
        try:
            await waiting
        finally:
            self._watchdog.resume()
            now = trio.current_time()
            behind = max(self._caught_up_at - start, 0) + now - start
            self._caught_up_at = now + min(behind, _FURTHEST_BEHIND)


def ended_by(closed: ConnectionClosed, line: Line) -> Ended:
    """How a connection ended, by what trio-websocket makes of it."""
    reason = closed.reason
    if reason is None or reason.code == CloseReason.ABNORMAL_CLOSURE:
        return Ended(*(line.end.fault or (DisconnectReason.PROTOCOL_ERROR, "")))
    # These codes are our own verdict on what the server sent.
    invalid = reason.code in (1002, 1007, 1009)
    return Ended(
        DisconnectReason.PROTOCOL_ERROR if invalid else DisconnectReason.CLOSED_BY_SERVER,
        shown(reason.reason or ""),
        reason.code,
    )
