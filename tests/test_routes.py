from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Generator
from typing import Any

import pytest

from feishu_trio import ConfigError, Event, Router
from feishu_trio.events.im import MessageReceived
from feishu_trio.routes import Route, event_types, free_name, is_async_function, name_of

MESSAGE = "im.message.receive_v1"


async def one(event: Event[Any]) -> None: ...
def plain(event: Event[Any]) -> None: ...


class Handlers:
    async def handle(self, event: Event[Any]) -> None: ...

    async def __call__(self, event: Event[Any]) -> None: ...


# Handlers


def test_functions_objects_and_partials() -> None:
    for handler in (one, Handlers(), Handlers().handle, functools.partial(functools.partial(one))):
        assert is_async_function(handler)
    assert not is_async_function(plain)
    assert [name_of(each) for each in (one, functools.partial(one), Handlers())] == ["one", "one", "Handlers"]


def test_a_route_is_of_its_function_its_object_and_its_name() -> None:
    handlers = Handlers()
    route = Route(handler=handlers.handle, name="by hand", patterns=(MESSAGE,))
    assert all(route.is_of(each) for each in (handlers, handlers.handle, "by hand"))
    assert not any(route.is_of(each) for each in (Handlers(), Handlers().handle, "handle", None))


def test_a_name_in_use_gets_a_number() -> None:
    assert free_name("a", ()) == "a"
    assert free_name("a", {"a"}) == "a#2"
    assert free_name("a", {"a", "a#2"}) == "a#3"


# Arguments


def test_event_types_of_texts_and_models() -> None:
    assert list(event_types("what", "a.*")) == ["a.*"]
    assert list(event_types("what", iter([MessageReceived, "x"]))) == [MESSAGE, "x"]


@pytest.mark.parametrize("what", ["", 3, None, [], [None], object, [MESSAGE, int]])
def test_what_is_no_event_type(what: Any) -> None:
    with pytest.raises(ConfigError, match=r"what: .* is not allowed; it must be an event type"):
        Router().on(what)


def generator(event: Event[Any]) -> Generator[int]:
    yield 1


async def async_generator(event: Event[Any]) -> AsyncGenerator[int]:
    yield 1


async def of_two(event: Event[Any], other: object) -> None: ...
async def of_none() -> None: ...


@pytest.mark.parametrize(
    "handler", [None, "one", 3, generator, async_generator, of_two, of_none, Handlers.handle]
)
def test_what_is_no_handler(handler: Any) -> None:
    router = Router()
    for register in (router.on(MESSAGE), router.on_batch(MESSAGE), router.default):
        with pytest.raises(ConfigError, match=r"handler: .* is not allowed; it must be a function of event"):
            register(handler)
    assert router.routes() == ()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"where": 3}, "where: 3 is not allowed; it must be a function of event$"),
        (
            {"where": one},
            r"where: .* is not allowed; it must be a plain function of event \(this one is async\)",
        ),
        (
            {"where": lambda: True},
            r"where: .* is not allowed; it must be a function of event \(too many positional arguments\)",
        ),
        ({"order_by": one}, "order_by: .* is not allowed; it must be a plain function"),
        ({"timeout": 0}, "timeout: 0 is not allowed; it must be a number of seconds above 0"),
        ({"timeout": -1.5}, "timeout: -1.5 is not allowed"),
        ({"timeout": True}, "timeout: True is not allowed"),
        ({"timeout": "1"}, "timeout: '1' is not allowed"),
        ({"timeout": float("nan")}, "timeout: nan is not allowed"),
        ({"ack": "on_receipt"}, "ack: 'on_receipt' is not allowed; it must be one of .*ON_SUCCESS"),
        ({"fallback": object()}, "fallback: <object .* is not allowed; it must be what JSON can hold"),
        ({"fallback": float("nan")}, "fallback: nan is not allowed"),
    ],
)
def test_wrong_options_are_refused_with_what_is_allowed(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Router().on(MESSAGE, **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_size": 0}, "max_size: 0 is not allowed; it must be a whole number, 1 or more"),
        ({"max_size": 1.5}, "max_size: 1.5 is not allowed"),
        ({"max_size": True}, "max_size: True is not allowed"),
        ({"max_wait": 0}, "max_wait: 0 is not allowed; it must be a number of seconds above 0"),
        ({"max_wait": None}, "max_wait: None is not allowed; it must be a number of seconds above 0"),
    ],
)
def test_wrong_options_of_batches(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Router().on_batch(MESSAGE, **options)


# How a function is named


def line_of(function: Any) -> int:
    return int(function.__code__.co_firstlineno)


class Callable2:
    def __call__(self, event: Event[Any], other: object) -> None: ...


@pytest.mark.parametrize(
    ("handler", "place"),
    [
        (of_two, f"of_two ({__file__}, line {line_of(of_two)})"),
        (functools.partial(of_none), f"of_none ({__file__}, line {line_of(of_none)})"),
        (Callable2(), f"Callable2 ({__file__}, line {line_of(Callable2.__call__)})"),
        (generator, f"generator ({__file__}, line {line_of(generator)})"),
    ],
)
def test_a_wrong_handler_is_named_by_its_file_and_line(handler: Any, place: str) -> None:
    with pytest.raises(ConfigError, match="handler: ") as caught:
        Router().on(MESSAGE)(handler)
    assert f"handler: {place} is not allowed; it must be a function of event" in str(caught.value)
    assert " at 0x" not in str(caught.value)


@pytest.mark.parametrize(
    ("decorate", "words"),
    [
        (Router().on, "what: one .*an event type such as .*written with it, as @router.on"),
        (Router().on_batch, "what: one .*written with it, as @router.on"),
        (Router().on_message, "message_type: one .*written with it, as @router.on_message"),
    ],
)
def test_a_decorator_without_its_parentheses(decorate: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        decorate(one)


class Handles:
    event_type = MESSAGE

    async def handle(self, event: Event[Any]) -> None: ...


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (functools.partial(of_two, other=1), "what: of_two (.*written with it, as @router.on"),
        (Callable2(), "what: Callable2 (.*written with it, as @router.on"),
        (Callable2, "what: .*Callable2.*written with it, as @router.on"),
        (Handles, r"what: .*Handles.*an object that handles events is registered by router.add\("),
    ],
)
def test_what_else_stands_below_a_decorator_without_its_parentheses(what: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words.replace(" (", r" \(", 1)) as caught:
        Router().on(what)
    assert " at 0x" not in str(caught.value)
