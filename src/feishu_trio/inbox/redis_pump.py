"""What an inbox asks of its server, sent in groups by one task, which alone uses the link and opens it anew.

Whoever asks may be cancelled at any moment: that cancels no call, but the task that sends knows of it.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import groupby
from typing import Any, Final, TypeVar, cast

import msgspec
import trio

from ..errors import ConfigError, FeishuError, InboxError, InboxUnreachable
from .pending import Pending
from .redis_scripts import STORE, Script, encode, group, reading
from .redis_server import PATIENCE, Link, LinkError, Refusal, Server

__all__ = ["Pump", "Request"]

logger = logging.getLogger("feishu_trio.inbox")

T = TypeVar("T")

_GROUP: Final = 256  # steps of each kind in one group
_GROUP_BYTES: Final = 4 << 20  # of steps, unless one has more
_AGAIN: Final = 1.0  # seconds after which what was refused is tried again
_RECONNECT: Final = 0.05  # seconds before the second try to open a link; it doubles with each further one
_LONGEST_RECONNECT: Final = 1.0
_POP: Final = 1.0  # seconds for which the server is asked for a ticket at a time


class Request(Pending[T], eq=False, kw_only=True):
    """One step of a script, and what became of it."""

    script: Script
    body: bytes
    read: Callable[[msgspec.Raw], T]
    on_left: Callable[[T], None] | None
    """Who gets the result if nobody waits for it."""
    is_left: bool = False
    """Whether nobody waits for it any more."""
    is_note: bool = False
    """Whether nobody ever waits for it, and it is kept until it is done."""

    def finish(self) -> None:
        """It is done, or cannot be."""
        super().finish()
        if self.is_left:
            self.leave()

    def leave(self) -> None:
        """Nobody waits for it any more."""
        self.is_left = True
        if self.is_done and self.error is None and self.on_left is not None:
            self.on_left(cast("T", self.result))


class Pump:
    """Sends steps to a server, what gathers at a time in one group, in the order in which it came.

    Args:
        server: The server.
        name: The inbox's, for messages.
        enter: Called with each new link, once what was noted before has been written; what it raises ends the link.
        readied: Called when events have become ready.
        lists: Returns the lists in which a ticket is wanted, once somebody wants one.
        ticket: Called with the list that had one.
    """

    def __init__(
        self,
        server: Server,
        name: str,
        *,
        enter: Callable[[Link], Awaitable[None]],
        readied: Callable[[], None],
        lists: Callable[[], Awaitable[Sequence[str]]],
        ticket: Callable[[str], None],
    ) -> None:
        self.fault: Exception | None = None
        """Why something could not be written of late."""
        self.owes = False
        """Whether notes could not be written yet."""
        self._server = server
        self._name = name
        self._enter = enter
        self._readied = readied
        self._lists = lists
        self._ticket = ticket
        self._owed: deque[Request[Any]] = (
            deque()
        )  # notes, which nobody waits for: kept until they are written
        self._asked: deque[Request[Any]] = deque()  # what somebody waits for, with success or without
        self._is_writing = False
        self._filled = trio.lowlevel.ParkingLot()
        self._flushed = trio.lowlevel.ParkingLot()
        self._answered_at = 0.0
        self._down_since: float | None = None
        self._doubt_until = 0.0  # a fault is not asked after before that

    @property
    def owed(self) -> int:
        """How many notes are to be written."""
        return len(self._owed)

    # Asking

    def note(
        self,
        script: Script,
        step: tuple[Any, ...],
        read: Callable[[msgspec.Raw], T],
        then: Callable[[T], None] | None = None,
    ) -> None:
        """Have a step done soon; `then` is called with what came of it."""
        request = Request(
            script=script, body=encode(step), read=read, on_left=then, is_left=True, is_note=True
        )
        if not self._owed:
            self._filled.unpark_all()
        self._owed.append(request)

    async def ask(
        self,
        script: Script,
        step: tuple[Any, ...],
        read: Callable[[msgspec.Raw], T],
        on_left: Callable[[T], None] | None = None,
        *,
        is_first: bool = False,
    ) -> T:
        """Have a step done, and wait for it. Cancelled, it may be done; `on_left` is called with what came of it.

        Raises:
            InboxError: It was not done, as far as is known: an `InboxUnreachable` if the server does not answer.
        """
        asked_at = trio.current_time()
        if self._down_since is not None and asked_at - self._down_since > PATIENCE:
            await trio.lowlevel.checkpoint()
            raise InboxUnreachable(f"{self._name}: {self.fault}")
        try:
            request = Request(script=script, body=encode(step), read=read, on_left=on_left)
        except UnicodeEncodeError as error:
            raise InboxError(f"{self._name}: {error}") from error
        (self._asked.appendleft if is_first else self._asked.append)(request)
        self._filled.unpark_all()
        try:
            while not request.is_done:
                with trio.move_on_after(PATIENCE) as scope:
                    await request.wait()
                waited = trio.current_time() - max(asked_at, self._answered_at)
                if scope.cancelled_caught and not request.is_done and waited >= PATIENCE:
                    request.leave()
                    raise InboxUnreachable(f"{self._name}: {self.fault or 'the server does not answer'}")
        except trio.Cancelled:
            request.leave()
            raise
        if request.error is not None:
            raise InboxError(f"{self._name}: {request.error}") from request.error
        return cast("T", request.result)

    async def flush(self) -> None:
        """Wait until all that was asked or noted is done, or cannot be."""
        while (self._asked or self._owed or self._is_writing) and not self.owes and self._down_since is None:
            await self._flushed.park()

    async def drain(self) -> None:
        """Wait until all is done, also for a link, for as long as an answer is waited for."""
        with trio.move_on_after(PATIENCE):
            while self._asked or self._owed or self._is_writing:
                await self._flushed.park()

    # Sending

    async def run(
        self, tries: int | None = None, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Keep a link open, and send over it, until cancelled.

        Args:
            tries: How often it is tried again to open the first link; None: until it is open.

        Raises:
            InboxError: The first link could not be opened; an `InboxUnreachable` if the server does not answer.
            ConfigError: What the server has is not this inbox.
        """
        was_open = is_open = False

        def opened() -> None:
            nonlocal was_open, is_open
            is_open = True
            if not was_open:
                was_open = True
                task_status.started()

        delay = _RECONNECT
        while True:
            is_open = False
            error = await self._hold(opened)
            self._server.look_elsewhere(error)
            if isinstance(error, ConfigError):
                raise error  # what no other try mends
            if not was_open:
                if not isinstance(error, LinkError):
                    raise error
                if tries is not None and tries <= 0:
                    raise InboxUnreachable(f"{self._name} cannot be opened: {error}") from error
                tries = None if tries is None else tries - 1
            self._down(error, is_new=is_open)
            delay = _RECONNECT if is_open else min(2 * delay, _LONGEST_RECONNECT)
            await trio.sleep(delay)

    async def _hold(self, opened: Callable[[], None]) -> FeishuError:
        """Open a link, and send over it until it fails: why."""
        failure: FeishuError = LinkError("the link has ended")

        async def take_tickets(link: Link) -> None:
            nonlocal failure
            try:
                while True:
                    name = await link.pop(await self._lists(), _POP)
                    if name is not None:
                        self._ticket(name)
            except LinkError as error:
                failure = error
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            try:
                link = await self._server.open(nursery)
                await self._write_owed(link)
                await self._enter(link)
                await self._write_group(
                    link, asked=False
                )  # whether it can be written to, if there was a fault
                opened()
                self._down_since = None
                nursery.start_soon(take_tickets, link)
                await self._write(link)
            except FeishuError as error:
                failure = error
            finally:
                nursery.cancel_scope.cancel()
        return failure

    def _down(self, error: FeishuError, *, is_new: bool) -> None:
        """There is no link."""
        if self._down_since is None:
            self._down_since = trio.current_time()
        if self.fault is None or is_new or type(error) is not type(self.fault):
            logger.error("%s has no link to its server: %s", self._name, error)
        self.fault = error
        self.owes = bool(self._owed)
        self._flushed.unpark_all()

    async def _write(self, link: Link) -> None:
        while True:
            if not self._asked and (self.owes or not self._owed):
                with trio.move_on_at(math.inf if self.fault is None else self._doubt_until):
                    await self._filled.park()
            await self._write_group(link)

    async def _write_owed(self, link: Link) -> None:
        """Write what was noted while there was no link: its results stand, though the lease may have ended."""
        while self._owed:
            await self._write_group(link, asked=False)
            if self.owes:
                raise LinkError(str(self.fault))

    async def _write_group(self, link: Link, *, asked: bool = True) -> None:
        requests = _some(self._owed)
        notes = len(requests)
        if asked:
            # Not those of which somebody has stopped waiting.
            requests += [request for request in _some(self._asked) if not request.is_left]
        calls = [(script, list(some)) for script, some in groupby(requests, lambda each: each.script)]
        if self.fault is not None and trio.current_time() >= self._doubt_until:
            calls.append((STORE, []))  # to find out whether the fault is over
        if not calls:
            return
        self._is_writing = True
        try:
            replies = await link.run(
                [(script, group([each.body for each in some])) for script, some in calls]
            )
        except BaseException:
            # They may have been done. Each may be done twice: the second time it changes nothing.
            self._owed.extendleft(reversed(requests[:notes]))
            self._asked.extendleft(reversed(requests[notes:]))
            raise
        finally:
            self._is_writing = False
        self._answered_at = trio.current_time()
        self._read(calls, replies)
        again = [request for request in requests[:notes] if isinstance(request.error, Refusal)]
        self._owed.extendleft(reversed(again))
        self.owes = bool(again)
        for request in requests:
            if not (request.is_note and isinstance(request.error, Refusal)):
                request.finish()
        if self.owes or not (self._asked or self._owed):
            self._flushed.unpark_all()

    def _read(
        self, calls: Sequence[tuple[Script, list[Request[Any]]]], replies: Sequence[bytes | Refusal]
    ) -> None:
        """Take in what a group has given back."""
        refusal: Refusal | None = None
        can_store = False
        readied = 0
        for (script, requests), reply in zip(calls, replies, strict=True):
            if isinstance(reply, Refusal):
                refusal = reply
                for request in requests:
                    request.error = reply
                continue
            can_store = can_store or script is STORE
            read = reading(reply)
            readied += read.readied
            failed = dict(read.errors)
            for at, (request, raw) in enumerate(zip(requests, read.replies, strict=True)):
                if at in failed:
                    logger.error("a step failed in %s: %s", self._name, failed[at])
                    request.error = InboxError(failed[at])
                else:
                    request.error = None
                    request.result = request.read(raw)
        if refusal is not None:
            self._doubt_until = trio.current_time() + _AGAIN
            if self.fault is None:
                logger.error("what should be kept cannot be written to %s: %s", self._name, refusal)
            self.fault = refusal
        elif self.fault is not None and can_store:
            logger.warning("%s can be written to again", self._name)
            self.fault = None
        if readied:
            self._readied()


def _some(requests: deque[Request[Any]]) -> list[Request[Any]]:
    """Take as many out as one group may have."""
    taken: list[Request[Any]] = []
    size = 0
    while requests and len(taken) < _GROUP and size < _GROUP_BYTES:
        request = requests.popleft()
        taken.append(request)
        size += len(request.body)
    return taken
