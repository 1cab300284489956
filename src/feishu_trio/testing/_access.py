"""How clients reach a gateway: over a port, over streams in memory, over any stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ._server import Server

if TYPE_CHECKING:
    import httpx


class Access:
    """The part of `Gateway` that accepts clients, or refuses them."""

    __slots__ = ()

    _server: Server

    @property
    def domain(self) -> str:
        """The address to give to clients, e.g. `http://127.0.0.1:41234`."""
        return self._server.domain

    async def dial(self, host: str, port: int) -> trio.abc.Stream:
        """Open a stream to the gateway without a socket, for clients that accept a function to dial with.

        The address is ignored: this gateway answers. Nothing waits for the kernel, so trio's autojump clock
        can be used. Raises `ConnectionRefusedError` while the gateway does not listen.
        """
        await trio.lowlevel.checkpoint()
        if not self._server.is_listening:
            raise ConnectionRefusedError(f"the gateway does not listen (asked for {host}:{port})")
        return self._server.connect()

    @property
    def transport(self) -> httpx.AsyncBaseTransport:
        """A transport for `httpx.AsyncClient` that reaches the gateway without a socket."""
        from ._transport import GatewayTransport

        return GatewayTransport(self._server)

    async def serve_stream(self, stream: trio.abc.Stream) -> None:
        """Serve one client over any stream, until either side ends it."""
        await self._server.serve_stream(stream)

    async def stop_listening(self) -> None:
        """Refuse new clients, as a server that is down does; connected clients stay."""
        await self._server.stop_listening()

    async def start_listening(self) -> None:
        """Accept clients again, on the same port. Raises OSError if another process has the port now."""
        await self._server.start_listening()
