"""feishu_trio inside an asyncio program: trio in a thread of its own, the same with handlers of asyncio's, or as a guest."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import trio
from outcome import Outcome

from feishu_trio import Event, Router, open_feishu_session
from feishu_trio.asyncio import asyncio_handler, open_in_trio

from .ours import noop


def session(router: Router, domain: str) -> Any:
    return open_feishu_session("cli_9f5343c580712544", "secret", router=router, domain=domain)


async def in_thread(router: Router, domain: str) -> None:
    async with open_in_trio(session(router, domain)) as feishu:
        await feishu.call(feishu.opened.wait_closed)


async def as_guest(router: Router, domain: str) -> None:
    async def main() -> None:
        async with session(router, domain) as opened:
            await opened.wait_closed()

    loop = asyncio.get_running_loop()
    ended: asyncio.Future[Outcome[None]] = loop.create_future()
    soon: Callable[..., Any] = loop.call_soon_threadsafe
    trio.lowlevel.start_guest_run(
        main,
        run_sync_soon_threadsafe=soon,
        run_sync_soon_not_threadsafe=loop.call_soon,
        done_callback=ended.set_result,
    )
    (await ended).unwrap()


@asyncio_handler
async def noop_of_asyncio(event: Event[Any]) -> None:
    pass


MODES = {
    "thread": (in_thread, noop),
    "handlers": (in_thread, noop_of_asyncio),
    "guest": (as_guest, noop),
}


if __name__ == "__main__":
    run, handler = MODES[sys.argv[1]]
    router = Router()
    router.on("im.message.receive_v1")(handler)
    asyncio.run(run(router, sys.argv[2]))
