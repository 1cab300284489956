"""What sessions and workers have in common: an engine with its sources, in a block."""

from __future__ import annotations

import enum
import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
import trio
from trio_util import AsyncValue

from .api import Api
from .bot import Bot, ToMe
from .config import SessionConfig
from .config.secrets import secrets_of
from .delivery import Engine, Ledger, Source
from .errors import InboxError, first_error
from .events import Event, encode_result
from .logs import hidden
from .prepare import ack_of, pools_of, storing_for
from .pull import EventStream
from .router import Router
from .routes import count
from .telemetry import Telemetry
from .telemetry.counters import SessionStats
from .telemetry.lifecycle import Follower, LifecycleStream
from .telemetry.stacks import stacks_taken
from .telemetry.stuck import HeldUp, StuckHandler, StuckStats, by_handler

if TYPE_CHECKING:
    import httpx

    from .inbox.protocol import Inbox
    from .inbox.records import Counts
    from .inbox.source import InboxSource

__all__ = ["ENDING", "OVER", "Counted", "Health", "Service", "SessionState", "in_block"]

# Seconds for which what an inbox held is not asked again: looking may cost it a search through all there is.
_COUNT_AGAIN: Final = 1.0


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


OVER: Final = frozenset({SessionState.CLOSED, SessionState.FAILED})
ENDING: Final = OVER | {SessionState.CLOSING}
_NAMED: Final = 10  # of what is stuck, where there may be many


class Health(msgspec.Struct, frozen=True):
    """Whether a session does its work, and if not, why."""

    ok: bool
    """Whether it does; `bool()` of this says the same."""
    reasons: tuple[str, ...] = ()
    """Why it does not."""
    warnings: tuple[str, ...] = ()
    """What may keep it from that: handlers that are stuck, and the chats whose events wait behind one."""

    def __bool__(self) -> bool:
        return self.ok


class Counted(msgspec.Struct, frozen=True):
    """What an inbox held, and when that was, on trio's clock."""

    counts: Counts
    at: float


class Service(ABC):
    """An engine with its sources: all it starts ends with its block."""

    def __init__(
        self,
        config: SessionConfig,
        router: Router,
        http: httpx.AsyncClient,
        on_lifecycle: Follower | None,
        *,
        inbox: Inbox | None,
        store: tuple[str, ...] = (),
        can_ask: bool = True,
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
            on_request=self._telemetry.request_ended,
        )
        self._engine = Engine(
            router,
            pools=pools_of(config, inbox),
            ack=ack_of(config, inbox),
            ledger=Ledger(config.dedupe_window, max_bytes=config.dedupe_bytes),
            telemetry=self._telemetry,
            late=self._use_late_result,
            queue_bytes=config.queue_bytes,
            handler_mode=config.handler_mode,
            stuck_after=config.stuck_after,
            storing=None if inbox is None else storing_for(inbox, store, self._telemetry),
        )
        self._bot = Bot(
            self._api,
            self._telemetry,
            self._engine.own_handler,
            self.cancel,
            self._engine.aside,
            can_ask=can_ask,
        )
        self._engine.port = self._bot
        self._engine.questions = self._bot.answer_click
        self._inbox = inbox
        self._counting = trio.Lock()
        self.counted: Counted | None = None
        """What the inbox held when it was last asked (`count_inbox`)."""
        self._sources: list[Source] = []
        self._stored: InboxSource | None = None
        if inbox is not None:
            from .inbox.source import InboxSource  # here, so that importing this package stays light

            self._stored = InboxSource(inbox, self._engine, self._telemetry, router.dead_handlers)
        self._scope = trio.CancelScope()
        self._failure: BaseException | None = None
        self._waiting: set[trio.CancelScope] = set()
        self._streams: set[EventStream] = set()

    # What it is

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
    def inbox(self) -> Inbox | None:
        """Where events are stored; None if they are not."""
        return self._inbox

    @property
    def is_starting(self) -> bool:
        """Whether it has not worked so far: what it was opened by has not entered its block yet."""
        return self._state.value is SessionState.CONNECTING

    def stats(self) -> SessionStats:
        """A snapshot of the counters."""
        return self._telemetry.counters.snapshot(
            connections=self._connection_count,
            in_flight=self._engine.in_flight,
            queue_depth=self._engine.queue_depth,
            pools=self._engine.pools,
        )

    def health(self) -> Health:
        """Whether it does its work, and what is wrong if not."""
        reasons = self._complaints()
        if self._inbox is not None and self._inbox.fault is not None:
            reasons.append(f"nothing can be written to {self._inbox!r}: {self._inbox.fault}")
        reasons += [f"pool {pool.name} is full" for pool in self._engine.pools.named.values() if pool.is_full]
        stuck = self.stuck()
        reasons += [
            f"pool {name} is filled by {count} handlers that are stuck"
            for name, count in self._engine.watch.full_pools(stuck)
        ]
        warnings = [*_named(stuck), *_named(self.held_up())]
        return Health(not reasons, tuple(reasons), tuple(warnings))

    def stuck(self) -> tuple[StuckHandler, ...]:
        """The handlers that have been at work for `stuck_after` seconds or more, the longest first."""
        return self._engine.watch.stuck()

    def stuck_by_handler(self) -> Mapping[str, StuckStats]:
        """How many runs of each handler are stuck, and for how long; those that have none are not there."""
        return by_handler(self.stuck())

    def held_up(self) -> tuple[HeldUp, ...]:
        """The order keys, such as chats, of which an event has waited for `stuck_after` seconds behind a handler.

        The longest wait first. Those of stored events are not among them: they wait in the inbox.
        """
        return self._engine.watch.held_up()

    async def count_inbox(self, timeout: float = 1.0) -> Counts | None:
        """How many events stand where in the inbox; None if there is none. It is asked once a second at the most.

        Args:
            timeout: Seconds for its answer.

        Raises:
            InboxError: It cannot be read, or does not answer in time.
        """
        if self._inbox is None:
            await trio.lowlevel.checkpoint()
            return None
        try:
            with trio.fail_after(timeout):
                async with self._counting:
                    counted = self.counted
                    if counted is None or trio.current_time() - counted.at >= _COUNT_AGAIN:
                        counted = Counted(await self._inbox.counts(), trio.current_time())
                        self.counted = counted
                    return counted.counts
        except trio.TooSlowError:
            raise InboxError(f"{self._inbox!r} has not answered within {timeout:g} s") from None

    # What happens

    async def wait_closed(self) -> None:
        """Wait until the session has ended. A fatal error cancels this, and leaves the block as itself."""
        await self._state.wait_value(lambda now: now in OVER)

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
        if self._state.value in ENDING:
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

    @contextmanager
    def taking_stacks(self) -> Iterator[None]:
        """Within, a thread takes the stack of this one while that stands still, for the warning that says so."""
        with stacks_taken() as stacks, self._engine.watch.taking(stacks):
            yield

    # What can be asked of it

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
        if self._state.value in OVER:
            raise trio.ClosedResourceError("the session is closed")
        ended = self._engine.cancel(key)
        count = len(ended)
        if self._stored is not None:
            await self._engine.wait_stored()
            count += await self._stored.cancel(key, ended)
        await trio.lowlevel.checkpoint()
        return count

    async def aclose(self) -> None:
        """Close the session, gracefully: take no more events in, let handlers end within `shutdown_timeout`, write
        their answers, close with 1000. What has not ended by then is cancelled, and answered 500.

        Connections are closed once everything that came is answered, be it that handlers go on: at once with an inbox.
        Until then new events are refused with 500, so that they come again; one that is known is answered as ever.
        Cancelling this closes at once. A handler that awaits this waits for itself, until `shutdown_timeout`.
        """
        if self._state.value in ENDING:
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

    # What is its own of each

    @property
    @abstractmethod
    def _connection_count(self) -> int:
        """How many connections are up."""

    @abstractmethod
    def _complaints(self) -> list[str]:
        """What is wrong with where its events come from."""

    @abstractmethod
    async def _begin(self) -> None:
        """Wait until it works; then events may be taken in."""

    # Inside

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

    @contextmanager
    def _until_closing(self) -> Iterator[None]:
        """Raise `trio.ClosedResourceError` if the session is closing, or as soon as it does."""
        if self._state.value not in ENDING:
            with trio.CancelScope() as scope:
                self._waiting.add(scope)
                try:
                    yield
                finally:
                    self._waiting.discard(scope)
            if not scope.cancelled_caught:
                return
        raise trio.ClosedResourceError("the session is closed")

    async def _serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        """All that works in the background, until the session is closed or a fatal error ends it."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    self._bot.start(nursery)
                    await self._engine.run(self._sources, task_status=task_status)
        except BaseExceptionGroup as group:
            self._failure = self._failure or first_error(group)
            raise
        self._finish()

    def _finish(self) -> None:
        if self._state.value not in OVER:
            for stream in self._streams:
                stream.end()
            self._state.value = SessionState.CLOSED if self._failure is None else SessionState.FAILED
            for scope in self._waiting:
                scope.cancel()
            self._telemetry.end()


S = TypeVar("S", bound=Service)


@asynccontextmanager
async def in_block(service: S) -> AsyncGenerator[S, None]:
    """Run a service: it works when the block is entered, and nothing of it is left when the block is left.

    Its inbox is open within, and until all within has ended, even if that is cancelled; so long its secrets are not in logs.
    """
    error: BaseException | None = None
    try:
        async with _prepared(service), trio.open_nursery() as nursery:
            try:
                await nursery.start(service._serve, name=f"feishu_trio {type(service).__name__.lower()}")
                await service._begin()
                if any(isinstance(route.where, ToMe) for route in service._router.routes()):
                    await service._bot.learn()
                service._engine.let_events_in()
                yield service
                await service.aclose()
            except BaseException as raised:
                error = raised
                raise
    except BaseException as raised:
        # What counts is raised below, as itself: here it is in a nursery's group.
        error = service._failure or error or raised
    finally:
        service._finish()
    if error is not None:
        raise error


@asynccontextmanager
async def _prepared(service: Service) -> AsyncGenerator[None, None]:
    with hidden(*secrets_of(service._config)):
        if service._inbox is None:
            yield
        else:
            async with _inbox_open(service, service._inbox):
                yield


@asynccontextmanager
async def _inbox_open(service: Service, inbox: Inbox) -> AsyncGenerator[None, None]:
    config = service._config
    scope = trio.CancelScope()

    async def serve(*, task_status: trio.TaskStatus[None]) -> None:
        assert config.app_id is not None
        tries = config.max_reconnect_attempts if config.auto_reconnect else 0
        try:
            with scope:
                await inbox.serve(config.app_id, config.dedupe_window, tries=tries, task_status=task_status)
        except BaseException as error:
            service._failure = first_error(BaseExceptionGroup("", [error]))
            raise

    async with trio.open_nursery() as nursery:
        try:
            await nursery.start(serve, name=f"feishu_trio {type(inbox).__name__}")
            scope.shield = True  # it ends after all that is within, however that ends
            yield
        finally:
            scope.cancel()


def _named(what: Sequence[object]) -> list[str]:
    """The first of these in words, and how many more there are."""
    more = len(what) - _NAMED
    return [*map(str, what[:_NAMED]), *([f"and {more} more"] if more > 0 else [])]


def _card_of(result: object) -> dict[str, Any] | None:
    """The card in a callback's answer, in the form in which a card is updated."""
    answer = json.loads(encode_result(result))
    card = answer.get("card") if isinstance(answer, dict) else None
    if not isinstance(card, dict):
        return None
    data = card.get("data")
    return data if card.get("type") == "raw" and isinstance(data, dict) else card
