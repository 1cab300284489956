"""From Feishu's address to a live connection, and back again when it is lost."""

from __future__ import annotations

from .backoff import Backoff
from .client_config import ClientConfig
from .connection import Connection, Wiring
from .dial import default_ssl_context
from .headers import request_headers, user_agent
from .line import DisconnectReason
from .relay import Outgoing, Relay
from .supervisor import Supervisor

__all__ = [
    "Backoff",
    "ClientConfig",
    "Connection",
    "DisconnectReason",
    "Outgoing",
    "Relay",
    "Supervisor",
    "Wiring",
    "default_ssl_context",
    "request_headers",
    "user_agent",
]
