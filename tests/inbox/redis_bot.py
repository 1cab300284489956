"""One of several bots that share an inbox in Redis, to be killed and paused: it writes what its handlers do into a file that
all share, one line each, unbuffered."""

from __future__ import annotations

import os
import sys
from random import Random
from typing import Any

import trio

from feishu_trio import Event, RedisInbox, Router, open_feishu_session


async def main(*arguments: str) -> None:
    domain, app_id, app_secret, url, log, claims = arguments
    router, random = Router(), Random()
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(what: str, event: Event[Any]) -> None:
        os.write(file, f"{what} {event.data.message.chat_id} {event.id} {os.getpid()}\n".encode())

    @router.on("im.message.receive_v1", name="first")
    async def first(event: Event[Any]) -> None:
        note("first", event)
        await trio.sleep(random.expovariate(30))
        note("first-end", event)

    @router.on("im.message.receive_v1", name="second")
    async def second(event: Event[Any]) -> None:
        note("second", event)

    inbox = RedisInbox(url, lease=3, durability="disk")

    async def tell_of_late_results() -> None:
        late = 0
        while True:
            await trio.sleep(0.05)
            if inbox.late > late:
                os.write(file, f"late {inbox.late - late}\n".encode())
                late = inbox.late

    async with (
        open_feishu_session(
            app_id,
            app_secret,
            router=router,
            domain=domain,
            inbox=inbox,
            claim=claims == "claims",
            connect_timeout=5,
        ) as session,
        trio.open_nursery() as nursery,
    ):
        os.write(file, b"up\n")
        nursery.start_soon(tell_of_late_results)
        await session.wait_closed()
        nursery.cancel_scope.cancel()


trio.run(main, *sys.argv[1:7])
