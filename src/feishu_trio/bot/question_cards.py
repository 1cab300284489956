"""The cards of questions: made of a text and choices, marked with their question, and closed. No I/O."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from ..config import wrong
from ..errors import ConfigError
from ..events import Card, Event
from ..events.port import Choice

__all__ = ["MARK", "Choices", "card_of", "closed_card", "label_of", "marked_card"]

Choices: TypeAlias = Sequence[str] | Mapping[str, str]
"""What can be chosen: texts, or a dict of them by what is returned."""

MARK: Final = "feishu_trio_question"
"""Under this a click says which question it is for."""

# What answers by being clicked, chosen or filled in.
_INTERACTIVE: Final = frozenset(
    {
        "button",
        "checker",
        "date_picker",
        "input",
        "multi_select_person",
        "multi_select_static",
        "overflow",
        "picker_datetime",
        "picker_time",
        "select_img",
        "select_person",
        "select_static",
    }
)
_CONTAINER: Final = "interactive_container"  # clicked as a whole, whatever is in it


def card_of(question: str | Card | Mapping[str, Any], choices: Choices) -> Mapping[str, Any]:
    """The card that asks: the one that is given, or a text with a button for each choice."""
    match question:
        case str():
            return _with_buttons(question, choices)
        case Card("raw", data):
            card = data
        case Mapping():
            card = question
        case _:
            raise wrong(
                "question",
                question,
                "a text, or a card as a dict or Card.raw: what is clicked must be known here",
            )
    if choices:
        raise ConfigError(
            "choices: they are the buttons of a text; a card has its own, so leave choices out, or ask with a text"
        )
    return card


def _with_buttons(question: str, choices: Choices) -> dict[str, Any]:
    labels = choices
    if isinstance(choices, Collection) and not isinstance(choices, str | Mapping):
        labels = {each: each for each in choices if isinstance(each, str)}
        if len(labels) < len(choices):  # one is no text, or is there twice
            labels = {}
    if not isinstance(labels, Mapping) or not labels or not all(map(_is_text, [*labels, *labels.values()])):
        raise wrong(
            "choices",
            choices,
            "a list of different texts, such as ['Yes', 'No'], or a dict of them by what is returned",
        )
    buttons = [
        {
            "tag": "button",
            "text": {"tag": "plain_text", "content": label},
            "type": "default" if number else "primary",
            "behaviors": [{"type": "callback", "value": {"choice": choice}}],
        }
        for number, (choice, label) in enumerate(labels.items())
    ]
    columns = [{"tag": "column", "width": "auto", "elements": [button]} for button in buttons]
    return {
        "schema": "2.0",
        "body": {
            "elements": [
                {"tag": "markdown", "content": question},
                {"tag": "column_set", "flex_mode": "flow", "columns": columns},
            ]
        },
    }


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def marked_card(card: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The card, all of whose interactive elements say which question they answer."""
    marked = copy.deepcopy(dict(card))
    is_new = marked.get("schema") == "2.0"
    if not is_new:
        _share(marked)
    count = 0
    for element, is_in_form in _elements(marked):
        tag = element.get("tag")
        # What is filled in within a form comes with the click on its button.
        if tag not in (*_INTERACTIVE, _CONTAINER) or (is_in_form and not _submits(element)):
            continue
        if is_new:
            for behavior in _objects(element.setdefault("behaviors", [{"type": "callback"}])):
                if behavior.get("type") == "callback":
                    behavior["value"] = _with_mark(behavior.get("value"), key)
                    count += 1
        else:
            element["value"] = _with_mark(element.get("value"), key)
            count += 1
    if not count:
        raise ConfigError(
            "question: a card is wanted that has a button, or another element that can be clicked"
        )
    return marked


def _share(card: dict[str, Any]) -> None:
    """A card of the older schema can be changed later only if it says that all see the same of it."""
    config = card.get("config")
    card["config"] = {**(config if isinstance(config, dict) else {}), "update_multi": True}


def _with_mark(value: object, key: str) -> dict[str, Any]:
    return {**_fields(value), MARK: key}


def _fields(value: object) -> dict[str, Any]:
    """What an element says when it is clicked, as an object."""
    return value if isinstance(value, dict) else {} if value is None else {"value": value}


def closed_card(card: Mapping[str, Any], line: str) -> dict[str, Any]:
    """The card without what can be clicked, and with a line at its end."""
    closed = copy.deepcopy(dict(card))
    if closed.get("schema") != "2.0":
        _share(closed)
    body = closed.get("body") if closed.get("schema") == "2.0" else closed
    elements = body.get("elements") if isinstance(body, dict) else None
    kept = [] if not isinstance(elements, list) else [each for each in map(_inert, elements) if each]
    if isinstance(body, dict):
        body["elements"] = [*kept, {"tag": "markdown", "content": line}]
    return closed


def _inert(element: Any) -> Any:
    """An element without those in it that can be clicked; None if nothing is left of it."""
    if not isinstance(element, dict):
        return element
    if element.get("tag") in _INTERACTIVE:
        return None
    if element.get("tag") == _CONTAINER:
        element["disabled"] = True
    for name in ("elements", "columns", "actions"):
        inner = element.get(name)
        if isinstance(inner, list):
            element[name] = [each for each in map(_inert, inner) if each]
            if not element[name]:
                return None
    if isinstance(element.get("extra"), dict) and _inert(element["extra"]) is None:
        del element["extra"]
    return element


def _elements(node: object) -> Iterator[tuple[dict[str, Any], bool]]:
    """All objects in a card, and whether they are in a form; the outer ones first."""
    nodes = [(node, False)]
    while nodes:
        match nodes.pop():
            case dict() as element, is_in_form:
                yield element, is_in_form
                is_in_form = is_in_form or element.get("tag") == "form"
                nodes.extend((each, is_in_form) for each in element.values())
            case list() as several, is_in_form:
                nodes.extend((each, is_in_form) for each in several)


def _submits(element: Mapping[str, Any]) -> bool:
    kind = element.get("form_action_type") or element.get("action_type") or ""
    return element.get("tag") == "button" and str(kind).removeprefix("form_") != "reset"


def _objects(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def label_of(card: Mapping[str, Any], click: Event[Any], choice: Choice) -> str:
    """What was clicked, in the card's own words for it; what is returned, if the card has none, or several."""
    action = click.data.action
    labels = set()
    for element, _ in _elements(dict(card)):
        if action.option:
            is_it = element.get("value") == action.option  # an option of a menu
        elif element.get("tag") != "button":
            continue
        elif action.name:
            is_it = element.get("name") == action.name
        else:
            is_it = any(_fields(each) == choice.value for each in _values(element))
        text = element.get("text")
        if is_it and isinstance(text, dict) and text.get("content"):
            labels.add(str(text["content"]))
    return labels.pop() if len(labels) == 1 else str(choice)


def _values(button: Mapping[str, Any]) -> list[object]:
    """What a button says when it is clicked; it may have several values, one for each callback."""
    if "behaviors" in button:
        return [each.get("value") for each in _objects(button["behaviors"])]
    return [button.get("value")]
