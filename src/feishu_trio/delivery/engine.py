"""The engine: takes deliveries in, runs their handlers within bounds, and settles each with an outcome.

    accept → identify, ledger (known? joined, or settled from the record) → plan → pools → work → settle

It knows no connections and no inboxes: they are its sources.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine, Hashable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from contextvars import copy_context
from functools import partial
from typing import Any, Final, Literal, TypeAlias

import msgspec
import trio

from ..config import Ack, PoolConfig
from ..errors import EventDecodeError, first_error
from ..events import Event, decode_event, encode_result, flaw_of
from ..events.port import EventPort
from ..router import Route, Router
from ..telemetry import Telemetry
from .batches import Batches
from .context import resume
from .handlers import call, caller, fault_of
from .identity import identify
from .job import Job
from .late import LateResults
from .ledger import Ledger
from .plan import Planner, PoolBatch, Storing
from .pool import PATIENCE, Pool
from .pools import MESSAGE_POOL, Pools
from .run import CALLBACKS, ENDED, HELD, RUNNING, WITHDRAWN, Run
from .settlement import Settlement
from .source import ARRIVED, CLAIMED, DONE, Delivery, Outcome, Source
from .watch import Watch

__all__ = ["Engine"]

HandlerMode: TypeAlias = Literal["all", "single", "sequential"]

# Stored events of types without a handler that are claimed at a time, to be parked.
_UNROUTED: Final = 64
# Seconds that a drain may take without a line in the log.
_BRIEF: Final = 1.0
# Seconds for the last of what came to be settled, once handlers are cancelled; then sources are closed without it.
_SETTLING: Final = 2.0
# Of what cannot be read, or comes once the engine has ended.
_TO_COME_AGAIN: Final = Outcome(False, again=True)


class IdleWorkers(msgspec.Struct, frozen=True):
    """The types of stored events whose handlers run in the same pools, and how many would begin there at once."""

    types: list[str]
    pools: frozenset[PoolBatch]

    @property
    def events(self) -> int:
        """How many, as of now."""
        return min((pool.idle_workers(batch or 1) for pool, batch in self.pools), default=_UNROUTED)

    @property
    def are_unrouted(self) -> bool:
        """Whether there is no handler for them."""
        return not self.pools

    @property
    def in_order(self) -> bool:
        """Whether they keep their order: not what only batches want."""
        return not self.pools or not all(batch for _, batch in self.pools)


class Engine:
    """Runs handlers for what its sources bring; made for one session or worker.

    Args:
        router: What runs for an event.
        pools: The pools by name, `DEFAULT_POOL`, `CALLBACK_POOL` and `MESSAGE_POOL` among them.
        ack: When events are answered, where their routes do not say.
        ledger: Which events are known.
        telemetry: Where facts go.
        late: Called with a callback and a handler's result for it that came after the fallback,
            once that has been written.
        queue_bytes: Bytes of payload that may wait, over all pools (see `WaitingBytes`).
        handler_mode: Which handlers of an event run, and how: "all" side by side; "single", the one that was
            registered last; "sequential", one after the other, whether or not the one before failed.
        storing: How events that arrive are stored, if there is an inbox.
        stuck_after: Seconds at work after which a handler is stuck.
    """

    def __init__(
        self,
        router: Router,
        *,
        pools: Mapping[str, PoolConfig],
        ack: Ack,
        ledger: Ledger[Run],
        telemetry: Telemetry,
        late: Callable[[Event[Any], object], Coroutine[Any, Any, None]],
        queue_bytes: float = math.inf,
        handler_mode: HandlerMode = "all",
        storing: Storing | None = None,
        stuck_after: float = 60,
    ) -> None:
        self.in_flight = 0
        """Events with a handler that runs or waits."""
        self.ready = trio.Event()
        """Set once events may be taken in: whoever handles them has had the time to say so."""
        self.pools = Pools(pools, self._work, telemetry, queue_bytes)
        self.loops: dict[trio.lowlevel.Task, trio.lowlevel.Task] = {}
        """Workers that wait for a loop to be done with its event, and the tasks that iterate."""
        self.port: EventPort | None = None
        """What events speak through."""
        self.questions: Callable[[Event[Any], Callable[[bytes | None], None]], bool] | None = None
        """Takes clicks that answer questions as they arrive, and settles each with the JSON of its answer."""
        self._telemetry = telemetry
        self._context = copy_context()  # a copy of it is what each handler runs in
        self._now: Callable[[], float] = trio.lowlevel.current_clock().current_time
        self._settlement = Settlement(ledger, telemetry, self._now)
        self._planner = Planner(router, self.pools, ack, is_single=handler_mode == "single", storing=storing)
        self._storing = storing
        self._is_sequential = handler_mode == "sequential"
        # The jobs that wait for others of their run, the next one last.
        self._later: dict[Run, list[Job]] = {}
        self._batches = Batches(self._note_batch)
        self._workers = trio.CancelScope()
        self._held: dict[Run, None] = {}  # those that wait for room
        self._let_in = trio.lowlevel.ParkingLot()  # those of them that wait for others of their chat
        self._sources: Sequence[Source] = ()
        self._is_ready = False
        self._is_draining = False
        self._has_ended = False
        self._late = LateResults(late, telemetry, self._context)
        self._claimed: dict[Run, list[Job]] = {}  # the jobs of those that may be withdrawn
        self.watch = Watch(self.pools, self.loops, telemetry, self._now, stuck_after)
        """Tells of handlers that are stuck, and of a loop that stands still."""

    # Life

    async def run(
        self, sources: Sequence[Source], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Run the sources, and handlers for what they bring, until cancelled, which cancels the handlers.

        Raises:
            FeishuError: A source cannot go on.
            BaseException: What a handler raised that is no `Exception`, such as `SystemExit`.
        """
        self._sources = sources
        async with trio.open_nursery() as nursery:
            with self._workers:
                async with trio.open_nursery() as workers:
                    self.pools.start(workers)
                    self._batches.start(workers)
                    for source in sources:
                        nursery.start_soon(source.run, name=f"feishu_trio {type(source).__name__}")
                    task_status.started()
                    nursery.start_soon(self.watch.run, name="feishu_trio watch")
                    await self._settlement.deadlines.watch(self._expire)

    def let_events_in(self) -> None:
        """Handlers are there: events may be taken in from here on."""
        self._is_ready = True
        self.ready.set()

    async def end(self, timeout: float) -> None:
        """The orderly end: stop the sources, drain for `timeout` seconds at the most, settle what is left.

        Each source is closed once all that it brought is settled, though handlers may go on: what it would bring goes
        to others then.
        """
        for source in self._sources:
            source.stop()
        failure: BaseException | None = None
        settling = [trio.CancelScope() for _ in self._sources]
        try:
            async with trio.open_nursery() as nursery:
                for source, scope in zip(self._sources, settling, strict=True):
                    nursery.start_soon(self._close, source, scope)
                with trio.move_on_after(timeout) as draining:
                    with trio.move_on_after(_BRIEF) as brief:
                        await self.drain()
                    if brief.cancelled_caught:
                        if self.in_flight:  # else it is JSON text messages that are handled
                            self._telemetry.drain_lasts(self.in_flight, self._at_work(), timeout)
                        await self.drain()
                if draining.cancelled_caught and self.in_flight:
                    self._telemetry.drain_cut(self.in_flight, self._at_work(), timeout)
                self.abandon()
                for scope in settling:  # a click that a handler still has the answer to, say
                    scope.deadline = self._now() + _SETTLING
        except BaseExceptionGroup as group:
            failure = first_error(group)  # an interrupt: raised below, as itself
            if failure is None:
                raise
        if failure is not None:
            raise failure

    @staticmethod
    async def _close(source: Source, settling: trio.CancelScope) -> None:
        with settling:
            await source.wait_settled()
        await source.close()

    def _at_work(self) -> list[str]:
        """The names of the handlers that are at work."""
        return list(dict.fromkeys(job.route.name for pool in self.pools for _, job in pool.at_work()))

    async def drain(self) -> None:
        """Wait until everything that was taken in has run. Batches do not wait to be full, and new events are refused."""
        self._is_draining = True
        while True:
            self._batches.flush()
            await self.pools.wait_idle()
            if not self._held and not self._batches and self.pools.are_idle:
                return
            await trio.lowlevel.checkpoint()

    def abandon(self) -> None:
        """Settle what still runs or waits so that it comes again; cancel its handlers, and start no more."""
        self._has_ended = True
        now = self._now()
        for run in dict.fromkeys((*self._settlement.deadlines, *self._claimed, *self._held)):
            outcome = run.abandon(goes_on=self._goes_on(run))
            if outcome is not None:
                self._settlement.settle(run, outcome, now)
        self._workers.cancel()

    @property
    def queue_depth(self) -> int:
        """Runs of handlers that wait for a worker or for their turn."""
        return sum(pool.waiting for pool in self.pools)

    # Taking in

    def accept_nowait(self, delivery: Delivery) -> None:
        """Take one delivery in: its event runs, or it was joined to one that does, or it is settled at once.

        Raises:
            trio.WouldBlock: A pool is full, or nothing is taken in yet. Nothing has been done: `accept` waits.
        """
        if not self._is_ready:
            raise trio.WouldBlock
        run = self._admit(delivery)
        if run is None:
            return
        if self._held and self._held_before(run):
            raise trio.WouldBlock
        jobs = self._planner.plan(run)
        for job in jobs:
            if job.pool.is_full:
                raise trio.WouldBlock
        self._register(run)
        self._begin(run, jobs)

    async def accept(self, delivery: Delivery) -> None:
        """Take one delivery in, waiting for room for a second at the most; then it is refused, to come again.

        Meanwhile it is known: a redelivery joins it. Cancelling this refuses it. Before `ready` this waits for that.
        """
        if not self._is_ready:
            try:
                await self.ready.wait()
            except trio.Cancelled:
                delivery.settle(_TO_COME_AGAIN, self._now() - delivery.since)
                raise
        run = self._admit(delivery)
        if run is None:
            await trio.lowlevel.checkpoint()
            return
        self._register(run)
        await self._hold(run)

    def withdraw(self, delivery: Delivery) -> None:
        """The source does not own this claim any more: its handlers are cancelled, and nobody learns how it ends.

        A handler in a thread cannot be cancelled, and goes on, as does that of a batch with events that are still
        owned.
        """
        runs = (run for run in (*self._claimed, *self._held) if delivery in run.deliveries)
        run = next(runs, None)
        if run is None:
            return  # it has ended
        run.withdraw()
        jobs = self._claimed.pop(run, None)
        if jobs is None:
            return  # it has not begun
        self.in_flight -= 1
        while run in self._later:
            self._start_next(run)  # they are dropped, and give up their turns
        for job in jobs:
            if all(each.state is WITHDRAWN for each in job.runs):
                job.pool.cancel(job)

    def going_on(self) -> list[Delivery]:
        """The claimed deliveries of which a handler is at work in a thread, which nothing can stop."""
        return [each for run in self._claimed if self._goes_on(run) for each in run.deliveries]

    def _goes_on(self, run: Run) -> bool:
        return any(job.in_thread for job in self._claimed.get(run, ()))

    def cancel(self, key: Hashable) -> list[Event[Any]]:
        """End what arrived and runs or waits behind an order key, as if it had been handled; which events.

        Not the caller's own run. A handler in a thread goes on, but its worker does not wait for it.
        """
        now = self._now()
        own = self._own_runs()
        ended: set[Run] = set()
        for run in [each for each in self._held if each.origin is ARRIVED]:
            for job in self._planner.plan(run):
                if _is_behind(key, job.key):
                    run.skip(job.route.name)
                    ended.add(run)
        for pool in self.pools:
            for job in reversed(pool.behind(partial(_is_behind, key))):
                if job.run is not None and job.run not in own and not job.is_over:
                    ended.add(job.run)
                    self._end_early(job.run, job, now)
        return [run.event for run in ended]

    def _end_early(self, run: Run, job: Job, now: float) -> None:
        job.is_over = True
        job.pool.drop(job)
        later = self._later.get(run)
        if later is not None and job in later:
            later.remove(job)
            if not later:
                del self._later[run]
        self._handler_ended(run, job, None, None, now)

    def own_deliveries(self) -> list[Delivery]:
        """The deliveries of whatever handler, or loop over events, calls this, from its own task or one below it.

        None if it is neither.
        """
        return [delivery for run in self._own_runs() for delivery in run.deliveries]

    def own_handler(self) -> str | None:
        """The name of whatever handler, or loop over events, calls this; None if it is neither."""
        return next((job.route.name for job in self._own_jobs()), None)

    def aside(self) -> AbstractContextManager[None]:
        """Time within is a person's, and not that of whatever handler, or loop over events, calls this."""
        return self.watch.aside(self._own_jobs())

    def _own_runs(self) -> list[Run]:
        return [run for job in self._own_jobs() for run in job.runs]

    def _own_jobs(self) -> list[Job]:
        task: trio.lowlevel.Task | None = caller.get(None) or trio.lowlevel.current_task()
        while task is not None:
            workers = [task, *(worker for worker, looping in self.loops.items() if looping is task)]
            jobs = [pool.job_of(worker) for worker in workers for pool in self.pools]
            own = [job for job in jobs if job is not None and job.runs]
            if own:
                return own
            task = task.parent_nursery and task.parent_nursery.parent_task
        return []

    def flush(self) -> None:
        """Have batches begin as they are: nothing more comes for them."""
        self._batches.flush()

    async def wait_stored(self) -> None:
        """Wait until what has arrived so far is stored, or cannot be."""
        storing = list(filter(self._is_storing, (*self._settlement.deadlines, *self._held)))
        await trio.lowlevel.checkpoint()
        while any(map(self._is_storing, storing)):
            await self.pools.freed.park()

    def _is_storing(self, run: Run) -> bool:
        storing = self._storing
        if storing is None or not run.is_stored:
            return False
        return run.state is HELD or storing.route.name in run.pending

    def call_nowait(self, route: Route, text: bytes) -> None:
        """Have the handler of `route` run for a JSON text message, in the pool for these. Its middleware parses it.

        Raises:
            trio.WouldBlock: That pool is full; `call` waits for room.
        """
        if self._is_draining:
            return
        pool = self.pools.named[MESSAGE_POOL]
        if pool.is_full:
            raise trio.WouldBlock
        self._submit_call(route, text)

    async def call(self, route: Route, text: bytes) -> None:
        """The same, waiting for room while the pool gets on; if it is stuck, the handler does not get the message.

        That is longer than `accept` waits, for a text message does not come again. Nor does it get it if this is
        cancelled.
        """
        pool = self.pools.named[MESSAGE_POOL]
        has_room = False
        try:
            has_room = await pool.wait_room_while_moving()
        finally:
            if not has_room:
                self._telemetry.text_refused(route.name, route.patterns[0])
        if has_room:
            self._submit_call(route, text)

    def _submit_call(self, route: Route, text: bytes) -> None:
        if not self._has_ended:
            pool = self.pools.named[MESSAGE_POOL]
            pool.submit(Job(route, pool, None, text, None, is_awaited=False, size=len(text)))

    @property
    def plan_version(self) -> int:
        """Grows whenever other handlers may take an event than before."""
        return self._planner.version

    @property
    def takes_stored(self) -> bool:
        """Whether any handler or stream here takes stored events."""
        return self._planner.takes_stored

    @property
    def durable(self) -> list[str]:
        """The names of the handlers here that take stored events."""
        return self._planner.durable

    def takes(self, event_type: str) -> bool:
        """Whether a handler or stream here takes stored events of this type."""
        return self._planner.takes(event_type)

    async def wait_idle_workers(self, types: Iterable[str]) -> list[IdleWorkers]:
        """Wait until stored events of some of these types would begin at once, or be gathered in a batch.

        Returned are all these types.
        """
        await trio.lowlevel.checkpoint()
        while True:
            by_pools: dict[frozenset[PoolBatch], list[str]] = {}
            for event_type in types:
                by_pools.setdefault(self._planner.pools_of(event_type), []).append(event_type)
            idle = [IdleWorkers(of, pools) for pools, of in by_pools.items()]
            if not idle or any(each.events for each in idle):
                return idle
            await self.pools.freed.park()

    def _admit(self, delivery: Delivery) -> Run | None:
        """The run of a delivery whose event is to run; None for what needs none, and is settled or joined."""
        if self._has_ended:
            delivery.settle(_TO_COME_AGAIN, self._now() - delivery.since)
            return None
        origin = delivery.origin
        try:
            event = decode_event(
                delivery.payload,
                message_id=delivery.message_id,
                trace_id=delivery.trace_id,
                received_at=delivery.received_at,
            )
            names, chat = identify(event) if origin is ARRIVED else ((), None)
        except EventDecodeError as error:
            self._telemetry.payload_refused(error, delivery.trace_id)
            failed = {"(its payload)": error}
            outcome = Outcome(False, failed=failed, again=True, is_fault=True)
            delivery.settle(outcome, self._now() - delivery.since)
            return None
        event.port = self.port
        if event.type in CALLBACKS and self._answers_question(event, delivery):
            return None
        keys: tuple[int, ...] = ()
        known = None
        if origin is ARRIVED:
            if self._storing is not None:
                event._identity = names, chat
            ledger = self._settlement.ledger
            keys = ledger.keys(names)
            known = ledger.find(keys, delivery.since)
        else:
            event.attempt = delivery.attempt
            event.notes = delivery.notes
        succeeded: Mapping[str, bytes | None] = delivery.succeeded
        if known is not None:
            event.redelivered = True
            if self._storing is not None and event.type not in CALLBACKS:
                self._storing.seen(names)
            if isinstance(known, Run):
                self._telemetry.event_received(event, known=True)
                self._settlement.join(known, delivery)
                return None
            if known.outcome is not None:
                self._telemetry.event_received(event, known=True)
                self._settlement.settle_delivery(event, delivery, known.outcome, self._now())
                return None
            succeeded = known.succeeded
        run = Run(
            event,
            keys,
            chat,
            origin,
            delivery.since,
            delivery.deadline,
            [delivery],
            {},
            event.type in CALLBACKS,
        )
        if succeeded:
            run.recall(succeeded)
        if self._is_draining and origin is ARRIVED:
            self._register(run)
            self._planner.plan(run)  # a callback may have a fallback
            self._refuse(run)
            return None
        return run

    def _answers_question(self, event: Event[Any], delivery: Delivery) -> bool:
        """Whether this is a click that a question takes: no handler runs for it."""

        def settle(answer: bytes | None) -> None:
            outcome = DONE if answer is None else Outcome(True, answer)
            self._settlement.settle_delivery(event, delivery, outcome, self._now())

        if self.questions is None or not self.questions(event, settle):
            return False
        self._telemetry.event_received(event, known=False)
        return True

    def _register(self, run: Run) -> None:
        if run.origin is ARRIVED:  # what comes from an inbox has arrived before, and was answered
            self._telemetry.event_received(run.event, known=run.event.redelivered)
        self._settlement.ledger.begin(run.keys, run)
        if run.deadline < math.inf:
            self._settlement.deadlines.add(run)

    async def _hold(self, run: Run) -> None:
        """Wait until there is room, and begin; or refuse the event, so that it comes again."""
        before = self._held_before(run)
        jobs = self._planner.plan(run)
        full = self._first_full(jobs)
        self._held[run] = None
        until = run.since + PATIENCE
        is_next = not before
        try:
            if before:
                is_next = await self._wait_until_let_in(before, until)
                if not is_next:
                    return
                jobs = self._planner.plan(run)
                full = self._first_full(jobs)
            elif full is None:
                await trio.lowlevel.checkpoint()
            while full is not None:
                # Those that wait for more of a batch shall not keep others out.
                self._batches.flush(full)
                version = self._planner.version
                if not await full.wait_room(until):
                    break
                if version != self._planner.version:  # handlers have come and gone
                    jobs = self._planner.plan(run)
                # Its turn has come in this pool, and it waits for its turn in the next.
                turn = full
                full = next(
                    (
                        job.pool
                        for job in jobs
                        if (not job.pool.has_room if job.pool is turn else job.pool.is_full)
                    ),
                    None,
                )
        finally:
            del self._held[run]
            self._let_in.unpark_all()
            if run.state is not HELD:
                pass  # it was abandoned, and settled
            elif is_next and full is None:
                self._begin(run, [job for job in jobs if job.route.name not in run.succeeded])
            else:
                self._refuse(run, f"pool {full.name if full else 'of an earlier event of its chat'} is full")

    @staticmethod
    def _first_full(jobs: list[Job]) -> Pool[Job] | None:
        return next((job.pool for job in jobs if job.pool.is_full), None)

    async def _wait_until_let_in(self, others: list[Run], until: float) -> bool:
        """Wait until none of these is held any more; False if one is."""
        await trio.lowlevel.checkpoint()
        with trio.move_on_at(until):
            while any(other in self._held for other in others):
                await self._let_in.park()
        return not any(other in self._held for other in others)

    def _held_before(self, run: Run) -> list[Run]:
        """The events of its chat that wait for room: they go first, though there is room for this one."""
        return [] if run.chat is None else [other for other in self._held if other.chat == run.chat]

    def _refuse(self, run: Run, reason: str = "no more events are taken in") -> None:
        if run.origin is ARRIVED:  # what comes from an inbox is given back to it
            self._telemetry.event_refused(run.event, reason)
        now = self._now()
        outcome = run.refuse()
        self._settlement.forget(run, now)
        if outcome is not None:
            self._settlement.settle(run, outcome, now)
        self._late.forget(run)

    def _begin(self, run: Run, jobs: list[Job]) -> None:
        awaited = 0
        on_receipt: tuple[str, ...] = ()
        for job in jobs:
            if job.is_awaited:
                awaited += 1
            else:
                on_receipt += (job.route.name,)
        if run.broken:
            for name, error in run.broken.items():
                self._telemetry.handler_failed(name, (run.event,), error, is_callback=run.is_callback)
        outcome = run.begin(awaited, on_receipt)
        if not awaited:
            self._begun_without_wait(run, outcome)
        if not jobs:
            return
        self.in_flight += 1
        if run.origin is CLAIMED:
            self._claimed[run] = jobs.copy()  # batches are added to it
        if self._is_sequential and len(jobs) > 1:
            self._later[run] = jobs[:0:-1]
            for job in jobs[1:]:
                job.is_held = True
        for job in jobs:
            if job.route.batch is None:
                job.pool.submit(job)
            elif not job.is_held:
                self._gather(job)

    def _gather(self, job: Job) -> None:
        if job.run is not None and job.run.event.attempt > 1:
            self._batches.alone(job)  # what failed in a batch may be what the others failed for
            return
        self._batches.add(job)
        if self._is_draining:
            self._batches.flush()
        elif not job.pool.has_room:
            self._batches.flush(job.pool)  # nothing can be added to them

    def _start_next(self, run: Run) -> None:
        """A handler of a run has ended: the one after it may begin."""
        later = self._later[run]
        job = later.pop()
        if not later:
            del self._later[run]
        job.is_held = False
        if job.route.batch is None:
            job.pool.release(job)
        elif run.state is not WITHDRAWN:
            self._gather(job)

    def _begun_without_wait(self, run: Run, outcome: Outcome | None) -> None:
        """There is no handler that the outcome waits for."""
        now = self._now()
        if outcome is not None:
            self._settlement.settle(run, outcome, now)
        self._settlement.record(run, now)
        if run.is_unrouted:
            self._telemetry.event_unrouted(run.event.type)
        if run.state is ENDED:
            self._late.forget(run)
            self._telemetry.event_ended(run.has_failed, run.has_retried, run.is_stored)

    def _note_batch(self, job: Job) -> None:
        """A batch has been submitted: whoever withdraws one of its runs finds it."""
        for run in job.runs:
            if run in self._claimed:
                self._claimed[run].append(job)

    # Work

    async def _work(self, job: Job, threads: trio.CapacityLimiter) -> None:
        """Run one job to its end; only cancellation, and what is no `Exception`, leaves here."""
        route, run = job.route, job.run
        if self._has_ended:
            return
        if run is not None and (run.state is WITHDRAWN or job.is_over or job.others):
            if job.is_over or not job.drop_withdrawn():
                return
            run = job.run
        if (
            run is not None
            and run.origin is CLAIMED
            and route.batch is None
            and not run.deliveries[0].is_owned
        ):
            self.withdraw(run.deliveries[0])
            return
        result = failure = None
        job.started = started = self._now()
        if self.watch.is_asleep:
            self.watch.wake(started)
        try:
            if route.batch is not None and run is not None and run.origin is CLAIMED:
                await run.deliveries[0].begin([each for one in job.runs for each in one.deliveries])
                if not job.drop_withdrawn():  # meanwhile
                    return
                run = job.run
                job.started = started = self._now()
            coroutine: Any = route.handler(job.argument) if route.is_direct else call(job, threads)
            context = self._context.copy()
            try:
                trap = context.run(coroutine.send, None)
            except StopIteration as done:
                result = done.value
            else:
                result = await resume(context, coroutine, trap)
        except BaseException as error:
            failure = fault_of(error)
            if failure is None:
                raise
        if job.is_over:  # it did not stop when it was cancelled, or had ended
            await trio.lowlevel.checkpoint_if_cancelled()
            return
        if run is None:
            if failure is not None:
                self._telemetry.text_handler_failed(route.name, route.patterns[0], failure)
                await trio.lowlevel.checkpoint_if_cancelled()
            return
        ended = self._now()
        self._telemetry.handler_ended(
            route.name, run.event.type, job.pool.name, started - run.since, ended - started
        )
        if failure is None and result is None:  # as nearly all end
            self._handler_ended(run, job, None, None, ended)
            for other in job.others:
                self._handler_ended(other, job, None, None, ended)
        else:
            await self._conclude(job, run, result, failure, ended)

    async def _conclude(
        self, job: Job, run: Run, result: object, failure: Exception | None, ended: float
    ) -> None:
        """A handler returned something, or raised; `run` is the job's first."""
        name = job.route.name
        json = unfit = None
        if failure is None:
            try:
                json = encode_result(result)
            except (TypeError, ValueError) as error:
                unfit = error  # a failure of callbacks, which want a result; of events nobody waits for one
        if json is not None:
            for each in job.runs:
                flaw = flaw_of(each.event.type, json) if each.is_callback else None
                if flaw is not None:
                    self._telemetry.answer_without_effect(name, each.event, flaw)
        late = self._late.expected(job) if json is not None else ()
        runs = job.runs
        fault = failure or unfit
        failed: Sequence[Run] = ()
        if failure is not None:
            failed = runs
        elif unfit is not None:
            failed = [each for each in runs if each.is_callback]
        if failed and fault is not None:
            self._telemetry.handler_failed(
                name,
                [each.event for each in failed],
                fault,
                is_answered=not job.is_awaited,
                is_callback=any(each.is_callback for each in failed),
            )
        elif unfit is not None:
            self._telemetry.result_dropped(name, run.event, unfit)
        failing = frozenset(failed)
        for each in runs:
            self._handler_ended(each, job, json, fault if each in failing else None, ended)
        for each, written in late:
            await self._late.bring(each, written, name, result)
        if failure is not None:
            await trio.lowlevel.checkpoint_if_cancelled()

    def _handler_ended(
        self, run: Run, job: Job, json: bytes | None, failure: Exception | None, now: float
    ) -> None:
        if run.state is WITHDRAWN:
            return
        if self._later and run in self._later:
            self._start_next(run)
        is_awaited = job.is_awaited
        if now >= run.deadline and is_awaited:
            self._note_late(run, now)
        name = job.route.name
        if failure is None and run.origin is CLAIMED:
            for delivery in run.deliveries.copy():
                delivery.handler_succeeded(name, json, is_last=is_awaited and run.lacks_one)
            if self._is_withdrawn(run):
                return  # the source has found out by that that it does not own it any more
        outcome = run.handler_ended(name, is_awaited, json, failure)
        if outcome is not None:
            self._settlement.settle(run, outcome, now)
        if is_awaited and run.state is not RUNNING:
            self._settlement.record(run, now)
        if run.state is ENDED:
            self.in_flight -= 1
            if run.origin is CLAIMED:
                del self._claimed[run]
            elif run.is_late:
                self._late.forget(run)
            self._telemetry.event_ended(run.has_failed, run.has_retried, run.is_stored)

    @staticmethod
    def _is_withdrawn(run: Run) -> bool:
        return run.state is WITHDRAWN

    # Deadlines

    def _note_late(self, run: Run, now: float) -> None:
        if run.become_late():
            self._telemetry.event_late(run.event, now - run.since, run.pending)

    def _expire(self, run: Run) -> None:
        """A deadline has passed."""
        now = self._now()
        self._note_late(run, now)
        outcome = run.expire()
        if outcome is not None:
            self._settlement.settle(run, outcome, now, self._late.expect(run))


def _is_behind(key: Hashable, lane: Hashable) -> bool:
    """Whether a job of this lane, a handler's name and a key, waits its turn behind a key."""
    return isinstance(lane, tuple) and bool(lane[1] == key)
