"""FastStream on Redis streams: a subscriber with a consumer group, whose messages it acknowledges."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from faststream import FastStream
from faststream.redis import RedisBroker, StreamSub

from .clock import Clock


async def fill(url: str, lines: list[bytes]) -> None:
    async with RedisBroker(url, logger=None) as broker:
        for line in lines:
            await broker.publish(json.loads(line), stream="events")


async def work(url: str, count: int) -> None:
    broker = RedisBroker(url, logger=None)
    app, clock = FastStream(broker, logger=None), Clock(count)

    # `last_id` has the group begin with what is there; without it, with what is still to come.
    @broker.subscriber(stream=StreamSub("events", group="workers", consumer="one", last_id="0"))
    async def handle(event: dict[str, Any]) -> None:
        if clock.handled():
            app.exit()

    await app.run()


if __name__ == "__main__":
    command, url, argument = sys.argv[1:]
    if command == "fill":
        asyncio.run(fill(url, Path(argument).read_bytes().splitlines()))
    else:
        asyncio.run(work(url, int(argument)))
