"""The way to Feishu, step by step: proxy, names, TCP, TLS."""

from __future__ import annotations

import errno
import ssl
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

import trio

from ..config import FEISHU_DOMAIN, LARK_DOMAIN, SessionConfig
from ..connection.certificate import Certificate
from ..connection.discovery import shown
from ..connection.proxies import (
    check_environment,
    open_through_proxy,
    proxy_for,
    proxy_source,
    shown_proxy,
)
from ..connection.tls import TLSStream, default_ssl_context, secured
from ..errors import ConfigError, ConnectError
from .findings import Fault, Finding, failed, not_tried, ok, warning

__all__ = ["Way", "milliseconds"]

# Addresses that are tried, at most.
_ADDRESSES: Final = 8
# Days before a certificate's end from which on there is a warning.
_SOON: Final = 7

# What says that this machine has no way to addresses of a kind, as to those of IPv6.
_NO_SUCH_WAY: Final = {errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}

# OpenSSL's codes for why a certificate is not trusted.
_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10
_UNKNOWN_ISSUER: Final = {18, 19, 20, 21}
_OTHER_NAME: Final = {62, 64}


class Way:
    """The way to a domain's host; `proxy` and `addresses` are known once their checks are done."""

    def __init__(self, config: SessionConfig) -> None:
        parts = urlsplit(config.domain)
        self.tls = parts.scheme == "https"
        self.host = parts.hostname or ""
        self.port = parts.port or (443 if self.tls else 80)
        self.proxy: str | None = None
        self.addresses: list[tuple[int, str]] = []
        self._config = config

    @property
    def is_here(self) -> bool:
        """Whether the host is this machine, by its name or address."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")

    async def check_proxy(self) -> Finding:
        """Which proxy is used, and whether it gives a way."""
        config, check = self._config, "proxy"
        if config.dial is not None:
            return not_tried(check, "config.dial opens the connections")
        source = proxy_source(tls=self.tls, config=config)
        try:
            if config.proxy is None:
                check_environment()
            self.proxy = proxy_for(self.host, self.port, tls=self.tls, config=config)
        except ConfigError as error:
            return failed(check, Fault.CONFIGURATION, str(error), "correct the variable, or unset it")
        if self.proxy is None:
            variable = "HTTPS_PROXY" if self.tls else "HTTP_PROXY"
            why = f"NO_PROXY excludes {self.host} from {source}" if source else f"{variable} is not set"
            return ok(check, f"none: {why}", proxy=None)
        address, began = shown_proxy(self.proxy), trio.current_time()
        details = {"proxy": address, "source": source}
        try:
            stream = await open_through_proxy(
                self.proxy, self.host, self.port, ssl_context=config.ssl_context
            )
        except ConnectError as error:
            return failed(
                check,
                Fault.UNREACHABLE,
                f"{error}; it is set by {source}",
                f"see that the proxy runs, that it allows {self.host}:{self.port}, and that {source} is right; or have "
                f"NO_PROXY name {self.host}, if it can be reached without",
                **details,
            )
        await trio.aclose_forcefully(stream)
        took = trio.current_time() - began
        found = f"{address}, by {source}; gives a way to {self.host}:{self.port} in {milliseconds(took)}"
        return ok(check, found, seconds=took, **details)

    async def check_dns(self) -> Finding:
        """The host's addresses."""
        check = "dns"
        if why := self._not_by_us:
            return not_tried(check, why)
        began = trio.current_time()
        try:
            found = await trio.socket.getaddrinfo(self.host, self.port, type=trio.socket.SOCK_STREAM)
        except OSError as error:
            return failed(
                check,
                Fault.UNREACHABLE,
                f"{self.host} has no address: {_reason(error)}",
                "check the domain's name and this machine's DNS; where only a proxy has a way out, set HTTPS_PROXY",
                host=self.host,
            )
        took = trio.current_time() - began
        self.addresses = list(dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found))
        names = [address for _, address in self.addresses]
        more = f" and {len(names) - _ADDRESSES} more" if len(names) > _ADDRESSES else ""
        text = f"{self.host}: {', '.join(names[:_ADDRESSES])}{more} in {milliseconds(took)}"
        return ok(check, text, host=self.host, addresses=names, seconds=took)

    async def check_tcp(self) -> Finding:
        """Whether each address takes a connection, and how long that takes."""
        check = "tcp"
        if why := self._not_by_us:
            return not_tried(check, why)
        took: dict[str, float] = {}
        errors: dict[str, OSError] = {}
        within = (trio.current_effective_deadline() - trio.current_time()) * 0.9

        async def connect(family: int, address: str) -> None:
            began = trio.current_time()
            try:
                with trio.socket.socket(family, trio.socket.SOCK_STREAM) as socket, trio.fail_after(within):
                    await socket.connect((address, self.port))
            except trio.TooSlowError:
                errors[address] = OSError(f"no answer within {within:.3g} s")
            except OSError as error:
                errors[address] = error
            else:
                took[address] = trio.current_time() - began

        async with trio.open_nursery() as nursery:
            for family, address in self.addresses[:_ADDRESSES]:
                nursery.start_soon(connect, family, address)
        texts = [f"{address} in {milliseconds(seconds)}" for address, seconds in took.items()]
        texts += [f"{address}: {_reason(error)}" for address, error in errors.items()]
        found = f"port {self.port}: {', '.join(texts)}"
        details = {"port": self.port, "seconds": took, "errors": {at: _reason(e) for at, e in errors.items()}}
        remedy = f"have the firewall let this machine connect to {self.host}:{self.port}, or set HTTPS_PROXY"
        if not took:
            if self.is_here:
                remedy = f"see that something listens on port {self.port}, and that domain is right"
            return failed(check, Fault.UNREACHABLE, found, remedy, **details)
        if all(error.errno in _NO_SUCH_WAY for error in errors.values()):
            return ok(check, found, **details)
        return warning(check, found, remedy, **details)

    async def check_tls(self) -> Finding:
        """Whether the host's certificate is trusted, and what it says."""
        check = "tls"
        if not self.tls:
            return not_tried(check, f"the domain is http://, without TLS: {self._config.domain}")
        began = trio.current_time()
        try:
            stream = await self._secured(self._config.ssl_context or default_ssl_context())
        except ConfigError as error:
            return failed(check, Fault.CONFIGURATION, str(error), "correct the variable, or unset it")
        except ConnectError as error:
            cause = error.__cause__.__cause__ if error.__cause__ is not None else None
            if isinstance(cause, ssl.SSLCertVerificationError):
                return self._not_trusted(cause, await self._look())
            return failed(
                check,
                Fault.UNREACHABLE,
                shown(str(error)),
                f"see that {self.host}:{self.port} speaks TLS, and that nothing on the way answers in its place",
            )
        except OSError as error:  # it took the last connection, and not this one
            return failed(check, Fault.UNREACHABLE, _reason(error), "try again")
        took = trio.current_time() - began
        version, certificate = stream.ssl.version(), _certificate(stream)
        await trio.aclose_forcefully(stream)
        found = f"{version} in {milliseconds(took)}"
        details: dict[str, Any] = {"version": version, "seconds": took}
        if certificate is None:
            return ok(check, found, **details)
        found, details = f"{found}; {_described(certificate)}", details | _details(certificate)
        if (certificate.ends - datetime.now(UTC)).days < _SOON:
            return warning(check, found, "have the server's certificate renewed", **details)
        return ok(check, found, **details)

    def _not_trusted(self, error: ssl.SSLCertVerificationError, certificate: Certificate | None) -> Finding:
        code = error.verify_code
        now = f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}"
        if code in (_EXPIRED, _NOT_YET_VALID):
            remedy = f"check this machine's clock, by which it is {now}; if it is right, have the certificate renewed"
        elif code in _OTHER_NAME:
            remedy = "give as domain a name that the certificate is for; else something on the way answers in its place"
        elif code in _UNKNOWN_ISSUER and self._config.domain in (FEISHU_DOMAIN, LARK_DOMAIN):
            remedy = (
                "this is not Feishu's own: something on the way (a company's proxy, a virus scanner) opens what is "
                "encrypted. If that is meant to be, have SSL_CERT_FILE name a file with its authority's certificate"
            )
        elif code in _UNKNOWN_ISSUER:
            remedy = "if it is an authority of your own, have SSL_CERT_FILE name a file with its certificate"
        else:
            remedy = "have the server's certificate put right"
        found = f"the certificate is not trusted: {error.verify_message}"
        details: dict[str, object] = {"verify_code": code, "verify_message": error.verify_message}
        if certificate is not None:
            found, details = f"{found}; it is {_described(certificate)}", details | _details(certificate)
        return failed("tls", Fault.UNREACHABLE, found, remedy, **details)

    async def _look(self) -> Certificate | None:
        """The certificate of whoever answers, trusted or not. Nothing is said to them but what TLS begins with."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        try:
            stream = await self._secured(context)
        except (ConnectError, OSError):
            return None
        certificate = _certificate(stream)
        await trio.aclose_forcefully(stream)
        return certificate

    async def _secured(self, context: ssl.SSLContext) -> TLSStream:
        config = self._config
        if config.dial is not None:
            stream = await config.dial(self.host, self.port)
        elif self.proxy is not None:
            stream = await open_through_proxy(
                self.proxy, self.host, self.port, ssl_context=config.ssl_context
            )
        else:
            stream = await trio.open_tcp_stream(self.host, self.port)
        return await secured(stream, self.host, self.port, context)

    @property
    def _not_by_us(self) -> str:
        """Why no names are looked up here, and no addresses tried; empty if they are."""
        if self._config.dial is not None:
            return "config.dial opens the connections"
        return "the proxy sees to it" if self.proxy is not None else ""


def milliseconds(seconds: float) -> str:
    """A time in words: `3.1 ms`, `1.8 s`."""
    return f"{seconds * 1000:.1f} ms" if seconds < 0.9995 else f"{seconds:.1f} s"


def _certificate(stream: TLSStream) -> Certificate | None:
    der = stream.ssl.getpeercert(binary_form=True)
    return Certificate.parse(der) if isinstance(der, bytes) else None


def _described(certificate: Certificate) -> str:
    return shown(f"for {certificate.subject}, by {certificate.issuer}, until {certificate.ends:%Y-%m-%d}")


def _details(certificate: Certificate) -> dict[str, object]:
    return {
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "begins": certificate.begins.isoformat(),
        "ends": certificate.ends.isoformat(),
    }


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
