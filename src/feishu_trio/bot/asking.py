"""Questions: a card with choices, and the click that answers it, which resolves as it arrives."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import attrs
import msgspec
import trio

from ..api import Api
from ..errors import ApiError, ConfigError, EventDecodeError
from ..events import Card, CardAnswer, Event, Toast, encode_result
from ..events.port import Choice
from ..events.subject import Person
from .replying import say
from .speech import Saying

__all__ = ["ANYONE", "Asking", "Choices"]

logger = logging.getLogger("feishu_trio.bot")

ANYONE: Final = "*"
"""Whoever sees the question may answer it."""

Choices: TypeAlias = Sequence[str] | Mapping[str, str]
Settle: TypeAlias = Callable[[bytes | None], None]

_CLOSE: Final = 3.0  # seconds for a card to say that its question is closed
_MARK: Final = "feishu_trio_question"
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
_OTHERS = Toast(
    "This question is not for you.",
    "warning",
    {"zh_cn": "这个问题不是问你的。", "en_us": "This question is not for you."},
)
_CLOSED = Toast(
    "This question is closed.",
    "warning",
    {"zh_cn": "这个问题已经结束。", "en_us": "This question is closed."},
)


@attrs.define(eq=False)
class _Question:
    """A question that waits for its answer."""

    allowed: frozenset[str] | None
    """None: whoever sees it."""
    answered: trio.Event = attrs.field(factory=trio.Event)
    click: Event[Any] | None = None
    settle: Settle | None = None


class Asking:
    """The questions of a bot."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._open: dict[str, _Question] = {}

    async def ask(
        self,
        event: Event[Any],
        saying: Saying,
        question: str | Mapping[str, Any],
        choices: Choices,
        *,
        allowed: str | Collection[str] | None,
        timeout: float | None,
        in_thread: bool | None,
        quote: bool,
    ) -> Choice:
        """Ask, and wait for the first click of somebody who is allowed to answer."""
        noted = saying.noted() or {}
        if "choice" in noted:
            return _choice_of(noted["choice"])
        card = _card(question, choices) if isinstance(question, str) else question
        waiting = _Question(_allowed(allowed, event))
        self._open[saying.uuid] = waiting
        message_id: str | None = noted.get("message")
        choice: Choice | None = None
        is_over = saying.notes is None  # a question whose handler runs again is asked on
        try:
            if message_id is None:
                message_id = await say(
                    self._api,
                    event,
                    _marked(card, saying.uuid),
                    "interactive",
                    saying.uuid,
                    in_thread=in_thread,
                    quote=quote,
                )
                await saying.note({"message": message_id})
            with trio.move_on_after(float("inf") if timeout is None else timeout):
                await waiting.answered.wait()
            if waiting.click is None:
                is_over = True
                raise TimeoutError(f"nobody answered within {timeout:g} s")
            chosen = _choice_from(waiting.click)
            await saying.note({"message": message_id, "choice": _as_noted(chosen)})
            choice = chosen  # from here on it cannot be lost
            return choice
        finally:
            del self._open[saying.uuid]
            if waiting.settle is not None:
                waiting.settle(_answer(card, choice))
            elif message_id is not None and is_over:
                await self._close(message_id, card)

    def answer(self, click: Event[Any], settle: Settle) -> bool:
        """Whether a click is one for a question; then `settle` is called with the JSON of its answer, now or soon."""
        key = _key_of(click)
        if key is None:
            return False
        question = self._open.get(key)
        if question is None or question.click is not None:
            settle(encode_result(CardAnswer(toast=_CLOSED)))
        elif question.allowed is not None and question.allowed.isdisjoint(_ids(click.sender)):
            settle(encode_result(CardAnswer(toast=_OTHERS)))
        else:
            question.click, question.settle = click, settle
            question.answered.set()
        return True

    async def _close(self, message_id: str, card: Mapping[str, Any]) -> None:
        """Nobody can answer any more: have the card say so."""
        with trio.move_on_after(_CLOSE, shield=True):
            try:
                await self._api.edit(message_id, _closed(card, "*(closed)*"), "interactive")
            except ApiError as error:
                logger.warning("the card of a question that is closed could not be updated: %s", error)


def _allowed(allowed: str | Collection[str] | None, event: Event[Any]) -> frozenset[str] | None:
    if allowed is None:
        return frozenset(_ids(event.sender)) or None
    if allowed == ANYONE:
        return None
    ids = [allowed] if isinstance(allowed, str) else list(allowed)
    if not ids or not all(isinstance(each, str) and each for each in ids):
        raise ConfigError(
            f"allowed: {allowed!r} is not allowed; it must be ids of people (ou_…), {ANYONE!r} for anyone, "
            "or None for whoever the event is from"
        )
    return frozenset(ids)


def _ids(person: Person) -> Iterator[str]:
    return filter(None, (person.open_id, person.user_id, person.union_id))


# Cards


def _card(question: str, choices: Choices) -> dict[str, Any]:
    """A card that asks, with a button for each choice."""
    labels = choices if isinstance(choices, Mapping) else {each: each for each in choices}
    if isinstance(choices, str) or not labels or not all(isinstance(each, str) and each for each in labels):
        raise ConfigError(f"choices: {choices!r} is not allowed; it must be one or more texts")
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


def _marked(card: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The card, all of whose interactive elements say which question they answer."""
    marked = copy.deepcopy(dict(card))
    is_new = marked.get("schema") == "2.0"
    count = 0
    for element in _elements(marked):
        if element.get("tag") not in _INTERACTIVE:
            continue
        count += 1
        if is_new:
            behaviors = element.setdefault("behaviors", [{"type": "callback", "value": {}}])
            for behavior in behaviors:
                if behavior.get("type") == "callback":
                    behavior["value"] = _with_mark(behavior.get("value"), key)
        else:
            element["value"] = _with_mark(element.get("value"), key)
    if not count:
        raise ConfigError(
            "question: a card is wanted that has a button, or another element that can be clicked"
        )
    return marked


def _with_mark(value: object, key: str) -> dict[str, Any]:
    fields = value if isinstance(value, dict) else {} if value is None else {"value": value}
    return {**fields, _MARK: key}


def _closed(card: Mapping[str, Any], line: str) -> dict[str, Any]:
    """The card without what can be clicked, and with a line at its end."""
    closed = copy.deepcopy(dict(card))
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
    for name in ("elements", "columns", "actions"):
        inner = element.get(name)
        if isinstance(inner, list):
            element[name] = [each for each in map(_inert, inner) if each]
            if not element[name]:
                return None
    if isinstance(element.get("extra"), dict) and _inert(element["extra"]) is None:
        del element["extra"]
    return element


def _elements(node: object) -> Iterator[dict[str, Any]]:
    """All objects in a card, the outer ones first."""
    nodes = [node]
    while nodes:
        match nodes.pop():
            case dict() as element:
                yield element
                nodes.extend(element.values())
            case list() as several:
                nodes.extend(several)


# Clicks


def _answer(card: Mapping[str, Any], choice: Choice | None) -> bytes | None:
    """What a click is answered: the card shows what was chosen; None: it could not be kept."""
    if choice is None:
        return encode_result(CardAnswer(toast=_CLOSED))
    line = f"**{choice}** <at id={choice.by.open_id}></at>" if choice.by.open_id else f"**{choice}**"
    return encode_result(CardAnswer(card=Card.raw(_closed(card, line))))


def _key_of(click: Event[Any]) -> str | None:
    """The question that a click is for; None if it is for none of ours."""
    if _MARK.encode() not in click.payload:
        return None
    try:
        action = click.data.action
    except EventDecodeError:
        return None  # whoever handles clicks finds out
    value = action.value if action else None
    key = value.get(_MARK) if isinstance(value, dict) else None
    return key if isinstance(key, str) else None


def _choice_from(click: Event[Any]) -> Choice:
    action = click.data.action
    value = {name: each for name, each in action.value.items() if name != _MARK}
    text = value.get("choice", value.get("value", action.option or action.name or ""))
    return Choice(
        text if isinstance(text, str) else msgspec.json.encode(text).decode(),
        by=click.sender,
        value=value,
        form=action.form_value or {},
    )


def _as_noted(choice: Choice) -> dict[str, Any]:
    return {
        "text": str(choice),
        "by": attrs.asdict(choice.by),
        "value": choice.value,
        "form": dict(choice.form),
    }


def _choice_of(noted: Mapping[str, Any]) -> Choice:
    return Choice(noted["text"], by=Person(**noted["by"]), value=noted["value"], form=noted["form"])
