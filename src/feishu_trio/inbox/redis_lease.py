"""What a process has claimed, and until when it may go on with it."""

from __future__ import annotations

import logging
import math
import secrets
from collections.abc import Callable, Collection, Iterable
from typing import Final

import trio

from .records import Claim

__all__ = ["Lease"]

logger = logging.getLogger("feishu_trio.inbox")

_NAME_BYTES: Final = 6
_NAMES: Final = 100  # that the server may know: one a second, while it takes links and does not answer


class Lease:
    """The claims of one process, and the name under which the server has them.

    The lease ends at a time of trio's clock that each renewal moves, counted from before it was sent, and so before it
    ends at the server. A process that was paused finds it ended when it wakes. Whoever had claims then has them no more,
    though nobody else has asked for them yet.

    Args:
        seconds: For how long the server keeps it after a renewal.
        inbox: The inbox's name, for messages.
        on_lost: Called by `watch` with the numbers of what is lost.
    """

    def __init__(self, seconds: float, inbox: str, on_lost: Callable[[Collection[int]], None]) -> None:
        self.seconds: Final = seconds
        self.owner = ""
        """Another name for each link: what a lost link brings late is refused."""
        self.names: list[str] = []
        """The names under which the server may have claims of this process."""
        self.held: dict[int, Claim] = {}
        """What is claimed, until the server knows what became of it; by the events' numbers."""
        self.is_over = False
        self._inbox = inbox
        self._until = math.inf
        self._now: Callable[[], float] = trio.current_time  # the clock's own once there is a lease
        self._on_lost = on_lost
        self._lost: set[int] = set()
        self._changed = trio.lowlevel.ParkingLot()

    def new_name(self) -> str:
        """Another name than any before; it is this process's once `begin` is called with it.

        Nor is one used again for which no reply came: the server may have given claims to it. It gives them to the next;
        those of a name that is forgotten here are free when the lease ends that it has there.
        """
        self.names = [*self.names[1 - _NAMES :], secrets.token_urlsafe(_NAME_BYTES)]
        return self.names[-1]

    def begin(self, name: str, asked_at: float) -> None:
        """The server has taken over to this name whatever there was under the earlier ones."""
        self.owner, self.names, self.is_over = name, [name], False
        self._now = trio.lowlevel.current_clock().current_time  # for `owns`, which is asked again and again
        self.renewed(asked_at)

    def renewed(self, asked_at: float) -> None:
        """It is renewed, as was asked at this time of trio's clock."""
        if not self.is_over:
            self._until = asked_at + self.seconds
            self._changed.unpark_all()

    def owns(self, claim: Claim) -> bool:
        """Whether this claim is the process's still, as far as is known."""
        self.check()
        return self.held.get(claim.number) is claim

    def check(self) -> None:
        """End it if its time has come: after a pause others may come to run before `watch` does."""
        if self._now() >= self._until:
            self.end()

    def lose(self, numbers: Iterable[int]) -> None:
        """These events are not claimed any more: whoever handles them is to end."""
        lost = {number for number in numbers if self.held.pop(number, None) is not None}
        if lost:
            logger.warning(
                "%d events are not %s's any more: their handlers are cancelled", len(lost), self._inbox
            )
            self._lost |= lost
            self._changed.unpark_all()

    def end(self) -> None:
        """It is over, with all that was claimed."""
        self.is_over = True
        self._until = math.inf
        self.lose([*self.held])

    async def watch(self) -> None:
        """End it when its time has come, and tell of all that is lost.

        As the time comes that is one step of the scheduler: what slept while the process was paused has no second one by
        then. From here alone, since whoever asks whether a claim is owned may be amid a change of the engine.
        """
        while True:
            self.check()
            lost, self._lost = self._lost, set()
            if lost:
                self._on_lost(lost)
            with trio.move_on_at(self._until):
                await self._changed.park()
