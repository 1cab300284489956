"""A bot with a durable inbox, to be killed: it writes what its handlers do into a file, one line each, unbuffered."""

from __future__ import annotations

import os
import sys
from typing import Any

import trio

from feishu_trio import Event, Router, SQLiteInbox, open_feishu_session


async def main(*arguments: str) -> None:
    domain, app_id, app_secret, database, log = arguments
    router = Router()
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(what: str, event: Event[Any]) -> None:
        os.write(file, f"{what} {event.data.message.chat_id} {event.id}\n".encode())

    @router.on("im.message.receive_v1")
    async def first(event: Event[Any]) -> None:
        note("first", event)
        await trio.sleep(0.002)
        note("first-end", event)

    @router.on("im.message.receive_v1")
    async def second(event: Event[Any]) -> None:
        note("second", event)

    async with open_feishu_session(
        app_id, app_secret, router=router, domain=domain, inbox=SQLiteInbox(database), connect_timeout=5
    ) as session:
        os.write(file, b"up\n")
        await session.wait_closed()


trio.run(main, *sys.argv[1:6])
