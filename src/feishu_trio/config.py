"""What a session can be told, where it can be read from, and what is allowed.

Times are seconds and sizes are bytes, everywhere but in the .NET client's own option names, whose milliseconds
are turned into seconds as they are read. Importing this module reads nothing: neither a file nor the environment.
"""

from __future__ import annotations

import enum
import logging
import math
import os
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import attrs
from attrs import field, frozen

from .errors import ConfigError

if TYPE_CHECKING:
    import ssl

    import httpx
    import trio

__all__ = ["FEISHU_DOMAIN", "LARK_DOMAIN", "Ack", "PoolConfig", "SessionConfig"]

FEISHU_DOMAIN = "https://open.feishu.cn"
LARK_DOMAIN = "https://open.larksuite.com"

_log = logging.getLogger(__name__)


class Ack(enum.Enum):
    """When an event is answered. Callbacks are always answered by the deadline, whatever this says."""

    ON_SUCCESS = "on_success"
    """When all its handlers are done; with an error if one of them failed, so that it comes again."""
    ON_RECEIPT = "on_receipt"
    """At once: an event is handled at most once."""
    ON_STORED = "on_stored"
    """Once it is committed to the session's durable inbox, from where the handlers run."""


# --- rules: what one setting may be -------------------------------------------------------------------------


def _shown(value: object) -> str:
    text = repr(dict(value) if isinstance(value, MappingProxyType) else value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _kind_only(value: object) -> str:
    return f"a value of type {type(value).__name__} (not shown)"


def _masked_url(url: object) -> str:
    """The repr of a URL without its user and password, also where it is too broken to be taken apart."""
    if not isinstance(url, str):
        return _shown(url)
    return _shown(re.sub(r"^([^/@]*//)?.*@", r"\1***@", url, flags=re.DOTALL))


def _masked_headers(headers: object) -> str:
    """The repr of a mapping of headers without their values, which may be tokens."""
    if headers is None:
        return "None"
    return _shown(dict.fromkeys(headers, "***")) if isinstance(headers, Mapping) else _kind_only(headers)


@frozen
class _Rule:
    """An attrs validator that knows how to say what is allowed, and how to read its setting from a text."""

    allowed: str
    test: Callable[[Any], bool]
    optional: bool = False
    parse: Callable[[str], Any] = str
    show: Callable[[object], str] = _shown

    def __call__(self, _instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if (value is None and self.optional) or self.test(value):
            return
        allowed = f"None, or {self.allowed}" if self.optional else self.allowed
        raise ConfigError(f"{attribute.name}: {self.show(value)} is not allowed; it must be {allowed}")

    def read(self, text: str) -> Any:
        """The value `text` stands for; a text that stands for none is left for the test to refuse."""
        try:
            return self.parse(text)
        except (ValueError, LookupError):
            return text


def _number(
    kind: type[int] | type[float],
    low: float,
    high: float = math.inf,
    *,
    unit: str = "",
    optional: bool = False,
    why: str = "",
) -> _Rule:
    def test(value: Any) -> bool:
        # Comparing refuses NaN and, as nothing here may last for ever, infinity: both fail `< inf`.
        right_kind = isinstance(value, (int, kind)) and not isinstance(value, bool)
        return right_kind and low <= value <= high and value < math.inf

    name = ("a whole number" if kind is int else "a number") + (f" of {unit}" if unit else "")
    bounds = f"{name}, {low} or more" if high == math.inf else f"{name} from {low} to {high}"
    return _Rule(f"{bounds} ({why})" if why else bounds, test, optional, parse=kind)


_FLAGS = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}


def _flag() -> _Rule:
    return _Rule(
        "True or False", lambda value: isinstance(value, bool), parse=lambda text: _FLAGS[text.lower()]
    )


def _is_text(pattern: str) -> Callable[[object], bool]:
    matches = re.compile(pattern).fullmatch
    return lambda value: isinstance(value, str) and matches(value) is not None


_NO_SPACE = r"[^\s\ud800-\udfff]+"
_HEADER_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# No control character gets into a request this way, and so no second header either.
_HEADER_VALUE = r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?"


def _is_headers(value: object) -> bool:
    is_name, is_value = _is_text(_HEADER_NAME), _is_text(_HEADER_VALUE)
    return isinstance(value, Mapping) and all(is_name(k) and is_value(v) for k, v in value.items())


def _is_url(*schemes: str, user: bool) -> Callable[[object], bool]:
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
            and _is_host(parts.hostname)
            and (user or "@" not in parts.netloc)
        )

    return test


def _is_host(host: str) -> bool:
    """Whether it can be looked up at all; for what cannot, httpx and the resolver raise what is no network error."""
    try:
        if not host.isascii() or host.startswith("xn--"):
            import idna  # by whose rules httpx goes

            idna.encode(idna.decode(host) if host.isascii() else host)
        else:
            host.encode("idna")  # the lengths of the labels
    except UnicodeError:
        return False
    return True


def _is_ssl_context(value: object) -> bool:
    from ssl import SSLContext

    return isinstance(value, SSLContext)


def _is_assertion(value: object) -> bool:
    return callable(value) or _is_text(_NO_SPACE)(value)


# --- converters: they change what they know, and leave all else for the rules to refuse ---------------------


def _without_slash(url: str) -> str:
    if not isinstance(url, str):
        return url
    scheme, mark, rest = url.rstrip("/").partition("://")
    return f"{scheme.lower()}{mark}{rest}" if mark else scheme


def _as_ack(ack: Ack | str) -> Ack:
    try:
        return Ack(ack.lower()) if isinstance(ack, str) else ack
    except ValueError:
        return ack  # type: ignore[return-value]  # the rule tells what is allowed


def _frozen_headers(headers: Mapping[str, str] | None) -> Mapping[str, str] | None:
    return MappingProxyType(dict(headers)) if isinstance(headers, Mapping) else headers


def _as_pool(name: str, pool: PoolConfig | Mapping[str, Any] | int) -> PoolConfig:
    try:
        if isinstance(pool, Mapping):
            _known(pool, attrs.fields_dict(PoolConfig))
            return PoolConfig(**pool)
        return pool if isinstance(pool, PoolConfig) else PoolConfig(concurrency=pool)
    except ConfigError as error:
        raise ConfigError(f"pools[{_shown(name)}]: {error}") from None


def _frozen_pools(pools: Mapping[str, PoolConfig | Mapping[str, Any] | int]) -> Mapping[str, PoolConfig]:
    if not isinstance(pools, Mapping):
        return pools
    return MappingProxyType({name: _as_pool(name, pool) for name, pool in pools.items()})


def _is_pools(value: object) -> bool:
    return isinstance(value, Mapping) and all(_is_text(".+")(name) and name != "default" for name in value)


# --- the settings -------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class PoolConfig:
    """One pool of handlers."""

    concurrency: int = field(default=64, validator=_number(int, 1, 10_000))
    """How many of its handlers run at a time, 1 to 10,000."""
    capacity: int = field(default=1000, validator=_number(int, 1, 1_000_000))
    """How many events wait for it, at most, before it counts as full, 1 to 1,000,000."""


@frozen(kw_only=True)
class SessionConfig:
    """The settings of a session. Frozen; `evolve` makes a changed one.

    Every value is checked as it comes in. A wrong one raises `ConfigError`, which names the setting, the value
    (never a secret's) and what is allowed. An int may stand for a float; a bool is no number; NaN and infinity
    are refused, as nothing here may last for ever.
    """

    app_id: str | None = field(
        default=None, validator=_Rule("a string without white space", _is_text(_NO_SPACE), optional=True)
    )
    """The app's id, `cli_...`. None: whoever opens the session names it, or `FEISHU_APP_ID` does."""
    app_secret: str | None = field(
        default=None,
        repr=False,
        validator=_Rule("a string without white space", _is_text(_NO_SPACE), optional=True, show=_kind_only),
    )
    """The app's secret. None: as with `app_id`, or a keyless app, which has a `client_assertion`."""
    domain: str = field(
        default=FEISHU_DOMAIN,
        converter=_without_slash,
        validator=_Rule(
            "an absolute http:// or https:// URL with a host, and without user, query or fragment",
            _is_url("http", "https", user=False),
            show=_masked_url,
        ),
    )
    """Where Feishu is: `FEISHU_DOMAIN`, `LARK_DOMAIN`, or a gateway of one's own. A slash at its end is dropped."""
    auto_reconnect: bool = field(default=True, validator=_flag())
    """Whether a lost connection is opened again. If not, its loss ends the session."""
    max_reconnect_attempts: int | None = field(default=None, validator=_number(int, 0, optional=True))
    """How often to try in a row before giving up. None: as often as the server says, else for ever."""
    reconnect_delay: float | None = field(
        default=None, validator=_number(float, 0, 3600, unit="seconds", optional=True)
    )
    """Seconds before the first new try, up to 3600; they grow, with full jitter. None: 1."""
    max_reconnect_delay: float | None = field(
        default=None, validator=_number(float, 0, 3600, unit="seconds", optional=True)
    )
    """Seconds between two tries, at most; not less than `reconnect_delay`. None: the server's interval."""
    heartbeat_interval: float | None = field(
        default=None, validator=_number(float, 1, 3600, unit="seconds", optional=True)
    )
    """Seconds between two pings, 1 to 3600. None: 30, or the server's interval if that is shorter."""
    pong_timeout: float = field(default=15, validator=_number(float, 0.001, 3600, unit="seconds"))
    """Seconds to wait for a pong before the connection is doubted."""
    connect_timeout: float = field(default=10, validator=_number(float, 0.001, 3600, unit="seconds"))
    """Seconds for one try to connect, from discovery to the end of the WebSocket handshake."""
    receive_buffer_size: int = field(default=262_144, validator=_number(int, 1024, 2**26, unit="bytes"))
    """Bytes read from the socket at a time, 1 KiB to 64 MiB."""
    max_message_size: int = field(default=10_485_760, validator=_number(int, 1024, 2**30, unit="bytes"))
    """Bytes of one message, whole, at most, 1 KiB to 1 GiB; a larger one ends the connection."""
    queue_capacity: int = field(default=1000, validator=_number(int, 1, 1_000_000))
    """How many events wait for the default pool before it counts as full."""
    concurrency: int = field(default=64, validator=_number(int, 1, 10_000))
    """How many handlers of the default pool run at a time. Raise it if they spend their time waiting."""
    pools: Mapping[str, PoolConfig] = field(
        factory=dict,
        converter=_frozen_pools,
        repr=lambda pools: repr(dict(pools)),
        hash=False,
        validator=_Rule(
            "a mapping of names to pools; the pool 'default' is set by concurrency and queue_capacity",
            _is_pools,
        ),
    )
    """Further pools by name, each a `PoolConfig`, a dict of its fields, or its concurrency alone.

    "default" is refused here: that pool is `concurrency` and `queue_capacity`, and no setting has two names.
    """
    ack: Ack = field(
        default=Ack.ON_SUCCESS,
        converter=_as_ack,
        validator=_Rule(
            "one of " + ", ".join(f"{ack} or {ack.value!r}" for ack in Ack),
            lambda value: isinstance(value, Ack),
        ),
    )
    """When events are answered. In a file or the environment: `on_success`, `on_receipt`, `on_stored`."""
    ack_deadline: float = field(
        default=2.5,
        validator=_number(float, 0.001, 3, unit="seconds", why="Feishu itself waits for 3 s"),
    )
    """Seconds after its arrival in which an event is to be answered, up to 3: that is Feishu's own limit."""
    dedupe_window: float = field(default=8 * 3600, validator=_number(float, 0, 30 * 86_400, unit="seconds"))
    """Seconds for which a finished event is remembered, up to 30 days; 0 for not at all.

    The default is longer than the last redelivery takes to come, a little over 7 h.
    """
    connections: int = field(
        default=1, validator=_number(int, 1, 50, why="Feishu allows an app 50 connections")
    )
    """Connections open at a time, 1 to 50; events go to any one of them."""
    shutdown_timeout: float = field(default=10, validator=_number(float, 0, 86_400, unit="seconds"))
    """Seconds in which running handlers may end when the session is left; 0 cancels them at once."""
    proxy: str | None = field(
        default=None,
        repr=_masked_url,
        validator=_Rule(
            "an absolute http://, https://, socks5:// or socks5h:// URL with a host",
            _is_url("http", "https", "socks5", "socks5h", user=True),
            optional=True,
            show=_masked_url,
        ),
    )
    """The proxy's URL, for HTTP and the WebSocket. None: what the environment says (`HTTPS_PROXY`, `NO_PROXY`)."""
    ssl_context: ssl.SSLContext | None = field(
        default=None, validator=_Rule("an ssl.SSLContext", _is_ssl_context, optional=True)
    )
    """How TLS is checked. None: against the usual certificate authorities."""
    headers: Mapping[str, str] | None = field(
        default=None,
        converter=_frozen_headers,
        repr=_masked_headers,
        hash=False,
        validator=_Rule(
            "a mapping of header names to values of printable ASCII",
            _is_headers,
            optional=True,
            show=_masked_headers,
        ),
    )
    """Further headers of every request and of the WebSocket handshake."""
    user_agent: str | None = field(
        default=None, validator=_Rule("a string of printable ASCII", _is_text(_HEADER_VALUE), optional=True)
    )
    """The `User-Agent` header. None: this project's name and version."""
    client_assertion: str | Callable[[], str] | None = field(
        default=None,
        repr=False,
        validator=_Rule(
            "a string without white space, or a function that returns one",
            _is_assertion,
            optional=True,
            show=_kind_only,
        ),
    )
    """A keyless app's token, or a function that returns a fresh one; it is called before each connection."""
    app_access_token: str | Callable[[], str] | None = field(
        default=None,
        repr=False,
        validator=_Rule(
            "a string without white space, or a function that returns one",
            _is_assertion,
            optional=True,
            show=_kind_only,
        ),
    )
    """Sent as a JSON text message over each new connection, for gateways that ask for it; None sends none."""
    dial: Callable[[str, int], Awaitable[trio.abc.Stream]] | None = field(
        default=None,
        repr=False,
        validator=_Rule("an async function of host and port", callable, optional=True),
    )
    """Opens the byte stream to a host and port; TLS is put on top of it for wss. None: TCP, through the proxy."""
    http_transport: httpx.AsyncBaseTransport | None = field(
        default=None,
        repr=False,
        validator=_Rule(
            "an httpx.AsyncBaseTransport", lambda value: hasattr(value, "handle_async_request"), optional=True
        ),
    )
    """What carries the HTTP requests. None: httpx's own."""

    def __attrs_post_init__(self) -> None:
        first, most = self.reconnect_delay, self.max_reconnect_delay
        if first is not None and most is not None and most < first:
            raise ConfigError(
                f"max_reconnect_delay: {_shown(most)} is not allowed; it must be {first} or more, as reconnect_delay is"
            )

    def evolve(self, **settings: Any) -> Self:
        """A copy with `settings`, by field name, in place of its own.

        Raises `ConfigError` for a wrong value, and for a name that is none, with the nearest that is.
        """
        _known(settings, attrs.fields_dict(type(self)))
        return attrs.evolve(self, **settings)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, prefix: str = "FEISHU_") -> Self:
        """Settings from environment variables: `FEISHU_APP_ID`, `FEISHU_HEARTBEAT_INTERVAL`, and so on.

        Each setting that fits into a text has one, its name in capitals after `prefix`. White space around a
        value is dropped, and an empty one counts as not set. Flags are 1/0, true/false, yes/no, on/off.
        Other variables with the prefix are ignored: they may belong to others.

        `environ` is `os.environ` if None. Raises `ConfigError` that names the variable.
        """
        environ = os.environ if environ is None else environ
        given = []
        for name in attrs.fields_dict(cls):
            variable = prefix + name.upper()
            text = environ.get(variable, "").strip()
            if text and name not in _TABLES | _CODE_ONLY:
                given.append((variable, name, _read(name, text)))
        return cls._gather(given)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], section: str | None = None) -> Self:
        """Settings from a `.toml` or `.json` file; JSON may have comments and trailing commas.

        The names are those of the fields, or those of the .NET client's `appsettings.json`, or both; upper and
        lower case are the same. `section` is a path of keys joined by ":", such as "Production:WebSocket". None
        means the table "Feishu" if there is one, else the whole file. Where a path ends in "WebSocket", an
        app id and secret that stand beside that table are taken with it.

        Of the .NET options, those in milliseconds become seconds; `MaxReconnectAttempts` -1 becomes None;
        `EnableMessageQueue` false becomes a queue of 1, `ParallelMultiHandlers` false a concurrency of 1,
        `EnableEventDeduplication` false a window of 0. Nothing here leaves an event without an answer, so
        `EnableAutoAck` false becomes `Ack.ON_SUCCESS`, which leaves the answer to the handlers. Options without
        a counterpart are ignored, with a warning in the log.

        Raises `ConfigError` for a file that cannot be read or parsed (with line and column), a section that is
        not there, an unknown name (with the nearest known), a setting given under two names, and a wrong value.
        Blocks while it reads.
        """
        path = Path(path)
        try:
            table, place = _section(_parsed(path), section)
            return cls._gather(_settings(table, place))
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error.__cause__

    @classmethod
    def _gather(cls, given: Iterable[tuple[str, str, Any]]) -> Self:
        """A config from triples of where it was found, field and value; an error tells where."""
        config = cls()
        for origin, name, value in given:
            try:
                config = attrs.evolve(config, **{name: value})
            except ConfigError as error:
                raise ConfigError(f"{origin}: {error}") from None
        return config


# --- reading: names and texts to settings -------------------------------------------------------------------

# What no environment variable can hold, and what no file can.
_TABLES = frozenset({"pools", "headers"})
_CODE_ONLY = frozenset({"ssl_context", "dial", "http_transport"})


def _read(setting: str, text: str) -> Any:
    """The value of `setting` that `text` stands for."""
    rule = attrs.fields_dict(SessionConfig)[setting].validator
    assert isinstance(rule, _Rule), f"{setting} has no rule"
    return rule.read(text)


def _known(names: Iterable[str], known: Mapping[str, Any]) -> None:
    for name in names:
        if name not in known:
            raise ConfigError(f"{_shown(name)} is no setting{_nearest(name, known)}")


def _nearest(name: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches

    by_key = {candidate.casefold(): candidate for candidate in known}
    near = get_close_matches(str(name).casefold(), by_key, n=1)
    return f"; the nearest is {by_key[near[0]]!r}" if near else ""


def _as_is(value: Any) -> Any:
    return value


def _milliseconds(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    try:
        return float(value) / 1000
    except (TypeError, ValueError, OverflowError):
        return value


def _attempts(value: Any) -> Any:
    return None if value in (-1, "-1") else value


# The .NET client's options: the field each stands for, and how its value becomes ours.
_DOTNET: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "AppId": ("app_id", _as_is),
    "AppSecret": ("app_secret", _as_is),
    "BaseUrl": ("domain", _as_is),
    "AutoReconnect": ("auto_reconnect", _as_is),
    "MaxReconnectAttempts": ("max_reconnect_attempts", _attempts),
    "ReconnectDelayMs": ("reconnect_delay", _milliseconds),
    "MaxReconnectDelayMs": ("max_reconnect_delay", _milliseconds),
    "HeartbeatIntervalMs": ("heartbeat_interval", _milliseconds),
    "ConnectionTimeoutMs": ("connect_timeout", _milliseconds),
    "ReceiveBufferSize": ("receive_buffer_size", _as_is),
    "InitialReceiveBufferSize": ("receive_buffer_size", _as_is),
    "MaxBinaryMessageSize": ("max_message_size", _as_is),
    "MessageSizeLimits:MaxBinaryMessageSize": ("max_message_size", _as_is),
    "MessageQueueCapacity": ("queue_capacity", _as_is),
    "MaxConcurrentMessageProcessing": ("concurrency", _as_is),
    "EventDeduplicationCacheExpirationMs": ("dedupe_window", _milliseconds),
    "EventDeduplication:CacheExpirationMs": ("dedupe_window", _milliseconds),
}

# Those that switch something off when they are false, and what the field then is, whatever else the file says of it.
_DOTNET_SWITCHES: dict[str, tuple[str, Any]] = {
    "EnableMessageQueue": ("queue_capacity", 1),
    "ParallelMultiHandlers": ("concurrency", 1),
    "EnableAutoAck": ("ack", Ack.ON_SUCCESS),
    "EnableEventDeduplication": ("dedupe_window", 0),
}

# Those without a counterpart.
_DOTNET_UNUSED = (
    "AllowSelfSignedCertificates",
    "BackpressureBlockTimeoutMs",
    "BackpressureStrategy",
    "EmptyQueueCheckIntervalMs",
    "EnableLogging",
    "EnableMultiHandlerMode",
    "EnableReconnectMetrics",
    "EventDeduplication:CleanupIntervalMs",
    "EventDeduplication:Mode",
    "EventDeduplicationCleanupIntervalMs",
    "HealthCheckIntervalMs",
    "MaxMessageSize",
    "MaxTotalReconnectTime",
    "MessageSizeLimits:MaxTextMessageSize",
    "ReconnectCooldownTime",
    "RetryCount",
    "TimeOut",
    "TokenRefreshAhead",
    "TokenRefreshInterval",
    "ValidateServerCertificate",
    "Webhook",
)

# Tables inside a table of settings, and what they put before the names in them.
_INNER_TABLES = {
    "websocket": "",
    "messagesizelimits": "MessageSizeLimits:",
    "eventdeduplication": "EventDeduplication:",
}


def _settings(table: Mapping[str, Any], root: str) -> list[tuple[str, str, Any]]:
    """Where it was found, field, value: for each setting in `table`, under our names or the .NET client's."""
    names = [name for name in attrs.fields_dict(SessionConfig) if name not in _CODE_ONLY]
    known = {name.casefold(): name for name in [*names, *_DOTNET, *_DOTNET_SWITCHES, *_DOTNET_UNUSED]}
    found: dict[str, tuple[str, Any]] = {}
    switched: dict[str, tuple[str, Any]] = {}
    unused = []
    for place, key, value in _entries(table, root, ""):
        name = known.get(key.casefold())
        if name is None:
            hint = "; a section is read if it is named: section=..." if isinstance(value, dict) else ""
            raise ConfigError(f"{place} is no setting{_nearest(key, known.values())}{hint}")
        if name in _DOTNET_UNUSED:
            unused.append(place)
        elif value is None:  # JSON's way of leaving an option as it is
            continue
        elif name in _DOTNET_SWITCHES:
            on = _flag().read(value) if isinstance(value, str) else value
            if not isinstance(on, bool):
                raise ConfigError(f"{place}: {_shown(value)} is not allowed; it must be true or false")
            if not on:
                setting, off = _DOTNET_SWITCHES[name]
                switched[setting] = (place, off)
        else:
            setting, convert = _DOTNET.get(name, (name, _as_is))
            if setting in found:
                raise ConfigError(f"{place}: {setting} is given twice, first as {found[setting][0]}")
            value = convert(value)
            found[setting] = (place, _read(setting, value) if isinstance(value, str) else value)
    if unused:
        _log.warning("ignored, as this client has nothing of the kind: %s", ", ".join(unused))
    return [(place, setting, value) for setting, (place, value) in (found | switched).items()]


def _entries(table: Mapping[str, Any], place: str, prefix: str) -> Iterator[tuple[str, str, Any]]:
    """Each entry's place in the file, its name and its value; those of inner tables in their table's stead."""
    for key, value in table.items():
        inner = _INNER_TABLES.get(key.casefold())
        if inner is not None and isinstance(value, dict):
            yield from _entries(value, f"{place}{key}:", inner)
        else:
            yield f"{place}{key}", prefix + key, value


# --- reading: files -----------------------------------------------------------------------------------------


def _parsed(path: Path) -> dict[str, Any]:
    import json
    import tomllib

    if path.suffix.lower() not in {".toml", ".json"}:
        raise ConfigError("settings are read from .toml and .json files only")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"not UTF-8, at byte {error.start}") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
    try:
        if path.suffix.lower() == ".toml":
            return tomllib.loads(text)
        document = json.loads(_strict_json(text))
    except (ValueError, RecursionError) as error:
        # Not chained: the parser's error holds the whole text, with the secrets in it.
        raise ConfigError(f"cannot be parsed: {error}") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{_kind_only(document)} where an object with settings is expected")
    return document


_STRING = r'"(?:[^"\\\n]|\\.)*"'
_COMMENT = re.compile(rf"{_STRING}|(//[^\n]*|/\*.*?\*/)", re.DOTALL)
_LAST_COMMA = re.compile(rf"{_STRING}|(,)(?=\s*[\]}}])")


def _strict_json(text: str) -> str:
    """`text` with comments and trailing commas blanked out, so that errors still tell the right line and column."""

    def blank(match: re.Match[str]) -> str:
        return match[0] if match[1] is None else re.sub(r"[^\n]", " ", match[0])

    return _LAST_COMMA.sub(blank, _COMMENT.sub(blank, text))


def _section(document: dict[str, Any], section: str | None) -> tuple[dict[str, Any], str]:
    """The table of settings, and its place in the file as a prefix for names."""
    if section is None:
        name = _find(document, "feishu")
        return (document, "") if name is None else (document[name], f"{name}:")
    place, parent, table = "", document, document
    for key in section.split(":"):
        name = _find(table, key)
        if name is None:
            tables = [name for name, value in table.items() if isinstance(value, dict)]
            where = f"in {place[:-1]!r}" if place else "at its top"
            there = f"there are {', '.join(map(repr, tables))}" if tables else "there are none"
            raise ConfigError(f"there is no section {section!r}: no {key!r} {where}, where {there}")
        place, parent, table = f"{place}{name}:", table, table[name]
    if section.casefold().split(":")[-1] == "websocket":
        lacking = {"appid", "appsecret"} - set(map(_plain, table))
        table = {key: value for key, value in parent.items() if _plain(key) in lacking} | table
    return table, place


def _plain(key: str) -> str:
    """`AppId` and `app_id` as one."""
    return key.casefold().replace("_", "")


def _find(table: dict[str, Any], key: str) -> str | None:
    """The name under which `table` has a table that .NET would take for `key`."""
    tables = [name for name, value in table.items() if isinstance(value, dict)]
    same = [name for name in tables if name.casefold() == key.casefold()]
    return key if key in same else next(iter(same), None)
