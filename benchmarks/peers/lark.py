"""lark-oapi, the official Python client, logging at WARNING (at INFO it logs the connection's ticket)."""

from __future__ import annotations

import sys
import time
from typing import Any

import lark_oapi as lark
from lark_oapi.ws import client as ws


def noop(event: Any) -> None:
    pass


def pause(event: Any) -> None:
    # Handlers are plain functions that run on the event loop: there is no other kind of 200 ms.
    time.sleep(0.2)


def stuck(event: Any) -> None:
    while True:
        time.sleep(3600)


def main(domain: str, handler: str, sessions: int) -> None:
    handlers = {"noop": noop, "slow": pause, "blocking": pause, "stuck": stuck}
    dispatcher = (
        lark.EventDispatcherHandler.builder("", "")
        .register_p2_im_message_receive_v1(handlers[handler])
        .build()
    )

    def client() -> Any:
        return lark.ws.Client(
            "cli_9f5343c580712544", "secret", lark.LogLevel.WARNING, event_handler=dispatcher, domain=domain
        )

    for _ in range(sessions - 1):
        # `start` never returns, and all clients share one event loop: so this is what it does, by hand.
        more = client()
        ws.loop.run_until_complete(more._connect())
        ws.loop.create_task(more._ping_loop())
    client().start()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
