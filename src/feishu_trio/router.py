"""What runs for an event: routes, filters, middleware. No I/O and no tasks; running is delivery's part.

A `Router` may be built before there is a session, shared by several, and changed while they run: the next
event sees the change.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Awaitable, Callable, Container, Hashable, Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any, Final, Protocol, TypeAlias, TypeVar, cast, overload

import attrs

from .config import Ack
from .errors import ConfigError
from .events import ALIASES, Event, encode_result, nearest

__all__ = ["BatchSize", "CallNext", "Handler", "HandlerObject", "Middleware", "Route", "Router"]

logger = logging.getLogger("feishu_trio.router")

Handler: TypeAlias = Callable[[Any], object]
"""Takes an `Event` (or a list of them, or a message's dict); plain or async; what it returns is the answer."""
LateHandler: TypeAlias = Callable[[Event[Any], Any], object]
"""Takes a callback's event and what its handler returned after the deadline; plain or async."""
CallNext: TypeAlias = Callable[[Event[Any]], Awaitable[object]]
Middleware: TypeAlias = Callable[[Event[Any], CallNext], Awaitable[object]]
H = TypeVar("H", bound=Callable[..., object])
M = TypeVar("M")
R = TypeVar("R")

MESSAGE_TYPES: Final = frozenset({"ping", "pong", "heartbeat", "auth", "event"})
"""The types of JSON text messages that are known here, whatever handlers there are."""

# Types come off the wire: neither many of them nor a long one may cost memory.
_RESOLVED_TYPES: Final = 1024
_RESOLVED_TYPE_LENGTH: Final = 256


class HandlerObject(Protocol):
    """What `Router.add` takes: an object that names its event types and handles them."""

    @property
    def event_type(self) -> str | Iterable[str]:
        """An event type, a glob, or several."""

    async def handle(self, event: Event[Any]) -> object:
        """Handle one event; the result is the answer to a callback."""


@attrs.frozen
class BatchSize:
    """When a batch is full: at `max_size` events, or `max_wait` seconds after its first."""

    max_size: int
    max_wait: float


@attrs.frozen(eq=False, kw_only=True)
class Route:
    """One handler and when it runs. Made by `Router.on` and its kin; compared by identity."""

    handler: Handler
    name: str
    patterns: tuple[str, ...]
    where: Callable[[Event[Any]], object] | None = None
    order_by: Callable[[Event[Any]], Hashable] | None = None
    pool: str | None = None
    ack: Ack | None = None
    timeout: float | None = None
    fallback: bytes | None = None
    """The JSON of the answer to a callback that has no result in time."""
    batch: BatchSize | None = None
    middleware: tuple[Middleware, ...] = ()
    is_default: bool = False
    is_async: bool = attrs.field(init=False)
    is_direct: bool = attrs.field(init=False)
    """Whether awaiting the handler with the event is all there is to running it."""

    def __attrs_post_init__(self) -> None:
        is_async = _is_async(self.handler)
        is_direct = is_async and self.timeout is None and not self.middleware and self.batch is None
        object.__setattr__(self, "is_async", is_async)
        object.__setattr__(self, "is_direct", is_direct)

    def matches(self, event_type: str) -> bool:
        """Whether one of the patterns takes this type; letters' case counts."""
        return any(pattern == event_type or fnmatchcase(event_type, pattern) for pattern in self.patterns)

    def renamed(self, name: str) -> Route:
        """The same under another name."""
        return self if name == self.name else attrs.evolve(self, name=name)


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
        self._resolved: dict[str, tuple[Route, ...]] = {}
        self._told: set[str] = set()

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
            where=_plain("where", where),
            order_by=_plain("order_by", order_by),
            pool=pool,
            ack=_instance("ack", ack, Ack),
            timeout=_positive("timeout", timeout),
            fallback=_json("fallback", fallback),
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
        if not isinstance(max_size, int) or isinstance(max_size, bool) or max_size < 1:
            raise ConfigError(f"max_size={max_size!r}: a whole number of at least 1 is allowed")
        if _positive("max_wait", max_wait) is None:
            raise ConfigError("max_wait=None: a number of seconds above 0 is needed")
        route_of = functools.partial(
            Route,
            patterns=self.patterns_of(what),
            where=_plain("where", where),
            pool=pool,
            timeout=_positive("timeout", timeout),
            batch=BatchSize(max_size, float(max_wait)),
        )

        def register(handler: H) -> H:
            self._append(self._routes, route_of, handler, name)
            return handler

        return register

    def add(self, handler: HandlerObject) -> None:
        """Register an object with `event_type` (a type, a glob or several) and `async handle(event)`."""
        what, handle = getattr(handler, "event_type", None), getattr(handler, "handle", None)
        if what is None or not callable(handle):
            raise ConfigError(f"{handler!r} is no handler: it needs `event_type` and `async handle(event)`")
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
        _callable("late", handler, "event", "result")
        self._late.append(handler)
        return handler

    def middleware(self, function: Middleware) -> Middleware:
        """Register `async def mw(event, call_next)`; used as a decorator. The first added is outermost.

        It wraps every handler of this router and of those it includes, one call for each handler; around a
        batch, `event` is the list of events. What it returns is the handler's result; not calling
        `call_next` skips the handler, which then counts as done. `timeout` includes it.
        """
        _callable("middleware", function, "event", "call_next")
        self._middleware.append(function)
        self._changed()
        return function

    def on_message(self, message_type: str) -> Callable[[H], H]:
        """Register a handler of JSON text messages whose `type` is this; it is given the message's dict.

        Those that this package knows itself (`ping`, `pong`, `heartbeat`, `auth`, `event`) are handled beside
        that, and the case of their letters does not count.
        """
        if not isinstance(message_type, str) or not message_type:
            raise ConfigError(f"on_message({message_type!r}): a message type is a string that is not empty")

        lower = message_type.lower()
        name = lower if lower in MESSAGE_TYPES else message_type

        def register(handler: H) -> H:
            _callable("on_message", handler, "message")
            self._messages.setdefault(name, []).append(handler)
            return handler

        return register

    def include(self, other: Router) -> None:
        """Take in another router's handlers, with its middleware around them; later changes count too."""
        if self in other._family():
            raise ConfigError("a router cannot include itself, directly or through others")
        if other in self._included:
            raise ConfigError("this router is included already")
        taken = self._names() & {route.name for route in other._walk()}
        if taken:
            raise ConfigError(
                f"both routers have handlers named {', '.join(sorted(taken))}; name= tells them apart"
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
            kept = [route for route in routes if not _is_named(route, handler)]
            found = found or len(kept) < len(routes)
            routes[:] = kept
        for handlers in (self._late, self._middleware, *self._messages.values()):
            if handler in cast("list[object]", handlers):
                cast("list[object]", handlers).remove(handler)
                found = True
        for other in self._included:
            if any(_is_named(route, handler) for route in other._walk()):
                other.remove(handler)
                found = True
        if not found:
            raise ConfigError(f"remove({handler!r}): no such handler is registered")
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
        routes = self._resolved.get(event_type)
        if routes is None:
            routes = tuple(self._select(event_type, default=False)) or tuple(
                self._select(event_type, default=True)
            )
            if len(event_type) <= _RESOLVED_TYPE_LENGTH:
                if len(self._resolved) >= _RESOLVED_TYPES:
                    self._resolved.clear()
                self._resolved[event_type] = routes
        return routes

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
        """The names of all handlers that may meet those of this router: what succeeded is remembered by them."""
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
        self._resolved.clear()
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
        _callable("a handler", handler, "event")
        if inspect.isgeneratorfunction(handler) or inspect.isasyncgenfunction(handler):
            raise ConfigError(f"a handler returns or raises, but {handler!r} yields")
        names = self._names()
        if name is not None and given and name in names:
            raise ConfigError(f"name={name!r}: another handler has this name already")
        route = route_of(handler=handler, name=free_name(name or _name_of(handler), names))
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
        if isinstance(what, str | type) or not isinstance(what, Iterable):
            what = (what,)
        patterns: list[str] = []
        for item in what:
            pattern = getattr(item, "EVENT_TYPE", None) if isinstance(item, type) else item
            if not isinstance(pattern, str) or not pattern:
                raise ConfigError(
                    f"{item!r} is no event type: allowed are a string such as 'im.message.receive_v1', "
                    "a glob such as 'contact.*', an event model class, or a list of these"
                )
            patterns.append(pattern)
            real = ALIASES.get(pattern)
            if real is not None:
                patterns.append(real)
            self._tell_misnomer(pattern)
        if not patterns:
            raise ConfigError("a handler needs at least one event type")
        return tuple(dict.fromkeys(patterns))

    def _tell_misnomer(self, pattern: str) -> None:
        if pattern in self._told or any(mark in pattern for mark in "*?["):
            return
        self._told.add(pattern)
        if pattern in ALIASES:
            real = ALIASES[pattern]
            hint = (
                f"its handlers take {real!r} too, which is what it sends" if real else "it has no counterpart"
            )
            logger.warning("Feishu never sends %r; %s", pattern, hint)
        elif (known := nearest(pattern)) not in (None, pattern):
            logger.warning("%r is no event type that is known here; did you mean %r?", pattern, known)


def _is_async(handler: Handler) -> bool:
    while isinstance(handler, functools.partial):
        handler = handler.func
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
        getattr(handler, "__call__", None)  # noqa: B004  an object whose __call__ is async
    )


def _name_of(handler: object) -> str:
    while isinstance(handler, functools.partial):
        handler = handler.func
    return getattr(handler, "__qualname__", None) or type(handler).__qualname__


def free_name(name: str, taken: Container[str]) -> str:
    """The name, with a number if it is taken."""
    number, free = 2, name
    while free in taken:
        free, number = f"{name}#{number}", number + 1
    return free


def _is_named(route: Route, handler: object) -> bool:
    bound_to = getattr(route.handler, "__self__", None)
    return route.handler == handler or route.name == handler or (bound_to is not None and bound_to is handler)


def _callable(what: str, value: object, *arguments: str) -> None:
    if not callable(value):
        raise ConfigError(f"{what}: {value!r} cannot be called")
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return  # written in C; calling it will show
    try:
        signature.bind(*arguments)
    except TypeError as error:
        raise ConfigError(
            f"{what}: {value!r} is called with ({', '.join(arguments)}), which does not fit: {error}"
        ) from None


def _plain(what: str, value: Any) -> Any:
    if value is not None:
        _callable(what, value, "event")
        if _is_async(value):
            raise ConfigError(f"{what}={value!r}: a plain function of the event is allowed")
    return value


def _json(what: str, value: object) -> bytes | None:
    if value is None:
        return None
    try:
        return encode_result(value)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{what}={value!r}: what JSON can hold is allowed ({error})") from None


def _instance(what: str, value: Any, kind: type) -> Any:
    if value is not None and not isinstance(value, kind):
        raise ConfigError(f"{what}={value!r}: one of {', '.join(map(str, cast('Any', kind)))} is allowed")
    return value


def _positive(what: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ConfigError(f"{what}={value!r}: a number of seconds above 0 is allowed")
    return float(value)
