"""Answers several messages, sent in quick succession, as one."""

import asyncio
import os
from collections import defaultdict

from aiogram import Bot, Dispatcher, F
from aiogram.types import Message, User

dispatcher = Dispatcher()
texts: dict[tuple[int, int], list[str]] = defaultdict(list)


@dispatcher.message(F.text.as_("text"), F.from_user.as_("sender"))
async def gather(message: Message, text: str, sender: User) -> None:
    several = texts[message.chat.id, sender.id]
    several.append(text)
    count = len(several)
    await asyncio.sleep(0.8)
    if len(several) == count:  # no other has come
        del texts[message.chat.id, sender.id]
        await message.reply("You said: " + " / ".join(several))


if __name__ == "__main__":
    asyncio.run(dispatcher.start_polling(Bot(os.environ["TELEGRAM_TOKEN"])))
