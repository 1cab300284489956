"""What a session can be given, and what each setting may be.

Times are seconds and sizes are bytes. Importing this package reads nothing: neither a file nor the
environment.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Self, TypedDict, TypeVar, Unpack

import attrs
from attrs import field, frozen

from . import sources
from .fields import about, settings
from .in_force import Setting, setting_of
from .rules import (
    Form,
    Rule,
    at,
    choice,
    flag,
    frozen_mapping,
    header_table,
    header_value,
    is_text,
    masked_headers,
    masked_url,
    number,
    rules_of,
    shown,
    token,
    url,
    without_slash,
    word,
    wrong,
)

if TYPE_CHECKING:
    import ssl

    import httpx
    import trio

_Config = TypeVar("_Config", bound="SessionConfig")

__all__ = ["FEISHU_DOMAIN", "LARK_DOMAIN", "Ack", "PoolConfig", "SessionConfig", "SessionSettings"]

FEISHU_DOMAIN = "https://open.feishu.cn"
"""Feishu's address, the default of `domain`."""
LARK_DOMAIN = "https://open.larksuite.com"
"""Lark's address."""


class Ack(enum.Enum):
    """When an event is answered. Callbacks are always answered by the deadline, whatever this says."""

    ON_SUCCESS = "on_success"
    """When all its handlers are done; with an error if one of them failed, so that it comes again."""
    ON_RECEIPT = "on_receipt"
    """At once: an event is handled at most once."""
    ON_STORED = "on_stored"
    """Once it is committed to the session's durable inbox, from where the handlers run."""


@settings
@frozen(kw_only=True)
class PoolConfig:
    """One pool of handlers."""

    concurrency: int = field(
        default=64,
        validator=number(int, 1, 10_000),
        metadata=about("How many of its handlers run at a time."),
    )
    capacity: int = field(
        default=1000,
        validator=number(int, 1, 1_000_000),
        metadata=about("How many events wait for it, at most, before it counts as full."),
    )


def _as_ack(ack: Ack | str | None) -> Ack | None:
    try:
        return Ack(ack.lower()) if isinstance(ack, str) else ack
    except ValueError:
        return ack  # type: ignore[return-value]  # left for the rule to refuse


def _as_pools(pools: Mapping[str, PoolConfig | Mapping[str, Any] | int]) -> Mapping[str, PoolConfig]:
    if not isinstance(pools, Mapping):
        return pools
    return MappingProxyType({name: _as_pool(name, pool) for name, pool in pools.items()})


def _as_pool(name: str, pool: PoolConfig | Mapping[str, Any] | int) -> PoolConfig:
    with at(f"pools[{shown(name)}]"):
        if isinstance(pool, Mapping):
            return PoolConfig(**pool)
        return pool if isinstance(pool, PoolConfig) else PoolConfig(concurrency=pool)


def _is_pools(value: object) -> bool:
    is_name = is_text(".+")
    return isinstance(value, Mapping) and all(is_name(name) and name != "default" for name in value)


def _is_client_context(value: object) -> bool:
    from ssl import PROTOCOL_TLS_SERVER, SSLContext

    return isinstance(value, SSLContext) and value.protocol is not PROTOCOL_TLS_SERVER


class SessionSettings(TypedDict, total=False):
    """The fields of `SessionConfig`, without the credentials: what sessions and workers are given by name."""

    domain: str
    auto_reconnect: bool
    max_reconnect_attempts: int | None
    reconnect_delay: float | None
    max_reconnect_delay: float | None
    reconnect_backoff: Literal["exponential", "fixed"]
    heartbeat_interval: float | None
    pong_timeout: float
    connect_timeout: float
    receive_buffer_size: int
    max_message_size: int
    queue_capacity: int
    queue_bytes: int
    concurrency: int
    handler_mode: Literal["all", "single", "sequential"]
    pools: Mapping[str, PoolConfig | Mapping[str, Any] | int]
    ack: Ack | str | None
    ack_deadline: float
    dedupe_window: float
    dedupe_bytes: int
    stuck_after: float
    connections: int
    shutdown_timeout: float
    proxy: str | None
    ssl_context: ssl.SSLContext | None
    headers: Mapping[str, str] | None
    user_agent: str | None
    client_assertion: str | Callable[..., str] | None
    app_access_token: str | Callable[[], str] | None
    dial: Callable[[str, int], Awaitable[trio.abc.Stream]] | None
    http_transport: httpx.AsyncBaseTransport | None


class AllSettings(SessionSettings, total=False):
    """All fields of `SessionConfig`."""

    app_id: str | None
    app_secret: str | None


@settings
@frozen(kw_only=True)
class SessionConfig:
    """The settings of a session. Frozen; `evolve` makes a changed one.

    Every value is checked as it comes in. A wrong one raises `ConfigError`, which names the setting, the
    value (never a secret's) and what is allowed. An int may stand for a float; a bool is no number; NaN and
    infinity are refused, as nothing here may last for ever.
    """

    app_id: str | None = field(
        default=None,
        validator=word(),
        metadata=about(
            "The app's id, `cli_...`. None: whoever opens the session names it, or `FEISHU_APP_ID` does."
        ),
    )
    app_secret: str | None = field(
        default=None,
        repr=False,
        validator=word(secret=True),
        metadata=about(
            "The app's secret. None: as with `app_id`, or a keyless app, which has a `client_assertion`."
        ),
    )
    domain: str = field(
        default=FEISHU_DOMAIN,
        converter=without_slash,
        validator=url("http", "https", user=False),
        metadata=about(
            "Where Feishu is: `FEISHU_DOMAIN`, `LARK_DOMAIN`, or your own gateway. A slash at its end "
            "is dropped."
        ),
    )
    auto_reconnect: bool = field(
        default=True,
        validator=flag(),
        metadata=about("Whether a lost connection is opened again. If not, its loss ends the session."),
    )
    max_reconnect_attempts: int | None = field(
        default=None,
        validator=number(int, 0, optional=True),
        metadata=about(
            "How often to try in a row before giving up. None: as often as the server says, else for ever."
        ),
    )
    reconnect_delay: float | None = field(
        default=None,
        validator=number(float, 0, 3600, unit="seconds", optional=True),
        metadata=about(
            "Seconds before the first new try, or with exponential backoff at most so many. None: 1. `reconnect_backoff` says how the delays go on."
        ),
    )
    max_reconnect_delay: float | None = field(
        default=None,
        validator=number(float, 0, 3600, unit="seconds", optional=True),
        metadata=about(
            "Seconds between two tries, at most, while they grow; not less than `reconnect_delay`. "
            "None: the server's interval."
        ),
    )
    reconnect_backoff: Literal["exponential", "fixed"] = field(
        default="exponential",
        validator=choice("exponential", "fixed"),
        metadata=about(
            "How the delays of tries in a row go on: they double, with full jitter, or each is "
            "`reconnect_delay`, less up to a tenth."
        ),
    )
    heartbeat_interval: float | None = field(
        default=None,
        validator=number(float, 1, 3600, unit="seconds", optional=True),
        metadata=about("Seconds between two pings. None: 30, or the server's interval if that is shorter."),
    )
    pong_timeout: float = field(
        default=15,
        validator=number(float, 0.001, 3600, unit="seconds"),
        metadata=about("Seconds to wait for a pong before the connection is doubted."),
    )
    connect_timeout: float = field(
        default=10,
        validator=number(float, 0.001, 3600, unit="seconds"),
        metadata=about(
            "Seconds for one try to connect, from discovery to the end of the WebSocket handshake."
        ),
    )
    receive_buffer_size: int = field(
        default=262_144,
        validator=number(int, 1024, 2**26, unit="bytes"),
        metadata=about("Bytes read from the socket at a time, 1 KiB to 64 MiB."),
    )
    max_message_size: int = field(
        default=10_485_760,
        validator=number(int, 1024, 2**30, unit="bytes"),
        metadata=about(
            "Bytes of one message, whole, at most, 1 KiB to 1 GiB; a larger one ends the connection."
        ),
    )
    queue_capacity: int = field(
        default=1000,
        validator=number(int, 1, 1_000_000),
        metadata=about("How many events wait for the default pool before it counts as full."),
    )
    queue_bytes: int = field(
        default=64 << 20,
        validator=number(int, 1024, 2**40, unit="bytes"),
        metadata=about(
            "Bytes of payload that wait for a handler, over all pools, 1 KiB to 1 TiB; what does not "
            "fit is refused, so that it comes again. A pool in which nothing waits takes one event "
            "all the same."
        ),
    )
    concurrency: int = field(
        default=64,
        validator=number(int, 1, 10_000),
        metadata=about(
            "How many handlers of the default pool run at a time. Raise it if they spend their time waiting."
        ),
    )
    handler_mode: Literal["all", "single", "sequential"] = field(
        default="all",
        validator=choice("all", "single", "sequential"),
        metadata=about(
            "What becomes of an event with several handlers: all run, side by side; the one "
            "registered last runs; or all run one after the other, and a failure does not stop the next. Events run "
            "side by side in any case."
        ),
    )
    pools: Mapping[str, PoolConfig] = field(
        factory=dict,
        converter=_as_pools,
        repr=lambda pools: repr(dict(pools)),
        hash=False,
        validator=Rule(
            "a mapping of names to pools; the pool 'default' is set by concurrency and queue_capacity",
            _is_pools,
            form=Form.TABLE,
        ),
        metadata=about(
            "Further pools by name, each a `PoolConfig`, a dict of its fields, or its concurrency "
            "alone. `callbacks` (callbacks whose route names no pool) and `messages` (JSON text "
            "messages) are there from the start, as large as the default pool; here they can be given "
            "another size. 'default' is refused: that pool is `concurrency` and `queue_capacity`, and "
            "no setting has two names."
        ),
    )
    ack: Ack | None = field(
        default=None,
        converter=_as_ack,
        validator=Rule(
            "one of " + ", ".join(f"{ack} or {ack.value!r}" for ack in Ack),
            lambda value: isinstance(value, Ack),
            optional=True,
        ),
        metadata=about(
            "When events are answered. None: once they are stored if there is an inbox (`on_stored`), else once "
            "all handlers have succeeded (`on_success`). In a file or the environment: `on_success`, `on_receipt`, `on_stored`."
        ),
    )
    ack_deadline: float = field(
        default=2.5,
        validator=number(float, 0.001, 3, unit="seconds", why="Feishu itself waits for 3 s"),
        metadata=about(
            "Seconds after its arrival in which an event is to be answered, up to 3: that is Feishu's "
            "own limit."
        ),
    )
    dedupe_window: float = field(
        default=8 * 3600,
        validator=number(float, 0, 30 * 86_400, unit="seconds"),
        metadata=about(
            "Seconds for which a finished event is remembered, up to 30 days; 0 for not at all. The "
            "default is longer than the last redelivery takes to come, a little over 7 h."
        ),
    )
    dedupe_bytes: int = field(
        default=64 << 20,
        validator=number(int, 1 << 20, 1 << 40, unit="bytes"),
        metadata=about(
            "Memory for what is remembered within `dedupe_window`, 1 MiB to 1 TiB. The default "
            "carries 15 events a second over eight hours, each with two keys, as chat messages have: "
            "some 120 bytes an event. Answers with a result, and what failed in part, take 600 and "
            "more. Beyond it the oldest of what is done is forgotten first, and runs again if it "
            "comes again; a warning says how much would be enough."
        ),
    )
    stuck_after: float = field(
        default=60,
        validator=number(float, 0.001, 30 * 86_400, unit="seconds"),
        metadata=about(
            "Seconds at work, time in `ask` aside, after which a handler is stuck: a warning and `health()` name it, and "
            "`health()` is not ok once such handlers fill a pool."
        ),
    )
    connections: int = field(
        default=1,
        validator=number(int, 1, 50, why="Feishu allows an app 50 connections"),
        metadata=about("Connections open at a time; events go to any one of them."),
    )
    shutdown_timeout: float = field(
        default=10,
        validator=number(float, 0, 86_400, unit="seconds"),
        metadata=about(
            "Seconds in which running handlers may end when the session is left; 0 cancels them at once."
        ),
    )
    proxy: str | None = field(
        default=None,
        repr=masked_url,
        validator=url("http", "https", "socks5", "socks5h", user=True, optional=True),
        metadata=about(
            "The proxy's URL, for HTTP and the WebSocket. None: as in `HTTPS_PROXY` and `NO_PROXY`."
        ),
    )
    ssl_context: ssl.SSLContext | None = field(
        default=None,
        validator=Rule("an ssl.SSLContext for clients", _is_client_context, optional=True, form=Form.OBJECT),
        metadata=about("How TLS is checked. None: against the usual certificate authorities."),
    )
    headers: Mapping[str, str] | None = field(
        default=None,
        converter=frozen_mapping,
        repr=masked_headers,
        hash=False,
        validator=header_table(),
        metadata=about("Further headers of every request and of the WebSocket handshake."),
    )
    user_agent: str | None = field(
        default=None,
        validator=header_value(),
        metadata=about("The `User-Agent` header. None: this project's name and version."),
    )
    client_assertion: str | Callable[..., str] | None = field(
        default=None,
        repr=False,
        validator=token(),
        metadata=about(
            "A keyless app's token, or a function that returns a fresh one; it is called before each "
            "connection, and for each token of the API. If it needs an argument, that is the audience, the host that is "
            "asked: open.feishu.cn for a connection, accounts.feishu.cn for a token of the API. If it raises, that try "
            "has failed, and there is another."
        ),
    )
    app_access_token: str | Callable[[], str] | None = field(
        default=None,
        repr=False,
        validator=token(),
        metadata=about(
            "Sent as a JSON text message over each new connection, for gateways that ask for it; None "
            "sends none. A function returns a fresh one; if it raises, that try has failed, and there is another."
        ),
    )
    dial: Callable[[str, int], Awaitable[trio.abc.Stream]] | None = field(
        default=None,
        repr=False,
        validator=Rule("an async function of host and port", callable, optional=True, form=Form.OBJECT),
        metadata=about(
            "Opens a byte stream to a host and port; TLS comes on top of it for wss. None: TCP, by the proxy."
        ),
    )
    http_transport: httpx.AsyncBaseTransport | None = field(
        default=None,
        repr=False,
        validator=Rule(
            "an httpx.AsyncBaseTransport",
            lambda value: hasattr(value, "handle_async_request"),
            optional=True,
            form=Form.OBJECT,
        ),
        metadata=about("What carries the HTTP requests. None: the package's own."),
    )

    source: str = field(default="", init=False, repr=False, eq=False)
    """The file that it was read from, and the section, for errors to name; empty for none."""
    _layers: tuple[sources.Layer, ...] = field(default=(), init=False, repr=False, eq=False)
    """What its sources held for settings, in order; code that changed some is one of them."""

    def __attrs_post_init__(self) -> None:
        first, most = self.reconnect_delay, self.max_reconnect_delay
        grows = self.reconnect_backoff == "exponential"
        if grows and first is not None and most is not None and most < first:
            raise wrong("max_reconnect_delay", most, f"{first} or more, as reconnect_delay is")

    def evolve(self, **settings: Unpack[AllSettings]) -> Self:
        """A copy with `settings`, by field name, in place of its own.

        Raises `ConfigError` for a wrong value, and for a name that is none, with the nearest that is.
        """
        layer = tuple(sources.Entry(name, name, name, value) for name, value in settings.items())
        return self._read_from(self.source, (*self._layers, layer), attrs.evolve(self, **settings))

    @classmethod
    def from_env(
        cls,
        environ: Mapping[str, str] | None = None,
        prefix: str = "FEISHU_",
        *,
        base: Self | None = None,
    ) -> Self:
        """Settings from environment variables: `FEISHU_APP_ID`, `FEISHU_HEARTBEAT_INTERVAL`, and so on.

        Each setting that fits into a text has one, its name in capitals after `prefix`. White space around a
        value is dropped, and an empty one counts as not set. Flags are 1/0, true/false, yes/no, on/off.
        Other variables with the prefix are ignored: they may belong to others. The .NET client's variables
        count as well, `Feishu__AppId`, `Feishu__WebSocket__HeartbeatIntervalMs`, in any case: their first
        part is `prefix` without its underscore.

        `environ` is `os.environ` if None. What it does not set is as in `base`, or the default:
        `from_env(base=SessionConfig.from_file("bot.toml"))` lays the environment over a file: the .NET client's
        names in both mean what they would in one file. Raises `ConfigError` that names the variable.
        """
        environ = os.environ if environ is None else environ
        layer = sources.from_environment(environ, prefix, rules_of(cls))
        return (cls() if base is None else base)._under(layer)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], section: str | None = None) -> Self:
        """Settings from a `.toml` or `.json` file; JSON may have comments and trailing commas.

        The names are those of the fields, or those of the .NET client's `appsettings.json`, or both; upper
        and lower case are the same. `section` is a path of keys joined by ":", such as
        "Production:WebSocket". None means the table "Feishu" if there is one, else the whole file. Where a
        path ends in "WebSocket", an app id and secret that stand beside that table are read with it; a
        section without an app id takes it, and the secret, from the table "Feishu". Tables of other names
        belong to others, and are not looked at.

        Of the .NET options, those in milliseconds become seconds. `ReconnectDelayMs` without a
        `MaxReconnectDelayMs` is a fixed delay; `MaxReconnectAttempts` -1 becomes None, and a number is
        warned of as the session opens, which it would end. `EnableMultiHandlerMode` false becomes the handler
        mode "single", `ParallelMultiHandlers` false "sequential"; `EnableMessageQueue` false a queue of 1, and
        `EnableEventDeduplication` false a window of 0. Options without effect, as `EnableAutoAck` (nothing here
        leaves an event without an answer), are named in the log, each with the reason.

        Raises `ConfigError` for a file that cannot be read or parsed (with line and column), a section that
        is not there, an unknown name (with the nearest known), a setting given under two names, and a wrong
        value. Blocks while it reads.
        """
        with at(str(path := Path(path))):
            config = cls()._under(sources.from_file(path, section, rules_of(cls)))
        source = f"{path}, section {section!r}" if section else str(path)
        return cls._read_from(source, config._layers, config)

    def in_force(self) -> tuple[Setting, ...]:
        """All settings in the order of this class, each with its value and where that came from, without secrets."""
        entries = {entry.setting: entry for entry in sources.settings_in(self._layers)}
        defaults = type(self)()
        return tuple(
            setting_of(a, getattr(self, a.name), getattr(defaults, a.name), entries.get(a.name))
            for a in attrs.fields(type(self))
            if a.init
        )

    def warn(self) -> None:
        """Tell in the log of what was read and will hardly be meant. A session does so as it opens."""
        if self.auto_reconnect and self.max_reconnect_attempts is not None:
            sources.warn_of_limit(self._layers)

    def _under(self, layer: sources.Layer) -> Self:
        """These settings with a layer on them; an error says where in it."""
        defaults, layers = type(self)(), (*self._layers, layer)
        before, now = sources.settings_in(self._layers), sources.settings_in(layers)
        settings = {entry.setting: getattr(defaults, entry.setting) for entry in before}
        for entry in now:
            with sources.read_from(entry, rules_of(type(self))):
                attrs.evolve(defaults, **{entry.setting: entry.value})
            settings[entry.setting] = entry.value
        with sources.delays_read_from(now):
            changed = attrs.evolve(self, **settings)
        return self._read_from(self.source, layers, changed)

    @staticmethod
    def _read_from(source: str, layers: tuple[sources.Layer, ...], config: _Config) -> _Config:
        object.__setattr__(config, "source", source)
        object.__setattr__(config, "_layers", layers)
        return config
