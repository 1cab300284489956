"""Users who write to a bot, click on its cards, and see what it wrote."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, Protocol, TypeAlias

import attrs
import msgspec
import trio

from ..events.answers import flaw_of
from . import _card_json
from ._chats import Chat, ChatMessage, Chats, Member, Mention
from ._frames import TENANT_KEY
from ._json import as_json
from ._media import DOT, Media
from ._messages import Message
from ._push import Push
from ._view import chat_text

Mentions: TypeAlias = Member | Literal["all"] | Sequence[Member | Literal["all"]] | None

_FILE_KINDS: Final = {"file": "stream", "audio": "opus", "media": "mp4"}


class _PushEvent(Protocol):
    """`Gateway.push`, as it is used here."""

    async def __call__(self, event_type: str, body: object) -> Push: ...


@attrs.frozen(eq=False)
class UserMessage:
    """A message that a user sent."""

    message_id: str
    """Its id."""
    chat_id: str
    """The id of its chat."""
    thread_id: str | None
    """The id of its thread; None if it is in none."""
    push: Push = attrs.field(repr=False)
    """The event that tells the bot of it: `await message.push.settled()`."""


AnyMessage: TypeAlias = UserMessage | Message | str
"""A message: as a user's method returned it, as it stands in `gateway.messages`, or its message_id."""


@attrs.frozen
class Clicked:
    """What a click on a card led to."""

    push: Push = attrs.field(repr=False)
    """The callback that it brought."""
    code: int
    """200, or 500 if handling failed: the person sees an error."""
    toast: str | None
    """The text that popped up."""
    card: Mapping[str, Any] | None
    """The card in the answer. It is not shown in a card that streams."""
    flaw: str | None
    """Why Feishu would show an error in place of this answer."""
    message_id: str
    """Of the message that was clicked."""


@attrs.define(eq=False)
class User(Member):
    """A user of the bot; `gateway.user("Tom")` is always the same one.

    `chat` is the name of a group, which is made on first use, or the chat_id of any chat; None is the private chat
    with the bot. What a user does reaches the bot as an event, whether the bot is named in the message or not.
    """

    _chats: Chats = attrs.field(kw_only=True, repr=False)
    _media: Media = attrs.field(kw_only=True, repr=False)
    _push: _PushEvent = attrs.field(kw_only=True, repr=False)

    async def says(
        self,
        text: str,
        *,
        mentions: Mentions = None,
        chat: str | None = None,
        reply_to: AnyMessage | None = None,
        thread: AnyMessage | None = None,
    ) -> UserMessage:
        """Send a text.

        `mentions` are members (`gateway.bot`, other users) or "all": where `@Name` stands in the text, else before it.
        `reply_to` is a message to reply to, `thread` one whose thread to write in, which is begun if there is none;
        both are in a chat already. LookupError if there is no such message, or member.
        """
        text, named = self._with_mentions(text, mentions)
        return await self._send("text", {"text": text}, named, chat, reply_to, thread)

    async def posts(
        self,
        content: str | Mapping[str, Any],
        *,
        title: str = "",
        chat: str | None = None,
        reply_to: AnyMessage | None = None,
        thread: AnyMessage | None = None,
    ) -> UserMessage:
        """Send a rich text: lines of text, or ready content, `{"title": …, "content": [[{"tag": …}]]}`."""
        if isinstance(content, str):
            lines = [[{"tag": "text", "text": line}] for line in content.split("\n")]
            content = {"title": title, "content": lines}
        return await self._send("post", dict(content), (), chat, reply_to, thread)

    async def sends_image(
        self, data: bytes = DOT, *, chat: str | None = None, reply_to: AnyMessage | None = None
    ) -> UserMessage:
        """Send a picture; one of a single pixel by default."""
        key = self._media.keep_image(data, self).key
        return await self._send("image", {"image_key": key}, (), chat, reply_to, None)

    async def sends_file(
        self,
        data: bytes,
        name: str,
        *,
        kind: Literal["file", "audio", "media"] = "file",
        chat: str | None = None,
        reply_to: AnyMessage | None = None,
    ) -> UserMessage:
        """Send a file, a voice message, or a video (`media`)."""
        content: dict[str, Any] = {"file_key": self._media.keep_file(data, name, _FILE_KINDS[kind], self).key}
        if kind != "audio":
            content["file_name"] = name
        if kind != "file":
            content["duration"] = 1000
        return await self._send(kind, content, (), chat, reply_to, None)

    async def recalls(self, message: AnyMessage) -> Push:
        """Recall one's own message."""
        found = self._find(message)
        if found.sender is not self:
            raise LookupError(f"{self.name} cannot recall a message of {found.sender.name}")
        found.recalled = True
        self._chats.changed()
        body = {
            "message_id": found.message_id,
            "chat_id": found.chat.chat_id,
            "recall_time": str(found.created),
            "recall_type": "message_owner",
        }
        return await self._push("im.message.recalled_v1", body)

    async def reacts(self, message: AnyMessage, emoji_type: str = "THUMBSUP") -> Push:
        """Put an emoji to a message."""
        found = self._find(message)
        reaction = self._chats.react(found, emoji_type, self)
        body = {
            "message_id": found.message_id,
            "reaction_type": {"emoji_type": emoji_type},
            "operator_type": "user",
            "user_id": self.ids(),
            "action_time": str(reaction.at),
        }
        return await self._push("im.message.reaction.created_v1", body)

    async def clicks(
        self,
        text: str,
        *,
        message: AnyMessage | None = None,
        chat: str | None = None,
        fill: Mapping[str, object] | None = None,
        which: int | None = None,
    ) -> Clicked:
        """Click a button, or choose an option of a menu, by its text, and wait for what the bot answers.

        It is looked for in `message`, or else in the newest card of the chat that has it. `which` tells, from 0,
        which of several in one card is meant. `fill` has what is put into the form that the button submits, by the
        names of its components. A card in the answer takes the place of the clicked one, unless that streams.

        Raises LookupError, which names what can be clicked, if there is no such button, or it brings no callback;
        TimeoutError if the bot does not answer in time.
        """
        found, control = self._find_control(text, message, chat, which)
        if control.problem is not None:
            raise LookupError(f"a click on [{text}] brings no callback: {control.problem}")
        action = {**control.action, "timezone": "Asia/Shanghai"}
        if control.form is not None:
            action["form_value"] = _filled(control.form, fill or {})
        elif fill:
            raise LookupError(f"[{text}] submits no form, so there is nothing to fill in")
        body = {
            "operator": {"tenant_key": TENANT_KEY, **self.ids()},
            "action": action,
            "host": "im_message",
            "context": {"open_message_id": found.message_id, "open_chat_id": found.chat.chat_id},
        }
        push = await self._push("card.action.trigger", body)
        answer = await push.answer()
        data = answer.data if isinstance(answer.data, dict) else {}
        toast, card = data.get("toast"), data.get("card")
        return Clicked(
            push,
            answer.code,
            toast.get("content") if isinstance(toast, dict) else None,
            card if isinstance(card, dict) else None,
            None if answer.data is None else self._flaw_of(answer.data),
            found.message_id,
        )

    def sees(self, chat: str | None = None) -> str:
        """The chat as a person would see it, a line or a paragraph a message: who, and what.

        A card shows its texts and `[its buttons]`; what was edited, streams at the moment, or has reactions says so
        at its end, as in `Bot: Hello (edited) (THUMBSUP: Tom)`. Messages of a thread stand below its first, indented.
        """
        return chat_text(self._chat(chat), self._media.kept)

    async def waits_for(
        self, what: str | Callable[[str], bool], *, chat: str | None = None, timeout: float = 5
    ) -> str:
        """Wait until `sees(chat)` contains a text, or satisfies a function; returns what is seen then.

        Raises TimeoutError, with what is seen, after `timeout` seconds of trio's clock.
        """
        __tracebackhide__ = True

        def is_seen(seen: str) -> bool:
            return what in seen if isinstance(what, str) else bool(what(seen))

        # A card that stops to stream by itself changes nothing else, so time is a change, too.
        with trio.move_on_after(timeout):
            while not is_seen(self.sees(chat)):
                with trio.move_on_after(1):
                    await self._chats.changes.wait_transition()
            await trio.lowlevel.checkpoint()
        seen = self.sees(chat)
        if not is_seen(seen):
            wanted = repr(what) if isinstance(what, str) else "what was waited for"
            raise TimeoutError(f"{self.name} does not see {wanted} after {timeout:g} s, but:\n{seen}")
        return seen

    def _chat(self, chat: str | None) -> Chat:
        if chat is None:
            return self._chats.private(self)
        known = self._chats.chats.get(chat)
        found = self._chats.group(chat) if known is None else known
        if self not in found.members:
            found.members.append(self)
        return found

    def _find(self, message: AnyMessage) -> ChatMessage:
        message_id = message if isinstance(message, str) else message.message_id
        found = self._chats.messages.get(message_id)
        if found is None:
            raise LookupError(f"there is no message {message_id!r}")
        return found

    def _with_mentions(self, text: str, mentions: Mentions) -> tuple[str, tuple[Mention, ...]]:
        given = (
            [] if mentions is None else [mentions] if isinstance(mentions, Member | str) else list(mentions)
        )
        found: list[Mention] = []
        for number, each in enumerate(given, 1):
            if isinstance(each, Member):
                mention = Mention(f"@_user_{number}", each.name, each)
            elif each == "all":
                mention = Mention("@_all", "all", None)
            else:
                raise LookupError(
                    f"{each!r} cannot be mentioned; allowed are gateway.bot, gateway.user({each!r}) and 'all'"
                )
            name = f"@{mention.name}"
            text = text.replace(name, mention.key) if name in text else f"{mention.key} {text}"
            found.append(mention)
        return text, tuple(found)

    async def _send(
        self,
        msg_type: str,
        content: dict[str, Any],
        mentions: tuple[Mention, ...],
        chat: str | None,
        reply_to: AnyMessage | None,
        thread: AnyMessage | None,
    ) -> UserMessage:
        parent = None if reply_to is None else self._find(reply_to)
        first = None if thread is None else self._find(thread)
        base = parent or first
        if base is not None and chat is not None and self._chat(chat) is not base.chat:
            raise LookupError(f"the message {base.message_id} is not in the chat {chat!r}")
        place = self._chat(chat) if base is None else base.chat
        thread_id = None if base is None else base.thread_id
        if first is not None:
            thread_id = self._chats.thread_of(first)
        message = self._chats.add(
            ChatMessage(self._chats.new_id("om_"), place, self, msg_type, content, mentions, base, thread_id)
        )
        push = await self._push("im.message.receive_v1", self._received(message))
        return UserMessage(message.message_id, place.chat_id, thread_id, push)

    def _received(self, message: ChatMessage) -> dict[str, object]:
        """The body of the event that tells of a message."""
        fields: dict[str, object] = {
            "message_id": message.message_id,
            "root_id": message.root and message.root.message_id,
            "parent_id": message.parent and message.parent.message_id,
            "create_time": str(message.created),
            "update_time": str(message.created),
            "chat_id": message.chat.chat_id,
            "thread_id": message.thread_id,
            "chat_type": message.chat.kind,
            "message_type": message.msg_type,
            "content": as_json(message.content),
            "mentions": [_mentioned(mention) for mention in message.mentions] or None,
            "user_agent": "",
        }
        sender = {"sender_id": self.ids(), "sender_type": "user", "tenant_key": TENANT_KEY}
        return {
            "sender": sender,
            "message": {name: value for name, value in fields.items() if value is not None},
        }

    def _find_control(
        self, text: str, message: AnyMessage | None, chat: str | None, which: int | None
    ) -> tuple[ChatMessage, _card_json.Control]:
        messages = [self._find(message)] if message is not None else list(self._chat(chat).messages)
        others: list[str] = []
        for each in reversed(messages):
            if each.card is None or each.recalled:
                continue
            controls = _card_json.controls(each.card)
            found = [control for control in controls if control.text == text]
            if len(found) > 1 and which is None:
                raise LookupError(f"there are {len(found)} of [{text}]; say which, from 0")
            if found and (which or 0) < len(found):
                return each, found[which or 0]
            others += [f"[{control.text}]" for control in controls]
        there = f"there are {' '.join(others)}" if others else "there are none"
        where = "in the chat" if message is None else "in the message"
        raise LookupError(f"no card {where} has a button {text!r}; {there}")

    def _flaw_of(self, data: object) -> str | None:
        flaw = flaw_of("card.action.trigger", msgspec.json.encode(data))
        if flaw is None and isinstance(data, dict) and data.get("card"):
            match data["card"]:
                case {"type": "raw", "data": dict(card)}:
                    found = _card_json.flaw_of(card, self._media.has_image)
                    flaw = None if found is None else f"its card: {found.msg}"
                case {"type": "template", "data": {"template_id": str()}}:
                    pass
                case _:
                    flaw = "its 'card' has neither type 'raw' with data, a card, nor 'template' with data.template_id"
        return flaw


def _filled(form: _card_json.Card, fill: Mapping[str, object]) -> dict[str, object]:
    """What a form holds when it is submitted."""
    fields = _card_json.fields_of(form)
    unknown = [name for name in fill if name not in fields]
    if unknown:
        raise LookupError(f"the form has no {', '.join(map(repr, unknown))}; it has {', '.join(fields)}")
    values = {name: fill.get(name, _card_json.initial_value(field)) for name, field in fields.items()}
    empty = [name for name, field in fields.items() if field.get("required") is True and not values[name]]
    if empty:
        raise LookupError(
            f"the form is not submitted without {', '.join(map(repr, empty))}, which is required"
        )
    return values


def _mentioned(mention: Mention) -> dict[str, object]:
    member = mention.member
    nobody = {"open_id": "", "union_id": "", "user_id": ""}
    return {
        "key": mention.key,
        "id": nobody if member is None else member.ids(),
        "name": mention.name,
        "tenant_key": TENANT_KEY,
    }
