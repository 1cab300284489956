"""A class of settings: its names are checked, and `help` shows what each field means and may be.

@settings
@frozen(kw_only=True)
class Limits:
    size: int = field(default=1, validator=number(int, 1, 10), metadata=about("How many at a time."))
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from inspect import cleandoc
from textwrap import fill, indent
from typing import Any, TypeVar

import attrs

from ..errors import ConfigError
from . import dotnet
from .rules import Rule, unknown

_Class = TypeVar("_Class", bound=type)


def about(text: str) -> dict[str, str]:
    """The metadata of a field that means this."""
    return {"about": text}


def settings(cls: _Class) -> _Class:
    """Makes an attrs class one of settings; see the top of this file."""
    init: Callable[..., None] = cls.__init__  # type: ignore[misc]

    @functools.wraps(init)
    def checked(self: object, *values: object, **given: Any) -> None:
        if values:
            name = cls.__name__
            raise ConfigError(f"{name} takes its settings by name, as {name}({_fields(cls)[0].name}=…)")
        check_names(given, cls)
        init(self, **given)

    cls.__init__ = checked  # type: ignore[misc]
    cls.__doc__ = _Docstring(cls.__doc__ or "")  # type: ignore[assignment]
    return cls


class _Docstring:
    """A class's docstring with its settings behind it: put together when it is read, as most programs never do."""

    def __init__(self, summary: str) -> None:
        self._summary = summary

    def __get__(self, instance: object, cls: type) -> str:
        entries = "\n".join(map(_help, _fields(cls)))
        return f"{cleandoc(self._summary)}\n\nSettings, with their defaults:\n\n{entries}"


def check_names(names: Iterable[str], cls: type) -> None:
    """Raises `ConfigError` for a name that is none of the class's settings, with the one that was meant."""
    known = [a.name for a in _fields(cls)]
    for name in names:
        if name not in known:
            raise unknown(name, known, instead=dotnet.instead_of(name))


def _fields(cls: type) -> list[attrs.Attribute[Any]]:
    return [a for a in attrs.fields(cls) if a.init]


def _help(a: attrs.Attribute[Any]) -> str:
    default = getattr(a.default, "factory", lambda: a.default)()
    texts = [a.metadata["about"]]
    if isinstance(a.validator, Rule):
        texts.append(f"Allowed: {a.validator.described}.")
    shown = getattr(default, "__name__", None) or repr(default)
    return f"{a.name} = {shown}\n" + indent("\n".join(fill(text, 100) for text in texts), "    ")
