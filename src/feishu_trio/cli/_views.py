"""An event as a line of JSON for programs, or as a few lines for a person."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import trio
from rich.console import Console, Group
from rich.padding import Padding
from rich.text import Text

from feishu_trio import Event, EventDecodeError

from ._text import printable, shortened

__all__ = ["gist", "json_line", "readable"]

_INDENT: Final = 10  # as wide as the time and the gap after it
_LONGEST: Final = 500  # characters of a text or a body

# Where bodies say who did it, and in which chat; the first that is there counts.
_PEOPLE: Final = ("sender", "operator", "operator_id", "reader", "user_id", "applicant", "user")
_IDS: Final = ("open_id", "sender_id", "reader_id", "operator_id", "union_id", "user_id")
# The envelope's, which 1.0 has in the body; and the token, with which a card can be changed.
_HIDDEN: Final = ("app_id", "tenant_key", "type", "token")
_CHATS: Final = ("chat_id", "open_chat_id")


def json_line(event: Event[Any]) -> bytes:
    """The whole payload as it came, with `received_at` beside it, as one line of UTF-8.

    Raises `EventDecodeError` if the payload is more than can be held.
    """
    line = {**event.raw, "received_at": _received_at(event).isoformat(timespec="milliseconds")}
    # Half a surrogate pair has no UTF-8, and what stands for it is its escape in JSON.
    return json.dumps(line, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def readable() -> Callable[[Event[Any]], bytes]:
    """A view for the terminal that stdout is: time, type, who and where, and below it what it is about."""
    console = Console(highlight=False)

    def render(event: Event[Any]) -> bytes:
        with console.capture() as capture:
            console.print(_lines(event))
        return capture.get().encode(console.encoding, "backslashreplace")

    return render


def gist(event: Event[Any]) -> str:
    """What an event is about: a message's text, or else what stands in the body."""
    try:
        text = event.text
    except EventDecodeError:
        text = None
    if text:
        return text
    body = _body(event)
    match body.get("message"):
        case {"message_type": str(kind), "content": str(content)}:
            return f"[{kind}] {content}"
    shown = {name: value for name, value in body.items() if name not in _HIDDEN}
    return json.dumps(shown, ensure_ascii=False) if shown else ""


def _received_at(event: Event[Any]) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=trio.current_time() - event.received_at)


def _lines(event: Event[Any]) -> Group:
    head = Text.assemble(
        (f"{_received_at(event).astimezone():%H:%M:%S}  ", "dim"), (printable(event.type), "bold cyan")
    )
    if event.redelivered:
        head.append("  again", "yellow")
    whereabouts = _whereabouts(_body(event))
    if whereabouts:
        head.append(f"  {whereabouts}", "dim")
    text = gist(event)
    below = Padding(Text(printable(shortened(text, _LONGEST), keep="\n")), (0, 0, 0, _INDENT))
    return Group(head, below) if text else Group(head)


def _body(event: Event[Any]) -> Mapping[str, Any]:
    try:
        body = event.raw.get("event")
    except EventDecodeError:
        return {}
    return body if isinstance(body, dict) else {}


def _whereabouts(body: Mapping[str, Any]) -> str:
    """`ou_… in oc_… (group)`, as far as the body tells."""
    inner = next((node for key in ("message", "context") if isinstance(node := body.get(key), dict)), {})
    who = next((found for key in _PEOPLE if (found := _id(body.get(key)))), "")
    chat = next((found for node in (body, inner) for key in _CHATS if (found := _id(node.get(key)))), "")
    kind = inner.get("chat_type")
    place = f"in {chat}" + (f" ({printable(kind[:20])})" if isinstance(kind, str) else "") if chat else ""
    return f"{who} {place}".strip()


def _id(node: object) -> str:
    """The id that a part of a body is, or holds, cut short; the whole is in the JSON."""
    if isinstance(node, str):
        return printable(shortened(node, 14))
    if isinstance(node, dict):
        return next((found for key in _IDS if (found := _id(node.get(key)))), "")
    return ""
