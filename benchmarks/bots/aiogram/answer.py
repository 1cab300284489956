"""Answers whoever mentions it, in a message that grows."""

import asyncio
import os
import time

from aiogram import Bot, Dispatcher, F
from aiogram.types import Message

from benchmarks.bots.model import think_in_asyncio

dispatcher = Dispatcher()


@dispatcher.message(F.text)
async def answer(message: Message, bot: Bot) -> None:
    name = f"@{(await bot.me()).username}"
    if message.text is None or name not in message.text:
        return
    growing = await message.reply("…")
    text, shown_at = "", time.monotonic()
    async for words in think_in_asyncio(message.text.replace(name, "").strip()):
        text += words
        if time.monotonic() - shown_at > 3:  # in a group Telegram takes 20 a minute
            await growing.edit_text(text)
            shown_at = time.monotonic()
    await growing.edit_text(text)


if __name__ == "__main__":
    asyncio.run(dispatcher.start_polling(Bot(os.environ["TELEGRAM_TOKEN"])))
