"""Connections as a source of the engine: so many of them, kept up, stopped and closed together."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import trio

from ..config import SessionConfig
from ..delivery import Engine
from ..errors import ConnectError, ConnectionLimitError
from ..router import Router
from ..telemetry import Telemetry
from .backoff import Backoff
from .connection import Connection
from .ending import DisconnectReason
from .outbox import Outgoing
from .relay import Relay
from .shared import Shared
from .supervisor import Supervisor

if TYPE_CHECKING:
    import httpx

__all__ = ["Connections"]

# Seconds with a connection and without a heartbeat message, where there had been some, before that is complained of.
_QUIET: Final = 120.0
# Seconds between the first tries of a session's connections, so that they do not live and die together.
_STAGGER: Final = 1.0


class Connections:
    """A session's connections. `on_change` is called whenever one comes up or ends."""

    def __init__(
        self,
        config: SessionConfig,
        router: Router,
        engine: Engine,
        telemetry: Telemetry,
        http: httpx.AsyncClient,
        on_change: Callable[[], object],
    ) -> None:
        self._wanted = self._left = config.connections
        self._telemetry = telemetry
        self._on_change = on_change
        self._relay: Relay[Connection] = Relay(self._note_change, telemetry)
        self._up_since = math.inf  # without a moment in which none was up
        self._silent = 0.0  # before that, since the last heartbeat message
        self._ready = engine.ready
        shared = Shared(config, router, engine, telemetry, self._relay)
        self._supervisors = [
            Supervisor(
                shared,
                http,
                Backoff(
                    config.reconnect_delay,
                    config.max_reconnect_delay,
                    fixed=config.reconnect_backoff == "fixed",
                ),
            )
            for _ in range(config.connections)
        ]

    @property
    def live(self) -> list[Connection]:
        """Those that are up."""
        return self._relay.live

    @property
    def failure(self) -> ConnectError | None:
        """Why one of them is not up; None if there is no more to say than that."""
        return next((each.failure for each in self._supervisors if each.failure is not None), None)

    def complaints(self) -> list[str]:
        """What is wrong with them."""
        live = self.live
        missing = [f"{len(live)} of {self._wanted} connections are up"] if len(live) < self._wanted else []
        overdue = [f"a heartbeat of connection {each.id} is overdue" for each in live if each.is_overdue]
        return missing + overdue + self._quiet()

    def _quiet(self) -> list[str]:
        last, now = self._telemetry.heartbeat_message_at, trio.current_time()
        if last is None or not self.live or self._silence(last, now) < _QUIET:
            return []
        return [f"no heartbeat message has come for {now - last:.0f} s, where there had been some"]

    def _silence(self, last: float, now: float) -> float:
        """Seconds since the last heartbeat message in which there was a connection to bring another."""
        return now - last if last >= self._up_since else self._silent + now - self._up_since

    def _note_change(self) -> None:
        last, now = self._telemetry.heartbeat_message_at, trio.current_time()
        if not self.live:
            self._silent = 0.0 if last is None else self._silence(last, now)
            self._up_since = math.inf
        elif self._up_since == math.inf:
            self._up_since = now
        self._on_change()

    async def run(self) -> None:
        """Keep all of them up; returns once all have ended after `stop`.

        Raises:
            ConnectError: The first cannot be had, or none is left, and no more tries are configured.
            RefusedError: Feishu refuses the app.
        """
        first, *others = self._supervisors
        async with trio.open_nursery() as nursery:
            for number, supervisor in enumerate(others, 1):
                nursery.start_soon(self._supervise, supervisor, number * _STAGGER)
            await self._supervise(first, 0)

    def stop(self) -> None:
        """Open no more connections; those there are live on, and answers and heartbeats go out."""
        for supervisor in self._supervisors:
            supervisor.stop()

    async def wait_settled(self) -> None:
        """Wait until everything that came is answered, also what came on connections that have ended."""
        await self._relay.wait_answered()

    async def close(self) -> None:
        """Write the answers there are, and part with the server in good order, in bounded time."""
        async with trio.open_nursery() as nursery:
            for connection in self.live:
                nursery.start_soon(connection.close, DisconnectReason.SESSION_CLOSED)

    async def send(self, message: str | bytes) -> None:
        """Have a message written by one of them, the next if there is none; returns once it is written."""
        written = trio.Event()
        self._relay.forward(Outgoing(message, written.set))
        await written.wait()

    async def reconnect(self) -> None:
        """Put new connections in the place of those there are, one after the other."""
        for supervisor in self._supervisors:
            await supervisor.reconnect()

    async def _supervise(self, supervisor: Supervisor, delay: float) -> None:
        if delay:
            # The first connection of a session is also what tells whether there can be any.
            await self._ready.wait()
            await trio.sleep(delay)
        try:
            await supervisor.run()
        except (ConnectError, ConnectionLimitError) as error:
            self._left -= 1
            if not self._left or not self._ready.is_set():
                raise
            self._telemetry.connection_given_up(self._left, error)
