"""Markdown: as Feishu takes it, in as many messages as it needs, and nothing of it lost."""

from __future__ import annotations

import json
import re
import time
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feishu_trio.api.markdown import markdown_messages

TABLE = "| a | b |\n|---|---|\n| 1 | 2 |\n"


def texts(messages: list[tuple[str, str]]) -> list[list[str]]:
    """The texts of each message's elements."""
    return [
        [element["content"] for element in json.loads(content)["body"]["elements"]]
        if kind == "interactive"
        else [json.loads(content)["zh_cn"]["content"][0][0]["text"]]
        for kind, content in messages
    ]


def text_of(markdown: str) -> str:
    """The only text of a post."""
    ((text,),) = texts(markdown_messages(markdown))
    return text


def bytes_in_a_request(content: str) -> int:
    return len(json.dumps(content, ensure_ascii=False).encode()) - len('""')


# --- what is sent ---------------------------------------------------------------------------------------------


def test_markdown_is_a_post() -> None:
    ((kind, content),) = markdown_messages("**Hello** [you](https://a.b)\n\n- x\n- y\n\n> z\n")
    assert kind == "post"
    text = "**Hello** [you](https://a.b)\n\n- x\n- y\n\n> z"
    assert json.loads(content) == {"zh_cn": {"content": [[{"tag": "md", "text": text}]]}}


def test_a_table_makes_it_a_card_with_an_element_for_each() -> None:
    ((kind, content),) = markdown_messages(f"before\n\n{TABLE}\nbetween\n{TABLE}{TABLE[:-1]}")
    assert kind == "interactive"
    card = json.loads(content)
    assert card == {"schema": "2.0", "body": {"elements": card["body"]["elements"]}}
    assert {element["tag"] for element in card["body"]["elements"]} == {"markdown"}
    # the last two stand together, and are one table
    found = [element["content"].strip() for element in card["body"]["elements"]]
    assert found[:3] == ["before", TABLE.strip(), "between"]
    assert "".join(found[3:]).count("| 1 | 2 |") == 2


@pytest.mark.parametrize(
    "table",
    [
        "a | b\n--|--\n1 | 2",
        "| a |\n|:-:|\n| 1 |",
        "> | a | b |\n> |---|---|\n> | 1 | 2 |",
        "| a \\| b | c |\n|---|---|",
        "|a|b|\n|-|:-|",
    ],
)
def test_what_is_a_table(table: str) -> None:
    assert [kind for kind, _ in markdown_messages(table)] == ["interactive"]


@pytest.mark.parametrize(
    "text",
    [
        "a | b",
        "a\n---\nb",
        "| a | b |\n|---|\n",
        "| a | b |\n\n|---|---|\n",
        "| a | b |\n| c | d |",
        "```\n| a | b |\n|---|---|\n```",
        "~~~\n| a | b |\n|---|---|\n",
        "- x\n  ```\n  | a | b |\n  |---|---|\n  ```\n",
    ],
)
def test_what_is_no_table(text: str) -> None:
    assert [kind for kind, _ in markdown_messages(text)] == ["post"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("# One\n\n## Two\n\n###### Six", "#### One\n\n##### Two\n\n##### Six"),
        ("#### Four\n\n###### Six", "#### Four\n\n###### Six"),
        ("#One\n\n#\tTwo", "#One\n\n####\tTwo"),
        ("```sh\n# no heading\n```\n\n# One", "```sh\n# no heading\n```\n\n#### One"),
        ("![a](img_v3_1)", "![a](img_v3_1)"),
        ("![a](https://x/y.png)", "[a](https://x/y.png)"),
        ('![](<https://x/y.png> "title")', "[https://x/y.png](https://x/y.png)"),
        ("![a](https://x/y_(z).png)!", "[a](https://x/y_(z).png)!"),
        ("![a chart](./chart.png)", "a chart"),
        ("[![a](https://x/y.png)](https://z)", "[[a](https://x/y.png)](https://z)"),
        ("`![a](https://x)` ![b](https://y)", "`![a](https://x)` [b](https://y)"),
        ("``a ` ![a](https://x)`` ![b](https://y)", "``a ` ![a](https://x)`` [b](https://y)"),
        ("```\n![a](https://x)\n```", "```\n![a](https://x)\n```"),
        ("a\r\nb\rc", "a\nb\nc"),
        ("\n\n    code\n\n", "    code"),
    ],
)
def test_what_feishu_would_not_show_is_put_otherwise(text: str, shown: str) -> None:
    assert text_of(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("```py\nx = 1", "```py\nx = 1\n```"),
        ("~~~~\nx\n~~~", "~~~~\nx\n~~~\n~~~~"),
        ("- a\n  ```py\n  x", "- a\n  ```py\n  x\n  ```"),
        ("- ```py\n  x", "- ```py\n  x\n  ```"),
        ("> ```py\n> x", "> ```py\n> x\n> ```"),
        ("> ```py\n> x\n\nafter", "> ```py\n> x\n> ```\n\nafter"),
        ("```", "```\n```"),
    ],
)
def test_code_that_is_not_closed_is_closed(text: str, shown: str) -> None:
    assert text_of(text) == shown


@pytest.mark.parametrize("text", ["", " ", "\n", "\n \t\n\u3000\n" * 20_000])
def test_nothing_is_no_message(text: str) -> None:
    assert markdown_messages(text) == []


# --- where it is divided --------------------------------------------------------------------------------------


def test_it_is_divided_between_blocks_if_it_can_be() -> None:
    paragraphs = [f"{number} " + "x" * 100 for number in range(6)]
    parts = texts(markdown_messages("\n\n".join(paragraphs), 300))
    assert [part.split("\n\n") for (part,) in parts] == [paragraphs[:2], paragraphs[2:4], paragraphs[4:]]


def test_a_heading_stays_with_what_is_below_it() -> None:
    text = f"{'x' * 100}\n\n## Heading\n\n{'y' * 100}\n"
    assert [part for (part,) in texts(markdown_messages(text, 200))] == [
        "x" * 100,
        f"##### Heading\n\n{'y' * 100}",
    ]


def test_a_long_paragraph_is_divided_between_lines() -> None:
    lines = [f"{number} " + "x" * 50 for number in range(6)]
    parts = texts(markdown_messages("\n".join(lines), 180))
    assert [part.split("\n") for (part,) in parts] == [lines[:2], lines[2:4], lines[4:]]


def test_a_long_line_is_divided_between_words_or_else_characters() -> None:
    words = "word " * 60
    parts = [part for (part,) in texts(markdown_messages(words, 180))]
    assert len(parts) > 1
    assert {word for part in parts for word in part.split()} == {"word"}
    parts = [part for (part,) in texts(markdown_messages("好" * 100, 180))]
    assert "".join(parts) == "好" * 100
    assert len(parts) > 1


def test_code_is_closed_and_opened_again_with_its_language() -> None:
    code = "\n".join(f"line {number}" for number in range(30))
    parts = [part for (part,) in texts(markdown_messages(f"- ````py title\n{code}\n````\n", 200))]
    assert len(parts) > 2
    assert parts[0].startswith("- ````py title\n")
    assert all(part.startswith("  ````py title\n") for part in parts[1:])
    assert all(part.endswith("\n````") for part in parts)
    assert [line for part in parts for line in part.split("\n")[1:-1]] == code.split("\n")


def test_code_of_one_long_line_is_closed_too() -> None:
    parts = [part for (part,) in texts(markdown_messages(f"```py\n{'x' * 500}\n```", 200))]
    assert len(parts) > 2
    assert {(part[:6], part[-4:]) for part in parts} == {("```py\n", "\n```")}
    assert "".join(part[6:-4] for part in parts) == "x" * 500


def test_a_table_has_its_head_again() -> None:
    rows = [f"| {number} | {'x' * 20} |" for number in range(20)]
    head = ["| n | x |", "|---|---|"]
    messages = markdown_messages("\n".join(head + rows), 400)
    parts = [element.split("\n") for elements in texts(messages) for element in elements]
    assert len(parts) > 2
    assert all(part[:2] == head for part in parts)
    assert [row for part in parts for row in part[2:]] == rows


def test_a_card_has_three_tables_at_most() -> None:
    text = "\n".join(f"{number}\n\n{TABLE}" for number in range(7))
    assert [sum("|" in element for element in card) for card in texts(markdown_messages(text))] == [3, 3, 1]


@pytest.mark.parametrize(
    "text",
    [
        "a" * 1_000_000,
        "a\n\n" * 300_000,
        "`a" * 500_000,
        "![" * 500_000,
        "![](" * 250_000,
        "| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 100_000,
        "```\n" * 200_000,
        "\\\"'\0" * 250_000,
        " " * 1_000_000 + "x",
        "> " * 500_000,
        "- " * 500_000 + "```",
        "# " * 500_000,
        "|" * 1_000_000 + "\n" + "|" * 1_000_000,
    ],
    ids=lambda text: repr(text[:8]),
)
def test_a_megabyte_of_anything_takes_no_minutes(text: str) -> None:
    began = time.process_time()
    messages = markdown_messages(text)
    assert time.process_time() - began < 10
    assert all(bytes_in_a_request(content) <= 29_000 for _, content in messages)


# --- properties -----------------------------------------------------------------------------------------------

# Neither fences, tables, headings nor images: what is compared is what was written.
WORDS = st.text(st.sampled_from('abc好 é😀"\\\t.,*_\x01\u2028'), min_size=1, max_size=60).filter(str.strip)
LINES = st.lists(WORDS, min_size=1, max_size=6)
INFO = st.sampled_from(["", "py", "c++ title", "语"])


class Doc(NamedTuple):
    text: str
    code: list[tuple[str, str]]
    """The lines of code, each with what its fence says."""


@st.composite
def documents(draw: st.DrawFn) -> Doc:
    text, code = "", []
    for _ in range(draw(st.integers(1, 8))):
        kind = draw(st.sampled_from(["paragraph", "list", "quote", "code", "table"]))
        if kind == "paragraph":
            text += "\n".join(draw(LINES))
        elif kind == "list":
            text += "\n".join(f"- {line}" for line in draw(LINES))
        elif kind == "quote":
            text += "\n".join(f"> {line}" for line in draw(LINES))
        elif kind == "code":
            fence, info, lines = draw(st.sampled_from(["```", "~~~~"])), draw(INFO), draw(LINES)
            code += [(info, line) for line in lines]
            text += "\n".join([f"{fence}{info}", *lines, fence])
        else:
            text += "\n".join(["| a | b |", "|---|---|", *(f"| {line} |" for line in draw(LINES))])
        text += draw(st.sampled_from(["\n\n", "\n\n\n"]))
    return Doc(text, code)


def solid(text: str) -> str:
    """What a text says, without fences, tables' heads, and space."""
    lines = [line for line in text.split("\n") if not re.match(r"```|~~~|\| a \| b \||\|---\|---\|", line)]
    return re.sub(r"\s", "", "".join(lines))


def code_in(text: str) -> list[tuple[str, str]]:
    """The lines of code in a text, each with what its fence says; all of it must be closed."""
    found, opened = [], None
    for line in text.split("\n"):
        fence = re.match(r"(```|~~~~)(.*)", line)
        if opened is None:
            opened = fence
        elif line == opened[1]:
            opened = None
        else:
            found.append((opened[2], line))
    assert opened is None, f"not closed: {text!r}"
    return found


def check_sizes(messages: list[tuple[str, str]], most: int) -> None:
    for _, content in messages:
        assert bytes_in_a_request(content) <= most
    for elements in texts(messages):
        assert elements
        assert all(element.strip() for element in elements)
        assert sum("|---|" in element for element in elements) <= 3


@given(documents(), st.integers(450, 2000))
def test_documents_come_through_whole(doc: Doc, most: int) -> None:
    messages = markdown_messages(doc.text, most)
    check_sizes(messages, most)
    parts = ["\n".join(elements) for elements in texts(messages)]
    assert solid("\n".join(parts)) == solid(doc.text)
    found = [line for part in parts for line in code_in(part)]
    assert "".join(line for _, line in found).replace(" ", "") == "".join(
        line for _, line in doc.code
    ).replace(" ", "")
    assert {info for info, _ in found} == {info for info, _ in doc.code}


@given(documents())
def test_a_document_that_fits_is_one_message(doc: Doc) -> None:
    messages = markdown_messages(doc.text)
    if doc.text.count("|---|---|") <= 3:
        assert len(messages) == 1
        if messages[0][0] == "post":
            assert texts(messages) == [[doc.text.strip("\n")]]


ANYTHING = st.text(
    st.one_of(st.sampled_from('\n\n\n```~~~|||---:#>-*1. ![]()img_ab \\"\t\r'), st.characters(codec="utf-8")),
    max_size=2000,
)


@given(ANYTHING, st.integers(300, 1000))
def test_anything_fits(text: str, most: int) -> None:
    messages = markdown_messages(text, most)
    for _, content in messages:
        assert bytes_in_a_request(content) <= most
    assert all(element.strip() for elements in texts(messages) for element in elements)
    assert bool(messages) == bool(text.strip()) or not text.strip("\r\n ")


def test_what_fits_is_not_divided() -> None:
    text = "x" * 28_900
    assert len(markdown_messages(text)) == 1
    assert len(markdown_messages(text + "x" * 200)) == 2
