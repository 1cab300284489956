"""One connection: the handshake, then reader, heartbeat and ack-writer as siblings, then an orderly end."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Final

import msgspec
import trio
from trio_websocket import WebSocketConnection
from wsproto.frame_protocol import FrameProtocol

from ..config.secrets import masked
from ..errors import ConfigError, ConnectError, RefusedError, first_error
from ..telemetry import Telemetry
from ..wire import encode_message, encode_messages
from .client_config import ClientConfig
from .dial import open_stream
from .discovery import Endpoint, shown
from .ending import DisconnectReason, Ended
from .handshake import NO_WEBSOCKET, handshake_error, shake_hands
from .line import Line
from .outbox import Outbox, Outgoing
from .pace import Pace
from .reader import LAST_READ, Reader
from .shared import Shared
from .texts import TextMessages
from .watchdog import Watchdog

__all__ = ["CONNECT_ERRORS", "Connection", "defect"]

CONNECT_ERRORS: Final = (ConnectError, RefusedError, ConfigError)
"""What a try to connect may raise. All else is a defect, here or in a function of the user's."""

# Answers written in one go.
_BATCH: Final = 256
# The close handshake, on our way out.
_CLOSE_TIMEOUT: Final = 2.0


class Connection:
    """A connection to `endpoint`, which is good for one only. Its life is `run`."""

    def __init__(self, endpoint: Endpoint, shared: Shared, pace: Pace, *, attempt: int) -> None:
        config = shared.config
        self.endpoint = endpoint
        self.outbox = Outbox()
        self.since = -math.inf
        """When it came up, on trio's clock."""
        self.ended: Ended | None = None
        self.owed = 0
        """Answers that are still to be given to what came on it."""
        self.closed = trio.Event()
        """Set once the connection has ended and its socket is closed."""
        self._shared = shared
        self._attempt = attempt
        self._watchdog = Watchdog(
            endpoint,
            pace,
            self.outbox,
            shared.telemetry,
            pong_timeout=config.pong_timeout,
            give_up=lambda reason: self.end(DisconnectReason.NO_PONG, reason),
        )
        self._texts = TextMessages(self, shared)
        self._websocket: WebSocketConnection | None = None
        self._line: Line | None = None
        self._reader: Reader | None = None
        self._scope = trio.CancelScope()

    def __repr__(self) -> str:
        return f"<Connection {self.endpoint.device_id or '?'} to {self.endpoint.host}>"

    @property
    def id(self) -> str:
        """The connection's id, as the server gave it."""
        return self.endpoint.device_id

    @property
    def client_config(self) -> ClientConfig:
        """What the server asks of its clients."""
        return self._watchdog.client_config

    @property
    def is_overdue(self) -> bool:
        """Whether a heartbeat was not answered in time, and the connection is being probed."""
        return self._watchdog.is_overdue

    @property
    def is_authenticated(self) -> bool:
        """Whether the server has accepted the app access token, if it is sent one."""
        return self._texts.is_authenticated

    # Life

    async def run(self, *, task_status: trio.TaskStatus[Connection] = trio.TASK_STATUS_IGNORED) -> None:
        """Connect, and live until the connection ends; `ended` tells how. Cancellation closes it at once.

        The deadline for getting to `task_status.started` is the caller's.

        Raises:
            ConnectError: It could not be established; worth another try.
            RefusedError: The server refused the app.

        Anything else, also of a function of the user's, is logged as a defect, and ends this connection as a broken
        stream would.
        """
        endpoint, config = self.endpoint, self._shared.config
        try:
            stream = await open_stream(endpoint.host, endpoint.port, tls=endpoint.tls, config=config)
        except Exception as error:
            if isinstance(error, CONNECT_ERRORS):
                raise
            raise self._defect(error) from error
        line = self._line = Line(stream, config.max_message_size)
        failure: BaseException | None = None
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    websocket = self._websocket = await shake_hands(nursery, line, endpoint, config)
                    self._reader = Reader(
                        self, line, websocket, self._shared, self._texts, self._watchdog, self._end
                    )
                    self._join()
                    task_status.started(self)
                    await self._live(nursery, self._reader)
        except BaseExceptionGroup as group:
            first = first_error(group)
            if first is None:
                raise
            failure = self._failure(first)
        finally:
            try:
                await trio.aclose_forcefully(line)
            except Exception as odd:  # it may be a stream of the user's
                self._defect(odd)
            finally:
                self._leave()
        if failure is not None:
            raise failure from failure.__cause__  # not in the `except`: what it came of may hold the whole URL

    def end(self, reason: DisconnectReason, detail: str = "", code: int | None = None) -> None:
        """End the connection at once; the first reason counts."""
        self._end(Ended(reason, detail, code))

    def succeed(self, other: Connection) -> None:
        """It has taken the place of another without a gap: the intervals of heartbeat messages go on."""
        self._texts.last_heartbeat = other._texts.last_heartbeat

    async def close(self, reason: DisconnectReason) -> None:
        """Part with the server in good order, in bounded time; returns when the connection is closed.

        The answers there are go out, then the close frame (1000). Until the server's own comes, what it
        still sends is taken in; later answers take another connection. Cancelling this ends it at once.
        """
        assert self._line is not None
        try:
            with trio.move_on_after(_CLOSE_TIMEOUT):
                await self.outbox.wait_at_most(0)
                self._retire(Ended(reason))
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    goodbye = FrameProtocol(client=True, extensions=[]).close(1000)
                    await self._line.writer.finish(goodbye)
                    await self.closed.wait()
        except Exception as error:
            self._defect(error)
        finally:
            self.end(reason)
        await self.closed.wait()

    # Writing

    def post(self, item: Outgoing) -> None:
        """Have a message written by this connection; by another if this one has ended and it may be."""
        if self.ended is not None:
            if item.portable:
                self._shared.relay.forward(item)
        elif self.owed or self.outbox.items or not self._write_now(item):
            self.outbox.put(item)
        if not self.owed and self._shared.relay.is_awaited:
            self._shared.relay.look_for_answered()

    def send_here(self, item: Outgoing) -> None:
        """Have a message written by this connection, or by none: it is for this peer alone."""
        if self.ended is None:
            self.post(item)

    def _write_now(self, item: Outgoing) -> bool:
        """Write a message that no other will come with, and spare it the ack-writer's turn; False if that cannot be."""
        assert self._line is not None
        assert self._websocket is not None
        if self._websocket.closed is not None:
            return False  # the reader will find out how
        data = encode_message(item.data)
        writer = self._line.writer
        sent = writer.send_now(data)
        if sent == len(data) and not writer.pending:
            if item.sent is not None:
                item.sent()
        elif sent:
            self.outbox.adopt(item)
        return sent > 0

    async def _write(self) -> None:
        """The ack-writer: write what the outbox has, many messages in one go."""
        assert self._websocket is not None
        assert self._line is not None
        outbox, line, websocket = self.outbox, self._line, self._websocket
        while True:
            batch = await outbox.take(_BATCH)
            if websocket.closed is not None:
                await trio.sleep_forever()  # the reader will find out how, and end the connection
            try:
                await line.writer.send_all(encode_messages([item.data for item in batch]))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                await trio.sleep(LAST_READ)  # there may be a close frame yet to be read
                self._end(Ended(*(line.end.fault or (DisconnectReason.RESET, ""))))
                return
            outbox.written()

    # Inside

    async def _live(self, nursery: trio.Nursery, reader: Reader) -> None:
        nursery.start_soon(self._watchdog.run, name="feishu_trio heartbeat")
        nursery.start_soon(self._write, name="feishu_trio ack-writer")
        await self._shared.engine.ready.wait()
        nursery.start_soon(reader.run, name="feishu_trio reader")
        await reader.run_others()

    def _join(self) -> None:
        self._texts.authenticate()  # what it sends goes first
        self.since = trio.current_time()
        self._shared.relay.joined(self)
        self._shared.telemetry.connected(self.id, self.endpoint.host, self.endpoint.service_id, self._attempt)

    def _failure(self, error: BaseException) -> BaseException | None:
        """What `run` raises for what came out of the connection's tasks; None if it is just the connection's end."""
        if self._is_up and isinstance(error, NO_WEBSOCKET):
            self.end(DisconnectReason.PROTOCOL_ERROR, shown(masked(error, *self.endpoint.secrets)))
            return None
        failure = handshake_error(self.endpoint, error) or error
        if isinstance(failure, CONNECT_ERRORS) or not isinstance(failure, Exception):
            return failure
        failure = self._defect(failure)
        if self._is_up:
            self.end(DisconnectReason.DEFECT, str(failure))
            return None
        return failure

    def _defect(self, error: Exception) -> ConnectError:
        """Report what nobody meant to raise, and return what it means: another connection may do better."""
        return defect(self._shared.telemetry, self.endpoint.host, error)

    def _end(self, ended: Ended) -> None:
        self._retire(ended)
        self._scope.cancel()

    def _retire(self, ended: Ended) -> None:
        """From here on others write what this connection has not written."""
        if self.ended is None:
            self.ended = msgspec.structs.replace(ended, detail=masked(ended.detail, *self.endpoint.secrets))
            if self._is_up:
                self._shared.relay.left(self)

    def _leave(self) -> None:
        if self._is_up:
            self._retire(Ended(DisconnectReason.SESSION_CLOSED))
            assert self.ended is not None
            ended, lived = self.ended, trio.current_time() - self.since
            self._shared.telemetry.disconnected(self.id, ended.reason, ended.detail, ended.code, lived)
        self.closed.set()

    @property
    def _is_up(self) -> bool:
        return self.since > -math.inf


def defect(telemetry: Telemetry, host: str, error: Exception) -> ConnectError:
    """Report what nobody meant to raise, and return what it means: another try may do better."""
    telemetry.connection_failed(host, error)
    failure = ConnectError(f"the connection to {host} failed by a defect: {type(error).__name__}")
    failure.__cause__ = error
    return failure
