"""`open_feishu_session`: supervises the connections, owns everything, and is what users hold."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, Unpack

import trio

from .config import SessionConfig, SessionSettings
from .connection import Connections, http_client
from .prepare import check_storing, configured
from .router import Router
from .service import ENDING, OVER, Health, Service, SessionState, in_block
from .telemetry.heartbeat import HeartbeatStats
from .telemetry.lifecycle import Follower
from .telemetry.limits import one_line

if TYPE_CHECKING:
    import httpx

    from .inbox.protocol import Inbox

__all__ = [
    "Health",
    "Session",
    "SessionArguments",
    "SessionState",
    "open_feishu_session",
    "opened_session",
]

_REASON_CHARACTERS: Final = 400  # of why there is no connection: a server may have written it


class Session(Service):
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
        super().__init__(config, router, http, on_lifecycle, inbox=inbox, store=store)
        self._connections = Connections(
            config, router, self._engine, self._telemetry, http, self._on_connections
        )
        self._sources.append(self._connections)
        if self._stored is not None and claim:
            self._sources.append(self._stored)

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
    def heartbeat(self) -> HeartbeatStats:
        """Statistics of the heartbeats, over all connections: pongs, and in `messages` JSON heartbeats."""
        return self._telemetry.heartbeat

    # What happens

    async def wait_state(self, state: SessionState) -> None:
        """Wait until the session is in this state.

        Raises:
            trio.ClosedResourceError: The session is over, and will never be in that state.
        """
        reached = await self._state.wait_value(lambda now: now is state or now in OVER)
        if reached is not state:
            raise trio.ClosedResourceError(f"the session is {reached.value}")

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

    # Inside

    @property
    def _connection_count(self) -> int:
        return len(self._connections.live)

    def _complaints(self) -> list[str]:
        if self.is_connected:
            return self._connections.complaints()
        failure = None if self.state in ENDING else self._connections.failure
        why = "" if failure is None else f": {one_line(str(failure), _REASON_CHARACTERS)}"
        return [f"the session is {self.state.value}{why}"]

    async def _begin(self) -> None:
        await self.wait_state(SessionState.CONNECTED)

    def _on_connections(self) -> None:
        if self.state not in ENDING:
            live = bool(self._connections.live)
            self._state.value = SessionState.CONNECTED if live else SessionState.RECONNECTING


class SessionArguments(SessionSettings, total=False):
    """What `open_feishu_session` takes by name, but for credentials and router."""

    config: SessionConfig | None
    inbox: Inbox | None
    store: str | type | Iterable[str | type]
    claim: bool
    on_lifecycle: Follower | None


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
    **settings: Unpack[SessionSettings],
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
    arguments = SessionArguments(
        config=config, inbox=inbox, store=store, claim=claim, on_lifecycle=on_lifecycle, **settings
    )
    async with opened_session(lambda _: None, app_id, app_secret, router, arguments) as session:
        yield session


@asynccontextmanager
async def opened_session(
    made: Callable[[Session], object],
    app_id: str | None,
    app_secret: str | None,
    router: Router | None,
    arguments: SessionArguments,
) -> AsyncGenerator[Session, None]:
    """The same, and `made` is given the session before it connects, to be watched from then on."""
    router = router if router is not None else Router()
    inbox, store, claim = (
        arguments.pop("inbox", None),
        arguments.pop("store", ()),
        arguments.pop("claim", True),
    )
    on_lifecycle, config = arguments.pop("on_lifecycle", None), arguments.pop("config", None)
    given = {"app_id": app_id, "app_secret": app_secret, **arguments}
    config = configured("open_feishu_session", config, given, router, inbox, on_lifecycle)
    check_storing(inbox, store, claim)
    patterns = router.selection(store)[0] if store else ()
    async with http_client(config) as http:
        session = Session(config, router, http, on_lifecycle, inbox=inbox, store=patterns, claim=claim)
        made(session)
        async with in_block(session):
            yield session
