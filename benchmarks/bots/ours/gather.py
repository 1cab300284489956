"""Answers several messages, sent in quick succession, as one."""

from feishu_trio import Event, Router, SQLiteInbox, by_sender, run
from feishu_trio.events.im import MessageReceived

router = Router()


@router.on_batch(MessageReceived, by=by_sender, idle=0.8, max_wait=5)
async def gather(events: list[Event[MessageReceived]]) -> None:
    await events[-1].reply("You said: " + " / ".join(event.text or "" for event in events))


if __name__ == "__main__":
    run(router, inbox=SQLiteInbox("gather.db"))
