"""An event's life from arrival to answer: ledger, pools, order by key, deadlines."""

from __future__ import annotations

from .dispatcher import DEFAULT_POOL, Dispatcher, Returned
from .ledger import Ended, Ledger
from .pool import Pool
from .run import CALLBACKS, Delivery, Run

__all__ = [
    "CALLBACKS",
    "DEFAULT_POOL",
    "Delivery",
    "Dispatcher",
    "Ended",
    "Ledger",
    "Pool",
    "Returned",
    "Run",
]
