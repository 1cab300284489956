"""An inbox as a source of the engine: it claims for idle workers, and writes down what became of what it claimed."""

from __future__ import annotations

import inspect
import math
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Final

import trio

from .._quiet import QuietStruct
from ..delivery import Delivery, Engine, IdleWorkers, Origin, Outcome, identify
from ..errors import EventDecodeError, InboxError, Retry
from ..events import Event, decode_event
from ..routes import DeadHandler, is_async_function, name_of
from ..telemetry import Telemetry, described
from .protocol import Inbox
from .records import Claim, Details
from .storing import lane_of

__all__ = ["ClaimedDelivery", "InboxSource"]

_AGAIN: Final = 1.0  # seconds after which an inbox that could not be read is asked again
# Seconds after which is looked again whether there is a handler, or an idle worker, for stored events.
_LOOK: Final = 0.05
_ERROR_CHARACTERS: Final = 2000
# Events that are claimed at a time: a batch may want many more, and they may be large.
_CLAIMED: Final = 64
_TOLD: Final = 16  # dead letters that are told of at a time
_TELLING: Final = 60.0  # seconds for a handler of dead letters
_CLOSE: Final = 5.0  # seconds for what is left to be written and told
_LONGEST: Final = 10 * 365 * 86_400.0


class ClaimedDelivery(QuietStruct, eq=False):
    """A claimed event on its way through the engine."""

    claim: Claim
    source: InboxSource
    since: float
    is_over: bool = False
    """Whether it counts as handled though it has not ended, so that no handler runs for it again."""

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

    @property
    def notes(self) -> ClaimedDelivery:
        """It keeps them itself."""
        return self

    def noted(self, handler: str, key: str) -> bytes | None:
        """What an earlier run of a handler noted, or this one; None if nothing."""
        return self.claim.notes.get((handler, key))

    async def note(self, handler: str, key: str, value: bytes) -> None:
        """Keep a value until the event is done; returns when it is written.

        Raises:
            InboxError: It could not be written, or the event is not this run's any more.
        """
        if not await self.source.inbox.note(self.claim, handler, key, value):
            raise InboxError(f"event {self.claim.id} is not this handler's any more")
        self.claim.notes = {**self.claim.notes, (handler, key): value}

    @property
    def is_owned(self) -> bool:
        """Whether no other process may have it."""
        return self.source.inbox.owns(self.claim)

    async def begin(self, batch: Sequence[Delivery]) -> None:
        """Write down that a batch begins; if that cannot be, it does not, and comes again."""
        try:
            await self.source.inbox.begin([each.claim for each in batch if isinstance(each, ClaimedDelivery)])
        except InboxError as error:
            raise Retry(reason=f"it cannot be written down that it begins: {error}") from error

    def handler_succeeded(self, name: str, result: bytes | None, *, is_last: bool) -> None:
        """It does not run again, whatever becomes of the others; of the last one nobody needs to know."""
        if not is_last:
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

    Dead letters are told of by one task, however they came to be such, and once for sure: who dies while it tells
    tells again.
    """

    def __init__(
        self,
        inbox: Inbox,
        engine: Engine,
        telemetry: Telemetry,
        dead_handlers: Callable[[], Iterable[DeadHandler]],
    ) -> None:
        self.inbox = inbox
        inbox.on_lost = self._give_up
        inbox.on_late = lambda claim: telemetry.result_refused(claim.id, claim.type, claim.trace_id)
        self._engine = engine
        self._telemetry = telemetry
        self._dead_handlers = dead_handlers
        self._nursery: trio.Nursery | None = None
        self._running: dict[int, ClaimedDelivery] = {}  # what is under way, by its event's number
        self._cancelled: set[int] = set()  # what was cancelled while it was being claimed
        self._settled = trio.lowlevel.ParkingLot()
        self._stopping = trio.CancelScope()
        self._version = -1
        self._is_telling = False
        self._threads = trio.CapacityLimiter(_TOLD)

    async def run(self) -> None:
        """Claim and hand on until `stop`."""
        await self._engine.ready.wait()
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._keep_on, self._tell)  # what still runs may become a dead letter
                with self._stopping:
                    await self._keep_on(self._step)
                await trio.sleep_forever()
        finally:
            # After an orderly end there is nothing left; cut off, there may be.
            for delivery in self._engine.going_on():
                if isinstance(delivery, ClaimedDelivery):
                    self.inbox.keep(delivery.claim)

    async def _keep_on(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await step()
            except InboxError as error:
                self._telemetry.inbox_failed(error)
                await trio.sleep(_AGAIN)

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
        version = self._engine.plan_version
        if self._version != version or any(map(self._engine.takes, inbox.parked_types)):
            await inbox.unpark([each for each in inbox.types if self._engine.takes(each)])
            self._version = version
        if inbox.suspect_is_ready:
            await self.wait_settled()
            await self._claim(1, alone=True)
            self._engine.flush()  # a batch does not wait for others, as none comes
            await self.wait_settled()
            return
        idle: list[IdleWorkers] = []
        with trio.move_on_after(_LOOK) as scope:  # other types may have come, whose workers are idle
            idle = await self._engine.wait_idle_workers(tuple(inbox.types))
        if scope.cancelled_caught:
            return
        found = False
        for each in idle:  # they may share workers: what one has claimed is nothing for the next
            limit = min(each.events, _CLAIMED)
            if limit and await self._claim(
                limit, each.types, in_order=each.in_order, to_park=each.are_unrouted
            ):
                found = True
        if not found:
            await inbox.wait_changed()

    def _give_up(self, lost: Collection[int]) -> None:
        """End the handlers of what is not claimed here any more."""
        for number in lost:
            delivery = self._running.pop(number, None)
            if delivery is not None:
                self._engine.withdraw(delivery)
        self._settled.unpark_all()

    async def _claim(
        self,
        limit: int,
        types: Collection[str] | None = None,
        *,
        alone: bool = False,
        in_order: bool = True,
        to_park: bool = False,
    ) -> bool:
        """Claim, and hand on what was claimed; whether there was any."""
        self._cancelled.clear()
        claims = await self.inbox.claim(limit, types, alone=alone, in_order=in_order, to_park=to_park)
        now = trio.current_time()
        for claim in claims:
            if claim.number in self._cancelled:
                continue
            delivery = self._running[claim.number] = ClaimedDelivery(claim, self, now)
            try:
                self._engine.accept_nowait(delivery)
            except trio.WouldBlock:
                # A pool of its own is full: it waits there, and is given back if that takes long.
                assert self._nursery is not None
                self._nursery.start_soon(self._engine.accept, delivery)
        return bool(claims)

    async def cancel(self, key: Hashable, ended: Iterable[Event[Any]] = ()) -> int:
        """End what is stored and runs or waits behind an order key, as if it had been handled; how many events.

        Not the caller's own. Those that ended as arrivals, `ended`, are not counted again.

        Raises:
            InboxError: Nothing was ended.
        """
        own = [
            each.claim.number for each in self._engine.own_deliveries() if isinstance(each, ClaimedDelivery)
        ]
        keys = [name for event in ended for name in identify(event)[0]]
        cancelled = await self.inbox.cancel(lane_of(key), own, keys)
        for number in cancelled.running:
            delivery = self._running.pop(number, None)
            if delivery is None:
                self._cancelled.add(number)
            else:
                delivery.is_over = True
                self._engine.withdraw(delivery)
        self._settled.unpark_all()
        self._telemetry.events_cancelled(cancelled.count)
        return cancelled.count - cancelled.known

    def settle(self, claim: Claim, outcome: Outcome) -> None:
        """An event has run: write down what is to become of it."""
        self._running.pop(claim.number, None)
        if not self._running:
            self._settled.unpark_all()
        inbox, rules = self.inbox, self.inbox.rules
        error = ""
        if outcome.failed:
            errors = {name: _bounded(described(error)) for name, error in outcome.failed.items()}
            for name, text in errors.items():
                inbox.failed(claim, name, text)
            error = _bounded("; ".join(f"{name}: {text}" for name, text in errors.items()))
        if outcome.ok:
            inbox.done(claim)
        elif outcome.is_unrouted:
            self._telemetry.event_parked(claim.type)
            inbox.park(claim)
        elif outcome.goes_on:
            inbox.keep(claim)
        elif not outcome.failed and outcome.again:
            inbox.release(claim)  # it was not begun, or was cancelled as the engine ended
        elif outcome.is_fault and claim.attempt >= rules.max_attempts:
            inbox.die(claim, error)
        else:
            delay = rules.delay(claim.attempt)
            if outcome.after is not None:
                wish = _seconds(outcome.after)
                delay = max(delay, wish) if outcome.is_fault else wish
            if outcome.is_fault:
                self._telemetry.attempt_failed(
                    claim.id, claim.type, claim.attempt, rules.max_attempts, delay, claim.trace_id
                )
            inbox.retry(claim, delay, error, counts=outcome.is_fault)

    async def _tell(self) -> None:
        """Tell of dead letters, some at a time, once there are any."""
        await self.inbox.wait_untold()
        self._is_telling = True
        try:
            async with trio.open_nursery() as nursery:
                for dead in await self.inbox.untold(_TOLD):
                    nursery.start_soon(self._tell_of, dead)
        finally:
            self._is_telling = False
        await self.inbox.flush()
        self._settled.unpark_all()

    async def _tell_of(self, dead: Details) -> None:
        error = dead.error or ""
        self._telemetry.event_dead(dead.id, dead.type, error, dead.trace_id)
        handlers = tuple(self._dead_handlers())
        event: Event[Any] | None = None
        if handlers and dead.payload is not None:
            with suppress(EventDecodeError):  # it died of that
                event = decode_event(
                    dead.payload,
                    message_id=dead.message_id,
                    trace_id=dead.trace_id,
                    received_at=dead.received,
                )
        if event is not None:
            event.port = self._engine.port
            event.attempt = max(1, dead.attempts)
            for handler in handlers:
                await self._call(handler, event, error)
        self.inbox.told(dead.number)

    async def _call(self, handler: DeadHandler, event: Event[Any], error: str) -> None:
        try:
            with trio.fail_after(_TELLING):
                given = await self._begin(handler, event, error)
                if inspect.isawaitable(given):
                    await given
        except Exception as raised:
            self._telemetry.dead_handler_failed(name_of(handler), event, raised)

    async def _begin(self, handler: DeadHandler, event: Event[Any], error: str) -> object:
        """Call a handler: a plain one in a thread, which is left to end by itself if it takes too long."""
        if is_async_function(handler):
            return handler(event, error)
        # In a box, because trio takes a coroutine that comes out of a thread for a mistake.
        (given,) = await trio.to_thread.run_sync(
            lambda: (handler(event, error),), limiter=self._threads, abandon_on_cancel=True
        )
        return given

    def stop(self) -> None:
        """Claim no more."""
        self._stopping.cancel()

    async def wait_settled(self) -> None:
        """Wait until nothing that was claimed is under way."""
        while self._running:
            await self._settled.park()

    async def close(self) -> None:
        """Everything is settled: wait until it is written, and dead letters are told of, for a few seconds at the most."""
        with trio.move_on_after(_CLOSE):
            await self.inbox.flush()
            while (self.inbox.has_untold or self._is_telling) and not self.inbox.owes:
                await self._settled.park()


def _seconds(after: float) -> float:
    """What a handler wished for, as a time that can be had: it may be any number."""
    try:
        return min(max(0.0, float(after)), _LONGEST)
    except OverflowError:
        return _LONGEST


def _bounded(text: str) -> str:
    """An error's text as it is kept: not too long, and without what has no form in UTF-8."""
    return text[:_ERROR_CHARACTERS].encode("utf-8", "replace").decode()
