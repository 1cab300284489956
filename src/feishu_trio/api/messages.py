"""Messages: said, changed, taken back, reacted to.

Sources: the public documentation of `im/v1/messages` and `im/v1/messages/:message_id/reactions`.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Protocol

import trio

from ..errors import ApiError
from ..events.content import Markdown
from ..events.port import Sendable
from .arguments import A_MESSAGE, check_id, given, in_path, message_in_path, refused
from .client import Client, text_in
from .content import as_message, part_uuids

__all__ = ["AboutMessage", "Messages"]

_log = logging.getLogger("feishu_trio.api")

_PATH: Final = "/open-apis/im/v1/messages"

# A receive_id tells its kind by its beginning.
_ID_TYPES: Final = {"oc_": "chat_id", "ou_": "open_id", "on_": "union_id"}

_TYPING: Final = "Typing"
# Seconds that taking the mark off may hold up the end of what was typed.
_UNTYPING: Final = 2.0


class AboutMessage(Protocol):
    """What may be about a chat message, as events may."""

    @property
    def about(self) -> str:
        """The message's id, or "" if there is none."""


class Messages(Client):
    """The part of `Api` that is about messages.

    Their content is a text (`str`), `Markdown`, a `Card`, one of the classes of `feishu_trio.events.content`, or a
    dict: a card, a post, or the keys of an image and the like. With a `msg_type`, a str is that type's ready JSON, but
    for "text", and "markdown", which makes `Markdown` of it. Messages of one `uuid` are sent once within an hour.
    """

    async def reply(
        self,
        message_id: str,
        content: Sendable,
        msg_type: str = "text",
        uuid: str | None = None,
        *,
        in_thread: bool = False,
        chat: str | None = None,
    ) -> dict[str, Any]:
        """Reply to a message; the answer's `data` is the new message.

        Of markdown that takes several messages, all are sent, and the answer is that to the first.

        Args:
            message_id: The message that it is a reply to.
            content: As above.
            msg_type: What `content` is, if it does not tell.
            uuid: What has the same is sent once within an hour, and so it may be tried again.
            in_thread: Whether it goes into the message's thread, which is begun if there is none.
            chat: The chat that the message is in, for Feishu's limit of 5 a second for each; None if it is not known.

        Raises:
            MessageGone: The message was recalled or deleted.
            ApiError: As with `request`; or the content is none.
        """
        return (await self._reply(message_id, as_message(content, msg_type), uuid, in_thread, chat))[0]

    async def reply_markdown(
        self,
        message_id: str,
        text: str,
        *,
        uuid: str | None = None,
        in_thread: bool = False,
        chat: str | None = None,
    ) -> list[dict[str, Any]]:
        """Reply to a message in markdown; the new messages: one, or as many as a long text takes.

        The other arguments, and errors, are those of `reply`; how markdown is sent, `Markdown` says.
        """
        messages = as_message(Markdown(text))
        return [_data(body) for body in await self._reply(message_id, messages, uuid, in_thread, chat)]

    async def send(
        self,
        receive_id: str,
        content: Sendable,
        msg_type: str = "text",
        receive_id_type: str | None = None,
        uuid: str | None = None,
    ) -> dict[str, Any]:
        """Send a message to a chat or a user; the answer's `data` is the new message.

        Of markdown that takes several messages, all are sent, and the answer is that to the first.

        Args:
            receive_id: The chat or the user.
            content: As above.
            msg_type: What `content` is, if it does not tell.
            receive_id_type: `chat_id`, `open_id`, `union_id`, `email` or `user_id`; None goes by how the id looks:
                `oc_`, `ou_`, `on_`, an "@" in it, or none of these.
            uuid: What has the same is sent once within an hour, and so it may be tried again.

        Raises:
            ApiError: As with `request`; or the content is none.
        """
        return (await self._send(receive_id, as_message(content, msg_type), receive_id_type, uuid))[0]

    async def send_markdown(
        self, receive_id: str, text: str, *, receive_id_type: str | None = None, uuid: str | None = None
    ) -> list[dict[str, Any]]:
        """Send markdown to a chat or a user; the new messages: one, or as many as a long text takes.

        The other arguments, and errors, are those of `send`; how markdown is sent, `Markdown` says.
        """
        messages = as_message(Markdown(text))
        return [_data(body) for body in await self._send(receive_id, messages, receive_id_type, uuid)]

    async def edit(self, message_id: str, content: Sendable, msg_type: str = "text") -> dict[str, Any]:
        """Change a message of the bot's own; the answer's `data` is the message.

        A text or a post can be changed 20 times; a card within 14 days. A message stays of its type.

        Raises:
            MessageGone: The message was recalled or deleted.
            ApiError: As with `request`; or the content is none that a message can be changed to.
        """
        path = f"{_PATH}/{message_in_path(message_id)}"
        messages = as_message(content, msg_type)
        (kind, text) = messages[0]
        if len(messages) > 1:
            raise ApiError(
                f"content: it takes {len(messages)} messages, and one can be changed; send what is more as new ones"
            )
        if kind == "interactive":
            return await self.request("PATCH", path, json={"content": text})
        if kind in ("text", "post"):
            return await self.request("PUT", path, json={"msg_type": kind, "content": text})
        raise ApiError(
            f"content: a message cannot be changed to {kind!r}; it may be a text, a post or a card"
        )

    async def recall(self, message_id: str) -> None:
        """Take back a message: of the bot's own, or any in a group that it manages.

        Raises:
            MessageGone: It was recalled or deleted before.
            ApiError: As with `request`.
        """
        await self.request("DELETE", f"{_PATH}/{message_in_path(message_id)}")

    async def fetch(self, message_id: str) -> dict[str, Any]:
        """A message as Feishu has it: `msg_type`, `body` with its `content`, `sender`, `chat_id` and more.

        Raises:
            MessageGone: It is not there any more.
            ApiError: As with `request`.
        """
        path = f"{_PATH}/{message_in_path(message_id)}"
        items = _data(await self.request("GET", path)).get("items")
        message = items[0] if isinstance(items, list) and items else None
        if not isinstance(message, dict):
            raise ApiError(f"GET {path}: answered without a message")
        return message

    async def react(self, message_id: str, emoji_type: str) -> str:
        """React to a message, with "THUMBSUP", "DONE" or another of Feishu's emoji types. The reaction's id.

        Raises:
            MessageGone: The message was recalled or deleted.
            ApiError: As with `request`.
        """
        path = f"{_PATH}/{message_in_path(message_id)}/reactions"
        check_id("emoji_type", emoji_type, 'one of Feishu\'s emoji types, such as "THUMBSUP"')
        body = await self.request("POST", path, json={"reaction_type": {"emoji_type": emoji_type}})
        return text_in(body, f"POST {path}", "reaction_id")

    async def unreact(self, message_id: str, reaction_id: str) -> None:
        """Take back a reaction of the bot's own, by what `react` has returned.

        Raises:
            ApiError: As with `request`.
        """
        message = message_in_path(message_id)
        reaction = in_path("reaction_id", reaction_id, "what react() has returned")
        await self.request("DELETE", f"{_PATH}/{message}/reactions/{reaction}")

    def typing(self, about: str | AboutMessage) -> AbstractAsyncContextManager[None]:
        """Mark a message as being answered, for as long as a block runs: `async with api.typing(event)`.

        The mark is the reaction "Typing". It is set beside the block, which begins at once, and taken off at its end,
        also if it is cancelled; that takes 2 s at most. What goes wrong with it is logged, ten lines a minute at most.

        Args:
            about: The message's id, or an event that is about one; of an event that is about none, nothing is marked.

        Raises:
            ApiError: It is neither.
        """
        message_id = about if isinstance(about, str) else getattr(about, "about", None)
        if not isinstance(message_id, str) or about == "":
            raise refused("about", about, f"{A_MESSAGE}, or an event")
        return self._typing(message_id)

    @asynccontextmanager
    async def _typing(self, message_id: str) -> AsyncGenerator[None, None]:
        failure: BaseException | None = None
        is_over, scope = trio.Event(), trio.CancelScope(shield=True)
        try:
            async with trio.open_nursery() as nursery:
                if message_id:
                    nursery.start_soon(self._mark, message_id, is_over, scope)
                try:
                    yield
                except trio.Cancelled:
                    raise
                except BaseException as error:
                    failure = error
                finally:
                    is_over.set()
                    scope.deadline = trio.current_time() + _UNTYPING
        finally:
            if failure is not None:
                raise failure  # out here, where no nursery wraps it in a group

    async def _mark(self, message_id: str, is_over: trio.Event, scope: trio.CancelScope) -> None:
        with (
            scope
        ):  # shielded: what was set is to be taken off, and whether it was is known when the answer comes
            try:
                reaction_id = await self.react(message_id, _TYPING)
                await is_over.wait()
                await self.unreact(message_id, reaction_id)
            except ApiError as error:
                self._log_limit.log(
                    _log, logging.WARNING, "the mark of typing could not be set or taken off: %s", error
                )

    async def _reply(
        self,
        message_id: str,
        messages: list[tuple[str, str]],
        uuid: str | None,
        in_thread: bool,
        chat: str | None,
    ) -> list[dict[str, Any]]:
        path = f"{_PATH}/{message_in_path(message_id)}/reply"
        common = {"reply_in_thread": True} if in_thread else {}
        return await self._say(path, None, common, messages, uuid, chat)

    async def _send(
        self,
        receive_id: str,
        messages: list[tuple[str, str]],
        receive_id_type: str | None,
        uuid: str | None,
    ) -> list[dict[str, Any]]:
        check_id("receive_id", receive_id, "the id of a chat or a user, or an email address")
        if receive_id.startswith("om_"):
            raise ApiError(
                "receive_id: a message's id (om_…) is not allowed; it must be the id of a chat or a user, or an email "
                "address; what answers a message is reply()"
            )
        params = {"receive_id_type": receive_id_type or _id_type(receive_id)}
        return await self._say(_PATH, params, {"receive_id": receive_id}, messages, uuid)

    async def _say(
        self,
        path: str,
        params: Mapping[str, Any] | None,
        common: Mapping[str, Any],
        messages: list[tuple[str, str]],
        uuid: str | None,
        chat: str | None = None,
    ) -> list[dict[str, Any]]:
        """Send messages one after the other; the bodies of the answers."""
        bodies = []
        for (kind, content), part in zip(messages, part_uuids(uuid, len(messages)), strict=True):
            json = given({**common, "msg_type": kind, "content": content, "uuid": part})
            call = await self._prepared("POST", path, params=params, json=json, chat=chat)
            bodies.append(await self._body(call))
        return bodies


def _data(body: Mapping[str, Any]) -> dict[str, Any]:
    data = body.get("data")
    return data if isinstance(data, dict) else {}


def _id_type(receive_id: str) -> str:
    return _ID_TYPES.get(receive_id[:3], "email" if "@" in receive_id else "user_id")
