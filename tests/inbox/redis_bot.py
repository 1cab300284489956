"""A process that shares an inbox in Redis with others, to be killed and paused: it receives events, handles them, or does
both. It writes what its handlers do into a file that all share, one line each, unbuffered: what, the event, the process,
the time."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import AsyncExitStack
from random import Random
from typing import Any

import trio

from feishu_trio import Event, RedisInbox, Retry, Router, open_feishu_session, open_worker

LEASE = 3.0  # seconds
STEP = 0.1


def steps_of(number: int) -> int:
    """In how many steps the first handler handles the event that was pushed as this one; in two short ones, if in two."""
    if number % 300 == 50:
        return round(LEASE / STEP) + 5  # its lease is renewed meanwhile
    return 10 if number % 20 == 10 else 2


def fails(number: int) -> bool:
    """Whether its first attempt fails."""
    return number % 50 == 7


async def main(*arguments: str) -> None:
    domain, app_id, app_secret, url, log, does = arguments
    router, random = Router(), Random()
    file = os.open(log, os.O_WRONLY | os.O_APPEND)

    def note(what: str, about: object) -> None:
        os.write(file, f"{what} {about} {os.getpid()} {time.time():.6f}\n".encode())

    @router.on("im.message.receive_v1", name="first")
    async def first(event: Event[Any]) -> None:
        note("first", event.id)
        number = int(event.data.message.message_id.removeprefix("om_"))
        steps = steps_of(number)
        for step in range(steps):
            if step:
                note("first-step", event.id)
            await trio.sleep(STEP if steps > 2 else random.expovariate(20))
        if fails(number) and event.attempt == 1:
            note("first-aside", event.id)
            raise ValueError("the first attempt fails")
        if random.random() < 0.01:
            note("first-aside", event.id)
            raise Retry(after=0.2)
        note("first-end", event.id)

    @router.on("im.message.receive_v1", name="second")
    async def second(event: Event[Any]) -> None:
        note("second", event.id)
        note("second-end", event.id)

    inbox = RedisInbox(url, lease=LEASE, durability="disk", retry_delay=0.5)

    async def tell_of_late_results() -> None:
        late = 0
        while True:
            await trio.sleep(0.05)
            while late < inbox.late:
                note("late", "-")
                late += 1

    given: dict[str, Any] = {"app_id": app_id, "app_secret": app_secret, "domain": domain}
    async with AsyncExitStack() as stack:
        signals = stack.enter_context(trio.open_signal_receiver(signal.SIGTERM))
        if does == "works":
            await stack.enter_async_context(open_worker(inbox, router, **given))
        else:
            is_both = does == "both"
            await stack.enter_async_context(
                open_feishu_session(router=router, inbox=inbox, claim=is_both, connect_timeout=5, **given)
            )
        nursery = await stack.enter_async_context(trio.open_nursery())
        nursery.start_soon(tell_of_late_results)
        note("up", "-")
        async for _ in signals:
            break
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:7])
