"""A TCP proxy in front of a server, whose network stalls or breaks when told to."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import trio

_HANDSHAKE: Final = b"\x16"  # the first byte of TLS, and of no command


class Proxy:
    """Hands bytes on between clients and a server."""

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        self.server_port = port
        self._context = context
        self.port = 0
        self.over_tls = 0
        """How many clients have begun with TLS."""
        self._flows = trio.Event()
        self._flows.set()
        self._replies_left: int | None = None
        self._clients = 0
        self._forgotten = 0
        self._scopes: set[trio.CancelScope] = set()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def stall(self, *, after: int | None = None) -> None:
        """Hand nothing more on; or go on until so many more bytes have come from the server, in the midst of a reply."""
        if after is None:
            self._flows = trio.Event()
        self._replies_left = after

    def forget(self) -> None:
        """Hand nothing more on over the connections there are, as what has forgotten them; later ones are served."""
        self._forgotten = self._clients

    def go_on(self) -> None:
        """Hand on again, what was held back, too."""
        self._replies_left = None
        self._flows.set()

    def cut(self) -> None:
        """Break every connection there is."""
        for scope in self._scopes:
            scope.cancel()
        self.go_on()

    async def serve(self, stream: trio.SocketStream) -> None:
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            self._clients += 1
            client_number = self._clients
            try:
                client: trio.abc.Stream = stream
                if self._context is not None and await stream.socket.recv(1, socket.MSG_PEEK) == _HANDSHAKE:
                    self.over_tls += 1
                    client = trio.SSLStream(stream, self._context, server_side=True)
                async with (
                    client,
                    await trio.open_tcp_stream("127.0.0.1", self.server_port) as server,
                    trio.open_nursery() as nursery,
                ):
                    nursery.start_soon(self._hand_on, client, server, client_number, False)
                    nursery.start_soon(self._hand_on, server, client, client_number, True)
            except OSError:
                pass  # there is no server
            finally:
                self._scopes.discard(scope)

    async def _hand_on(
        self, source: trio.abc.Stream, sink: trio.abc.Stream, client_number: int, is_reply: bool
    ) -> None:
        try:
            while data := await source.receive_some():
                if client_number <= self._forgotten:
                    await trio.sleep_forever()
                await self._flows.wait()
                if is_reply and self._replies_left is not None:
                    first, data = data[: self._replies_left], data[self._replies_left :]
                    self._replies_left -= len(first)
                    if first:
                        await sink.send_all(first)
                    if not data:
                        continue
                    self._flows, self._replies_left = trio.Event(), None
                    await self._flows.wait()
                await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            for stream in (source, sink):
                await trio.aclose_forcefully(stream)


@asynccontextmanager
async def open_proxy(port: int, context: ssl.SSLContext | None = None) -> AsyncGenerator[Proxy, None]:
    """A proxy in front of a port; with a context its clients may speak TLS."""
    proxy = Proxy(port, context)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    proxy.port = listeners[0].socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, proxy.serve, listeners)
        yield proxy
        nursery.cancel_scope.cancel()
