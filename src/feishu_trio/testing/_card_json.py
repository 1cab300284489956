"""The JSON of cards, in both of its versions: what is wrong with it, what a person reads, what can be clicked."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from typing import Any, Final

import attrs

Card = dict[str, Any]

MAX_SIZE: Final = 30 * 1024
"""Bytes of a card's JSON."""
_MAX_TABLES: Final = 5
_MAX_ELEMENTS: Final = 200

_PARSE_ERROR: Final = 200621
_OVER_LIMIT: Final = 11310
_BAD_IMAGE: Final = 200570
_NOT_IN_V2: Final = 200861
_DUPLICATE_ID: Final = 300301
# Of card entities, in place of the codes above.
_BAD_ENTITY: Final = 200220
_TOO_MANY_ELEMENTS: Final = 300305

# What version 2.0 has done away with.
_V1_ONLY: Final = frozenset({"action", "note"})

_TABLE_RULE: Final = re.compile(r"^ {0,3}\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)+\|?\s*$|^ {0,3}\|\s*:?-+:?\s*\|\s*$")
_FENCE: Final = re.compile(r"^ {0,3}(```+|~~~+)")


@attrs.frozen
class Flaw:
    """Why Feishu does not accept a card."""

    code: int
    """The inner one, for a card that is sent in a message."""
    msg: str
    entity_code: int | None = None
    """Where the calls for card entities have a code of their own."""


def is_v2(card: Mapping[str, Any]) -> bool:
    """Whether a card is of version 2.0."""
    return card.get("schema") == "2.0"


def elements(node: object) -> Iterator[Card]:
    """Everything in a card that has a `tag`, the outer before the inner."""
    if isinstance(node, dict):
        if isinstance(node.get("tag"), str):
            yield node
        for inner in node.values():
            yield from elements(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from elements(inner)


def flaw_of(card: Card, has_image: Callable[[str], bool]) -> Flaw | None:
    """What is wrong with a card; None if nothing is."""
    try:
        return _flaw_of_frame(card) or _flaw_of_elements(list(elements(card)), is_v2(card), has_image)
    except RecursionError:
        return _unreadable("it nests too deeply")


def _flaw_of_frame(card: Card) -> Flaw | None:
    if not isinstance(card.get("config") or {}, dict):
        return _unreadable("config is an object")
    if is_v2(card):
        body = card.get("body")
        if not isinstance(body, dict) or not isinstance(body.get("elements"), list):
            return _unreadable("a card of schema 2.0 has body.elements, a list")
    elif card.get("schema", "1.0") != "1.0":
        return _unreadable(f"schema is {card['schema']!r}; it may be '1.0' or '2.0'")
    elif not isinstance(card.get("elements", card.get("i18n_elements")), list | dict):
        return _unreadable("a card has elements, a list; or schema '2.0', and body.elements")
    return None


def _unreadable(why: str) -> Flaw:
    msg = f"parse card json err, please check whether the card json is correct: {why}"
    return Flaw(_PARSE_ERROR, msg, _BAD_ENTITY)


def _flaw_of_elements(found: list[Card], v2: bool, has_image: Callable[[str], bool]) -> Flaw | None:
    old = next((element["tag"] for element in found if element["tag"] in _V1_ONLY), None)
    if v2 and old:
        msg = f"cards of schema V2 no longer support this capability; ErrorValue: unsupported tag {old}"
        return Flaw(_NOT_IN_V2, msg)
    if v2 and len(found) > _MAX_ELEMENTS:
        msg = f"element exceeds the limit: {len(found)}, of {_MAX_ELEMENTS}"
        return Flaw(_OVER_LIMIT, msg, _TOO_MANY_ELEMENTS)
    if sum(map(_tables, found)) > _MAX_TABLES:
        return Flaw(_OVER_LIMIT, "card table number over limit; ErrorValue: table")
    ids = Counter(str(element["element_id"]) for element in found if "element_id" in element)
    twice = next((element_id for element_id, count in ids.items() if count > 1), None)
    if twice is not None:
        return Flaw(_DUPLICATE_ID, f"Duplicate element_id in card component: {twice}", _DUPLICATE_ID)
    for element in found:
        key = element.get("img_key")
        if element["tag"] == "img" and not (isinstance(key, str) and has_image(key)):
            return Flaw(_BAD_IMAGE, f"card contains invalid image keys; ErrorValue: image key {key}")
    return None


def _tables(element: Card) -> int:
    if element["tag"] == "table":
        return 1
    content = element.get("content")
    if element["tag"] not in {"markdown", "lark_md"} or not isinstance(content, str):
        return 0
    tables, fence = 0, ""
    for line in content.splitlines():
        if mark := _FENCE.match(line):
            fence = "" if fence and mark[1].startswith(fence) else fence or mark[1]
        elif not fence and _TABLE_RULE.match(line):
            tables += 1
    return tables


# --- what a person reads ------------------------------------------------------------------------------------


def lines(card: Card) -> list[str]:
    """A card as text; buttons stand in brackets, those side by side in one line."""
    if card.get("type") == "template":
        template = card.get("data")
        return [f"[card template {template.get('template_id') if isinstance(template, dict) else '?'}]"]
    pieces = [*_read(card.get("header")), *_read(_content_of(card))]
    text: list[str] = []
    for is_control, group in groupby(pieces, key=lambda piece: piece.startswith(_CONTROL)):
        found = [piece.removeprefix(_CONTROL) for piece in group]
        text += [" ".join(found)] if is_control else found
    return text


def title(card: Card) -> str | None:
    """The title in a card's header."""
    header = card.get("header")
    return _text(header.get("title")) or None if isinstance(header, dict) else None


# Put before what can be clicked, while lines are gathered.
_CONTROL: Final = "\0"

# Where the texts of an element are, in the order in which they are read.
_KEYS: Final = (
    "title",
    "subtitle",
    "header",
    "text",
    "content",
    "label",
    "fields",
    "elements",
    "columns",
    "actions",
    "extra",
)


def _content_of(card: Card) -> object:
    if is_v2(card):
        return card.get("body")
    if "elements" in card:
        return card["elements"]
    by_locale = card.get("i18n_elements")
    return next(iter(by_locale.values()), None) if isinstance(by_locale, dict) else None


def _read(node: Any) -> Iterator[str]:
    match node:
        case str():
            yield from node.split("\n") if node else ()
        case {"tag": "button" | "overflow" | "select_static" | "multi_select_static"}:
            for control in _controls_in(node, None):
                yield f"{_CONTROL}[{control.text}]"
        case {"tag": "input"}:
            yield f"{_CONTROL}[{_text(node.get('label')) or _text(node.get('placeholder')) or node.get('name')}: …]"
        case {"tag": "img"}:
            yield "[image]"
        case {"tag": "hr"}:
            yield "---"
        case {"tag": "table", "rows": list(rows)}:
            for row in rows:
                if isinstance(row, dict):
                    yield " | ".join(str(cell) for cell in row.values())
        case {"tag": "person" | "person_list" | "chart" | "checker" as tag}:
            yield _text(node.get("text")) or f"[{tag}]"
        case dict():
            for key in _KEYS:
                yield from _read(node.get(key))
        case list():
            for inner in node:
                yield from _read(inner)


def _text(node: object) -> str:
    """The text of a `plain_text` or the like."""
    content = node.get("content") if isinstance(node, dict) else node
    return content if isinstance(content, str) else ""


# --- what can be clicked ------------------------------------------------------------------------------------


@attrs.frozen
class Control:
    """Something that a person can click: a button, or an option of a menu."""

    text: str
    action: Card
    """What the callback says of it: tag, value, name, option."""
    form: Card | None
    """The form that it submits."""
    problem: str | None
    """Why a click on it brings no callback."""


def controls(card: Card) -> list[Control]:
    """All that can be clicked in a card, in its order."""
    return list(_controls_in(_content_of(card), None))


def _controls_in(node: Any, form: Card | None) -> Iterator[Control]:
    match node:
        case {"tag": "button"}:
            yield _button(node, form)
        case {"tag": "overflow" | "select_static" | "multi_select_static" as tag, "options": list(options)}:
            for option in options:
                if isinstance(option, dict):
                    action = _given(tag=tag, value=_value_of(node), name=node.get("name"))
                    problem = "it is part of a form, which is submitted by a button" if form else None
                    yield Control(
                        _text(option.get("text")), {**action, "option": option.get("value")}, None, problem
                    )
        case dict():
            inner_form = node if node.get("tag") == "form" else form
            for inner in node.values():
                yield from _controls_in(inner, inner_form)
        case list():
            for inner in node:
                yield from _controls_in(inner, form)


def _button(button: Card, form: Card | None) -> Control:
    value = _value_of(button)
    kind = str(button.get("form_action_type") or button.get("action_type") or "").removeprefix("form_")
    submits = form is not None and kind == "submit"
    problem = None
    if button.get("disabled") is True:
        problem = "it is disabled"
    elif kind == "reset":
        problem = "it resets its form"
    elif value is None and submits:
        problem = "a button that submits a form needs a value: without one Feishu shows the error 200340"
    elif value is None and (_behaviors(button) or button.get("url") or button.get("multi_url")):
        problem = "it only opens a link"
    action = _given(tag="button", value={} if value is None else value, name=button.get("name"))
    return Control(_text(button.get("text")), action, form if submits else None, problem)


def _behaviors(element: Card) -> list[Card]:
    behaviors = element.get("behaviors")
    return [each for each in behaviors if isinstance(each, dict)] if isinstance(behaviors, list) else []


def _value_of(element: Card) -> Any:
    """What the callback of an element says: in schema 2.0 its behavior has it."""
    callbacks = [each for each in _behaviors(element) if each.get("type") == "callback"]
    return callbacks[0].get("value", element.get("value")) if callbacks else element.get("value")


def fields_of(form: Card) -> dict[str, Card]:
    """The components of a form that a person fills in, by name."""
    return {
        element["name"]: element
        for element in elements(form)
        if isinstance(element.get("name"), str) and element["tag"] not in {"button", "form"}
    }


def initial_value(field: Card) -> object:
    """What a component of a form holds before anybody touches it."""
    match field.get("tag"):
        case "checker":
            return field.get("checked", False)
        case "multi_select_static" | "multi_select_person":
            return field.get("selected_values", [])
    names = "default_value", "initial_option", "initial_date", "initial_time", "initial_datetime"
    return next((field[name] for name in names if name in field), "")


def _given(**members: object) -> Card:
    return {name: member for name, member in members.items() if member is not None}
