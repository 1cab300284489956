"""What calls are given: refused before anything is sent, with words that say what to give instead."""

from __future__ import annotations

from collections.abc import Mapping
from json import dumps
from typing import Any, Final
from urllib.parse import quote

from ..config.rules import kind_only, number, shown
from ..errors import ApiError

__all__ = [
    "A_MESSAGE",
    "as_json",
    "check_id",
    "check_mapping",
    "check_sequence",
    "check_size",
    "check_timeout",
    "check_utf8",
    "given",
    "in_path",
    "message_in_path",
    "refused",
]

A_MESSAGE: Final = (
    "a message's id, such as event.about (om_…), or the message_id of what event.reply() has returned"
)
# What ids of other things begin with: chats, users, apps, threads, pictures and files.
_NO_MESSAGES: Final = ("oc_", "ou_", "on_", "cli_", "omt_", "img_", "file_")

_SECONDS: Final = number(float, 0, unit="seconds")
_BYTES: Final = number(int, 1, unit="bytes")
_SEQUENCE: Final = number(int, 1, 2**31 - 1)


def refused(name: str, value: object, allowed: str) -> ApiError:
    """The error of an argument: what it is and what is allowed. Its value is not shown: it may be a secret."""
    kind = "an empty string" if value == "" else "None" if value is None else kind_only(value)
    return ApiError(f"{name}: {kind} is not allowed; it must be {allowed}")


def check_id(name: str, value: object, allowed: str) -> None:
    """Refuse what no id or token can be."""
    if not isinstance(value, str) or not value:
        raise refused(name, value, allowed)


def in_path(name: str, value: str, allowed: str) -> str:
    """An id as it stands in a path, which it cannot leave."""
    check_id(name, value, allowed)
    check_utf8(name, value, allowed)
    return quote(value, safe="")


def check_utf8(name: str, value: object, allowed: str) -> None:
    """Refuse a text that UTF-8 has not."""
    try:
        if isinstance(value, str):
            value.encode()
    except UnicodeEncodeError as error:
        raise refused(name, value, f"{allowed}, without half surrogate pairs") from error


def message_in_path(value: str) -> str:
    """A chat message's id as it stands in a path; an id of something else is refused."""
    part = in_path("message_id", value, A_MESSAGE)
    if (other := next(filter(value.startswith, _NO_MESSAGES), None)) is not None:
        raise ApiError(f"message_id: an id that begins with {other} is not allowed; it must be {A_MESSAGE}")
    return part


def check_mapping(name: str, value: object, allowed: str) -> None:
    """Refuse what is no mapping."""
    if not isinstance(value, Mapping):
        raise refused(name, value, allowed)


def check_timeout(value: float) -> None:
    """Refuse what is no time in seconds."""
    if not _SECONDS.test(value) or not value:
        raise ApiError(f"timeout: {shown(value)} is not allowed; it must be a number of seconds, more than 0")


def check_size(name: str, value: int) -> None:
    """Refuse what is no size in bytes."""
    if not _BYTES.test(value):
        raise ApiError(f"{name}: {shown(value)} is not allowed; it must be {_BYTES.allowed}")


def check_sequence(value: int) -> None:
    """Refuse what cannot number a card's operations."""
    if not _SEQUENCE.test(value):
        raise ApiError(
            f"sequence: {shown(value)} is not allowed; it must be {_SEQUENCE.allowed}, and larger than the card's last"
        )


def as_json(name: str, value: object) -> str:
    """The JSON of a value.

    Raises:
        ApiError: It has none.
    """
    try:
        text = dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        text.encode()  # half a surrogate pair is no UTF-8
    except (TypeError, ValueError, RecursionError) as error:
        reason = "it nests too deeply" if isinstance(error, RecursionError) else error
        raise ApiError(
            f"{name}: it cannot be written as JSON: {reason}; give dicts, lists, texts and numbers"
        ) from error
    return text


def given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}
