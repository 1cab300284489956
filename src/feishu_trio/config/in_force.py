"""The settings in force, each with where its value came from, for people to read: no secret is in it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import attrs
import msgspec

from .rules import Rule, masked_headers, masked_url, without_secrets
from .sources import Entry, SettingOrigin

__all__ = ["Setting", "setting_of"]

_MASK = "***"


class Setting(msgspec.Struct, frozen=True):
    """One setting as it is in force."""

    name: str
    """As in `SessionConfig`."""
    value: Any
    """What JSON can hold: an object that only code can make is the name of its type, and a secret `***`."""
    is_default: bool
    """Whether the value is the default's, wherever it came from."""
    origin: SettingOrigin
    """Where the value came from."""
    place: str = ""
    """Where in its origin: the variable, or the file and the path of keys in it; empty for the others."""


def setting_of(field: attrs.Attribute[Any], value: Any, default: Any, entry: Entry | None) -> Setting:
    """The setting of a field; `entry` is what its last source held for it."""
    is_default = bool(value == default)
    if entry is None:
        origin = SettingOrigin.DEFAULT if is_default else SettingOrigin.GIVEN
        return Setting(field.name, _plain(field, value), is_default, origin)
    place = "" if entry.origin is SettingOrigin.GIVEN else entry.place
    if entry.file:
        place = f"{entry.file}: {place}"
    return Setting(field.name, _plain(field, value), is_default, entry.origin, place)


def _plain(field: attrs.Attribute[Any], value: Any) -> Any:
    """A value as JSON can hold it, and without secrets."""
    show = field.validator.show if isinstance(field.validator, Rule) else None
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, enum.Enum):
        return value.value
    if callable(value):
        return "a function"
    if show is masked_headers:
        return dict.fromkeys(value, _MASK)
    if isinstance(value, Mapping):
        return {name: attrs.asdict(each) for name, each in value.items()}
    if not isinstance(value, str):
        return type(value).__name__
    if show is masked_url:
        return without_secrets(value)
    return value if field.repr else _MASK
