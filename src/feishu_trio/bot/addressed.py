"""Who is spoken to: a filter that lets messages to the bot through, and says why it turns others away."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal, TypeAlias

from ..config import wrong
from ..errors import ConfigError, Retry
from ..events import Event
from ..routes import Where, plain_function

__all__ = ["ToMe", "are_ids", "to_me"]

Groups: TypeAlias = Literal["mentioned", "all", "none"] | Collection[str]

_GROUPS = ("mentioned", "all", "none")


class ToMe:
    """A filter made by `to_me`. The session learns the bot's name and id before events come, for it needs them."""

    def __init__(
        self, groups: Groups, allow: frozenset[str] | None, *, at_all: bool, where: Where | None
    ) -> None:
        self._groups = groups
        self._allow = allow
        self._at_all = at_all
        self._where = where

    def __call__(self, event: Event[Any]) -> bool:
        """Whether a message is for the bot."""
        reason = self._reason(event)
        if reason is not None and event.port is not None:
            event.port.turned_away(event, reason)
        return reason is None and (self._where is None or bool(self._where(event)))

    def _reason(self, event: Event[Any]) -> str | None:
        """Why a message is not for the bot; None if it is."""
        if event.type != "im.message.receive_v1":
            return "it is no message"
        bot = None if event.port is None else event.port.bot
        if bot is None:
            raise Retry(reason="the bot does not know its own name and id yet, which to_me() needs")
        sender, chat = event.sender, event.chat_id
        if sender.is_bot:
            return "the bot itself wrote it" if sender.open_id == bot.open_id else "another bot wrote it"
        if self._allow is not None and self._allow.isdisjoint(
            filter(None, (sender.open_id, sender.user_id, sender.union_id, chat))
        ):
            return "neither who wrote it nor the chat is allowed"
        if event.data.message.chat_type == "p2p":
            return None
        if self._groups == "none":
            return "it was written in a group"
        if not isinstance(self._groups, str) and chat not in self._groups:
            return "it was written in a group that is not one of groups"
        if self._groups == "all" or event.is_mentioned(bot.open_id):
            return None
        if "@_all" in event.data.message.content or any(each.key == "@_all" for each in event.mentions):
            return None if self._at_all else "it mentions everybody, not the bot"
        return "it does not mention the bot"


def to_me(
    groups: Groups = "mentioned",
    allow: Collection[str] | None = None,
    *,
    at_all: bool = False,
    where: Where | None = None,
) -> ToMe:
    """A filter for messages to the bot: `@router.on("im.message.receive_v1", where=to_me())`.

    In a private chat every message is to the bot, in a group one that mentions it by name. Messages of bots, its own
    among them, are to nobody, so that two of them cannot talk for ever. What is turned away is a lifecycle event,
    `MessageIgnored`.

    Args:
        groups: In which groups: "mentioned", those where it is mentioned; "all", with no need to mention it; "none";
            or the ids of the chats (`oc_…`) in which it may be mentioned.
        allow: Who may speak to it: ids of people (open_id, user_id or union_id) and of chats; None: everybody.
        at_all: Whether a message that mentions everybody is for it, too.
        where: A further filter, asked of messages to the bot.

    Raises:
        ConfigError: An argument is something else.
    """
    if isinstance(groups, Event):
        raise ConfigError("to_me is given as a filter itself; it makes one: write where=to_me()")
    if groups not in _GROUPS if isinstance(groups, str) else not are_ids(groups):
        raise wrong("groups", groups, "one of 'mentioned', 'all', 'none', or a collection of chats' ids")
    if allow is not None and not are_ids(allow):
        raise wrong("allow", allow, "a collection of ids of people (ou_…) and chats (oc_…), or None")
    chosen: Groups = groups if isinstance(groups, str) else frozenset(groups)
    if where is not None:
        plain_function("where", where)
    return ToMe(chosen, None if allow is None else frozenset(allow), at_all=at_all, where=where)


def are_ids(value: object) -> bool:
    """Whether this is a collection of ids, and not an id itself."""
    return (
        isinstance(value, Collection)
        and not isinstance(value, str | bytes)
        and all(isinstance(each, str) and each for each in value)
    )
