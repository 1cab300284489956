"""What one route is: a handler and when it runs; and what its arguments may be. No I/O and no tasks."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Container, Hashable, Iterable, Iterator
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, Protocol, TypeAlias, TypeVar, cast

import attrs
import msgspec

from .config import Ack, wrong
from .config.rules import nearest, number, shown
from .events import ALIAS_STATUSES, ALIASES, Event, encode_result
from .events.order import by_chat

__all__ = [
    "BatchSize",
    "CallNext",
    "Handler",
    "HandlerObject",
    "LateHandler",
    "Middleware",
    "RawHandler",
    "RawMessage",
    "Route",
]

Handler: TypeAlias = Callable[[Any], object]
"""Takes an `Event` (or a list of them, or a message's dict); plain or async; its result is the answer."""
LateHandler: TypeAlias = Callable[[Event[Any], Any], object]
"""Takes a callback's event and what its handler returned after the deadline; plain or async."""
DeadHandler: TypeAlias = Callable[[Event[Any], str], object]
"""Takes an event that has become a dead letter, and the text of its last failure; plain or async."""
CallNext: TypeAlias = Callable[[Event[Any]], Awaitable[object]]
"""Calls the next middleware inside, or the handler, and returns its result."""
Middleware: TypeAlias = Callable[[Event[Any], CallNext], Awaitable[object]]
"""Takes an event, of a batch the list, and what calls the next one inside; it returns the handler's result."""
Where: TypeAlias = Callable[[Event[Any]], object]
F = TypeVar("F")


@attrs.frozen
class RawMessage:
    """One WebSocket message as it came, before anything is made of it."""

    connection_id: str
    """The connection it came by, as lifecycle events name it."""
    data: bytes | str = attrs.field(repr=False)
    """A frame of the protocol, or the whole of a text message: `bytes` for a binary one, `str` for a text."""
    received_at: datetime
    """When it was read, in UTC."""

    @property
    def is_text(self) -> bool:
        """Whether it is a text message."""
        return isinstance(self.data, str)


RawHandler: TypeAlias = Callable[[RawMessage], object]
"""Is called with each message, while the connection reads nothing else; plain, and quick."""


class HandlerObject(Protocol):
    """What `Router.add` takes: an object that names its event types and handles them."""

    @property
    def event_type(self) -> str | Iterable[str]:
        """An event type, a glob, or several."""

    async def handle(self, event: Event[Any]) -> object:
        """Handle one event; the result is the answer to a callback."""


class BatchSize(msgspec.Struct, frozen=True):
    """When a batch is full: at `max_size` events, `max_wait` seconds after its first, or `idle` seconds after its last."""

    max_size: int
    max_wait: float
    idle: float | None = None
    by: Callable[[Event[Any]], Hashable] | None = None
    """What events of one batch have in common; None: all go together."""


@attrs.frozen(eq=False, kw_only=True)
class Route:
    """One handler and when it runs. Made by `Router.on` and its kin; compared by identity."""

    handler: Handler
    """What is called with the event, or with a list of them if there is a `batch`."""
    name: str
    """What logs, counters and inboxes know it by."""
    patterns: tuple[str, ...]
    """The event types and globs that it takes."""
    where: Callable[[Event[Any]], object] | None = None
    """The filter; None: all events of these types."""
    order_by: Callable[[Event[Any]], Hashable] | None = None
    """From an event to its order key; None: the chat for `im.message.*`, and no order for all others."""
    pool: str | None = None
    """The name of the pool that it runs in; None: `callbacks` for callbacks, `default` for all else and for batches."""
    ack: Ack | None = None
    """When its events are answered; None: as the session's `ack` says."""
    timeout: float | None = None
    """Seconds after which a run is cancelled, and has failed; None: there is no such limit."""
    fallback: bytes | None = None
    """The JSON of the answer to a callback that has no result in time."""
    batch: BatchSize | None = None
    """When a batch is full; None: it takes events one by one."""
    middleware: tuple[Middleware, ...] = ()
    """What runs around it, the outermost first: of a route from `Router.resolve`, empty in all others."""
    is_default: bool = False
    """Whether it is of `Router.default`: for events that no other route takes."""
    is_named: bool = False
    """Whether its name was given; else it has its function's, with a number if another has that."""
    number: int = 0
    """Its place among all routes: it grows with each that is registered, in whatever router."""
    is_async: bool = attrs.field(init=False)
    """Whether calling the handler gives something to await; one that does not runs in a thread."""
    is_direct: bool = attrs.field(init=False)
    """Whether awaiting the handler with the event is all there is to running it."""

    def __attrs_post_init__(self) -> None:
        is_async = is_async_function(self.handler)
        is_direct = is_async and self.timeout is None and not self.middleware and self.batch is None
        object.__setattr__(self, "is_async", is_async)
        object.__setattr__(self, "is_direct", is_direct)

    @property
    def own_name(self) -> str:
        """Its name without the number that tells it apart."""
        return self.name if self.is_named else self.name.partition("#")[0]

    def matches(self, event_type: str) -> bool:
        """Whether one of the patterns takes this type; letters' case counts."""
        return matches_any(event_type, self.patterns)

    def renamed(self, name: str) -> Route:
        """The same under another name."""
        return self if name == self.name else attrs.evolve(self, name=name)

    def is_of(self, handler: object) -> bool:
        """Whether this is the route of a function, of an object with a `handle`, or of a handler's name."""
        bound_to = getattr(self.handler, "__self__", None)
        return (
            self.handler == handler or self.name == handler or (bound_to is not None and bound_to is handler)
        )


def matches_any(name: str, patterns: Iterable[str]) -> bool:
    """Whether one of these names and globs takes this name; letters' case counts."""
    return any(pattern == name or fnmatchcase(name, pattern) for pattern in patterns)


def is_glob(pattern: str) -> bool:
    """Whether it may take several names."""
    return any(mark in pattern for mark in "*?[")


# --- handlers -----------------------------------------------------------------------------------------------


def is_async_function(handler: object) -> bool:
    """Whether calling it gives something to await, as far as can be seen without calling it."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
        getattr(handler, "__call__", None)  # noqa: B004  an object whose __call__ is async
    )


def name_of(handler: object) -> str:
    """The qualified name of a function, or of an object's class."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    return getattr(handler, "__qualname__", None) or type(handler).__qualname__


def shown_function(value: object) -> str:
    """What a user finds a function by: its name, its file and its line; the repr of all that is none."""
    inner = value
    while isinstance(inner, functools.partial):
        inner = inner.func
    if not inspect.isroutine(inner) and not isinstance(inner, type):
        inner = getattr(type(inner), "__call__", None) if callable(inner) else None  # noqa: B004
    inner = inspect.unwrap(getattr(inner, "__init__", inner)) if isinstance(inner, type) else inner
    code = getattr(inspect.unwrap(inner) if callable(inner) else None, "__code__", None)
    if code is None:
        return shown(value)
    return f"{name_of(value)} ({code.co_filename}, line {code.co_firstlineno})"


def free_name(name: str, used: Container[str]) -> str:
    """The name, with a number if it is in use."""
    number, free = 2, name
    while free in used:
        free, number = f"{name}#{number}", number + 1
    return free


# --- arguments: each check returns the value as a route holds it, or raises `ConfigError` -------------------


def event_types(name: str, value: object) -> Iterator[str]:
    """Yields the event types and globs in one of these, an event model class, or a list of them."""
    allowed = (
        "an event type such as 'im.message.receive_v1', a glob such as 'contact.*', "
        "an event model class, or a list of one or more of these"
    )
    if _is_handler(value, "EVENT_TYPE"):
        why = "a decorator is written with it, as @router.on('im.message.receive_v1')"
        if isinstance(value, type) and hasattr(value, "handle"):
            why = "an object that handles events is registered by router.add(…)"
        raise wrong(name, value, allowed, why=why, show=shown_function)
    items = (value,) if isinstance(value, str | type) or not isinstance(value, Iterable) else tuple(value)
    if not items:
        raise wrong(name, value, allowed)
    for item in items:
        pattern = getattr(item, "EVENT_TYPE", None) if isinstance(item, type) else item
        if not isinstance(pattern, str) or not pattern:
            raise wrong(name, item, allowed)
        yield pattern


def _is_handler(value: object, but_with: str = "") -> bool:
    """Whether it stands where its decorator's argument belongs: what can be called, and is no class with this."""
    return callable(value) and not (but_with and isinstance(value, type) and hasattr(value, but_with))


def message_types(value: object) -> tuple[str, ...]:
    """The types of JSON text messages and globs in one of these, or a list of them."""
    allowed = "a string that is not empty, or a list of one or more of these"
    if _is_handler(value):
        why = "a decorator is written with it, as @router.on_message('notice')"
        raise wrong("message_type", value, allowed, why=why, show=shown_function)
    types = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (value,)
    if not types or not all(isinstance(each, str) and each for each in types):
        raise wrong("message_type", value, allowed)
    return cast("tuple[str, ...]", types)


def with_aliases(types: Iterable[str]) -> tuple[str, ...]:
    """These types and globs, each with what Feishu sends in its place if it never sends it."""
    return tuple(dict.fromkeys(name for each in types for name in (each, ALIASES.get(each, each))))


def where_of_aliases(types: Iterable[str], where: Where | None) -> Where | None:
    """The filter `where`, and that by which only events get through that these types stand for."""
    types = tuple(types)
    statuses: dict[str, set[str]] = {}
    for each in types:
        if each in ALIAS_STATUSES and not matches_any(ALIASES[each], types):
            statuses.setdefault(ALIASES[each], set()).add(ALIAS_STATUSES[each])
    if not statuses:
        return where

    def is_meant(event: Event[Any]) -> object:
        wanted = statuses.get(event.type)
        return (wanted is None or event.data.status in wanted) and (where is None or where(event))

    return is_meant


def function_of(name: str, value: F, *arguments: str) -> F:
    """What can be called with these arguments."""
    allowed = f"a function of {' and '.join(arguments)}"
    if not callable(value):
        raise wrong(name, value, allowed)
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return value  # written in C; calling it will show
    try:
        signature.bind(*arguments)
    except TypeError as error:
        raise wrong(name, value, allowed, why=error, show=shown_function) from None
    return value


def handler_of_events(value: Handler) -> Handler:
    """A plain or async function of an event that returns."""
    function_of("handler", value, "event")
    if inspect.isgeneratorfunction(value) or inspect.isasyncgenfunction(value):
        allowed = "a function of event that returns or raises"
        raise wrong("handler", value, allowed, why="this one yields", show=shown_function)
    return value


def plain_function(name: str, value: F, argument: str = "event", *, instead: str = "") -> F:
    """A function of one argument that is not async; `instead` says what to do with one that is."""
    function_of(name, value, argument)
    if is_async_function(value):
        allowed = f"a plain function of {argument}"
        why = "this one is async" + (f"; {instead}" if instead else "")
        raise wrong(name, value, allowed, why=why, show=shown_function)
    return value


def by_default(event: Event[Any]) -> Hashable:
    """The chat of a message event; None, which is no order, for other events."""
    return by_chat(event)


def no_order(event: Event[Any]) -> None:
    """No order: handlers run in any, side by side."""


def order(value: Callable[[Event[Any]], Hashable] | None) -> Callable[[Event[Any]], Hashable] | None:
    """A route's order, as somebody gave it: None for `by_default`, whose key is known already."""
    if value is None:
        return no_order
    return None if value is by_default else plain_function("order_by", value)


def plain_function_or_none(name: str, value: F | None) -> F | None:
    """A function of an event that is not async, or None."""
    return None if value is None else plain_function(name, value)


def handler_object(value: object) -> HandlerObject:
    """An object that handles events: itself, or made by a class or a factory that needs no arguments."""
    allowed = "an object with event_type and async handle(event), or a class or function that makes one"
    made = value
    if isinstance(value, type) or (callable(value) and not hasattr(value, "handle")):
        try:
            inspect.signature(value).bind()
        except TypeError as error:
            name = name_of(value)
            why = f"{error}: add an instance, or a factory: router.add(lambda: {name}(…))"
            if not isinstance(value, type):
                why = f"{error}; a function of event is registered by @router.on('im.message.receive_v1')"
            raise wrong("handler", value, allowed, why=why, show=shown_function) from None
        except ValueError:
            pass  # written in C; calling it will show
        if not isinstance(value, type) and is_async_function(value):
            raise wrong("handler", value, allowed, why="this one is async", show=shown_function)
        made = value()
    lacks = ["event_type"] if getattr(made, "event_type", None) is None else []
    lacks += [] if callable(getattr(made, "handle", None)) else ["handle"]
    if lacks:
        why = " and ".join(_lack(made, name) for name in lacks)
        if made is not value:
            why = f"this one makes an object of type {type(made).__qualname__}, with {why}"
        raise wrong("handler", value, allowed, why=why, show=_shown_object)
    return cast("HandlerObject", made)


def _lack(made: object, name: str) -> str:
    """That an object has no attribute of this name, and the one that was perhaps meant to be it."""
    near = nearest(name, (other for other in dir(made) if not other.startswith("_")))
    return f"no {name}" + (f": call its {near} so" if near not in (None, name) else "")


def _shown_object(value: object) -> str:
    """A function as usual; any other object by its class, and where that is defined."""
    if callable(value) or type(value).__module__ in ("builtins", "types"):
        return shown_function(value)
    kind = type(value)
    try:
        place = f" ({inspect.getsourcefile(kind)}, line {inspect.getsourcelines(kind)[1]})"
    except (OSError, TypeError):
        place = ""
    return f"an object of class {kind.__qualname__}{place}"


def ack_or_none(name: str, value: Any) -> Ack | None:
    """A member of `Ack`, or None."""
    if value is not None and not isinstance(value, Ack):
        raise wrong(name, value, f"one of {', '.join(map(str, Ack))}")
    return value


def seconds(name: str, value: Any) -> float:
    """A number above 0, which may be infinity."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise wrong(name, value, "a number of seconds above 0")
    return float(value)


def seconds_or_none(name: str, value: Any) -> float | None:
    """A number above 0, which may be infinity, or None."""
    return None if value is None else seconds(name, value)


def count(name: str, value: Any) -> int:
    """A whole number from 1."""
    number(int, 1).check(name, value)
    return value  # type: ignore[no-any-return]


def answer_or_none(name: str, value: object) -> bytes | None:
    """The JSON of an answer, or None."""
    if value is None:
        return None
    try:
        return encode_result(value)
    except (TypeError, ValueError) as error:
        raise wrong(name, value, "what JSON can hold", why=error) from None
