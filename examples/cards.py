"""A card with two buttons: one is answered at once, the other by a fallback now and an updated card later.

Set FEISHU_APP_ID and FEISHU_APP_SECRET, then: python examples/cards.py; write anything to the bot.
"""

from typing import Any

import trio

from feishu_trio import Card, CardAnswer, Event, Router, SessionConfig, Toast, open_feishu_session
from feishu_trio.events.card import ActionTriggered
from feishu_trio.events.im import MessageReceived


def card(text: str, **buttons: str) -> dict[str, Any]:
    return {
        "elements": [
            {"tag": "div", "text": {"tag": "plain_text", "content": text}},
            {
                "tag": "action",
                "actions": [
                    {"tag": "button", "text": {"tag": "plain_text", "content": label}, "value": {"do": what}}
                    for what, label in buttons.items()
                ],
            },
        ]
    }


router = Router()


@router.on("im.message.receive_v1")
async def ask(event: Event[MessageReceived]) -> None:
    question = card("怎么办？ What shall it be?", approve="批准 Approve", report="报告 Report")
    await event.reply(question)


# Feishu waits 3 s for the answer to a click. At the deadline the fallback goes out, and the handler goes on.
@router.on("card.action.trigger", fallback=CardAnswer(toast=Toast("正在写… Working on it…")))
async def clicked(event: Event[ActionTriggered]) -> CardAnswer:
    action = event.data.action
    if action and action.value == {"do": "approve"}:
        return CardAnswer(toast=Toast("已批准 Approved", "success"))
    await trio.sleep(3)
    # Too late to be the answer, so it updates the card.
    return CardAnswer(card=Card.raw(card("报告写好了。 The report is ready.")))


async def main() -> None:
    async with open_feishu_session(router=router, config=SessionConfig.from_env()) as session:
        await session.wait_closed()


if __name__ == "__main__":
    trio.run(main)
