"""Asks whoever wrote to it before it acts; nobody else may answer."""

import os
from typing import Any

from slack_bolt import Ack, App, Respond, Say
from slack_bolt.adapter.socket_mode import SocketModeHandler
from slack_sdk.models.blocks import ActionsBlock, ButtonElement, SectionBlock

app = App(token=os.environ["SLACK_BOT_TOKEN"])


@app.event("message")
def ask(message: dict[str, Any], say: Say) -> None:
    question = SectionBlock(text="Deploy to production?")
    buttons = [
        ButtonElement(text=label, action_id=f"deploy_{label}", value=message["user"])
        for label in ("Yes", "No")
    ]
    say(blocks=[question, ActionsBlock(elements=buttons)], text="Deploy to production?")


@app.action("deploy_Yes")
@app.action("deploy_No")
def deploy(ack: Ack, body: dict[str, Any], action: dict[str, Any], respond: Respond, say: Say) -> None:
    ack()
    if body["user"]["id"] != action["value"]:
        return
    answer = action["text"]["text"]
    respond(f"Deploy to production? {answer}", replace_original=True)
    if answer == "Yes":
        say("Deploying …")


if __name__ == "__main__":
    SocketModeHandler(app, os.environ["SLACK_APP_TOKEN"]).start()
