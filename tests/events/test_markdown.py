"""Messages of every kind as Markdown."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feishu_trio.errors import EventDecodeError
from feishu_trio.events import decode_event

from .payloads import message, v2

TOM = {"key": "@_user_1", "id": {"open_id": "ou_tom"}, "name": "Tom_"}
MS = "1608265395000"


def markdown(message_type: str, content: object, mentions: list[dict[str, Any]] | None = None) -> str:
    return decode_event(message(message_type, content, mentions)).markdown


@pytest.mark.parametrize(
    ("message_type", "content", "expected"),
    [
        (
            "text",
            {"text": "@_user_1 2 * 3 is *6*\n# not a title"},
            "@Tom\\_ 2 * 3 is \\*6\\*\n\\# not a title",
        ),
        ("text", {"text": ""}, ""),
        ("image", {"image_key": "img_1"}, "![image](img_1)"),
        ("file", {"file_key": "file_1", "file_name": "a [1].pdf"}, "[a \\[1\\].pdf](file_1)"),
        ("file", {"file_key": "file_1"}, "[file](file_1)"),
        ("file", {"file_key": "", "file_name": "a.pdf"}, "a.pdf"),
        ("audio", {"file_key": "file_1", "duration": 2000}, "[audio](file_1)"),
        ("media", {"file_key": "file_1", "image_key": "img_1", "file_name": "a.mp4"}, "[a.mp4](file_1)"),
        ("video", {"file_key": "file_1"}, "[video](file_1)"),
        ("sticker", {"file_key": "file_1"}, "[sticker](file_1)"),
        ("share_chat", {"chat_id": "oc_1"}, "[chat: oc_1]"),
        ("share_user", {"user_id": "ou_1"}, "[contact: ou_1]"),
        ("merge_forward", "Merged and Forwarded Message", "[forwarded messages]"),
        (
            "location",
            {"name": "West\nLake", "longitude": "120.14", "latitude": 30.24},
            "[location: West Lake (30.24, 120.14)]",
        ),
        ("location", {"name": "West Lake"}, "[location: West Lake]"),
        (
            "calendar",
            {"summary": "Lunch", "start_time": MS, "end_time": int(MS) + 3_600_000},
            "[calendar event: Lunch, 2020-12-18 04:23 UTC to 2020-12-18 05:23 UTC]",
        ),
        ("general_calendar", {"summary": "Lunch"}, "[calendar event: Lunch]"),
        ("share_calendar_event", {"summary": "Lunch", "start_time": "soon"}, "[calendar event: Lunch]"),
        (
            "todo",
            {
                "summary": {
                    "title": "",
                    "content": [[{"tag": "text", "text": "buy"}, {"tag": "a", "text": "milk"}]],
                }
            },
            "[task: buymilk]",
        ),
        ("todo", {"summary": "buy", "due_time": MS}, "[task: buy, due 2020-12-18 04:23 UTC]"),
        ("vote", {"topic": "Lunch?", "options": ["yes", 2, None]}, "[vote: Lunch?, yes / 2]"),
        ("hongbao", {"text": "[红包]"}, "[red packet]"),
        (
            "system",
            {
                "template": "{from_user} invited {to_chatters} {x}",
                "from_user": ["Ann"],
                "to_chatters": ["Tom", "Bo"],
            },
            "[system message: Ann invited Tom, Bo]",
        ),
        ("video_chat", {"topic": "Daily", "start_time": MS}, "[video call: Daily, 2020-12-18 04:23 UTC]"),
        ("folder", {"file_key": "f", "file_name": "photos"}, "[folder: photos]"),
        ("a_new_kind", "not json", "[a_new_kind]"),
        ("", {"text": "hi"}, "[message]"),
    ],
)
def test_every_kind(message_type: str, content: object, expected: str) -> None:
    assert markdown(message_type, content, [TOM]) == expected


def test_a_post() -> None:
    lines: list[list[dict[str, Any]]] = [
        [
            {"tag": "text", "text": "Read "},
            {"tag": "text", "text": "this, ", "style": ["bold"]},
            {"tag": "text", "text": "now", "style": ["italic", "lineThrough"]},
            {"tag": "text", "text": "!", "style": ["underline"]},
            {"tag": "a", "text": "a [link]", "href": "https://x.y/(1)", "style": ["bold"]},
            {"tag": "at", "user_id": "@_user_1"},
            {"tag": "at", "user_id": "all", "user_name": "everybody"},
            {"tag": "emotion", "emoji_type": "SMILE"},
        ],
        [],
        [{"tag": "img", "image_key": "img_1"}, {"tag": "media", "file_key": "file_1", "image_key": "img_2"}],
        [{"tag": "text", "text": "above"}],
        [{"tag": "hr"}],
        [{"tag": "code_block", "language": "C++", "text": "a = b;\n```"}],
        [{"tag": "code_block", "language": "PLAIN_TEXT", "text": "x\n"}],
        [{"tag": "md", "text": '**as it is** @_user_1 <at user_id="ou_2">An_n</at> <at id=all></at>'}],
        [{"tag": "text", "text": "`run`", "style": ["codeInline"]}, {"tag": "a_new_tag", "text": "_"}],
        [{"tag": "img"}, {"tag": "media"}, {"tag": "at"}, {"tag": "a"}],
    ]
    expected = "\n".join(
        [
            "**News\\_**",
            "",
            "Read **this,** <s>*now*</s><u>!</u>[**a \\[link\\]**](<https://x.y/(1)>)@Tom\\_@everybody[SMILE]",
            "",
            "![image](img_1)[video](file_1)",
            "above",
            "",
            "---",
            "````c++\na = b;\n```\n````",
            "```\nx\n```",
            "**as it is** @Tom\\_ @An_n @all",
            "`` `run` ``\\_",
            "@",
        ]
    )
    assert markdown("post", {"zh_cn": {"title": "News_", "content": lines}}, [TOM]) == expected


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        # Between a letter and punctuation no mark would hold.
        ([("注意：", ["bold"]), ("请看", [])], "**注意**：请看"),
        ([("a", []), ("(b)", ["italic"]), ("c", [])], "a(*b*)c"),
        ([("a", []), ("...", ["bold"]), ("c", [])], "a...c"),
        ([("(b)", ["bold"])], "**(b)**"),
        ([(" b ", ["bold"]), ("c", [])], " **b** c"),
        # What is of one style is one text.
        ([("a", ["bold"]), ("b", ["bold"])], "**ab**"),
        ([("1", []), (". b", [])], "1\\. b"),
        ([("a\nb", ["bold"])], "**a**\n**b**"),
        ([("a", ["unknown"])], "a"),
    ],
)
def test_styles(pieces: list[tuple[str, list[str]]], expected: str) -> None:
    line = [{"tag": "text", "text": text, "style": style} for text, style in pieces]
    assert markdown("post", {"content": [line]}) == expected


def test_an_exclamation_mark_before_a_link_makes_no_image_of_it() -> None:
    line = [{"tag": "text", "text": "Look!"}, {"tag": "a", "text": "x", "href": "https://x.y"}]
    assert markdown("post", {"content": [line]}) == "Look\\![x](https://x.y)"


CARDS: dict[str, tuple[dict[str, Any], str]] = {
    "simplified": (
        {
            "title": "Vote*",
            "elements": [
                [{"tag": "text", "text": "Lunch "}, {"tag": "at", "user_id": "@_user_1"}, {"tag": "hr"}],
                [{"tag": "button", "text": "Yes", "type": "primary"}, {"tag": "button", "text": "No"}],
                [{"tag": "img", "image_key": "img_1"}, {"tag": "a", "text": "more", "href": "https://x.y"}],
                [{"tag": "note", "elements": [{"tag": "text", "text": "small"}]}, {"tag": "select_static"}],
                [{"tag": "unknown"}],
                [],
            ],
        },
        "**Vote\\***\n\nLunch @Tom\\_\n\n---\n[Yes] [No]\n![image](img_1)[more](https://x.y)\nsmall",
    ),
    "1.0": (
        {
            "config": {"wide_screen_mode": True},
            "header": {"title": {"tag": "plain_text", "content": "Vote"}, "template": "blue"},
            "elements": [
                {"tag": "div", "text": {"tag": "lark_md", "content": "**Lunch** <at id=ou_1></at>"}},
                {
                    "tag": "div",
                    "fields": [{"is_short": True, "text": {"tag": "plain_text", "content": "*a*"}}],
                },
                {"tag": "hr"},
                {"tag": "img", "img_key": "img_1", "alt": {"tag": "plain_text", "content": "a cat"}},
                {
                    "tag": "action",
                    "actions": [
                        {
                            "tag": "button",
                            "text": {"tag": "plain_text", "content": "Yes"},
                            "value": {"text": "y"},
                        },
                        {"tag": "button", "text": {"content": "More"}, "url": "https://x.y"},
                    ],
                },
            ],
        },
        "**Vote**\n\n**Lunch** @ou_1\n\\*a\\*\n\n---\n![a cat](img_1)\n[Yes] [\\[More\\]](https://x.y)",
    ),
    "2.0": (
        {
            "schema": "2.0",
            "header": {
                "title": {"tag": "plain_text", "content": "Report"},
                "subtitle": {"content": "of May"},
            },
            "body": {
                "elements": [
                    {"tag": "markdown", "content": "# Hello\n- @_user_1"},
                    {
                        "tag": "column_set",
                        "columns": [{"tag": "column", "elements": [{"tag": "markdown", "content": "one"}]}],
                    },
                    {
                        "tag": "table",
                        "columns": [
                            {"name": "a", "display_name": "Who"},
                            {"name": "b", "display_name": "What"},
                        ],
                        "rows": [{"a": "Tom", "b": 7}, {"a": {"x": 1}}, 5],
                    },
                ]
            },
        },
        "**Report**\n\nof May\n# Hello\n- @Tom\\_\none\nWho | What\nTom | 7",
    ),
    "nothing to read": ({"config": {}, "elements": [[]]}, "[card]"),
    "a template": ({"type": "template", "data": {"template_id": "AAq1"}}, "[card]"),
    "odd": ({"title": [5], "elements": {"text": ["a", [["b"]], 3, None]}, "body": True}, "a\nb"),
    "odd elements": (
        {
            "elements": [
                [{"tag": "text", "text": 5, "style": "bold"}, {"tag": "text", "text": "a", "style": [1]}]
            ]
        },
        "a",
    ),
}


@pytest.mark.parametrize("name", CARDS)
def test_the_texts_of_a_card(name: str) -> None:
    card, expected = CARDS[name]
    assert markdown("interactive", card, [TOM]) == expected


def test_what_is_no_message_has_no_markdown() -> None:
    assert decode_event(v2("im.message.recalled_v1", {"message_id": "om_1"})).markdown == ""


@pytest.mark.parametrize(
    ("message_type", "content", "path"),
    [
        ("text", "not json", "event.message.content"),
        ("text", "", "event.message.content"),
        ("text", {"text": 5}, "event.message.content.text"),
        ("image", {}, "event.message.content.image_key"),
        ("post", {"content": [[{"text": "t"}]]}, "event.message.content.content[0][0]"),
        ("location", "[]", "event.message.content"),
        ("vote", "[" * 100_000, "event.message.content"),
    ],
)
def test_odd_content_of_a_known_kind_is_told(message_type: str, content: object, path: str) -> None:
    with pytest.raises(EventDecodeError, match=path.replace("[", r"\[").replace(".", r"\.")):
        markdown(message_type, content)


def test_a_card_as_deep_as_json_may_be() -> None:
    # Somewhere in between the JSON can be decoded, but its texts not gathered.
    for depth in (100, *range(850, 1000, 10), 3000):
        try:
            assert markdown("interactive", '{"body":' * depth + '"x"' + "}" * depth) == "x"
        except EventDecodeError:
            assert depth > 100
        else:
            assert depth < 3000


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "title",
                    "content",
                    "text",
                    "tag",
                    "elements",
                    "summary",
                    "name",
                    "options",
                    "template",
                    "body",
                    "columns",
                    "rows",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)
KINDS = [
    "text",
    "post",
    "interactive",
    "location",
    "calendar",
    "todo",
    "vote",
    "system",
    "video_chat",
    "folder",
    "file",
]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(KINDS), json_values)
def test_any_content_is_markdown_or_an_error_of_ours(kind: str, content: object) -> None:
    told = "`event.message.content"
    try:
        told = markdown(kind, content, [TOM]) and told
    except EventDecodeError as error:
        told = str(error)
    assert told == "" or "`event.message.content" in told


def big(unit: str, size: int = 1_000_000) -> str:
    return unit * (size // len(unit))


LARGE: dict[str, tuple[str, object]] = {
    **{
        f"text of {unit!r}": ("text", {"text": big(unit)})
        for unit in (
            "*",
            "_",
            "~",
            "`",
            "[",
            "\\",
            "|-",
            " ",
            "\n",
            "@",
            "@_user_1",
            "<at ",
            "https://*",
            "    \n",
        )
    },
    "text of dashes that are no rule": ("text", {"text": big("-") + "x"}),
    "text of digits that are no item": ("text", {"text": big("1") + "."}),
    "md of <at": ("post", {"content": [[{"tag": "md", "text": big("<at ")}]]}),
    "md of <at>": ("post", {"content": [[{"tag": "md", "text": big("<at id=")}]]}),
    "md of mentions": ("post", {"content": [[{"tag": "md", "text": "@_user_1"}]] * 30_000}),
    "pieces of two styles": (
        "post",
        {
            "content": [
                [{"tag": "text", "text": ".", "style": [["bold"], ["italic"]][n % 2]} for n in range(25_000)]
            ]
        },
    ),
    "a styled text of punctuation": (
        "post",
        {"content": [[{"tag": "text", "text": "a"}, {"tag": "text", "text": big("."), "style": ["bold"]}]]},
    ),
    "code of backticks": ("post", {"content": [[{"tag": "code_block", "text": big("`a")}]]}),
    "lines": ("post", {"content": [[{"tag": "text", "text": "a"}]] * 30_000}),
    "a deep card": (
        "interactive",
        '{"elements":[' * 200 + ",".join(['{"text":"a"}'] * 70_000) + "]}" * 200,
    ),
    "a template": ("system", {"template": big("{a}"), "a": [big("x", 100_000)] * 9}),
    "options": ("vote", {"topic": "", "options": ["a"] * 200_000}),
}


@pytest.mark.parametrize("what", LARGE)
def test_a_megabyte_takes_no_longer_than_it_should(what: str) -> None:
    many = [{"key": f"@_user_{number}", "name": f"N{number}"} for number in range(20_000)]
    odd = [
        {"key": "@" + "x" * 100_000, "name": "y" * 1_000_000},
        {"key": "@_user_1", "name": "z" * 1_000_000},
    ]
    message_type, content = LARGE[what]
    written = content if isinstance(content, str) else json.dumps(content)
    for mentions in (many, odd):
        event = decode_event(message(message_type, written, mentions))
        _ = event.data
        began = time.process_time()
        made = [event.markdown, event.text or ""]
        assert time.process_time() - began < 5
        assert max(map(len, made)) < 25_000_000
