"""The headers of every request, and of the WebSocket handshake."""

from __future__ import annotations

import functools
from importlib.metadata import version
from typing import Final

from ..config import SessionConfig

__all__ = ["handshake_headers", "request_headers", "user_agent"]

# What the handshake is made of; further ones of these names would break it.
_OF_THE_HANDSHAKE: Final = frozenset({"host", "connection", "upgrade", "content-length", "transfer-encoding"})


def user_agent(config: SessionConfig) -> str:
    """The user's own, or this package's name and version."""
    return config.user_agent or _ours()


@functools.cache
def _ours() -> str:
    return f"feishu-trio/{version('feishu-trio')}"  # it is read from a file


def request_headers(config: SessionConfig) -> dict[str, str]:
    """Headers of every HTTP request; the user's win."""
    given = dict(config.headers or {})
    if not any(name.lower() == "user-agent" for name in given):
        given["User-Agent"] = user_agent(config)
    return given


def handshake_headers(config: SessionConfig) -> list[tuple[bytes, bytes]]:
    """The same for the WebSocket handshake, but for those it is made of."""
    return [
        (name.encode(), value.encode())
        for name, value in request_headers(config).items()
        if name.lower() not in _OF_THE_HANDSHAKE and not name.lower().startswith("sec-websocket-")
    ]
