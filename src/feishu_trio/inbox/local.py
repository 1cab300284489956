"""Inboxes over a `Database` of one process: one task writes, what has gathered in one transaction."""

from __future__ import annotations

import logging
import sqlite3
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final, Generic, TypeVar

import trio

from ..errors import InboxError
from .database import Database
from .protocol import Inbox, Rules
from .records import Claim, Counts, Entry, State, Stored, Summary

__all__ = ["LocalInbox"]

logger = logging.getLogger("feishu_trio.inbox")

T = TypeVar("T")

_GROUP: Final = 256  # requests of one transaction
_AGAIN: Final = 1.0  # seconds after which what could not be written is tried again
_CLOSE: Final = 5.0  # seconds for what is left to be written at the end
_PURGE_EVERY: Final = 30.0
_PURGE_STEP: Final = 500
_LOOK_AGAIN: Final = 1.0  # seconds after which is looked again, as handlers come and go
_TOO_OLD: Final = "it was older than max_age allows when its turn came"


class _Request(Generic[T]):
    """One step of a transaction, and what became of it. Whoever waits for it sets `done`."""

    def __init__(
        self, step: Callable[[Database], T], done: trio.Event | None = None, *, is_look: bool = False
    ) -> None:
        self.step = step
        self.done = done
        self.is_look = is_look
        """Whether there is nothing more to claim after it."""
        self.result: T | None = None
        self.error: Exception | None = None
        self.unclaimed = False
        """Whether nobody waits for the result any more, which is of claims."""


class LocalInbox(Inbox):
    """What `MemoryInbox` and `SQLiteInbox` have in common."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.fault = None
        self.suspect_is_ready = False
        self.types: set[str] = set()
        self._database: Database | None = None
        self._window = 0.0
        self._requests: deque[_Request[Any]] = deque()
        self._filled = trio.lowlevel.ParkingLot()
        self._flushed = trio.lowlevel.ParkingLot()
        self._changed = trio.lowlevel.ParkingLot()
        self._changes = 0
        self._seen = -1
        self._due: float | None = None  # when the next attempt of a waiting event is due
        self._writing = False
        self._last = 0.0
        self._is_served = False

    @abstractmethod
    async def _open(self, app_id: str) -> Database: ...

    @abstractmethod
    async def _close(self) -> None: ...

    @abstractmethod
    async def _call(self, function: Callable[..., T], *arguments: object) -> T:
        """Call it where the database is."""

    def _time(self) -> float:
        return time.time()

    def _now(self) -> float:
        # The clock may be set back; what is stored is never older than what was stored before it.
        self._last = max(self._last, self._time())
        return self._last

    # Serving

    async def serve(
        self, app_id: str, window: float, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """See `Inbox`."""
        if self._is_served:
            raise InboxError(
                f"{self!r} serves another session already: each needs an inbox object of its own"
            )
        self._is_served = True
        try:
            self._window = self.rules.window or window
            self.fault = None
            self._database = await self._open(app_id)
            is_ours = False
            try:
                try:
                    await self._call(self._recover)
                except sqlite3.Error as error:
                    self._raise(error)
                is_ours = True
                task_status.started()
                await self._write()
            finally:
                if is_ours:
                    with trio.move_on_after(_CLOSE, shield=True):
                        await self._write_rest()
                self._database = None
                for request in self._requests:
                    self._fail(request, InboxError("the inbox is closed"))
                self._requests.clear()
                with trio.move_on_after(_CLOSE, shield=True):
                    await self._close()
        finally:
            self._is_served = False

    def _recover(self) -> None:
        database = self._database
        assert database is not None
        self._last = max(self._last, database.latest())
        recovered = database.recover(self._now())
        if recovered:
            logger.warning("%d events were running when the inbox was last used: they run again", recovered)
        self.types = database.types()
        self._due = database.next_due()
        self.suspect_is_ready = database.suspect_is_ready()

    async def _write(self) -> None:
        purged_at = -_PURGE_EVERY
        while True:
            if not self._requests:
                with trio.move_on_after(_PURGE_EVERY):
                    await self._filled.park()
            if self._requests:
                await self._write_group()
            if self.fault is not None:
                await trio.sleep(_AGAIN)
                if not self._requests:
                    self._note(_Request(lambda _: None))  # whether it is over
            elif trio.current_time() - purged_at >= _PURGE_EVERY:
                # One step at a time: what is asked meanwhile comes between.
                purged_at = trio.current_time() if await self._purge_step() < _PURGE_STEP else -_PURGE_EVERY

    async def _write_rest(self) -> None:
        # Whoever handled events has ended: what they had claimed and not settled was cut off.
        self._note(_Request(lambda database: database.release_all()))
        while self._requests:
            await self._write_group()
            if self.fault is not None:
                logger.error(
                    "%d results could not be written: their events run again (%s)",
                    len(self._requests),
                    self.fault,
                )
                return

    def _next_group(self) -> list[_Request[Any]]:
        if self.fault is not None:
            # Those that wait for an answer shall have one, however much is owed.
            waiting = [request for request in self._requests if request.done is not None][:_GROUP]
            if waiting:
                self._requests = deque(request for request in self._requests if request not in waiting)
                return waiting
        return [self._requests.popleft() for _ in range(min(_GROUP, len(self._requests)))]

    async def _write_group(self) -> None:
        group = self._next_group()
        self._writing = True
        try:
            # What was taken is written and told, come what may; a thread could not be cancelled either.
            with trio.CancelScope(shield=True):
                fault = await self._call(self._apply, group)
        finally:
            self._writing = False
        if fault is not None and self.fault is None:
            logger.error("nothing can be written to %r: %s", self, fault)
        elif fault is None and self.fault is not None:
            logger.warning("%r can be written to again", self)
        self.fault = fault
        owed = []
        for request in group:
            if request.done is not None:
                request.done.set()
                self._give_back(request)
            elif request.error is not None:
                request.error = None
                owed.append(request)
        self._requests.extendleft(reversed(owed))
        changes = sum(not request.is_look for request in group)
        if changes:
            self._changes += changes
            self._changed.unpark_all()
        if not self._requests or self.fault is not None:
            self._flushed.unpark_all()

    def _apply(self, group: Sequence[_Request[Any]]) -> Exception | None:
        """Do all in one transaction, or if that fails one by one; returned is why nothing can be written."""
        database = self._database
        assert database is not None
        try:
            with database.transaction():
                for request in group:
                    request.result = request.step(database)
        except Exception as error:
            if len(group) > 1 and not _is_of_the_disk(error):
                faults = [self._apply([request]) for request in group]
                return next((fault for fault in faults if fault is not None), None)
            if _is_of_the_disk(error):
                for request in group:
                    request.error = error
                return error
            (request,) = group
            if request.done is None:
                logger.exception("a result could not be written to %r", self)
            else:
                request.error = error
        else:
            self._due = database.next_due()
            self.suspect_is_ready = database.suspect_is_ready()
        return None

    async def _purge_step(self) -> int:
        database = self._database
        assert database is not None

        def purge() -> int:
            with database.transaction():
                count = database.purge(State.DONE, self._now() - self._window, _PURGE_STEP)
            if count:
                database.shrink(_PURGE_STEP)
            return count

        try:
            return await self._call(purge)
        except sqlite3.Error as error:
            logger.warning("old events could not be removed from %r: %s", self, error)
            return 0

    # Asking

    async def _look(self, step: Callable[[Database], T], *, claims: bool = False) -> T:
        return await self._ask(step, claims=claims, is_look=True)

    async def _ask(self, step: Callable[[Database], T], *, claims: bool = False, is_look: bool = False) -> T:
        if self._database is None:
            raise InboxError(f"{self!r} is not open: it is within the block of its session")
        request = _Request(step, trio.Event(), is_look=is_look)
        self._note(request)
        assert request.done is not None
        try:
            await request.done.wait()
        except trio.Cancelled:
            request.unclaimed = claims
            if request.done.is_set():
                self._give_back(request)
            raise
        if request.error is not None:
            self._raise(request.error)
        return request.result  # type: ignore[return-value]

    def _give_back(self, request: _Request[Any]) -> None:
        """Whoever claimed was cancelled: nobody runs what was claimed."""
        if request.unclaimed and request.error is None:
            for claim in request.result or ():
                self.release(claim)

    def _note(self, request: _Request[Any]) -> None:
        self._requests.append(request)
        self._filled.unpark_all()

    def _raise(self, error: Exception) -> None:
        raise InboxError(f"{self!r}: {error}") from error

    def _fail(self, request: _Request[Any], error: Exception) -> None:
        request.error = error
        if request.done is not None:
            request.done.set()

    async def store(self, entries: Sequence[Entry]) -> list[Stored]:
        """See `Inbox`."""
        now = self._now()
        self.types.update([entry.type for entry in entries])
        return await self._ask(lambda database: database.store(entries, now))

    async def claim(
        self, limit: int, types: Collection[str] | None = None, *, alone: bool = False
    ) -> list[Claim]:
        """See `Inbox`."""
        now = self._time()
        max_age = self.rules.max_age
        dead: list[Claim] = []

        def step(database: Database) -> list[Claim]:
            claims = database.claim_alone(now) if alone else database.claim(limit, now, types)
            if max_age is None:
                return claims
            fresh = []
            for claim in claims:
                if now - claim.stored > max_age:
                    database.die(claim, _TOO_OLD, now)
                    dead.append(claim)
                else:
                    fresh.append(claim)
            return fresh

        self._seen = self._changes
        claims = await self._look(step, claims=True)
        if dead:
            self._changes += 1  # others may be ready in their place
            for claim in dead:
                self.on_dead(claim, _TOO_OLD)
        return claims

    async def wait_changed(self) -> None:
        """See `Inbox`."""
        until = _LOOK_AGAIN
        if self._due is not None:
            until = min(until, max(0.0, self._due - self._time()))
        await trio.lowlevel.checkpoint()
        with trio.move_on_after(until):
            while self._changes == self._seen:
                await self._changed.park()
        self._seen = self._changes

    async def flush(self) -> None:
        """See `Inbox`."""
        while (self._requests or self._writing) and self.fault is None:
            await self._flushed.park()

    def succeeded(self, claim: Claim, handler: str, result: bytes | None) -> None:
        """See `Inbox`."""
        now = self._now()
        self._note(_Request(lambda database: database.succeeded(claim, handler, result, now)))

    def done(self, claim: Claim) -> None:
        """See `Inbox`."""
        now = self._now()
        self._note(_Request(lambda database: database.done(claim, now)))

    def retry(self, claim: Claim, delay: float, error: str, *, counts: bool) -> None:
        """See `Inbox`."""
        due = self._time() + delay
        self._note(_Request(lambda database: database.retry(claim, due, error, counts=counts)))

    def die(self, claim: Claim, error: str) -> None:
        """See `Inbox`."""
        now = self._now()
        self._note(_Request(lambda database: database.die(claim, error, now)))

    def release(self, claim: Claim) -> None:
        """See `Inbox`."""
        self._note(_Request(lambda database: database.release(claim)))

    def park(self, claim: Claim) -> None:
        """See `Inbox`."""
        now = self._now()
        self._note(_Request(lambda database: database.park(claim, now)))

    async def unpark(self, is_taken: Callable[[str], bool]) -> int:
        """See `Inbox`."""
        return await self._ask(lambda database: database.unpark(is_taken))

    # For users

    async def counts(self) -> Counts:
        """See `Inbox`."""
        return await self._look(lambda database: database.counts())

    async def requeue(self, numbers: Iterable[int]) -> list[int]:
        """See `Inbox`."""
        wanted = list(numbers)
        return await self._ask(lambda database: database.requeue(wanted))

    async def purge(self, state: State, older_than: float) -> int:
        """See `Inbox`."""
        before = self._now() - older_than
        total = 0
        while True:
            count = await self._ask(lambda database: database.purge(state, before, _PURGE_STEP))
            total += count
            if count < _PURGE_STEP:
                return total

    async def list(self, state: State, limit: int = 100, after: int = 0) -> list[Summary]:
        """See `Inbox`."""
        return await self._look(lambda database: database.list(state, limit, after))


def _is_of_the_disk(error: Exception) -> bool:
    """Whether this stops everything from being written: a full disk, a file that is read-only, locked or broken."""
    return isinstance(error, sqlite3.OperationalError) or type(error) is sqlite3.DatabaseError
