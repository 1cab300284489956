"""What the connections of a session share."""

from __future__ import annotations

from typing import Any

import msgspec

from ..config import SessionConfig
from ..delivery import Engine
from ..router import Router
from ..telemetry import Telemetry
from .relay import Relay

__all__ = ["Shared"]


class Shared(msgspec.Struct, frozen=True):
    """What the connections of a session share."""

    config: SessionConfig
    router: Router
    engine: Engine
    telemetry: Telemetry
    relay: Relay[Any]
