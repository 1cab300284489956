"""What one setting may be, and how it is put when it is something else.

number(float, 0, 3600, unit="seconds").check("timeout", -1)
# ConfigError: timeout: -1 is not allowed; it must be a number of seconds from 0 to 3600
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import attrs
import msgspec

from ..errors import ConfigError

# --- errors -------------------------------------------------------------------------------------------------


def shown(value: object) -> str:
    """The repr of a value, cut to 100 characters."""
    text = repr(dict(value) if isinstance(value, MappingProxyType) else value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def wrong(
    name: str, value: object, allowed: str, *, why: object = "", show: Callable[[object], str] = shown
) -> ConfigError:
    """The error of a wrong value: `NAME: VALUE is not allowed; it must be ALLOWED (WHY)`.

    `show` makes a text of the value; one that may be a secret needs another than the default.
    """
    reason = f" ({why})" if why else ""
    return ConfigError(f"{name}: {show(value)} is not allowed; it must be {allowed}{reason}")


def unknown(name: str, known: Iterable[str], *, place: str = "", instead: str = "") -> ConfigError:
    """The error of a name, found at `place`, that is none of the known ones.

    It says what there is `instead`, or else names the nearest of the known.
    """
    near = nearest(name, known)
    hint = instead or (f"the nearest is {near!r}" if near else "")
    return ConfigError(f"{place or shown(name)} is no setting" + (f"; {hint}" if hint else ""))


def nearest(name: str, known: Iterable[str], *, alike: float = 0.6) -> str | None:
    """The known name that this one most looks like, if they are as much `alike`, from 0 to 1."""
    from difflib import get_close_matches

    by_key = {candidate.casefold(): candidate for candidate in known}
    near = get_close_matches(str(name).casefold(), by_key, n=1, cutoff=alike)
    return by_key[near[0]] if near else None


@contextmanager
def at(place: str) -> Iterator[None]:
    """Puts the place where a value was found before the message of a `ConfigError`, but no word twice."""
    try:
        yield
    except ConfigError as error:
        name, _, rest = str(error).partition(": ")
        repeated = name.casefold() == place.rpartition(":")[2].casefold()
        raise ConfigError(f"{place}: {rest if repeated else error}") from error.__cause__


# --- values that may be secrets -----------------------------------------------------------------------------


def kind_only(value: object) -> str:
    """The type of a value, for one that is a secret whatever it is."""
    return f"a value of type {type(value).__name__} (not shown)"


def masked_url(url: object) -> str:
    """The repr of a URL without what in it may be secret, also where it is too broken to be parsed."""
    return shown(without_secrets(url) if isinstance(url, str) else url)


def without_secrets(url: str) -> str:
    """A URL with `***` in place of its user and password, and of the values in its query; nothing follows a password there."""
    before, mark, query = re.sub(r"^([^/@]*//)?.*@", r"\1***@", url, flags=re.DOTALL).partition("?")
    query = re.sub(r"(?<=password=).*", "", query, flags=re.DOTALL)  # a mark in it may be its own
    return before + mark + re.sub(r"=[^&]*", "=***", query)


def masked_headers(headers: object) -> str:
    """The repr of a mapping of headers without their values, which may be tokens."""
    if headers is None:
        return "None"
    return shown(dict.fromkeys(headers, "***")) if isinstance(headers, Mapping) else kind_only(headers)


# --- rules --------------------------------------------------------------------------------------------------


class Form(enum.Enum):
    """What a setting is written as, and so where it can be read from."""

    TEXT = enum.auto()
    """A text or a number: in code, in the environment, in files."""
    TABLE = enum.auto()
    """A table of names and values: in code and in files."""
    OBJECT = enum.auto()
    """An object that only code can hold."""


class Rule(msgspec.Struct, frozen=True):
    """What a setting may be. As an attrs validator it refuses all else."""

    allowed: str
    test: Callable[[Any], bool]
    optional: bool = False
    """Whether it may be None."""
    parse: Callable[[str], Any] = str
    show: Callable[[object], str] = shown
    form: Form = Form.TEXT

    def check(self, name: str, value: object) -> None:
        """Raises `ConfigError` if `value` is not allowed for the setting of this name."""
        if not ((value is None and self.optional) or self.test(value)):
            raise wrong(name, value, self.described, show=self.show)

    @property
    def described(self) -> str:
        """All that is allowed, in words."""
        return f"None, or {self.allowed}" if self.optional else self.allowed

    def __call__(self, _instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        """As attrs calls a validator."""
        self.check(attribute.name, value)

    def read(self, value: Any) -> Any:
        """The value that a text stands for; anything else is left as it is, for the test to refuse."""
        if not isinstance(value, str):
            return value
        try:
            return self.parse(value)
        except (ValueError, LookupError):
            return value


def rules_of(settings: type) -> dict[str, Rule]:
    """The rules of a class of settings, by name."""
    return {a.name: a.validator for a in attrs.fields(settings) if isinstance(a.validator, Rule)}


def number(
    kind: type[int] | type[float],
    low: float,
    high: float = math.inf,
    *,
    unit: str = "",
    optional: bool = False,
    why: str = "",
) -> Rule:
    """A number, or a whole one if `kind` is int, from `low` to `high`."""

    def test(value: Any) -> bool:
        # Comparing refuses NaN and, as nothing here may last for ever, infinity: both fail `< inf`.
        right_kind = isinstance(value, (int, kind)) and not isinstance(value, bool)
        return right_kind and low <= value <= high and value < math.inf

    name = ("a whole number" if kind is int else "a number") + (f" of {unit}" if unit else "")
    bounds = f"{name}, {low} or more" if high == math.inf else f"{name} from {low} to {high}"
    return Rule(f"{bounds} ({why})" if why else bounds, test, optional, parse=kind)


_FLAGS = dict.fromkeys(("1", "true", "yes", "on"), True) | dict.fromkeys(("0", "false", "no", "off"), False)


def flag() -> Rule:
    """True or False; as a text 1/0, true/false, yes/no, on/off."""
    return Rule(
        "True or False", lambda value: isinstance(value, bool), parse=lambda text: _FLAGS[text.lower()]
    )


def choice(*values: str) -> Rule:
    """One of these words; in a file or the environment in any case."""
    *others, last = map(repr, values)
    return Rule(f"{', '.join(others)} or {last}", lambda value: value in values, parse=str.lower)


def is_text(pattern: str) -> Callable[[object], bool]:
    """A test for strings that match the whole of a pattern."""
    matches = re.compile(pattern).fullmatch
    return lambda value: isinstance(value, str) and matches(value) is not None


_is_word = is_text(r"[^\s\ud800-\udfff]+")
_is_header_name = is_text(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# No control character gets into a request this way, and so no second header either.
_is_header_value = is_text(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")


def word(*, secret: bool = False) -> Rule:
    """A string without white space, or None."""
    return Rule("a string without white space", _is_word, optional=True, show=kind_only if secret else shown)


def token() -> Rule:
    """A secret, or a function that returns a fresh one, or None."""
    return Rule(
        "a string without white space, or a function that returns one",
        lambda value: callable(value) or _is_word(value),
        optional=True,
        show=kind_only,
    )


def header_value() -> Rule:
    """The value of one header, or None."""
    return Rule("a string of printable ASCII", _is_header_value, optional=True)


def header_table() -> Rule:
    """A mapping of header names to values, or None."""

    def test(value: object) -> bool:
        return isinstance(value, Mapping) and all(
            _is_header_name(name) and _is_header_value(each) for name, each in value.items()
        )

    return Rule(
        "a mapping of header names to values of printable ASCII",
        test,
        optional=True,
        show=masked_headers,
        form=Form.TABLE,
    )


def url(*schemes: str, user: bool, optional: bool = False) -> Rule:
    """An absolute URL of one of these schemes, and if `user` with a user's name and password."""

    def test(value: object) -> bool:
        if not isinstance(value, str) or re.search(r"[\x00-\x20\x7f\\?#]", value):
            return False
        try:
            parts = urlsplit(value)
            parts.port  # noqa: B018 - it is parsed, and refused, on access
        except ValueError:
            return False
        return (
            parts.scheme in schemes
            and parts.hostname is not None
            and _can_be_looked_up(parts.hostname)
            and (user or "@" not in parts.netloc)
        )

    first, last = ", ".join(f"{scheme}://" for scheme in schemes[:-1]), f"{schemes[-1]}://"
    without = "" if user else ", and without user, query or fragment"
    return Rule(f"an absolute {first} or {last} URL with a host{without}", test, optional, show=masked_url)


def _can_be_looked_up(host: str) -> bool:
    """False for hosts at which httpx and the resolver raise what is no network error."""
    try:
        if not host.isascii() or host.startswith("xn--"):
            import idna  # by whose rules httpx goes

            idna.encode(idna.decode(host) if host.isascii() else host)
        else:
            host.encode("idna")  # the lengths of the labels
    except UnicodeError:
        return False
    return True


# --- converters: they change what they know, and leave all else for the rules to refuse ---------------------


def without_slash(url: str) -> str:
    """A URL without slashes at its end, and with its scheme in lower case."""
    if not isinstance(url, str):
        return url
    scheme, mark, rest = url.rstrip("/").partition("://")
    return f"{scheme.lower()}{mark}{rest}" if mark else scheme


def frozen_mapping(given: Mapping[str, str] | None) -> Mapping[str, str] | None:
    """A copy of a mapping that nobody can change."""
    return MappingProxyType(dict(given)) if isinstance(given, Mapping) else given
