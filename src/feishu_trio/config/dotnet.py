"""The names that the .NET client's `appsettings.json` has for settings, and what becomes of their values."""

from __future__ import annotations

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
    "ParallelMultiHandlers": ("concurrency", 1),
    "EnableAutoAck": ("ack", "on_success"),
    "EnableEventDeduplication": ("dedupe_window", 0),
}
"""What a setting is if the option is false, whatever else the file holds for it; true changes nothing."""

UNUSED = frozenset(
    {
        "AllowSelfSignedCertificates",
        "BackpressureBlockTimeoutMs",
        "BackpressureStrategy",
        "EmptyQueueCheckIntervalMs",
        "EnableLogging",
        "EnableMultiHandlerMode",
        "EnableReconnectMetrics",
        "EventDeduplication:CleanupIntervalMs",
        "EventDeduplication:Mode",
        "EventDeduplicationCleanupIntervalMs",
        "HealthCheckIntervalMs",
        "MaxMessageSize",
        "MaxTotalReconnectTime",
        "MessageSizeLimits:MaxTextMessageSize",
        "ReconnectCooldownTime",
        "RetryCount",
        "TimeOut",
        "TokenRefreshAhead",
        "TokenRefreshInterval",
        "ValidateServerCertificate",
        "Webhook",
    }
)
"""Options without a counterpart."""

INNER_TABLES = {
    "websocket": "",
    "messagesizelimits": "MessageSizeLimits:",
    "eventdeduplication": "EventDeduplication:",
}
"""Tables inside a table of settings, in lower case, and what they put before the names in them."""
