"""Run a bot against a local server: `python -m benchmarks.bots.local lark_channel_sdk echo`, with the server in SERVER.

The bots themselves are what they would be against the real one. Ours finds its server in FEISHU_DOMAIN.
"""

from __future__ import annotations

import os
import runpy
import sys
from functools import partial
from importlib import import_module
from typing import Any


def main() -> None:
    library, bot = sys.argv[1:]
    server = os.environ["SERVER"]
    module: Any
    web: Any
    if library == "lark_channel_sdk":
        module = import_module("lark_channel")
        module.FeishuChannel = partial(module.FeishuChannel, domain=server)
    elif library == "slack_bolt":
        token = os.environ["SLACK_BOT_TOKEN"]
        web = import_module("slack_sdk")
        module = import_module("slack_bolt")
        module.App = partial(module.App, client=web.WebClient(token, base_url=f"{server}/"))
        web = import_module("slack_sdk.web.async_client")
        module = import_module("slack_bolt.async_app")
        module.AsyncApp = partial(module.AsyncApp, client=web.AsyncWebClient(token, base_url=f"{server}/"))
    elif library == "aiogram":
        module = import_module("aiogram")
        session = import_module("aiogram.client.session.aiohttp").AiohttpSession
        api = import_module("aiogram.client.telegram").TelegramAPIServer.from_base(server)
        module.Bot = partial(module.Bot, session=session(api=api))
    runpy.run_module(f"benchmarks.bots.{library}.{bot}", run_name="__main__")


if __name__ == "__main__":
    main()
