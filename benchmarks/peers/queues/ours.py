"""feishu_trio, as a user would write it. How long a handler sleeps may follow, in seconds; it does nothing if not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import trio

from feishu_trio import Event, RedisInbox, Router, open_worker
from feishu_trio.events import decode_event
from feishu_trio.events.order import by_chat
from feishu_trio.inbox.records import Entry
from feishu_trio.inbox.storing import entry_of

from .clock import Clock

APP = "cli_9f5343c580712544"
GROUP = 64
"""Events that a session stores at a time, when there are so many."""


async def fill(url: str, lines: list[bytes]) -> None:
    entries = [entry(line) for line in lines]
    inbox = RedisInbox(url)
    async with trio.open_nursery() as nursery:
        await nursery.start(inbox.serve, APP, 3600.0)
        for at in range(0, len(entries), GROUP):
            await inbox.store(entries[at : at + GROUP])
        nursery.cancel_scope.cancel()


def entry(payload: bytes) -> Entry:
    """What a session stores of an event."""
    event = decode_event(
        payload, message_id="7d2c0f4e-6a1b-4c59-9f3e-000000000000", trace_id="8f14e45f000000000000"
    )
    return entry_of(event, by_chat)


async def work(url: str, count: int, seconds: float) -> None:
    router, clock, over = Router(), Clock(count), trio.Event()

    @router.on("im.message.receive_v1")
    async def handle(event: Event[Any]) -> None:
        if seconds:
            await trio.sleep(seconds)
        if clock.handled():
            over.set()

    async with open_worker(RedisInbox(url), router, app_id=APP, app_secret="secret"):
        await over.wait()


if __name__ == "__main__":
    command, url, argument, *pause = sys.argv[1:]
    if command == "fill":
        trio.run(fill, url, Path(argument).read_bytes().splitlines())
    else:
        trio.run(work, url, int(argument), float(*pause))
