from __future__ import annotations

import dataclasses
import enum
import json
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feishu_trio.events import Card, CardAnswer, Inline, PreviewAnswer, Toast, encode_result, flaw_of


@attrs.frozen
class Attrs:
    a: int | None = None


@dataclasses.dataclass
class Data:
    a: Any = None


class Struct(msgspec.Struct):
    a: int | None = None


class Colour(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (CardAnswer(), {}),
        (CardAnswer(toast=Toast("Saved")), {"toast": {"type": "info", "content": "Saved"}}),
        (
            CardAnswer(Toast("Saved", "success", {"zh_cn": "已保存"})),
            {"toast": {"type": "success", "content": "Saved", "i18n": {"zh_cn": "已保存"}}},
        ),
        (
            CardAnswer(card=Card.raw({"elements": [{"a": None}]})),
            {"card": {"type": "raw", "data": {"elements": [{"a": None}]}}},
        ),
        (
            CardAnswer(card=Card.template("AAq1", {"name": "Tom"}, version="1.0.1")),
            {
                "card": {
                    "type": "template",
                    "data": {
                        "template_id": "AAq1",
                        "template_version_name": "1.0.1",
                        "template_variable": {"name": "Tom"},
                    },
                }
            },
        ),
        (
            CardAnswer(card=Card.template("AAq1")),
            {"card": {"type": "template", "data": {"template_id": "AAq1"}}},
        ),
        (PreviewAnswer(Inline("Title")), {"inline": {"title": "Title"}}),
        (
            PreviewAnswer(Inline(i18n_title={"en_us": "T"}, image_key="img"), Card.raw(MappingProxyType({}))),
            {
                "inline": {"i18n_title": {"en_us": "T"}, "image_key": "img"},
                "card": {"type": "raw", "data": {}},
            },
        ),
        ({"toast": Toast("Saved")}, {"toast": {"type": "info", "content": "Saved"}}),
        ([Inline()], [{}]),
        ({"a": None, "b": (1, 2.5, True)}, {"a": None, "b": [1, 2.5, True]}),
        (Attrs(), {"a": None}),
        (Data(), {"a": None}),
        (Struct(a=2**70), {"a": 2**70}),
        (Data(a=datetime(2020, 1, 1, tzinfo=UTC)), {"a": "2020-01-01T00:00:00Z"}),
        ({Colour.RED: Colour.RED, 5: 6}, {"red": "red", "5": 6}),
        (None, None),
        ("text", "text"),
        ('é\n"', 'é\n"'),
    ],
)
def test_results(result: object, expected: object) -> None:
    assert json.loads(encode_result(result)) == expected


def within_itself() -> dict[str, Any]:
    whole: dict[str, Any] = {}
    whole["whole"] = [whole]
    return whole


class Own:
    pass


@pytest.mark.parametrize(
    ("result", "error"),
    [
        (Own(), TypeError),
        ({"a": [Own()]}, TypeError),
        (Data(a=Own()), TypeError),
        (CardAnswer(card=Card.raw({"a": Own()})), TypeError),
        ({("a", "b"): 1}, TypeError),
        (float("nan"), ValueError),
        ({"a": [float("inf")]}, ValueError),
        (Data(a=float("nan")), ValueError),
        ("\ud83d", ValueError),
        ({"\ud83d": 1}, ValueError),
        (within_itself(), ValueError),
        (Data(a=within_itself()), ValueError),
        ([10**5000], ValueError),
    ],
)
def test_what_json_cannot_hold(result: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"a handler's result \\({type(result).__name__}\\)") as caught:
        encode_result(result)
    assert type(caught.value) is error


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@settings(deadline=None)
@given(json_values)
def test_plain_values_come_back_as_they_were(value: object) -> None:
    assert json.loads(encode_result(value)) == value


@pytest.mark.parametrize(
    ("answer", "flaw"),
    [
        (
            "ok",
            "it is a string; it may be an object with 'toast' and 'card', each an object, and nothing else",
        ),
        ({"toast", "card"}, "it is a list; it may be"),
        (7, "it is a number; it may be"),
        (True, "it is a boolean; it may be"),
        ({"tosat": {"content": "saved"}}, "it has 'tosat'; it may be an object with 'toast' and 'card'"),
        ({"toast": {}, "elements": [], "header": {}}, "it has 'elements', 'header'; it may be"),
        ({"toast": "saved"}, "its 'toast' is a string; it may be"),
        (
            {"toast": {"typ": "info"}},
            "its 'toast' has 'typ'; it may have 'type', 'content', 'i18n', and nothing else",
        ),
        (
            {"toast": {"type": "danger", "content": "x"}},
            "the 'type' of its 'toast' is 'danger'; it may be 'info', 'success', 'warning', 'error'",
        ),
        ({"toast": {"type": []}}, "the 'type' of its 'toast' is '[]'; it may be 'info'"),
        (CardAnswer(Toast("x", "ok")), "the 'type' of its 'toast' is 'ok'"),  # type: ignore[arg-type]
        ({"x" * 1000: 1}, f"it has {'x' * 40!r}; it may be"),
    ],
)
def test_an_answer_to_a_card_that_has_no_effect(answer: object, flaw: str) -> None:
    found = flaw_of("card.action.trigger", encode_result(answer))
    assert found is not None
    assert found.startswith(flaw)


@pytest.mark.parametrize(
    ("callback", "answer"),
    [
        ("card.action.trigger", {}),
        ("card.action.trigger", {"toast": {"content": "saved"}, "card": None}),
        ("card.action.trigger", CardAnswer(Toast("saved"), Card.raw({}))),
        ("card.action.trigger", {"toast": {"type": None, "content": "saved", "i18n": {"en_us": "saved"}}}),
        ("card.action.trigger", {"card": {"type": "raw", "data": {}}}),
        ("url.preview.get", PreviewAnswer(Inline("a title"), Card.template("t"))),
        ("im.message.receive_v1", "anything"),
    ],
)
def test_an_answer_without_a_flaw(callback: str, answer: object) -> None:
    assert flaw_of(callback, encode_result(answer)) is None


def test_a_preview_has_members_of_its_own() -> None:
    assert "'inline' and 'card'" in (flaw_of("url.preview.get", b'{"toast":{}}') or "")
