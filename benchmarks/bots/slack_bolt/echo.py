"""Says what is said to it, in markdown."""

import os
from typing import Any

from slack_bolt import App, Say
from slack_bolt.adapter.socket_mode import SocketModeHandler

app = App(token=os.environ["SLACK_BOT_TOKEN"])


@app.event("message")
def echo(message: dict[str, Any], say: Say) -> None:
    say(markdown_text=f"**You said:** {message['text']}", thread_ts=message["ts"])


if __name__ == "__main__":
    SocketModeHandler(app, os.environ["SLACK_APP_TOKEN"]).start()
