"""Opening the byte stream that a connection runs over: TCP, through a proxy or not, and TLS for `wss`."""

from __future__ import annotations

import trio

from ..config import SessionConfig
from ..errors import ConnectError
from .proxies import open_through_proxy, proxy_for
from .tcp import TCPStream, connect_tcp
from .tls import default_ssl_context, secured

__all__ = ["open_stream"]


async def open_stream(host: str, port: int, *, tls: bool, config: SessionConfig) -> trio.abc.Stream:
    """Open a stream to `host`; on cancellation nothing is left open. The caller sets the deadline.

    Raises:
        ConnectError: No way there, or nobody whose certificate can be believed.
        ConfigError: `SSL_CERT_FILE` names no authorities to believe.
    """
    context = (config.ssl_context or default_ssl_context()) if tls else None
    stream: trio.abc.Stream
    try:
        if config.dial is not None:
            stream = await config.dial(host, port)
        elif proxy := proxy_for(host, port, tls=tls, config=config):
            stream = await open_through_proxy(proxy, host, port, ssl_context=config.ssl_context)
        else:
            stream = await connect_tcp(host, port)
    except OSError as error:
        raise ConnectError(f"{host}:{port} could not be reached: {error}") from error
    if isinstance(stream, trio.SocketStream) and config.dial is None:  # no other is ours to take apart
        stream = TCPStream(stream)
    if context is None:
        return stream
    return await secured(stream, host, port, context)
