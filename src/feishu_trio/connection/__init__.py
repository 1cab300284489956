"""Feishu as a source of events: from its address to live connections, and back again when they are lost."""

from __future__ import annotations

from .backoff import Backoff
from .client_config import ClientConfig
from .ending import DisconnectReason
from .headers import user_agent
from .http import http_client
from .source import Connections

__all__ = [
    "Backoff",
    "ClientConfig",
    "Connections",
    "DisconnectReason",
    "http_client",
    "user_agent",
]
