"""What runs for an event: routes, filters, middleware. No I/O and no tasks; running is delivery's part.

A `Router` may be built before there is a session, shared by several, and changed while they run: the next
event sees the change.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, Final, TypeVar, cast, overload

import attrs

from .config import Ack, wrong
from .errors import ConfigError
from .events import ALIASES, Event, nearest
from .routes import (
    BatchSize,
    CallNext,
    Handler,
    HandlerObject,
    LateHandler,
    Middleware,
    Route,
    ack_or_none,
    answer_or_none,
    count,
    event_types,
    free_name,
    function_of,
    handler_of_events,
    name_of,
    plain_function,
    seconds,
    seconds_or_none,
)

__all__ = [
    "MESSAGE_TYPES",
    "BatchSize",
    "CallNext",
    "Handler",
    "HandlerObject",
    "LateHandler",
    "Middleware",
    "Route",
    "Router",
    "free_name",
]

logger = logging.getLogger("feishu_trio.router")

H = TypeVar("H", bound=Callable[..., object])
M = TypeVar("M")
R = TypeVar("R")

MESSAGE_TYPES: Final = frozenset({"ping", "pong", "heartbeat", "auth", "event"})
"""The types of JSON text messages that are known here, whatever handlers there are."""


class Router:
    """The table of handlers.

    Several handlers may take one event: they run side by side, each in its own fault domain. The event
    succeeds when all of them do; when it is delivered again, only those that failed run again.
    """

    def __init__(self) -> None:
        self._routes: list[Route] = []
        self._default: list[Route] = []
        self._late: list[LateHandler] = []
        self._messages: dict[str, list[Handler]] = {}
        self._middleware: list[Middleware] = []
        self._included: list[Router] = []
        self._parents: list[Router] = []
        self.version = 0
        """How often handlers have come or gone."""
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
        order_by: Callable[[Event[M]], Hashable] | None = None,
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
        order_by: Callable[[Event[Any]], Hashable] | None = None,
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
        order_by: Callable[[Event[Any]], Hashable] | None = None,
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
                The default is the chat for `im.message.*`, and none for all others.
            pool: The name of the pool (`SessionConfig.pools`) the handler runs in.
            ack: When the event is answered, if not as the session's `ack` says.
            timeout: Seconds after which the handler is cancelled and has failed.
            fallback: The answer to a callback that has no result at the deadline, whose handler failed, or
                for which there was no room; by default an empty one, or else an error.
            name: What logs call the handler; its qualified name if not given.

        Raises:
            ConfigError: A wrong argument, or a handler that is registered already.
        """
        route_of = functools.partial(
            Route,
            patterns=self.patterns_of(what),
            where=plain_function("where", where),
            order_by=plain_function("order_by", order_by),
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
        where: Callable[[Event[Any]], object] | None = None,
        pool: str | None = None,
        timeout: float | None = None,
        name: str | None = None,
    ) -> Callable[[H], H]:
        """Register a handler of lists: up to `max_size` events, or those of `max_wait` seconds.

        The events of a list are answered together, by what becomes of the one call.
        `max_wait` should leave the handler time within the platform's 3 seconds.
        """
        route_of = functools.partial(
            Route,
            patterns=self.patterns_of(what),
            where=plain_function("where", where),
            pool=pool,
            timeout=seconds_or_none("timeout", timeout),
            batch=BatchSize(count("max_size", max_size), seconds("max_wait", max_wait)),
        )

        def register(handler: H) -> H:
            self._append(self._routes, route_of, handler, name)
            return handler

        return register

    def add(self, handler: HandlerObject) -> None:
        """Register an object with `event_type` (a type, a glob or several) and `async handle(event)`."""
        what, handle = getattr(handler, "event_type", None), getattr(handler, "handle", None)
        if what is None or not callable(handle):
            raise wrong("handler", handler, "an object with event_type and async handle(event)")
        route_of = functools.partial(Route, patterns=self.patterns_of(what))
        self._append(self._routes, route_of, handle, type(handler).__qualname__, given=False)

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

    def on_message(self, message_type: str) -> Callable[[H], H]:
        """Register a handler of JSON text messages whose `type` is this; it is given the message's dict.

        Those that this package knows itself (`ping`, `pong`, `heartbeat`, `auth`, `event`) are handled beside
        that, and the case of their letters does not count.
        """
        if not isinstance(message_type, str) or not message_type:
            raise wrong("message_type", message_type, "a string that is not empty")

        lower = message_type.lower()
        name = lower if lower in MESSAGE_TYPES else message_type

        def register(handler: H) -> H:
            function_of("handler", handler, "message")
            self._messages.setdefault(name, []).append(handler)
            return handler

        return register

    def include(self, other: Router) -> None:
        """Take in another router's handlers, with its middleware around them; later changes count too."""
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
        for handlers in (self._late, self._middleware, *self._messages.values()):
            if handler in cast("list[object]", handlers):
                cast("list[object]", handlers).remove(handler)
                found = True
        for other in self._included:
            if any(route.is_of(handler) for route in other._walk()):
                other.remove(handler)
                found = True
        if not found:
            raise wrong("handler", handler, "one that is registered here, or its name")
        self._messages = {kind: handlers for kind, handlers in self._messages.items() if handlers}
        self._changed()

    # Asking

    def handlers(self, event_type: str) -> tuple[Handler, ...]:
        """The handlers that an event of this type would run, in order of registration."""
        return tuple(route.handler for route in self.resolve(event_type))

    def is_registered(self, event_type: str) -> bool:
        """Whether a handler takes this type, be it by a glob; `default` does not count."""
        return any(route.matches(event_type) for route in self._walk(default=False))

    @property
    def event_types(self) -> tuple[str, ...]:
        """The types and globs that handlers are registered for, each once."""
        patterns = (pattern for route in self._walk(default=False) for pattern in route.patterns)
        return tuple(dict.fromkeys(patterns))

    def message_handlers(self, message_type: str) -> tuple[Handler, ...]:
        """The handlers of JSON text messages of this type."""
        return tuple(h for router in self._family() for h in router._messages.get(message_type, ()))

    def late_handlers(self) -> tuple[LateHandler, ...]:
        """The handlers of results that came after a callback's deadline."""
        return tuple(h for router in self._family() for h in router._late)

    def routes(self) -> tuple[Route, ...]:
        """Every route there is, those of included routers and `default` too."""
        return tuple(self._walk())

    def resolve(self, event_type: str) -> tuple[Route, ...]:
        """The routes of an event of this type, middleware included; `default`'s where there are none."""
        return tuple(self._select(event_type, default=False)) or tuple(self._select(event_type, default=True))

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
        names = self._names()
        if name is not None and given and name in names:
            raise wrong("name", name, "one that no other handler has")
        route = route_of(handler=handler, name=free_name(name or name_of(handler), names))
        for other in routes:
            twice = set(other.patterns) & set(route.patterns) if other.handler == handler else None
            if twice:
                raise ConfigError(f"{other.name} is registered for {', '.join(sorted(twice))} already")
        routes.append(route)
        self._changed()

    def patterns_of(self, what: object) -> tuple[str, ...]:
        """The event types and globs that `what` stands for, as `on` takes it; misnomers and the real name.

        Raises:
            ConfigError: It is no event type, glob, event model class, or list of these.
        """
        patterns: list[str] = []
        for pattern in event_types("what", what):
            self._warn_of_misnomer(pattern)
            real = ALIASES.get(pattern)
            patterns += [pattern] if real is None else [pattern, real]
        return tuple(dict.fromkeys(patterns))

    def _warn_of_misnomer(self, pattern: str) -> None:
        if pattern in self._warned_of or any(mark in pattern for mark in "*?["):
            return
        self._warned_of.add(pattern)
        if pattern in ALIASES:
            real = ALIASES[pattern]
            hint = (
                f"its handlers take {real!r} too, which is what it sends" if real else "it has no counterpart"
            )
            logger.warning("Feishu never sends %r; %s", pattern, hint)
        elif (known := nearest(pattern)) not in (None, pattern):
            logger.warning("%r is no event type that is known here; did you mean %r?", pattern, known)
