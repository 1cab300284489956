"""`open_feishu_session`: supervises the connections, owns everything, and is what users hold."""

from __future__ import annotations

import enum
import inspect
import json
import os
import sys
from collections.abc import AsyncGenerator, Hashable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio
from trio_util import AsyncValue

from .api import Api
from .bot import Bot, ToMe
from .config import FEISHU_DOMAIN, Ack, PoolConfig, SessionConfig, wrong
from .config.rules import kind_only
from .connection import Connections, http_client
from .delivery import CALLBACK_POOL, DEFAULT_POOL, MESSAGE_POOL, Engine, Ledger, Source, Storing
from .errors import ConfigError, FeishuError, first_error
from .events import Event, encode_result
from .inbox.protocol import Inbox
from .inbox.source import InboxSource
from .inbox.storing import STORING_POOL, storing_route
from .pull import EventStream
from .router import Router
from .routes import count, is_async_function, matches_any, no_order
from .telemetry import Telemetry
from .telemetry.counters import SessionStats
from .telemetry.heartbeat import HeartbeatStats
from .telemetry.lifecycle import Follower, LifecycleStream

if TYPE_CHECKING:
    import httpx

__all__ = ["Health", "Session", "SessionState", "open_feishu_session"]


class SessionState(enum.Enum):
    """Where a session stands."""

    CONNECTING = "connecting"
    """The first connection is not up yet."""
    CONNECTED = "connected"
    """At least one connection is up."""
    RECONNECTING = "reconnecting"
    """All connections are lost for now."""
    CLOSING = "closing"
    """No more events are read; what runs may end."""
    CLOSED = "closed"
    """Over, as it should be."""
    FAILED = "failed"
    """Over, because of an error that leaves the `async with` block."""


_OVER: Final = frozenset({SessionState.CLOSED, SessionState.FAILED})
_ENDING: Final = _OVER | {SessionState.CLOSING}


@attrs.frozen
class Health:
    """Whether a session does its work, and if not, why."""

    ok: bool
    reasons: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.ok


class Session:
    """A session with Feishu, made by `open_feishu_session`: all it starts ends with its block."""

    def __init__(
        self,
        config: SessionConfig,
        router: Router,
        http: httpx.AsyncClient,
        on_lifecycle: Follower | None = None,
        *,
        inbox: Inbox | None = None,
        store: tuple[str, ...] = (),
        claim: bool = True,
    ) -> None:
        self._config = config
        self._router = router
        self._state = AsyncValue(SessionState.CONNECTING)
        self._telemetry = Telemetry(follower=on_lifecycle)
        self._api = Api(
            http,
            config.domain,
            config.app_id or "",
            config.app_secret or "",
            timeout=config.connect_timeout,
            assertion=config.client_assertion,
        )
        self._engine = Engine(
            router,
            pools=_pools(config, inbox),
            ack=_ack(config, inbox),
            ledger=Ledger(config.dedupe_window, max_bytes=config.dedupe_bytes),
            telemetry=self._telemetry,
            late=self._use_late_result,
            queue_bytes=config.queue_bytes,
            handler_mode=config.handler_mode,
            storing=None if inbox is None else _storing(inbox, store, self._telemetry),
        )
        self._bot = Bot(self._api, self._telemetry, self._engine.own_handler, self.cancel)
        self._engine.port = self._bot
        self._engine.questions = self._bot.answer_click
        self._connections = Connections(
            config, router, self._engine, self._telemetry, http, self._on_connections
        )
        self._inbox = inbox
        self._sources: list[Source] = [self._connections]
        self._stored: InboxSource | None = None
        if inbox is not None:
            self._stored = InboxSource(inbox, self._engine, self._telemetry, router.dead_handlers)
            if claim:
                self._sources.append(self._stored)
        self._scope = trio.CancelScope()
        self._failure: BaseException | None = None
        self._waiting: set[trio.CancelScope] = set()
        self._streams: set[EventStream] = set()

    def __repr__(self) -> str:
        return f"<Session {self._config.app_id}: {self.state.value}>"

    # What it is

    @property
    def state(self) -> SessionState:
        """Where the session stands."""
        state: SessionState = self._state.value
        return state

    @property
    def is_connected(self) -> bool:
        """Whether a connection is up."""
        return self._state.value is SessionState.CONNECTED

    @property
    def is_authenticated(self) -> bool:
        """Whether a connection is up whose server has accepted this app.

        With `app_access_token` that is so from the server's JSON message `auth` on (`Authenticated`). Without one
        the handshake is the authentication: the connection's address holds a ticket, which Feishu gives only for
        the right credentials.
        """
        return any(each.is_authenticated for each in self._connections.live)

    @property
    def config(self) -> SessionConfig:
        """The settings in force."""
        return self._config

    @property
    def router(self) -> Router:
        """The handlers; they may be added and removed at any time."""
        return self._router

    @property
    def api(self) -> Api:
        """Feishu's HTTP API, with this app's token."""
        return self._api

    @property
    def heartbeat(self) -> HeartbeatStats:
        """Statistics of the heartbeats, over all connections: pongs, and in `messages` JSON heartbeats."""
        return self._telemetry.heartbeat

    def stats(self) -> SessionStats:
        """A snapshot of the counters."""
        return self._telemetry.counters.snapshot(
            connections=len(self._connections.live),
            in_flight=self._engine.in_flight,
            queue_depth=self._engine.queue_depth,
        )

    def health(self) -> Health:
        """Whether events come in and are handled, and what is wrong if not."""
        if self.is_connected:
            reasons = self._connections.complaints()
        else:
            reasons = [f"the session is {self.state.value}"]
        if self._inbox is not None and self._inbox.fault is not None:
            reasons.append(f"nothing can be written to {self._inbox!r}: {self._inbox.fault}")
        reasons += [f"pool {pool.name} is full" for pool in self._engine.pools.named.values() if pool.is_full]
        return Health(not reasons, tuple(reasons))

    # What happens

    async def wait_state(self, state: SessionState) -> None:
        """Wait until the session is in this state.

        Raises:
            trio.ClosedResourceError: The session is over, and will never be in that state.
        """
        reached = await self._state.wait_value(lambda now: now is state or now in _OVER)
        if reached is not state:
            raise trio.ClosedResourceError(f"the session is {reached.value}")

    async def wait_closed(self) -> None:
        """Wait until the session has ended. A fatal error cancels this, and leaves the block as itself."""
        await self._state.wait_value(lambda now: now in _OVER)

    def lifecycle(self, *, capacity: int = 1000) -> AbstractAsyncContextManager[LifecycleStream]:
        """Follow what happens from here on, as typed events: `async with session.lifecycle() as stream`.

        A subscriber that is more than `capacity` events behind loses the oldest (`stream.lost` counts them).
        The iterator ends with the session. What happened before, at the start, `on_lifecycle` of
        `open_feishu_session` is told.
        """
        return self._telemetry.lifecycle.subscribe(count("capacity", capacity))

    @asynccontextmanager
    async def events(
        self, pattern: str | type | Iterable[str | type] = "*", *, capacity: int = 64
    ) -> AsyncGenerator[EventStream, None]:
        """Pull events instead of having them handled: `async with session.events() as events`.

        Iterate over it; asking for the next event answers the last one. An exception in the loop's body
        leaves its event unanswered to the platform's redelivery (500), as do events that were not begun
        when the block is left. `event.ack(result)` and `event.nack()` answer at once. With an inbox events come from
        there: an exception, or `event.nack()`, is a failed attempt, and what was not begun is free again.

        Args:
            pattern: An event type, a glob, an event model class, or a list of these, as `Router.on` takes them.
            capacity: Events that may wait here; more wait in the socket, or come again.
        """
        count("capacity", capacity)
        patterns, where = self._router.selection(pattern)
        stream = EventStream(patterns, where, loops=self._engine.loops, has_inbox=self._inbox is not None)
        # One that is worked on, and those that wait; its pool hands each on at once.
        self._engine.pools.attach(stream.route, concurrency=2, capacity=capacity)
        self._streams.add(stream)
        if self.state in _ENDING:
            stream.end()
        try:
            yield stream
            stream.settle(ok=True)
        except BaseException:
            stream.settle(ok=False)
            raise
        finally:
            stream.end()
            self._streams.discard(stream)
            self._engine.pools.detach(stream.route)

    # What can be asked of it

    async def send(self, message: str | bytes) -> None:
        """Send a WebSocket message of your own (`str`: text, `bytes`: binary); returns once it is written.

        Waits for a connection if there is none. Once cancelled, it may or may not be sent.

        Raises:
            trio.ClosedResourceError: The session is over, or is being closed.
            UnicodeEncodeError: The text has surrogates, which UTF-8 has not.
        """
        if not isinstance(message, str | bytes):
            raise TypeError(f"a message is str or bytes, not {type(message).__name__}")
        if isinstance(message, str):
            message.encode()  # what cannot be is the caller's mistake, not the connection's end
        with self._until_closing():
            await self._connections.send(message)

    async def reconnect(self) -> None:
        """Put new connections in the place of those there are; each old one is closed once its new one is up.

        One after the other, each tried once and at once. Cancelling this does not stop the one under way.

        Raises:
            ConnectError, RefusedError: A new connection could not be had; the old one lives on.
            trio.ClosedResourceError: The session is over, or is being closed.
        """
        with self._until_closing():
            await self._connections.reconnect()

    async def cancel(self, key: Hashable) -> int:
        """End what runs or waits behind an order key, such as a chat's id: it counts as handled. How many events.

        Handlers that run are cancelled; one in a thread goes on, but nothing waits for it. Of events in an inbox
        none is left behind the key, be it parked. The caller's own run is spared: a handler may end all that is behind
        its own key, and so may a loop over `events()`. Cancelling this may have ended some.

        Raises:
            InboxError: What is stored could not be ended.
            TypeError: None is no key.
            trio.ClosedResourceError: The session is over.
        """
        if key is None:
            raise TypeError("None is no order key; give what order_by returns, such as a chat's id")
        hash(key)  # raises, as order_by's would
        if self.state in _OVER:
            raise trio.ClosedResourceError("the session is closed")
        ended = self._engine.cancel(key)
        count = len(ended)
        if self._stored is not None:
            await self._engine.wait_stored()
            count += await self._stored.cancel(key, ended)
        await trio.lowlevel.checkpoint()
        return count

    async def aclose(self) -> None:
        """Close the session, gracefully: read no more, let handlers end within `shutdown_timeout`, write
        their answers, close with 1000. What has not ended by then is cancelled, and answered 500.

        Cancelling this closes at once. A handler that awaits this waits for itself, until `shutdown_timeout`.
        """
        if self.state in _ENDING:
            await self.wait_closed()
            return
        self._state.value = SessionState.CLOSING
        for scope in self._waiting:
            scope.cancel()
        for stream in self._streams:
            stream.end()
        try:
            await self._engine.end(self._config.shutdown_timeout)
        finally:
            self._scope.cancel()
        await self.wait_closed()

    # Inside

    @contextmanager
    def _until_closing(self) -> Iterator[None]:
        """Raise `trio.ClosedResourceError` if the session is closing, or as soon as it does."""
        if self.state not in _ENDING:
            with trio.CancelScope() as scope:
                self._waiting.add(scope)
                try:
                    yield
                finally:
                    self._waiting.discard(scope)
            if not scope.cancelled_caught:
                return
        raise trio.ClosedResourceError("the session is closed")

    async def _serve(self) -> None:
        """All that works in the background, until the session is closed or a fatal error ends it."""
        try:
            with self._scope:
                await self._engine.run(self._sources)
        except BaseExceptionGroup as group:
            self._failure = first_error(group)
            raise
        self._finish(SessionState.CLOSED)

    def _finish(self, state: SessionState) -> None:
        if self.state not in _OVER:
            for stream in self._streams:
                stream.end()
            self._state.value = state
            for scope in self._waiting:
                scope.cancel()
            self._telemetry.end()

    def _on_connections(self) -> None:
        if self.state not in _ENDING:
            live = bool(self._connections.live)
            self._state.value = SessionState.CONNECTED if live else SessionState.RECONNECTING

    async def _use_late_result(self, event: Event[Any], result: object) -> None:
        """What a callback's handler returned after the fallback went out: to the user's hook, or the card."""
        handlers = self._router.late_handlers()
        for handler in handlers:
            given = handler(event, result)
            if inspect.isawaitable(given):
                await given
        card = None if handlers or event.type != "card.action.trigger" else _card_of(result)
        if card is not None:
            await self._api.update_card(event.data.token, card)


@asynccontextmanager
async def open_feishu_session(
    app_id: str | None = None,
    app_secret: str | None = None,
    *,
    router: Router | None = None,
    config: SessionConfig | None = None,
    inbox: Inbox | None = None,
    store: str | type | Iterable[str | type] = (),
    claim: bool = True,
    on_lifecycle: Follower | None = None,
    **settings: Any,
) -> AsyncGenerator[Session, None]:
    """Open a session; it is up when the block is entered, and nothing of it is left when the block is left.

    Events are read from the first checkpoint in the block on: handlers and streams (`Session.events`) that are
    added before it miss none.

    Leaving normally closes it gracefully (`Session.aclose`), leaving by cancellation or with an exception at
    once. An error in the background that nothing helps against ends the block's body and leaves as itself.

    Args:
        app_id: The app's id; `config.app_id` or `FEISHU_APP_ID` if not given.
        app_secret: The app's secret; `config.app_secret` or `FEISHU_APP_SECRET` if not given.
        router: The handlers. Without one, events can be pulled (`Session.events`).
        config: The settings; if not given the defaults, with `FEISHU_DOMAIN` for `domain` if that is set.
        inbox: Where events are stored before they are answered (`SQLiteInbox`, `MemoryInbox`): their handlers run from
            there, with retries. It serves this session alone.
        store: Event types, globs or models that are stored, too, though no durable handler here takes them.
        claim: Whether stored events are handled here.
        on_lifecycle: Told of every lifecycle event from the first try to connect on, at once and in order: a plain
            function (what it raises is logged once, and it is called on), or the sending end of a memory channel.
            A channel that is full loses the newest (`SessionStats.lost_lifecycle` counts them). It is closed when
            the session ends; closed by its reader, it is told no more.
        settings: Fields of `SessionConfig` by name; they win over `config`.

    Raises:
        RuntimeError: This is not run by trio, but by asyncio, say.
        ConfigError: A setting is wrong, or there are no credentials.
        AuthenticationError, ForbiddenError, ConnectionLimitError: Feishu refuses the app.
        ConnectError: Feishu cannot be reached, and no more tries are configured.
    """
    _check_trio()
    settings_given = {"app_id": app_id, "app_secret": app_secret}
    settings |= {name: value for name, value in settings_given.items() if value is not None}
    if config is None:
        config = SessionConfig(domain=os.environ.get("FEISHU_DOMAIN", "").strip() or FEISHU_DOMAIN)
    elif not isinstance(config, SessionConfig):
        raise wrong("config", config, "a SessionConfig", show=kind_only)
    if inbox is not None and not isinstance(inbox, Inbox):
        raise wrong("inbox", inbox, "an inbox, such as SQLiteInbox(path), or None", show=kind_only)
    config = _with_credentials(config.evolve(**settings))
    router = router if router is not None else Router()
    _check(config, router, inbox)
    _check_storing(inbox, store, claim)
    _check_follower(on_lifecycle)
    config.warn()
    patterns = router.selection(store)[0] if store else ()
    error: BaseException | None = None
    async with http_client(config) as http, _served(inbox, config):
        session = Session(config, router, http, on_lifecycle, inbox=inbox, store=patterns, claim=claim)
        try:
            async with trio.open_nursery() as nursery:
                session._bot.start(nursery)
                nursery.start_soon(session._serve, name="feishu_trio session")
                try:
                    await session.wait_state(SessionState.CONNECTED)
                    if any(isinstance(route.where, ToMe) for route in router.routes()):
                        await session._bot.learn()
                    session._engine.let_events_in()
                    yield session
                    await session.aclose()
                except BaseException as raised:
                    error = raised
                    raise
        except BaseException:
            # What counts is raised below, as itself: here it is in the nursery's group.
            error = session._failure or error
        finally:
            session._finish(SessionState.CLOSED if session._failure is None else SessionState.FAILED)
    if error is not None:
        raise error


def _check_trio() -> None:
    """Raise if this is not a task of trio's, and say how to go about it."""
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        if not _is_asyncio_running():
            raise RuntimeError(
                "open_feishu_session needs trio, which is not running: call it in an async function, main, "
                "and run that with trio.run(main)"
            ) from None
        raise RuntimeError(
            "open_feishu_session needs trio, and asyncio is running: run it with trio.run(main) instead of "
            "asyncio.run(main()). Beside asyncio it runs in a thread, await asyncio.to_thread(trio.run, main), "
            "or in asyncio's own by trio's guest mode, trio.lowlevel.start_guest_run"
        ) from None


def _is_asyncio_running() -> bool:
    asyncio = sys.modules.get("asyncio")  # not imported here: who runs it has done that
    try:
        return asyncio is not None and asyncio.get_running_loop() is not None
    except RuntimeError:
        return False


def _check_follower(follower: object) -> None:
    is_plain = callable(follower) and not is_async_function(follower)
    if not (follower is None or is_plain or isinstance(follower, trio.MemorySendChannel)):
        raise wrong(
            "on_lifecycle",
            follower,
            "a plain function (not async) of a lifecycle event, or the sending end of trio.open_memory_channel",
            show=kind_only,
        )


def _with_credentials(config: SessionConfig) -> SessionConfig:
    found: dict[str, str] = {}
    for name in ("app_id", "app_secret"):
        variable = f"FEISHU_{name.upper()}"
        value = getattr(config, name) or os.environ.get(variable, "").strip()
        if value:
            found[name] = value
        elif name == "app_id" or config.client_assertion is None:
            where = f" in {config.source}" if config.source else ""
            raise ConfigError(f"there is no {name}{where}: give it to open_feishu_session, or set {variable}")
    return config.evolve(**found)


def _check_storing(inbox: Inbox | None, store: object, claim: object) -> None:
    if not isinstance(claim, bool):
        raise wrong("claim", claim, "True or False")
    if inbox is None and (store or not claim):
        name = "store" if store else "claim=False"
        raise ConfigError(f"{name} is about an inbox, and there is none: give inbox=SQLiteInbox(path)")


def _check(config: SessionConfig, router: Router, inbox: Inbox | None) -> None:
    if not isinstance(router, Router):
        raise wrong("router", router, "a Router")
    if inbox is None and config.ack is Ack.ON_STORED:
        raise ConfigError(
            "ack=Ack.ON_STORED needs an inbox to store events in, and there is none: give inbox=SQLiteInbox(path)"
        )
    pools = _pools(config, inbox)
    ack = _ack(config, inbox)
    for route in router.routes():
        if inbox is None and route.ack is Ack.ON_STORED:
            raise ConfigError(
                f"handler {route.name}: Ack.ON_STORED needs an inbox, and there is none: give inbox=SQLiteInbox(path)"
            )
        if inbox is not None and (route.ack or ack) is Ack.ON_STORED:
            if any(other is not route and other.name == route.own_name for other in router.routes()):
                raise ConfigError(
                    f"two handlers are named {route.own_name}: with an inbox what has succeeded is remembered by handler, across "
                    "restarts too. Give one of them another name: name=… of router.on and router.add"
                )
            order_by = None if route.order_by is no_order else route.order_by
            if route.order_by is not None and order_by is not inbox.rules.order_by:
                raise ConfigError(
                    f"handler {route.name}: its order_by is not the inbox's. Stored events are kept in one order: give "
                    "order_by to the inbox, or ack=Ack.ON_SUCCESS to the handler"
                )
        if route.pool is not None and route.pool not in pools:
            raise ConfigError(
                f"handler {route.name}: there is no pool {route.pool!r}; there is {', '.join(sorted(pools))}; "
                f"name it in the session's settings: pools={{{route.pool!r}: PoolConfig()}}"
            )


def _ack(config: SessionConfig, inbox: Inbox | None) -> Ack:
    """When events are answered whose routes do not say."""
    return config.ack or (Ack.ON_SUCCESS if inbox is None else Ack.ON_STORED)


def _pools(config: SessionConfig, inbox: Inbox | None) -> dict[str, PoolConfig]:
    """The pools there are: three from the start, one for storing if there is an inbox, and the user's own."""
    default = PoolConfig(concurrency=config.concurrency, capacity=config.queue_capacity)
    pools = {DEFAULT_POOL: default, CALLBACK_POOL: default, MESSAGE_POOL: default}
    if inbox is not None:
        pools[STORING_POOL] = default
    return pools | dict(config.pools)


def _storing(inbox: Inbox, patterns: tuple[str, ...], telemetry: Telemetry) -> Storing:
    return Storing(
        storing_route(inbox, telemetry), lambda event_type: matches_any(event_type, patterns), inbox.seen
    )


@asynccontextmanager
async def _served(inbox: Inbox | None, config: SessionConfig) -> AsyncGenerator[None, None]:
    """The inbox is open within, and until all within has ended, even if that is cancelled."""
    if inbox is None:
        yield
        return
    failure: Exception | None = None
    scope = trio.CancelScope()

    async def serve(*, task_status: trio.TaskStatus[None]) -> None:
        assert config.app_id is not None
        with scope:
            await inbox.serve(config.app_id, config.dedupe_window, task_status=task_status)

    async with trio.open_nursery() as nursery:
        try:
            await nursery.start(serve, name=f"feishu_trio {type(inbox).__name__}")
        except FeishuError as error:
            failure = error
        else:
            scope.shield = True  # it ends after all that is within, however that ends
            try:
                yield
            finally:
                scope.cancel()
    if failure is not None:
        raise failure


def _card_of(result: object) -> dict[str, Any] | None:
    """The card in a callback's answer, in the form in which a card is updated."""
    answer = json.loads(encode_result(result))
    card = answer.get("card") if isinstance(answer, dict) else None
    if not isinstance(card, dict):
        return None
    data = card.get("data")
    return data if card.get("type") == "raw" and isinstance(data, dict) else card
