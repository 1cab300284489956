"""A bot on the official channel SDK, to be run as a program: `channel_bot.py DOMAIN APP_ID APP_SECRET`.

It does as it is told: `card`, `media`, `stream`, `recall`; it echoes other texts, and tells the size of files.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from lark_channel import FeishuChannel

PICTURE = b"\x89PNG\r\n\x1a\n"


def main() -> None:
    domain, app_id, app_secret = sys.argv[1:]
    channel = FeishuChannel(app_id=app_id, app_secret=app_secret, domain=domain)

    async def on_message(message: Any) -> None:
        reply = {"reply_to": message.id}
        chat = message.conversation.chat_id
        words = message.content_text
        if message.resources:
            for resource in message.resources:
                kind = "image" if resource.type == "image" else "file"
                data = await channel.download_resource(resource.file_key, kind, message.id)
                await channel.send(chat, {"text": f"{resource.type}: {len(data)} bytes"}, reply)
        elif "stream" in words:

            async def producer(stream: Any) -> None:
                for piece in ("Once ", "upon ", "a time."):
                    await stream.append(piece)
                    await asyncio.sleep(0.3)

            await channel.stream(chat, {"markdown": producer}, reply)
        elif "card" in words:
            await channel.send(chat, {"card": card_of("Approve?", button())}, reply)
        elif "recall" in words:
            sent = await channel.send(chat, {"text": "oops"}, reply)
            await channel.recall_message(sent.message_id)
        elif "media" in words:
            await channel.send(chat, {"image": {"source": PICTURE}}, reply)
            await channel.send(chat, {"file": {"source": b"abc", "fileName": "a.txt"}}, reply)
        else:
            await channel.add_reaction(message.id, "OK")
            name = channel.get_bot_identity().name
            await channel.send(chat, {"markdown": f"**{name}** received: {words}"}, reply)

    async def on_click(click: Any) -> None:
        await channel.update_card(click.message_id, card_of(f"Approved: {click.action.value['do']}"))

    channel.on("message", on_message)
    channel.on("cardAction", on_click)
    asyncio.run(channel.connect())


def card_of(text: str, *more: dict[str, Any]) -> dict[str, Any]:
    return {"schema": "2.0", "body": {"elements": [{"tag": "markdown", "content": text}, *more]}}


def button() -> dict[str, Any]:
    behaviors = [{"type": "callback", "value": {"do": "yes"}}]
    return {"tag": "button", "text": {"tag": "plain_text", "content": "Approve"}, "behaviors": behaviors}


if __name__ == "__main__":
    main()
