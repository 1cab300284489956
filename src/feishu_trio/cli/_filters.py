"""`--filter`: which events are shown, by what stands in their payloads."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from fnmatch import translate
from typing import Any, Final

from feishu_trio import ConfigError, Event

from ._views import compact

__all__ = ["Filter", "filter_of"]

Filter = Callable[[Event[Any]], bool]
"""Whether an event is shown. Raises `EventDecodeError` if its payload cannot be decoded."""

_FORM: Final = re.compile(
    r"(?P<path>[^\s=!~.]+(?:\.[^\s=!~.]+)*)(?P<relation>!=|=|~)(?P<value>.*)", re.DOTALL
)


def filter_of(text: str) -> Filter:
    """The filter that PATH=VALUE, PATH!=VALUE or PATH~GLOB is.

    Raises `ConfigError` for anything else.
    """
    form = _FORM.fullmatch(text)
    if form is None:
        raise ConfigError(
            f"--filter: {text!r} is not allowed; it must be PATH=VALUE, PATH!=VALUE or PATH~GLOB, "
            "such as event.message.chat_id=oc_1 or 'text~*deploy*'"
        )
    path, value = form["path"].split("."), form["value"]
    fits = re.compile(translate(value)).fullmatch if form["relation"] == "~" else value.__eq__
    wanted = form["relation"] != "!="

    def keeps(event: Event[Any]) -> bool:
        found = _found({**event.raw, **compact(event)}, path)
        return any(bool(fits(each)) for each in found) is wanted

    return keeps


def _found(node: object, path: list[str]) -> Iterator[str]:
    """The values at a path, as text; of a list, those of all its elements."""
    if isinstance(node, list):
        for each in node:
            yield from _found(each, path)
    elif path:
        if isinstance(node, Mapping) and path[0] in node:
            yield from _found(node[path[0]], path[1:])
    elif not isinstance(node, Mapping):
        yield node if isinstance(node, str) else json.dumps(node)
