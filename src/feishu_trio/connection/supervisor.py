"""Keeping one connection up: connect, wait for its end, wait a little, connect again."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec
import trio
from trio_util import wait_any

from ..errors import ConnectError, FeishuError, RefusedError
from .backoff import Backoff
from .client_config import ClientConfig
from .connection import CONNECT_ERRORS, Connection, defect
from .discovery import discover
from .ending import DisconnectReason
from .pace import Pace, sleep_awake
from .shared import Shared

if TYPE_CHECKING:
    import httpx

__all__ = ["Supervisor"]


# Ends that a heartbeat at shorter intervals may avoid: something on the way had forgotten the connection.
_SILENCE: Final = frozenset({DisconnectReason.NO_PONG, DisconnectReason.WRITE_STALLED})


class _Wish(msgspec.Struct, eq=False):
    """Somebody's wish for a new connection, and what came of it."""

    made: trio.Event = msgspec.field(default_factory=trio.Event)
    settled: trio.Event = msgspec.field(default_factory=trio.Event)
    error: Exception | None = None


class Supervisor:
    """Keeps one of a session's connections up, until it is stopped or Feishu refuses the app."""

    def __init__(self, shared: Shared, http: httpx.AsyncClient, backoff: Backoff) -> None:
        self._shared = shared
        self._http = http
        self._backoff = backoff
        self._pace = Pace(shared.config.heartbeat_interval)
        self._client_config = ClientConfig()
        self.failure: ConnectError | None = None
        """Why there is no connection; None while there is one."""
        self._connects = 0
        self._stop = trio.CancelScope()
        self._over = False
        self._wish = _Wish()
        self._news = trio.lowlevel.ParkingLot()  # a connection has ended, or somebody wishes for a new one

    async def run(self) -> None:
        """Keep a connection up. After `stop`, returns once the connection has ended by itself.

        Raises:
            ConnectError: The tries are used up, or `auto_reconnect` is off.
            RefusedError: Feishu refuses the app.
        """
        failure: FeishuError | None = None
        async with trio.open_nursery() as nursery:
            try:
                with self._stop:
                    await self._keep_up(nursery)
            except FeishuError as error:
                failure = error  # raised below, so that the nursery does not wrap it in a group
            finally:
                self._over = True
                self._settle(failure or trio.ClosedResourceError("the session is closed"))
        if failure is not None:
            raise failure

    def stop(self) -> None:
        """Make no more connections; the one there is lives on."""
        self._stop.cancel()

    async def reconnect(self) -> None:
        """Put a new connection in the place of the old, which is closed once the new one is up.

        That is tried once, and at once. Cancelling this does not take the wish back.

        Raises:
            ConnectError, RefusedError: No new connection could be had; the old one, if there is one, is kept.
            trio.ClosedResourceError: The session was closed meanwhile.
        """
        if self._over:
            return  # it was refused, and others carry the session
        wish = self._wish
        wish.made.set()
        self._news.unpark_all()
        await wish.settled.wait()
        if wish.error is not None:
            raise wish.error

    def _settle(self, error: Exception | None = None) -> None:
        if self._wish.made.is_set():
            wish, self._wish = self._wish, _Wish()
            wish.error = error
            wish.settled.set()

    async def _keep_up(self, nursery: trio.Nursery) -> None:
        current = await self._connect(nursery)
        while True:
            while not (current.closed.is_set() or self._wish.made.is_set()):
                await self._news.park()
            if current.closed.is_set():
                self._client_config = current.client_config
                self._backoff.ended(trio.current_time() - current.since)
                if current.ended is not None and current.ended.reason in _SILENCE:
                    self._pace.failed(self._client_config.ping_interval)
                loss = ConnectError(f"the connection was lost: {current.ended}")
                current = await self._connect(nursery, loss)
            else:
                try:
                    successor = await self._open(nursery)
                except (ConnectError, RefusedError) as error:
                    self._settle(error)
                    continue
                successor.succeed(current)
                nursery.start_soon(current.close, DisconnectReason.REPLACED)
                await current.closed.wait()
                current = successor
            self._shared.telemetry.reconnected()
            self._settle()

    async def _connect(self, nursery: trio.Nursery, error: ConnectError | None = None) -> Connection:
        """Try until there is a connection. `error` is why there is none, unless this is the first one."""
        tries = 0
        while True:
            self.failure = error
            if error is not None:
                await self._pause(error, tries)
                tries += 1
            try:
                connection = await self._open(nursery)
            except ConnectError as failure:
                error = failure
                self._settle(failure)
            else:
                self.failure = None
                return connection

    async def _open(self, nursery: trio.Nursery) -> Connection:
        """Try once."""
        self._connects += 1
        try:
            return await self._open_in_time(nursery)
        except Exception as error:
            failure = error if isinstance(error, CONNECT_ERRORS) else self._defect(error)
            self._shared.telemetry.connect_failed(failure)
            if failure is error:
                raise
            raise failure from error

    def _defect(self, error: Exception) -> ConnectError:
        """What discovery met and nobody meant to raise: in `client_assertion` or `http_transport`, mostly."""
        return defect(self._shared.telemetry, self._shared.config.domain, error)

    async def _open_in_time(self, nursery: trio.Nursery) -> Connection:
        config = self._shared.config
        stage = "discovery"
        try:
            with trio.fail_after(config.connect_timeout):
                endpoint = await discover(self._http, config)
                stage = endpoint.host
                self._client_config = endpoint.client_config
                connection = Connection(endpoint, self._shared, self._pace, attempt=self._connects)
                await nursery.start(self._run, connection)
        except trio.TooSlowError:
            timeout = config.connect_timeout
            raise ConnectError(f"no connection within {timeout:g} s: {stage} did not answer") from None
        return connection

    async def _run(self, connection: Connection, *, task_status: trio.TaskStatus[Connection]) -> None:
        try:
            await connection.run(task_status=task_status)
        finally:
            self._news.unpark_all()

    async def _pause(self, error: ConnectError, tries: int) -> None:
        """Wait before the next try, or raise `error` if there were enough. A wish cuts it short, as does the end of the machine's sleep."""
        config = self._shared.config
        limit = config.max_reconnect_attempts
        if limit is None:
            limit = self._client_config.reconnect_count
        if not config.auto_reconnect:
            raise error
        if limit is not None and tries >= limit:
            raise ConnectError(
                f"given up after {tries} tries to reconnect: {error}", code=error.code
            ) from error
        delay = self._backoff.next(self._client_config.reconnect_interval)
        self._shared.telemetry.reconnect_scheduled(tries + 1, delay, error)
        # A machine that wakes has, as a rule, a network again: what it waited for is another one.
        await wait_any(self._wish.made.wait, partial(sleep_awake, delay))
