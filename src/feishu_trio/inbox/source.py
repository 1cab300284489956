"""An inbox as a source of the engine: it claims for idle workers, and writes down what became of what it claimed."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar, Final

import trio

from .._quiet import QuietStruct
from ..delivery import Engine, Origin, Outcome
from ..errors import InboxError
from ..events import decode_event
from ..routes import DeadHandler, name_of
from ..telemetry import Telemetry, described
from .protocol import Inbox
from .records import Claim

__all__ = ["ClaimedDelivery", "InboxSource"]

_AGAIN: Final = 1.0  # seconds after which an inbox that could not be read is asked again
# Seconds after which is looked again whether there is a handler, or an idle worker, for stored events.
_LOOK: Final = 0.05
_ERROR_CHARACTERS: Final = 2000
_CLOSE: Final = 5.0  # seconds for what is left to be written and told
_LONGEST: Final = 10 * 365 * 86_400.0


class ClaimedDelivery(QuietStruct, eq=False):
    """A claimed event on its way through the engine."""

    claim: Claim
    source: InboxSource
    since: float

    origin: ClassVar[Origin] = Origin.CLAIMED
    deadline: ClassVar[float] = math.inf

    @property
    def payload(self) -> bytes:
        """The event's JSON."""
        return self.claim.payload

    @property
    def message_id(self) -> str:
        """The frame's."""
        return self.claim.message_id

    @property
    def trace_id(self) -> str:
        """The frame's."""
        return self.claim.trace_id

    @property
    def received_at(self) -> float:
        """When it came from Feishu, in seconds since 1970."""
        return self.claim.received

    @property
    def succeeded(self) -> Mapping[str, bytes | None]:
        """Handlers that need not run again."""
        return self.claim.succeeded

    @property
    def attempt(self) -> int:
        """1 at first."""
        return self.claim.attempt

    def handler_succeeded(self, name: str, result: bytes | None) -> None:
        """It does not run again, whatever becomes of the others."""
        self.source.inbox.succeeded(self.claim, name, result)

    def settle(self, outcome: Outcome, took: float, written: Callable[[], None] | None = None) -> None:
        """Write down what is to become of it."""
        self.source.settle(self.claim, outcome)
        if written is not None:
            written()

    def give_up(self) -> None:
        """No other delivery of it waits beside this one."""


class InboxSource:
    """Brings an inbox's events to an engine.

    Args:
        inbox: The inbox; somebody else serves it.
        engine: The engine.
        telemetry: Where facts go.
        dead_handlers: The handlers of dead letters that there are at the moment.
    """

    def __init__(
        self,
        inbox: Inbox,
        engine: Engine,
        telemetry: Telemetry,
        dead_handlers: Callable[[], Iterable[DeadHandler]],
    ) -> None:
        self.inbox = inbox
        self._engine = engine
        self._telemetry = telemetry
        self._dead_handlers = dead_handlers
        self._nursery: trio.Nursery | None = None
        self._running: set[int] = set()  # tokens of the claims that are under way
        self._settled = trio.lowlevel.ParkingLot()
        self._stopping = trio.CancelScope()
        self._version = -1
        self._telling = 0  # dead letters whose handlers are at work
        inbox.on_dead = self._note_dead

    async def run(self) -> None:
        """Claim and hand on until `stop`."""
        await self._engine.ready.wait()
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            with self._stopping:
                while True:
                    try:
                        await self._step()
                    except InboxError as error:
                        self._telemetry.inbox_failed(error)
                        await trio.sleep(_AGAIN)
            await trio.sleep_forever()  # what still runs may become a dead letter, which is told from here

    async def _step(self) -> None:
        """Claim what idle workers can take, or wait for what may be claimed."""
        inbox = self.inbox
        if inbox.owes:
            # What is done could not be marked as done: claim no more until it can be.
            await trio.sleep(_AGAIN)
            return
        if not self._engine.takes_stored:
            await trio.sleep(_LOOK)
            return
        if self._version != self._engine.plan_version:
            version = self._engine.plan_version
            await inbox.unpark([each for each in inbox.types if self._engine.takes(each)])
            self._version = version
        if inbox.suspect_is_ready:
            await self._wait_settled()
            self._hand_on(await inbox.claim(1, alone=True))
            await self._wait_settled()
            return
        idle: list[tuple[int, list[str]]] = []
        with trio.move_on_after(_LOOK) as scope:  # other types may have come, whose workers are idle
            idle = await self._engine.wait_idle_workers(tuple(inbox.types))
        if scope.cancelled_caught:
            return
        found = False
        for count, types in idle:
            claims = await inbox.claim(count, types)
            self._hand_on(claims)
            found = found or bool(claims)
        if not found:
            await inbox.wait_changed()

    async def _wait_settled(self) -> None:
        """Wait until nothing that was claimed is under way."""
        while self._running:
            await self._settled.park()

    def _hand_on(self, claims: list[Claim]) -> None:
        now = trio.current_time()
        for claim in claims:
            self._running.add(claim.token)
            delivery = ClaimedDelivery(claim, self, now)
            try:
                self._engine.accept_nowait(delivery)
            except trio.WouldBlock:
                # A pool of its own is full: it waits there, and is given back if that takes long.
                assert self._nursery is not None
                self._nursery.start_soon(self._engine.accept, delivery)

    def settle(self, claim: Claim, outcome: Outcome) -> None:
        """An event has run: write down what is to become of it."""
        self._running.discard(claim.token)
        self._settled.unpark_all()
        inbox, rules = self.inbox, self.inbox.rules
        error = "; ".join(f"{name}: {described(error)}" for name, error in outcome.failed.items())
        error = error[:_ERROR_CHARACTERS].encode("utf-8", "replace").decode()
        if outcome.ok:
            inbox.done(claim)
        elif outcome.is_unrouted:
            self._telemetry.event_parked(claim.type)
            inbox.park(claim)
        elif not outcome.failed and outcome.again:
            inbox.release(claim)  # it was not begun, or was cancelled as the engine ended
        elif not outcome.is_fault:
            delay = rules.delay(claim.attempt) if outcome.after is None else _seconds(outcome.after)
            inbox.retry(claim, delay, error, counts=False)
        elif claim.attempt >= rules.max_attempts:
            inbox.die(claim, error)
            self._note_dead(claim, error)
        else:
            inbox.retry(claim, rules.delay(claim.attempt), error, counts=True)

    def _note_dead(self, claim: Claim, error: str) -> None:
        self._telemetry.event_dead(claim.id, claim.type, error)
        handlers = tuple(self._dead_handlers())
        if handlers and self._nursery is not None:
            self._telling += 1
            self._nursery.start_soon(self._tell, handlers, claim, error)

    async def _tell(self, handlers: Iterable[DeadHandler], claim: Claim, error: str) -> None:
        event = decode_event(
            claim.payload, message_id=claim.message_id, trace_id=claim.trace_id, received_at=claim.received
        )
        event.attempt = claim.attempt
        try:
            for handler in handlers:
                try:
                    given = handler(event, error)
                    if inspect.isawaitable(given):
                        await given
                except Exception as raised:
                    self._telemetry.dead_handler_failed(name_of(handler), raised)
        finally:
            self._telling -= 1
            self._settled.unpark_all()

    def stop(self) -> None:
        """Claim no more."""
        self._stopping.cancel()

    async def close(self) -> None:
        """Everything is settled: wait until it is written, and dead letters are told of, for a few seconds at the most."""
        with trio.move_on_after(_CLOSE):
            await self.inbox.flush()
            while self._telling:
                await self._settled.park()


def _seconds(after: float) -> float:
    """What a handler wished for, as a time that can be had: it may be any number."""
    try:
        return min(max(0.0, float(after)), _LONGEST)
    except OverflowError:
        return _LONGEST
