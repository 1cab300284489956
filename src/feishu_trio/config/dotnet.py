"""The names that the .NET client's `appsettings.json` has for settings, and what becomes of their values."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any


def as_is(value: Any) -> Any:
    """The value itself."""
    return value


def milliseconds(value: Any) -> Any:
    """Seconds; what is no number is left for the setting's rule to refuse."""
    if isinstance(value, bool):
        return value
    try:
        return float(value) / 1000
    except (TypeError, ValueError, OverflowError):
        return value


def in_milliseconds(allowed: str) -> str:
    """What is allowed in seconds, in milliseconds: `a number of seconds from 1 to 60` is that from 1000 to 60000."""
    thousandfold = re.sub(r"\d+(\.\d+)?", lambda match: f"{float(match[0]) * 1000:.0f}", allowed)
    return thousandfold.replace("seconds", "milliseconds")


def attempts(value: Any) -> Any:
    """None for -1, which both stand for: without end."""
    return None if value in (-1, "-1") else value


OPTIONS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "AppId": ("app_id", as_is),
    "AppSecret": ("app_secret", as_is),
    "BaseUrl": ("domain", as_is),
    "AutoReconnect": ("auto_reconnect", as_is),
    "MaxReconnectAttempts": ("max_reconnect_attempts", attempts),
    "ReconnectDelayMs": ("reconnect_delay", milliseconds),
    "MaxReconnectDelayMs": ("max_reconnect_delay", milliseconds),
    "HeartbeatIntervalMs": ("heartbeat_interval", milliseconds),
    "ConnectionTimeoutMs": ("connect_timeout", milliseconds),
    "ReceiveBufferSize": ("receive_buffer_size", as_is),
    "InitialReceiveBufferSize": ("receive_buffer_size", as_is),
    "MaxBinaryMessageSize": ("max_message_size", as_is),
    "MessageSizeLimits:MaxBinaryMessageSize": ("max_message_size", as_is),
    "MessageQueueCapacity": ("queue_capacity", as_is),
    "MaxConcurrentMessageProcessing": ("concurrency", as_is),
    "EventDeduplicationCacheExpirationMs": ("dedupe_window", milliseconds),
    "EventDeduplication:CacheExpirationMs": ("dedupe_window", milliseconds),
}
"""The setting that each option stands for, and how its value becomes the setting's."""

SWITCHES: dict[str, tuple[str, Any]] = {
    "EnableMessageQueue": ("queue_capacity", 1),
    "ParallelMultiHandlers": ("handler_mode", "sequential"),
    "EnableMultiHandlerMode": ("handler_mode", "single"),  # after the other, which counts for several alone
    "EnableEventDeduplication": ("dedupe_window", 0),
}
"""What a setting is if the option is false, whatever else the file holds for it; true changes nothing."""

_BACKPRESSURE = "a full queue holds the connection back for a second, then events are refused and come again"
_DEDUPLICATION = "what is remembered is dropped by its age, dedupe_window, and its size, dedupe_bytes"
_TEXT_SIZE = "max_message_size holds for text and binary messages alike"
_TLS = "certificates are always checked; another authority is trusted by ssl_context, in code"
_TOKEN = "tokens are renewed as their lifetime asks for it"
_TRIES = "tries to reconnect have max_reconnect_attempts, reconnect_delay and connect_timeout"

NO_EFFECT: dict[str, str] = {
    "AllowedHosts": "it is the web server's",
    "AllowSelfSignedCertificates": _TLS,
    "BackpressureBlockTimeoutMs": _BACKPRESSURE,
    "BackpressureStrategy": _BACKPRESSURE,
    "EmptyQueueCheckIntervalMs": "queues wake their workers, and are not polled",
    "EnableAutoAck": "events are always answered: when their handlers are done, or at once with ack='on_receipt'",
    "EnableBinaryMessageProcessing": "events come in binary messages, which are always processed",
    "EnableLogging": "Python's logging decides: logging.getLogger('feishu_trio').setLevel(...)",
    "EnableReconnectMetrics": "session.stats() always counts them",
    "EventDeduplication:CleanupIntervalMs": _DEDUPLICATION,
    "EventDeduplication:Mode": _DEDUPLICATION,
    "EventDeduplicationCleanupIntervalMs": _DEDUPLICATION,
    "HealthCheckIntervalMs": "session.health() looks when it is asked",
    "MaxMessageSize": _TEXT_SIZE,
    "MaxTotalReconnectTime": _TRIES,
    "MessageSizeLimits:MaxTextMessageSize": _TEXT_SIZE,
    "ReconnectCooldownTime": _TRIES,
    "RetryCount": _TRIES,
    "TimeOut": _TRIES,
    "TokenRefreshAhead": _TOKEN,
    "TokenRefreshInterval": _TOKEN,
    "ValidateServerCertificate": _TLS,
    "Webhook": "events come over the WebSocket",
}
"""Options that nothing comes of, and why; a log line says so."""


def instead_of(name: str) -> str:
    """What there is here instead of the .NET client's option, for an error; empty if it is none."""
    if name in OPTIONS:
        setting, convert = OPTIONS[name]
        return f"here it is {setting}" + (", in seconds" if convert is milliseconds else "")
    if name in SWITCHES:
        setting, off = SWITCHES[name]
        return f"here false is {setting}={off!r}"
    return f"it would have no effect: {NO_EFFECT[name]}" if name in NO_EFFECT else ""


INNER_TABLES = {
    "WebSocket": "",
    "MessageSizeLimits": "MessageSizeLimits:",
    "EventDeduplication": "EventDeduplication:",
}
"""Tables inside a table of settings, and what they put before the names in them."""
