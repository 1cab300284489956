"""Says what is said to it, in markdown."""

import asyncio
import os

from aiogram import Bot, Dispatcher, F
from aiogram.types import Message
from aiogram.utils.formatting import Bold, Text

dispatcher = Dispatcher()


@dispatcher.message(F.text)
async def echo(message: Message) -> None:
    await message.reply(**Text(Bold("You said:"), " ", message.text).as_kwargs())


if __name__ == "__main__":
    asyncio.run(dispatcher.start_polling(Bot(os.environ["TELEGRAM_TOKEN"])))
