"""The gateway's end of one client's WebSocket."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
import trio
from wsproto import ConnectionType, WSConnection
from wsproto.connection import Connection, ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Message,
    Ping,
    RejectConnection,
    TextMessage,
)
from wsproto.utilities import RemoteProtocolError

from ._http import Response, Upgrade
from ._line import Line

NO_CLOSE_FRAME: Final = 1006
"""The code that stands for an end without a close frame; it is never sent (RFC 6455, 7.4.1)."""

PROTOCOL_ERROR: Final = 1002

_GRACE: Final = 3.0
"""Seconds a client has to answer a close frame."""


@attrs.define(eq=False)
class GatewayConnection:
    """A client's connection, live or ended."""

    device_id: str
    """The connection's id, from its URL."""
    service_id: int
    """From its URL; the frames carry it."""
    headers: Mapping[str, str] = attrs.field(repr=False)
    """Of the request that opened it; names in lower case."""
    opened_at: float
    """By trio's clock."""
    line: Line = attrs.field(repr=False)
    """The stream below it, which can be made slow, frozen or cut."""
    _ws: Connection = attrs.field(repr=False)
    _received: Callable[[GatewayConnection, bytes | str], None] = attrs.field(repr=False)
    _violated: Callable[[GatewayConnection, str], None] = attrs.field(repr=False)
    _left: Callable[[GatewayConnection], None] = attrs.field(repr=False)
    close_code: int | None = attrs.field(default=None, init=False)
    """The client's close code; 1005 if its close frame had none, None without a close frame (so far)."""
    close_reason: str | None = attrs.field(default=None, init=False)
    """The client's reason; empty if its close frame had none, None without a close frame (so far)."""
    _closed: trio.Event = attrs.field(factory=trio.Event, init=False, repr=False)

    @property
    def is_open(self) -> bool:
        """Whether neither side has begun to close it."""
        return self._ws.state is ConnectionState.OPEN and not self._closed.is_set()

    async def wait_closed(self) -> None:
        """Wait until it has ended, for whatever reason."""
        await self._closed.wait()

    def send(self, message: bytes | str) -> None:
        """Queue a binary or a text message; it is lost if the connection is not open."""
        if self.is_open:
            event = TextMessage(message) if isinstance(message, str) else BytesMessage(message)
            self.line.send(self._ws.send(event))

    def close(self, code: int, reason: str = "") -> None:
        """Begin to close: `NO_CLOSE_FRAME` just ends the stream, other codes go into a close frame with the reason."""
        self._left(self)
        if code == NO_CLOSE_FRAME:
            self.line.cut(reset=False)
        elif self.is_open:
            self.line.send(self._ws.send(CloseConnection(code, reason)))
            self.line.expire(_GRACE)

    def reset(self) -> None:
        """Reset the stream: the client sees an error."""
        self._left(self)
        self.line.cut(reset=True)

    async def serve(self) -> None:
        """Pass every message to `received`, until the connection ends."""
        try:
            ended = False
            parts: list[Any] = []
            while not ended:
                for event in self._ws.events():
                    if isinstance(event, Message):
                        parts.append(event.data)
                        if event.message_finished:
                            text = isinstance(event, TextMessage)
                            self._received(self, "".join(parts) if text else b"".join(parts))
                            parts = []
                    elif isinstance(event, Ping):
                        if self.is_open:
                            self.line.send(self._ws.send(event.response()))
                    elif isinstance(event, CloseConnection):
                        self._on_close(event)
                        ended = True
                if not ended:
                    data = await self.line.receive()
                    ended = not data
                    if data:
                        self._ws.receive_data(data)
        finally:
            self._left(self)
            self._closed.set()

    def _on_close(self, event: CloseConnection) -> None:
        if self._ws.state is ConnectionState.OPEN:
            # not a close frame: wsproto reports bytes that it could not read
            self.close(int(event.code), event.reason or "")
            self._violated(self, f"the WebSocket protocol was broken: {event.reason}")
            return
        self.close_code, self.close_reason = int(event.code), event.reason
        if self._ws.state is ConnectionState.REMOTE_CLOSING:
            self.line.send(self._ws.send(event.response()))


def accept(upgrade: Upgrade, line: Line) -> Connection | Response:
    """Change to the WebSocket protocol, or return the refusal of a malformed request."""
    ws = WSConnection(ConnectionType.SERVER)
    try:
        ws.initiate_upgrade_connection(upgrade.raw_headers, upgrade.target)
    except RemoteProtocolError as error:
        hint = error.event_hint
        status = hint.status_code if isinstance(hint, RejectConnection) else 400
        return Response(status, str(error).encode(), (("Connection", "close"),))
    line.send(ws.send(AcceptConnection()))
    assert ws.connection is not None
    if upgrade.trailing:
        ws.connection.receive_data(upgrade.trailing)
    return ws.connection
