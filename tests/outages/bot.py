"""The bot of docs/when-it-goes-wrong.md, whose handlers go wrong when they are told to."""

from __future__ import annotations

import time

import trio

from feishu_trio import Event, Router
from feishu_trio.events.contact import UserCreated
from feishu_trio.events.im import MessageReceived

router = Router()


@router.on(MessageReceived)
async def answer(event: Event[MessageReceived]) -> None:
    if event.text == "work":
        await event.reply("at work")
        await trio.sleep(3)
    elif event.text == "block":
        time.sleep(3)  # noqa: ASYNC251 - what is shown
    await event.reply("done")


@router.on(UserCreated)
async def welcome(event: Event[UserCreated]) -> None:
    await trio.sleep_forever()
