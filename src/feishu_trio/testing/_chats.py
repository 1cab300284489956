"""Chats as the gateway keeps them: who is in them, and their messages as they stand. No HTTP."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import Any, Final, Literal

import attrs
import msgspec
import trio
from trio_util import AsyncValue

from ._entities import CardEntity
from ._frames import TENANT_KEY, random_id
from ._json import as_json, decoded_object
from ._limits import Limit
from ._newest import Newest

_KEPT_IN_CHAT: Final = 10_000

# Where a pushed event names neither.
_UNKNOWN_CHAT: Final = "oc_unknown"
_UNKNOWN_USER: Final = "ou_unknown"

_SENDS: Final = 5


@attrs.define(eq=False)
class Member:
    """Somebody who takes part in chats: a user, or the bot."""

    name: str
    """As chats show it."""
    open_id: str
    """The id for the app, by which messages mention it."""
    union_id: str
    """The id for all apps of the developer."""
    user_id: str
    """Empty for a bot."""
    app_id: str = ""
    """Of a bot; empty for a user."""

    @property
    def is_bot(self) -> bool:
        """Whether it is a bot."""
        return bool(self.app_id)

    def ids(self) -> dict[str, str]:
        """The ids, as events carry them."""
        return {"open_id": self.open_id, "union_id": self.union_id, "user_id": self.user_id}


@attrs.frozen(eq=False)
class Mention:
    """Somebody who is named in a message, and what stands for the name in its text."""

    key: str
    name: str
    member: Member | None
    """None for everybody."""


@attrs.frozen(eq=False)
class Reaction:
    """An emoji that somebody put to a message."""

    reaction_id: str
    emoji_type: str
    member: Member
    at: int
    """When, in milliseconds of the wall clock."""


@attrs.define(eq=False)
class Chat:
    """A private chat with the bot, or a group."""

    chat_id: str
    name: str
    kind: Literal["p2p", "group"]
    members: list[Member]
    """Without the bot."""
    messages: deque[ChatMessage] = attrs.field(factory=lambda: deque(maxlen=_KEPT_IN_CHAT), repr=False)
    """The last 10,000, oldest first."""
    sends: Limit = attrs.field(factory=lambda: Limit(_SENDS), repr=False)
    """Of what bots send to it, where that is limited."""


@attrs.define(eq=False)
class ChatMessage:
    """A message, as it stands."""

    message_id: str
    chat: Chat = attrs.field(repr=False)
    sender: Member
    msg_type: str
    content: dict[str, Any]
    """Decoded; of a card, the JSON that was sent."""
    mentions: tuple[Mention, ...] = ()
    parent: ChatMessage | None = attrs.field(default=None, repr=False)
    """The message replied to."""
    thread_id: str | None = None
    entity: CardEntity | None = attrs.field(default=None, repr=False)
    """Where the message shows a card by its card_id."""
    created: int = attrs.field(factory=lambda: now_ms())
    """In milliseconds of the wall clock."""
    updated: int | None = None
    at: float = attrs.field(factory=trio.current_time)
    """When it was sent, by trio's clock."""
    edits: int = 0
    recalled: bool = False
    reactions: dict[str, Reaction] = attrs.field(factory=dict, repr=False)
    """By reaction_id."""

    @property
    def root(self) -> ChatMessage | None:
        """The first message of the replies that this one belongs to."""
        first = self.parent
        while first is not None and first.parent is not None:
            first = first.parent
        return first

    @property
    def card(self) -> dict[str, Any] | None:
        """The card that it shows; None for other messages."""
        if self.entity is not None:
            return self.entity.card
        return self.content if self.msg_type == "interactive" else None

    @property
    def is_streaming(self) -> bool:
        """Whether it shows a card that streams at the moment."""
        return self.entity is not None and self.entity.is_streaming

    def show(self, card: dict[str, Any]) -> None:
        """Show another card."""
        if self.entity is None:
            self.content = card
        else:
            self.entity.replace(card)

    def data(self) -> dict[str, object]:
        """The message as calls return it."""
        sender = self.sender
        by = (sender.app_id, "app_id", "app") if sender.is_bot else (sender.open_id, "open_id", "user")
        fields: dict[str, object] = {
            "message_id": self.message_id,
            "root_id": self.root and self.root.message_id,
            "parent_id": self.parent and self.parent.message_id,
            "thread_id": self.thread_id,
            "msg_type": self.msg_type,
            "create_time": str(self.created),
            "update_time": str(self.updated or self.created),
            "deleted": self.recalled,
            "updated": self.updated is not None,
            "chat_id": self.chat.chat_id,
            "sender": {"id": by[0], "id_type": by[1], "sender_type": by[2], "tenant_key": TENANT_KEY},
            "body": {"content": "This message was recalled" if self.recalled else as_json(self.content)},
            "mentions": [_mention_data(mention) for mention in self.mentions] or None,
        }
        return {name: value for name, value in fields.items() if value is not None}


def _mention_data(mention: Mention) -> dict[str, object]:
    open_id = mention.member.open_id if mention.member else "all"
    return {
        "key": mention.key,
        "id": open_id,
        "id_type": "open_id",
        "name": mention.name,
        "tenant_key": TENANT_KEY,
    }


@attrs.define(eq=False)
class Chats:
    """Everybody, every chat, and every message."""

    bot: Member
    random: Random = attrs.field(repr=False)
    members: dict[str, Member] = attrs.field(factory=dict, init=False, repr=False)
    """By open_id."""
    chats: dict[str, Chat] = attrs.field(factory=dict, init=False, repr=False)
    """By chat_id."""
    messages: Newest[str, ChatMessage] = attrs.field(factory=Newest, init=False, repr=False)
    """By message_id; the newest."""
    changes: AsyncValue[int] = attrs.field(factory=lambda: AsyncValue(0), init=False, repr=False)
    """Counts all changes, to be waited on."""
    _private: dict[str, Chat] = attrs.field(factory=dict, init=False, repr=False)
    _groups: dict[str, Chat] = attrs.field(factory=dict, init=False, repr=False)

    def changed(self) -> None:
        """Wake those who wait for a change."""
        self.changes.value += 1

    def new_id(self, prefix: str) -> str:
        """A new id of a kind, such as `om_`."""
        return f"{prefix}{random_id(self.random)}"

    def join(self, member: Member) -> Member:
        """Add somebody."""
        self.members[member.open_id] = member
        return member

    def member(self, open_id: str) -> Member:
        """Who has this open_id; made up if nobody has."""
        return self.members.get(open_id) or self.join(Member(open_id, open_id, self.new_id("on_"), open_id))

    def private(self, member: Member) -> Chat:
        """Somebody's chat with the bot."""
        chat = self._private.get(member.open_id)
        if chat is None:
            chat = self._private[member.open_id] = Chat(self.new_id("oc_"), member.name, "p2p", [member])
            self.chats[chat.chat_id] = chat
        return chat

    def group(self, name: str) -> Chat:
        """The group of this name; made on first use."""
        chat = self._groups.get(name)
        if chat is None:
            chat = self._groups[name] = Chat(self.new_id("oc_"), name, "group", [])
            self.chats[chat.chat_id] = chat
        return chat

    def chat(self, chat_id: str, kind: Literal["p2p", "group"] = "group") -> Chat:
        """The chat of this id; made up if there is none."""
        return self.chats.get(chat_id) or self.chats.setdefault(chat_id, Chat(chat_id, chat_id, kind, []))

    def receiver(self, receive_id: str, id_type: str) -> Chat:
        """The chat that a message to this receiver goes to."""
        if id_type == "chat_id":
            return self.chat(receive_id)
        ids = {"open_id": "open_id", "union_id": "union_id"}.get(id_type, "user_id")
        known = (member for member in self.members.values() if getattr(member, ids) == receive_id)
        return self.private(next(known, None) or self.member(receive_id))

    def add(self, message: ChatMessage) -> ChatMessage:
        """Add a message to its chat."""
        self.messages[message.message_id] = message
        message.chat.messages.append(message)
        if not message.sender.is_bot and message.sender not in message.chat.members:
            message.chat.members.append(message.sender)
        self.changed()
        return message

    def thread_of(self, message: ChatMessage) -> str:
        """The thread that a message is in; begun with it if it is in none."""
        if message.thread_id is None:
            message.thread_id = self.new_id("omt_")
        return message.thread_id

    def react(self, message: ChatMessage, emoji_type: str, member: Member) -> Reaction:
        """Put somebody's emoji to a message; the one that is there already, if there is."""
        for reaction in message.reactions.values():
            if (reaction.emoji_type, reaction.member) == (emoji_type, member):
                return reaction
        reaction = Reaction(self.new_id(""), emoji_type, member, now_ms())
        message.reactions[reaction.reaction_id] = reaction
        self.changed()
        return reaction

    def learn(self, event_type: str, body: object) -> None:
        """Take a pushed event at its word: the message that it names exists."""
        if (read := _LEARNED.get(event_type)) is not None:
            plain = msgspec.to_builtins(body)
            if isinstance(plain, Mapping):
                read(self, plain)

    def _learn_message(self, body: Mapping[str, Any]) -> None:
        match body:
            case {"message": {"message_id": str(message_id), **fields}} if message_id not in self.messages:
                chat_id, kind = fields.get("chat_id"), fields.get("chat_type")
                match body.get("sender"):
                    case {"sender_id": {"open_id": str(open_id)}}:
                        sender = self.member(open_id)
                    case _:
                        sender = self.member(_UNKNOWN_USER)
                if not isinstance(chat_id, str) or not chat_id:
                    chat = self.private(sender)
                else:
                    chat = self.chat(chat_id, "p2p" if kind == "p2p" else "group")
                    if chat.kind == "p2p":
                        self._private.setdefault(sender.open_id, chat)
                msg_type = fields.get("message_type")
                self.add(
                    ChatMessage(
                        message_id,
                        chat,
                        sender,
                        msg_type if isinstance(msg_type, str) else "text",
                        _decoded(fields.get("content")),
                        tuple(self._learn_mentions(fields.get("mentions"))),
                        self.messages.get(str(fields.get("parent_id"))),
                        thread_id if isinstance(thread_id := fields.get("thread_id"), str) else None,
                    )
                )

    def _learn_mentions(self, mentions: object) -> Iterable[Mention]:
        for mention in mentions if isinstance(mentions, list | tuple) else ():
            match mention:
                case {"key": str(key), "name": str(name), "id": {"open_id": str(open_id)}} if open_id:
                    yield Mention(key, name, self.member(open_id))
                case {"key": str(key), "name": str(name)}:
                    yield Mention(key, name, None)

    def _learn_card(self, body: Mapping[str, Any]) -> None:
        match body.get("context"):
            case {"open_message_id": str(message_id), **context} if message_id not in self.messages:
                chat_id = context.get("open_chat_id")
                chat = self.chat(chat_id if isinstance(chat_id, str) and chat_id else _UNKNOWN_CHAT)
                self.add(ChatMessage(message_id, chat, self.bot, "interactive", {"elements": []}))

    def _learn_reaction(self, body: Mapping[str, Any]) -> None:
        match body.get("message_id"):
            case str(message_id) if message_id not in self.messages:
                self.add(ChatMessage(message_id, self.chat(_UNKNOWN_CHAT), self.bot, "text", {"text": ""}))


_LEARNED: Final[Mapping[str, Callable[[Chats, Mapping[str, Any]], None]]] = {
    "im.message.receive_v1": Chats._learn_message,
    "card.action.trigger": Chats._learn_card,
    "im.message.reaction.created_v1": Chats._learn_reaction,
    "im.message.reaction.deleted_v1": Chats._learn_reaction,
}


def _decoded(content: object) -> dict[str, Any]:
    decoded = decoded_object(content) if isinstance(content, str) else None
    return {"text": str(content or "")} if decoded is None else decoded


def now_ms() -> int:
    """Milliseconds of the wall clock."""
    return int(time.time() * 1000)
