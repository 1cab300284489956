"""Says what is said to it, in markdown."""

from feishu_trio import Event, Markdown, Router, run
from feishu_trio.events.im import MessageReceived

router = Router()


@router.on(MessageReceived)
async def echo(event: Event[MessageReceived]) -> None:
    await event.reply(Markdown(f"**You said:** {event.text}"))


if __name__ == "__main__":
    run(router)
