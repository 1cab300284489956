"""What mypy makes of the public names; running this file checks only that it runs."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, assert_type, cast

from feishu_trio import Person, Resource
from feishu_trio.events import Event, decode_event, im, types
from feishu_trio.events.port import EventPort

from .payloads import sample
from .test_content import Bot, Port


def see(event: Event[im.MessageReceived]) -> None:
    assert_type(event.data, im.MessageReceived)
    assert_type(event.data.message.content, str)
    assert_type(event.data.sender, im.Sender)
    assert_type(event.text, str | None)
    assert_type((event.chat_id, event.about, event.thread_key), tuple[str, str, str])
    assert_type((event.text_to_me, event.markdown), tuple[str, str])
    assert_type(event.sender, Person)
    assert_type(event.resources, tuple[Resource, ...])
    assert_type(event.mentions, tuple[im.Mention, ...])
    assert_type(event.create_time, datetime | None)
    assert_type(event.raw, dict[str, Any])
    general: Event[object] = event  # a handler of anything takes an event of something
    assert general is event


def test_types() -> None:
    event: Event[im.MessageReceived] = decode_event(sample("im.message.receive_v1"))
    event.port = cast("EventPort", Port(Bot()))
    see(event)
    assert_type(types.IM_MESSAGE_RECEIVE_V1, Literal["im.message.receive_v1"])
    assert_type(im.MessageReceived.EVENT_TYPE, str)
