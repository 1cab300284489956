"""`open_worker`: handlers for what an inbox holds, without a connection."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Unpack

import trio

from .config import SessionConfig, SessionSettings, wrong
from .config.rules import kind_only
from .connection import http_client
from .inbox.protocol import Inbox
from .prepare import configured
from .router import Router
from .service import OVER, Service, SessionState, in_block
from .telemetry.lifecycle import Follower

if TYPE_CHECKING:
    import httpx

__all__ = ["Worker", "WorkerArguments", "open_worker"]


class Worker(Service):
    """Handlers at work for an inbox, made by `open_worker`: all it starts ends with its block."""

    def __init__(
        self,
        config: SessionConfig,
        router: Router,
        http: httpx.AsyncClient,
        on_lifecycle: Follower | None = None,
        *,
        inbox: Inbox,
    ) -> None:
        super().__init__(config, router, http, on_lifecycle, inbox=inbox, can_ask=False)
        assert self._stored is not None, "there is an inbox"
        self._sources.append(self._stored)
        self._began_at = math.inf

    def __repr__(self) -> str:
        return f"<Worker of {self._inbox!r}: {'over' if self._state.value in OVER else 'at work'}>"

    # Inside

    @property
    def _connection_count(self) -> int:
        return 0

    def _complaints(self) -> list[str]:
        is_at_work = self._state.value is SessionState.CONNECTED
        return [] if is_at_work else [f"the worker is {self._state.value.value}"]

    async def _begin(self) -> None:
        self._state.value = SessionState.CONNECTED
        self._began_at = trio.current_time()
        self._telemetry.worker_began(repr(self._inbox), self._engine.durable)
        await trio.lowlevel.checkpoint()

    def _finish(self) -> None:
        if self._state.value not in OVER and self._began_at < math.inf:
            self._telemetry.worker_ended(trio.current_time() - self._began_at)
        super()._finish()


class WorkerArguments(SessionSettings, total=False):
    """What `open_worker` takes by name."""

    app_id: str | None
    app_secret: str | None
    config: SessionConfig | None
    on_lifecycle: Follower | None


@asynccontextmanager
async def open_worker(
    inbox: Inbox,
    router: Router,
    *,
    app_id: str | None = None,
    app_secret: str | None = None,
    config: SessionConfig | None = None,
    on_lifecycle: Follower | None = None,
    **settings: Unpack[SessionSettings],
) -> AsyncGenerator[Worker, None]:
    """Run handlers for what an inbox holds, without a connection: on as many machines as the inbox is reached from.

    Events are claimed from the block's first checkpoint on. Leaving normally lets what runs end, within
    `shutdown_timeout`; leaving by cancellation or with an exception ends it at once. Callbacks run where they arrive, and
    never here, so `event.ask` raises. The sessions that fill the inbox have the same router, and say `claim=False`.

    Args:
        inbox: Where the events are; it serves this worker alone.
        router: The handlers: those that are durable run here.
        app_id: The app's id; `config.app_id` or `FEISHU_APP_ID` if not given. It must be that of the inbox.
        app_secret: The app's secret, for `event.api`; `config.app_secret` or `FEISHU_APP_SECRET` if not given.
        config: The settings; those of connections are of no use here.
        on_lifecycle: As for `open_feishu_session`.
        settings: Fields of `SessionConfig` by name; they win over `config`.

    Raises:
        RuntimeError: This is not run by trio.
        ConfigError: A setting is wrong, there are no credentials, or the inbox is another app's.
        InboxError: The inbox cannot be opened.
    """
    arguments = WorkerArguments(
        app_id=app_id, app_secret=app_secret, config=config, on_lifecycle=on_lifecycle, **settings
    )
    async with opened_worker(lambda _: None, inbox, router, arguments) as worker:
        yield worker


@asynccontextmanager
async def opened_worker(
    made: Callable[[Worker], object], inbox: Inbox, router: Router, arguments: WorkerArguments
) -> AsyncGenerator[Worker, None]:
    """The same, and `made` is given the worker before its inbox is open, to be watched from then on."""
    if not isinstance(inbox, Inbox):
        raise wrong("inbox", inbox, "an inbox, such as RedisInbox(url)", show=kind_only)
    on_lifecycle, config = arguments.pop("on_lifecycle", None), arguments.pop("config", None)
    config = configured("open_worker", config, arguments, router, inbox, on_lifecycle)
    async with http_client(config) as http:
        worker = Worker(config, router, http, on_lifecycle, inbox=inbox)
        made(worker)
        async with in_block(worker):
            yield worker
