"""The way through a proxy: which one, and a byte stream to the host behind it.

HTTP proxies are spoken to with httpcore's own client (CONNECT), SOCKS5 with socksio, as httpx does.
"""

from __future__ import annotations

from base64 import b64encode
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import trio

from ..config import SessionConfig
from ..errors import ConfigError, ConnectError

if TYPE_CHECKING:
    import ssl

    import httpcore

__all__ = ["open_through_proxy", "proxy_for"]


def proxy_for(host: str, port: int, *, tls: bool, config: SessionConfig) -> str | None:
    """The URL of the proxy for a host: the setting, else what the environment says of `HTTPS_PROXY` (or
    `HTTP_PROXY` without TLS), `ALL_PROXY` and `NO_PROXY`; None for the direct way.
    """
    if config.proxy is not None:
        return config.proxy
    proxies = getproxies()
    url = proxies.get("https" if tls else "http") or proxies.get("all")
    if not url or proxy_bypass(f"{host}:{port}"):
        return None
    return url if "://" in url else f"http://{url}"


async def open_through_proxy(
    proxy: str, host: str, port: int, *, ssl_context: ssl.SSLContext | None
) -> trio.abc.Stream:
    """Open a stream to a host behind a proxy. The caller sets the deadline.

    `ssl_context` is for a proxy whose own URL is `https`; None for httpx's usual one.

    Raises:
        ConnectError: The proxy cannot be reached, or refuses. The text never holds its credentials.
        ConfigError: A SOCKS proxy, and the extra for it is not installed.
    """
    import httpcore

    parts = urlsplit(proxy)
    try:
        if parts.scheme.startswith("socks"):
            return await _through_socks(parts, host, port)
        return await _through_http(parts, host, port, ssl_context)
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError) as error:
        reason = str(error) or type(error).__name__
        raise ConnectError(f"the proxy {_address(parts)} gave no way to {host}:{port}: {reason}") from error


async def _through_http(
    proxy: SplitResult, host: str, port: int, ssl_context: ssl.SSLContext | None
) -> trio.abc.Stream:
    import httpcore

    target = _host_port(host, port)
    headers = [(b"Host", target), (b"Accept", b"*/*")]
    if proxy.username is not None:
        credentials = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        headers.append((b"Proxy-Authorization", b"Basic " + b64encode(credentials.encode())))
    scheme, at = proxy.scheme.encode(), (proxy.hostname or "").encode()
    at_port = proxy.port or (443 if proxy.scheme == "https" else 80)
    connection = httpcore.AsyncHTTPConnection(
        httpcore.Origin(scheme, at, at_port),
        ssl_context=ssl_context,
    )
    try:
        url = httpcore.URL(scheme=scheme, host=at, port=at_port, target=target)
        response = await connection.handle_async_request(httpcore.Request(b"CONNECT", url, headers=headers))
        if not 200 <= response.status <= 299:
            hint = ": check the user and password in its URL" if response.status == 407 else ""
            raise ConnectError(
                f"the proxy {_address(proxy)} refused the way to {host}:{port} "
                f"with HTTP status {response.status}{hint}"
            )
        return _Tunnel(response.extensions["network_stream"])
    except BaseException:
        with trio.CancelScope(deadline=trio.current_time() + 1, shield=True), suppress(httpcore.NetworkError):
            await connection.aclose()
        raise


async def _through_socks(proxy: SplitResult, host: str, port: int) -> trio.abc.Stream:
    try:
        from socksio import socks5
        from socksio.exceptions import SOCKSError
    except ImportError:
        raise ConfigError(
            f"the proxy {_address(proxy)} speaks SOCKS, which takes an extra: pip install 'feishu-trio[socks]'"
        ) from None
    stream = await trio.open_tcp_stream(proxy.hostname or "", proxy.port or 1080)
    try:
        protocol = socks5.SOCKS5Connection()

        async def exchange(request: object) -> object:
            protocol.send(request)
            await stream.send_all(protocol.data_to_send())
            answer = await stream.receive_some(4096)
            if not answer:
                raise SOCKSError("it hung up")
            return protocol.receive_data(bytes(answer))

        if proxy.username is None:
            method = socks5.SOCKS5AuthMethod.NO_AUTH_REQUIRED
        else:
            method = socks5.SOCKS5AuthMethod.USERNAME_PASSWORD
        chosen = await exchange(socks5.SOCKS5AuthMethodsRequest([method]))
        if not isinstance(chosen, socks5.SOCKS5AuthReply) or chosen.method != method:
            raise SOCKSError("it wants another kind of authentication")
        if proxy.username is not None:
            user, password = unquote(proxy.username), unquote(proxy.password or "")
            reply = await exchange(socks5.SOCKS5UsernamePasswordRequest(user.encode(), password.encode()))
            if not isinstance(reply, socks5.SOCKS5UsernamePasswordReply) or not reply.success:
                raise SOCKSError("check the user and password in its URL")
        # The proxy looks the name up, for it may know hosts that we do not.
        request = socks5.SOCKS5CommandRequest.from_address(
            socks5.SOCKS5Command.CONNECT, (host.encode(), port)
        )
        reply = await exchange(request)
        if not isinstance(reply, socks5.SOCKS5Reply) or reply.reply_code != socks5.SOCKS5ReplyCode.SUCCEEDED:
            code = getattr(reply, "reply_code", None)
            raise SOCKSError(getattr(code, "name", "an odd answer").replace("_", " ").lower())
    except BaseException as error:
        await trio.aclose_forcefully(stream)
        if isinstance(error, SOCKSError | trio.BrokenResourceError):
            raise ConnectError(
                f"the proxy {_address(proxy)} gave no way to {host}:{port}: {error}"
            ) from error
        raise
    return stream


class _Tunnel(trio.abc.Stream):
    """httpcore's stream as one of trio's."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        import httpcore

        try:
            await self._stream.write(bytes(data))
        except httpcore.NetworkError as error:
            raise trio.BrokenResourceError(str(error)) from error.__cause__

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        import httpcore

        try:
            return await self._stream.read(max_bytes or 65536)
        except httpcore.NetworkError as error:
            raise trio.BrokenResourceError(str(error)) from error.__cause__

    async def aclose(self) -> None:
        await self._stream.aclose()


def _host_port(host: str, port: int) -> bytes:
    return (f"[{host}]:{port}" if ":" in host else f"{host}:{port}").encode()


def _address(proxy: SplitResult) -> str:
    """The proxy's URL without its user and password."""
    return f"{proxy.scheme}://{proxy.hostname}" + (f":{proxy.port}" if proxy.port else "")
