"""Questions: a card with choices, and the click that answers it, which resolves as it arrives."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from secrets import token_hex
from typing import Any, Final, TypeAlias

import msgspec
import trio

from .._quiet import QuietStruct
from ..api import Api
from ..config import wrong
from ..errors import ApiError, ConfigError, EventDecodeError
from ..events import Card, CardAnswer, Event, Toast, encode_result
from ..events.port import Choice
from ..events.subject import Person
from ..routes import seconds_or_none
from ..telemetry.fields import of_event
from ..telemetry.limits import LogLimit
from .addressed import are_ids
from .question_cards import MARK, closed_card, label_of, marked_card
from .replying import say
from .speech import Saying

__all__ = ["ANYONE", "Asking"]

logger = logging.getLogger("feishu_trio.bot")

ANYONE: Final = "*"
"""Whoever sees the question may answer it."""

Settle: TypeAlias = Callable[[bytes | None], None]

_CLOSE: Final = 3.0  # seconds for a card to say that its question is closed
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


class _Question(QuietStruct, eq=False):
    """A question that waits for its answer."""

    allowed: frozenset[str] | None
    """None: whoever sees it."""
    answered: trio.Event = msgspec.field(default_factory=trio.Event)
    sending: trio.CancelScope = msgspec.field(default_factory=trio.CancelScope)
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
        seconds_or_none("timeout", timeout)
        waiting = _Question(_allowed(allowed, event))
        # Without notes a later run does not know its message, which is closed; by the same key it would not be sent again.
        key = saying.uuid if saying.notes else token_hex(16)
        marked = marked_card(card, key)
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
                await self._close(event, message_id, send, card)

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
        self,
        event: Event[Any],
        message_id: str | None,
        send: Callable[[], Awaitable[str]],
        card: Mapping[str, Any],
    ) -> None:
        """Nobody can answer any more: have the card say so. Sending it again tells its id, where that is not known."""
        with trio.move_on_after(_CLOSE, shield=True):
            try:
                message_id = message_id or await send()
                await self._api.edit(message_id, closed_card(card, _CLOSED_LINE), "interactive")
            except ApiError as error:
                self._limit.log(
                    logger,
                    logging.WARNING,
                    "the card of a question that is closed could not be updated: %s",
                    error,
                    extra=of_event(event),
                )


def _allowed(allowed: str | Collection[str] | None, event: Event[Any]) -> frozenset[str] | None:
    """The ids of those who may answer; None for anyone."""
    if allowed == ANYONE:
        return None
    if allowed is None:
        allowed = [*_ids(event.sender)]
        if not allowed:
            raise ConfigError(
                f"allowed: it is not known whom {event!r} is from, so it must be ids of people (ou_…), or "
                f"{ANYONE!r} for anyone"
            )
    ids = [allowed] if isinstance(allowed, str) else allowed
    if not are_ids(ids) or not ids:
        known = f"ids of people (ou_…), {ANYONE!r} for anyone, or None for whoever the event is from"
        raise wrong("allowed", allowed, known)
    return frozenset(ids)


def _ids(person: Person) -> Iterator[str]:
    return filter(None, (person.open_id, person.user_id, person.union_id))


def _answer(
    card: Mapping[str, Any], click: Event[Any] | None, choice: Choice | None, *, is_over: bool
) -> bytes | None:
    """What a click is answered: the card shows what was chosen, or that it could not be kept."""
    if click is None or choice is None:
        if is_over:
            return encode_result(CardAnswer(toast=_CLOSED, card=Card.raw(closed_card(card, _CLOSED_LINE))))
        return encode_result(CardAnswer(toast=_LOST))
    label = label_of(card, click, choice)
    what = [f"**{label}**"] if label else []
    by = [f"<at id={choice.by.open_id}></at>"] if choice.by.open_id else []
    return encode_result(CardAnswer(card=Card.raw(closed_card(card, " ".join([*what, *by])))))


def _key_of(click: Event[Any]) -> str | None:
    """The question that a click is for; None if it is for none of ours."""
    if MARK.encode() not in click.payload:
        return None
    try:
        action = click.data.action
    except EventDecodeError:
        return None  # whoever handles clicks finds out
    value = action.value if action else None
    key = value.get(MARK) if isinstance(value, dict) else None
    return key if isinstance(key, str) else None


def _choice_from(click: Event[Any]) -> Choice:
    action = click.data.action
    value = {name: each for name, each in action.value.items() if name != MARK}
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
        "by": msgspec.structs.asdict(choice.by),
        "value": choice.value,
        "form": dict(choice.form),
    }


def _choice_of(noted: Mapping[str, Any]) -> Choice:
    return Choice(noted["text"], by=Person(**noted["by"]), value=noted["value"], form=noted["form"])
