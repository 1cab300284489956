"""What runs for an event: routes, filters, middleware. No I/O and no tasks; running is delivery's part.

A `Router` may be built before there is a session, shared by several, and changed while they run: the next
event sees the change.
"""

from __future__ import annotations

import functools
import itertools
import logging
import operator
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, Final, TypeVar, cast, overload

import attrs

from .config import Ack, wrong
from .errors import ConfigError
from .events import ALIAS_STATUSES, ALIASES, Event, nearest, types_with
from .routes import (
    BatchSize,
    CallNext,
    DeadHandler,
    Handler,
    HandlerObject,
    LateHandler,
    Middleware,
    RawHandler,
    RawMessage,
    Route,
    Where,
    ack_or_none,
    answer_or_none,
    by_default,
    count,
    event_types,
    free_name,
    function_of,
    handler_object,
    handler_of_events,
    is_glob,
    matches_any,
    message_types,
    name_of,
    order,
    plain_function,
    plain_function_or_none,
    seconds,
    seconds_or_none,
    shown_function,
    where_of_aliases,
    with_aliases,
)

__all__ = [
    "MESSAGE_TYPES",
    "BatchSize",
    "CallNext",
    "DeadHandler",
    "Handler",
    "HandlerObject",
    "LateHandler",
    "Middleware",
    "RawHandler",
    "RawMessage",
    "Route",
    "Router",
    "free_name",
]

logger = logging.getLogger("feishu_trio.router")

_number = operator.attrgetter("number")

H = TypeVar("H", bound=Callable[..., object])
M = TypeVar("M")
R = TypeVar("R")
T = TypeVar("T", bound=HandlerObject)

MESSAGE_TYPES: Final = frozenset({"ping", "pong", "heartbeat", "auth", "event"})
"""The types of JSON text messages that are known here, whatever handlers there are."""

# Over all routers, as those that are included keep their order.
_numbers: Final = itertools.count(1)
# So many event types are named as what may have been meant.
_MEANT: Final = 5


class Router:
    """The table of handlers.

    Several handlers may take one event: they run side by side, each in its own fault domain. The event
    succeeds when all of them do; when it is delivered again, only those that failed run again.
    """

    def __init__(self) -> None:
        self._routes: list[Route] = []
        self._default: list[Route] = []
        self._late: list[LateHandler] = []
        self._dead: list[DeadHandler] = []
        self._messages: list[tuple[tuple[str, ...], Handler]] = []
        self._raw: list[RawHandler] = []
        self._middleware: list[Middleware] = []
        self._included: list[Router] = []
        self._parents: list[Router] = []
        self.version = 0
        """How often handlers have come or gone."""
        self.raw_handlers: tuple[RawHandler, ...] = ()
        """Those of raw messages, of included routers too; an attribute, as it is looked at for every message."""
        self._warned_of: set[str] = set()

    def __repr__(self) -> str:
        return f"<Router: {len(tuple(self._walk()))} handlers for {len(self.event_types)} event types>"

    # Registration

    @overload
    def on(
        self,
        what: type[M],
        *,
        where: Callable[[Event[M]], object] | None = None,
        order_by: Callable[[Event[M]], Hashable] | None = by_default,
        pool: str | None = None,
        ack: Ack | None = None,
        timeout: float | None = None,
        fallback: object = None,
        name: str | None = None,
    ) -> Callable[[Callable[[Event[M]], R]], Callable[[Event[M]], R]]: ...

    @overload
    def on(
        self,
        what: str | Iterable[str | type],
        *,
        where: Callable[[Event[Any]], object] | None = None,
        order_by: Callable[[Event[Any]], Hashable] | None = by_default,
        pool: str | None = None,
        ack: Ack | None = None,
        timeout: float | None = None,
        fallback: object = None,
        name: str | None = None,
    ) -> Callable[[H], H]: ...

    def on(
        self,
        what: Any,
        *,
        where: Callable[[Event[Any]], object] | None = None,
        order_by: Callable[[Event[Any]], Hashable] | None = by_default,
        pool: str | None = None,
        ack: Ack | None = None,
        timeout: float | None = None,
        fallback: object = None,
        name: str | None = None,
    ) -> Callable[[Any], Any]:
        """Register a handler; used as a decorator, which hands the function back unchanged.

        Args:
            what: An event type, a glob (`"contact.*"`), an event model class, or a list of these.
            where: A filter; the handler runs for an event only if this returns something true.
            order_by: The key of an event. Events of one key run one after the other, in order of arrival.
                The default is the chat for `im.message.*`, and none for all others; None is no order.
            pool: The name of the pool (`SessionConfig.pools`) the handler runs in.
            ack: When the event is answered, if not as the session's `ack` says.
            timeout: Seconds after which the handler is cancelled and has failed.
            fallback: The answer to a callback that has no result at the deadline, whose handler failed, or
                for which there was no room; by default an empty one, or else an error.
            name: What logs call the handler; its qualified name if not given.

        Raises:
            ConfigError: A wrong argument, or a handler that is registered already.
        """
        patterns, where = self.selection(what, where)
        route_of = functools.partial(
            Route,
            patterns=patterns,
            where=where,
            order_by=order(order_by),
            pool=pool,
            ack=ack_or_none("ack", ack),
            timeout=seconds_or_none("timeout", timeout),
            fallback=answer_or_none("fallback", fallback),
        )

        def register(handler: H) -> H:
            self._append(self._routes, route_of, handler, name)
            return handler

        return register

    def on_batch(
        self,
        what: str | type | Iterable[str | type],
        max_size: int = 100,
        max_wait: float = 1.0,
        *,
        by: Callable[[Event[Any]], Hashable] | None = None,
        idle: float | None = None,
        where: Callable[[Event[Any]], object] | None = None,
        pool: str | None = None,
        timeout: float | None = None,
        name: str | None = None,
    ) -> Callable[[H], H]:
        """Register a handler of lists: up to `max_size` events, or those of `max_wait` seconds.

        The events of a list are answered together, by what becomes of the one call.
        `max_wait` should leave the handler time within the platform's 3 seconds, unless there is an inbox.

        With `by`, a plain function from an event to a key such as `by_sender`, a list has events of one key alone; with
        `idle` it is handed on as soon as no other has come for so many seconds. Both together make one list of what a
        person sends in quick succession: `@router.on_batch(MessageReceived, by=by_sender, idle=0.8, max_wait=2)`.
        """
        patterns, where = self.selection(what, where)
        if by is not None:
            plain_function("by", by)
        size = BatchSize(
            count("max_size", max_size), seconds("max_wait", max_wait), seconds_or_none("idle", idle), by
        )
        route_of = functools.partial(
            Route,
            patterns=patterns,
            where=where,
            pool=pool,
            timeout=seconds_or_none("timeout", timeout),
            batch=size,
        )

        def register(handler: H) -> H:
            self._append(self._routes, route_of, handler, name)
            return handler

        return register

    @overload
    def add(self, handler: Callable[[], T], *, name: str | None = None) -> T: ...

    @overload
    def add(self, handler: T, *, name: str | None = None) -> T: ...

    def add(self, handler: Any, *, name: str | None = None) -> Any:
        """Register an object with `event_type` (a type, a glob or several) and `async handle(event)`; returned is it.

        A class whose instances need no arguments will do, or a function that makes the object:
        `router.add(lambda: Handler(db))`. `name` is what logs and inboxes know it by; without one, its class's.

        Raises:
            ConfigError: It is no such object, nor makes one, or another handler has this name.
        """
        made = handler_object(handler)
        patterns, where = self.selection(made.event_type)
        route_of = functools.partial(Route, patterns=patterns, where=where)
        own = type(made).__qualname__
        self._append(self._routes, route_of, made.handle, name or own, given=name is not None)
        return made

    def default(self, handler: H) -> H:
        """Register the handler of events that no route takes; used as a decorator."""
        self._append(self._default, functools.partial(Route, patterns=("*",), is_default=True), handler, None)
        return handler

    def late(self, handler: H) -> H:
        """Register `async def late(event, result)`; used as a decorator.

        It is called with what the handler of a callback returned after the deadline, once the fallback
        answer is on its way. Without one, a result that holds a card updates the card.
        """
        function_of("handler", handler, "event", "result")
        self._late.append(handler)
        return handler

    def dead(self, handler: H) -> H:
        """Register `async def dead(event, error)`, or a plain function, which runs in a thread; used as a decorator.

        It is called once an event from an inbox has become a dead letter, to apologise in the chat, say; `error` is
        the text of the last failure.
        """
        function_of("handler", handler, "event", "error")
        self._dead.append(handler)
        return handler

    def middleware(self, function: Middleware) -> Middleware:
        """Register `async def mw(event, call_next)`; used as a decorator. The first added is outermost.

        It wraps every handler of this router and of those it includes, one call for each handler; around a
        batch, `event` is the list of events. What it returns is the handler's result; not calling
        `call_next` skips the handler, which then counts as done. `timeout` includes it.
        """
        function_of("function", function, "event", "call_next")
        self._middleware.append(function)
        self._changed()
        return function

    def on_message(self, message_type: str | Iterable[str]) -> Callable[[H], H]:
        """Register a handler of JSON text messages by their `type`; it is given the message's dict.

        `message_type` is a type, a glob (`"card.*"`; `"*"` takes them all), or a list of these. The types that this
        package knows itself (`ping`, `pong`, `heartbeat`, `auth`, `event`) are handled beside that, and the case of
        their letters does not count.
        """
        patterns = tuple(
            name
            for kind in message_types(message_type)
            for name in (kind, *(known for known in MESSAGE_TYPES if matches_any(known, (kind.lower(),))))
        )

        def register(handler: H) -> H:
            function_of("handler", handler, "message")
            self._messages.append((patterns, handler))
            return handler

        return register

    def on_raw(self, handler: Callable[[RawMessage], R]) -> Callable[[RawMessage], R]:
        """Register a function of every WebSocket message, text and binary, as it came; used as a decorator.

        It is called, and not awaited, with each `RawMessage` before anything is made of it, so that nothing else is
        read meanwhile: keep it short, and hand on what takes longer, to a memory channel say. What it raises is
        logged, and has no other effect. Pings and pongs of WebSocket itself are no messages. `remove` takes it out.
        """
        instead = (
            "give a plain one that hands the message to a task of yours, by send_nowait of a memory channel"
        )
        self._raw.append(plain_function("handler", handler, "message", instead=instead))
        self._changed()
        return handler

    def include(self, other: Router) -> None:
        """Take in another router's handlers, with its middleware around them; later changes count too.

        Each keeps its place, which it has from its own registration, not from this.
        """
        if self in other._family():
            raise ConfigError("a router cannot include itself, directly or through others")
        if other in self._included:
            raise ConfigError("this router is included already")
        shared = self._names() & {route.name for route in other._walk()}
        if shared:
            raise ConfigError(
                f"both routers have handlers named {', '.join(sorted(shared))}; give one of them a name="
            )
        self._included.append(other)
        other._parents.append(self)
        self._changed()

    def remove(self, handler: object) -> None:
        """Take out a handler, by the function or object it was registered with, or by its name.

        Events that it is running for end as they would have.

        Raises:
            ConfigError: There is no such handler here.
        """
        found = False
        for routes in (self._routes, self._default):
            kept = [route for route in routes if not route.is_of(handler)]
            found = found or len(kept) < len(routes)
            routes[:] = kept
        messages = [each for each in self._messages if each[1] != handler]
        found = found or len(messages) < len(self._messages)
        self._messages = messages
        for handlers in (self._late, self._dead, self._middleware, self._raw):
            if handler in cast("list[object]", handlers):
                cast("list[object]", handlers).remove(handler)
                found = True
        for other in self._included:
            if other._has(handler):
                other.remove(handler)
                found = True
        if not found:
            raise wrong("handler", handler, "one that is registered here, or its name", show=shown_function)
        self._changed()

    # Asking

    def handlers(self, event_type: str) -> tuple[Handler, ...]:
        """The handlers that an event of this type would run, in order of registration, over all routers."""
        return tuple(route.handler for route in self.resolve(event_type))

    def is_registered(self, event_type: str) -> bool:
        """Whether a handler takes this type, be it by a glob; `default` does not count."""
        return any(route.matches(event_type) for route in self._walk(default=False))

    @property
    def event_types(self) -> tuple[str, ...]:
        """The types and globs that handlers are registered for, each once, in order of registration."""
        routes = sorted(self._walk(default=False), key=_number)
        return tuple(dict.fromkeys(pattern for route in routes for pattern in route.patterns))

    def message_handlers(self, *message_types: str) -> tuple[Handler, ...]:
        """The handlers of a JSON text message of this type; of several, if it goes by several names."""
        return tuple(
            handler
            for router in self._family()
            for patterns, handler in router._messages
            if any(matches_any(name, patterns) for name in message_types)
        )

    def late_handlers(self) -> tuple[LateHandler, ...]:
        """The handlers of results that came after a callback's deadline."""
        return tuple(h for router in self._family() for h in router._late)

    def dead_handlers(self) -> tuple[DeadHandler, ...]:
        """The handlers of dead letters."""
        return tuple(h for router in self._family() for h in router._dead)

    def routes(self) -> tuple[Route, ...]:
        """Every route there is, those of included routers and `default` too, in order of registration."""
        return tuple(sorted(self._walk(), key=_number))

    def resolve(self, event_type: str) -> tuple[Route, ...]:
        """The routes of an event of this type, middleware included; `default`'s where there are none."""
        selected = [*self._select(event_type, default=False)] or self._select(event_type, default=True)
        return tuple(sorted(selected, key=_number))

    # The tree of included routers

    def _family(self) -> Iterator[Router]:
        yield self
        for other in self._included:
            yield from other._family()

    def _roots(self) -> Iterator[Router]:
        """The routers in which this one ends up, by however many steps."""
        if not self._parents:
            yield self
        for parent in self._parents:
            yield from parent._roots()

    def _names(self) -> set[str]:
        """The names of all handlers that may meet those of this router: success is remembered by them."""
        return {route.name for root in self._roots() for route in root._walk()}

    def _has(self, handler: object) -> bool:
        """Whether a handler of any kind is registered here, or in a router that is included."""
        return any(route.is_of(handler) for route in self._walk()) or any(
            handler in (*router._late, *router._dead, *router._middleware, *router._raw)
            or any(handler == each for _, each in router._messages)
            for router in self._family()
        )

    def _walk(self, *, default: bool = True) -> Iterator[Route]:
        for router in self._family():
            yield from router._routes
            if default:
                yield from router._default

    def _select(self, event_type: str, *, default: bool) -> Iterator[Route]:
        around = tuple(self._middleware)
        for route in self._default if default else self._routes:
            if route.matches(event_type):
                yield attrs.evolve(route, middleware=around) if around else route
        for other in self._included:
            for route in other._select(event_type, default=default):
                yield attrs.evolve(route, middleware=around + route.middleware) if around else route

    def _changed(self) -> None:
        self.version += 1
        self.raw_handlers = tuple(handler for router in self._family() for handler in router._raw)
        for parent in self._parents:
            parent._changed()

    def _append(
        self,
        routes: list[Route],
        route_of: Callable[..., Route],
        handler: Handler,
        name: str | None,
        *,
        given: bool = True,
    ) -> None:
        handler_of_events(handler)
        is_named = bool(name) and given
        name = name or name_of(handler)
        if not is_named:
            name = free_name(name, self._names())
        elif any(other.is_named and other.name == name for root in self._roots() for other in root._walk()):
            raise wrong("name", name, "one that no other handler has")
        route = route_of(handler=handler, name=name, is_named=is_named, number=next(_numbers))
        for other in routes:
            twice = set(other.patterns) & set(route.patterns) if other.handler == handler else None
            if twice:
                raise ConfigError(
                    f"{other.name} is registered for {', '.join(sorted(twice))} already; "
                    "one that takes several types is registered once, with a list of them"
                )
        if is_named:
            for root in self._roots():
                for router in root._family():
                    router._make_way(name)
        routes.append(route)
        self._changed()

    def _make_way(self, name: str) -> None:
        """A handler gets this name by its user's wish: one that has it from its function has another from here on."""
        for routes in (self._routes, self._default):
            for index, route in enumerate(routes):
                if route.name == name:
                    routes[index] = route.renamed(free_name(route.own_name, self._names() | {name}))
                    self._changed()

    def selection(self, what: object, where: Where | None = None) -> tuple[tuple[str, ...], Where | None]:
        """The event types and globs that `what` stands for, as `on` takes it, and the filter that goes with them.

        A name that Feishu never sends stands for what it does send, and says so.

        Raises:
            ConfigError: It is no event type, glob, event model class, or list of these.
        """
        given = tuple(event_types("what", what))
        for pattern in given:
            self._warn_of_misnomer(pattern, given)
        return with_aliases(given), where_of_aliases(given, plain_function_or_none("where", where))

    def _warn_of_misnomer(self, pattern: str, given: tuple[str, ...]) -> None:
        if pattern in self._warned_of:
            return
        self._warned_of.add(pattern)
        if is_glob(pattern):
            never = [
                name
                for name in ALIASES
                if matches_any(name, (pattern,)) and not matches_any(ALIASES[name], given)
            ]
            if never:
                logger.warning(
                    "Feishu never sends %s, which %r would take; write %s, which is what it sends",
                    " or ".join(map(repr, never)),
                    pattern,
                    " and ".join(map(repr, dict.fromkeys(ALIASES[name] for name in never))),
                )
        elif pattern in ALIASES:
            status = f", where its status is {ALIAS_STATUSES[pattern]!r}" if pattern in ALIAS_STATUSES else ""
            logger.warning(
                "Feishu never sends %r; its handlers take %r too, which is what it sends%s",
                pattern,
                ALIASES[pattern],
                status,
            )
        elif "." not in pattern:
            self._warn_of_word(pattern)
        elif (known := nearest(pattern)) not in (None, pattern):
            logger.warning("%r is no event type that is known here; did you mean %r?", pattern, known)

    def _warn_of_word(self, word: str) -> None:
        """Types of schema 1.0 have no dots, and are not known here; so this tells of what is like another thing."""
        known = types_with(word)
        if known:
            logger.warning(
                "%r is no event type that is known here; did you mean %s?",
                word,
                " or ".join(map(repr, known[:_MEANT])),
            )
        if word.lower() in MESSAGE_TYPES:
            logger.warning(
                "%r is no event type, but one of JSON text messages; did you mean @router.on_message(%r)?",
                word,
                word,
            )
