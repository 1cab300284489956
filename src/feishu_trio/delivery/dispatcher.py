"""An event's life from arrival to answer.

`Dispatcher.accept` takes a delivery off a connection's reader: known events are joined or answered from
the ledger, new ones become a `Run` with a `Job` for each handler, submitted to the handlers' pools. Workers
run the jobs; the last one that the answer waits for settles the run, and every delivery of it is answered.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import chain
from typing import Any, Final

import trio

from ..config import Ack, PoolConfig
from ..errors import EventDecodeError
from ..events import Event, decode_event, encode_result, nearest
from ..router import Route, Router, free_name
from ..telemetry.lifecycle import ErrorOccurred, EventAnswered, EventReceived, HandlerFailed, Lifecycle
from ..telemetry.stats import Counters
from ..wire import FAILED
from .batches import Batch
from .deadlines import Deadlines
from .handlers import call, fault_of
from .identity import identify
from .ledger import Ended, Ledger
from .pool import PATIENCE, Pool
from .run import CALLBACKS, Delivery, Job, Run

__all__ = ["DEFAULT_POOL", "Dispatcher", "Returned"]

logger = logging.getLogger("feishu_trio.delivery")

DEFAULT_POOL: Final = "default"

# The longest that a late result waits for the makeshift answer to be written before it.
_WRITING: Final = 10.0
# Seconds for what becomes of a late result: it keeps a worker.
_LATE_HOOK: Final = 30.0
# Patterns that were pulled once, whose events are given back while nobody pulls them.
_FORMER: Final = 256
# Types that came with no handler are told once each; types come off the wire, so not for ever.
_TOLD: Final = 256
_SHOWN: Final = 100


class Returned(Exception):
    """The event was given back to the platform, which delivers it again: no fault of a handler's."""


async def _give_back(event: Event[Any]) -> None:
    raise Returned("whoever pulled such events does not do so at the moment")


_NOBODY: Final = Route(handler=_give_back, name="nobody", patterns=("*",))


class Dispatcher:
    """Delivers events to handlers and their answers back; owns the ledger, the pools and the deadlines.

    Args:
        router: What runs for an event.
        pools: The pools by name, `DEFAULT_POOL` among them.
        ack: When events are answered, where their routes do not say. To `Ack.ON_STORED` this is what it is
            to `ON_SUCCESS`: it is for whoever stores events to hand them on, and to take the answers.
        ack_deadline: Seconds from arrival by which an answer should be out.
        ledger: Which events are known.
        counters, lifecycle: Where what happens is told.
        late: Called with a callback and a handler's result for it that came after the makeshift answer,
            once that has been written.
    """

    def __init__(
        self,
        router: Router,
        *,
        pools: dict[str, PoolConfig],
        ack: Ack,
        ack_deadline: float,
        ledger: Ledger[Run],
        counters: Counters,
        lifecycle: Lifecycle,
        late: Callable[[Event[Any], object], Awaitable[None]],
    ) -> None:
        self.router = router
        self.counters = counters
        self.lifecycle = lifecycle
        self.ledger = ledger
        self.in_flight = 0
        """Events with a handler that runs or waits."""
        self.pools: dict[str, Pool[Job]] = {
            name: Pool(name, self._work, concurrency=pool.concurrency, capacity=pool.capacity)
            for name, pool in pools.items()
        }
        self._extra: dict[Route, Pool[Job]] = {}
        self._former: dict[tuple[str, ...], Route] = {}  # what was attached once, by patterns
        self._closing: list[Pool[Job]] = []  # whose routes have been detached, and which may be at work
        self._ack = ack
        self._ack_deadline = ack_deadline
        self._late = late
        self._unanswered = Deadlines()
        self._batches: dict[tuple[Route, Pool[Job]], Batch] = {}
        self._told: set[str] = set()
        self._nursery: trio.Nursery | None = None
        self._now: Callable[[], float] = trio.current_time

    # The life of the dispatcher

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run handlers until cancelled, which cancels them.

        Raises:
            BaseException: What a handler raised that is no `Exception`, such as `SystemExit`.
        """
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._now = trio.lowlevel.current_clock().current_time  # what it calls, without the way there
            for pool in self.pools.values():
                pool.start(nursery)
            task_status.started()
            await self._unanswered.watch(self._overdue)

    async def drain(self) -> None:
        """Wait until everything that was accepted has run. Batches do not wait to be full."""
        for batch in list(self._batches.values()):
            batch.flush()
        for pool in (*self.pools.values(), *self._extra.values(), *self._closing):
            await pool.wait_idle()

    def abandon(self) -> None:
        """Refuse what is still running or waiting, so that the platform delivers it again."""
        now = self._now()
        for run in list(self._unanswered):
            self._answer(run, run.refusal(), now)

    def attach(self, route: Route, *, concurrency: int, capacity: int) -> None:
        """Add a route of this session alone, with a pool of its own. `detach` takes it out again.

        It gets a name that no other attached route has: what succeeded is remembered by its name.
        """
        assert self._nursery is not None, "the dispatcher is not serving"
        route = route.renamed(free_name(route.name, {other.name for other in self._extra}))
        pool = self._extra[route] = Pool(route.name, self._work, concurrency=concurrency, capacity=capacity)
        pool.start(self._nursery)

    def detach(self, route: Route) -> None:
        """Take out a route that `attach` added; what runs for it goes on."""
        self._closing = [pool for pool in self._closing if not pool.is_idle]
        for attached in [other for other in self._extra if other.handler == route.handler]:
            pool = self._extra.pop(attached)
            pool.close()
            self._closing.append(pool)
            if len(self._former) < _FORMER:
                self._former[attached.patterns] = attached

    @property
    def queue_depth(self) -> int:
        """Runs of handlers that wait for a worker or for their turn."""
        return sum(pool.waiting for pool in chain(self.pools.values(), self._extra.values()))

    # Arrival

    def accept(self, delivery: Delivery) -> Callable[[], Awaitable[None]] | None:
        """Take one delivery: it is answered, joined or under way when this returns None.

        Otherwise a pool is full, and what is returned must be called and awaited, which holds the caller
        back for a second at the most. Then the delivery is under way after all, or refused; cancelling that
        refuses it.
        """
        self.counters.received += 1
        try:
            event = decode_event(
                delivery.payload,
                message_id=delivery.message_id,
                trace_id=delivery.trace_id,
                received_at=delivery.received_at,
            )
        except EventDecodeError as error:
            self._refuse_payload(delivery, error)
            return None
        keys, chat = identify(event)
        known = self.ledger.find(keys, event.received_at)
        if known is not None:
            self.counters.duplicates += 1
            event.redelivered = True
        if self.lifecycle.is_followed:
            self.lifecycle.publish(
                EventReceived(event_id=event.id, event_type=event.type, redelivered=event.redelivered)
            )
        succeeded = None
        if known is not None:
            if isinstance(known, Run):
                self._join(known, delivery)
                return None
            if known.answer is not None:
                self._reply(event, delivery, known.answer, self._now())
                return None
            succeeded = known.succeeded
        run = Run(
            event,
            keys,
            chat,
            event.received_at + self._ack_deadline,
            [delivery],
            dict(succeeded) if succeeded else {},
            event.type in CALLBACKS,
        )
        self.ledger.begin(keys, run)
        self._unanswered.add(run)
        jobs = self._plan(run)
        for job in jobs:
            if job.pool.is_full:
                return partial(self._hold, run, jobs, job.pool)
        self._begin(run, jobs)
        return None

    def _refuse_payload(self, delivery: Delivery, error: EventDecodeError) -> None:
        self.counters.bad_frames += 1
        logger.warning("a payload that is no event was refused (trace %s): %s", delivery.trace_id, error)
        if self.lifecycle.is_followed:
            self.lifecycle.publish(ErrorOccurred(where="payload", error=error))
        delivery.answer(FAILED, self._now() - delivery.received_at)

    def _join(self, run: Run, delivery: Delivery) -> None:
        """Have a delivery answered like the one that the event runs for."""
        run.event.redelivered = True
        if run.said is None:
            run.join(delivery)
        else:
            self._reply(run.event, delivery, run.said, self._now())

    def _plan(self, run: Run) -> list[Job]:
        """Find out what is to run, where, and behind which key."""
        event = run.event
        jobs: list[Job] = []
        run.broken = ()
        routes = self._routes(event.type)
        for route in routes:
            if route.name in run.succeeded:
                continue
            try:
                if route.where is not None and not route.where(event):
                    continue
                key = run.chat if route.order_by is None else route.order_by(event)
                pool = self._pool_of(route)
                # Each handler has its own order: those of one event run side by side.
                lane = None if key is None else (route.name, key)
                if route.order_by is not None:
                    pool.check_key(lane)
            except Exception as error:
                run.broken = (*run.broken, (route, error))
                continue
            jobs.append(Job(route, pool, lane, run))
        run.routes = routes if len(jobs) == len(routes) else [job.route for job in jobs]
        return jobs

    def _routes(self, event_type: str) -> tuple[Route, ...]:
        routes = self.router.resolve(event_type)
        if self._extra:
            pulled = [route for route in self._extra if route.matches(event_type)]
            # Whoever pulls an event handles it, so that `default` is not asked.
            routes = (*(route for route in routes if not (pulled and route.is_default)), *pulled)
        if not routes:
            if any(route.matches(event_type) for route in self._former.values()):
                return (_NOBODY,)
            self._tell_unhandled(event_type)
        return routes

    async def _hold(self, run: Run, jobs: list[Job], full: Pool[Job] | None) -> None:
        """Wait until there is room, and begin; or refuse the event, so that it comes again."""
        try:
            while full is not None:
                # Those that wait for company shall not keep others out.
                for batch in [batch for batch in self._batches.values() if batch.pool is full]:
                    batch.flush()
                if not await full.wait_room(run.event.received_at + PATIENCE):
                    break
                jobs = self._plan(run)  # handlers may have come and gone
                full = next((job.pool for job in jobs if not job.pool.has_room), None)
        finally:
            if full is None:
                self._begin(run, jobs)
            else:
                self._refuse(run, full)

    def _refuse(self, run: Run, full: Pool[Job]) -> None:
        self.counters.refused += 1
        logger.info("event %s (%s) is refused: pool %s is full", *_shown(run.event), full.name)
        if run.succeeded:
            self.ledger.end(Ended(run.keys, self._now(), None, run.succeeded))
        else:
            self.ledger.forget(run.keys)
        self._answer(run, run.refusal(), self._now())

    def _begin(self, run: Run, jobs: list[Job]) -> None:
        for route, error in run.broken:
            run.faulty = True
            run.failed += (route.name,)
            self._tell_failure(route, (run,), error)
        run.jobs = len(jobs)
        for job in jobs:
            if self._is_awaited(run, job.route):
                run.awaited += 1
            else:
                run.succeeded[job.route.name] = None  # whatever becomes of it, it shall not run again
        if not run.awaited:
            self._settle(run, self._now())
        if jobs:
            self.in_flight += 1
        else:
            self._count(run)
        for job in jobs:
            if job.route.batch is None:
                job.pool.submit(job)
            else:
                self._batch(job.route, job.pool).add(run)

    def _is_awaited(self, run: Run, route: Route) -> bool:
        """Whether the answer waits for this handler."""
        return run.is_callback or (route.ack or self._ack) is not Ack.ON_RECEIPT

    # Work

    async def _work(self, job: Job, threads: trio.CapacityLimiter) -> None:
        """Run one job to its end; only cancellation, and what is no `Exception`, leaves here."""
        route, run = job.route, job.run
        started = self._now()
        self.counters.queue_wait.append(started - run.event.received_at)
        json = failure = None
        try:
            if route.is_direct:
                result = await route.handler(run.event)  # type: ignore[misc]  # a direct one is awaitable
            elif route.batch is None:
                result = await call(route, run.event, threads)
            else:
                result = await call(route, [run.event, *(other.event for other in job.company)], threads)
            if result is not None:
                json = self._encode(result, job)
        except BaseException as error:
            failure = fault_of(error)
            if failure is None:
                raise
            self._tell_failure(route, (run, *job.company), failure)
        ended = self._now()
        self.counters.handler_time.append(ended - started)
        self._job_done(run, route, json, failure is not None, ended)
        for other in job.company:
            self._job_done(other, route, json, failure is not None, ended)
        if failure is not None:
            await trio.lowlevel.checkpoint_if_cancelled()
        elif json is not None:
            for each in (run, *job.company):
                if each.written is not None:
                    await self._bring_late(each, route, result)

    def _job_done(self, run: Run, route: Route, json: bytes | None, failed: bool, now: float) -> None:
        if failed:
            run.faulty = True
        if self._is_awaited(run, route):
            if now >= run.deadline:
                self._tell_late(run)
            run.awaited -= 1
            if failed:
                run.failed += (route.name,)
            else:
                run.succeeded[route.name] = json
            if not run.awaited:
                self._settle(run, now)
        run.jobs -= 1
        if not run.jobs:
            self.in_flight -= 1
            self._count(run)

    def _encode(self, result: object, job: Job) -> bytes | None:
        """The JSON of a result. Where nobody waits for one, one that has no JSON is no failure."""
        try:
            return encode_result(result)
        except (TypeError, ValueError) as error:
            if any(run.is_callback for run in (job.run, *job.company)):
                raise
            logger.warning(
                "what handler %s returned for event %s (%s) is not sent: %s",
                job.route.name,
                *_shown(job.run.event),
                error,
            )
            return None

    def _settle(self, run: Run, now: float) -> None:
        """Answer, and remember how: the handlers that the answer waits for are done."""
        if run.said is None:
            self._answer(run, run.outcome(), now)
        if run.failed:
            self.ledger.end(Ended(run.keys, now, None, run.succeeded))
        else:
            self.ledger.end(Ended(run.keys, now, run.said))

    def _count(self, run: Run) -> None:
        if run.faulty:
            self.counters.failed += 1
        else:
            self.counters.handled += 1

    # Answers

    def _answer(self, run: Run, body: bytes, now: float, written: Callable[[], None] | None = None) -> None:
        """Answer every delivery that waits for this run, and have later ones answered likewise."""
        run.said = body
        self._unanswered.discard(run)
        for delivery in run.deliveries:
            self._reply(run.event, delivery, body, now, written)
        run.deliveries.clear()

    def _reply(
        self,
        event: Event[Any],
        delivery: Delivery,
        body: bytes,
        now: float,
        written: Callable[[], None] | None = None,
    ) -> None:
        latency = now - delivery.received_at
        self.counters.answered += 1
        self.counters.latency.append(latency)
        delivery.answer(body, latency, written)
        if self.lifecycle.is_followed:
            self.lifecycle.publish(
                EventAnswered(
                    event_id=event.id, event_type=event.type, ok=body is not FAILED, latency=latency
                )
            )

    def _overdue(self, run: Run) -> None:
        self._tell_late(run)
        if run.is_callback:
            run.written = trio.Event()
            self._answer(run, run.makeshift(), self._now(), run.written.set)

    async def _bring_late(self, run: Run, route: Route, result: object) -> None:
        """Hand on what came too late for the answer, but not before that has been written."""
        assert run.written is not None
        try:
            with trio.fail_after(_WRITING):
                await run.written.wait()
            with trio.fail_after(_LATE_HOOK):
                await self._late(run.event, result)
        except BaseException as error:
            fault = fault_of(error)
            if fault is None:
                raise
            logger.error(
                "the late result of handler %s for event %s (%s) was not taken: %s",
                route.name,
                *_shown(run.event),
                _words(fault),
                exc_info=fault,
            )
            if self.lifecycle.is_followed:
                self.lifecycle.publish(ErrorOccurred(where="late result", error=fault))

    # Telling

    def _tell_late(self, run: Run) -> None:
        if run.is_late or run.said is not None:
            return
        run.is_late = True
        self.counters.late += 1
        logger.warning(
            "event %s (%s) is not answered after %.1f s: %s",
            *_shown(run.event),
            self._now() - run.event.received_at,
            f"still at work: {', '.join(run.still_at_work())}" if run.awaited else "its pool is full",
        )

    def _tell_failure(self, route: Route, runs: tuple[Run, ...], error: Exception) -> None:
        event = runs[0].event
        if isinstance(error, Returned):
            logger.info("event %s (%s) goes back to Feishu: %s", *_shown(event), error)
            return
        more = f", the first of a batch of {len(runs)}" if len(runs) > 1 else ""
        logger.error(
            "handler %s failed on event %s (%s)%s: %s",
            route.name,
            *_shown(event),
            more,
            _words(error),
            exc_info=error,
        )
        if self.lifecycle.is_followed:
            for run in runs:
                self.lifecycle.publish(
                    HandlerFailed(
                        handler=route.name, event_id=run.event.id, event_type=run.event.type, error=error
                    )
                )

    def _tell_unhandled(self, event_type: str) -> None:
        self.counters.unhandled += 1
        shown = event_type[:_SHOWN]
        if shown in self._told or len(self._told) >= _TOLD:
            return
        self._told.add(shown)
        known = nearest(shown)
        hint = f"; the nearest known type is {known!r}" if known not in (None, event_type) else ""
        logger.warning("no handler takes events of type %r: they are answered and dropped%s", shown, hint)

    # Pools

    def _pool_of(self, route: Route) -> Pool[Job]:
        if route.pool is None:
            return self._extra.get(route) or self.pools[DEFAULT_POOL]
        pool = self.pools.get(route.pool)
        if pool is None:
            # Checked when the session opens; this is a route that was added later.
            if route.pool not in self._told:
                self._told.add(route.pool)
                logger.error(
                    "handler %s: there is no pool %r, so it runs in the default one", route.name, route.pool
                )
            pool = self.pools[DEFAULT_POOL]
        return pool

    def _batch(self, route: Route, pool: Pool[Job]) -> Batch:
        batch = self._batches.get((route, pool))
        if batch is None:
            assert self._nursery is not None
            batch = self._batches[route, pool] = Batch(
                route, pool, self._nursery, on_flush=lambda: self._batches.pop((route, pool), None)
            )
        return batch


def _shown(event: Event[Any]) -> tuple[str, str]:
    """An event's id and type, as much of them as a log should hold, on one line."""
    return _line(event.id), _line(event.type)


def _words(error: Exception) -> str:
    try:
        text = str(error)
    except Exception:  # an error of the user's own, whose words are as broken as his handler
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _line(text: str) -> str:
    return text if len(text) <= _SHOWN and text.isprintable() else repr(text[:_SHOWN])
