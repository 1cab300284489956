"""Opening the byte stream that a connection runs over: TCP, through a proxy or not, and TLS for `wss`."""

from __future__ import annotations

import functools
import ssl

import trio

from ..config import SessionConfig
from ..errors import ConnectError
from .proxies import open_through_proxy, proxy_for
from .tcp import TCPStream

__all__ = ["default_ssl_context", "open_stream"]


@functools.cache
def default_ssl_context() -> ssl.SSLContext:
    """The context that httpx would use: certificates are checked. One for all sessions, for it is large."""
    import httpx

    return httpx.create_ssl_context()


async def open_stream(host: str, port: int, *, tls: bool, config: SessionConfig) -> trio.abc.Stream:
    """Open a stream to `host`; on cancellation nothing is left open. The caller sets the deadline.

    Raises:
        ConnectError: No way there, or nobody whose certificate can be believed.
    """
    stream: trio.abc.Stream
    try:
        if config.dial is not None:
            stream = await config.dial(host, port)
        elif proxy := proxy_for(host, port, tls=tls, config=config):
            stream = await open_through_proxy(proxy, host, port, ssl_context=config.ssl_context)
        else:
            stream = await trio.open_tcp_stream(host, port)
    except OSError as error:
        raise ConnectError(f"{host}:{port} could not be reached: {error}") from error
    if isinstance(stream, trio.SocketStream) and config.dial is None:  # no other is ours to take apart
        stream = TCPStream(stream)
    if not tls:
        return stream
    secured = trio.SSLStream(
        stream,
        config.ssl_context or default_ssl_context(),
        server_hostname=host,
        https_compatible=True,
    )
    try:
        await secured.do_handshake()
    except BaseException as error:
        await trio.aclose_forcefully(stream)
        if isinstance(error, trio.BrokenResourceError):
            raise ConnectError(f"TLS with {host}:{port} failed: {error.__cause__ or error}") from error
        raise
    return secured
