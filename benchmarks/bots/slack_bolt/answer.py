"""Answers whoever mentions it, in a message that grows."""

import os
from typing import Any

from slack_bolt import App, SayStream
from slack_bolt.adapter.socket_mode import SocketModeHandler

from benchmarks.bots.model import think_in_thread

app = App(token=os.environ["SLACK_BOT_TOKEN"])


@app.event("app_mention")
def answer(event: dict[str, Any], say_stream: SayStream) -> None:
    text = say_stream()
    for words in think_in_thread(event["text"].split(">", 1)[-1].strip()):
        text.append(markdown_text=words)
    text.stop()


if __name__ == "__main__":
    SocketModeHandler(app, os.environ["SLACK_APP_TOKEN"]).start()
