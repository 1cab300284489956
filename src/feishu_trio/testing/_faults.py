"""Faults: what goes wrong with lines and live connections.

A new fault is a method here. What a fault needs of a stream of bytes is in `_line.py`, of a WebSocket in
`_connection.py`, of the frames that the platform sends in `_platform.py`.
"""

from __future__ import annotations

import msgspec
import trio

from ._connection import GatewayConnection
from ._platform import Platform
from ._server import Server


class Faults:
    """The part of `Gateway` that breaks lines and connections."""

    __slots__ = ()

    _server: Server
    _platform: Platform

    async def drop(
        self, code: int | None = None, reason: str = "", *, connection: GatewayConnection | None = None
    ) -> None:
        """End one connection, or all.

        `code` None resets the TCP connection, 1006 ends it without a close frame, any other code is sent in a
        close frame with `reason`, which the client has 3 s to answer.
        """
        for each in self._chosen(connection):
            if code is None:
                each.reset()
            else:
                each.close(code, reason)
        await trio.lowlevel.checkpoint()

    def freeze(self, connection: GatewayConnection | None = None) -> None:
        """Make one connection, or all live ones, half-open: it stays up and accepts bytes, and nothing comes back.

        The gateway still counts it as live, and delivers events to it. New connections are not frozen.
        """
        for each in self._chosen(connection):
            each.line.frozen.value = True

    def thaw(self, connection: GatewayConnection | None = None) -> None:
        """End `freeze`: what was held back in both directions arrives now."""
        for each in self._chosen(connection):
            each.line.frozen.value = False

    def delay(self, seconds: float, connection: GatewayConnection | None = None) -> None:
        """Delay all that is sent from now on by `seconds`: on one connection, or on all, new ones and HTTP included."""
        if connection is not None:
            connection.line.delay = seconds
            return
        self._server.delay = seconds
        for line in self._server.lines:
            line.delay = seconds

    def shift_clock(self, seconds: float) -> None:
        """Have the header Date of HTTP answers this far ahead of the time of day; behind it if below zero."""
        self._server.clock_ahead = seconds

    def lose_pongs(self, n: int = 0, *, chance: float = 0.0) -> None:
        """Do not answer the next `n` pings, nor, with probability `chance`, each later one."""
        self._platform.pongs_to_lose = n
        self._platform.loss = chance

    async def garbage(
        self,
        data: bytes | None = None,
        text: str | None = None,
        *,
        connection: GatewayConnection | None = None,
    ) -> None:
        """Send `data` as a binary message and `text` as a text message, unchecked, on one connection or all."""
        for each in self._chosen(connection):
            if data is not None:
                each.send(data)
            if text is not None:
                each.send(text)
        await trio.lowlevel.checkpoint()

    async def text(self, message: object, *, connection: GatewayConnection | None = None) -> None:
        """Send a text message (protocol, section 6): a string as it is, anything else as JSON; on one connection or all."""
        text = message if isinstance(message, str) else msgspec.json.encode(message).decode()
        await self.garbage(text=text, connection=connection)

    def _chosen(self, connection: GatewayConnection | None) -> tuple[GatewayConnection, ...]:
        return tuple(self._platform.live) if connection is None else (connection,)
