"""feishu_trio, which stores what it receives and handles it from there: `INBOX DOMAIN`. It ends with SIGINT.

The inbox is `none`, a server's URL, or a file. In the end it prints how many events it has handled.
"""

from __future__ import annotations

import sys

import trio

from feishu_trio import RedisInbox, Router, SQLiteInbox, open_feishu_session

from .ours import noop


async def main(place: str, domain: str) -> None:
    router = Router()
    router.on("im.message.receive_v1")(noop)
    inbox = None if place == "none" else RedisInbox(place) if "://" in place else SQLiteInbox(place)
    async with open_feishu_session(
        "cli_9f5343c580712544", "secret", router=router, domain=domain, inbox=inbox
    ) as session:
        try:
            await session.wait_closed()
        finally:
            print(session.stats().handled)


if __name__ == "__main__":
    try:
        trio.run(main, sys.argv[1], sys.argv[2])
    except* KeyboardInterrupt:
        pass
