"""Events as handlers get them: through the gateway, a connection and delivery, whatever is in them."""

from __future__ import annotations

import copy
import gc
import json
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from delivery.scene import MESSAGE, USER, Scene, message, open_scene
from events.payloads import CATALOGUE, sample
from events.test_models import plain, specimen
from feishu_trio import (
    Card,
    CardAnswer,
    Event,
    EventDecodeError,
    FeishuError,
    Inline,
    MemoryInbox,
    Person,
    PreviewAnswer,
    Router,
    Toast,
)
from feishu_trio.events import (
    ALIAS_STATUSES,
    ALIASES,
    approval,
    card,
    contact,
    content,
    im,
    model_for,
    types,
    url,
)
from feishu_trio.events.approval import InstanceStatusChanged

EVENTS: dict[str, Any] = CATALOGUE["events"]


def warnings(caplog: pytest.LogCaptureFixture, logger: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == f"feishu_trio.{logger}"]


async def still_works(scene: Scene) -> None:
    """The connection lives, and the next event is handled."""
    push = await scene.gateway.push("demo.after_v1", {})
    with trio.fail_after(3):
        assert (await push.settled()).code == 200
    stats = scene.session.stats()
    assert (stats.connections, stats.reconnects) == (1, 0)


# Every type


async def test_every_type_is_handled_with_all_that_is_in_it(autojump_clock: MockClock) -> None:
    router = Router()
    taken: dict[str, Event[Any]] = {}

    def register(event_type: str) -> None:
        @router.on(model_for(event_type) or event_type, name=event_type)
        async def take(event: Event[Any]) -> None:
            assert event_type not in taken
            assert event.type == event_type
            assert event.data is not None
            taken[event_type] = event

    for event_type in EVENTS:
        register(event_type)
    assert len(router.event_types) == 198
    async with open_scene(router) as (gateway, session):
        for event_type, event in EVENTS.items():
            body = specimen(event["body"]) if event["body"] else {"some": ["thing", 1]}
            push = await gateway.push(event_type, body)
            answer = await push.settled()
            assert (event_type, answer.code, answer.data) == (event_type, 200, None)
            data = taken[event_type].data
            assert type(data) is (model_for(event_type) or dict)
            # The gateway gives a card's callback the token it wants for later.
            assert plain(data) == json.loads(push.payload)["event"]
        assert session.stats().handled == 198
        assert session.stats().failed == 0
    assert taken.keys() == EVENTS.keys()


@pytest.mark.parametrize("name", ["im.message.receive_v1", "contact.user.created_v3", "card.action.trigger"])
@pytest.mark.parametrize("parts", [1, 7])
async def test_a_sample_as_the_platform_sends_it(autojump_clock: MockClock, name: str, parts: int) -> None:
    router, taken = Router(), []

    @router.on([im.MessageReceived, contact.UserCreated, card.ActionTriggered])
    async def take(event: Event[Any]) -> None:
        taken.append(event)

    payload = sample(name)
    async with open_scene(router) as (gateway, _):
        push = await gateway.push(name, payload=payload, parts=parts)
        assert (await push.settled()).code == 200
    (event,) = taken
    assert event.payload == payload
    assert event.raw == json.loads(payload)
    assert event.id == event.raw["header"]["event_id"]
    assert type(event.data) is model_for(name)


async def test_models_among_names_and_globs(autojump_clock: MockClock) -> None:
    router, taken = Router(), []

    @router.on(["contact.*", im.MessageReceived, types.IM_MESSAGE_RECALLED_V1])
    async def take(event: Event[Any]) -> None:
        taken.append(event.type)

    async with open_scene(router) as scene:
        for event_type in (USER, MESSAGE, types.IM_MESSAGE_RECALLED_V1, types.IM_MESSAGE_MESSAGE_READ_V1):
            push = await scene.gateway.push(event_type, {"message": {}})
            assert (await push.settled()).code == 200
    assert taken == [USER, MESSAGE, types.IM_MESSAGE_RECALLED_V1]


# Names that Feishu never sends


@pytest.mark.parametrize("never_sent", ALIASES)
async def test_a_name_that_feishu_never_sends(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, never_sent: str
) -> None:
    router, taken = Router(), []

    @router.on(never_sent)
    async def first(event: Event[Any]) -> None:
        taken.append(("first", event.type))

    @router.on([never_sent, "demo.other_v1"])
    async def second(event: Event[Any]) -> None:
        taken.append(("second", event.type))

    real = ALIASES[never_sent]
    sent = [never_sent, real]
    body = {"status": ALIAS_STATUSES[never_sent]} if never_sent in ALIAS_STATUSES else {}
    async with open_scene(router) as (gateway, session):
        for event_type in sent * 3:
            push = await gateway.push(event_type, body)
            assert (await push.settled()).code == 200
        assert session.stats().unhandled == 0
    assert sorted(taken) == sorted(
        [(name, event_type) for name in ("first", "second") for event_type in sent] * 3
    )
    assert all(router.is_registered(event_type) for event_type in sent)
    (line,) = [line for line in warnings(caplog, "router") if never_sent in line]
    assert real in line


async def test_a_name_that_feishu_never_sends_and_others_do_has_the_model_of_what_it_sends(
    autojump_clock: MockClock,
) -> None:
    router, taken = Router(), []

    @router.on("approval.approval.approved_v1")
    async def handle(event: Event[InstanceStatusChanged]) -> None:
        taken.append((type(event.data), event.data.instance_code))

    async with open_scene(router) as (gateway, _):
        push = await gateway.push("approval.approval.approved_v1", {"instance_code": "81D3"})
        assert (await push.settled()).code == 200
    assert taken == [(InstanceStatusChanged, "81D3")]


async def test_approvals_are_told_apart_by_their_status(autojump_clock: MockClock) -> None:
    router, taken, pulled = Router(), [], []
    approved, rejected = "approval.approval.approved_v1", "approval.approval.rejected_v1"

    def register(name: str, what: str | list[str]) -> None:
        @router.on(what, name=name)
        async def take(event: Event[Any]) -> None:
            assert isinstance(event.data, approval.InstanceStatusChanged)
            taken.append((name, event.data.status))

    register("approved", approved)
    register("rejected", rejected)
    register("both", [approved, rejected])
    register("all", [approved, "approval.*"])

    class Approved:
        event_type = approved

        async def handle(self, event: Event[Any]) -> None:
            taken.append(("object", event.data.status))

    router.add(Approved)
    async with open_scene(router) as (gateway, session), session.events(rejected) as events:
        for status in ("PENDING", "APPROVED", "REJECTED"):
            await gateway.push(types.APPROVAL_INSTANCE_STATUS_CHANGED_V4, {"status": status})
            await wait_all_tasks_blocked()
        pulled.append((await anext(events)).data.status)
    assert sorted(taken) == [
        ("all", "APPROVED"),
        ("all", "PENDING"),
        ("all", "REJECTED"),
        ("approved", "APPROVED"),
        ("both", "APPROVED"),
        ("both", "REJECTED"),
        ("object", "APPROVED"),
        ("rejected", "REJECTED"),
    ]
    assert pulled == ["REJECTED"]


async def test_an_old_name_and_a_filter_of_ones_own(autojump_clock: MockClock) -> None:
    router, taken = Router(), []

    @router.on(
        ["approval.approval.approved_v1", USER],
        where=lambda event: event.id != "e2",
    )
    async def take(event: Event[Any]) -> None:
        taken.append(event.id)

    async with open_scene(router) as (gateway, _):
        for number, status in enumerate(("APPROVED", "APPROVED", "REJECTED"), 1):
            body = {"status": status}
            await gateway.push(types.APPROVAL_INSTANCE_STATUS_CHANGED_V4, body, event_id=f"e{number}")
        await gateway.push(USER, {}, event_id="e4")
        await wait_all_tasks_blocked()
    assert sorted(taken) == ["e1", "e4"]


# Messages

TOM = {"key": "@_user_1", "id": {"open_id": "ou_tom"}, "name": "Tom"}
SENT: dict[str, tuple[object, object, str | None]] = {
    "text": ({"text": "@_user_1 hello @_all"}, content.Text("@_user_1 hello @_all"), "@Tom hello @all"),
    "post": (
        {
            "title": "News",
            "content": [[{"tag": "text", "text": "see "}, {"tag": "at", "user_id": "@_user_1"}]],
        },
        content.Post(
            "News",
            (
                (
                    content.PostElement("text", text="see "),
                    content.PostElement("at", user_id="@_user_1"),
                ),
            ),
        ),
        "News\nsee @Tom",
    ),
    "image": ({"image_key": "img_1"}, content.Image("img_1"), None),
    "file": ({"file_key": "f", "file_name": "a.pdf"}, content.File("f", "a.pdf"), None),
    "audio": ({"file_key": "f", "duration": 2000}, content.Audio("f", 2000), None),
    "media": (
        {"file_key": "f", "image_key": "i", "file_name": "a.mp4", "duration": "2000"},
        content.Media("f", "i", "a.mp4", 2000),
        None,
    ),
    "sticker": ({"file_key": "f"}, content.Sticker("f"), None),
    "share_chat": ({"chat_id": "oc_1"}, content.ShareChat("oc_1"), None),
    "share_user": ({"user_id": "ou_1"}, content.ShareUser("ou_1"), None),
    "interactive": (
        {"title": "Card", "elements": [[{"tag": "text", "text": "body"}]]},
        content.Interactive({"title": "Card", "elements": [[{"tag": "text", "text": "body"}]]}),
        "Card\nbody",
    ),
    "unknown_kind": ({"a": 1}, {"a": 1}, None),
}


@pytest.mark.parametrize("kind", SENT)
async def test_what_a_message_holds(autojump_clock: MockClock, kind: str) -> None:
    router, taken = Router(), []

    @router.on(im.MessageReceived)
    async def take(event: Event[im.MessageReceived]) -> None:
        taken.append((event.content, event.text, [mention.name for mention in event.mentions]))
        assert event.is_mentioned("ou_tom")
        assert not event.is_mentioned("ou_1")

    written, read, text = SENT[kind]
    body: Any = message(1)
    body["message"] |= {"message_type": kind, "content": json.dumps(written), "mentions": [TOM]}
    async with open_scene(router) as (gateway, _):
        push = await gateway.push(MESSAGE, body)
        assert (await push.settled()).code == 200
    assert taken == [(read, text, ["Tom"])]


@pytest.mark.parametrize("schema", ["1.0", "2.0"])
async def test_a_forwarded_conversation_has_no_json(autojump_clock: MockClock, schema: str) -> None:
    router, taken = Router(), []

    @router.on(im.MessageReceived)
    async def take(event: Event[im.MessageReceived]) -> None:
        taken.append((event.content, event.text))

    body: Any = message(1)
    body["message"] |= {"message_type": "merge_forward", "content": "Merged and Forwarded Message"}
    async with open_scene(router) as (gateway, _):
        push = await gateway.push(MESSAGE, body, schema=schema)
        assert (await push.settled()).code == 200
    assert taken == [(content.MergeForward("Merged and Forwarded Message"), None)]


@pytest.mark.parametrize("written", ["", "{", "[]", "null", '{"text": 7}', "[" * 100_000])
async def test_content_that_does_not_fit_costs_its_handler_alone(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, written: str
) -> None:
    router, taken = Router(), []

    @router.on(im.MessageReceived)
    async def reads(event: Event[im.MessageReceived]) -> None:
        assert event.text is not None

    @router.on(im.MessageReceived)
    async def does_not(event: Event[im.MessageReceived]) -> None:
        taken.append(event.id)

    body: Any = message(1)
    body["message"] |= {"content": written}
    async with open_scene(router) as scene:
        push = await scene.gateway.push(MESSAGE, body, ladder=())
        assert (await push.settled()).code == 500
        await still_works(scene)
    assert taken == [push.event_id]
    (line,) = [line for line in warnings(caplog, "delivery") if "failed" in line]
    assert "event.message.content" in line


# Answers to callbacks

CARD: dict[str, Any] = {"schema": "2.0", "body": {"elements": [{"tag": "markdown", "content": "**done**"}]}}
ANSWERS: list[tuple[str, object, object]] = [
    (
        "card.action.trigger",
        CardAnswer(Toast("Saved", "success", {"zh_cn": "已保存", "en_us": "Saved"}), Card.raw(CARD)),
        {
            "toast": {
                "type": "success",
                "content": "Saved",
                "i18n": {"zh_cn": "已保存", "en_us": "Saved"},
            },
            "card": {"type": "raw", "data": CARD},
        },
    ),
    (
        "card.action.trigger",
        CardAnswer(card=Card.template("AAq1", {"name": "Tom", "age": None}, version="1.0.1")),
        {
            "card": {
                "type": "template",
                "data": {
                    "template_id": "AAq1",
                    "template_version_name": "1.0.1",
                    "template_variable": {"name": "Tom", "age": None},
                },
            }
        },
    ),
    ("card.action.trigger", CardAnswer(), {}),
    ("card.action.trigger", {"toast": {"content": "好"}}, {"toast": {"content": "好"}}),
    ("card.action.trigger", {"toast": Toast("ok")}, {"toast": {"type": "info", "content": "ok"}}),
    ("card.action.trigger", None, None),
    (
        "url.preview.get",
        PreviewAnswer(Inline("Title", image_key="img_1"), Card.template("AAq1")),
        {
            "inline": {"title": "Title", "image_key": "img_1"},
            "card": {"type": "template", "data": {"template_id": "AAq1"}},
        },
    ),
    (
        "url.preview.get",
        PreviewAnswer(Inline(i18n_title={"en_us": "Title", "zh_cn": "标题"})),
        {"inline": {"i18n_title": {"en_us": "Title", "zh_cn": "标题"}}},
    ),
    ("url.preview.get", {"inline": {"title": "Title"}}, {"inline": {"title": "Title"}}),
    ("url.preview.get", None, None),
]


@pytest.mark.parametrize(("event_type", "result", "documented"), ANSWERS)
@pytest.mark.parametrize("as_fallback", [False, True])
async def test_a_callbacks_answer_is_as_documented(
    autojump_clock: MockClock, event_type: str, result: object, documented: object, as_fallback: bool
) -> None:
    router = Router()

    @router.on([card.ActionTriggered, url.PreviewGet], fallback=result if as_fallback else None)
    async def answer(event: Event[Any]) -> object:
        if as_fallback:
            await trio.sleep(5)
            return None
        return result

    async with open_scene(router) as (gateway, _):
        push = await gateway.push(event_type, json.loads(sample(event_type))["event"])
        given = await push.settled()
        assert (given.code, given.data) == (200, documented)
        assert given.latency < 3


# What a message is about, and says


@pytest.mark.parametrize("readme", ["README.md", "README.zh.md"])
async def test_the_readmes_echo_answers_messages_of_every_kind(
    autojump_clock: MockClock, readme: str
) -> None:
    page = (Path(__file__).parents[1] / readme).read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    exec(page.split("```python\n")[1].split("```")[0], names)
    said: dict[str, tuple[object, str]] = {
        "text": ({"text": "你好 *"}, "你好 *"),
        "post": ({"title": "", "content": [[{"tag": "text", "text": "hi", "style": ["bold"]}]]}, "hi"),
        "image": ({"image_key": "img_1"}, "![image](img_1)"),
        "file": ({"file_key": "file_1", "file_name": "a.pdf"}, "[a.pdf](file_1)"),
        "sticker": ({"file_key": "file_1"}, "[sticker](file_1)"),
        "location": ({"name": "West Lake"}, "[location: West Lake]"),
        "something_new": ({}, "[something_new]"),
    }
    async with open_scene(names["router"]) as (gateway, _):
        for number, (kind, (written, echoed)) in enumerate(said.items()):
            body = message(number)
            body["message"] = {
                "message_id": f"om_{number}",
                "message_type": kind,
                "content": json.dumps(written),
            }
            assert (await (await gateway.push(MESSAGE, body)).settled()).code == 200
            reply = await gateway.wait_message(number + 1)
            assert (reply.to, reply.content) == (f"om_{number}", {"text": echoed})


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("body", [{}, None, {"sender": {}}, {"message": None}, {"message": "hi"}])
async def test_a_message_without_a_message_is_refused_before_a_handler_runs(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, stored: bool, body: object
) -> None:
    router, taken = Router(), []

    @router.on(MESSAGE, where=lambda event: taken.append("where"))
    async def take(event: Event[Any]) -> None:
        taken.append("handler")

    payload = {"schema": "2.0", "header": {"event_id": "e-7", "event_type": MESSAGE}, "event": body}
    inbox = MemoryInbox() if stored else None
    async with open_scene(router, inbox=inbox) as scene:
        push = await scene.gateway.push(MESSAGE, payload=json.dumps(payload).encode(), ladder=(1,))
        assert (await push.settled()).code == 500
        stats = scene.session.stats()
        assert (stats.received, stats.bad_frames, stats.stored, stats.failed) == (2, 2, 0, 0)
        await still_works(scene)
    assert taken == []
    lines = warnings(caplog, "delivery")[:2]
    assert all("e-7" in line and "`event.message`" in line for line in lines)


# What does not fit


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything in a body, itself first."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from places(each, (*path, key))


def replaced(body: Any, path: tuple[Any, ...], odd: object) -> Any:
    if not path:
        return odd
    body = copy.deepcopy(body)
    *above, last = path
    holder = body
    for key in above:
        holder = holder[key]
    holder[last] = odd
    return body


def relied_on(name: str, path: tuple[Any, ...]) -> bool:
    """Whether a message without this is none, and refused before its handler runs."""
    members = ("message_id", "chat_id", "chat_type", "message_type", "content")
    relied = {(), ("sender",), ("message",)} | {("message", member) for member in members}
    return name == MESSAGE and path in relied


@pytest.mark.parametrize("name", ["contact.user.created_v3", MESSAGE, "im.chat.member.user.added_v1"])
async def test_a_wrong_shape_at_any_depth_is_named_and_outlived(autojump_clock: MockClock, name: str) -> None:
    router, errors, read = Router(), [], []

    @router.on(name)
    async def take(event: Event[Any]) -> None:
        try:
            read.append((event.data, event.content, event.text, event.mentions))
        except EventDecodeError as error:
            errors.append(str(error))

    whole = json.loads(sample(name))["event"]
    odds: list[object] = [None, 7, -0.5, "x", True, [], {}, [[[]]], [None], {"": {"": []}}]
    async with open_scene(router) as scene:
        count = refused = 0
        for path in places(whole):
            for odd in odds:
                # The id of a message is a key of its own: these are all different ones.
                body = replaced(whole, ("message", "message_id"), f"om_{count}") if name == MESSAGE else whole
                push = await scene.gateway.push(name, replaced(body, path, odd), ladder=())
                code = (await push.settled()).code
                assert code == 200 or relied_on(name, path)
                refused += code == 500
                count += 1
        stats = scene.session.stats()
        assert (stats.received, stats.failed, stats.bad_frames) == (count, 0, refused)
        await still_works(scene)
    assert (refused > 0) == (name == MESSAGE)
    assert len(read) + len(errors) == count - refused
    assert len(errors) + refused > count / 3
    assert len(read) > (count - refused) / 5
    assert all("`event" in line and len(line) < 400 for line in errors)


ODD: dict[str, bytes] = {
    "bytes that are no UTF-8": b'"a\xff\xfeb"',
    "half a surrogate pair": rb'"\ud800"',
    "half a surrogate pair as a key": rb'{"\udfff": 1}',
    "surrogates as bytes": b'"\xed\xa0\x80"',
    "the same key twice": b'{"name": "a", "name": "b"}',
    "NUL": rb'"\u0000"',
    "a number of 4,000 digits": b"9" * 4000,
    "a number of 5,000 digits": b"9" * 5000,
    "100 levels": b"[" * 100 + b"]" * 100,
    "NaN": b"NaN",
    "infinity": b"-Infinity",
}
BREAKS: dict[str, bytes] = {
    "100,000 levels": b"[" * 100_000 + b"]" * 100_000,
    "levels without end": b'{"a":' * 100_000,
    "nothing": b"",
    "half a string": b'"abc',
}


def envelope(body: bytes, event_type: bytes = b"demo.odd_v1", event_id: bytes = b"e-odd") -> bytes:
    return b'{"schema":"2.0","header":{"event_id":"%s","event_type":"%s"},"event":%s}' % (
        event_id,
        event_type,
        body,
    )


@pytest.mark.parametrize("what", ODD)
@pytest.mark.parametrize("event_type", ["demo.odd_v1", USER, MESSAGE])
async def test_an_odd_body_reaches_its_handler(autojump_clock: MockClock, event_type: str, what: str) -> None:
    router, taken = Router(), []

    @router.on("*")
    async def take(event: Event[Any]) -> None:
        taken.append(event.type)
        assert isinstance(event.sender, Person)
        assert (event.chat_id, event.about, event.thread_key) == ("", "", "")
        for look in ("data", "raw", "content", "text", "markdown", "resources", "mentions", "create_time"):
            with suppress(EventDecodeError):
                getattr(event, look)

    message = b'{"message": {"user_agent": %s}}' if event_type == MESSAGE else b"%s"
    async with open_scene(router) as scene:
        for body in (message % ODD[what], b'{"object": %s, "message": {}}' % ODD[what], message % ODD[what]):
            payload = envelope(body, event_type.encode(), b"e-%d" % len(taken))
            push = await scene.gateway.push(event_type, payload=payload)
            assert (await push.settled()).code == 200
        assert scene.session.stats().bad_frames == 0
        await still_works(scene)
    assert taken == [event_type] * 3 + ["demo.after_v1"]


@pytest.mark.parametrize("what", BREAKS)
async def test_a_body_that_is_no_json_is_refused(autojump_clock: MockClock, what: str) -> None:
    router, taken = Router(), []

    @router.on("*")
    async def take(event: Event[Any]) -> None:
        taken.append(event.type)

    async with open_scene(router) as scene:
        push = await scene.gateway.push("x", payload=envelope(BREAKS[what]), ladder=())
        assert (await push.settled()).code == 500
        assert scene.session.stats().bad_frames == 1
        await still_works(scene)
    assert taken == ["demo.after_v1"]


async def test_the_last_of_the_same_keys_counts(autojump_clock: MockClock) -> None:
    router, taken = Router(), []

    @router.on(USER)
    async def take(event: Event[Any]) -> None:
        taken.append((event.id, event.data.object.name, event.raw["event"]["object"]["name"]))

    payload = (
        b'{"schema":"2.0","header":{"event_type":"x"},"event":{},"event":{"object":{"name":"a","name":"b"}},'
        b'"header":{"event_id":"e-1","event_id":"e-2","event_type":"%s"}}' % USER.encode()
    )
    async with open_scene(router) as (gateway, _):
        push = await gateway.push(USER, payload=payload)
        assert (await push.settled()).code == 200
    assert taken == [("e-2", "b", "b")]


@pytest.mark.parametrize("max_part_size", [None, 1 << 20])
async def test_a_body_of_10_mb(autojump_clock: MockClock, max_part_size: int | None) -> None:
    router, taken = Router(), []

    @router.on(contact.UserCreated)
    async def take(event: Event[contact.UserCreated]) -> None:
        assert event.data.object is not None
        taken.append(event.data.object.name)

    name = "字" * (10 << 20 >> 1)
    async with open_scene(
        router, gateway={"max_part_size": max_part_size}, max_message_size=20 << 20
    ) as scene:
        push = await scene.gateway.push(USER, {"object": {"name": name}})
        assert (await push.settled()).code == 200
        await still_works(scene)
    assert taken == [name]


async def test_a_type_of_100_kb(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    router, taken = Router(), []

    @router.on("xx*")
    async def take(event: Event[Any]) -> None:
        taken.append(event.type)
        raise ValueError("nothing I can use")

    async with open_scene(router) as scene:
        for kind, code in (("y" * 100_000, 200), ("x" * 100_000, 500)):
            push = await scene.gateway.push(kind, {}, ladder=())
            assert (await push.settled()).code == code
        await still_works(scene)
    assert taken == ["x" * 100_000]
    assert warnings(caplog, "delivery")
    assert all(len(record.getMessage()) < 1000 for record in caplog.records)


async def test_3000_unknown_types_leave_nothing_behind(autojump_clock: MockClock) -> None:
    async with open_scene(Router(), dedupe_window=0) as scene:

        async def strangers(numbers: range) -> None:
            for number in numbers:
                payload = envelope(b"{}", b"stranger_%d.%01000d" % (number, number), b"")
                await scene.gateway.push("x", payload=payload)
            await wait_all_tasks_blocked()
            gc.collect()

        tracemalloc.start()
        try:
            await strangers(range(500))  # some are warned of, each once, but not for ever
            before, _ = tracemalloc.get_traced_memory()
            await strangers(range(500, 3500))
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert scene.session.stats().unhandled == 3500
        assert after - before < 300_000  # of 3 MB of names
        await still_works(scene)


async def test_every_error_of_a_wrong_event_is_one_of_this_package(autojump_clock: MockClock) -> None:
    async with open_scene() as scene, scene.session.events("*") as events:
        await scene.gateway.push(USER, {"object": 7})
        async for event in events:
            with pytest.raises(FeishuError, match=r"`event\.object`"):
                _ = event.data
            break
