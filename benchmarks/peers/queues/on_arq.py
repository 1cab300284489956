"""arq: a function, and `WorkerSettings` in all but name; it looks for jobs every half second, unless it finds some."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker, func

from .clock import Clock


async def fill(url: str, lines: list[bytes]) -> None:
    pool = await create_pool(RedisSettings.from_dsn(url))
    for line in lines:
        await pool.enqueue_job("handle", json.loads(line))
    await pool.aclose()


async def work(url: str, count: int) -> None:
    clock = Clock(count)

    async def handle(context: dict[Any, Any], event: dict[str, Any]) -> None:
        clock.handled()

    worker = Worker(
        [func(handle, name="handle")],
        redis_settings=RedisSettings.from_dsn(url),
        max_jobs=64,
        burst=True,  # which ends it when there are no more
        handle_signals=False,
    )
    await worker.async_run()
    await worker.close()


if __name__ == "__main__":
    command, url, argument = sys.argv[1:]
    if command == "fill":
        asyncio.run(fill(url, Path(argument).read_bytes().splitlines()))
    else:
        asyncio.run(work(url, int(argument)))
