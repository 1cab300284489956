"""Answers whoever mentions it, in a card that grows; that it must be mentioned in a group is the default."""

import asyncio
import os

from lark_channel import FeishuChannel, InboundMessage
from lark_channel.channel.outbound.streaming.markdown_stream import MarkdownStreamController

from benchmarks.bots.model import think_in_asyncio

channel = FeishuChannel(app_id=os.environ["FEISHU_APP_ID"], app_secret=os.environ["FEISHU_APP_SECRET"])


async def answer(message: InboundMessage) -> None:
    async def write(text: MarkdownStreamController) -> None:
        async for words in think_in_asyncio(message.body_text):
            await text.append(words)

    await channel.stream(message.chat_id, {"markdown": write}, {"reply_to": message.id})


channel.on("message", answer)

if __name__ == "__main__":
    asyncio.run(channel.connect())
