"""lark-channel-sdk, Feishu's client for bots, logging at WARNING. It answers an event, and then sees to it.

Its handler gets the texts of a chat that come within 0.6 s of each other as one: its settings are the usual ones, but that
it takes the benchmark's events, which mention nobody and were made long ago, and knows its users' names without a call.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

from lark_channel import FeishuChannel, LogLevel, PolicyConfig, SafetyConfig


async def noop(message: Any) -> None:
    pass


async def slow(message: Any) -> None:
    await asyncio.sleep(0.2)


async def blocking(message: Any) -> None:
    time.sleep(0.2)  # noqa: ASYNC251  # what is measured


async def stuck(message: Any) -> None:
    await asyncio.Event().wait()


def main(domain: str, handler: str) -> None:
    channel = FeishuChannel(
        app_id="cli_9f5343c580712544",
        app_secret="secret",
        domain=domain,
        log_level=LogLevel.WARNING,
        policy=PolicyConfig(require_mention=False),
        name_lookup=lambda users: dict.fromkeys(users, "Tom"),
        safety=SafetyConfig(stale_message_window_ms=1000 * 365 * 86400 * 1000),
    )
    channel.on("message", {"noop": noop, "slow": slow, "blocking": blocking, "stuck": stuck}[handler])
    asyncio.run(channel.connect())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
