"""The gateway's chats: who is in them, and what was there before a test began."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import trio

from ._chats import ChatMessage, Member
from ._media import StoredFile
from ._pushing import Pushing
from ._users import AnyMessage, User
from ._view import Shown, shown


class Chatting(Pushing):
    """The part of `Gateway` that has users, and keeps what is said and sent."""

    __slots__ = ()

    _users: dict[str, User]

    @property
    def bot(self) -> Member:
        """The bot, as others see it: its name and its open_id."""
        return self._api.chats.bot

    def user(self, name: str) -> User:
        """The user of this name: the same one each time."""
        user = self._users.get(name)
        if user is None:
            chats = self._api.chats
            ids = chats.new_id("ou_"), chats.new_id("on_"), chats.new_id("")[:8]
            user = User(name, *ids, chats=chats, media=self._api.media, push=self.push)
            self._users[name] = user
            chats.join(user)
        return user

    def shown(self, message: AnyMessage) -> Shown:
        """A message as a person sees it now; `user.sees()` is a whole chat. LookupError if there is no such message."""
        message_id = message if isinstance(message, str) else message.message_id
        found = self._api.chats.messages.get(message_id)
        if found is None:
            raise LookupError(f"there is no message {message_id!r}")
        return shown(found, self._api.media.kept)

    async def wait_shown(self, message: AnyMessage, wanted: Callable[[Shown], bool]) -> Shown:
        """Wait until a message is shown as `wanted` says; returns how it is shown then. LookupError as in `shown`."""
        while not wanted(now := self.shown(message)):
            # A card that stops to stream by itself changes nothing else, so time is a change, too.
            with trio.move_on_after(1 if now.is_streaming else math.inf):
                await self._api.chats.changes.wait_transition()
        await trio.lowlevel.checkpoint()
        return now

    @property
    def images(self) -> Mapping[str, StoredFile]:
        """The pictures that bots uploaded, or users sent, by key; with the files the newest 256 MiB."""
        return {key: file for key, file in self._api.media.kept.items() if file.is_image}

    @property
    def files(self) -> Mapping[str, StoredFile]:
        """The files that bots uploaded, or users sent, by key; with the pictures the newest 256 MiB."""
        return {key: file for key, file in self._api.media.kept.items() if not file.is_image}

    def add_message(
        self,
        text: str = "",
        *,
        message_id: str | None = None,
        sender: Member | None = None,
        chat: str | None = None,
    ) -> str:
        """A text that was sent before, so that no event tells of it; returns its id.

        `sender` is a user or the bot; a user "somebody" by default. `chat` is a chat_id; None is the user's private
        chat with the bot.
        """
        chats = self._api.chats
        sender = self.user("somebody") if sender is None else sender
        partner = self.user("somebody") if sender.is_bot else sender
        place = chats.private(partner) if chat is None else chats.chat(chat)
        message = ChatMessage(message_id or chats.new_id("om_"), place, sender, "text", {"text": text})
        return chats.add(message).message_id

    def add_image(self, data: bytes, *, key: str | None = None, owner: Member | None = None) -> str:
        """A picture that was uploaded before, by the bot or by `owner`; returns its key."""
        return self._api.media.keep_image(data, owner or self.bot, key).key

    def add_file(
        self,
        data: bytes,
        name: str,
        *,
        kind: str = "stream",
        key: str | None = None,
        owner: Member | None = None,
    ) -> str:
        """A file that was uploaded before, by the bot or by `owner`, as `kind` (its file_type); returns its key."""
        return self._api.media.keep_file(data, name, kind, owner or self.bot, key).key
