"""Answers whoever mentions it, in a card that grows."""

from benchmarks.bots.model import think
from feishu_trio import Event, Router, SQLiteInbox, run, to_me
from feishu_trio.events.im import MessageReceived

router = Router()


@router.on(MessageReceived, where=to_me())
async def answer(event: Event[MessageReceived]) -> None:
    async with event.stream() as text:
        async for words in think(event.text_to_me):
            await text.append(words)


if __name__ == "__main__":
    run(router, inbox=SQLiteInbox("answer.db"))
