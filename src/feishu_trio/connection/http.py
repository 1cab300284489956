"""The HTTP client that discovery and the API share: one for each session."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..config import SessionConfig
from .headers import request_headers
from .proxies import check_environment, proxy_for
from .tls import default_ssl_context, empty_ssl_context

if TYPE_CHECKING:
    import httpx

__all__ = ["http_client"]


def http_client(config: SessionConfig) -> httpx.AsyncClient:
    """The client, to be closed by the caller.

    Raises:
        ConfigError: A proxy of the environment cannot be used, or `SSL_CERT_FILE`.
    """
    import httpx  # here, so that importing this package stays light

    return httpx.AsyncClient(
        headers=request_headers(config),
        transport=config.http_transport or _transport(config),
        timeout=config.connect_timeout,
    )


def _transport(config: SessionConfig) -> httpx.AsyncBaseTransport:
    from .http_transport import Transport

    if config.proxy is None:
        check_environment()
    parts = urlsplit(config.domain)
    tls = parts.scheme == "https"
    proxy = proxy_for(parts.hostname or "", parts.port or (443 if tls else 80), tls=tls, config=config)
    needed = tls or (proxy or "").startswith("https:")
    usual = default_ssl_context() if needed else empty_ssl_context()
    return Transport(proxy, tls=tls, ssl_context=config.ssl_context or usual)
