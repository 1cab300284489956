"""One event on its way: who waits for its answer, what of it is still running, what came of the rest."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import trio

from ..events import Event
from ..router import Route
from ..wire import FAILED, OK, ok_with

if TYPE_CHECKING:
    from .pool import Pool

__all__ = ["CALLBACKS", "Delivery", "Job", "Run", "Step"]

CALLBACKS: Final = frozenset({"card.action.trigger", "url.preview.get"})
"""Types that somebody waits for: answered by the deadline whatever happens, and never delivered again."""

# The ladder makes five deliveries of an event; more than this many waiting at once is somebody's mistake.
_WAITING: Final = 8


class Delivery(Protocol):
    """One arrival of an event, which wants one answer.

    It need not come from a connection: whatever stores events can hand them on as these, and take the
    answer for the outcome.
    """

    payload: bytes
    message_id: str
    trace_id: str
    received_at: float

    def answer(self, body: bytes, sent: Callable[[], None] | None = None) -> None:
        """Answer with this payload, on this connection or another; `sent` is called once it is written."""


class Job(NamedTuple):
    """One run of one handler: for an event, or for each of a batch."""

    route: Route
    runs: tuple[Run, ...]


class Step(NamedTuple):
    """One handler that an event is to run, in which pool, and behind which key."""

    route: Route
    pool: Pool[Job]
    key: Hashable


class Run:
    """An event on its way through its handlers.

    It is settled when the handlers that the answer waits for (`pending`) are done; those that run on
    receipt may go on. Compared by identity.
    """

    __slots__ = (
        "broken",
        "chat",
        "deadline",
        "deliveries",
        "event",
        "failed",
        "faulty",
        "is_callback",
        "is_late",
        "jobs",
        "keys",
        "pending",
        "said",
        "steps",
        "succeeded",
        "written",
    )

    def __init__(
        self,
        event: Event[Any],
        keys: tuple[str, ...],
        chat: str | None,
        delivery: Delivery,
        deadline: float,
        succeeded: Mapping[str, bytes | None] | None,
    ) -> None:
        self.event = event
        self.keys = keys
        self.chat = chat
        self.deliveries = [delivery]
        """Those that wait for the answer."""
        self.deadline = deadline
        self.is_callback = event.type in CALLBACKS
        self.succeeded: dict[str, bytes | None] = dict(succeeded) if succeeded else {}
        """Handlers that shall not run again, of an earlier delivery too, with their results' JSON."""
        self.steps: list[Step] = []
        self.broken: list[tuple[Route, Exception]] = []
        """Handlers whose filter or key function raised."""
        self.pending: list[Route] = []
        """Handlers that the answer waits for."""
        self.jobs = 0
        """Handlers that have not ended, those that run on receipt among them."""
        self.failed = False
        """Whether a handler that the answer waits for failed."""
        self.faulty = False
        """Whether any handler failed."""
        self.is_late = False
        """Whether it was told that the answer is late."""
        self.said: bytes | None = None
        """What deliveries have been answered with, and later ones will be."""
        self.written: trio.Event | None = None
        """There once a callback had to be answered without its handlers; set when that answer is written."""

    def join(self, delivery: Delivery) -> None:
        """Have one more delivery wait for the answer."""
        if len(self.deliveries) == _WAITING:
            del self.deliveries[0]  # the platform has given that one up long ago
        self.deliveries.append(delivery)

    def outcome(self) -> bytes:
        """The answer now that all handlers are done."""
        if self.failed and not self.is_callback:
            return FAILED
        result = self._result()
        if result is not None:
            return ok_with(result)
        return self.refusal() if self.failed else OK

    def makeshift(self) -> bytes:
        """The answer to a callback at the deadline: what there is by then, or else the fallback."""
        result = self._result() or self._fallback()
        return OK if result is None else ok_with(result)

    def refusal(self) -> bytes:
        """The answer if the handlers failed, or cannot run at all."""
        fallback = self._fallback() if self.is_callback else None
        return FAILED if fallback is None else ok_with(fallback)

    def _result(self) -> bytes | None:
        """The first result there is, in order of registration."""
        for step in self.steps:
            json = self.succeeded.get(step.route.name)
            if json is not None:
                return json
        return next((json for json in self.succeeded.values() if json is not None), None)

    def _fallback(self) -> bytes | None:
        routes = (*(step.route for step in self.steps), *(route for route, _ in self.broken))
        return next((route.fallback for route in routes if route.fallback is not None), None)
