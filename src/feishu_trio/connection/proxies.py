"""The way through a proxy: which one, and a byte stream to the host behind it.

HTTP proxies are asked with CONNECT, in h11's words; SOCKS5 (RFC 1928, RFC 1929) is a few bytes, written here.
What a proxy answers is read as exactly as it is written, whatever the segments it comes in.
"""

from __future__ import annotations

import os
import ssl
from base64 import b64encode
from ipaddress import ip_address
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

import h11
import trio

from ..config import SessionConfig
from ..errors import ConfigError, ConnectError, first_error
from .tls import default_ssl_context, secured

__all__ = [
    "check_environment",
    "open_through_proxy",
    "proxy_for",
    "proxy_source",
    "shown_proxy",
    "speaks_http",
]

_PORTS: Final = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}

_SOCKS_REFUSALS: Final = {
    1: "general failure",
    2: "not allowed by its rules",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "time to live expired",
    7: "command not supported",
    8: "address type not supported",
}
_CHECK_PASSWORD: Final = "check the user and password in its URL"


class _Refused(Exception):
    """The proxy gave no way; the text says why, in words of our own."""


def proxy_for(host: str, port: int, *, tls: bool, config: SessionConfig) -> str | None:
    """The URL of the proxy for a host: the setting, else what the environment says of `HTTPS_PROXY` (or
    `HTTP_PROXY` without TLS), `ALL_PROXY` and `NO_PROXY`; None for the direct way.
    """
    if config.proxy is not None:
        return config.proxy
    from urllib.request import proxy_bypass

    proxies = _of_environment()
    url = proxies.get("https" if tls else "http") or proxies.get("all")
    if not url or proxy_bypass(f"{host}:{port}"):
        return None
    return _with_scheme(url)


def proxy_source(*, tls: bool, config: SessionConfig) -> str:
    """What names the proxy: the setting `proxy`, or a variable; empty if nothing does, whatever host it is for."""
    if config.proxy is not None:
        return "the setting proxy"
    proxies, variables = _of_environment(), {name.lower(): name for name in sorted(os.environ)}
    kind = next((kind for kind in ("https" if tls else "http", "all") if proxies.get(kind)), None)
    return variables.get(f"{kind}_proxy", "the system's settings") if kind else ""


def _of_environment() -> dict[str, str]:
    """The URLs that the environment, or else the system's settings, name, by kind."""
    from urllib.request import getproxies  # here, so that importing this package stays light

    return getproxies()


def shown_proxy(proxy: str) -> str:
    """A proxy's URL without its user and password."""
    parts = urlsplit(proxy)
    return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")


def check_environment() -> None:
    """See that the environment names no proxy that cannot be used.

    Raises:
        ConfigError: It does. The text never holds the URL, which may have a password in it.
    """
    proxies = _of_environment()
    if all(_is_usable(_with_scheme(proxies[kind])) for kind in ("http", "https", "all") if proxies.get(kind)):
        return
    raise ConfigError(
        "HTTP_PROXY, HTTPS_PROXY, ALL_PROXY or NO_PROXY: it cannot be used; "
        "a proxy is an http://, https:// or socks5:// URL with a host"
    )


def speaks_http(proxy: str) -> bool:
    """Whether a proxy can be asked for a page by its whole URL."""
    return urlsplit(proxy).scheme in ("http", "https")


async def open_through_proxy(
    proxy: str, host: str, port: int, *, ssl_context: ssl.SSLContext | None
) -> trio.abc.Stream:
    """Open a stream to a host behind a proxy; on cancellation nothing is left open. The caller sets the deadline.

    `ssl_context` is for a proxy whose own URL is `https`; None for httpx's usual one.

    Raises:
        ConnectError: The proxy cannot be reached, refuses, or makes no sense. The text never holds its credentials.
        ConfigError: `SSL_CERT_FILE` names no authorities to believe.
    """
    if not _is_usable(proxy):  # the environment may have changed
        raise ConnectError(f"no way to {host}:{port}: the proxy's URL cannot be used")
    parts = urlsplit(proxy)
    try:
        return await _open(parts, host, port, ssl_context)
    except (_Refused, ConnectError, OSError, trio.BrokenResourceError) as error:
        cause = (
            None if isinstance(error, ConnectError) else error.__cause__
        )  # a ConnectError's own text says why
        if isinstance(cause, BaseExceptionGroup):  # of the proxy's addresses, each with what is wrong with it
            cause = first_error(cause)
        reason = str(cause or error) or type(error).__name__
    raise ConnectError(f"the proxy {shown_proxy(proxy)} gave no way to {host}:{port}: {reason}")


async def _open(
    proxy: SplitResult, host: str, port: int, ssl_context: ssl.SSLContext | None
) -> trio.abc.Stream:
    at, at_port = proxy.hostname or "", proxy.port or _PORTS[proxy.scheme]
    stream: trio.abc.Stream = await trio.open_tcp_stream(at, at_port)
    try:
        if proxy.scheme == "https":
            stream = await secured(stream, at, at_port, ssl_context or default_ssl_context())
        if proxy.scheme.startswith("socks"):
            await _ask_socks(stream, proxy, host, port)
        else:
            await _ask_http(stream, proxy, host, port)
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


async def _ask_http(stream: trio.abc.Stream, proxy: SplitResult, host: str, port: int) -> None:
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    headers = [("Host", target), ("Accept", "*/*")]
    if proxy.username is not None:
        headers.append(("Proxy-Authorization", "Basic " + b64encode(b":".join(_credentials(proxy))).decode()))
    http = h11.Connection(h11.CLIENT)
    asked = http.send(h11.Request(method="CONNECT", target=target, headers=headers)) or b""
    await stream.send_all(asked + (http.send(h11.EndOfMessage()) or b""))
    event: h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED] = h11.NEED_DATA
    while not isinstance(event, h11.Response):
        try:
            event = http.next_event()
        except h11.RemoteProtocolError:
            raise _Refused("what it answers is no HTTP, or no whole response") from None
        if event is h11.NEED_DATA:
            http.receive_data(bytes(await stream.receive_some(4096)))
    if not 200 <= event.status_code <= 299:
        hint = f": {_CHECK_PASSWORD}" if event.status_code == 407 else ""
        raise _Refused(f"it refused with HTTP status {event.status_code}{hint}")
    if http.trailing_data[0]:
        raise _Refused("it sent bytes of its own after its response")


async def _ask_socks(stream: trio.abc.Stream, proxy: SplitResult, host: str, port: int) -> None:
    async def receive(size: int) -> bytes:
        # Never more than this: what follows the last reply is the host's.
        data = b""
        while len(data) < size:
            more = await stream.receive_some(size - len(data))
            if not more:
                raise _Refused("it hung up")
            data += more
        return data

    method = 0 if proxy.username is None else 2  # none, or user and password
    await stream.send_all(bytes([5, 1, method]))
    version, chosen = await receive(2)
    if version != 5:
        raise _Refused("it does not speak SOCKS5")
    if chosen != method:
        raise _Refused("it wants another kind of authentication: " + _CHECK_PASSWORD)
    if proxy.username is not None:
        user, password = _credentials(proxy)
        await stream.send_all(b"\x01" + _sized(user, "its user") + _sized(password, "its password"))
        _, status = await receive(2)
        if status != 0:
            raise _Refused(_CHECK_PASSWORD)
    await stream.send_all(b"\x05\x01\x00" + _socks_address(host) + port.to_bytes(2, "big"))
    version, code, _, kind = await receive(4)
    if version != 5:
        raise _Refused("it does not speak SOCKS5")
    if code != 0:
        raise _Refused(_SOCKS_REFUSALS.get(code, f"unknown code {code}"))
    # The address it uses itself, which is of no interest, and the port.
    sizes = {1: 4, 4: 16}
    if kind not in (1, 3, 4):
        raise _Refused(f"its reply has an address of an unknown type {kind}")
    await receive((sizes.get(kind) or (await receive(1))[0]) + 2)


def _socks_address(host: str) -> bytes:
    """The host, as a name where it is one: the proxy looks it up, for it may know hosts that we do not."""
    try:
        address = ip_address(host)
    except ValueError:
        return b"\x03" + _sized(host.encode(), "the host's name")
    return (b"\x01" if address.version == 4 else b"\x04") + address.packed


def _sized(text: bytes, what: str) -> bytes:
    if len(text) > 255:
        raise _Refused(f"{what} is longer than the 255 bytes that SOCKS5 allows")
    return bytes([len(text)]) + text


def _credentials(proxy: SplitResult) -> tuple[bytes, bytes]:
    return unquote(proxy.username or "").encode(), unquote(proxy.password or "").encode()


def _with_scheme(url: str) -> str:
    return url if "://" in url else f"http://{url}"


def _is_usable(proxy: str) -> bool:
    try:
        parts = urlsplit(proxy)
        return parts.scheme in _PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
