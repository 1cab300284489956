"""What one route is: a handler and when it runs; and what its arguments may be. No I/O and no tasks."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Container, Hashable, Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any, Protocol, TypeAlias, TypeVar

import attrs

from .config import Ack, wrong
from .config.rules import number
from .events import Event, encode_result

__all__ = ["BatchSize", "CallNext", "Handler", "HandlerObject", "LateHandler", "Middleware", "Route"]

Handler: TypeAlias = Callable[[Any], object]
"""Takes an `Event` (or a list of them, or a message's dict); plain or async; its result is the answer."""
LateHandler: TypeAlias = Callable[[Event[Any], Any], object]
"""Takes a callback's event and what its handler returned after the deadline; plain or async."""
CallNext: TypeAlias = Callable[[Event[Any]], Awaitable[object]]
Middleware: TypeAlias = Callable[[Event[Any], CallNext], Awaitable[object]]
F = TypeVar("F")


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
        is_async = is_async_function(self.handler)
        is_direct = is_async and self.timeout is None and not self.middleware and self.batch is None
        object.__setattr__(self, "is_async", is_async)
        object.__setattr__(self, "is_direct", is_direct)

    def matches(self, event_type: str) -> bool:
        """Whether one of the patterns takes this type; letters' case counts."""
        return any(pattern == event_type or fnmatchcase(event_type, pattern) for pattern in self.patterns)

    def renamed(self, name: str) -> Route:
        """The same under another name."""
        return self if name == self.name else attrs.evolve(self, name=name)

    def is_of(self, handler: object) -> bool:
        """Whether this is the route of a function, of an object with a `handle`, or of a handler's name."""
        bound_to = getattr(self.handler, "__self__", None)
        return (
            self.handler == handler or self.name == handler or (bound_to is not None and bound_to is handler)
        )


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
    items = (value,) if isinstance(value, str | type) or not isinstance(value, Iterable) else tuple(value)
    if not items:
        raise wrong(name, value, allowed)
    for item in items:
        pattern = getattr(item, "EVENT_TYPE", None) if isinstance(item, type) else item
        if not isinstance(pattern, str) or not pattern:
            raise wrong(name, item, allowed)
        yield pattern


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
        raise wrong(name, value, allowed, why=error) from None
    return value


def handler_of_events(value: Handler) -> Handler:
    """A plain or async function of an event that returns."""
    function_of("handler", value, "event")
    if inspect.isgeneratorfunction(value) or inspect.isasyncgenfunction(value):
        raise wrong("handler", value, "a function of event that returns or raises", why="this one yields")
    return value


def plain_function(name: str, value: Callable[[Event[Any]], Any] | None) -> Any:
    """A function of an event that is not async, or None."""
    if value is not None:
        function_of(name, value, "event")
        if is_async_function(value):
            raise wrong(name, value, "a plain function of event", why="this one is async")
    return value


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
