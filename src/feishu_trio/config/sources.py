"""Where settings can be read from: environment variables, and TOML and JSON files.

Each function yields what it found as triples of place, setting and value; whether a value is allowed is for
whoever makes settings of them to find out.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from ..errors import ConfigError
from . import dotnet
from .rules import Form, Rule, flag, kind_only, unknown, wrong

_log = logging.getLogger(__name__)

Found: TypeAlias = tuple[str, str, Any]
"""The place (a variable, or a path of keys in a file), the setting's name, and the value."""
Table: TypeAlias = dict[str, Any]


# --- the environment ----------------------------------------------------------------------------------------


def from_environment(environ: Mapping[str, str], prefix: str, rules: Mapping[str, Rule]) -> Iterator[Found]:
    """The settings that variables hold: the name in capitals after `prefix`."""
    for name, rule in rules.items():
        variable = prefix + name.upper()
        text = environ.get(variable, "").strip()
        if text and rule.form is Form.TEXT:
            yield variable, name, rule.read(text)


# --- files --------------------------------------------------------------------------------------------------


def from_file(path: Path, section: str | None, rules: Mapping[str, Rule]) -> list[Found]:
    """The settings that a file, or one section of it, holds under our names or the .NET client's."""
    table, place = find_section(parse(path), section)
    return from_table(table, place, rules)


def parse(path: Path) -> Table:
    """What a `.toml` or `.json` file holds."""
    import json
    import tomllib

    suffix = path.suffix.lower()
    if suffix not in {".toml", ".json"}:
        raise ConfigError("settings are read from .toml and .json files only")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"not UTF-8, at byte {error.start}") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
    try:
        document = tomllib.loads(text) if suffix == ".toml" else json.loads(strict_json(text))
    except (ValueError, RecursionError) as error:
        # Not chained: the parser's error holds the whole text, with the secrets in it.
        raise ConfigError(f"cannot be parsed: {error}") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{kind_only(document)} where an object with settings is expected")
    return document


_STRING = r'"(?:[^"\\\n]|\\.)*"'
_COMMENT = re.compile(rf"{_STRING}|(//[^\n]*|/\*.*?\*/)", re.DOTALL)
_LAST_COMMA = re.compile(rf"{_STRING}|(,)(?=\s*[\]}}])")


def strict_json(text: str) -> str:
    """`text` with comments and trailing commas blanked out: errors still name the right line and column."""

    def blank(match: re.Match[str]) -> str:
        return match[0] if match[1] is None else re.sub(r"[^\n]", " ", match[0])

    return _LAST_COMMA.sub(blank, _COMMENT.sub(blank, text))


# --- sections -----------------------------------------------------------------------------------------------


def find_section(document: Table, section: str | None) -> tuple[Table, str]:
    """The table of settings, and its place in the file as a prefix for names."""
    if section is None:
        name = _find_table(document, "feishu")
        return (document, "") if name is None else (document[name], f"{name}:")
    place, parent, table = "", document, document
    for key in section.split(":"):
        name = _find_table(table, key)
        if name is None:
            tables = [name for name, value in table.items() if isinstance(value, dict)]
            where = f"in {place[:-1]!r}" if place else "at its top"
            there = f"there are {', '.join(map(repr, tables))}" if tables else "there are none"
            raise ConfigError(f"there is no section {section!r}: no {key!r} {where}, where {there}")
        place, parent, table = f"{place}{name}:", table, table[name]
    if section.casefold().split(":")[-1] == "websocket":
        missing = {"appid", "appsecret"} - set(map(_folded, table))
        table = {key: value for key, value in parent.items() if _folded(key) in missing} | table
    return table, place


def _find_table(table: Table, key: str) -> str | None:
    """The name of the table in `table` that .NET would find under `key`."""
    tables = [name for name, value in table.items() if isinstance(value, dict)]
    same = [name for name in tables if name.casefold() == key.casefold()]
    return key if key in same else next(iter(same), None)


def _folded(key: str) -> str:
    """`AppId` and `app_id` as one."""
    return key.casefold().replace("_", "")


# --- names --------------------------------------------------------------------------------------------------


def from_table(table: Table, root: str, rules: Mapping[str, Rule]) -> list[Found]:
    """The settings in a table whose place in the file is `root`."""
    ours = [name for name, rule in rules.items() if rule.form is not Form.OBJECT]
    names = {name.casefold(): name for name in [*ours, *dotnet.OPTIONS, *dotnet.SWITCHES, *dotnet.UNUSED]}
    found: dict[str, tuple[str, Any]] = {}
    switched_off: dict[str, tuple[str, Any]] = {}
    unused = []
    for place, key, value in _entries(table, root, ""):
        name = names.get(key.casefold())
        if name is None:
            hint = "; a section is read if it is named: section=..." if isinstance(value, dict) else ""
            raise ConfigError(f"{unknown(key, names.values(), place=place)}{hint}")
        if name in dotnet.UNUSED:
            unused.append(place)
        elif value is None:  # JSON's way of leaving an option as it is
            continue
        elif name in dotnet.SWITCHES:
            on = flag().read(value)
            if not isinstance(on, bool):
                raise wrong(place, value, "true or false")
            if not on:
                setting, off = dotnet.SWITCHES[name]
                switched_off[setting] = (place, off)
        else:
            setting, convert = dotnet.OPTIONS.get(name, (name, dotnet.as_is))
            if setting in found:
                raise ConfigError(f"{place}: {setting} is given twice, first as {found[setting][0]}")
            found[setting] = (place, rules[setting].read(convert(value)))
    if unused:
        _log.warning("ignored, as this client has nothing of the kind: %s", ", ".join(unused))
    return [(place, setting, value) for setting, (place, value) in (found | switched_off).items()]


def _entries(table: Table, place: str, prefix: str) -> Iterator[Found]:
    """Each entry's place in the file, its name and its value; those of inner tables in place of the table."""
    for key, value in table.items():
        inner = dotnet.INNER_TABLES.get(key.casefold())
        if inner is not None and isinstance(value, dict):
            yield from _entries(value, f"{place}{key}:", inner)
        else:
            yield f"{place}{key}", prefix + key, value
