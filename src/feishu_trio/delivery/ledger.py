"""The ledger: which events are running, which are done and how they were answered, which failed and where.

An event is found by any of its keys. What is running is kept as long as it runs (the pools bound that);
what has ended is kept for the window, within bounds of number and bytes, the oldest going first.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Generic, TypeVar

from .._quiet import QuietStruct
from .source import Outcome

__all__ = ["Ended", "Ledger"]

logger = logging.getLogger("feishu_trio.delivery")

R = TypeVar("R")

# What a key costs beside its characters: its place in the table, its string object, its share of the record.
_KEY_BYTES: Final = 300


class Ended(QuietStruct, gc=False, eq=False):
    """What is remembered of an event that has run.

    `outcome` is that of every later delivery if all handlers succeeded. Otherwise it is None, and `succeeded`
    has the handlers that need not run again, with the JSON of what they returned.
    """

    keys: tuple[str, ...]
    at: float
    outcome: Outcome | None
    succeeded: Mapping[str, bytes | None] = MappingProxyType({})

    def cost(self) -> int:
        """Bytes that it takes up, roughly."""
        content = 0 if self.outcome is None else len(self.outcome.result or b"")
        if self.succeeded:
            content += sum(len(name) + len(json or b"") for name, json in self.succeeded.items())
        cost = len(self.keys) * (_KEY_BYTES + content)
        for key in self.keys:
            cost += len(key)
        return cost


class Ledger(Generic[R]):
    """Events by their keys: `R` is what stands for a running one.

    Args:
        window: Seconds for which an ended event is remembered; 0 remembers none, not even running ones.
        max_entries: Keys remembered at the most; those of running events are, whatever their number.
        max_bytes: Memory for ended events at the most, roughly.
    """

    def __init__(self, window: float, *, max_entries: int = 200_000, max_bytes: int = 64 << 20) -> None:
        self.window = window
        self.max_entries = max_entries
        self.max_bytes = max_bytes
        self.bytes = 0
        """What ended events take up, roughly."""
        self._known: dict[str, R | Ended] = {}
        self._ended: deque[Ended] = deque()  # the oldest first
        self._dead = 0  # of those, all of whose keys a later run has taken over
        self._has_warned = False

    def __len__(self) -> int:
        """The number of keys remembered, of running and of ended events."""
        return len(self._known)

    def find(self, keys: tuple[str, ...], now: float) -> R | Ended | None:
        """What is known of the event that has one of these keys; a failure only if no key knows better."""
        failed = None
        for key in keys:
            known = self._known.get(key)
            if known is None:
                continue
            if not isinstance(known, Ended):
                return known
            if now - known.at < self.window:
                if known.outcome is not None:
                    return known
                failed = known
        return failed

    def begin(self, keys: tuple[str, ...], run: R) -> None:
        """The event runs; what was known of an earlier run, which failed, is replaced."""
        if self.window > 0:
            for key in keys:
                known = self._known.get(key)
                if isinstance(known, Ended):
                    self._release(known, key)
                self._known[key] = run

    def end(self, ended: Ended) -> None:
        """The event no longer runs, and this came of it."""
        if self.window > 0 and ended.keys:
            known = self._known
            for key in ended.keys:
                known[key] = ended
            self._ended.append(ended)
            self.bytes += ended.cost()
            is_old = ended.at - self._ended[0].at >= self.window
            if is_old or len(known) > self.max_entries or self.bytes > self.max_bytes:
                self._evict(ended.at)

    def forget(self, keys: tuple[str, ...]) -> None:
        """The event does not run after all."""
        for key in keys:
            self._known.pop(key, None)

    def _release(self, ended: Ended, key: str) -> None:
        """A later run takes a key over."""
        self.bytes -= ended.cost()
        ended.keys = tuple(other for other in ended.keys if other != key)
        self.bytes += ended.cost()
        if not ended.keys:
            self._dead += 1
            if self._dead > 1000 and 2 * self._dead > len(self._ended):
                self._ended = deque(each for each in self._ended if each.keys)
                self._dead = 0

    def _evict(self, now: float) -> None:
        while self._ended:
            oldest = self._ended[0]
            age = now - oldest.at
            if age < self.window:
                if len(self._known) <= self.max_entries and self.bytes <= self.max_bytes:
                    return
                if not self._has_warned:
                    self._has_warned = True
                    logger.warning(
                        "the ledger is full (%d keys, %d bytes): events are remembered for %.0f s only, "
                        "not for the %.0f s of dedupe_window",
                        len(self._known),
                        self.bytes,
                        age,
                        self.window,
                    )
            del self._ended[0]
            self.bytes -= oldest.cost()
            for key in oldest.keys:
                del self._known[key]
            self._dead -= not oldest.keys
