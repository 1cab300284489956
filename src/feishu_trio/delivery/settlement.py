"""Settling: what became of a run goes to every delivery that waits for it, and into the ledger."""

from __future__ import annotations

from collections.abc import Callable

from ..events import Event
from ..telemetry import Telemetry
from .deadlines import Deadlines
from .ledger import Ended, Ledger
from .run import Run
from .source import ARRIVED, Delivery, Outcome

__all__ = ["Settlement"]


class Settlement:
    """Settles runs; owns the ledger and the deadlines. `clock` is trio's."""

    def __init__(self, ledger: Ledger[Run], telemetry: Telemetry, clock: Callable[[], float]) -> None:
        self.ledger = ledger
        self.deadlines = Deadlines()
        self._telemetry = telemetry
        self._clock = clock

    def join(self, run: Run, delivery: Delivery) -> None:
        """Have a delivery settled like the one that the event runs for."""
        if run.outcome is None:
            displaced = run.join(delivery)
            if displaced is not None:
                displaced.give_up()
        else:
            run.event.redelivered = True
            self.settle_delivery(run.event, delivery, run.outcome, self._clock())

    def settle(
        self, run: Run, outcome: Outcome, now: float, written: Callable[[], None] | None = None
    ) -> None:
        """Settle every delivery that waits for this run. `written` is called once the answer is."""
        self.deadlines.discard(run)
        for delivery in run.deliveries:
            self.settle_delivery(run.event, delivery, outcome, now, written)
        run.deliveries.clear()

    def settle_delivery(
        self,
        event: Event[object],
        delivery: Delivery,
        outcome: Outcome,
        now: float,
        written: Callable[[], None] | None = None,
    ) -> None:
        """Settle one delivery."""
        took = now - delivery.since
        delivery.settle(outcome, took, written)
        if delivery.origin is ARRIVED:
            self._telemetry.event_answered(event, outcome.ok, took)

    def record(self, run: Run, now: float) -> None:
        """The handlers that the outcome waits for have ended: remember what came of it."""
        outcome = run.outcome
        if run.failed:
            self.ledger.end(Ended(run.keys, now, None, run.succeeded))
        elif outcome is None or outcome.result is None:
            self.ledger.done(run.keys, now)
        else:
            self.ledger.end(Ended(run.keys, now, Outcome(True, outcome.result)))

    def forget(self, run: Run, now: float) -> None:
        """None of its handlers has begun: what is known of its event is what was known before."""
        if run.succeeded:
            self.ledger.end(Ended(run.keys, now, None, run.succeeded))
        else:
            self.ledger.forget(run.keys)
