"""When to ping: the rule for the interval, and a sleep that notices when the machine slept."""

from __future__ import annotations

import time
from typing import Final

import trio

__all__ = ["Pace", "sleep_awake"]

# Shorter than the idle time-outs of most NATs and proxies, and as short as it gets after failures.
_USUAL: Final = 30.0
_SHORTEST: Final = 5.0
_GROWTH: Final = 1.01
# How often the clocks are compared, and by how much the wall clock must have run ahead: the machine slept.
_CLOCK_CHECK: Final = 5.0
_CLOCK_JUMP: Final = 5.0


class Pace:
    """How long to wait between two pings. It learns, so it outlives the connections it is used for.

    The interval is 30 s, or the server's if that is shorter. When a connection had to be given up because the
    server was silent or took no more bytes, something on the way may forget idle connections sooner than
    that: the interval is halved, down to 5 s. Each heartbeat that is answered makes it longer by a hundredth,
    so that it drifts back as the connection proves stable: from 15 s to 30 s it takes 25 minutes.

    `fixed` (the setting `heartbeat_interval`), in seconds, turns all that off.
    """

    def __init__(self, fixed: float | None) -> None:
        self._fixed = fixed
        self._most = _USUAL

    def interval(self, server: float) -> float:
        """Seconds between two pings; `server` is what the server asks for."""
        return self._fixed or min(self._most, server)

    def answered(self) -> None:
        """A heartbeat was answered, the first time it was asked for."""
        self._most = min(self._most * _GROWTH, _USUAL)

    def failed(self, server: float) -> None:
        """A connection had to be given up, for the server gave no sign of life."""
        self._most = max(min(self._most, server) / 2, _SHORTEST)


async def sleep_awake(seconds: float) -> bool:
    """Sleep; but if the machine sleeps meanwhile (suspend, a paused VM), return True soon after it wakes.

    Such a sleep shows in the wall clock alone: the monotonic clock, which is trio's, stands still.
    """
    until = trio.current_time() + seconds
    while (left := until - trio.current_time()) > 0:
        ahead = time.time() - trio.current_time()
        await trio.sleep(min(left, _CLOCK_CHECK))
        if time.time() - trio.current_time() - ahead > _CLOCK_JUMP:
            return True
    return False
