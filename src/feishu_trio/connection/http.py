"""The HTTP client that discovery and the API share: one for each session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..config import SessionConfig
from ..errors import ConfigError
from .dial import default_ssl_context
from .headers import request_headers

if TYPE_CHECKING:
    import httpx

__all__ = ["http_client"]


def http_client(config: SessionConfig) -> httpx.AsyncClient:
    """The client, to be closed by the caller.

    Raises:
        ConfigError: A proxy, of the settings or the environment, cannot be used, or takes an extra.
    """
    import ssl  # here, so that importing this package stays light

    import httpx

    # To load the certificate authorities takes a while; without them, nobody is trusted.
    plain = config.domain.startswith("http://") and not (config.proxy or "").startswith("https://")
    usual = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else default_ssl_context()
    try:
        return httpx.AsyncClient(
            headers=request_headers(config),
            transport=config.http_transport,
            proxy=config.proxy,
            verify=config.ssl_context or usual,
            timeout=config.connect_timeout,
        )
    except (ValueError, httpx.InvalidURL):  # whose texts may hold a password
        where = "proxy" if config.proxy is not None else "HTTP_PROXY, HTTPS_PROXY, ALL_PROXY or NO_PROXY"
        raise ConfigError(
            f"{where}: it cannot be used; a proxy is an http://, https:// or socks5:// URL with a host"
        ) from None
    except ImportError:
        raise ConfigError("a SOCKS proxy takes an extra: pip install 'feishu-trio[socks]'") from None
