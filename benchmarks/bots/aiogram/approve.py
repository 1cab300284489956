"""Asks whoever wrote to it before it acts; nobody else may answer."""

import asyncio
import os

from aiogram import Bot, Dispatcher, F
from aiogram.filters.callback_data import CallbackData
from aiogram.types import CallbackQuery, Message, User
from aiogram.utils.keyboard import InlineKeyboardBuilder

dispatcher = Dispatcher()


class Choice(CallbackData, prefix="deploy"):
    answer: str
    asked: int


@dispatcher.message(F.text, F.from_user.as_("sender"))
async def ask(message: Message, sender: User) -> None:
    buttons = InlineKeyboardBuilder()
    for label in ("Yes", "No"):
        buttons.button(text=label, callback_data=Choice(answer=label, asked=sender.id))
    await message.reply("Deploy to production?", reply_markup=buttons.as_markup())


@dispatcher.callback_query(Choice.filter(), F.message.as_("question"))
async def deploy(click: CallbackQuery, callback_data: Choice, question: Message) -> None:
    if click.from_user.id != callback_data.asked:
        await click.answer("This question is not for you.")
        return
    await click.answer()
    await question.edit_text(f"Deploy to production? {callback_data.answer}")
    if callback_data.answer == "Yes":
        await question.answer("Deploying …")


if __name__ == "__main__":
    asyncio.run(dispatcher.start_polling(Bot(os.environ["TELEGRAM_TOKEN"])))
