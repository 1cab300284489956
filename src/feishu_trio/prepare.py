"""What sessions and workers are opened with: checked, completed from the environment, and put into the engine's terms."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import trio

from .config import FEISHU_DOMAIN, Ack, PoolConfig, SessionConfig, wrong
from .config.rules import kind_only
from .delivery import CALLBACK_POOL, DEFAULT_POOL, MESSAGE_POOL, Storing
from .errors import ConfigError
from .router import Router
from .routes import is_async_function, matches_any, no_order
from .telemetry import Telemetry
from .telemetry.lifecycle import Follower

if TYPE_CHECKING:
    from .inbox.protocol import Inbox

__all__ = [
    "ack_of",
    "check_is_program",
    "check_storing",
    "check_trio",
    "configured",
    "loading",
    "pools_of",
    "storing_for",
]


loading: Final[ContextVar[bool]] = ContextVar("loading", default=False)
"""Whether a command imports the user's module, for a router that the command itself will run."""


def configured(
    opener: str,
    config: SessionConfig | None,
    settings: Mapping[str, Any],
    router: Router,
    inbox: Inbox | None,
    on_lifecycle: Follower | None,
) -> SessionConfig:
    """The settings in force, once all of these are known to fit together.

    Args:
        opener: Whoever was called with them.
        config: As it was given.
        settings: As they were given; those that are None count as not given.
        router: As it was given, or made.
        inbox: As it was given.
        on_lifecycle: As it was given.

    Raises:
        RuntimeError: This is not run by trio.
        ConfigError: A setting is wrong, or there are no credentials.
    """
    check_trio(opener)
    if config is None:
        config = SessionConfig(domain=os.environ.get("FEISHU_DOMAIN", "").strip() or FEISHU_DOMAIN)
    elif not isinstance(config, SessionConfig):
        raise wrong("config", config, "a SessionConfig", show=kind_only)
    if inbox is not None:
        _check_inbox(inbox)
    given = {
        name: value for name, value in settings.items() if value is not None or not name.startswith("app_")
    }
    config = _with_credentials(config.evolve(**given), opener)
    _check(config, router, inbox)
    _check_follower(on_lifecycle)
    config.warn()
    return config


def check_trio(opener: str) -> None:
    """Raise if this is not a task of trio's, and say how to go about it."""
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        if not _is_asyncio_running():
            raise RuntimeError(
                f"{opener} needs trio, which is not running: call it in an async function, main, "
                "and run that with trio.run(main)"
            ) from None
        raise RuntimeError(
            f"{opener} needs trio, and asyncio is running: run it with trio.run(main) instead of "
            "asyncio.run(main()). Beside asyncio open it with open_in_trio of feishu_trio.asyncio, or run trio in a thread, "
            "await asyncio.to_thread(trio.run, main), or in asyncio's own by trio's guest mode, "
            "trio.lowlevel.start_guest_run"
        ) from None


def check_is_program(opener: str) -> None:
    """Raise where a whole program cannot run: in a loop, which it starts for itself, or in any thread but the main one.

    Nor can it in a module that a command imports: the command's inbox and options would count for nothing.
    """
    if loading.get():
        raise ConfigError(
            f"{opener} is called as the module is imported, before the command can run its router: put the call below "
            "if __name__ == '__main__':"
        )
    in_trio = True
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        in_trio = False
    if in_trio or _is_asyncio_running():
        loop = "trio" if in_trio else "asyncio"
        raise RuntimeError(
            f"{opener} runs a whole program, and {loop} is running here already: call it outside of async functions, or "
            "use open_feishu_session"
        )
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError(
            f"{opener} runs a whole program, and takes its signals, which only the main thread can: call it there, or run "
            "open_feishu_session in this one by trio.run"
        )


def _is_asyncio_running() -> bool:
    asyncio = sys.modules.get("asyncio")  # not imported here: who runs it has done that
    try:
        return asyncio is not None and asyncio.get_running_loop() is not None
    except RuntimeError:
        return False


def _check_follower(follower: object) -> None:
    is_plain = callable(follower) and not is_async_function(follower)
    if not (follower is None or is_plain or isinstance(follower, trio.MemorySendChannel)):
        raise wrong(
            "on_lifecycle",
            follower,
            "a plain function (not async) of a lifecycle event, or the sending end of trio.open_memory_channel",
            show=kind_only,
        )


def _with_credentials(config: SessionConfig, opener: str) -> SessionConfig:
    found: dict[str, Any] = {}
    for name in ("app_id", "app_secret"):
        variable = f"FEISHU_{name.upper()}"
        value = getattr(config, name) or os.environ.get(variable, "").strip()
        if value:
            found[name] = value
        elif name == "app_id" or config.client_assertion is None:
            where = f" in {config.source}" if config.source else ""
            raise ConfigError(f"there is no {name}{where}: give it to {opener}, or set {variable}")
    return config.evolve(**found)


def _check_inbox(inbox: object) -> None:
    from .inbox.protocol import Inbox  # here, so that importing this package stays light

    if not isinstance(inbox, Inbox):
        raise wrong("inbox", inbox, "an inbox, such as SQLiteInbox(path), or None", show=kind_only)


def check_storing(inbox: Inbox | None, store: object, claim: object) -> None:
    """Raise `ConfigError` if what a session is told of storing does not fit its inbox."""
    if not isinstance(claim, bool):
        raise wrong("claim", claim, "True or False")
    if inbox is None and (store or not claim):
        name = "store" if store else "claim=False"
        raise ConfigError(f"{name} is about an inbox, and there is none: give inbox=SQLiteInbox(path)")


def _check(config: SessionConfig, router: Router, inbox: Inbox | None) -> None:
    if not isinstance(router, Router):
        raise wrong("router", router, "a Router")
    if inbox is None and config.ack is Ack.ON_STORED:
        raise ConfigError(
            "ack=Ack.ON_STORED needs an inbox to store events in, and there is none: give inbox=SQLiteInbox(path)"
        )
    pools = pools_of(config, inbox)
    ack = ack_of(config, inbox)
    for route in router.routes():
        if inbox is None and route.ack is Ack.ON_STORED:
            raise ConfigError(
                f"handler {route.name}: Ack.ON_STORED needs an inbox, and there is none: give inbox=SQLiteInbox(path)"
            )
        if inbox is not None and (route.ack or ack) is Ack.ON_STORED:
            if any(other is not route and other.name == route.own_name for other in router.routes()):
                raise ConfigError(
                    f"two handlers are named {route.own_name}: with an inbox what has succeeded is remembered by handler, across "
                    "restarts too. Give one of them another name: name=… of router.on and router.add"
                )
            order_by = None if route.order_by is no_order else route.order_by
            if route.order_by is not None and order_by is not inbox.rules.order_by:
                raise ConfigError(
                    f"handler {route.name}: its order_by is not the inbox's. Stored events are kept in one order: give "
                    "order_by to the inbox, or ack=Ack.ON_SUCCESS to the handler"
                )
        if route.pool is not None and route.pool not in pools:
            raise ConfigError(
                f"handler {route.name}: there is no pool {route.pool!r}; there are {', '.join(sorted(pools))}; "
                f"name it in the session's settings: pools={{{route.pool!r}: 8}}, or in their file: "
                f'pools = {{ "{route.pool}" = 8 }}'
            )


def ack_of(config: SessionConfig, inbox: Inbox | None) -> Ack:
    """When events are answered whose routes do not say."""
    return config.ack or (Ack.ON_SUCCESS if inbox is None else Ack.ON_STORED)


def pools_of(config: SessionConfig, inbox: Inbox | None) -> dict[str, PoolConfig]:
    """The pools there are: three from the start, one for storing if there is an inbox, and the user's own."""
    default = PoolConfig(concurrency=config.concurrency, capacity=config.queue_capacity)
    pools = {DEFAULT_POOL: default, CALLBACK_POOL: default, MESSAGE_POOL: default}
    if inbox is not None:
        from .inbox.storing import STORING_POOL

        pools[STORING_POOL] = default
    return pools | dict(config.pools)


def storing_for(inbox: Inbox, patterns: tuple[str, ...], telemetry: Telemetry) -> Storing:
    """How events that arrive are stored: those of durable handlers, and of these patterns."""
    from .inbox.storing import storing_route

    return Storing(
        storing_route(inbox, telemetry), lambda event_type: matches_any(event_type, patterns), inbox.seen
    )
