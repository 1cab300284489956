"""The ledger: which events are running, which are done and how they were answered, which failed and where.

An event is found by any of its keys, of which fingerprints are kept. What is running is kept as long as it runs
(the pools bound that);
what has ended is kept for the window, within a bound of bytes. What is done goes first when there is too much, the
oldest before the rest: what failed in part is still to come again, and would run again what had succeeded.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import math
import os
import sys
from collections import deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Generic, TypeVar

from .._quiet import QuietStruct
from .source import DONE, Outcome

__all__ = ["Ended", "Ledger"]

logger = logging.getLogger("feishu_trio.delivery")

R = TypeVar("R")

# What a key of a record costs: its place in the table, its fingerprint, its share of the record.
_KEY_BYTES: Final = 300

# 60 bits of a hash: as an int they take 32 bytes (64 bits take 48). With a million of them, one of 5 * 10**11 new
# events is mistaken for a known one.
_FINGERPRINT: Final = (1 << 60) - 1
_FINGERPRINT_BYTES: Final = 32
_SLOT_BYTES: Final = 16  # of a set's table
_SPARE: Final = 4  # fingerprints for which there is room in a part that is as good as filled

# Nobody may be able to look for two ids that collide. The strings' own hash is SipHash with a random key; unless that
# key was set, or this Python is of 32 bits or has another hash.
_SIPHASH: Final = sys.hash_info.width >= 64 and sys.hash_info.algorithm.startswith("siphash")
_HASH_IS_SECRET: Final = (
    _SIPHASH
    and bool(sys.flags.hash_randomization)
    and os.environ.get("PYTHONHASHSEED", "random") in ("", "random")
)


def _secret_hash(text: str, key: bytes) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, key=key).digest()
    return int.from_bytes(digest, "big")


class Ended(QuietStruct, gc=False, eq=False):
    """What is remembered of an event that has run.

    `outcome` is that of every later delivery if all handlers succeeded. Otherwise it is None, and `succeeded`
    has the handlers that need not run again, with the JSON of what they returned.
    """

    keys: tuple[int, ...]
    at: float
    outcome: Outcome | None
    succeeded: Mapping[str, bytes | None] = MappingProxyType({})

    def cost(self) -> int:
        """Bytes that it takes up, roughly."""
        content = 0 if self.outcome is None else len(self.outcome.result or b"")
        if self.succeeded:
            content += sum(len(name) + len(json or b"") for name, json in self.succeeded.items())
        return len(self.keys) * (_KEY_BYTES + content)


_IS_DONE: Final = Ended((), 0.0, DONE)
"""What is known of an event of which only fingerprints are kept."""


class Ledger(Generic[R]):
    """Events by their keys: `R` is what stands for a running one.

    Args:
        window: Seconds for which an ended event is remembered, one that is done for up to a quarter longer; 0
            remembers none, not even running ones.
        max_bytes: Memory for ended events at the most.
    """

    def __init__(self, window: float, *, max_bytes: int = 64 << 20) -> None:
        self.window = window
        self.max_bytes = max_bytes
        self._hash: Callable[[str], int] = (
            hash if _HASH_IS_SECRET else functools.partial(_secret_hash, key=os.urandom(16))
        )
        self._known: dict[int, R | Ended] = {}
        self._failed: deque[Ended] = deque()  # the oldest first
        self._answered: deque[Ended] = deque()  # those with a result, the oldest first
        self._dead = 0  # of those that failed, all of whose keys a later run has taken over
        self._record_bytes = 0  # of what failed and what has a result

        # The keys of what is done, in parts of the window, the oldest first: a part expires as a whole. Each look-up
        # looks into every part, so there are few. The last one is filled until its table would have to grow.
        self._parts: list[set[int]] = []
        self._parts_end: list[float] = []  # when the last of each part was done
        self._parts_bytes = 0  # of all but the last
        self._part_size, self._part_bytes = _largest_part(max_bytes // 7)
        self._part_until = -math.inf  # when the last part is closed, full or not

        self._expires_at = math.inf  # nothing does before that
        self._has_warned = False

    def __len__(self) -> int:
        """The number of keys remembered, of running and of ended events."""
        return len(self._known) + sum(map(len, self._parts))

    @property
    def bytes(self) -> int:
        """What ended events take up, roughly."""
        last = _weight(self._parts[-1]) if self._parts else 0
        return self._record_bytes + self._parts_bytes + last

    def keys(self, names: tuple[str, ...]) -> tuple[int, ...]:
        """The keys of an event that is known by these names: a fingerprint of each, good for this ledger alone."""
        hash_of = self._hash
        if len(names) == 2:  # as nearly all have
            return hash_of(names[0]) & _FINGERPRINT, hash_of(names[1]) & _FINGERPRINT
        return tuple([hash_of(name) & _FINGERPRINT for name in names])

    def find(self, keys: tuple[int, ...], now: float) -> R | Ended | None:
        """What is known of the event that has one of these keys; a failure only if no key knows better."""
        if now >= self._expires_at:
            self._evict(now)
        failed = None
        for key in keys:
            known = self._known.get(key)
            if known is not None:
                if not isinstance(known, Ended) or known.outcome is not None:
                    return known
                failed = known
        for part in self._parts:
            if not part.isdisjoint(keys):
                return _IS_DONE
        return failed

    def begin(self, keys: tuple[int, ...], run: R) -> None:
        """The event runs; what was known of an earlier run, which failed, is replaced."""
        if self.window > 0:
            for key in keys:
                known = self._known.setdefault(key, run)
                if known is not run:
                    if isinstance(known, Ended):
                        self._release(known, key)
                    self._known[key] = run

    def done(self, keys: tuple[int, ...], now: float) -> None:
        """The event no longer runs: all its handlers succeeded, and its answer has no result."""
        if self.window > 0 and keys:
            if now >= self._part_until or len(self._parts[-1]) > self._part_size:
                self._open_part(now)
            for key in keys:
                self._known.pop(key, None)
            self._parts[-1].update(keys)
            self._parts_end[-1] = now

    def end(self, ended: Ended) -> None:
        """The event no longer runs, and this came of it: it failed in part, or its answer has a result."""
        if self.window > 0 and ended.keys:
            for key in ended.keys:
                self._known[key] = ended
            (self._failed if ended.outcome is None else self._answered).append(ended)
            self._record_bytes += ended.cost()
            if self._expires_at == math.inf:
                self._expires_at = ended.at + self.window
            if ended.at >= self._expires_at or self._is_full:
                self._evict(ended.at)

    def forget(self, keys: tuple[int, ...]) -> None:
        """The event does not run after all."""
        for key in keys:
            self._known.pop(key, None)

    # Inside

    @property
    def _is_full(self) -> bool:
        """Whether there is no room for the last part, once that is filled."""
        return self._record_bytes + self._parts_bytes + self._part_bytes > self.max_bytes

    def _open_part(self, now: float) -> None:
        if self._parts:
            self._parts_bytes += _weight(self._parts[-1])
        self._parts.append(set())
        self._parts_end.append(now)
        self._part_until = now + self.window / 4
        self._evict(now)

    def _release(self, ended: Ended, key: int) -> None:
        """A later run takes a key over."""
        self._record_bytes -= ended.cost()
        ended.keys = tuple(other for other in ended.keys if other != key)
        self._record_bytes += ended.cost()
        if not ended.keys and ended.outcome is None:
            self._dead += 1
            if self._dead > 1000 and 2 * self._dead > len(self._failed):
                self._failed = deque(each for each in self._failed if each.keys)
                self._dead = 0

    def _evict(self, now: float) -> None:
        """Forget what has expired; while there is too much, the oldest of what is done, or else of what failed."""
        kept_since = now - self.window
        while self._parts and self._parts_end[0] <= kept_since:
            self._drop_part()
        for records in (self._failed, self._answered):
            while records and records[0].at <= kept_since:
                self._drop_record(records)
        while self._is_full:
            of_part = self._parts_end[0] if len(self._parts) > 1 else math.inf
            of_answer = self._answered[0].at if self._answered else math.inf
            if of_part < math.inf and of_part <= of_answer:
                self._warn(now - of_part)
                self._drop_part()
            elif records := self._answered or self._failed:
                self._warn(now - records[0].at)
                self._drop_record(records)
            else:
                break
        oldest = [records[0].at for records in (self._failed, self._answered) if records]
        self._expires_at = min([*oldest, *self._parts_end[:1]], default=math.inf) + self.window

    def _drop_part(self) -> None:
        part = self._parts.pop(0)
        del self._parts_end[0]
        if self._parts:
            self._parts_bytes -= _weight(part)
        else:
            self._part_until = -math.inf

    def _drop_record(self, records: deque[Ended]) -> None:
        oldest = records.popleft()
        self._record_bytes -= oldest.cost()
        for key in oldest.keys:
            del self._known[key]
        self._dead -= not oldest.keys and oldest.outcome is None

    def _warn(self, age: float) -> None:
        if not self._has_warned:
            self._has_warned = True
            needed = self.max_bytes * self.window / max(age, 1.0)
            logger.warning(
                "the ledger is full: events are remembered for %.0f s only, not for the %.0f s of dedupe_window; "
                "as many as come now would need a dedupe_bytes of %.0f (it is %d)",
                age,
                self.window,
                math.ceil(needed / (1 << 20)) * (1 << 20),
                self.max_bytes,
            )


def _weight(part: set[int]) -> int:
    return part.__sizeof__() + len(part) * _FINGERPRINT_BYTES


def _largest_part(most: int) -> tuple[int, int]:
    """How many fingerprints make a part, so that its table is as full as can be, and the bytes that it takes then.

    A set's table grows when three fifths of it are full: fourfold, and twofold from 50,000 entries on.
    """
    slots, bigger = 32, 128
    while bigger * (_SLOT_BYTES + _FINGERPRINT_BYTES * 3 // 5) <= most:
        slots, bigger = bigger, bigger * (4 if bigger * 3 // 5 <= 50_000 else 2)
    size = slots * 3 // 5 - _SPARE
    return size, slots * _SLOT_BYTES + (size + _SPARE) * _FINGERPRINT_BYTES + 256
