"""A bot that says what you say. Set FEISHU_APP_ID and FEISHU_APP_SECRET, then: python examples/echo.py"""

import trio

from feishu_trio import Event, Router, SessionConfig, open_feishu_session
from feishu_trio.events.im import MessageReceived

router = Router()


@router.on("im.message.receive_v1")
async def echo(event: Event[MessageReceived]) -> None:
    """Say what was said, whatever kind of message it was."""
    await event.reply(event.text or event.markdown)  # said once, even if this runs again after a crash


async def main() -> None:
    """Run until it is interrupted."""
    async with open_feishu_session(router=router, config=SessionConfig.from_env()) as session:
        await session.wait_closed()


if __name__ == "__main__":
    trio.run(main)
