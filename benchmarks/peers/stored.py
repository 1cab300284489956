"""feishu_trio, which stores what it receives in Redis and leaves the handling to others: `URL DOMAIN HANDLER SESSIONS`."""

from __future__ import annotations

import sys

import trio

from feishu_trio import RedisInbox, Router, open_feishu_session

from .ours import noop


async def main(url: str, domain: str) -> None:
    router = Router()
    router.on("im.message.receive_v1")(noop)
    async with open_feishu_session(
        "cli_9f5343c580712544", "secret", router=router, domain=domain, inbox=RedisInbox(url), claim=False
    ) as session:
        await session.wait_closed()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2])
