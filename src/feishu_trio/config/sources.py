"""Where settings can be read from: environment variables, and TOML and JSON files.

What is found are triples of place, name and value: first entries, by any name that is known. Those of one source are a
layer; layers that lie on each other make settings. Whether a value is allowed is for whoever makes settings of them to
find out.
"""

from __future__ import annotations

import enum
import logging
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from ..errors import ConfigError
from . import dotnet
from .rules import Form, Rule, at, flag, kind_only, nearest, unknown, wrong

_log = logging.getLogger(__name__)

Found: TypeAlias = tuple[str, str, Any]
"""The place (a variable, or a path of keys in a file), the name, and the value."""
Table: TypeAlias = dict[str, Any]


class SettingOrigin(enum.StrEnum):
    """Where the value of a setting came from."""

    DEFAULT = "default"
    """It was not given."""
    FILE = "file"
    """A TOML or JSON file."""
    ENVIRONMENT = "environment"
    """A variable of the environment."""
    GIVEN = "given"
    """By name, in code; or as an option of a command."""


class Entry(NamedTuple):
    """What one source holds for a setting."""

    place: str
    name: str
    """As it was given: the setting's own, or the .NET client's."""
    setting: str
    value: Any
    """The setting's; of a switch, whether it is on."""
    given: Any = None
    """As it was given: of a time in milliseconds these."""
    origin: SettingOrigin = SettingOrigin.GIVEN
    file: str = ""
    """The file that `place` is in."""

    @property
    def is_in_milliseconds(self) -> bool:
        """Whether it is a time as the .NET client has it."""
        return self.name in dotnet.OPTIONS and dotnet.OPTIONS[self.name][1] is dotnet.milliseconds


Layer: TypeAlias = tuple[Entry, ...]
"""What one source holds."""


# --- the environment ----------------------------------------------------------------------------------------


def from_environment(environ: Mapping[str, str], prefix: str, rules: Mapping[str, Rule]) -> Layer:
    """The entries that variables hold: the name in capitals after `prefix`, or as .NET nests keys in one."""
    entries = [
        (variable, name, environ[variable])
        for name, rule in rules.items()
        if rule.form is Form.TEXT and (variable := prefix + name.upper()) in environ
    ]
    root = prefix.rstrip("_").casefold()
    known = _names(rules)
    for variable, text in environ.items():
        start, *keys = variable.split("__")
        if not keys and variable.startswith(prefix):
            _warn_if_nearly(variable, variable[len(prefix) :].lower(), rules)
        if start.casefold() != root or not keys:
            continue
        *tables, key = keys
        name = "".join(_INNER.get(table.casefold(), f"{table}:") for table in tables) + key
        if name.casefold() in known:
            entries.append((variable, name, text))
        else:
            _warn_if_nearly(variable, name, known.values())
    found = [(place, name, text.strip()) for place, name, text in entries if text.strip()]
    return tuple(entry._replace(origin=SettingOrigin.ENVIRONMENT) for entry in layer_of(found, rules))


def _warn_if_nearly(variable: str, name: str, names: Collection[str]) -> None:
    """Tell of a variable that is ignored, but may have been meant for a setting.

    It may be another program's: whether it looks like one is judged more strictly than in files, unless it is some of a
    setting's words, as `heartbeat` is.
    """
    if name in names:
        return
    longer = [each for each in names if f"_{name}_" in f"_{each}_"]
    if near := nearest(name, names, alike=0.8) or nearest(name, longer):
        _log.warning("%s is no setting, and is ignored; the nearest is %r", variable, near)


# --- files --------------------------------------------------------------------------------------------------


def from_file(path: Path, section: str | None, rules: Mapping[str, Rule]) -> Layer:
    """The entries that a file, or one section of it, holds under our names or the .NET client's."""
    layer = layer_of(entries_of(parse(path), section, rules), rules)
    return tuple(entry._replace(origin=SettingOrigin.FILE, file=str(path)) for entry in layer)


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
        if isinstance(error, RecursionError) and suffix == ".json":
            error = json.JSONDecodeError("Nested too deep", text, _too_deep(text))
        # Not chained: the parser's error holds the whole text, with the secrets in it.
        raise ConfigError(f"cannot be parsed: {error}") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{kind_only(document)} where an object with settings is expected")
    return document


# How deep a file may nest, at least; what is too deep for the parser depends on Python.
_DEPTH = 100
_STRING = r'"(?:[^"\\\n]|\\.)*"'
_COMMENT = rf"(?s){_STRING}|(//[^\n]*|/\*.*?\*/)"
_LAST_COMMA = rf"{_STRING}|(,)(?=\s*[\]}}])"


def strict_json(text: str) -> str:
    """`text` with comments and trailing commas blanked out: errors still name the right line and column."""

    def blank(match: re.Match[str]) -> str:
        return match[0] if match[1] is None else re.sub(r"[^\n]", " ", match[0])

    return re.sub(_LAST_COMMA, blank, re.sub(_COMMENT, blank, text))


def _too_deep(text: str) -> int:
    """Where JSON begins to nest too deep."""
    depth = 0
    for bracket in re.finditer(rf"{_STRING}|([\[{{])|[\]}}]", strict_json(text)):
        if bracket[1]:
            depth += 1
        elif bracket[0] in "]}":
            depth -= 1
        if depth > _DEPTH:
            return bracket.start()
    return 0


# --- sections -----------------------------------------------------------------------------------------------


def entries_of(document: Table, section: str | None, rules: Mapping[str, Rule]) -> list[Found]:
    """What a section holds: each entry's place in the file, its name and its value."""
    feishu = _find_table(document, "feishu")
    if section is None and feishu is not None:
        return list(_entries(document[feishu], f"{feishu}:", rules))
    if section is None:
        entries = list(_entries(document, "", rules))
        tables = ", ".join(repr(name) for name, value in document.items() if isinstance(value, dict))
        if tables and not entries:
            raise ConfigError(
                f"there are no settings at its top, only the tables {tables}; one is read if it is named: section=..."
            )
        return entries
    parent = table = document
    parent_place = place = ""
    for key in section.split(":"):
        name = _find_table(table, key)
        if name is None:
            tables = ", ".join(repr(name) for name, value in table.items() if isinstance(value, dict))
            where = f"in {place[:-1]!r}" if place else "at its top"
            there = f"there are {tables}" if tables else "there are none"
            raise ConfigError(f"there is no section {section!r}: no {key!r} {where}, where {there}")
        parent, parent_place, table, place = table, place, table[name], f"{place}{name}:"
    entries = list(_entries(table, place, rules))
    if section.casefold().split(":")[-1] == "websocket":
        entries += _credentials(parent, parent_place, besides=entries)
    if feishu is not None and "appid" not in _folded_names(entries):
        # Only with the app's id: the secret is another app's otherwise.
        entries += _credentials(document[feishu], f"{feishu}:", besides=entries)
    return entries


def _find_table(table: Table, key: str) -> str | None:
    """The name of the table in `table` that .NET would find under `key`."""
    tables = [name for name, value in table.items() if isinstance(value, dict)]
    same = [name for name in tables if name.casefold() == key.casefold()]
    return key if key in same else next(iter(same), None)


def _entries(table: Table, place: str, rules: Mapping[str, Rule], prefix: str = "") -> Iterator[Found]:
    """The entries of a table, those of inner tables in their place, and none of tables that are another's."""
    names = _names(rules)
    tables = [*dotnet.INNER_TABLES, *(name for name, rule in rules.items() if rule.form is Form.TABLE)]
    for key, value in table.items():
        name = prefix + key
        if value is None and key.casefold() in _TABLES:  # JSON's way of leaving a table out
            continue
        if not isinstance(value, dict) and key.casefold() in _TABLES:
            raise wrong(f"{place}{key}", value, "a table of settings", show=kind_only)
        if not isinstance(value, dict) or name.casefold() in names:
            yield f"{place}{key}", name, value
        elif key.casefold() in _INNER:
            yield from _entries(value, f"{place}{key}:", rules, _INNER[key.casefold()])
        elif near := nearest(key, tables, alike=0.8):
            raise ConfigError(f"{place}{key} is no table of settings; the nearest is {near!r}")


def _credentials(table: Table, place: str, *, besides: list[Found]) -> list[Found]:
    """The app's id and secret in a table, but for what there is already."""
    missing = {"appid", "appsecret"} - _folded_names(besides)
    return [(f"{place}{key}", key, value) for key, value in table.items() if _folded(key) in missing]


def _folded_names(entries: list[Found]) -> set[str]:
    return {_folded(name) for _, name, value in entries if value is not None}


def _folded(key: str) -> str:
    """`AppId` and `app_id` as one."""
    return key.casefold().replace("_", "")


# --- names --------------------------------------------------------------------------------------------------

_INNER = {table.casefold(): prefix for table, prefix in dotnet.INNER_TABLES.items()}
_TABLES = {"feishu", *_INNER}


def _names(rules: Mapping[str, Rule]) -> dict[str, str]:
    """Every name that a file or the environment may have for something, by itself in lower case."""
    ours = [name for name, rule in rules.items() if rule.form is not Form.OBJECT]
    return {name.casefold(): name for name in [*ours, *dotnet.OPTIONS, *dotnet.SWITCHES, *dotnet.NO_EFFECT]}


def layer_of(entries: list[Found], rules: Mapping[str, Rule]) -> Layer:
    """These entries of one source, each name checked, and none without effect."""
    names = _names(rules)
    layer: list[Entry] = []
    places: dict[str, str] = {}  # by setting
    without_effect: dict[str, list[str]] = {}
    for place, key, value in entries:
        name = names.get(key.casefold())
        if name is None:
            raise unknown(key, names.values(), place=place)
        if name in dotnet.NO_EFFECT:
            without_effect.setdefault(dotnet.NO_EFFECT[name], []).append(place)
        elif value is None:  # JSON's way of leaving an option as it is
            continue
        elif name in dotnet.SWITCHES:
            on = flag().read(value)
            if not isinstance(on, bool):
                raise wrong(place, value, "true or false")
            layer.append(Entry(place, name, dotnet.SWITCHES[name][0], on))
        else:
            setting, convert = dotnet.OPTIONS.get(name, (name, dotnet.as_is))
            if setting in places:
                raise ConfigError(f"{place}: given already, as {places[setting]}; both are {setting}")
            places[setting] = place
            read = rules[setting].read
            layer.append(Entry(place, name, setting, read(convert(value)), read(value)))
    for why, ignored in without_effect.items():
        _log.warning("without effect: %s (%s)", ", ".join(ignored), why)
    return tuple(layer)


@contextmanager
def read_from(entry: Entry, rules: Mapping[str, Rule]) -> Iterator[None]:
    """Has a `ConfigError` about the value of an entry say where it stands; in the unit that it has there."""
    try:
        with at(entry.place):
            yield
    except ConfigError as error:
        if not entry.is_in_milliseconds:
            raise
        allowed = dotnet.in_milliseconds(rules[entry.setting].allowed)
        raise wrong(entry.place, entry.given, allowed, why=f"here it is {entry.setting}") from error.__cause__


@contextmanager
def delays_read_from(found: Sequence[Entry]) -> Iterator[None]:
    """Has the `ConfigError` of a longest delay in milliseconds that is below the first say so in these."""
    try:
        yield
    except ConfigError as error:
        entries = {entry.setting: entry for entry in found}
        most, first = (entries.get(name) for name in ("max_reconnect_delay", "reconnect_delay"))
        if most is None or first is None or not most.is_in_milliseconds:
            raise
        allowed = f"{first.value * 1000:.0f} or more, as {first.place} is"
        raise wrong(most.place, most.given, allowed, why=f"here it is {most.setting}") from error.__cause__


def settings_in(layers: Sequence[Layer]) -> list[Entry]:
    """The settings that layers stand for, the later over the earlier: as if all stood in one file.

    But a setting by its own name takes the place of switches of earlier layers, too.
    """
    found: dict[str, Entry] = {}
    given: dict[str, Entry] = {}  # by the name that was given
    off: dict[str, Entry] = {}  # the switches that are off
    for layer in layers:
        own = {entry.setting for entry in layer if entry.name == entry.setting}
        off = {name: entry for name, entry in off.items() if entry.setting not in own}
        for entry in layer:
            if entry.name not in dotnet.SWITCHES:
                found[entry.setting] = given[entry.name] = entry
            elif entry.value:
                off.pop(entry.name, None)
            else:
                off[entry.name] = entry
    for name, (setting, value) in dotnet.SWITCHES.items():
        if name in off:
            found[setting] = off[name]._replace(value=value)
    # What reconnecting by the .NET client's options is, and is not here by itself.
    backoff = "reconnect_backoff"
    if "max_reconnect_delay" in found:
        found.setdefault(backoff, _following(found["max_reconnect_delay"], backoff, "exponential"))
    elif "ReconnectDelayMs" in given:
        found.setdefault(backoff, _following(given["ReconnectDelayMs"], backoff, "fixed"))
    return list(found.values())


def _following(entry: Entry, setting: str, value: Any) -> Entry:
    """What a setting is because of an entry for another."""
    return entry._replace(name=setting, setting=setting, value=value, given=None)


def warn_of_limit(layers: Sequence[Layer]) -> None:
    """Tell of a limit of tries that comes from the .NET client's option: as a rule it is not meant to end a program."""
    of_limit = [entry for layer in layers for entry in layer if entry.setting == "max_reconnect_attempts"]
    if of_limit and of_limit[-1].name == "MaxReconnectAttempts":
        count = of_limit[-1].value
        _log.warning(
            "%s: once %s failed the session ends, and a program that runs it; "
            "-1, or leaving it out, goes on trying for as long as Feishu lets it",
            of_limit[-1].place,
            "1 try has" if count == 1 else f"{count} tries in a row have",
        )
