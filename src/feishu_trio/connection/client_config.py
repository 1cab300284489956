"""What the server asks of its clients (`ClientConfig`), as far as it can be believed.

Source: discovery's `data.ClientConfig`, and the payload of a pong, which replaces the one in force.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import msgspec

__all__ = ["ClientConfig"]

logger = logging.getLogger("feishu_trio.connection")

Warn: TypeAlias = Callable[..., object]
"""Takes a warning as `logging` does: a format and its arguments."""

_DEFAULT_INTERVAL: Final = 120.0
# A second is often enough for any server, ten minutes would outlive any NAT.
_SHORTEST: Final = 1.0
_LONGEST: Final = 600.0


class ClientConfig(msgspec.Struct, frozen=True):
    """How often to ping and how to reconnect, in seconds; every value is one that can be lived with."""

    ping_interval: float = _DEFAULT_INTERVAL
    reconnect_interval: float = _DEFAULT_INTERVAL
    reconnect_count: int | None = None
    """How often to try again; None is for ever."""

    @classmethod
    def parse_json(cls, payload: bytes, warn: Warn = logger.warning) -> ClientConfig | None:
        """Read a pong's payload; None, and a warning, for what is no JSON object."""
        try:
            given = json.loads(payload)
        except (ValueError, RecursionError):
            given = None
        if not isinstance(given, Mapping):
            warn("a pong's payload is no JSON object: it is ignored")
            return None
        return cls.parse(given, warn)

    @classmethod
    def parse(cls, given: object, warn: Warn = logger.warning) -> ClientConfig:
        """Read what the server sent. What is missing, null, zero, below zero or no number gets the default,
        what is too small or too large the nearest that is allowed; a warning tells of what was wrong.
        """
        if given is None:
            return cls()
        if not isinstance(given, Mapping):
            warn("the server's ClientConfig is no JSON object: defaults are used")
            return cls()
        # A count of zero is how Go's encoders write one that is missing; below zero it is for ever.
        count = _whole(given, "ReconnectCount", warn)
        return cls(
            ping_interval=_seconds(given, "PingInterval", warn),
            reconnect_interval=_seconds(given, "ReconnectInterval", warn),
            reconnect_count=count if count is not None and count > 0 else None,
        )


def _seconds(given: Mapping[str, Any], name: str, warn: Warn) -> float:
    value = given.get(name)
    number = _number(value)
    if number is None or number <= 0:
        if value is not None:
            warn("%s=%.50r from the server is no interval: %g s is used", name, value, _DEFAULT_INTERVAL)
        return _DEFAULT_INTERVAL
    clamped = min(max(number, _SHORTEST), _LONGEST)
    if clamped != number:
        warn("%s=%.50r from the server is out of range: %g s is used", name, value, clamped)
    return clamped


def _whole(given: Mapping[str, Any], name: str, warn: Warn) -> int | None:
    value = given.get(name)
    number = _number(value)
    if number is None:
        if value is not None:
            warn("%s=%.50r from the server is no number: it is ignored", name, value)
        return None
    return int(number)


def _number(value: object) -> float | None:
    """A number, or a text that is one, as the platform likes to write them."""
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            return None
        return number if math.isfinite(number) else None
    return None
