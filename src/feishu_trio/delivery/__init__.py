"""The engine: an event's life from being taken in to being settled. It knows neither connections nor inboxes."""

from __future__ import annotations

from .engine import Engine, IdleWorkers
from .handlers import call, fault_of
from .identity import EVENT_KEY, identify
from .ledger import Ended, Ledger
from .plan import Storing
from .pool import PATIENCE, Pool
from .pools import CALLBACK_POOL, DEFAULT_POOL, MESSAGE_POOL
from .run import CALLBACKS, Run, State
from .source import DONE, Delivery, Origin, Outcome, Source

__all__ = [
    "CALLBACKS",
    "CALLBACK_POOL",
    "DEFAULT_POOL",
    "DONE",
    "EVENT_KEY",
    "MESSAGE_POOL",
    "PATIENCE",
    "Delivery",
    "Ended",
    "Engine",
    "IdleWorkers",
    "Ledger",
    "Origin",
    "Outcome",
    "Pool",
    "Run",
    "Source",
    "State",
    "Storing",
    "call",
    "fault_of",
    "identify",
]
