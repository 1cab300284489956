"""An assistant: it answers when spoken to, in a card that grows, asks before it acts, and stops when told to.

Set FEISHU_APP_ID and FEISHU_APP_SECRET, then: python examples/assistant.py
"""

from collections.abc import AsyncIterator

import trio

from feishu_trio import Ack, Event, Router, SessionConfig, SQLiteInbox, open_feishu_session, to_me
from feishu_trio.events.im import MessageReceived

router = Router()


async def think(question: str) -> AsyncIterator[str]:
    """Put a language model here."""
    for word in f"You said: {question}".split(" "):
        await trio.sleep(0.2)
        yield f"{word} "


def is_stop(event: Event[MessageReceived]) -> bool:
    return event.text_to_me == "/stop"


@router.on(MessageReceived, where=to_me(where=lambda event: not is_stop(event)))
async def answer(event: Event[MessageReceived]) -> None:
    if "delete" in event.text_to_me and await event.ask("Delete it?", ["Yes", "No"]) == "No":
        return
    async with event.stream() as reply:
        async for words in think(event.text_to_me):
            await reply.append(words)


@router.on(MessageReceived, where=to_me(where=is_stop), ack=Ack.ON_RECEIPT, order_by=None)
async def stop(event: Event[MessageReceived]) -> None:
    await event.reply("Stopped." if await event.cancel() else "There is nothing to stop.")


async def main() -> None:
    inbox = SQLiteInbox(
        "assistant.db"
    )  # what was begun before a crash is finished after it, in the same card
    async with open_feishu_session(router=router, config=SessionConfig.from_env(), inbox=inbox) as session:
        await session.wait_closed()


if __name__ == "__main__":
    trio.run(main)
