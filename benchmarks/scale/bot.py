"""One of the processes of a run that is held against the simulation: a receiver, or a worker.

A worker says in the end, as JSON, when each event was received, and when its handler began.
"""

from __future__ import annotations

import json
import sys
import time
from random import Random
from typing import Any

import trio

from feishu_trio import Event, RedisInbox, Router, run, run_worker

from .server import APP, PREFIX


def main(url: str, domain: str, handler: str, slots: str) -> None:
    """A receiver if there is a `domain` to connect to."""
    router = Router()
    inbox = RedisInbox(url, prefix=PREFIX)
    begun: list[tuple[float, float]] = []
    draw = Random().expovariate

    @router.on("im.message.receive_v1")
    async def handle(event: Event[Any]) -> None:
        begun.append((event.received_at.timestamp(), time.time()))
        if float(handler):
            await trio.sleep(draw(1 / float(handler)))

    if domain:
        run(router, APP, "secret", inbox=inbox, claim=False, domain=domain)
    else:
        run_worker(inbox, router, app_id=APP, app_secret="secret", concurrency=int(slots))
        print(json.dumps(begun))


if __name__ == "__main__":
    main(*sys.argv[1:5])
