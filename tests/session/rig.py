"""What the tests of a session have in common."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any

import trio
import trio.testing

from feishu_trio import LifecycleEvent, LifecycleStream, Session, open_feishu_session
from feishu_trio.testing import Gateway, GatewayConnection


def open_session(gateway: Gateway, **settings: Any) -> AbstractAsyncContextManager[Session]:
    """A session with the gateway over streams in memory, for which time need not be real."""
    return open_real_session(
        gateway, **({"dial": gateway.dial, "http_transport": gateway.transport} | settings)
    )


def open_real_session(gateway: Gateway, **settings: Any) -> AbstractAsyncContextManager[Session]:
    """A session with the gateway over loopback sockets."""
    usual = {"app_id": gateway.app_id, "app_secret": gateway.app_secret, "domain": gateway.domain}
    return open_feishu_session(**(usual | settings))


@asynccontextmanager
async def nothing_left() -> AsyncGenerator[None, None]:
    """Assert that as many tasks run after the block as ran before it."""
    await trio.testing.wait_all_tasks_blocked(0.01)
    before = trio.lowlevel.current_statistics().tasks_living
    yield
    await trio.testing.wait_all_tasks_blocked(0.01)
    assert trio.lowlevel.current_statistics().tasks_living == before


async def come_true(holds: Callable[[], object]) -> None:
    """Wait for what nobody tells of."""
    while True:
        if holds():
            return
        await trio.sleep(0.01)


async def all_up(gateway: Gateway, count: int) -> tuple[GatewayConnection, ...]:
    """Wait until so many connections are up, and the session knows of them."""
    connections = await gateway.wait_connected(count)
    await trio.testing.wait_all_tasks_blocked()
    return connections


async def follow(session: Session, *until: type[LifecycleEvent]) -> list[LifecycleEvent]:
    """What happens from now on, up to and with the first of these, in 1,000 s at the most."""
    async with session.lifecycle() as stream:
        return await seen(stream, *until)


async def seen(stream: LifecycleStream, *until: type[LifecycleEvent]) -> list[LifecycleEvent]:
    events = []
    with trio.fail_after(1000):
        async for event in stream:
            events.append(event)
            if isinstance(event, until):
                break
    return events


@contextmanager
def every_log(records: list[logging.LogRecord]) -> Iterator[None]:
    """All records of all loggers, from DEBUG up."""

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    root, keep = logging.getLogger(), Keep(logging.DEBUG)
    names = ["", *logging.root.manager.loggerDict]
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)
    root.addHandler(keep)
    try:
        yield
    finally:
        root.removeHandler(keep)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
