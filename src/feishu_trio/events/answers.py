"""Answers to callbacks: what a handler of `card.action.trigger` or `url.preview.get` returns.

A handler may return a dict of the same shape just as well; `encode_result` writes either.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

__all__ = ["Card", "CardAnswer", "Inline", "PreviewAnswer", "Toast", "encode_result", "flaw_of"]

# What the answer to a callback may hold, by its type.
_MEMBERS: Final = {"card.action.trigger": ("toast", "card"), "url.preview.get": ("inline", "card")}
_TOAST: Final = ("type", "content", "i18n")
_TOAST_TYPES: Final = ("info", "success", "warning", "error")
# What JSON calls what Python makes of it.
_KINDS: Final = {
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "a boolean",
    list: "a list",
    type(None): "null",
}


class Toast(msgspec.Struct, frozen=True):
    """A short message that pops up for whoever touched the card."""

    content: str | None = None
    """The text; None leaves it out."""
    type: Literal["info", "success", "warning", "error"] = "info"
    """How it looks."""
    i18n: Mapping[str, str] | None = None
    """The text by locale, such as `{"zh_cn": "已保存", "en_us": "Saved"}`; None leaves it out."""


class Card(msgspec.Struct, frozen=True):
    """A card to show instead of the present one: `Card.raw(…)` or `Card.template(…)`."""

    type: Literal["raw", "template"]
    """What `data` is: the card itself, or what names a template."""
    data: Mapping[str, Any]
    """The card's JSON; of a template its id, version and variables, as Feishu names them."""

    @classmethod
    def raw(cls, card: Mapping[str, Any]) -> Card:
        """A card by its JSON."""
        return cls("raw", card)

    @classmethod
    def template(
        cls, template_id: str, variables: Mapping[str, Any] | None = None, *, version: str | None = None
    ) -> Card:
        """A card made in the card builder, with its variables; the newest version if none is named."""
        data: dict[str, Any] = {"template_id": template_id}
        if version is not None:
            data["template_version_name"] = version
        if variables is not None:
            data["template_variable"] = variables
        return cls("template", data)


class CardAnswer(msgspec.Struct, frozen=True):
    """The answer to `card.action.trigger`: a toast, a new card, both or neither."""

    toast: Toast | None = None
    """What pops up; None for nothing."""
    card: Card | None = None
    """The card to show instead; None leaves the present one."""


class Inline(msgspec.Struct, frozen=True):
    """A link's preview in the line of text: a title, and an icon. What is None is left out."""

    title: str | None = None
    """The title."""
    i18n_title: Mapping[str, str] | None = None
    """The title by locale, such as `{"zh_cn": "报告", "en_us": "Report"}`."""
    image_key: str | None = None
    """The icon: an image's key."""


class PreviewAnswer(msgspec.Struct, frozen=True):
    """The answer to `url.preview.get`."""

    inline: Inline | None = None
    """What stands in the line; None leaves it out."""
    card: Card | None = None
    """The card below the message; None for no card."""


def encode_result(value: object) -> bytes:
    """The JSON of what a handler returned: dicts, attrs classes, structs, dataclasses, and what is in them.

    None members of this module's answers are left out; everybody else's are written as null.

    Raises:
        TypeError: something in it has no form in JSON.
        ValueError: something in it has no value in JSON (NaN, half a surrogate pair), or it contains itself.
    """
    if isinstance(value, BaseException):
        raise TypeError(f"{type(value).__name__} is an exception: it is raised, not returned")
    try:
        plain = msgspec.to_builtins(_without_none(value), str_keys=True)
        return json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except RecursionError:
        raise ValueError(
            f"a handler's result ({type(value).__name__}) nests too deeply, or contains itself"
        ) from None
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(
            f"a handler's result ({type(value).__name__}) cannot be written as JSON: {error}"
        ) from error


def flaw_of(callback: str, answer: bytes) -> str | None:
    """What keeps the JSON of an answer from having an effect, and what it may hold; None if nothing does.

    Its outermost members and the toast are looked at: Feishu says itself what is wrong with a card.
    """
    members = _MEMBERS.get(callback)
    if members is None:
        return None
    value = json.loads(answer)
    allowed = f"it may be an object with {' and '.join(map(repr, members))}, each an object, and nothing else"
    if not isinstance(value, dict):
        return f"it is {_KINDS[type(value)]}; {allowed}"
    unknown = [name for name in value if name not in members]
    if unknown:
        return f"it has {', '.join(f'{name[:40]!r}' for name in unknown[:5])}; {allowed}"
    odd = next((name for name in value if not isinstance(value[name], dict | None)), None)
    if odd:
        return f"its {odd!r} is {_KINDS[type(value[odd])]}; {allowed}"
    return _flaw_of_toast(value.get("toast") or {})


def _flaw_of_toast(toast: Mapping[str, object]) -> str | None:
    unknown = [name for name in toast if name not in _TOAST]
    if unknown:
        names = ", ".join(f"{name[:40]!r}" for name in unknown[:5])
        return f"its 'toast' has {names}; it may have {', '.join(map(repr, _TOAST))}, and nothing else"
    kind = toast.get("type")
    if kind is None or kind in _TOAST_TYPES:
        return None
    return f"the 'type' of its 'toast' is {str(kind)[:40]!r}; it may be {', '.join(map(repr, _TOAST_TYPES))}"


def _without_none(value: object) -> object:
    if isinstance(value, Toast | Card | CardAnswer | Inline | PreviewAnswer):
        members = msgspec.structs.asdict(value)
        return {name: _without_none(member) for name, member in members.items() if member is not None}
    if isinstance(value, Mapping):
        return {key: _without_none(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_without_none(member) for member in value]
    return value
