"""What every inbox does, for the engine's source, for storing, and for users."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypedDict

import attrs
import trio

from ..config import wrong
from ..config.fields import about, settings
from ..config.rules import Form, Rule, flag, number
from ..errors import InboxError
from ..events import Event
from ..events.order import by_chat
from ..routes import is_async_function
from .records import Cancelled, Claim, Counts, Details, Entry, State, Stored, Summary

__all__ = [
    "LARGEST_NOTE",
    "LOOK_AGAIN",
    "NO_ROUTE",
    "PARKED_FOR",
    "SEEN_AT_MOST",
    "TOO_OLD",
    "Inbox",
    "InboxRules",
    "RuleArguments",
]

LARGEST_NOTE: Final = 64 << 10
LOOK_AGAIN: Final = 1.0
"""Seconds after which is looked again for what may be claimed, as handlers come and go."""
PARKED_FOR: Final = 7 * 86_400.0
"""Seconds after which what no route takes is a dead letter."""
NO_ROUTE: Final = "no handler took it for seven days"
TOO_OLD: Final = "it was older than max_age, {:g} s, when its turn came"
SEEN_AT_MOST: Final = 10_000
"""Notes from which on it is not noted that something has come again: it may be forgotten."""


class RuleArguments(TypedDict, total=False):
    """The arguments that every inbox has: the fields of `InboxRules`."""

    window: float | None
    max_attempts: int
    retry_delay: float
    max_retry_delay: float
    order_by: Callable[[Event[Any]], Hashable] | None
    strict_order: bool
    max_age: float | None


@settings
@attrs.frozen(kw_only=True)
class InboxRules:
    """What every inbox is told. Times are in seconds."""

    window: float | None = attrs.field(
        default=None,
        validator=number(float, 0.001, unit="seconds", optional=True),
        metadata=about(
            "For how long a done event is remembered after its last arrival. None: the session's `dedupe_window`."
        ),
    )
    max_attempts: int = attrs.field(
        default=8,
        validator=number(int, 1),
        metadata=about("Failed attempts after which an event is a dead letter."),
    )
    retry_delay: float = attrs.field(
        default=1.0,
        validator=number(float, 0.001, unit="seconds"),
        metadata=about("The longest wait for the second attempt; it doubles with each further one."),
    )
    max_retry_delay: float = attrs.field(
        default=3600.0,
        validator=number(float, 0.001, unit="seconds"),
        metadata=about("The longest wait of all; not less than `retry_delay`."),
    )
    order_by: Callable[[Event[Any]], Hashable] | None = attrs.field(
        default=by_chat,
        validator=Rule(
            "a plain function from an event to its order key, such as by_chat",
            lambda value: callable(value) and not is_async_function(value),
            optional=True,
            form=Form.OBJECT,
        ),
        metadata=about(
            "From an event to its order key (`by_chat`, `by_thread`, `by_sender`): events of one key run one after "
            "the other. None: no order."
        ),
    )
    strict_order: bool = attrs.field(
        default=False,
        validator=flag(),
        metadata=about("Whether an event that waits for its next attempt holds up those of its key."),
    )
    max_age: float | None = attrs.field(
        default=None,
        validator=number(float, 0.001, unit="seconds", optional=True),
        metadata=about(
            "How old an event may be when its turn comes, counted from when it was stored; older, it is a dead "
            "letter. None: any age."
        ),
    )

    def __attrs_post_init__(self) -> None:
        if self.max_retry_delay < self.retry_delay:
            allowed = f"a number of seconds, not less than retry_delay, which is {self.retry_delay!r}"
            raise wrong("max_retry_delay", self.max_retry_delay, allowed)

    def delay(self, attempt: int) -> float:
        """Seconds to wait after this attempt has failed: exponential, with jitter of a half."""
        longest = min(self.max_retry_delay, self.retry_delay * 2.0 ** min(attempt - 1, 64))
        return longest * random.uniform(0.5, 1)


class Inbox(ABC):
    """Keeps events until every handler has succeeded. It serves one session at a time.

    The methods that return nothing only note what is to be written; it is, in this order, soon.
    """

    rules: InboxRules
    """What it was told: how often to try, in which order, and how long to remember."""
    fault: Exception | None = None
    """Why something could not be written of late; None if all is well."""
    owes: bool = False
    """Whether results could not be written down yet: nothing more is to be claimed."""
    types: Collection[str] = frozenset()
    """The types of events that may be waiting."""
    suspect_is_ready: bool = False
    """Whether an event is ready that must run with no other beside it."""
    has_untold: bool = False
    """Whether there are dead letters that nobody has been told of."""
    parked_types: Collection[str] = frozenset()
    """The types of events that other processes may have parked."""
    late: int = 0
    """How many results have come too late, and were refused."""
    on_late: Callable[[Claim], None] | None = None
    """Called with the claim of each, once something is to be told of them."""
    on_lost: Callable[[Collection[int]], object] | None = None
    """Called when claims are not this process's any more, with the numbers of their events, whose handlers are to end. It is a
    task of the inbox's that calls it, never whoever calls the inbox. Of one that a single process has, none is ever lost."""
    _is_served: bool = False

    @contextmanager
    def _serving(self) -> Iterator[None]:
        """Within it is served: it cannot be twice at a time."""
        if self._is_served:
            raise InboxError(
                f"{self!r} serves another session already: each needs an inbox object of its own"
            )
        self._is_served = True
        try:
            yield
        finally:
            self._is_served = False

    def _is_late(self, claim: Claim) -> None:
        """A result of this claim was refused: its event was taken over meanwhile, or ended."""
        self.late += 1
        if self.on_late is not None:
            self.on_late(claim)

    @abstractmethod
    async def serve(
        self,
        app_id: str,
        window: float,
        *,
        tries: int | None = None,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Open it, and do all that is asked until cancelled; then what was noted is written, within a bound.

        Args:
            app_id: The app whose events these are.
            window: For how many seconds a done event is remembered, if the inbox has no window of its own.
            tries: How often it is tried again if it cannot be reached at first; None: until it can.
            task_status: Of `trio.Nursery.start`.

        Raises:
            InboxError: It cannot be opened, or is another's.
            ConfigError: It is another app's, or has become so.
        """

    @abstractmethod
    async def store(self, entries: Sequence[Entry]) -> list[Stored]:
        """Store events, each once; returns when all are committed. Cancelled, it may have stored them.

        Raises:
            InboxError: Nothing was stored, as far as is known.
        """

    @abstractmethod
    def seen(self, keys: Collection[str]) -> None:
        """An event of these keys has arrived again: if it is done, it is remembered for the window from now on.

        That may be forgotten while nothing can be written.
        """

    @abstractmethod
    async def claim(
        self,
        limit: int,
        types: Collection[str] | None = None,
        *,
        alone: bool = False,
        in_order: bool = True,
        to_park: bool = False,
    ) -> list[Claim]:
        """Claim up to `limit` ready events of these types, the oldest first, or one that must run alone.

        What is too old is a dead letter instead. What is not claimed `in_order` has none from then on, and the next of
        its order key is ready; it has not begun before `begin`. What is only claimed `to_park` is left to other
        processes for a moment, if there may be others. Cancelled, it gives back what it may have claimed.

        Raises:
            InboxError: Nothing was claimed.
        """

    def owns(self, claim: Claim) -> bool:
        """Whether no other process may have claimed it by now: asked as a handler begins."""
        return True

    @abstractmethod
    async def begin(self, claims: Collection[Claim]) -> None:
        """A batch is about to be handled: from here on it counts as a crash of these events if the process dies.

        Raises:
            InboxError: That could not be written down: the batch must not begin.
        """

    @abstractmethod
    async def wait_changed(self) -> None:
        """Wait until there may be more to claim than there was; returns soon in any case."""

    @abstractmethod
    async def flush(self) -> None:
        """Wait until all that was noted is written, or cannot be."""

    @abstractmethod
    def succeeded(self, claim: Claim, handler: str, result: bytes | None) -> None:
        """A handler succeeded: it does not run again."""

    @abstractmethod
    def failed(self, claim: Claim, handler: str, error: str) -> None:
        """A handler failed."""

    @abstractmethod
    async def note(self, claim: Claim, handler: str, key: str, value: bytes) -> bool:
        """Keep a small value of a handler until the event is done: its next claim has it in `notes`.

        False if the claim is outdated.

        Raises:
            InboxError: It could not be kept.
            ValueError: It is larger than 64 KiB.
        """

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
    def keep(self, claim: Claim) -> None:
        """It goes on in a thread, which nothing can stop, when the inbox is closed: it is not ready again by that."""

    @abstractmethod
    def park(self, claim: Claim) -> None:
        """No route here takes it: it waits outside its order key, and is a dead letter after seven days."""

    @abstractmethod
    async def unpark(self, types: Collection[str]) -> int:
        """Those of these types are to run, as a route takes them now; how many there are."""

    @abstractmethod
    async def cancel(self, lane: str, spared: Collection[int] = (), keys: Collection[str] = ()) -> Cancelled:
        """Whatever runs or waits in a lane, or is parked beside it, is done, but for events of some numbers.

        `keys` are those of events that were ended elsewhere: `Cancelled.known` tells how many of them were here, too.

        Raises:
            InboxError: Nothing was ended.
        """

    @abstractmethod
    async def wait_untold(self) -> None:
        """Wait until `has_untold`."""

    @abstractmethod
    async def untold(self, limit: int) -> list[Details]:
        """Dead letters that nobody has been told of, up to `limit`, the oldest first."""

    @abstractmethod
    def told(self, number: int) -> None:
        """Whoever wants to know of this dead letter has been told."""

    # For users

    @abstractmethod
    async def counts(self) -> Counts:
        """How many events stand where."""

    @abstractmethod
    async def requeue(self, ids: Iterable[str | int]) -> int:
        """Have dead letters run again, by their events' ids or by their numbers; how many there were.

        They go behind all others, and get new numbers; their attempts and their age are counted anew. Of many some are
        requeued at a time, so that, cancelled or failed, it may have requeued some.
        """

    @abstractmethod
    async def purge(self, state: State | str, older_than: float) -> int:
        """Forget done events, dead letters or parked ones that have been so for `older_than` seconds; how many.

        Raises:
            ConfigError: Events of another state are not forgotten.
        """

    @abstractmethod
    async def list(self, state: State | str, limit: int = 100, after: int = 0) -> list[Summary]:
        """Up to `limit` events of a state, in the order of their numbers, from behind number `after` on.

        Raises:
            ConfigError: There is no such state.
        """

    @abstractmethod
    async def show(self, event: str | int) -> Details | None:
        """One event, by its id or its number, with its payload and its handlers; None if it is not there."""
