"""An event as a line of JSON for programs, or as a few lines to read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from rich.console import Console, Group
from rich.padding import Padding
from rich.text import Text

from feishu_trio import Event, EventDecodeError

from ._text import printable, shortened

__all__ = ["compact", "compact_json_line", "json_line", "readable", "readable_in_one_line", "summary"]

_INDENT: Final = 10  # the width of the time and the gap after it
_LONGEST: Final = 500  # characters of a text or a body

# The keys of bodies that hold the user and the chat; the first one present is shown.
_USERS: Final = ("sender", "operator", "operator_id", "reader", "user_id", "applicant", "user")
_IDS: Final = ("open_id", "sender_id", "reader_id", "operator_id", "union_id", "user_id")
# The envelope's keys, which 1.0 has in the body; and the token, a secret that updates a card.
_HIDDEN: Final = ("app_id", "tenant_key", "type", "token")
_CHATS: Final = ("chat_id", "open_chat_id")


def json_line(event: Event[Any]) -> bytes:
    """The whole payload as received, and `received_at`, as one line of UTF-8.

    Raises `EventDecodeError` if the payload cannot be decoded.
    """
    return _line({**event.raw, "received_at": event.received_at.isoformat(timespec="milliseconds")})


def compact_json_line(event: Event[Any]) -> bytes:
    """What `compact` has of the event, as one line of UTF-8."""
    return _line(compact(event))


def compact(event: Event[Any]) -> dict[str, str | None]:
    """What is mostly wanted of an event: its id, type and time, where, by whom, and what was said."""
    sender = event.sender
    return {
        "id": event.id,
        "type": event.type,
        "time": (event.create_time or event.received_at).isoformat(timespec="milliseconds"),
        "chat": event.chat_id or None,
        "sender": sender.open_id or sender.user_id or sender.union_id,
        "text": summary(event) or None,
    }


def _line(fields: Mapping[str, Any]) -> bytes:
    # Half a surrogate pair has no UTF-8; its escape in JSON is written instead.
    return json.dumps(fields, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def readable() -> Callable[[Event[Any]], bytes]:
    """A view for a terminal on stdout: time, type, user and chat, and on the next line the summary."""
    console = Console(highlight=False)

    def render(event: Event[Any]) -> bytes:
        with console.capture() as capture:
            console.print(_lines(event, console.width))
        return capture.get().encode(console.encoding, "backslashreplace")

    return render


def readable_in_one_line() -> Callable[[Event[Any]], bytes]:
    """The same in one line, as far as the terminal is wide: time, type, chat and text."""
    console = Console(highlight=False)

    def render(event: Event[Any]) -> bytes:
        told = compact(event)
        line = Text.assemble(
            (f"{event.received_at.astimezone():%H:%M:%S}  ", "dim"), (printable(event.type), "bold cyan")
        )
        if told["chat"]:
            line.append(f"  {printable(shortened(told['chat'], 14))}", "dim")
        line.append(f"  {printable(shortened(told['text'] or '', _LONGEST))}")
        with console.capture() as capture:
            console.print(line, no_wrap=True, overflow="ellipsis")
        return capture.get().encode(console.encoding, "backslashreplace")

    return render


def summary(event: Event[Any]) -> str:
    """An event in short: a message's text, else the body."""
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


def _lines(event: Event[Any], width: int) -> Group:
    head = Text.assemble(
        (f"{event.received_at.astimezone():%H:%M:%S}  ", "dim"), (printable(event.type), "bold cyan")
    )
    if event.redelivered:
        head.append("  again", "yellow")
    below: list[Padding] = []
    origin = Text(_origin(_body(event)), "dim")
    if head.cell_len + 2 + origin.cell_len <= width:
        head.append("  ").append(origin)
    else:
        below.append(Padding(origin, (0, 0, 0, _INDENT)))
    if text := summary(event):
        below.append(Padding(Text(printable(shortened(text, _LONGEST), keep="\n")), (0, 0, 0, _INDENT)))
    return Group(head, *below)


def _body(event: Event[Any]) -> Mapping[str, Any]:
    try:
        body = event.raw.get("event")
    except EventDecodeError:
        return {}
    return body if isinstance(body, dict) else {}


def _origin(body: Mapping[str, Any]) -> str:
    """`ou_… in oc_… (group)`, as far as the body has these."""
    inner = next((node for key in ("message", "context") if isinstance(node := body.get(key), dict)), {})
    user = next((found for key in _USERS if (found := _id(body.get(key)))), "")
    chat = next((found for node in (body, inner) for key in _CHATS if (found := _id(node.get(key)))), "")
    kind = inner.get("chat_type")
    place = f"in {chat}" + (f" ({printable(kind[:20])})" if isinstance(kind, str) else "") if chat else ""
    return f"{user} {place}".strip()


def _id(node: object) -> str:
    """The id that a part of a body is or contains, shortened; the JSON view has the whole."""
    if isinstance(node, str):
        return printable(shortened(node, 14))
    if isinstance(node, dict):
        return next((found for key in _IDS if (found := _id(node.get(key)))), "")
    return ""
