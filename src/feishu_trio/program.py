"""A whole program: a session, or a worker, that ends in good order at a signal."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import Any

import trio

from .inbox.protocol import Inbox
from .logs import LogFormat, set_up
from .prepare import check_no_loop
from .probes import EVERYWHERE, Probes, open_probes
from .router import Router
from .service import Service
from .session import open_feishu_session
from .worker import open_worker

__all__ = ["run", "run_worker"]


def run(
    router: Router,
    app_id: str | None = None,
    app_secret: str | None = None,
    *,
    metrics_port: int | None = None,
    metrics_host: str = EVERYWHERE,
    log_format: LogFormat | None = "text",
    **arguments: Any,
) -> None:
    """Run a bot until it is told to stop: a whole program in one call, under trio.

    At SIGINT (Ctrl-C) or SIGTERM it takes no more events in, lets its handlers end within `shutdown_timeout`, and returns.
    A second signal ends it at once.

    Args:
        router: The handlers.
        app_id: As for `open_feishu_session`.
        app_secret: As for `open_feishu_session`.
        metrics_port: Where `/metrics`, `/healthz` and `/readyz` are answered from the start to the end, as `open_probes`
            says; 0 is any free port, which the log names. None: nowhere.
        metrics_host: The address for that; all of this machine's, if not given.
        log_format: How the log looks on stderr, "text" or "json", if the program has set up no logging: neither the root
            logger nor this package's has a handler. None leaves it alone.
        arguments: All others of `open_feishu_session`: `config`, `inbox`, settings by name and so on.

    Raises:
        SystemExit: A second signal came; the code is 130 for SIGINT, 143 for SIGTERM.
        FeishuError: Whatever `open_feishu_session` and `open_probes` raise, or what ended the session.
        RuntimeError: A loop of trio's or asyncio's runs here already.
    """
    opened = partial(open_feishu_session, app_id, app_secret, router=router, **arguments)
    _run("run", opened, metrics_port, metrics_host, log_format)


def run_worker(
    inbox: Inbox,
    router: Router,
    *,
    metrics_port: int | None = None,
    metrics_host: str = EVERYWHERE,
    log_format: LogFormat | None = "text",
    **arguments: Any,
) -> None:
    """Run a worker until it is told to stop, as `run` does with a session.

    Args:
        inbox: As for `open_worker`.
        router: As for `open_worker`.
        metrics_port: As for `run`.
        metrics_host: As for `run`.
        log_format: As for `run`.
        arguments: All others of `open_worker`.

    Raises:
        SystemExit: A second signal came; the code is 130 for SIGINT, 143 for SIGTERM.
        FeishuError: Whatever `open_worker` and `open_probes` raise, or what ended the worker.
        RuntimeError: A loop of trio's or asyncio's runs here already.
    """
    _run(
        "run_worker", partial(open_worker, inbox, router, **arguments), metrics_port, metrics_host, log_format
    )


def _run(
    opener: str,
    opened: Callable[[], AbstractAsyncContextManager[Service]],
    port: int | None,
    host: str,
    log_format: LogFormat | None,
) -> None:
    check_no_loop(opener)
    set_up(log_format)
    code = trio.run(_serve, opened, port, host)
    if code:
        raise SystemExit(code)


async def _serve(
    opened: Callable[[], AbstractAsyncContextManager[Service]], port: int | None, host: str
) -> int:
    """Open a service, and keep it open until it ends, or a signal asks for that: its exit code.

    Probes are answered at `port`, if there is one: before it is open, and until it has closed.

    The first signal closes it, in good order, or ends the try to open it: 0. The second ends it at once: 128 and the
    signal's number.
    """
    code = 0
    ended = trio.CancelScope()
    service: Service | None = None
    failure: BaseException | None = None
    answered: AbstractAsyncContextManager[Probes | None]
    answered = nullcontext() if port is None else open_probes(port=port, host=host)

    async def watch(signals: AsyncIterator[int], *, task_status: trio.TaskStatus[None]) -> None:
        nonlocal code
        task_status.started()
        async for _ in signals:
            break
        if service is None:
            ended.cancel()
            return
        nursery.start_soon(service.aclose)
        async for number in signals:
            code = 128 + number
            ended.cancel()
            return

    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
        async with trio.open_nursery() as nursery:
            await nursery.start(watch, received)
            try:
                with ended:
                    async with answered as probes, opened() as service:
                        if probes is not None:
                            probes.add(service)
                        with service.taking_stacks():
                            await service.wait_closed()
            except BaseException as error:
                failure = error  # raised below, so that the nursery does not wrap it in a group
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return code
