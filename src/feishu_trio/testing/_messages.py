"""The calls for messages: sent, replied, edited, recalled, fetched, and reacted to."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, Literal

import attrs
import trio
from trio_util import AsyncValue

from . import _card_json
from ._calls import ApiRefusal, Body, bad_field, call, done
from ._chats import Chat, ChatMessage, Chats, Reaction, now_ms
from ._content import ContentChecks, bad_message
from ._http import Request
from ._json import as_json
from ._limits import Limit, too_often
from ._newest import Newest
from ._pages import page

MESSAGES: Final = "/open-apis/im/v1/messages"
_MESSAGE: Final = f"{MESSAGES}/{{message_id}}"

UNKNOWN_MESSAGE: Final = 99992354
TOO_OLD_TO_RECALL: Final = 230009
RECALLED: Final = 230011
TOO_OFTEN_UPDATED: Final = 230020
NOT_RECALLABLE: Final = 230026
TOO_OLD_TO_UPDATE: Final = 230031
WRONG_TYPE: Final = 230054
NOT_THE_SENDER: Final = 230071
EDITED_TOO_OFTEN: Final = 230072
BAD_EMOJI: Final = 231001
REACTION_TO_NOTHING: Final = 231003
NOT_OWN_REACTION: Final = 231007
REACTION_ELSEWHERE: Final = 231010
UNKNOWN_REACTION: Final = 231011

UUID_LIFETIME: Final = 3600.0
"""Seconds in which messages with the same `uuid` are one message."""
EDITS: Final = 20
"""Of a text or a post."""
_EDITABLE: Final = ("text", "post")
_DAY: Final = 86400.0
_UPDATABLE: Final = 14 * _DAY
_APP_SENDS: Final = 50
_UPDATES: Final = 5

_RECEIVE_IDS: Final = {
    "chat_id": re.compile(r"oc_[\w-]+"),
    "open_id": re.compile(r"ou_[\w-]+"),
    "union_id": re.compile(r"on_[\w-]+"),
    "user_id": re.compile(r"\S+"),
    "email": re.compile(r"[^@\s]+@[^@\s]+"),
}


@attrs.frozen
class Message:
    """Something a bot sent through the API."""

    kind: Literal["reply", "send", "card", "edit"]
    """`card` is an update of a card by its callback's token, `edit` one of a message by its id, also of its card."""
    to: str
    """The message replied to or edited, the receiver, or the token of the callback whose card is updated."""
    msg_type: str
    """Feishu's word for what it is: text, post, interactive, image and so on."""
    content: object
    """Decoded JSON: for a text `{"text": …}`, for a card the card."""
    uuid: str | None
    """Given with it, so that it is sent once within an hour; None if none was, and of updates."""
    message_id: str
    """The id it has; empty for a card update by token."""
    at: float
    """When, by trio's clock."""
    receive_id_type: str | None = None
    """Of a `send`: what `to` is."""
    in_thread: bool = False
    """Whether a `reply` asked for a thread."""


@attrs.define(eq=False)
class SentMessages:
    """What bots sent, in order."""

    all: list[Message] = attrs.field(factory=list, init=False)
    count: AsyncValue[int] = attrs.field(factory=lambda: AsyncValue(0), init=False)
    """The number of them, to be waited on."""

    def add(self, message: Message) -> None:
        """Add one."""
        self.all.append(message)
        self.count.value = len(self.all)


@attrs.define(eq=False)
class MessageCalls:
    """Everything at `/open-apis/im/v1/messages`, but for files."""

    chats: Chats
    checks: ContentChecks
    sent: SentMessages
    limited: bool
    """Whether more than 5 messages a second to a chat, or 50 in all, are refused."""
    _uuids: Newest[str, ChatMessage] = attrs.field(factory=Newest, init=False, repr=False)
    _updates: Newest[str, Limit] = attrs.field(factory=Newest, init=False, repr=False)
    """Of cards, by message_id."""
    _sends: Limit = attrs.field(factory=lambda: Limit(_APP_SENDS), init=False, repr=False)

    @call("POST", MESSAGES)
    def send(self, request: Request) -> Body:
        """Send a message to a chat, or to a user."""
        id_type = request.query.get("receive_id_type", "")
        if id_type not in _RECEIVE_IDS:
            raise bad_field("receive_id_type", f"options: [{','.join(_RECEIVE_IDS)}]", id_type)
        body = request.json()
        to = body.get("receive_id")
        if not isinstance(to, str) or not to:
            raise bad_field("receive_id", "receive_id is required", to)
        if not _RECEIVE_IDS[id_type].fullmatch(to):
            raise bad_message(f"invalid receive_id: {to!r} is no {id_type}")
        return self._post("send", to, body, lambda: self.chats.receiver(to, id_type), id_type=id_type)

    @call("POST", f"{_MESSAGE}/reply")
    def reply(self, request: Request, message_id: str) -> Body:
        """Reply to a message."""
        body = request.json()
        in_thread = body.get("reply_in_thread")
        if in_thread is not None and not isinstance(in_thread, bool):
            raise bad_field("reply_in_thread", "reply_in_thread is a boolean", in_thread)
        parent = self.find(message_id)
        if parent.recalled:
            raise ApiRefusal(RECALLED, "The message was withdrawn.")
        return self._post(
            "reply", message_id, body, lambda: parent.chat, parent=parent, in_thread=bool(in_thread)
        )

    def _post(
        self,
        kind: Literal["reply", "send"],
        to: str,
        body: Body,
        chat_of: Callable[[], Chat],
        *,
        parent: ChatMessage | None = None,
        in_thread: bool = False,
        id_type: str | None = None,
    ) -> Body:
        uuid, msg_type = body.get("uuid"), body.get("msg_type")
        if uuid is not None and not (isinstance(uuid, str) and 1 <= len(uuid) <= 50):
            raise bad_message("uuid is a string of 1 to 50 characters")
        first = None if uuid is None else self._uuids.get(uuid)
        if first is not None and trio.current_time() < first.at + UUID_LIFETIME:
            return done(first.data())
        checked = self.checks.check(msg_type, body.get("content"))
        chat = chat_of()
        self._check_limits(chat)
        message = ChatMessage(
            self.chats.new_id("om_"),
            chat,
            self.chats.bot,
            str(msg_type),
            checked.content,
            checked.mentions,
            parent,
            entity=checked.entity,
        )
        if parent is not None and (in_thread or parent.thread_id is not None):
            message.thread_id = self.chats.thread_of(parent)
        if checked.entity is not None:
            checked.entity.sent = True
        if uuid is not None:
            self._uuids[uuid] = message
        self.chats.add(message)
        message_id, at = message.message_id, message.at
        self.sent.add(
            Message(kind, to, message.msg_type, checked.sent, uuid, message_id, at, id_type, in_thread)
        )
        return done(message.data())

    def _check_limits(self, chat: Chat) -> None:
        if self.limited:
            for limit, what in ((chat.sends, "one chat"), (self._sends, "one app")):
                if limit.wait():
                    raise too_often(limit, f"{limit.most} messages a second for {what}")
            chat.sends.take()
            self._sends.take()

    @call("PUT", _MESSAGE)
    def edit(self, request: Request, message_id: str) -> Body:
        """Edit a text or a post."""
        message = self._own(message_id)
        body = request.json()
        msg_type = body.get("msg_type")
        if message.msg_type not in _EDITABLE or msg_type not in _EDITABLE:
            msg = "This operation is not supported for this message type"
            raise ApiRefusal(WRONG_TYPE, f"{msg}: {msg_type!r}, for a {message.msg_type}")
        if message.edits >= EDITS:
            msg = "The message has reached the number of times it can be edited"
            raise ApiRefusal(EDITED_TOO_OFTEN, f"{msg}: {EDITS}")
        checked = self.checks.check(msg_type, body.get("content"))
        message.msg_type, message.content, message.mentions = str(msg_type), checked.content, checked.mentions
        message.edits += 1
        self._edited(message, checked.sent)
        return done(message.data())

    @call("PATCH", _MESSAGE)
    def update_card(self, request: Request, message_id: str) -> Body:
        """Show another card in a message."""
        message = self._own(message_id)
        if message.msg_type != "interactive":
            raise bad_message(f"only cards are updated so; this is a {message.msg_type}")
        if trio.current_time() >= message.at + _UPDATABLE:
            raise ApiRefusal(TOO_OLD_TO_UPDATE, "Message can only be modified within 14 days after sending")
        updates = self._updates.setdefault(message_id, Limit(_UPDATES))
        if updates.wait():
            why = f"{updates.most} updates a second for one message"
            raise ApiRefusal(TOO_OFTEN_UPDATED, f"This operation triggers the frequency limit: {why}")
        checked = self.checks.check("interactive", request.json().get("content"))
        updates.take()
        message.content, message.entity = checked.content, checked.entity
        self._edited(message, checked.sent)
        return done()

    def _own(self, message_id: str) -> ChatMessage:
        message = self.find(message_id)
        if message.sender is not self.chats.bot:
            raise ApiRefusal(NOT_THE_SENDER, "The operator is not the sender of the message")
        if message.recalled:
            raise ApiRefusal(RECALLED, "The message is recalled.")
        return message

    def _edited(self, message: ChatMessage, content: object) -> None:
        message.updated = now_ms()
        self.chats.changed()
        self.sent.add(
            Message(
                "edit",
                message.message_id,
                message.msg_type,
                content,
                None,
                message.message_id,
                trio.current_time(),
            )
        )

    @call("DELETE", _MESSAGE)
    def recall(self, request: Request, message_id: str) -> Body:
        """Recall a message."""
        message = self.find(message_id)
        if message.sender is not self.chats.bot:
            raise ApiRefusal(NOT_RECALLABLE, "No permission to recall this message: it is somebody else's")
        if message.recalled:
            raise ApiRefusal(RECALLED, "The message is recalled.")
        if trio.current_time() >= message.at + _DAY:
            raise ApiRefusal(TOO_OLD_TO_RECALL, "Message can only be recalled within one day")
        message.recalled = True
        self.chats.changed()
        return done()

    @call("GET", _MESSAGE)
    def fetch(self, request: Request, message_id: str) -> Body:
        """One message, in a list."""
        return done({"items": [_fetched(self.find(message_id), request)]})

    @call("GET", MESSAGES)
    def history(self, request: Request) -> Body:
        """The messages of a chat or of a thread, page by page."""
        kind, container = (request.query.get(name, "") for name in ("container_id_type", "container_id"))
        if kind == "chat":
            chat = self.chats.chats.get(container)
            found: Sequence[ChatMessage] = () if chat is None else tuple(chat.messages)
        elif kind == "thread":
            found = [each for each in self.chats.messages.values() if each.thread_id == container]
        else:
            raise bad_message(f"container_id_type is {kind!r}; it may be chat or thread")
        if not found:
            raise bad_message(f"invalid container_id: there is no {kind} {container!r}")
        if request.query.get("sort_type") == "ByCreateTimeDesc":
            found = found[::-1]
        return done(page(request, [_fetched(message, request) for message in found]))

    @call("POST", f"{_MESSAGE}/reactions")
    def react(self, request: Request, message_id: str) -> Body:
        """Put an emoji to a message."""
        match request.json():
            case {"reaction_type": {"emoji_type": str(emoji)}} if re.fullmatch(r"[A-Za-z0-9_]+", emoji):
                reaction = self.chats.react(self._reacted(message_id), emoji, self.chats.bot)
                return done(_reaction_data(reaction))
        raise ApiRefusal(
            BAD_EMOJI, "reaction type is invalid: reaction_type.emoji_type is a name, like THUMBSUP"
        )

    @call("GET", f"{_MESSAGE}/reactions")
    def reactions(self, request: Request, message_id: str) -> Body:
        """The emojis that a message has, page by page."""
        emoji = request.query.get("reaction_type")
        found = self._reacted(message_id).reactions.values()
        return done(
            page(request, [_reaction_data(each) for each in found if emoji in (None, each.emoji_type)])
        )

    @call("DELETE", f"{_MESSAGE}/reactions/{{reaction_id}}")
    def unreact(self, request: Request, message_id: str, reaction_id: str) -> Body:
        """Take an emoji back."""
        message = self._reacted(message_id)
        reaction = message.reactions.get(reaction_id)
        if reaction is None:
            if any(reaction_id in other.reactions for other in self.chats.messages.values()):
                raise ApiRefusal(REACTION_ELSEWHERE, "The reaction does not belong to the message")
            raise ApiRefusal(UNKNOWN_REACTION, "The request has an invalid reaction_id")
        if reaction.member is not self.chats.bot:
            raise ApiRefusal(NOT_OWN_REACTION, "The operator has no permission to delete this reaction")
        del message.reactions[reaction_id]
        self.chats.changed()
        return done(_reaction_data(reaction))

    def _reacted(self, message_id: str) -> ChatMessage:
        message = self.chats.messages.get(message_id)
        if message is None or message.recalled:
            raise ApiRefusal(REACTION_TO_NOTHING, "The message is not found, maybe not exist or deleted")
        return message

    def find(self, message_id: str) -> ChatMessage:
        """The message of this id; refused if there never was one."""
        message = self.chats.messages.get(message_id)
        if message is None:
            msg = "The request you send is not a valid {open_message_id} or not exists"
            raise ApiRefusal(UNKNOWN_MESSAGE, f"{msg}: {message_id}")
        return message


def _fetched(message: ChatMessage, request: Request) -> dict[str, object]:
    """A message as fetching returns it: of a card no more than its texts, unless all of it is asked for."""
    data = message.data()
    card = message.card
    if card is not None and not message.recalled:
        if "card_msg_content_type" not in request.query:
            texts = _card_json.lines({**card, "header": None})
            elements = [[{"tag": "text", "text": text}] for text in texts]
            card = {"title": _card_json.title(card), "elements": elements}
        data["body"] = {"content": as_json(card)}
    return data


def _reaction_data(reaction: Reaction) -> dict[str, object]:
    by = reaction.member
    operator = (by.app_id, "app") if by.is_bot else (by.open_id, "user")
    return {
        "reaction_id": reaction.reaction_id,
        "operator": {"operator_id": operator[0], "operator_type": operator[1]},
        "action_time": str(reaction.at),
        "reaction_type": {"emoji_type": reaction.emoji_type},
    }
