"""The calls that tell who is who: the bot and its app, users, chats and who is in them."""

from __future__ import annotations

from typing import Final

import attrs

from ._calls import ApiRefusal, Body, call, done
from ._chats import Chat, Chats, Member
from ._frames import TENANT_KEY
from ._http import Request
from ._pages import page

_USERS: Final = "/open-apis/contact/v3/users"
_CHATS: Final = "/open-apis/im/v1/chats"

UNKNOWN_USER: Final = 41012
UNKNOWN_CHAT: Final = 232006
UNKNOWN_APP: Final = 404
"""The gateway's own: the documentation of this call names no code for it."""


@attrs.define(eq=False)
class DirectoryCalls:
    """Names and ids."""

    chats: Chats

    @call("GET", "/open-apis/bot/v3/info")
    def bot(self, request: Request) -> Body:
        """The bot itself."""
        bot = self.chats.bot
        info = {"activate_status": 2, "app_name": bot.name, "avatar_url": "", "ip_white_list": []}
        return {"code": 0, "msg": "ok", "bot": {**info, "open_id": bot.open_id}}

    @call("GET", "/open-apis/application/v6/applications/{app_id}")
    def application(self, request: Request, app_id: str) -> Body:
        """The app itself: that its events and callbacks come over the long connection."""
        bot = self.chats.bot
        if app_id not in (bot.app_id, "me"):
            raise ApiRefusal(UNKNOWN_APP, f"app id invalid error: {app_id}")
        event = {"subscription_type": "websocket", "subscribed_events": ["im.message.receive_v1"]}
        callback = {"callback_type": "websocket", "subscribed_callbacks": ["card.action.trigger"]}
        app = {"app_id": app_id, "app_name": bot.name, "status": 1, "event": event, "callback": callback}
        return done({"app": app})

    @call("GET", _USERS + "/{user_id}")
    def user(self, request: Request, user_id: str) -> Body:
        """One user."""
        found = self._members(request, [user_id])
        if not found:
            raise ApiRefusal(UNKNOWN_USER, f"user id invalid error: {user_id}")
        return done({"user": _user_data(found[0])})

    @call("GET", _USERS + "/batch")
    def users(self, request: Request) -> Body:
        """Several users; those that do not exist are left out."""
        wanted = request.values("user_ids")
        return done({"items": [_user_data(member) for member in self._members(request, wanted)]})

    def _members(self, request: Request, ids: list[str]) -> list[Member]:
        id_type = request.query.get("user_id_type", "open_id")
        members = self.chats.members.values()
        return [each for wanted in ids for each in members if each.ids().get(id_type) == wanted]

    @call("GET", _CHATS)
    def groups(self, request: Request) -> Body:
        """The groups that the bot is in, page by page."""
        groups = [chat for chat in self.chats.chats.values() if chat.kind == "group"]
        items = [{"chat_id": chat.chat_id, **_chat_data(chat)} for chat in groups]
        return done(page(request, items))

    @call("GET", _CHATS + "/{chat_id}")
    def chat(self, request: Request, chat_id: str) -> Body:
        """One chat."""
        return done(_chat_data(self._chat(chat_id)))

    @call("GET", _CHATS + "/{chat_id}/members")
    def members(self, request: Request, chat_id: str) -> Body:
        """The users in a chat, page by page."""
        id_type = request.query.get("member_id_type", "open_id")
        members = self._chat(chat_id).members
        items = [
            {
                "member_id_type": id_type,
                "member_id": each.ids().get(id_type, each.open_id),
                "name": each.name,
                "tenant_key": TENANT_KEY,
            }
            for each in members
        ]
        return done({**page(request, items), "member_total": len(members)})

    @call("GET", _CHATS + "/{chat_id}/members/bots")
    def bots(self, request: Request, chat_id: str) -> Body:
        """The bots in a chat: this one."""
        self._chat(chat_id)
        bot = self.chats.bot
        return done({"items": [{"bot_id": bot.open_id, "bot_name": bot.name}]})

    def _chat(self, chat_id: str) -> Chat:
        chat = self.chats.chats.get(chat_id)
        if chat is None:
            raise ApiRefusal(
                UNKNOWN_CHAT, f"Your request specifies a chat_id which is invalid: there is no {chat_id}"
            )
        return chat


def _user_data(member: Member) -> dict[str, object]:
    return {**member.ids(), "name": member.name, "en_name": "", "status": {"is_activated": True}}


def _chat_data(chat: Chat) -> dict[str, object]:
    return {
        "name": chat.name if chat.kind == "group" else "",
        "description": "",
        "chat_mode": chat.kind,
        "chat_type": "private",
        "owner_id": chat.members[0].open_id if chat.members else "",
        "owner_id_type": "open_id",
        "user_count": str(len(chat.members)),
        "bot_count": "1",
        "external": False,
        "tenant_key": TENANT_KEY,
    }
