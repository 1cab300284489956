"""Inboxes over a `Database` of one process: one task writes, what has gathered in one transaction."""

from __future__ import annotations

import logging
import sqlite3
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from itertools import groupby, islice
from typing import Any, Final, TypeVar, cast

import trio

from ..errors import InboxError
from .database import Database
from .pending import Pending
from .protocol import (
    LARGEST_NOTE,
    LOOK_AGAIN,
    NO_ROUTE,
    PARKED_FOR,
    SEEN_AT_MOST,
    TOO_OLD,
    Inbox,
    InboxRules,
)
from .records import (
    Cancelled,
    Claim,
    Counts,
    Details,
    Entry,
    State,
    Stored,
    Summary,
    forgettable,
    known_state,
)

__all__ = ["LocalInbox"]

logger = logging.getLogger("feishu_trio.inbox")

T = TypeVar("T")

_GROUP: Final = 256  # requests of each kind in one transaction
_TYPES: Final = 1000  # more event types than that are looked up anew now and then: most have gone by
_AGAIN: Final = 1.0  # seconds after which what could not be written is tried again
_CLOSE: Final = 5.0  # seconds for what is left to be written at the end
_PURGE_EVERY: Final = 30.0
_PURGE_STEP: Final = 500
_REQUEUE_STEP: Final = 500
_LOOKED_AT: Final = 500  # events that one claim looks at, most of which may be too old


class _Request(Pending[T], eq=False, kw_only=True):
    """One step of a transaction, and what became of it."""

    step: Callable[[Database], T]
    entries: Sequence[Entry] | None = None
    """What is to be stored, if it is that: all in a row are stored at once, which takes half the time."""
    is_look: bool = False
    """Whether there is nothing more to claim after it."""
    unclaimed: bool = False
    """Whether nobody waits for the claims that it makes any more."""
    claim: Claim | None = None
    """The claim that it is a result of: false comes back if that is outdated."""
    is_success: bool = False
    """Whether it says that one of its handlers succeeded, and nothing else."""


class LocalInbox(Inbox):
    """What `MemoryInbox` and `SQLiteInbox` have in common."""

    def __init__(self, rules: InboxRules) -> None:
        self.rules = rules
        self.fault = None
        self.owes = False
        self.suspect_is_ready = False
        self.has_untold = False
        self.types: Collection[str] = frozenset()  # replaced where the database is, and nowhere else
        self._database: Database | None = None
        self._window = 0.0
        self._owed: deque[_Request[Any]] = (
            deque()
        )  # results, which nobody waits for: kept until they are written
        self._asked: deque[_Request[Any]] = deque()  # what somebody waits for, with success or without
        self._filled = trio.lowlevel.ParkingLot()
        self._flushed = trio.lowlevel.ParkingLot()
        self._changed = trio.lowlevel.ParkingLot()
        self._dead = trio.lowlevel.ParkingLot()
        self._changes = 0
        self._seen = -1
        self._kept: set[int] = set()  # numbers of events whose handlers go on in threads
        self._due: float | None = None  # when the next attempt of a waiting event is due
        self._is_writing = False
        self._last = 0.0
        self._ahead = 0.0  # what the clock was set back by, in seconds
        self._doubt_until = 0.0  # on trio's clock: a fault is not asked after before that

    @abstractmethod
    async def _open(self, app_id: str) -> Database: ...

    @abstractmethod
    async def _close(self) -> None: ...

    @abstractmethod
    async def _call(self, function: Callable[..., T], *arguments: object) -> T:
        """Call it where the database is."""

    def _check(self) -> None:
        """Raise `sqlite3.OperationalError` if nothing can be kept for sure."""

    async def _watch(self) -> None:
        """Do what else is to be done while it is open."""

    def _time(self) -> float:
        return time.time()

    def _now(self) -> float:
        """The time of day; where the clock was set back, it goes on from the latest time there was."""
        time_of_day = self._time()
        if time_of_day + self._ahead < self._last:
            self._ahead = self._last - time_of_day
        self._last = time_of_day + self._ahead
        return self._last

    # Serving

    async def serve(
        self,
        app_id: str,
        window: float,
        *,
        tries: int | None = None,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """See `Inbox`. A file can be had at once, or not at all."""
        with self._serving():
            self._window = self.rules.window or window
            self.fault, self.owes = None, False
            self._database = await self._open(app_id)
            is_ours = False
            try:
                try:
                    await self._call(self._recover)
                except sqlite3.Error as error:
                    self._raise(error)
                is_ours = True
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._watch)
                    task_status.started()
                    await self._write()
            finally:
                if is_ours:
                    with trio.move_on_after(_CLOSE, shield=True):
                        await self._write_rest()
                self._database = None
                for request in self._asked:
                    request.error = InboxError("the inbox is closed")
                    request.finish()
                self._asked.clear()
                self._owed.clear()
                with trio.move_on_after(_CLOSE, shield=True):
                    await self._close()

    def _recover(self) -> None:
        database = self._database
        assert database is not None
        self._last, self._ahead = database.latest(), 0.0
        recovered = database.recover(self._now())
        database.set_order(strict=self.rules.strict_order)  # of what ran, too
        if recovered:
            what = "an event was" if recovered == 1 else f"{recovered} events were"
            again = "it runs" if recovered == 1 else "they run"
            logger.warning("%s running when the inbox was last used: %s again", what, again)
        self.types = database.types()
        self._kept = set()
        self._look_ahead(database)

    def _look_ahead(self, database: Database) -> None:
        """What is there to be done, after a transaction."""
        self._due = database.next_due()
        self.suspect_is_ready = database.suspect_is_ready()
        self.has_untold = database.has_untold()

    async def _write(self) -> None:
        purged_at = -_PURGE_EVERY
        while True:
            if not self._asked and (self.owes or not self._owed):
                until_purge = max(0.0, purged_at + _PURGE_EVERY - trio.current_time())
                with trio.move_on_after(until_purge if self.fault is None else _AGAIN):
                    await self._filled.park()
            if self._asked or self._owed or self.fault is not None:
                await self._write_group()
            if self.fault is None and trio.current_time() - purged_at >= _PURGE_EVERY:
                # One step at a time: what is asked meanwhile comes between.
                purged_at = trio.current_time() if await self._purge_step() < _PURGE_STEP else -_PURGE_EVERY

    async def _write_rest(self) -> None:
        # Whoever handled events has ended: what they had claimed and not settled was cut off.
        kept = self._kept
        self._note(lambda database: database.release_all(kept))
        while self._asked or self._owed:
            await self._write_group()
            if self.owes:
                logger.error(
                    "%d results could not be written: their events run again (%s)",
                    len(self._owed),
                    self.fault,
                )
                return

    async def _write_group(self) -> None:
        owed, asked = (
            [kind.popleft() for _ in range(min(_GROUP, len(kind)))] for kind in (self._owed, self._asked)
        )
        if self.fault is not None and trio.current_time() >= self._doubt_until:
            # To find out whether the fault is over.
            asked.append(_Request(step=lambda database: database.touch()))
        self._is_writing = True
        try:
            # What was taken is written and told, come what may; a thread could not be cancelled either.
            with trio.CancelScope(shield=True):
                fault = await self._call(self._apply, owed, asked)
        finally:
            self._is_writing = False
        has_written = any(not request.is_look for request in (*owed, *asked))
        if fault is not None:
            self._doubt_until = trio.current_time() + _AGAIN
            if self.fault is None:
                logger.error("what should be kept cannot be written to %r: %s", self, fault)
            self.fault = fault
        elif self.fault is not None and has_written:
            logger.warning("%r can be written to again", self)
            self.fault = None
        for request in asked:
            request.finish()
            self._give_back(request)
        again = [request for request in owed if request.error is not None and _is_of_the_disk(request.error)]
        for request in owed:
            if request.error is not None:
                if request not in again:
                    logger.error("a result could not be written to %r", self, exc_info=request.error)
            elif request.claim is not None and request.result is False:
                self._is_late(request.claim)
        self._owed.extendleft(reversed(again))
        self.owes = bool(again)
        changes = len(owed) - len(again) + sum(not request.is_look for request in asked)
        if changes:
            self._changes += changes
            self._changed.unpark_all()
        if self.has_untold:
            self._dead.unpark_all()
        if self.owes or not (self._asked or self._owed):
            self._flushed.unpark_all()

    def _apply(self, owed: Sequence[_Request[Any]], asked: Sequence[_Request[Any]]) -> Exception | None:
        """Do all in one transaction, or else each kind in one of its own; returned is what is wrong with the disk.

        An event that does not fit shall not keep results from being written.
        """
        fault = self._commit([*owed, *asked])
        if fault is not None and owed and asked:
            faults = [self._commit(owed), self._commit(asked)]
            fault = next((each for each in faults if each is not None), None)
        return fault

    def _commit(self, group: Sequence[_Request[Any]]) -> Exception | None:
        """Do all in one transaction, or one by one if one of them cannot be done."""
        database = self._database
        assert database is not None
        try:
            self._check()
            with database.transaction():
                for is_storing, requests in groupby(group, lambda request: request.entries is not None):
                    if is_storing:
                        self._store(database, list(requests))
                    else:
                        for request in requests:
                            request.result = request.step(database)
                self._look_ahead(database)
        except Exception as error:
            if len(group) > 1 and not _is_of_the_disk(error):
                faults = [self._commit([request]) for request in group]
                return next((fault for fault in faults if fault is not None), None)
            for request in group:
                request.error = error
            return error if _is_of_the_disk(error) else None
        for request in group:
            request.error = None
        return None

    def _store(self, database: Database, requests: Sequence[_Request[list[Stored]]]) -> None:
        entries = [entry for request in requests for entry in request.entries or ()]
        types = {entry.type for entry in entries}
        if not types.issubset(self.types):
            self.types = types.union(self.types)
        stored = iter(database.store(entries, self._now()))
        for request in requests:
            request.result = list(islice(stored, len(request.entries or ())))

    async def _purge_step(self) -> int:
        database = self._database
        assert database is not None

        def purge() -> int:
            with database.transaction():
                now = self._now()
                buried = database.bury_parked(now - PARKED_FOR, NO_ROUTE, now, _PURGE_STEP)
                count = database.purge(State.DONE, now - self._window, _PURGE_STEP)
                self._look_ahead(database)
            is_shrinking = database.shrink(_PURGE_STEP)
            if len(self.types) > _TYPES:
                self.types = database.types()
            return _PURGE_STEP if is_shrinking else max(count, buried)

        try:
            count = await self._call(purge)
        except sqlite3.Error as error:
            logger.warning("old events could not be removed from %r: %s", self, error)
            return 0
        if self.has_untold:
            self._dead.unpark_all()
        return count

    # Asking

    async def _look(self, step: Callable[[Database], T], *, claims: bool = False) -> T:
        return await self._ask(step, claims=claims, is_look=True)

    async def _ask(
        self,
        step: Callable[[Database], T],
        *,
        claims: bool = False,
        is_look: bool = False,
        entries: Sequence[Entry] | None = None,
    ) -> T:
        if self._database is None:
            raise InboxError(f"{self!r} is not open: it is within the block of its session")
        request = _Request(step=step, is_look=is_look, entries=entries)
        if not self._asked:
            self._filled.unpark_all()
        self._asked.append(request)
        try:
            await request.wait()
        except trio.Cancelled:
            request.unclaimed = claims
            if request.is_done:  # meanwhile, before this task ran
                self._give_back(request)
            raise
        if request.error is not None:
            self._raise(request.error)
        return cast("T", request.result)

    def _give_back(self, request: _Request[Any]) -> None:
        """Whoever claimed was cancelled: nobody runs what was claimed."""
        if request.unclaimed and request.error is None:
            for claim in request.result or ():
                self.release(claim)

    def _note(self, step: Callable[[Database], object], *, is_look: bool = False) -> _Request[object]:
        request = _Request(step=step, is_look=is_look)
        if not self._owed:
            self._filled.unpark_all()
        self._owed.append(request)
        return request

    def _settle(self, claim: Claim, step: Callable[[Database], bool]) -> _Request[Any]:
        """Note a result of a claim."""
        request = self._note(step)
        request.claim = claim
        return request

    def _raise(self, error: Exception) -> None:
        raise InboxError(f"{self!r}: {error}") from error

    async def store(self, entries: Sequence[Entry]) -> list[Stored]:
        """See `Inbox`."""
        return await self._ask(lambda database: database.store(entries, self._now()), entries=entries)

    def seen(self, keys: Collection[str]) -> None:
        """See `Inbox`."""
        if self.fault is None and len(self._owed) < SEEN_AT_MOST:
            now = self._now()
            self._note(lambda database: database.seen(keys, now), is_look=True)

    async def claim(
        self,
        limit: int,
        types: Collection[str] | None = None,
        *,
        alone: bool = False,
        in_order: bool = True,
        to_park: bool = False,
    ) -> list[Claim]:
        """See `Inbox`."""
        now = self._now()
        max_age = self.rules.max_age
        looked_at = 0

        def claim(database: Database) -> list[Claim]:
            nonlocal looked_at
            looked_at = 0
            fresh: list[Claim] = []
            while len(fresh) < limit and looked_at < max(limit, _LOOKED_AT):
                if alone:
                    claims = database.claim_alone(now)
                else:
                    claims = database.claim(limit - len(fresh), now, types, gathers=not in_order)
                looked_at += len(claims)
                for each in claims:
                    if max_age is not None and now - each.stored > max_age:
                        database.die(each, TOO_OLD.format(max_age), now, has_begun=False)
                        continue
                    if not in_order and each.lane is not None:
                        database.step_aside(each)
                    fresh.append(each)
                if not claims or (in_order and max_age is None):
                    break  # otherwise others may be ready in the place of these
            return fresh

        self._seen = self._changes
        claims = await self._look(claim, claims=True)
        if looked_at > len(claims):
            self._changes += 1  # there may be more, behind those that were too old
        return claims

    async def begin(self, claims: Collection[Claim]) -> None:
        """See `Inbox`."""
        gathered = [claim for claim in claims if claim.is_gathered]
        if not gathered:
            await trio.lowlevel.checkpoint()
            return
        await self._ask(lambda database: database.begin(gathered))
        for claim in gathered:
            claim.is_gathered = False

    async def wait_changed(self) -> None:
        """See `Inbox`."""
        until = LOOK_AGAIN
        if self._due is not None:
            until = min(until, max(0.0, self._due - self._now()))
        await trio.lowlevel.checkpoint()
        with trio.move_on_after(until):
            while self._changes == self._seen:
                await self._changed.park()
        self._seen = self._changes

    async def flush(self) -> None:
        """See `Inbox`."""
        while (self._asked or self._owed or self._is_writing) and not self.owes:
            await self._flushed.park()

    def succeeded(self, claim: Claim, handler: str, result: bytes | None) -> None:
        """See `Inbox`."""
        now = self._now()
        self._settle(
            claim, lambda database: database.succeeded(claim, handler, result, now)
        ).is_success = True

    def failed(self, claim: Claim, handler: str, error: str) -> None:
        """See `Inbox`."""
        now = self._now()
        self._settle(claim, lambda database: database.failed(claim, handler, error, now))

    async def note(self, claim: Claim, handler: str, key: str, value: bytes) -> bool:
        """See `Inbox`."""
        if len(value) > LARGEST_NOTE:
            raise ValueError(f"a note of {len(value)} bytes: it may have {LARGEST_NOTE}")
        return await self._ask(lambda database: database.note(claim, handler, key, value))

    def done(self, claim: Claim) -> None:
        """See `Inbox`."""
        now = self._now()
        while self._owed and self._owed[-1].is_success and self._owed[-1].claim is claim:
            self._owed.pop()  # that a handler succeeded, which nobody needs to know any more
        self._settle(claim, lambda database: database.done(claim, now))

    def retry(self, claim: Claim, delay: float, error: str, *, counts: bool) -> None:
        """See `Inbox`."""
        due = self._now() + delay
        self._settle(claim, lambda database: database.retry(claim, due, error, counts=counts))

    def die(self, claim: Claim, error: str) -> None:
        """See `Inbox`."""
        now = self._now()
        self._settle(claim, lambda database: database.die(claim, error, now))

    def release(self, claim: Claim) -> None:
        """See `Inbox`."""
        self._settle(claim, lambda database: database.release(claim))

    def keep(self, claim: Claim) -> None:
        """See `Inbox`."""
        self._kept.add(claim.number)

    def park(self, claim: Claim) -> None:
        """See `Inbox`."""
        now = self._now()
        self._settle(claim, lambda database: database.park(claim, now))

    async def unpark(self, types: Collection[str]) -> int:
        """See `Inbox`."""
        return await self._ask(lambda database: database.unpark(types))

    async def cancel(self, lane: str, spared: Collection[int] = (), keys: Collection[str] = ()) -> Cancelled:
        """See `Inbox`."""
        now = self._now()
        return await self._ask(lambda database: database.cancel(lane, spared, now, keys))

    async def wait_untold(self) -> None:
        """See `Inbox`."""
        await trio.lowlevel.checkpoint()
        while not self.has_untold:
            await self._dead.park()

    async def untold(self, limit: int) -> list[Details]:
        """See `Inbox`."""
        return await self._look(lambda database: database.untold(limit))

    def told(self, number: int) -> None:
        """See `Inbox`."""
        self._note(lambda database: database.told(number))

    # For users

    async def counts(self) -> Counts:
        """See `Inbox`."""
        return await self._look(lambda database: database.counts())

    async def requeue(self, ids: Iterable[str | int]) -> int:
        """See `Inbox`."""
        wanted = [ids] if isinstance(ids, str) else list(ids)

        def requeue(database: Database, some: Sequence[str | int]) -> int:
            requeued = database.requeue(database.numbers(some), self._now())
            self.types = database.types_of(requeued).union(self.types)
            return len(requeued)

        # Some at a time: what is to be stored and answered meanwhile comes between.
        steps = range(0, max(1, len(wanted)), _REQUEUE_STEP)
        return sum([await self._ask(partial(requeue, some=wanted[at : at + _REQUEUE_STEP])) for at in steps])

    async def purge(self, state: State | str, older_than: float) -> int:
        """See `Inbox`."""
        state = forgettable(state)
        before = self._now() - older_than
        total = 0
        while True:
            count = await self._ask(lambda database: database.purge(state, before, _PURGE_STEP))
            total += count
            if count < _PURGE_STEP:
                return total

    async def list(self, state: State | str, limit: int = 100, after: int = 0) -> list[Summary]:
        """See `Inbox`."""
        wanted = known_state(state)
        return await self._look(lambda database: database.list(wanted, limit, after))

    async def show(self, event: str | int) -> Details | None:
        """See `Inbox`."""
        return await self._look(lambda database: database.show(event))


def _is_of_the_disk(error: Exception) -> bool:
    """Whether this stops everything from being written: a full disk, a file that is read-only, locked or broken."""
    return isinstance(error, sqlite3.OperationalError) or type(error) is sqlite3.DatabaseError
