"""Asks whoever wrote to it before it acts; nobody else may answer."""

import asyncio
import os
from typing import Any

from lark_channel import CardActionEvent, FeishuChannel, InboundMessage, new_card

channel = FeishuChannel(app_id=os.environ["FEISHU_APP_ID"], app_secret=os.environ["FEISHU_APP_SECRET"])


async def ask(message: InboundMessage) -> None:
    def button(label: str) -> dict[str, Any]:
        return {"label": label, "action": {"answer": label, "asked": message.sender_id}}

    card = new_card().markdown("Deploy to production?").buttons([button("Yes"), button("No")])
    await channel.reply(message, {"card": card.to_dict()})


async def deploy(click: CardActionEvent) -> None:
    choice = click.action.value
    if click.operator.open_id != choice["asked"]:
        return
    card = new_card().markdown(f"Deploy to production? {choice['answer']}")
    await channel.update_card(click.message_id, card.to_dict())
    if choice["answer"] == "Yes":
        await channel.send(click.chat_id, {"text": "Deploying …"})


channel.on("message", ask)
channel.on("cardAction", deploy)

if __name__ == "__main__":
    asyncio.run(channel.connect())
