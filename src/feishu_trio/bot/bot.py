"""What events speak through: replies, streamed answers and questions, each said once."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, Any, Final

import trio

from ..api import Api, BotInfo
from ..api.arguments import as_json
from ..delivery.handlers import in_thread_of_handler
from ..errors import ApiError, RateLimited
from ..events import Card, Event
from ..events.port import Choice, Sendable, Sent
from ..telemetry import Telemetry
from ..telemetry.limits import LogLimit
from .asking import Asking
from .question_cards import Choices, card_of
from .replying import reply
from .speech import Saying, saying

if TYPE_CHECKING:
    from .streaming import StreamedAnswer

__all__ = ["Bot"]

logger = logging.getLogger("feishu_trio.bot")

_NO_HANDLER: Final = "(no handler)"  # a loop over events, say

# Seconds after which who the bot is is asked again: at first, and at the most.
_LEARN_AGAIN: Final = 1.0
_LEARN_SELDOM: Final = 60.0


class Bot:
    """What a session or a worker is for the events that it handles.

    Args:
        api: Feishu's HTTP API.
        telemetry: Where facts go.
        handler: The name of the handler that calls it; None if that is none.
        cancel: Ends what runs or waits behind a key.
        aside: Within it time is not that of the handler that calls it.
        can_ask: Whether clicks come here: not to a worker, which has no connection.
    """

    def __init__(
        self,
        api: Api,
        telemetry: Telemetry,
        handler: Callable[[], str | None],
        cancel: Callable[[Hashable], Awaitable[int]],
        aside: Callable[[], AbstractContextManager[None]],
        *,
        can_ask: bool = True,
    ) -> None:
        self._api = api
        self._telemetry = telemetry
        self._handler = handler
        self._cancel = cancel
        self._aside = aside
        self._can_ask = can_ask
        self._log_limit = LogLimit()
        self._asking = Asking(api, self._log_limit)
        self._nursery: trio.Nursery | None = None
        self._is_learning = False

    @property
    def bot(self) -> BotInfo | None:
        """Who the bot is; asked for while that is not known, it finds out."""
        if self._api.known_bot is None:
            self._begin_learning()
        return self._api.known_bot

    @property
    def handler(self) -> str | None:
        """The name of the handler, or loop over events, that asks; None if it is neither."""
        return self._handler()

    def start(self, nursery: trio.Nursery) -> None:
        """What runs beside the handlers may run in this."""
        self._nursery = nursery

    @property
    def api(self) -> Api:
        """Feishu's HTTP API, with the app's token."""
        return self._api

    async def learn(self) -> None:
        """Find out who the bot is; if Feishu cannot say for the moment, that is logged, and asked again.

        Raises:
            ApiError: Feishu refused to say.
        """
        try:
            await self._api.bot()
        except ApiError as error:
            if not isinstance(error, RateLimited) and (error.status or 500) < 500:
                raise
            self._not_learned(error)
            self._begin_learning()

    def _begin_learning(self) -> None:
        if self._nursery is not None and not self._is_learning:
            self._is_learning = True
            self._nursery.start_soon(self._learn_at_last, name="feishu_trio bot")

    async def _learn_at_last(self) -> None:
        wait = _LEARN_AGAIN
        while self._api.known_bot is None:
            try:
                await self._api.bot()
            except ApiError as error:
                self._not_learned(error)
                await trio.sleep(wait)
                wait = min(2 * wait, _LEARN_SELDOM)
        self._is_learning = False

    def _not_learned(self, error: ApiError) -> None:
        message = "who the bot is could not be found out, which to_me() needs: %s"
        self._log_limit.log(logger, logging.WARNING, message, error)

    async def reply(
        self,
        event: Event[Any],
        content: Sendable,
        msg_type: str | None,
        *,
        in_thread: bool | None,
        quote: bool,
    ) -> Sent:
        """See `Event.reply`."""
        said = self._saying(event, "reply")
        return await reply(self._api, event, said, content, msg_type, in_thread=in_thread, quote=quote)

    def stream(
        self, event: Event[Any], *, in_thread: bool | None, quote: bool, interrupted: str
    ) -> AbstractAsyncContextManager[StreamedAnswer]:
        """See `Event.stream`."""
        from .streaming import StreamedAnswer, open_stream  # here, so that importing this package stays light

        said = self._saying(event, "stream")
        answer = StreamedAnswer(self._api, event, said, self._log_limit, in_thread=in_thread, quote=quote)
        return open_stream(answer, interrupted)

    async def ask(
        self,
        event: Event[Any],
        question: str | Card | Mapping[str, Any],
        choices: Choices,
        *,
        allowed: str | Collection[str] | None,
        timeout: float | None,
        in_thread: bool | None,
        quote: bool,
    ) -> Choice:
        """See `Event.ask`."""
        if not self._can_ask:
            raise ApiError(
                "ask: a worker has no connection by which clicks could come; ask in a session, and let a worker "
                "do the rest"
            )
        card = card_of(question, choices)
        with in_thread_of_handler() as scope, self._aside():
            return await self._asking.ask(
                event,
                # The answer to a question counts for the same question alone, in whatever order they are asked.
                self._saying(event, "question", as_json("question", card)),
                card,
                allowed=allowed,
                timeout=timeout,
                in_thread=in_thread,
                quote=quote,
            )
        assert scope.cancelled_caught
        raise ApiError("ask: the handler was given up while it asked, so its question is closed")

    async def cancel(self, key: Hashable) -> int:
        """See `Event.cancel`."""
        return await self._cancel(key)

    def answer_click(self, click: Event[Any], settle: Callable[[bytes | None], None]) -> bool:
        """Whether a click is for a question of `ask`; then `settle` is called with the JSON of its answer."""
        return self._asking.answer(click, settle)

    def turned_away(self, event: Event[Any], reason: str) -> None:
        """A filter did not let a message through: told once, however often it is asked."""
        if "turned away" not in event.memo:
            event.memo["turned away"] = reason
            self._telemetry.message_ignored(event, reason)

    def _saying(self, event: Event[Any], kind: str, what: str = "") -> Saying:
        return saying(event, self.handler or _NO_HANDLER, kind, what)
