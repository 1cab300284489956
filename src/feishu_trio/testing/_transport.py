"""The gateway's HTTP side for httpx, without a socket."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import trio

from ._http import Request

if TYPE_CHECKING:
    from ._server import Server


class GatewayTransport(httpx.AsyncBaseTransport):
    """Passes requests to a gateway in the same process; the read timeout of httpx holds as over a socket."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer `request`. `httpx.ConnectError` while the gateway does not listen, `httpx.ReadTimeout` if the answer is late."""
        if not self._server.is_listening:
            raise httpx.ConnectError("the gateway does not listen", request=request)
        headers = {name.lower(): value for name, value in request.headers.items()}
        received = Request.of(
            request.method, request.url.raw_path.decode("ascii"), headers, await request.aread()
        )
        timeout = request.extensions.get("timeout", {}).get("read")
        response = None
        with trio.move_on_after(float("inf") if timeout is None else timeout):
            response = await self._server.answer(received)
            await trio.sleep(self._server.delay)
        if response is None:
            raise httpx.ReadTimeout(f"no answer within {timeout} s", request=request)
        if response.is_cut:
            raise httpx.RemoteProtocolError(
                "the connection ended in the middle of the answer", request=request
            )
        return httpx.Response(
            response.status, headers=response.raw_headers, content=response.body, request=request
        )
