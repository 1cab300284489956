"""A whole program: a session, or a worker, that ends in good order at a signal."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager, nullcontext
from typing import Final, TypeAlias, Unpack

import trio

from .errors import FeishuError
from .inbox.protocol import Inbox
from .logs import LogFormat, set_up
from .prepare import check_is_program
from .probes import EVERYWHERE, Probes, open_probes
from .router import Router
from .service import Service
from .session import SessionArguments, opened_session
from .worker import WorkerArguments, opened_worker

__all__ = ["run", "run_worker"]

_Made: TypeAlias = Callable[[Service], object]
_Opened: TypeAlias = Callable[[_Made], AbstractAsyncContextManager[Service]]

_LEAVING: Final = 1.0  # seconds in which a program that is to end at once ends by itself


def run(
    router: Router,
    app_id: str | None = None,
    app_secret: str | None = None,
    *,
    metrics_port: int | None = None,
    metrics_host: str = EVERYWHERE,
    log_format: LogFormat | None = "text",
    **arguments: Unpack[SessionArguments],
) -> None:
    """Run a bot until it is told to stop: a whole program in one call, under trio.

    At SIGINT (Ctrl-C) or SIGTERM it takes no more events in, lets its handlers end within `shutdown_timeout`, and returns.
    A second signal ends it at once: as a cancellation does, and if something keeps the loop from running, after a second and
    with the same exit code by `os._exit`.

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
        ConfigError: A command imports this module, and will run its router itself.
        RuntimeError: A loop of trio's or asyncio's runs here already, or this is not the main thread.
    """

    def opened(made: _Made) -> AbstractAsyncContextManager[Service]:
        return opened_session(made, app_id, app_secret, router, arguments)

    _run("run", opened, metrics_port, metrics_host, log_format)


def run_worker(
    inbox: Inbox,
    router: Router,
    *,
    metrics_port: int | None = None,
    metrics_host: str = EVERYWHERE,
    log_format: LogFormat | None = "text",
    **arguments: Unpack[WorkerArguments],
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
        ConfigError: A command imports this module, and will run its router itself.
        RuntimeError: A loop of trio's or asyncio's runs here already, or this is not the main thread.
    """

    def opened(made: _Made) -> AbstractAsyncContextManager[Service]:
        return opened_worker(made, inbox, router, arguments)

    _run("run_worker", opened, metrics_port, metrics_host, log_format)


def _run(
    opener: str,
    opened: _Opened,
    port: int | None,
    host: str,
    log_format: LogFormat | None,
) -> None:
    check_is_program(opener)
    set_up(log_format)
    try:
        code = trio.run(_serve, opened, port, host)
    except FeishuError as error:
        # Its message says it all; how it came up through here says nothing.
        raise error.with_traceback(None) from error.__cause__
    if code:
        raise SystemExit(code)


async def _serve(opened: _Opened, port: int | None, host: str) -> int:
    """Open a service, and keep it open until it ends, or a signal asks for that: its exit code.

    Probes are answered at `port`, if there is one: before it is open, and until it has closed. They tell of it from
    when it is made: why it does not connect, too.

    The first signal closes it, in good order, or ends the try to open it: 0. The second ends it at once: 128 and the
    signal's number.
    """
    code = 0
    asked, ended = trio.Event(), trio.CancelScope()
    service: Service | None = None
    failure: BaseException | None = None
    answered: AbstractAsyncContextManager[Probes | None]
    answered = nullcontext() if port is None else open_probes(port=port, host=host)

    async def close_when_asked() -> None:
        await asked.wait()
        if service is None:
            ended.cancel()
        else:
            await service.aclose()

    def end_at_once(given: int) -> None:
        nonlocal code
        code = given
        ended.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(close_when_asked)
        try:
            with _told_of_signals(asked.set, end_at_once), ended:
                async with answered as probes, opened(_nobody if probes is None else probes.add) as service:
                    with service.taking_stacks():
                        await service.wait_closed()
        except BaseException as error:
            failure = error  # raised below, so that the nursery does not wrap it in a group
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return code


def _nobody(_service: Service) -> None:
    """There are no probes to tell of it."""


@contextmanager
def _told_of_signals(at_first: Callable[[], object], at_second: Callable[[int], object]) -> Iterator[None]:
    """Within, call `at_first` at the first SIGINT or SIGTERM, and `at_second` at the next, with the exit code for it.

    They are called by the loop. If the block is not left soon after the second, for a handler keeps the loop from
    running, the process ends with that code all the same.
    """
    token = trio.lowlevel.current_trio_token()
    received = 0
    with ExitStack() as stack:

        def receive(number: int, _frame: object) -> None:
            nonlocal received
            received += 1
            if received == 1:
                token.run_sync_soon(at_first)
            elif received == 2:
                code = 128 + number
                token.run_sync_soon(at_second, code)
                stack.callback(_call_after(_LEAVING, lambda: os._exit(code)))

        for number in (signal.SIGINT, signal.SIGTERM):
            stack.callback(signal.signal, number, signal.signal(number, receive))
        yield


def _call_after(seconds: float, call: Callable[[], object]) -> Callable[[], object]:
    """Have something called later, whatever the main thread does then, and return what takes that back.

    Another thread may never get to run: a regular expression, say, keeps the interpreter for as long as it searches, and
    lets nothing in but signals.
    """
    if sys.platform == "win32":  # it has no signal for that
        timer = threading.Timer(seconds, call)
        timer.daemon = True
        timer.start()
        return timer.cancel
    before = signal.signal(signal.SIGALRM, lambda _number, _frame: call())
    signal.setitimer(signal.ITIMER_REAL, seconds)

    def take_back() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    return take_back
