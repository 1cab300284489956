"""Says what is said to it, in markdown."""

import asyncio
import os

from lark_channel import FeishuChannel, InboundMessage

channel = FeishuChannel(app_id=os.environ["FEISHU_APP_ID"], app_secret=os.environ["FEISHU_APP_SECRET"])


async def echo(message: InboundMessage) -> None:
    await channel.reply(message, {"markdown": f"**You said:** {message.content_text}"})


channel.on("message", echo)

if __name__ == "__main__":
    asyncio.run(channel.connect())
