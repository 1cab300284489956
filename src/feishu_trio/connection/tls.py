"""TLS over a byte stream, for a WebSocket, for HTTP and for a proxy alike: the one place where it is chosen."""

from __future__ import annotations

import functools
import ssl

import trio

from ..errors import ConnectError

__all__ = ["default_ssl_context", "secured"]


@functools.cache
def default_ssl_context() -> ssl.SSLContext:
    """The context that httpx would use: certificates are checked. One for all sessions, for it is large."""
    import httpx

    return httpx.create_ssl_context()


async def secured(stream: trio.abc.Stream, host: str, port: int, context: ssl.SSLContext) -> trio.abc.Stream:
    """TLS with `host` over a stream, which is closed if that fails, or is cancelled. The caller sets the deadline.

    Raises:
        ConnectError: The stream broke, or nobody is there whose certificate can be believed.
    """
    tls = trio.SSLStream(stream, context, server_hostname=host, https_compatible=True)
    try:
        await tls.do_handshake()
    except BaseException as error:
        await trio.aclose_forcefully(stream)
        if isinstance(error, trio.BrokenResourceError):
            raise ConnectError(f"TLS with {host}:{port} failed: {error.__cause__ or error}") from error
        raise
    return tls
