"""What a gateway has seen: connections, requests, pings, texts, messages, violations."""

from __future__ import annotations

from collections.abc import Sequence

from trio_util import AsyncValue

from ._connection import GatewayConnection
from ._http import Request
from ._messages import Message
from ._openapi import OpenApi, RefusedCall
from ._platform import Platform
from ._server import Server


class Observations:
    """The part of `Gateway` that shows what clients did, and waits for it."""

    __slots__ = ()

    _server: Server
    _platform: Platform
    _api: OpenApi

    @property
    def connections(self) -> tuple[GatewayConnection, ...]:
        """The live connections, oldest first."""
        return tuple(self._platform.live)

    @property
    def connected(self) -> AsyncValue[int]:
        """The number of live connections, to be waited on: `await gateway.connected.wait_value(0)`."""
        return self._platform.connected

    @property
    def requests(self) -> Sequence[Request]:
        """The last 10,000 HTTP requests, upgrades among them, oldest first; without bodies of more than 1 MiB."""
        return self._server.requests

    @property
    def pings(self) -> Sequence[tuple[float, GatewayConnection]]:
        """Every ping received: when, by trio's clock, and on which connection."""
        return self._platform.pings

    @property
    def texts(self) -> Sequence[object]:
        """Every text message received: decoded if it is JSON, else as it was."""
        return self._platform.texts

    @property
    def violations(self) -> Sequence[str]:
        """Where clients broke the protocol, in words. Empty for a correct client."""
        return self._platform.violations

    @property
    def messages(self) -> Sequence[Message]:
        """What bots sent through the API, oldest first: messages, edits of them, updates of cards by token."""
        return self._api.sent.all

    @property
    def refused(self) -> Sequence[RefusedCall]:
        """The last 1,000 calls of the API that were refused, oldest first. Empty for a bot that makes no mistakes."""
        return self._api.refused

    async def wait_connected(self, n: int = 1) -> tuple[GatewayConnection, ...]:
        """Wait until at least `n` clients are connected; returns the connections."""
        await self.connected.wait_value(lambda count: count >= n)
        return self.connections

    async def wait_message(self, n: int = 1) -> Message:
        """Wait until bots sent at least `n` messages; returns the `n`th."""
        await self._api.sent.count.wait_value(lambda count: count >= n)
        return self.messages[n - 1]

    async def wait_ping(self, n: int = 1) -> GatewayConnection:
        """Wait until at least `n` pings were received; returns the connection of the `n`th."""
        await self._platform.pinged.wait_value(lambda count: count >= n)
        return self.pings[n - 1][1]
