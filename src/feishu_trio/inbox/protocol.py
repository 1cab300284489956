"""What every inbox does, for the engine's source, for storing, and for users."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from typing import Any

import attrs
import trio

from ..errors import ConfigError
from ..events import Event
from .records import Claim, Counts, Entry, State, Stored, Summary

__all__ = ["Inbox", "Rules"]


def _positive(rules: object, field: attrs.Attribute[float], value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ConfigError(f"{field.name}: {value!r} is not allowed; it must be a number of seconds above 0")


def _count(rules: object, field: attrs.Attribute[int], value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{field.name}: {value!r} is not allowed; it must be a whole number, 1 or more")


@attrs.frozen(kw_only=True)
class Rules:
    """The common arguments of inboxes. Times are in seconds."""

    window: float | None = attrs.field(default=None, validator=attrs.validators.optional(_positive))
    """For how long a done event is remembered after its last arrival; None for the session's `dedupe_window`."""
    max_attempts: int = attrs.field(default=8, validator=_count)
    """Failed attempts after which an event is a dead letter."""
    retry_delay: float = attrs.field(default=1.0, validator=_positive)
    """The longest wait for the second attempt; it doubles with each further one."""
    max_retry_delay: float = attrs.field(default=3600.0, validator=_positive)
    """The longest wait of all."""
    order_by: Callable[[Event[Any]], Hashable] | None
    """From an event to its order key: events of one key run one after the other. None for no order."""
    strict_order: bool = False
    """Whether an event that waits for its next attempt holds up those of its key."""
    max_age: float | None = attrs.field(default=None, validator=attrs.validators.optional(_positive))
    """How old an event may be when it is claimed, counted from when it was stored; None for any age."""

    def delay(self, attempt: int) -> float:
        """Seconds to wait after this attempt has failed: exponential, with jitter of a half."""
        longest = min(self.max_retry_delay, self.retry_delay * 2.0 ** min(attempt - 1, 64))
        return longest * random.uniform(0.5, 1)


class Inbox(ABC):
    """Keeps events until every handler has succeeded. It serves one session at a time.

    The methods that return nothing only note what is to be written; it is, in this order, soon.
    """

    rules: Rules
    fault: Exception | None = None
    """Why nothing can be written at the moment; None if all is well."""
    on_dead: Callable[[Claim, str], object] = staticmethod(lambda claim, error: None)
    """Called with each event that becomes a dead letter as it is claimed, and why."""
    types: Collection[str] = frozenset()
    """The types of events that may be waiting."""
    suspect_is_ready: bool = False
    """Whether an event is ready that must run with no other beside it."""

    @abstractmethod
    async def serve(
        self, app_id: str, window: float, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Open it, and do all that is asked until cancelled; then what was noted is written, within a bound.

        Raises:
            InboxError: It cannot be opened, or is another's.
        """

    @abstractmethod
    async def store(self, entries: Sequence[Entry]) -> list[Stored]:
        """Store events, each once; returns when all are committed. Cancelled, it may have stored them.

        Raises:
            InboxError: Nothing was stored.
        """

    @abstractmethod
    async def claim(
        self, limit: int, types: Collection[str] | None = None, *, alone: bool = False
    ) -> list[Claim]:
        """Claim up to `limit` ready events of these types, the oldest first, or one that must run alone.

        What is too old is a dead letter instead.

        Cancelled, it gives back what it may have claimed.

        Raises:
            InboxError: Nothing was claimed.
        """

    @abstractmethod
    async def wait_changed(self) -> None:
        """Wait until there may be more to claim than there was; returns in a minute at the latest."""

    @abstractmethod
    async def flush(self) -> None:
        """Wait until all that was noted is written, or cannot be."""

    @abstractmethod
    def succeeded(self, claim: Claim, handler: str, result: bytes | None) -> None:
        """A handler succeeded: it does not run again."""

    @abstractmethod
    def done(self, claim: Claim) -> None:
        """Every handler succeeded."""

    @abstractmethod
    def retry(self, claim: Claim, delay: float, error: str, *, counts: bool) -> None:
        """It is to run again in `delay` seconds; `counts` if that was an attempt."""

    @abstractmethod
    def die(self, claim: Claim, error: str) -> None:
        """It is a dead letter."""

    @abstractmethod
    def release(self, claim: Claim) -> None:
        """It was not begun, or was cancelled: it is ready again."""

    @abstractmethod
    def park(self, claim: Claim) -> None:
        """No route here takes it."""

    @abstractmethod
    async def unpark(self, is_taken: Callable[[str], bool]) -> int:
        """Those whose type a route takes now are to run; how many there are."""

    # For users

    @abstractmethod
    async def counts(self) -> Counts:
        """How many events stand where."""

    @abstractmethod
    async def requeue(self, numbers: Iterable[int]) -> list[int]:
        """Have dead letters run again, behind all others, with their attempts counted anew; their new numbers."""

    @abstractmethod
    async def purge(self, state: State, older_than: float) -> int:
        """Forget done events, dead letters or parked ones that have been so for `older_than` seconds; how many."""

    @abstractmethod
    async def list(self, state: State, limit: int = 100, after: int = 0) -> list[Summary]:
        """Up to `limit` events of a state, in the order of their numbers, from behind number `after` on."""
