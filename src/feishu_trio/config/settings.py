"""What a session can be given, and what each setting may be.

Times are seconds and sizes are bytes. Importing this package reads nothing: neither a file nor the
environment.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import attrs
from attrs import field, frozen

from . import sources
from .rules import (
    Form,
    Rule,
    at,
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
    unknown,
    url,
    without_slash,
    word,
    wrong,
)

if TYPE_CHECKING:
    import ssl

    import httpx
    import trio

__all__ = ["FEISHU_DOMAIN", "LARK_DOMAIN", "Ack", "PoolConfig", "SessionConfig"]

FEISHU_DOMAIN = "https://open.feishu.cn"
LARK_DOMAIN = "https://open.larksuite.com"


class Ack(enum.Enum):
    """When an event is answered. Callbacks are always answered by the deadline, whatever this says."""

    ON_SUCCESS = "on_success"
    """When all its handlers are done; with an error if one of them failed, so that it comes again."""
    ON_RECEIPT = "on_receipt"
    """At once: an event is handled at most once."""
    ON_STORED = "on_stored"
    """Once it is committed to the session's durable inbox, from where the handlers run."""


@frozen(kw_only=True)
class PoolConfig:
    """One pool of handlers."""

    concurrency: int = field(default=64, validator=number(int, 1, 10_000))
    """How many of its handlers run at a time, 1 to 10,000."""
    capacity: int = field(default=1000, validator=number(int, 1, 1_000_000))
    """How many events wait for it, at most, before it counts as full, 1 to 1,000,000."""


def _as_ack(ack: Ack | str) -> Ack:
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
            _check_names(pool, PoolConfig)
            return PoolConfig(**pool)
        return pool if isinstance(pool, PoolConfig) else PoolConfig(concurrency=pool)


def _is_pools(value: object) -> bool:
    is_name = is_text(".+")
    return isinstance(value, Mapping) and all(is_name(name) and name != "default" for name in value)


def _is_ssl_context(value: object) -> bool:
    from ssl import SSLContext

    return isinstance(value, SSLContext)


def _check_names(names: Iterable[str], settings: type) -> None:
    known = attrs.fields_dict(settings)
    for name in names:
        if name not in known:
            raise unknown(name, known)


@frozen(kw_only=True)
class SessionConfig:
    """The settings of a session. Frozen; `evolve` makes a changed one.

    Every value is checked as it comes in. A wrong one raises `ConfigError`, which names the setting, the
    value (never a secret's) and what is allowed. An int may stand for a float; a bool is no number; NaN and
    infinity are refused, as nothing here may last for ever.
    """

    app_id: str | None = field(default=None, validator=word())
    """The app's id, `cli_...`. None: whoever opens the session names it, or `FEISHU_APP_ID` does."""
    app_secret: str | None = field(default=None, repr=False, validator=word(secret=True))
    """The app's secret. None: as with `app_id`, or a keyless app, which has a `client_assertion`."""
    domain: str = field(
        default=FEISHU_DOMAIN, converter=without_slash, validator=url("http", "https", user=False)
    )
    """Where Feishu is: `FEISHU_DOMAIN`, `LARK_DOMAIN`, or your own gateway. A slash at its end is dropped."""
    auto_reconnect: bool = field(default=True, validator=flag())
    """Whether a lost connection is opened again. If not, its loss ends the session."""
    max_reconnect_attempts: int | None = field(default=None, validator=number(int, 0, optional=True))
    """How often to try in a row before giving up. None: as often as the server says, else for ever."""
    reconnect_delay: float | None = field(
        default=None, validator=number(float, 0, 3600, unit="seconds", optional=True)
    )
    """Seconds before the first new try, up to 3600; they grow, with full jitter. None: 1."""
    max_reconnect_delay: float | None = field(
        default=None, validator=number(float, 0, 3600, unit="seconds", optional=True)
    )
    """Seconds between two tries, at most; not less than `reconnect_delay`. None: the server's interval."""
    heartbeat_interval: float | None = field(
        default=None, validator=number(float, 1, 3600, unit="seconds", optional=True)
    )
    """Seconds between two pings, 1 to 3600. None: 30, or the server's interval if that is shorter."""
    pong_timeout: float = field(default=15, validator=number(float, 0.001, 3600, unit="seconds"))
    """Seconds to wait for a pong before the connection is doubted."""
    connect_timeout: float = field(default=10, validator=number(float, 0.001, 3600, unit="seconds"))
    """Seconds for one try to connect, from discovery to the end of the WebSocket handshake."""
    receive_buffer_size: int = field(default=262_144, validator=number(int, 1024, 2**26, unit="bytes"))
    """Bytes read from the socket at a time, 1 KiB to 64 MiB."""
    max_message_size: int = field(default=10_485_760, validator=number(int, 1024, 2**30, unit="bytes"))
    """Bytes of one message, whole, at most, 1 KiB to 1 GiB; a larger one ends the connection."""
    queue_capacity: int = field(default=1000, validator=number(int, 1, 1_000_000))
    """How many events wait for the default pool before it counts as full."""
    queue_bytes: int = field(default=64 << 20, validator=number(int, 1024, 2**40, unit="bytes"))
    """Bytes of payload that wait for a handler, over all pools, 1 KiB to 1 TiB; what does not fit is refused, so that
    it comes again. A pool in which nothing waits takes one event all the same."""
    concurrency: int = field(default=64, validator=number(int, 1, 10_000))
    """How many handlers of the default pool run at a time. Raise it if they spend their time waiting."""
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
    )
    """Further pools by name, each a `PoolConfig`, a dict of its fields, or its concurrency alone.

    `callbacks` (callbacks whose route names no pool) and `messages` (JSON text messages) are there from the start,
    as large as the default pool; here they can be given another size. "default" is refused: that pool is
    `concurrency` and `queue_capacity`, and no setting has two names.
    """
    ack: Ack = field(
        default=Ack.ON_SUCCESS,
        converter=_as_ack,
        validator=Rule(
            "one of " + ", ".join(f"{ack} or {ack.value!r}" for ack in Ack),
            lambda value: isinstance(value, Ack),
        ),
    )
    """When events are answered. In a file or the environment: `on_success`, `on_receipt`, `on_stored`."""
    ack_deadline: float = field(
        default=2.5,
        validator=number(float, 0.001, 3, unit="seconds", why="Feishu itself waits for 3 s"),
    )
    """Seconds after its arrival in which an event is to be answered, up to 3: that is Feishu's own limit."""
    dedupe_window: float = field(default=8 * 3600, validator=number(float, 0, 30 * 86_400, unit="seconds"))
    """Seconds for which a finished event is remembered, up to 30 days; 0 for not at all.

    The default is longer than the last redelivery takes to come, a little over 7 h.
    """
    dedupe_bytes: int = field(default=64 << 20, validator=number(int, 1 << 20, 1 << 40, unit="bytes"))
    """Memory for what is remembered within `dedupe_window`, 1 MiB to 1 TiB.

    The default carries 15 events a second over eight hours, each with two keys, as chat messages have: some 120
    bytes an event. Answers with a result, and what failed in part, take 600 and more. Beyond it the oldest of
    what is done is forgotten first, and runs again if it comes again; a warning says how much would be enough.
    """
    connections: int = field(
        default=1, validator=number(int, 1, 50, why="Feishu allows an app 50 connections")
    )
    """Connections open at a time, 1 to 50; events go to any one of them."""
    shutdown_timeout: float = field(default=10, validator=number(float, 0, 86_400, unit="seconds"))
    """Seconds in which running handlers may end when the session is left; 0 cancels them at once."""
    proxy: str | None = field(
        default=None,
        repr=masked_url,
        validator=url("http", "https", "socks5", "socks5h", user=True, optional=True),
    )
    """The proxy's URL, for HTTP and the WebSocket. None: as in `HTTPS_PROXY` and `NO_PROXY`."""
    ssl_context: ssl.SSLContext | None = field(
        default=None, validator=Rule("an ssl.SSLContext", _is_ssl_context, optional=True, form=Form.OBJECT)
    )
    """How TLS is checked. None: against the usual certificate authorities."""
    headers: Mapping[str, str] | None = field(
        default=None,
        converter=frozen_mapping,
        repr=masked_headers,
        hash=False,
        validator=header_table(),
    )
    """Further headers of every request and of the WebSocket handshake."""
    user_agent: str | None = field(default=None, validator=header_value())
    """The `User-Agent` header. None: this project's name and version."""
    client_assertion: str | Callable[[], str] | None = field(default=None, repr=False, validator=token())
    """A keyless app's token, or a function that returns a fresh one; it is called before each connection."""
    app_access_token: str | Callable[[], str] | None = field(default=None, repr=False, validator=token())
    """Sent as a JSON text message over each new connection, for gateways that ask for it; None sends none."""
    dial: Callable[[str, int], Awaitable[trio.abc.Stream]] | None = field(
        default=None,
        repr=False,
        validator=Rule("an async function of host and port", callable, optional=True, form=Form.OBJECT),
    )
    """Opens a byte stream to a host and port; TLS comes on top of it for wss. None: TCP, by the proxy."""
    http_transport: httpx.AsyncBaseTransport | None = field(
        default=None,
        repr=False,
        validator=Rule(
            "an httpx.AsyncBaseTransport",
            lambda value: hasattr(value, "handle_async_request"),
            optional=True,
            form=Form.OBJECT,
        ),
    )
    """What carries the HTTP requests. None: httpx's own."""

    def __attrs_post_init__(self) -> None:
        first, most = self.reconnect_delay, self.max_reconnect_delay
        if first is not None and most is not None and most < first:
            raise wrong("max_reconnect_delay", most, f"{first} or more, as reconnect_delay is")

    def evolve(self, **settings: Any) -> Self:
        """A copy with `settings`, by field name, in place of its own.

        Raises `ConfigError` for a wrong value, and for a name that is none, with the nearest that is.
        """
        _check_names(settings, type(self))
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
        return cls._gather(sources.from_environment(environ, prefix, rules_of(cls)))

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], section: str | None = None) -> Self:
        """Settings from a `.toml` or `.json` file; JSON may have comments and trailing commas.

        The names are those of the fields, or those of the .NET client's `appsettings.json`, or both; upper
        and lower case are the same. `section` is a path of keys joined by ":", such as
        "Production:WebSocket". None means the table "Feishu" if there is one, else the whole file. Where a
        path ends in "WebSocket", an app id and secret that stand beside that table are read with it.

        Of the .NET options, those in milliseconds become seconds; `MaxReconnectAttempts` -1 becomes None;
        `EnableMessageQueue` false becomes a queue of 1, `ParallelMultiHandlers` false a concurrency of 1,
        `EnableEventDeduplication` false a window of 0. Nothing here leaves an event without an answer, so
        `EnableAutoAck` false becomes `Ack.ON_SUCCESS`, which leaves the answer to the handlers. Options
        without a counterpart are ignored, with a warning in the log.

        Raises `ConfigError` for a file that cannot be read or parsed (with line and column), a section that
        is not there, an unknown name (with the nearest known), a setting given under two names, and a wrong
        value. Blocks while it reads.
        """
        with at(str(path := Path(path))):
            return cls._gather(sources.from_file(path, section, rules_of(cls)))

    @classmethod
    def _gather(cls, found: Iterable[sources.Found]) -> Self:
        """A config of what a source found; an error says where."""
        config = cls()
        for place, name, value in found:
            with at(place):
                config = attrs.evolve(config, **{name: value})
        return config
