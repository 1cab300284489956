"""Feishu as a source of events: from its address to live connections, and back again when they are lost."""

from __future__ import annotations

from .backoff import Backoff
from .client_config import ClientConfig
from .dial import default_ssl_context
from .ending import DisconnectReason
from .headers import request_headers, user_agent
from .source import Connections

__all__ = [
    "Backoff",
    "ClientConfig",
    "Connections",
    "DisconnectReason",
    "default_ssl_context",
    "request_headers",
    "user_agent",
]
