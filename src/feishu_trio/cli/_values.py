"""What options take: numbers within bounds and names of a few, told in the same words where they are wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from math import isfinite
from typing import TypeVar

import typer

from feishu_trio.events import types

__all__ = ["event_types", "names", "one_of", "seconds", "whole"]

E = TypeVar("E", bound=StrEnum)


def whole(low: int, high: int | None = None) -> Callable[[str], int]:
    """A parser for whole numbers within these bounds."""
    allowed = f"a whole number, {low} or more" if high is None else f"a whole number from {low} to {high}"

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise _refused(repr(text), allowed) from None
        if number < low or (high is not None and number > high):
            raise _refused(number, allowed)
        return number

    return parse


def seconds(low: float) -> Callable[[str], float]:
    """A parser for a time in seconds, at least this."""
    allowed = f"a number of seconds, {low:g} or more"

    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            raise _refused(repr(text), allowed) from None
        if not isfinite(number) or number < low:
            raise _refused(number, allowed)
        return number

    return parse


def one_of(members: Iterable[E]) -> Callable[[str], E]:
    """A parser for the names of these members, in whichever case."""
    by_name = {str(member): member for member in members}

    def parse(text: str) -> E:
        member = by_name.get(text.lower())
        if member is None:
            raise _refused(repr(text), f"one of {', '.join(by_name)}")
        return member

    return parse


def names(members: Iterable[StrEnum]) -> Callable[[str], list[str]]:
    """What a shell completes the beginning of a member's name with."""
    known = [str(member) for member in members]
    return lambda incomplete: [name for name in known if name.startswith(incomplete.lower())]


def event_types(incomplete: str) -> list[str]:
    """What a shell completes the beginning of an event type with."""
    known = (value for name, value in vars(types).items() if name.isupper() and isinstance(value, str))
    return sorted(value for value in known if value.startswith(incomplete))


def _refused(value: object, allowed: str) -> typer.BadParameter:
    return typer.BadParameter(f"{value} is not allowed; it must be {allowed}")
