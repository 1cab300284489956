"""Questions: a card with choices, and the click that answers it, which resolves as it arrives."""

from __future__ import annotations

import copy
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from secrets import token_hex
from typing import Any, Final, TypeAlias

import attrs
import msgspec
import trio

from ..api import Api
from ..config import wrong
from ..errors import ApiError, ConfigError, EventDecodeError
from ..events import Card, CardAnswer, Event, Toast, encode_result
from ..events.port import Choice
from ..events.subject import Person
from ..telemetry.limits import LogLimit
from .replying import say
from .speech import Saying

__all__ = ["ANYONE", "Asking", "Choices", "card_of"]

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
_CONTAINER: Final = "interactive_container"  # clicked as a whole, whatever is in it
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
_LOST = Toast(
    "Your answer could not be kept. Please try again later.",
    "warning",
    {
        "zh_cn": "你的回答未能保存，请稍后再试。",
        "en_us": "Your answer could not be kept. Please try again later.",
    },
)
_CLOSED_LINE: Final = "*(closed)*"


@attrs.define(eq=False)
class _Question:
    """A question that waits for its answer."""

    allowed: frozenset[str] | None
    """None: whoever sees it."""
    answered: trio.Event = attrs.field(factory=trio.Event)
    sending: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    click: Event[Any] | None = None
    settle: Settle | None = None


class Asking:
    """The questions of a bot."""

    def __init__(self, api: Api, limit: LogLimit) -> None:
        self._api = api
        self._limit = limit
        self._open: dict[str, _Question] = {}

    async def ask(
        self,
        event: Event[Any],
        saying: Saying,
        card: Mapping[str, Any],
        *,
        allowed: str | Collection[str] | None,
        timeout: float | None,
        in_thread: bool | None,
        quote: bool,
    ) -> Choice:
        """Ask, and wait for the first click of somebody who is allowed to answer."""
        _check_timeout(timeout)
        waiting = _Question(_allowed(allowed, event))
        # Without notes a later run does not know its message, which is closed; by the same key it would not be sent again.
        key = saying.uuid if saying.notes else token_hex(16)
        marked = _marked(card, key)
        noted = saying.noted() or {}
        if "choice" in noted:
            return _choice_of(noted["choice"])
        if noted.get("is_over"):
            raise TimeoutError("nobody answered in time when this was asked before")
        self._open[key] = waiting

        async def send() -> str:
            return await say(self._api, event, marked, "interactive", key, in_thread=in_thread, quote=quote)

        message_id: str | None = noted.get("message")
        choice: Choice | None = None
        is_over = may_be_sent = False
        try:
            if message_id is None:
                with (
                    waiting.sending
                ):  # a click tells the message's id, too, and perhaps before Feishu's answer
                    may_be_sent = True
                    try:
                        message_id = await send()
                    except ApiError:
                        may_be_sent = False
                        raise
                if message_id is None and waiting.click is not None:
                    message_id = waiting.click.about
                await saying.note({"message": message_id})
            with trio.move_on_after(float("inf") if timeout is None else timeout):
                await waiting.answered.wait()
            if waiting.click is None:
                await saying.note({"message": message_id, "is_over": True})
                is_over = True
                raise TimeoutError(f"nobody answered within {timeout:g} s")
            chosen = _choice_from(waiting.click)
            await saying.note({"message": message_id, "choice": _as_noted(chosen)})
            choice = chosen  # from here on it cannot be lost
            return choice
        finally:
            if self._open.get(key) is waiting:
                del self._open[key]
            if waiting.settle is not None:
                waiting.settle(_answer(card, waiting.click, choice, is_over=is_over or saying.is_last))
            elif (message_id or may_be_sent) and (is_over or saying.is_last):
                await self._close(message_id, send, card)

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
            question.sending.cancel()
            question.answered.set()
        return True

    async def _close(
        self, message_id: str | None, send: Callable[[], Awaitable[str]], card: Mapping[str, Any]
    ) -> None:
        """Nobody can answer any more: have the card say so. Sending it again tells its id, where that is not known."""
        with trio.move_on_after(_CLOSE, shield=True):
            try:
                message_id = message_id or await send()
                await self._api.edit(message_id, _closed(card, _CLOSED_LINE), "interactive")
            except ApiError as error:
                self._limit.log(
                    logger,
                    logging.WARNING,
                    "the card of a question that is closed could not be updated: %s",
                    error,
                )


def _allowed(allowed: str | Collection[str] | None, event: Event[Any]) -> frozenset[str] | None:
    if allowed is None:
        allowed = [*_ids(event.sender)]
        if not allowed:
            raise ConfigError(
                f"allowed: it is not known whom {event!r} is from, so it must be ids of people (ou_…), or "
                f"{ANYONE!r} for anyone"
            )
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


def _check_timeout(timeout: float | None) -> None:
    is_number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if timeout is not None and not (is_number and timeout > 0):
        raise wrong(
            "timeout", timeout, "a number of seconds, more than 0, or None for as long as the handler may"
        )


# Cards


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


def _marked(card: Mapping[str, Any], key: str) -> dict[str, Any]:
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
    return {**_fields(value), _MARK: key}


def _fields(value: object) -> dict[str, Any]:
    """What an element says when it is clicked, as an object."""
    return value if isinstance(value, dict) else {} if value is None else {"value": value}


def _closed(card: Mapping[str, Any], line: str) -> dict[str, Any]:
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


# Clicks


def _answer(
    card: Mapping[str, Any], click: Event[Any] | None, choice: Choice | None, *, is_over: bool
) -> bytes | None:
    """What a click is answered: the card shows what was chosen, or that it could not be kept."""
    if click is None or choice is None:
        if is_over:
            return encode_result(CardAnswer(toast=_CLOSED, card=Card.raw(_closed(card, _CLOSED_LINE))))
        return encode_result(CardAnswer(toast=_LOST))
    label = _label(card, click, choice)
    what = [f"**{label}**"] if label else []
    by = [f"<at id={choice.by.open_id}></at>"] if choice.by.open_id else []
    return encode_result(CardAnswer(card=Card.raw(_closed(card, " ".join([*what, *by])))))


def _label(card: Mapping[str, Any], click: Event[Any], choice: Choice) -> str:
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
    behaviors = button.get("behaviors")
    if isinstance(behaviors, list):
        return [each.get("value") for each in behaviors if isinstance(each, dict)]
    return [button.get("value")]


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
    chosen = value.get("choice", value.get("value"))
    if chosen is None:
        chosen = action.option or action.options or action.input_value or action.checked
    if chosen is None:
        chosen = value or action.name or ""
    return Choice(
        chosen if isinstance(chosen, str) else msgspec.json.encode(chosen).decode(),
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
