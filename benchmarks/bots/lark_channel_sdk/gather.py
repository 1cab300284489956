"""Answers several messages, sent in quick succession, as one; that it gathers those of a chat is the default."""

import asyncio
import os

from lark_channel import FeishuChannel, InboundMessage

channel = FeishuChannel(app_id=os.environ["FEISHU_APP_ID"], app_secret=os.environ["FEISHU_APP_SECRET"])


async def gather(message: InboundMessage) -> None:
    texts = [each.content_text for each in message.batched_sources or [message]]
    await channel.reply(message, {"text": "You said: " + " / ".join(texts)})


channel.on("message", gather)

if __name__ == "__main__":
    asyncio.run(channel.connect())
