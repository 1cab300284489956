"""A bot that says what you say. Set FEISHU_APP_ID and FEISHU_APP_SECRET, then: python examples/echo.py"""

from feishu_trio import Event, Router, SessionConfig, run
from feishu_trio.events.im import MessageReceived

router = Router()


@router.on("im.message.receive_v1")
async def echo(event: Event[MessageReceived]) -> None:
    """Say what was said, whatever kind of message it was."""
    await event.reply(event.text or event.markdown)  # said once, even if this runs again after a crash


if __name__ == "__main__":
    run(router, config=SessionConfig.from_env())
