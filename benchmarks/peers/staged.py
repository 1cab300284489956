"""feishu_trio, which tells when each stage of an event that came alone was reached: `DOMAIN`. It ends with SIGINT.

What it prints is JSON: for each event whole nanoseconds by stage, since the loop had news of it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import trio

from feishu_trio import Event, Router, open_feishu_session
from feishu_trio.connection.tcp import TCPStream
from feishu_trio.connection.tls import TLSStream
from feishu_trio.delivery.engine import Engine

_stages: Final[list[dict[str, int]]] = []
_seen: dict[str, int] = {}


def _reach(stage: str) -> None:
    _seen.setdefault(stage, time.perf_counter_ns())


class _Steps(trio.abc.Instrument):
    """Begins with each wait of the loop that ended, and keeps what led to an answer."""

    def after_io_wait(self, timeout: float) -> None:
        global _seen
        if timeout:  # else it only looked whether there is more, amid the event
            if "woken" in _seen and "sent" in _seen:
                _stages.append(_seen)
            _seen = {"woken": time.perf_counter_ns()}

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        _reach("worker runs" if "reader waits" in _seen else "reader runs")

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        _reach("reader waits")


def _probed(owner: type, name: str, before: str | None, after: str | None) -> None:
    method: Callable[..., Any] = getattr(owner, name)

    def probed(*arguments: Any, **named: Any) -> Any:
        if before is not None:
            _reach(before)
        result = method(*arguments, **named)
        if after is not None:
            _reach(after)
        return result

    setattr(owner, name, probed)


async def noop(event: Event[Any]) -> None:
    _reach("handler runs")


async def main(domain: str) -> None:
    _probed(TLSStream, "_decrypted", "received", "decrypted")
    _probed(Engine, "accept_nowait", "decoded", "accepted")
    _probed(TLSStream, "send_now", "answer written", None)
    _probed(TCPStream, "send_now", "answer encrypted", "sent")
    router = Router()
    router.on("im.message.receive_v1")(noop)
    async with open_feishu_session("cli_9f5343c580712544", "secret", router=router, domain=domain) as session:
        trio.lowlevel.add_instrument(_Steps())
        await session.wait_closed()


if __name__ == "__main__":
    try:
        trio.run(main, sys.argv[1])
    except* KeyboardInterrupt:
        pass
    print(json.dumps([{stage: at - seen["woken"] for stage, at in seen.items()} for seen in _stages]))
