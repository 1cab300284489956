"""feishu_trio, as a user would write it, with the settings it has if nobody changes them.

But for slow handlers: its documentation says to raise `concurrency` for those.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import trio

from feishu_trio import Event, Router, SessionConfig, open_feishu_session


async def noop(event: Event[Any]) -> None:
    pass


async def slow(event: Event[Any]) -> None:
    await trio.sleep(0.2)


def blocking(event: Event[Any]) -> None:
    time.sleep(0.2)


async def stuck(event: Event[Any]) -> None:
    await trio.sleep_forever()


async def main(domain: str, handler: str, sessions: int) -> None:
    router = Router()
    router.on("im.message.receive_v1")(
        {"noop": noop, "slow": slow, "blocking": blocking, "stuck": stuck}[handler]
    )

    concurrency = 256 if handler in ("slow", "blocking") else SessionConfig().concurrency

    async def session(*, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with open_feishu_session(
            "cli_9f5343c580712544", "secret", router=router, domain=domain, concurrency=concurrency
        ) as session:
            task_status.started()
            await session.wait_closed()

    async with trio.open_nursery() as nursery:
        for _ in range(sessions):
            await nursery.start(session)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]))
