"""The gateway's side of Feishu's HTTP API: which topic answers a call, and what was refused.

A new call is a method in the file of its topic; a new topic is a file, and a line in `OpenApi.open`.
"""

from __future__ import annotations

from collections import deque
from random import Random
from typing import Final, Self

import attrs
import trio

from ._calls import UNKNOWN_CALL, ApiRefusal, Call, calls_of
from ._cards import CardCalls
from ._chats import Chats, Member
from ._content import ContentChecks
from ._directory import DirectoryCalls
from ._entities import CardEntity
from ._files import FileCalls
from ._frames import random_id
from ._http import Request, Response, json_response
from ._media import Media
from ._messages import MessageCalls, SentMessages
from ._newest import Newest
from ._push import Answer, Push
from ._tokens import OAUTH_PATH, Tokens

_KEPT_REFUSALS: Final = 1000


@attrs.frozen
class RefusedCall:
    """A call of the API that was refused."""

    method: str
    """Such as `POST`."""
    path: str
    """Without the query."""
    code: int
    """The error's, as in the answer."""
    msg: str
    """Why, as in the answer."""
    at: float
    """When, by trio's clock."""


@attrs.define(eq=False)
class OpenApi:
    """Answers calls."""

    tokens: Tokens
    chats: Chats
    media: Media
    sent: SentMessages
    cards: CardCalls
    refused: deque[RefusedCall] = attrs.field(factory=lambda: deque(maxlen=_KEPT_REFUSALS), init=False)
    _calls: list[Call] = attrs.field(factory=list, init=False, repr=False)

    @classmethod
    def open(cls, tokens: Tokens, bot_name: str, random: Random, *, send_limits: bool) -> Self:
        """The API of an app, with all its topics."""
        bot = Member(bot_name, f"ou_{random_id(random)}", f"on_{random_id(random)}", "", tokens.app_id)
        chats = Chats(bot, random)
        media, sent = Media(chats), SentMessages()
        entities: Newest[str, CardEntity] = Newest()
        checks = ContentChecks(chats, media, entities)
        messages = MessageCalls(chats, checks, sent, send_limits)
        cards = CardCalls(chats, checks, sent, entities)
        api = cls(tokens, chats, media, sent, cards)
        files, directory = FileCalls(chats, media, messages.find), DirectoryCalls(chats)
        api._calls = calls_of([tokens, messages, files, cards, directory])
        return api

    @staticmethod
    def has(path: str) -> bool:
        """Whether a path belongs to the API."""
        return path.startswith(("/open-apis/", OAUTH_PATH))

    def answer(self, request: Request) -> Response:
        """Answer a call."""
        try:
            return self._answer(request)
        except ApiRefusal as refusal:
            self.refused.append(
                RefusedCall(request.method, request.path, refusal.code, refusal.msg, trio.current_time())
            )
            return refusal.response()

    def _answer(self, request: Request) -> Response:
        for each in self._calls:
            arguments = each.matches(request)
            if arguments is not None:
                if each.token:
                    self.tokens.check(request)
                answer = each.answer(request, **arguments)
                return answer if isinstance(answer, Response) else json_response(answer)
        self.tokens.check(request)
        raise ApiRefusal(UNKNOWN_CALL, f"the gateway has no {request.method} {request.path}", 404)

    def pushed(self, push: Push, body: object) -> None:
        """Take a pushed event at its word: what it names exists."""
        self.chats.learn(push.event_type, body)
        match body:
            case {"context": {"open_message_id": message_id}}:
                self.cards.clicked(push, message_id)

    def answered(self, push: Push, answer: Answer, delivered_at: float) -> None:
        """Note the answer that settled a push, with 200."""
        self.cards.answered(push, answer, delivered_at)
