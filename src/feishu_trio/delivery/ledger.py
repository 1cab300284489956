"""The ledger: which events are running, which are done and how they were answered, which failed and where.

An event is found by any of its keys. What is running is kept as long as it runs (the pools bound that);
what has ended is kept for the window, within bounds of number and bytes, the oldest going first.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Generic, NamedTuple, TypeVar

__all__ = ["Ended", "Ledger"]

logger = logging.getLogger("feishu_trio.delivery")

R = TypeVar("R")

# What a key costs beside its characters: its place in the table, its string object, its share of the record.
_KEY_BYTES: Final = 300


class Ended(NamedTuple):
    """What is remembered of an event that has run.

    `answer` is the answer's payload if all handlers succeeded. Otherwise it is None, and `succeeded` has
    the handlers that need not run again, with the JSON of what they returned.
    """

    at: float
    answer: bytes | None
    succeeded: Mapping[str, bytes | None] = MappingProxyType({})


class Ledger(Generic[R]):
    """Events by their keys: `R` is what stands for a running one.

    Args:
        window: Seconds for which an ended event is remembered; 0 remembers none, not even running ones.
        max_entries: Keys of ended events remembered at the most.
        max_bytes: Memory for them at the most, roughly.
    """

    def __init__(self, window: float, *, max_entries: int = 200_000, max_bytes: int = 64 << 20) -> None:
        self.window = window
        self.max_entries = max_entries
        self.max_bytes = max_bytes
        self.bytes = 0
        """What ended events take up, roughly."""
        self._running: dict[str, R] = {}
        self._ended: OrderedDict[str, Ended] = OrderedDict()
        self._told = False

    def __len__(self) -> int:
        """The number of keys remembered, of running and of ended events."""
        return len(self._running) + len(self._ended)

    def find(self, keys: tuple[str, ...], now: float) -> R | Ended | None:
        """What is known of the event that has one of these keys; a failure only if no key knows better."""
        failed = None
        for key in keys:
            running = self._running.get(key)
            if running is not None:
                return running
            ended = self._ended.get(key)
            if ended is not None and now - ended.at < self.window:
                if ended.answer is not None:
                    return ended
                failed = ended
        return failed

    def begin(self, keys: tuple[str, ...], run: R) -> None:
        """The event runs; what was known of an earlier run, which failed, is replaced."""
        if self.window > 0:
            for key in keys:
                self._drop(key)
                self._running[key] = run

    def end(self, keys: tuple[str, ...], ended: Ended) -> None:
        """The event no longer runs, and this came of it."""
        if self.window > 0:
            for key in keys:
                del self._running[key]
                self._ended[key] = ended
                self.bytes += _cost(key, ended)
            self._evict(ended.at)

    def forget(self, keys: tuple[str, ...]) -> None:
        """The event does not run after all."""
        for key in keys:
            self._running.pop(key, None)

    def _evict(self, now: float) -> None:
        while self._ended:
            key, oldest = next(iter(self._ended.items()))
            age = now - oldest.at
            if age < self.window:
                if len(self._ended) <= self.max_entries and self.bytes <= self.max_bytes:
                    return
                if not self._told:
                    self._told = True
                    logger.warning(
                        "the ledger is full (%d keys, %d bytes): events are remembered for %.0f s only, "
                        "not for the %.0f s of dedupe_window",
                        len(self._ended),
                        self.bytes,
                        age,
                        self.window,
                    )
            self._drop(key)

    def _drop(self, key: str) -> None:
        ended = self._ended.pop(key, None)
        if ended is not None:
            self.bytes -= _cost(key, ended)


def _cost(key: str, ended: Ended) -> int:
    cost = _KEY_BYTES + len(key) + len(ended.answer or b"")
    for name, json in ended.succeeded.items():
        cost += len(name) + len(json or b"")
    return cost
