"""What can be said, and as which message."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feishu_trio import Card
from feishu_trio.api import Markdown
from feishu_trio.api.content import as_message, part_uuids
from feishu_trio.errors import ApiError
from feishu_trio.events import content as contents

POST = {"title": "T", "content": [[{"tag": "text", "text": "x"}]]}
TEMPLATE = {"type": "template", "data": {"template_id": "t_1"}}


@pytest.mark.parametrize(
    ("content", "msg_type", "kind", "sent"),
    [
        ("hi", None, "text", {"text": "hi"}),
        ("hi", "text", "text", {"text": "hi"}),
        ('{"a":1}', "interactive", "interactive", {"a": 1}),
        ({"text": "hi"}, "text", "text", {"text": "hi"}),
        ({"schema": "2.0", "body": {}}, None, "interactive", {"schema": "2.0", "body": {}}),
        ({"elements": []}, "text", "interactive", {"elements": []}),
        ({"config": {}, "header": {}}, None, "interactive", {"config": {}, "header": {}}),
        (TEMPLATE, None, "interactive", TEMPLATE),
        (
            {"type": "card", "data": {"card_id": "c"}},
            None,
            "interactive",
            {"type": "card", "data": {"card_id": "c"}},
        ),
        ({"zh_cn": POST}, None, "post", {"zh_cn": POST}),
        (POST, None, "post", {"zh_cn": POST}),
        ({"image_key": "img_1"}, None, "image", {"image_key": "img_1"}),
        ({"file_key": "f"}, None, "file", {"file_key": "f"}),
        ({"file_key": "f"}, "audio", "audio", {"file_key": "f"}),
        ({"file_key": "f", "image_key": "img"}, None, "media", {"file_key": "f", "image_key": "img"}),
        ({"chat_id": "oc_1"}, None, "share_chat", {"chat_id": "oc_1"}),
        ({"user_id": "ou_1"}, None, "share_user", {"user_id": "ou_1"}),
        ({"of": "tomorrow"}, "new_type", "new_type", {"of": "tomorrow"}),
        (Card.raw({"elements": []}), None, "interactive", {"elements": []}),
        (Card.template("t_1"), "text", "interactive", TEMPLATE),
        (contents.Text("hi"), None, "text", {"text": "hi"}),
        (contents.Image("img_1"), None, "image", {"image_key": "img_1"}),
        (contents.File("f", "a.pdf"), None, "file", {"file_key": "f"}),
        (contents.Audio("f", 3000), None, "audio", {"file_key": "f"}),
        (contents.Media("f", "img"), None, "media", {"file_key": "f", "image_key": "img"}),
        (contents.Media("f"), None, "media", {"file_key": "f"}),
        (contents.Sticker("f"), None, "sticker", {"file_key": "f"}),
        (contents.ShareChat("oc_1"), None, "share_chat", {"chat_id": "oc_1"}),
        (contents.ShareUser("ou_1"), None, "share_user", {"user_id": "ou_1"}),
        (contents.Interactive({"elements": []}), None, "interactive", {"elements": []}),
    ],
)
def test_everything_that_stands_for_a_message_becomes_one(
    content: Any, msg_type: str | None, kind: str, sent: object
) -> None:
    ((made, text),) = as_message(content, msg_type)
    assert (made, json.loads(text)) == (kind, sent)


def test_a_post_that_was_received_can_be_sent() -> None:
    received = {
        "title": "T",
        "content": [
            [{"tag": "text", "text": "x", "style": ["bold"]}, {"tag": "a", "text": "y", "href": "https://z"}],
            [{"tag": "img", "image_key": "img_1"}],
        ],
    }
    post = contents.parse_content("post", json.dumps(received))
    assert isinstance(post, contents.Post)
    assert json.loads(as_message(post)[0][1]) == {"zh_cn": received}
    wrapped = contents.parse_content("post", json.dumps({"en_us": received}))
    assert isinstance(wrapped, contents.Post)
    assert json.loads(as_message(wrapped)[0][1]) == {"en_us": received}


def test_markdown_is_told_by_its_class_or_its_msg_type() -> None:
    post = [("post", '{"zh_cn":{"content":[[{"tag":"md","text":"**hi**"}]]}}')]
    assert as_message(Markdown("**hi**")) == post
    assert as_message(Markdown("**hi**"), "text") == post
    assert as_message("**hi**", "markdown") == post


@pytest.mark.parametrize(
    ("content", "msg_type", "words"),
    [
        (
            None,
            None,
            "content: None is not allowed; it must be a text, a dict, Markdown, a Card, or one of Text",
        ),
        (b"hi", None, "content: a value of type bytes"),
        (["hi"], None, "content: a value of type list"),
        (contents.MergeForward("x"), None, "content: a value of type MergeForward"),
        (
            {},
            None,
            "content: a dict with no fields is no message that is known; say what it is with msg_type",
        ),
        ({"what": 1, "ever": 2}, "text", "content: a dict with 'what', 'ever' is no message that is known"),
        ({"text": {1}}, None, "content: it cannot be written as JSON: Object of type set"),
        ({"text": float("nan")}, None, "content: it cannot be written as JSON"),
        ("half \ud800", None, "content: it cannot be written as JSON: .*surrogates"),
        (Markdown("half \ud800"), None, "text: it cannot be written as JSON: .*surrogates"),
        (contents.Post("a", ((3,),)), None, "content: a value of type int .* PostElement"),  # type: ignore[arg-type]
        (Markdown("\n \n"), None, "text: a blank text is not allowed"),
        (Markdown(None), None, "text: None is not allowed"),  # type: ignore[arg-type]
        (
            "no JSON",
            "post",
            "content: a str of msg_type 'post' must be the JSON of an object; or give a dict",
        ),
        ("[1]", "interactive", "must be the JSON of an object"),
        ("[" * 100_000, "interactive", "must be the JSON of an object"),
        ('{"a": NaN}', "interactive", "content: it cannot be written as JSON"),
        ("hi", "", "msg_type: an empty string is not allowed"),
    ],
)
def test_what_stands_for_no_message_is_an_api_error(content: Any, msg_type: str | None, words: str) -> None:
    with pytest.raises(ApiError, match=words):
        as_message(content, msg_type)


@given(st.text(min_size=1, max_size=80), st.integers(1, 2000))
def test_each_part_has_a_uuid_of_its_own_which_is_always_the_same(uuid: str, count: int) -> None:
    uuids = part_uuids(uuid, count)
    assert len(set(uuids)) == count
    assert all(each and len(each) <= 50 for each in uuids)
    assert uuids == part_uuids(uuid, count)
    assert not set(uuids) & set(part_uuids(uuid + "x", count))


def test_what_has_no_uuid_or_no_parts_keeps_what_it_has() -> None:
    assert part_uuids(None, 3) == [None] * 3
    assert part_uuids("u" * 50, 1) == ["u" * 50]
    for odd in ("", 5):
        with pytest.raises(ApiError, match=r"uuid: .* is not allowed"):
            part_uuids(odd, 1)  # type: ignore[arg-type]
