from __future__ import annotations

import functools
import inspect
import itertools
import logging
import re
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feishu_trio import Ack, ConfigError, Event, RawMessage, Router
from feishu_trio.events import Card
from feishu_trio.events.im import MessageReceived

MESSAGE = "im.message.receive_v1"
USER = "contact.user.created_v3"


async def one(event: Event[Any]) -> None: ...
async def two(event: Event[Any]) -> None: ...
def plain(event: Event[Any]) -> None: ...


# What takes what


def test_types_globs_lists_and_models() -> None:
    router = Router()
    assert router.on(MESSAGE)(one) is one
    router.on("contact.*")(two)
    router.on([MessageReceived, "x.y"])(plain)
    assert router.handlers(MESSAGE) == (one, plain)
    assert router.handlers(USER) == (two,)
    assert router.handlers("x.y") == (plain,)
    assert router.handlers("contact") == router.handlers("im.message.receive_v2") == ()
    assert router.event_types == (MESSAGE, "contact.*", "x.y")
    assert [router.is_registered(each) for each in (MESSAGE, USER, "x.z")] == [True, True, False]


def test_letters_case_counts() -> None:
    router = Router()
    router.on("Contact.*")(one)
    assert not router.is_registered(USER)


def test_default_takes_what_nobody_else_does() -> None:
    router, inner = Router(), Router()
    router.on(MESSAGE)(one)
    router.default(two)
    inner.default(plain)
    router.include(inner)
    assert router.handlers(MESSAGE) == (one,)
    assert router.handlers("x.y") == (two, plain)
    assert not router.is_registered("x.y")
    assert router.event_types == (MESSAGE,)
    assert len(router.routes()) == 3


def test_the_next_question_sees_every_change() -> None:
    router, inner, innermost = Router(), Router(), Router()
    router.include(inner)
    inner.include(innermost)
    assert router.handlers(USER) == ()
    innermost.on(USER)(one)
    assert router.handlers(USER) == (one,)
    router.remove(one)
    assert router.handlers(USER) == innermost.handlers(USER) == ()


# Misnomers


def test_a_type_that_is_nearly_right_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    router = Router()
    for handler in (one, two):
        router.on("im.message.recieve_v1")(handler)
    router.on(USER)(one)
    router.on("contact.usr.*")(one)
    router.on("nothing.like.it")(one)
    assert [record.getMessage() for record in caplog.records] == [
        f"'im.message.recieve_v1' is no event type that is known here; did you mean '{MESSAGE}'?"
    ]


def test_a_name_that_feishu_never_sends_is_followed_by_the_real_one(caplog: pytest.LogCaptureFixture) -> None:
    router = Router()
    router.on("meeting.meeting.started_v1")(one)
    assert router.handlers("vc.meeting.meeting_started_v1") == (one,)
    router.on("approval.approval.approved_v1")(two)
    assert [record.getMessage() for record in caplog.records] == [
        "Feishu never sends 'meeting.meeting.started_v1'; "
        "its handlers take 'vc.meeting.meeting_started_v1' too, which is what it sends",
        "Feishu never sends 'approval.approval.approved_v1'; its handlers take "
        "'approval.instance.status_changed_v4' too, which is what it sends, where its status is 'APPROVED'",
    ]


@pytest.mark.parametrize(
    ("glob", "line"),
    [
        (
            "calendar.event.*",
            "Feishu never sends 'calendar.event.updated_v4', which 'calendar.event.*' would take; "
            "write 'calendar.calendar.event.changed_v4', which is what it sends",
        ),
        (
            "meeting.*",
            "Feishu never sends 'meeting.meeting.started_v1' or 'meeting.meeting.ended_v1', which 'meeting.*' would "
            "take; write 'vc.meeting.meeting_started_v1' and 'vc.meeting.meeting_ended_v1', which is what it sends",
        ),
        (
            "im.chat.member.user_*",
            "Feishu never sends 'im.chat.member.user_added_v1' or 'im.chat.member.user_deleted_v1', which "
            "'im.chat.member.user_*' would take; write 'im.chat.member.user.added_v1' and "
            "'im.chat.member.user.deleted_v1', which is what it sends",
        ),
        (
            "approval.approval.*",
            "Feishu never sends 'approval.approval.approved_v1' or 'approval.approval.rejected_v1', which "
            "'approval.approval.*' would take; write 'approval.instance.status_changed_v4', which is what it sends",
        ),
    ],
)
def test_a_glob_of_names_that_feishu_never_sends_says_what_to_write(
    caplog: pytest.LogCaptureFixture, glob: str, line: str
) -> None:
    router = Router()
    router.on(glob)(one)
    router.on(glob)(two)
    assert [record.getMessage() for record in caplog.records] == [line]


@pytest.mark.parametrize(
    "what", ["*", "im.*", "approval.*", "calendar.*", "im.chat.member.*", ["meeting.*", "vc.meeting.*"]]
)
def test_a_glob_that_takes_what_feishu_sends_says_nothing(
    caplog: pytest.LogCaptureFixture, what: str | list[str]
) -> None:
    Router().on(what)(one)
    assert not caplog.records


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("message", "'message' is no event type that is known here; did you mean .*'im.message.receive_v1'"),
        (
            "Heartbeat",
            r"'Heartbeat' is no event type, but one of .*did you mean @router.on_message\('Heartbeat'\)",
        ),
    ],
)
def test_a_word_that_is_no_event_type_says_what_may_be_meant(
    caplog: pytest.LogCaptureFixture, word: str, hint: str
) -> None:
    router = Router()
    router.on(word)(one)
    router.on(word)(two)
    (record,) = caplog.records
    assert re.match(hint, record.getMessage())


def test_types_of_schema_1_have_no_dots_and_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    router = Router()
    router.on(["leave_approval", "add_bot", "*"])(one)
    assert caplog.records == []


# Names


class Handlers:
    event_type = MESSAGE

    async def handle(self, event: Event[Any]) -> None: ...

    async def __call__(self, event: Event[Any]) -> None: ...


def test_handlers_are_called_by_their_qualified_names() -> None:
    router = Router()
    router.on(MESSAGE)(one)
    router.on(USER)(one)
    router.on(MESSAGE)(Handlers().handle)
    router.on(MESSAGE)(Handlers())
    router.on(MESSAGE)(functools.partial(functools.partial(two)))
    router.on(MESSAGE, name="by hand")(two)
    assert [route.name for route in router.routes()] == [
        "one",
        "one#2",
        "Handlers.handle",
        "Handlers",
        "two",
        "by hand",
    ]


def test_no_name_is_given_twice() -> None:
    router = Router()
    router.on(MESSAGE, name="same")(one)
    with pytest.raises(
        ConfigError, match="name: 'same' is not allowed; it must be one that no other handler has"
    ):
        router.on(USER, name="same")(two)


def same() -> Any:
    async def handle(event: Event[Any]) -> None: ...

    handle.__qualname__ = "a"
    return handle


@pytest.mark.parametrize("order", sorted(set(itertools.permutations(["a", "", "", "a#2"]))))
def test_names_that_are_made_give_way_to_those_that_are_given(order: tuple[str, ...]) -> None:
    router, *inner = Router(), Router(), Router(), Router(), Router()
    for each in inner:
        router.include(each)
    handlers = [same() for _ in order]
    for each, handler, name in zip(inner, handlers, order, strict=True):
        if name:
            each.on(MESSAGE, name=name)(handler)
        else:
            each.default(handler)
    named = {route.name: route.handler for route in router.routes()}
    assert named.keys() == {"a", "a#2", "a#3", "a#4"}
    for name in ("a", "a#2"):
        assert named[name] is handlers[order.index(name)]
        with pytest.raises(ConfigError, match="one that no other handler has"):
            router.on("x.y", name=name)(one)
    router.remove("a#3")
    assert len(router.routes()) == 3


def test_a_registration_that_is_refused_renames_none() -> None:
    router, handler = Router(), same()
    router.on(MESSAGE)(handler)
    with pytest.raises(ConfigError, match="registered for"):
        router.on(MESSAGE, name="a")(handler)
    assert [route.name for route in router.routes()] == ["a"]


def test_names_differ_over_all_routers_that_meet() -> None:
    router, left, right = Router(), Router(), Router()
    router.include(left)
    router.include(right)
    left.on(MESSAGE, name="same")(one)
    with pytest.raises(ConfigError, match="one that no other handler has"):
        right.on(MESSAGE, name="same")(two)
    right.on(MESSAGE)(one)
    left.on(USER)(one)
    assert [route.name for route in router.routes()] == ["same", "one", "one#2"]
    late = Router()
    late.on(MESSAGE, name="same")(two)
    with pytest.raises(ConfigError, match="both routers have handlers named same"):
        left.include(late)


def test_one_handler_is_not_registered_twice_for_one_type() -> None:
    router = Router()
    router.on([MESSAGE, USER])(one)
    with pytest.raises(ConfigError, match=f"one is registered for {USER} already"):
        router.on([USER, "x.y"])(one)
    router.on("x.y")(one)


# Objects


def test_objects_are_added_and_removed() -> None:
    router, handlers = Router(), Handlers()
    router.add(handlers)
    assert router.handlers(MESSAGE) == (handlers.handle,)
    router.remove(handlers)
    assert router.handlers(MESSAGE) == ()
    router.add(SimpleNamespace(event_type=["contact.*", "x.y"], handle=one))
    assert router.event_types == ("contact.*", "x.y")


class WithDb:
    event_type = USER

    def __init__(self, db: str) -> None:
        self.db = db

    async def handle(self, event: Event[Any]) -> None: ...


def test_a_class_is_made_an_instance_of() -> None:
    router = Router()
    made = router.add(Handlers)
    assert isinstance(made, Handlers)
    assert router.handlers(MESSAGE) == (made.handle,)
    assert [route.name for route in router.routes()] == ["Handlers"]
    router.remove(made)
    assert router.routes() == ()


def test_a_factory_makes_the_object() -> None:
    router = Router()
    made = router.add(lambda: WithDb("db"))
    assert made.db == "db"
    assert router.handlers(USER) == (made.handle,)
    assert router.add(functools.partial(WithDb, "other")).db == "other"


def test_a_class_that_needs_arguments_says_what_to_do() -> None:
    with pytest.raises(
        ConfigError,
        match=r"handler: WithDb \(.*test_router.py, line \d+\) is not allowed; .*'db': "
        r"add an instance, or a factory: router.add\(lambda: WithDb\(…\)\)",
    ):
        Router().add(WithDb)  # type: ignore[arg-type]


def test_a_handler_of_events_is_no_factory() -> None:
    with pytest.raises(ConfigError, match=r"handler: one \(.*'event'.* registered by @router.on"):
        Router().add(cast("Any", one))


async def late_maker() -> Handlers:
    return Handlers()


@pytest.mark.parametrize(
    ("odd", "why"),
    [
        (object(), ""),
        (SimpleNamespace(event_type="x.y"), ""),
        (SimpleNamespace(handle=one), ""),
        (int, "this one makes an object of type int"),
        (lambda: None, "this one makes an object of type NoneType"),
        (late_maker, "this one is async"),
    ],
)
def test_objects_that_are_no_handlers(odd: Any, why: str) -> None:
    with pytest.raises(
        ConfigError,
        match=rf"handler: .* is not allowed; it must be an object with event_type and async handle.*{why}",
    ):
        Router().add(odd)


class FromDotnet:
    supported_event_type = USER

    async def handle_async(self, event: Event[Any]) -> None: ...


class NoType:
    async def handle(self, event: Event[Any]) -> None: ...


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        (
            FromDotnet(),
            "no event_type: call its supported_event_type so and no handle: call its handle_async so",
        ),
        (NoType(), "no event_type"),
    ],
)
def test_an_object_that_is_no_handler_is_named_with_what_it_lacks(odd: Any, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Router().add(odd)
    line = inspect.getsourcelines(type(odd))[1]
    assert str(caught.value) == (
        f"handler: an object of class {type(odd).__qualname__} ({__file__}, line {line}) is not allowed; it must be an "
        f"object with event_type and async handle(event), or a class or function that makes one ({words})"
    )
    with pytest.raises(ConfigError, match=r"makes an object of type \w+, with no event_type"):
        Router().add(type(odd))


@pytest.mark.parametrize("by", [one, "one"])
def test_handlers_are_removed_by_function_or_name(by: object) -> None:
    router = Router()
    router.on(MESSAGE)(one)
    router.on(MESSAGE)(two)
    router.remove(by)
    assert router.handlers(MESSAGE) == (two,)
    with pytest.raises(
        ConfigError, match=r"handler: .* is not allowed; it must be one that is registered here"
    ):
        router.remove(by)


def test_everything_can_be_removed() -> None:
    router = Router()

    async def middleware(event: Event[Any], call_next: Any) -> object: ...
    async def late(event: Event[Any], result: object) -> None: ...
    async def message(message: dict[str, Any]) -> None: ...

    router.middleware(middleware)
    router.late(late)
    router.on_message("custom")(message)
    router.default(one)
    assert router.message_handlers("custom") == (message,)
    assert router.late_handlers() == (late,)
    for each in (middleware, late, message, one):
        router.remove(each)
    assert (router.message_handlers("custom"), router.late_handlers(), router.routes()) == ((), (), ())
    router.on(MESSAGE)(two)
    assert router.resolve(MESSAGE)[0].middleware == ()


# Arguments


def test_options_end_up_in_the_route() -> None:
    router = Router()

    def key(event: Event[Any]) -> int:
        return 1

    router.on(
        MESSAGE, where=plain, order_by=key, pool="p", ack=Ack.ON_RECEIPT, timeout=2, fallback=Card.raw({})
    )(one)
    (route,) = router.routes()
    assert (route.where, route.order_by, route.pool, route.ack, route.timeout, route.fallback) == (
        plain,
        key,
        "p",
        Ack.ON_RECEIPT,
        2.0,
        b'{"type":"raw","data":{}}',
    )


@pytest.mark.parametrize("kind", ["", None, 3, [], [""], ["a", None]])
def test_a_message_type_is_a_string(kind: Any) -> None:
    with pytest.raises(ConfigError, match=r"message_type: .* is not allowed; it must be a string"):
        Router().on_message(kind)


def test_message_handlers_of_all_routers() -> None:
    router, inner = Router(), Router()
    router.include(inner)

    def first(message: dict[str, Any]) -> None: ...
    def second(message: dict[str, Any]) -> None: ...

    inner.on_message("custom")(second)
    router.on_message("custom")(first)
    assert router.message_handlers("custom") == (first, second)
    assert router.message_handlers("other") == ()


def test_message_handlers_by_globs_and_lists() -> None:
    router = Router()

    def every(message: dict[str, Any]) -> None: ...
    def cards(message: dict[str, Any]) -> None: ...

    router.on_message("*")(every)
    router.on_message(["card.*", "notice", "PING"])(cards)
    assert router.message_handlers("card.sent") == router.message_handlers("notice") == (every, cards)
    assert router.message_handlers("ping") == (every, cards)
    assert router.message_handlers("Notice") == router.message_handlers("card") == (every,)
    assert router.message_handlers("event", "event_callback") == (every,), "once, however many names match"
    outer = Router()
    outer.include(router)
    outer.remove(every)
    assert router.message_handlers("other") == outer.message_handlers("other") == ()


def test_globs_of_message_types_that_are_known_take_them_in_any_case() -> None:
    router = Router()

    def beats(message: dict[str, Any]) -> None: ...
    def notices(message: dict[str, Any]) -> None: ...

    router.on_message("HEART*")(beats)
    router.on_message(["NOTI*", "P?NG"])(notices)
    assert router.message_handlers("heartbeat") == (beats,)
    assert router.message_handlers("notice") == router.message_handlers("pang") == ()
    assert router.message_handlers("ping") == router.message_handlers("NOTICE") == (notices,)


def test_handlers_of_raw_messages_come_and_go() -> None:
    router, inner = Router(), Router()

    def first(message: RawMessage) -> None: ...
    def second(message: RawMessage) -> None: ...

    inner.on_raw(second)
    router.include(inner)
    assert router.on_raw(first) is first
    assert router.raw_handlers == (first, second)
    for handler in (second, first):
        router.remove(handler)
        assert handler not in router.raw_handlers
    with pytest.raises(ConfigError, match="one that is registered here"):
        router.remove(first)


def test_a_handler_of_raw_messages_is_plain() -> None:
    async def later(message: RawMessage) -> None: ...
    def of_none() -> None: ...

    with pytest.raises(
        ConfigError,
        match=r"handler: .*later \(.*a plain function of message \(this one is async; give a plain one .* memory channel",
    ):
        Router().on_raw(later)
    with pytest.raises(ConfigError, match=r"handler: .*of_none \(.*must be a function of message"):
        Router().on_raw(of_none)  # type: ignore[arg-type]


def test_the_repr_of_a_raw_message_does_not_show_it() -> None:
    raw = RawMessage("7250", "someone's words", datetime.now(UTC))
    assert raw.is_text
    assert not RawMessage("7250", b"", datetime.now(UTC)).is_text
    assert "words" not in repr(raw)
    with pytest.raises(AttributeError):
        raw.data = ""  # type: ignore[misc]


# Routers in routers


def test_no_router_includes_itself() -> None:
    a, b, c = Router(), Router(), Router()
    a.include(b)
    b.include(c)
    for inner, outer in ((a, a), (b, a), (c, a), (c, b)):
        with pytest.raises(ConfigError, match="cannot include itself"):
            inner.include(outer)
    with pytest.raises(ConfigError, match="included already"):
        a.include(b)


def test_one_router_by_two_ways_is_known_by_its_handlers_names() -> None:
    root, left, right, shared = Router(), Router(), Router(), Router()
    shared.on(MESSAGE)(one)
    root.include(left)
    root.include(right)
    left.include(shared)
    with pytest.raises(ConfigError, match="handlers named one"):
        right.include(shared)
    assert root.handlers(MESSAGE) == (one,)


def test_middleware_of_outer_routers_is_outermost() -> None:
    router, inner = Router(), Router()

    def middleware() -> Any:
        async def wrap(event: Event[Any], call_next: Any) -> object: ...

        return wrap

    first, second, third = middleware(), middleware(), middleware()
    router.middleware(first)
    inner.middleware(third)
    router.middleware(second)
    router.include(inner)
    router.on(MESSAGE)(one)
    inner.on(MESSAGE)(two)
    assert [route.middleware for route in router.resolve(MESSAGE)] == [
        (first, second),
        (first, second, third),
    ]
    with pytest.raises(
        ConfigError, match=r"function: .* is not allowed; it must be a function of event and call_next"
    ):
        router.middleware(one)  # type: ignore[arg-type]


def test_repr_says_how_much_there_is() -> None:
    router = Router()
    router.on([MESSAGE, USER])(one)
    router.default(two)
    assert repr(router) == "<Router: 2 handlers for 2 event types>"


_types = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3).map(".".join)
_patterns = st.lists(st.sampled_from(["a", "b", "c", "*", "?"]), min_size=1, max_size=3).map(".".join)


@given(st.lists(st.tuples(_patterns, st.integers(0, 2)), max_size=8), _types)
def test_resolving_is_matching_and_keeps_the_order(added: list[tuple[str, int]], event_type: str) -> None:
    logging.disable(logging.WARNING)
    routers = [Router(), Router(), Router()]
    routers[0].include(routers[1])
    routers[1].include(routers[2])
    expected: list[tuple[int, Any]] = []
    for pattern, depth in added:

        async def handler(event: Event[Any]) -> None: ...

        routers[0].handlers(event_type)  # fills what must be forgotten
        routers[depth].on(pattern)(handler)
        if routers[depth].routes()[-1].matches(event_type):
            expected.append((depth, handler))
        else:
            routers[depth].remove(handler)
    logging.disable(logging.NOTSET)
    for top, router in enumerate(routers):
        assert router.handlers(event_type) == tuple(handler for depth, handler in expected if depth >= top)


def test_handlers_of_included_routers_stand_where_they_were_registered() -> None:
    router, inner = Router(), Router()

    async def middleware(event: Event[Any], call_next: Any) -> object: ...

    router.on(MESSAGE)(one)
    inner.on(MESSAGE)(two)
    inner.on("z.*")(two)
    router.on(MESSAGE)(plain)
    router.on("a.*")(one)
    router.middleware(middleware)
    router.include(inner)
    assert router.handlers(MESSAGE) == (one, two, plain), (
        "by their own registration, not by that of the router"
    )
    assert [route.handler for route in router.routes()] == [one, two, two, plain, one]
    assert router.event_types == (MESSAGE, "z.*", "a.*")
    inner.on(["contact.*", USER], name="late")(one)
    router.on(USER)(two)
    assert router.handlers(USER) == (one, two)
    router.remove(one)
    router.on(MESSAGE)(one)
    assert router.handlers(MESSAGE) == (two, plain, one), "what is registered again is the last"


def test_default_handlers_of_included_routers_too() -> None:
    router, inner = Router(), Router()
    inner.default(two)
    router.include(inner)
    router.default(one)
    assert router.handlers("x.y") == (two, one)


def test_an_object_may_have_a_name_of_its_own() -> None:
    class Handler:
        event_type = USER

        async def handle(self, event: Event[Any]) -> None: ...

    router = Router()
    router.add(Handler(), name="first")
    router.add(Handler())
    assert [route.name.rpartition(".")[2] for route in router.routes()] == ["first", "Handler"]
    with pytest.raises(
        ConfigError, match=r"^name: 'first' is not allowed; it must be one that no other handler has"
    ):
        router.add(Handler(), name="first")
