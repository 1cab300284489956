"""One event on its way: who waits for its answer, what of it is still running, what came of the rest."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

import trio

from .._quiet import QuietStruct
from ..events import Event
from ..router import Route
from ..wire import FAILED, OK, ok_with

if TYPE_CHECKING:
    from .pool import Pool

__all__ = ["CALLBACKS", "Delivery", "Job", "Run"]

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

    def answer(self, body: bytes, took: float, sent: Callable[[], None] | None = None) -> None:
        """Answer with this payload, `took` seconds after it arrived, on this connection or another.

        `sent` is called once the answer is written.
        """

    def give_up(self) -> None:
        """It will not be answered: whoever sent it has long stopped waiting."""


class Job(QuietStruct, eq=False):
    """One run of one handler: for an event, or for each of a batch."""

    route: Route
    pool: Pool[Job]
    """Where it is to run."""
    key: Hashable
    """Behind which others it waits its turn."""
    run: Run
    company: tuple[Run, ...] = ()
    """The others of a batch."""
    weight: int = 1
    """How many events it is for."""


class Run(QuietStruct, eq=False):
    """An event on its way through its handlers.

    It is settled when the handlers that the answer waits for are done; those that run on receipt may go on.
    Compared by identity.
    """

    event: Event[Any]
    keys: tuple[str, ...]
    chat: str | None
    deadline: float
    deliveries: list[Delivery]
    """Those that wait for the answer."""
    succeeded: dict[str, bytes | None]
    """Handlers that shall not run again, of an earlier delivery too, with their results' JSON."""
    is_callback: bool
    routes: Sequence[Route] = ()
    """Handlers that run for it, or have run."""
    broken: Sequence[tuple[Route, Exception]] = ()
    """Handlers whose filter or key function raised."""
    awaited: int = 0
    """How many handlers the answer waits for."""
    jobs: int = 0
    """How many handlers have not ended, those that run on receipt among them."""
    failed: tuple[str, ...] = ()
    """The names of handlers that the answer waited for, and which failed."""
    faulty: bool = False
    """Whether any handler failed."""
    is_late: bool = False
    """Whether it was told that the answer is late."""
    said: bytes | None = None
    """What deliveries have been answered with, and later ones will be."""
    written: trio.Event | None = None
    """There once a callback had to be answered without its handlers; set when that answer is written."""

    def still_at_work(self) -> list[str]:
        """The names of the handlers that the answer waits for."""
        ended = {*self.succeeded, *self.failed}
        return [route.name for route in self.routes if route.name not in ended]

    def join(self, delivery: Delivery) -> None:
        """Have one more delivery wait for the answer."""
        if len(self.deliveries) == _WAITING:
            self.deliveries.pop(0).give_up()
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
        routes = (*self.routes, *(route for route, _ in self.broken))
        return next((route.fallback for route in routes if route.fallback is not None), None)
