"""The official Python client, to be run as a program: `lark_client.py DOMAIN APP_ID APP_SECRET`.

It answers a message event, fails on `demo.fails_v1`, and answers a card's callback with a toast.
"""

from __future__ import annotations

import sys
from typing import Any

import lark_oapi as lark
from lark_oapi.event.callback.model.p2_card_action_trigger import (
    P2CardActionTrigger,
    P2CardActionTriggerResponse,
)


def on_message(event: Any) -> None:
    assert event.event.message.message_type == "text"


def on_failing(event: Any) -> None:
    raise RuntimeError("this handler fails")


def on_card(event: P2CardActionTrigger) -> P2CardActionTriggerResponse:
    return P2CardActionTriggerResponse({"toast": {"type": "info", "content": event.event.action.tag}})


def main() -> None:
    domain, app_id, app_secret = sys.argv[1:]
    handler = (
        lark.EventDispatcherHandler.builder("", "")
        .register_p2_im_message_receive_v1(on_message)
        .register_p2_customized_event("demo.fails_v1", on_failing)
        .register_p2_card_action_trigger(on_card)
        .build()
    )
    lark.ws.Client(app_id, app_secret, event_handler=handler, domain=domain).start()


if __name__ == "__main__":
    main()
