"""Answers several messages, sent in quick succession, as one."""

import asyncio
import os
from collections import defaultdict
from typing import Any

from slack_bolt.adapter.socket_mode.async_handler import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp, AsyncSay

app = AsyncApp(token=os.environ["SLACK_BOT_TOKEN"])
texts: dict[tuple[str, str], list[str]] = defaultdict(list)


@app.event("message")
async def gather(message: dict[str, Any], say: AsyncSay) -> None:
    key = message["channel"], message["user"]
    several = texts[key]
    several.append(message["text"])
    count = len(several)
    await asyncio.sleep(0.8)
    if len(several) == count:  # no other has come
        del texts[key]
        await say("You said: " + " / ".join(several))


async def main() -> None:
    await AsyncSocketModeHandler(app, os.environ["SLACK_APP_TOKEN"]).start_async()


if __name__ == "__main__":
    asyncio.run(main())
