"""The heartbeat of one connection: pings, what proves that the peer lives, and probing when nothing does."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import trio

from ..telemetry import Telemetry
from ..wire import encode_ping
from .client_config import ClientConfig
from .discovery import Endpoint
from .outbox import Outbox, Outgoing
from .pace import Pace, sleep_awake

__all__ = ["Watchdog"]


# When a pong is missing, it is asked for again so many times, quickly, before the connection is given up.
_PROBES: Final = 2
# So many heartbeats in a row may bring bytes only, and no whole message.
_BARE: Final = 2
# While a pong is waited for, the ping is repeated after so many seconds: with 3 % of the pongs lost, three
# in a row are lost every two weeks, five in a row never.
_ASK_AGAIN: Final = 5.0


class Watchdog:
    """Pings at the interval; without a sign of life in time it probes, and then calls `give_up` with the reason.

    Any whole message is a sign of life of the server. Other bytes (of a message that is not all there, of WebSocket
    control frames) may come from the line alone, or from a proxy: they count for two heartbeats in a row, so that
    a large message has the time to come, and then no more. Time in which nobody reads does not count: silence is
    our own then.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        pace: Pace,
        outbox: Outbox,
        telemetry: Telemetry,
        *,
        pong_timeout: float,
        give_up: Callable[[str], object],
    ) -> None:
        self.client_config = endpoint.client_config
        """What the server asks for; a pong may replace it."""
        self.is_overdue = False
        """Whether a heartbeat was not answered in time, and the connection is being probed."""
        self._id = endpoint.device_id
        self._ping = Outgoing(encode_ping(endpoint.service_id), portable=False)
        self._pace = pace
        self._outbox = outbox
        self._telemetry = telemetry
        self._pong_timeout = pong_timeout
        self._give_up = give_up
        self._heard = trio.lowlevel.ParkingLot()
        self.has_heard = False
        """Whether a whole message was received since the last ping; if so, `heard` need not be called."""
        self._has_bytes = False  # the same of any bytes
        self._bare = -1  # heartbeats in a row that brought no whole message; the first is yet to come
        self._pinged_at = -math.inf
        self._ponged_at: float | None = None
        self._asked_at: float | None = None  # when the first ping went out that awaits a pong
        self._paused_since: float | None = None
        self._paused = 0.0
        self._last_payload: bytes | None = None

    async def run(self) -> None:
        """Ping until cancelled, or until the connection had to be given up."""
        while True:
            self._asked_at = None
            self._bare = 0 if self.has_heard else self._bare + 1
            if await self._answers(self._pong_timeout, probe=False):
                self._pace.answered()
            else:
                await self._probe()
            while await self._rest():
                self._telemetry.machine_slept(self._id)
                await self._probe()

    def heard(self, *, whole: bool = True) -> None:
        """Something was received: a `whole` message, or bytes that make none."""
        if whole:
            self.has_heard = True
        else:
            self._has_bytes = True
        self._heard.unpark_all()

    def pong_received(self, payload: bytes) -> None:
        """A pong was received; its payload may hold the server's wishes."""
        now = trio.current_time()
        rtt = interval = None
        if self._asked_at is not None:
            rtt = now - self._asked_at
            interval = None if self._ponged_at is None else now - self._ponged_at
            self._asked_at = None
            self._ponged_at = now
        self._telemetry.pong_received(self._id, rtt, interval, self._interval)
        if payload and payload != self._last_payload:
            self._last_payload = payload  # the same again needs no second warning
            self.client_config = (
                ClientConfig.parse_json(payload, self._telemetry.server_config_wrong) or self.client_config
            )

    def pause(self) -> None:
        """From here on nobody reads."""
        self._paused_since = trio.current_time()

    def resume(self) -> None:
        """From here on somebody reads again."""
        if self._paused_since is not None:
            self._paused += trio.current_time() - self._paused_since
            self._paused_since = None

    @property
    def _interval(self) -> float:
        return self._pace.interval(self.client_config.ping_interval)

    async def _rest(self) -> bool:
        """Sleep until the next ping is due; True if the machine slept meanwhile."""
        return await sleep_awake(self._pinged_at + self._interval - trio.current_time())

    async def _probe(self) -> None:
        """Ask quickly, and give the connection up if nothing comes."""
        self.is_overdue = True
        for _ in range(_PROBES):
            if await self._answers(self._pong_timeout / 3, probe=True):
                self.is_overdue = False
                return
        self._give_up(f"{_PROBES} probes had no answer")
        await trio.lowlevel.checkpoint_if_cancelled()

    async def _answers(self, patience: float, *, probe: bool) -> bool:
        """Ping, and again from time to time; whether anything comes within `patience` seconds."""
        times = max(round(patience / _ASK_AGAIN), 1)
        for _ in range(times):
            self._send_ping(probe=probe)
            if await self._hears_within(patience / times):
                return True
        return False

    def _send_ping(self, *, probe: bool) -> None:
        self._pinged_at = trio.current_time()
        if self._asked_at is None:
            self._asked_at = self._pinged_at
        self.has_heard = self._has_bytes = False
        self._outbox.put(self._ping)
        self._telemetry.ping_sent(self._id, probe=probe)

    async def _hears_within(self, patience: float) -> bool:
        """Whether a sign of life came since the last ping. The time that nobody read does not count."""
        start = trio.current_time() - self._time_paused()
        while not (self.has_heard or (self._has_bytes and self._bare < _BARE)):
            left = start + patience - (trio.current_time() - self._time_paused())
            if left <= 0:
                return False
            # While nobody reads, `left` stays as it is: it must not become a busy loop.
            with trio.move_on_after(max(left, 0.1)):
                await self._heard.park()
        return True

    def _time_paused(self) -> float:
        now = 0.0 if self._paused_since is None else trio.current_time() - self._paused_since
        return self._paused + now
