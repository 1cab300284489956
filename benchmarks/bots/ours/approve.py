"""Asks whoever wrote to it before it acts; nobody else may answer."""

from feishu_trio import Event, Router, SQLiteInbox, run
from feishu_trio.events.im import MessageReceived

router = Router()


@router.on(MessageReceived)
async def deploy(event: Event[MessageReceived]) -> None:
    if await event.ask("Deploy to production?", ["Yes", "No"]) == "Yes":
        await event.reply("Deploying …")


if __name__ == "__main__":
    run(router, inbox=SQLiteInbox("approve.db"))
