"""A run: one event's way through its handlers, as a state machine. The rules for answers stand here.

    HELD ──begin──▶ RUNNING ──the last awaited handler ends──▶ SETTLED ──the last handler ends──▶ ENDED
      │                └── begin with nothing to wait for ───────▲
      ├── refuse: there was no room ────────────────────────────────────────────────────────────▶ ENDED
      └── withdraw, from any of them ─────────────────────────────────────────────────────────▶ WITHDRAWN

Beside its state a run has an `outcome`, once deliveries have been settled with one: when it becomes SETTLED, or
before that, at a callback's deadline (`expire`) or when the engine ends (`abandon`). The first outcome counts;
every later delivery gets the same.

The rules:

1. The outcome waits for every handler, but not for those with `Ack.ON_RECEIPT`. For a callback it waits for all.
2. An event is done when all of these succeeded. Otherwise it is to come again, for those that failed.
3. Of a callback the first result in order of registration is the answer, even if other handlers failed; where
   there is no result, the first fallback. A callback never comes again.
4. A callback is answered at its deadline, with a result or else the fallback; its handlers go on. An event is
   not: an error would only count against the app, and the true answer is given to the repeated delivery.
5. A handler that was to run on receipt never runs again, whatever becomes of it.

No trio and no clock here: who calls knows what time it is.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from .._quiet import QuietStruct
from ..config import Ack
from ..errors import wished_retry
from ..events import Event
from ..router import Route
from .source import CLAIMED, DONE, Delivery, Origin, Outcome

__all__ = ["CALLBACKS", "Run", "State", "is_awaited"]

CALLBACKS: Final = frozenset({"card.action.trigger", "url.preview.get"})
"""Types that somebody waits for: answered by the deadline whatever happens, and never delivered again."""

# The ladder makes five deliveries of an event; more than this many waiting at once is somebody's mistake.
_WAITING: Final = 8

_NONE: Final[Mapping[str, Exception]] = MappingProxyType({})


class State(enum.Enum):
    """Where a run stands."""

    HELD = "held"
    """None of its handlers is queued: it waits for room."""
    RUNNING = "running"
    """Handlers that the outcome waits for are queued, or run."""
    SETTLED = "settled"
    """The handlers that the outcome waited for have ended; those that run on receipt may go on."""
    ENDED = "ended"
    """No handler runs, or will."""
    WITHDRAWN = "withdrawn"
    """Its source does not own it any more: nobody is to know what becomes of it."""


HELD, RUNNING, SETTLED, ENDED, WITHDRAWN = State  # see ARRIVED and CLAIMED


def is_awaited(ack: Ack) -> bool:
    """Whether an event's outcome waits for a handler that is to be answered so (rule 1); a callback's always does."""
    return ack is not Ack.ON_RECEIPT


class Run(QuietStruct, eq=False):
    """One event on its way through its handlers. Compared by identity. Only its methods change it."""

    event: Event[Any]
    keys: tuple[int, ...]
    """By which the ledger knows it; none for a claimed one."""
    chat: str | None
    origin: Origin
    since: float
    """When the first delivery was brought here, on trio's clock."""
    deadline: float
    """When the outcome should be there, on trio's clock."""
    deliveries: list[Delivery]
    """Those that wait for the outcome."""
    succeeded: dict[str, bytes | None]
    """Handlers that shall not run again, of an earlier delivery too, with their results' JSON."""
    is_callback: bool
    state: State = HELD
    outcome: Outcome | None = None
    """What deliveries have been settled with."""
    failed: Mapping[str, Exception] = _NONE
    """Handlers that the outcome waited for and that failed, and what they raised."""
    routes: Sequence[Route] = ()
    """Those that take it here, in order of registration."""
    broken: Mapping[str, Exception] = _NONE
    """Handlers that cannot run, for their filter or key function raised."""
    is_late: bool = False
    """Whether its deadline passed without an outcome."""
    is_unrouted: bool = False
    """Whether no route takes its type here."""
    is_stored: bool = False
    """Whether it is stored in an inbox, from where it is handled."""
    has_result: bool = False
    """Whether a handler returned something, this time or before."""
    has_failed: bool = False
    """Whether any handler failed, of those that run on receipt too."""
    has_retried: bool = False
    """Whether any handler wished for a retry."""
    _awaited: int = 0
    _left: int = 0

    @property
    def pending(self) -> list[str]:
        """The names of the handlers that the outcome waits for; none if they have not begun."""
        if self.state is not RUNNING:
            return []
        return [r.name for r in self.routes if r.name not in self.succeeded and r.name not in self.failed]

    @property
    def lacks_one(self) -> bool:
        """Whether it is done once one more handler succeeds."""
        return self._awaited == 1 and not self.failed

    # Transitions. Those that return an outcome want the waiting deliveries to be settled with it.

    def recall(self, succeeded: Mapping[str, bytes | None]) -> None:
        """These handlers succeeded at an earlier delivery: they shall not run again."""
        self.succeeded = dict(succeeded)
        self.has_result = any(result is not None for result in succeeded.values())

    def skip(self, name: str) -> None:
        """It is held, and this handler shall not run."""
        self.succeeded[name] = None

    def join(self, delivery: Delivery) -> Delivery | None:
        """One more delivery waits for the outcome; returned is one that had to make room for it."""
        self.event.redelivered = True
        self.deliveries.append(delivery)
        return self.deliveries.pop(0) if len(self.deliveries) > _WAITING else None

    def plan(
        self,
        routes: Sequence[Route],
        broken: Mapping[str, Exception] = _NONE,
        *,
        is_unrouted: bool = False,
        is_stored: bool = False,
    ) -> None:
        """These routes take it. It may be planned again while it is held, as handlers come and go.

        `broken` are handlers that cannot run, for their filter or key function raised: they have failed.
        `is_unrouted` if there is no route at all for its type, which is not the same as routes whose filters
        decline it.
        """
        self.routes = routes
        self.is_unrouted = is_unrouted
        self.is_stored = is_stored
        self.broken = broken

    def begin(self, awaited: int, on_receipt: Sequence[str] = ()) -> Outcome | None:
        """Its handlers are queued: `awaited` of them that the outcome waits for, and those `on_receipt`."""
        self._awaited = awaited
        self._left = awaited + len(on_receipt)
        if on_receipt:
            self.succeeded |= dict.fromkeys(on_receipt)  # rule 5
        if self.broken:
            for name, error in self.broken.items():
                self._note_failure(name, error, is_awaited=True)
        self.state = RUNNING
        return None if awaited else self._settle()

    def handler_ended(
        self, name: str, is_awaited: bool, result: bytes | None, error: Exception | None = None
    ) -> Outcome | None:
        """A handler has returned, or raised `error`."""
        self._left -= 1
        if error is not None:
            self._note_failure(name, error, is_awaited=is_awaited)
        elif is_awaited:
            self.succeeded[name] = result
            if result is not None:
                self.has_result = True
        if is_awaited:
            self._awaited -= 1
            if not self._awaited:
                return self._settle()
        if not self._left:
            self.state = ENDED
        return None

    def become_late(self) -> bool:
        """The deadline has passed; whether that is news, and there is no outcome yet."""
        if self.is_late or self.outcome is not None:
            return False
        self.is_late = True
        return True

    def expire(self) -> Outcome | None:
        """The deadline has passed: a callback is settled with what there is (rule 4)."""
        if not self.is_callback:
            return None
        result = (self._result() if self.has_result else None) or self._fallback()
        return self._conclude(DONE if result is None else Outcome(True, result))

    def refuse(self) -> Outcome | None:
        """There is no room for its handlers."""
        self.state = ENDED
        return self._conclude(self._failure())

    def abandon(self, *, goes_on: bool = False) -> Outcome | None:
        """Whatever runs is cancelled, and what has not begun does not: it is to come again for that.

        `goes_on` if a handler of it runs in a thread, which cannot be cancelled.
        """
        failure = self._failure()
        failure.goes_on = goes_on
        outcome = self._conclude(failure)
        self.state = WITHDRAWN
        return outcome

    def withdraw(self) -> None:
        """Its source does not own it any more."""
        self.state = WITHDRAWN
        self.deliveries.clear()

    # Inside

    def _note_failure(self, name: str, error: Exception, *, is_awaited: bool) -> None:
        if wished_retry(error) is not None and not self.is_callback:
            self.has_retried = True
        else:
            self.has_failed = True
        if is_awaited:
            self.failed = {**self.failed, name: error}

    def _settle(self) -> Outcome | None:
        self.state = SETTLED if self._left else ENDED
        if self.outcome is not None:
            return None
        if self.failed and not self.is_callback:
            return self._conclude(self._failure())  # rule 2
        result = self._result() if self.has_result else None
        if result is None and self.failed:
            return self._conclude(self._failure())  # rule 3
        if self.origin is CLAIMED:
            is_unrouted = self.is_unrouted
            return self._conclude(Outcome(not is_unrouted, result, self.succeeded, is_unrouted=is_unrouted))
        self.outcome = DONE if result is None else Outcome(True, result, self.succeeded)
        return self.outcome

    def _conclude(self, outcome: Outcome) -> Outcome | None:
        if self.outcome is not None:
            return None
        self.outcome = outcome
        return outcome

    def _failure(self) -> Outcome:
        if self.is_callback:
            fallback = self._fallback()
            return Outcome(fallback is not None, fallback, self.succeeded, self.failed)
        wishes = [wished_retry(error) for error in self.failed.values()]
        after = [wish.after for wish in wishes if wish and isinstance(wish.after, int | float)]
        return Outcome(
            False,
            None,
            self.succeeded,
            self.failed,
            again=True,
            after=max(after, default=None),
            is_fault=not all(wishes),
        )

    def _result(self) -> bytes | None:
        """The first result there is, in order of registration (rule 3)."""
        results = self.succeeded
        for route in self.routes:
            json = results.get(route.name)
            if json is not None:
                return json
        for json in results.values():
            if json is not None:
                return json
        return None

    def _fallback(self) -> bytes | None:
        return next((route.fallback for route in self.routes if route.fallback is not None), None)
