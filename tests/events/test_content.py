from __future__ import annotations

import json
import time
from typing import Any, cast

import pytest
from attrs import frozen

from feishu_trio import Resource
from feishu_trio.errors import EventDecodeError
from feishu_trio.events import content as c
from feishu_trio.events import decode_event
from feishu_trio.events.port import EventApi, EventPort

from .payloads import message, sample, v1, v2

TOM = {"key": "@_user_1", "id": {"open_id": "ou_tom"}, "name": "Tom"}
ANN = {"key": "@_user_12", "id": {"open_id": "ou_ann"}, "name": "Ann @_user_1"}
LINES = [
    [
        {"tag": "text", "text": "Read ", "style": ["bold"]},
        {"tag": "a", "text": "this", "href": "https://example.invalid"},
        {"tag": "at", "user_id": "@_user_1", "user_name": "Tommy"},
    ],
    [{"tag": "img", "image_key": "img_1", "width": 3}],
    [{"tag": "media", "file_key": "f_1", "image_key": "img_2"}],
    [{"tag": "emotion", "emoji_type": "SMILE"}, {"tag": "hr"}],
    [{"tag": "code_block", "language": "GO", "text": "func main() {}"}],
    [{"tag": "md", "text": "**to @_user_1**"}, {"tag": "new_tag", "text": "!"}],
]
LINES_READ = "Read this@Tom\n\n\n[SMILE]\nfunc main() {}\n**to @Tom**!"


@pytest.mark.parametrize(
    ("message_type", "content", "expected"),
    [
        ("text", {"text": "hi"}, c.Text("hi")),
        ("image", {"image_key": "i"}, c.Image("i")),
        ("file", {"file_key": "f", "file_name": "n"}, c.File("f", "n")),
        ("audio", {"file_key": "f", "duration": "2000"}, c.Audio("f", 2000)),
        (
            "media",
            {"file_key": "f", "image_key": "i", "file_name": "n", "duration": 5},
            c.Media("f", "i", "n", 5),
        ),
        ("sticker", {"file_key": "f", "more": 1}, c.Sticker("f")),
        ("share_chat", {"chat_id": "oc_1"}, c.ShareChat("oc_1")),
        ("share_user", {"user_id": "ou_1"}, c.ShareUser("ou_1")),
        ("interactive", {"title": "t"}, c.Interactive({"title": "t"})),
        ("merge_forward", "Merged and Forwarded Message", c.MergeForward("Merged and Forwarded Message")),
        ("location", {"name": "here"}, {"name": "here"}),
        ("", {"text": "hi"}, {"text": "hi"}),
        ("post", {"title": "", "content": []}, c.Post(title="")),
        ("post", {}, c.Post()),
    ],
)
def test_content_by_message_type(message_type: str, content: object, expected: object) -> None:
    assert decode_event(message(message_type, content)).content == expected


@pytest.mark.parametrize("locale", [None, "zh_cn", "en_us"])
def test_a_post_with_and_without_a_locale(locale: str | None) -> None:
    bare: dict[str, Any] = {"title": "News", "content": LINES}
    event = decode_event(message("post", bare if locale is None else {locale: bare}, [TOM]))
    post = event.content
    assert isinstance(post, c.Post)
    assert (post.title, post.locale) == ("News", locale)
    assert post.content[0][0] == c.PostElement("text", text="Read ", style=("bold",))
    assert post.content[0][1].href == "https://example.invalid"
    assert post.content[2][0] == c.PostElement("media", file_key="f_1", image_key="img_2")
    assert event.text == f"News\n{LINES_READ}"


def test_a_post_without_a_title() -> None:
    assert decode_event(message("post", {"content": LINES}, [TOM])).text == LINES_READ


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("@_user_1 hello", "@Tom hello"),
        ("@_user_12 and @_user_1", "@Ann @_user_1 and @Tom"),
        ("@_user_3", "@_user_3"),
        ("@_user_1hello@_user_1,@@_user_1", "@Tomhello@Tom,@@Tom"),
        ("@_all look", "@all look"),
        ("no one", "no one"),
        ("", ""),
    ],
)
def test_mentions_by_name(text: str, read: str) -> None:
    assert decode_event(message("text", {"text": text}, [TOM, ANN])).text == read


def test_thousands_of_mentions_take_no_longer_than_few() -> None:
    # With one pattern of all keys this takes the better part of a minute.
    everybody = [{"key": f"@_user_{number}", "name": f"N{number}"} for number in range(20_000)]
    event = decode_event(message("text", {"text": "@_user_1 @_user_19999 " * 50_000}, everybody))
    start = time.process_time()
    assert event.text == "@N1 @N19999 " * 50_000
    assert time.process_time() - start < 5


@pytest.mark.parametrize("mention", [{}, {"key": "@_user_1"}, {"name": "Tom"}, {"key": "", "name": "x"}])
def test_a_mention_without_key_or_name(mention: dict[str, Any]) -> None:
    assert decode_event(message("text", {"text": "@_user_1 a.b"}, [mention])).text == "@_user_1 a.b"


def test_somebody_mentioned_in_a_post_without_a_mention() -> None:
    line = [
        {"tag": "at", "user_id": "ou_1"},
        {"tag": "at", "user_id": "ou_2", "user_name": "Ann"},
        {"tag": "at", "user_id": "all"},
        {"tag": "at"},
    ]
    assert decode_event(message("post", {"content": [line]})).text == "@ou_1@Ann@all@"


@pytest.mark.parametrize(
    ("card", "read"),
    [
        (
            {"title": "Vote", "elements": [[{"tag": "text", "text": "a"}, {"tag": "text", "text": "b"}], []]},
            "Vote\nab\n",
        ),
        (
            {
                "header": {"title": {"tag": "plain_text", "content": "Vote"}},
                "elements": [
                    {"tag": "div", "text": {"tag": "lark_md", "content": "**Lunch** @_user_1"}},
                    {
                        "tag": "action",
                        "actions": [{"tag": "button", "text": {"content": "Yes"}, "value": {"text": "y"}}],
                    },
                ],
            },
            "Vote\n**Lunch** @Tom\nYes",
        ),
        ({"schema": "2.0", "body": {"elements": [{"tag": "markdown", "content": "Hello"}]}}, "Hello"),
        ({"title": None, "elements": [[{"tag": "at", "user_id": "ou", "user_name": "Tom"}]]}, "@Tom"),
        ({"elements": [[{"tag": "at", "user_id": "@_user_1"}, {"tag": "text", "text": " hi"}]]}, "@Tom hi"),
        ({"elements": [[{"tag": "at", "user_id": "ou_1", "user_name": None}]]}, "@ou_1"),
        ({"elements": [[{"tag": "at", "user_id": "ou_1", "user_name": ""}]]}, "@ou_1"),
        ({"title": 5, "elements": {"text": ["a", [["b"]], 3, None]}}, "a\nb"),
        ({}, ""),
    ],
)
def test_the_text_of_a_card(card: dict[str, Any], read: str) -> None:
    assert decode_event(message("interactive", card, [TOM])).text == read


@pytest.mark.parametrize(
    ("message_type", "content", "path"),
    [
        ("text", "not json", "event.message.content"),
        ("text", "", "event.message.content"),
        ("text", [], "event.message.content"),
        ("text", {}, "event.message.content"),
        ("text", {"text": 5}, "event.message.content.text"),
        ("text", {"text": None}, "event.message.content.text"),
        ("file", {"file_name": "n"}, "event.message.content"),
        ("post", "null", "event.message.content"),
        ("post", {"content": {}}, "event.message.content.content"),
        ("post", {"content": None}, "event.message.content.content"),
        ("post", {"content": [[{"text": "t"}]]}, "event.message.content.content[0][0]"),
        ("post", {"zh_cn": {"content": [["x"]]}}, "event.message.content.content[0][0]"),
        ("location", "[]", "event.message.content"),
        ("text", "[" * 100_000, "event.message.content"),
        ("interactive", "[" * 100_000, "event.message.content"),
    ],
)
def test_odd_content_is_told_on_use(message_type: str, content: object, path: str) -> None:
    event = decode_event(message(message_type, content))
    assert event.data.message.message_type == message_type
    for name in ("content", "text"):
        with pytest.raises(EventDecodeError) as caught:
            getattr(event, name)
        assert f"`{path}`" in str(caught.value)


def test_a_card_as_deep_as_json_may_be() -> None:
    # Somewhere in between the JSON can be decoded, but its texts not gathered: that too is an error of ours.
    for depth in (100, *range(850, 1000), 3000):
        event = decode_event(message("interactive", '{"title":' * depth + '"x"' + "}" * depth))
        try:
            text = event.text
        except EventDecodeError:
            assert depth > 100
        else:
            assert text == "x"


def test_a_message_without_type_and_content_says_nothing() -> None:
    event = decode_event(v2(body={"message": {"message_id": "om_1"}}))
    assert (event.content, event.text, event.markdown, event.resources) == (None, None, "", ())


def test_a_message_of_a_type_but_without_content_is_told_on_use() -> None:
    event = decode_event(v2(body={"message": {"message_type": "text"}}))
    for look in ("content", "text", "markdown", "resources"):
        with pytest.raises(EventDecodeError, match=r"`event\.message\.content`"):
            getattr(event, look)


@pytest.mark.parametrize(
    "payload",
    [v2("a.b"), v2("contact.user.created_v3"), v1({"type": "message"})],
    ids=["?", "user", "v1"],
)
def test_what_is_no_message(payload: bytes) -> None:
    event = decode_event(payload)
    assert (event.content, event.text, event.mentions) == (None, None, ())
    assert not event.is_mentioned("ou_tom")


@pytest.mark.parametrize("message_type", ["image", "file", "share_chat"])
def test_a_kind_without_text(message_type: str) -> None:
    content = {"image_key": "i", "file_key": "f", "chat_id": "c"}
    assert decode_event(message(message_type, content)).text is None


# Resources


@pytest.mark.parametrize(
    ("message_type", "content", "expected"),
    [
        ("image", {"image_key": "i"}, [Resource("image", "i")]),
        ("file", {"file_key": "f", "file_name": "n"}, [Resource("file", "f", "n")]),
        ("audio", {"file_key": "f", "duration": 5}, [Resource("audio", "f")]),
        ("media", {"file_key": "f", "image_key": "i", "file_name": "n"}, [Resource("video", "f", "n")]),
        ("video", {"file_key": "f"}, [Resource("video", "f")]),
        ("sticker", {"file_key": "f"}, [Resource("sticker", "f")]),
        ("image", {"image_key": ""}, []),
        ("text", {"text": "hi"}, []),
        ("interactive", {"elements": [[{"tag": "img", "image_key": "i"}]]}, []),
        ("location", {"name": "here"}, []),
        ("post", {"zh_cn": {"content": LINES}}, [Resource("image", "img_1"), Resource("video", "f_1")]),
        (
            "post",
            {
                "content": [
                    [{"tag": "img"}, {"tag": "media", "image_key": "i"}, {"tag": "img", "image_key": ""}]
                ]
            },
            [],
        ),
    ],
)
def test_the_resources_of_a_message(message_type: str, content: object, expected: list[Resource]) -> None:
    assert decode_event(message(message_type, content)).resources == tuple(expected)


def test_what_is_no_message_has_no_resources() -> None:
    assert decode_event(v2("im.message.recalled_v1", {"message_id": "om_1"})).resources == ()


# What is said to the bot


@frozen
class Bot:
    open_id: str = "ou_bot"
    name: str = "Echo"


class Port:
    """What a session is for an event, as far as it takes to know who the bot is."""

    def __init__(self, bot: Bot | None) -> None:
        self.bot = bot

    @property
    def api(self) -> EventApi:
        raise AssertionError("nothing is asked of Feishu")


ME = {"key": "@_user_2", "id": {"open_id": "ou_bot"}, "name": "Echo"}


def said_to_me(message_type: str, content: object, mentions: list[dict[str, Any]] | None = None) -> str:
    event = decode_event(message(message_type, content, [TOM, ME] if mentions is None else mentions))
    event.port = cast("EventPort", Port(Bot()))
    return event.text_to_me


@pytest.mark.parametrize(
    ("text", "to_me"),
    [
        ("@_user_2 hello", "hello"),
        ("@_user_2\thello ", "hello"),
        ("hello @_user_2", "hello"),
        ("hello @_user_2 there", "hello there"),
        ("hello@_user_2, there", "hello, there"),
        ("@_user_2 @_user_1 @_user_2 @_user_2 hello", "@Tom hello"),
        ("@_user_2@_user_2", ""),
        ("@_user_2\nhello\n  there", "hello\n  there"),
        ("hello @_user_2\nthere", "hello\nthere"),
        ("hello\n@_user_2 there", "hello\nthere"),
        ("@_user_21 @_user_3", "1 @_user_3"),
        ("  no one is  mentioned ", "no one is  mentioned"),
        ("@_all @Echo", "@all @Echo"),
        ("", ""),
    ],
)
def test_the_text_without_the_mention_of_the_bot(text: str, to_me: str) -> None:
    assert said_to_me("text", {"text": text}) == to_me


def test_a_post_that_mentions_the_bot_by_key_or_by_id() -> None:
    for key in ("@_user_2", "ou_bot"):
        line = [
            {"tag": "text", "text": "so "},
            {"tag": "at", "user_id": key, "user_name": "Echo"},
            {"tag": "text", "text": " tell "},
            {"tag": "at", "user_id": "@_user_1"},
        ]
        assert said_to_me("post", {"title": "To you", "content": [line]}) == "To you\nso tell @Tom"


@pytest.mark.parametrize(
    "mention",
    [
        {"key": "", "id": {"open_id": "ou_bot"}},
        {"id": {"open_id": "ou_bot"}},
        {"key": "@_user_2"},
        {"key": "@_user_2", "id": {}},
        {"key": "(.*", "id": {"open_id": "ou_bot"}, "name": "x"},
        {"key": "@" + "x" * 10_000, "id": {"open_id": "ou_bot"}, "name": "x"},
        {"key": "two words", "id": {"open_id": "ou_bot"}, "name": "x"},
    ],
)
def test_odd_mentions_take_nothing_out_of_a_text(mention: dict[str, Any]) -> None:
    text = "(.* @_user_2 two words"
    assert said_to_me("text", {"text": text}, [mention]) == text


def test_what_has_no_text_says_nothing_to_the_bot() -> None:
    assert said_to_me("image", {"image_key": "i"}) == ""
    event = decode_event(v2("im.message.recalled_v1", {"message_id": "om_1"}))
    event.port = cast("EventPort", Port(Bot()))
    assert event.text_to_me == ""


def test_who_the_bot_is_has_to_be_known() -> None:
    event = decode_event(message("text", {"text": "@_user_2 hello"}, [ME]))
    with pytest.raises(RuntimeError, match="not handled by a session"):
        _ = event.text_to_me
    event.port = cast("EventPort", Port(None))
    with pytest.raises(RuntimeError, match=r"where=to_me\(\).*await session\.api\.bot\(\)"):
        _ = event.text_to_me


def test_a_megabyte_said_to_the_bot_takes_no_longer_than_it_should() -> None:
    for text in (
        "@_user_2 " * 120_000,
        " " * 1_000_000,
        "@_user_2" + " " * 1_000_000 + "@_user_2",
        "a @_user_2" * 100_000,
    ):
        start = time.process_time()
        said_to_me("text", {"text": text})
        assert time.process_time() - start < 4


def test_a_long_name_is_cut_where_it_stands_in_a_text() -> None:
    long = {"key": "@_user_1", "name": "x" * 1_000_000}
    event = decode_event(message("text", {"text": "@_user_1 " * 10_000}, [long]))
    assert len(event.text or "") < 3_000_000


def test_who_is_mentioned() -> None:
    event = decode_event(message("text", {"text": "@_user_1"}, [TOM, {"key": "@_all"}]))
    assert [mention.name for mention in event.mentions] == ["Tom", None]
    assert event.is_mentioned("ou_tom")
    assert not event.is_mentioned("ou_ann")
    assert decode_event(sample("im.message.receive_v1")).is_mentioned("ou_84aad35d084aa403a838cf73ee18467")


def test_content_is_read_of_a_string_only() -> None:
    event = decode_event(v2(body={"message": {"message_type": "text", "content": {"text": "hi"}}}))
    with pytest.raises(EventDecodeError, match=r"`event\.message\.content`"):
        _ = event.text
    assert json.loads(event.payload)["event"]["message"]["content"] == {"text": "hi"}
