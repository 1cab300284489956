"""The few calls of Feishu's HTTP API that bots need: tokens, replies, messages, cards."""

from __future__ import annotations

import re
from random import Random
from typing import Final, Literal

import attrs
import msgspec
import trio
from trio_util import AsyncValue

from ._discovery import UNKNOWN_APP, WRONG_SECRET
from ._frames import random_id
from ._http import Request, Response, json_response

TOKEN_PATH: Final = "/open-apis/auth/v3/tenant_access_token/internal"
OAUTH_PATH: Final = "/oauth/v3/token"
SEND_PATH: Final = "/open-apis/im/v1/messages"
CARD_PATH: Final = "/open-apis/interactive/v1/card/update"

NO_TOKEN: Final = 99991661
BAD_TOKEN: Final = 99991663
BAD_GRANT: Final = 20024
"""Of the OAuth endpoint; the documentation names no codes for keyless apps, this is the gateway's own."""
BAD_FIELD: Final = 99992402
BAD_MESSAGE: Final = 230001
BAD_CARD: Final = 10002
"""The documentation names no codes for card updates; this one is the gateway's own."""

UUID_LIFETIME: Final = 3600.0
"""Seconds in which messages with the same `uuid` are one message."""
CARD_LIFETIME: Final = 1800.0
"""Seconds in which a callback's token can update its card."""
CARD_UPDATES: Final = 2
"""The number of updates that a callback's token allows."""

_REPLY_PATH: Final = re.compile(rf"{SEND_PATH}/([^/]+)/reply")
_OAUTH: Final = "urn:ietf:params:oauth"
_RECEIVE_ID_TYPES: Final = frozenset({"chat_id", "open_id", "user_id", "union_id", "email"})


@attrs.frozen
class Message:
    """Something a bot sent through the API."""

    kind: Literal["reply", "send", "card"]
    to: str
    """The message replied to, the receiver, or the token of the callback whose card is updated."""
    msg_type: str
    content: object
    """Decoded JSON: for a text `{"text": …}`, for a card the card."""
    uuid: str | None
    message_id: str
    """The id it got; empty for a card update."""
    at: float
    """When, by trio's clock."""
    receive_id_type: str | None = None
    """Of a `send`: what `to` is."""


class _ApiError(Exception):
    """A refused call: code, message and HTTP status."""


@attrs.define(eq=False)
class OpenApi:
    """Issued tokens, received messages, cards that may be updated."""

    app_id: str
    app_secret: str = attrs.field(repr=False)
    client_assertion: str | None = attrs.field(repr=False)
    token_lifetime: float
    """Seconds a tenant token is valid."""
    random: Random = attrs.field(repr=False)
    messages: list[Message] = attrs.field(factory=list, init=False)
    count: AsyncValue[int] = attrs.field(factory=lambda: AsyncValue(0), init=False)
    """The number of messages, to be waited on."""
    _tokens: dict[str, float] = attrs.field(factory=dict, init=False, repr=False)
    _uuids: dict[str, Message] = attrs.field(factory=dict, init=False, repr=False)
    _cards: dict[str, tuple[float, int]] = attrs.field(factory=dict, init=False, repr=False)

    def answer(self, request: Request) -> Response:
        """Answer a call."""
        try:
            return json_response(self._data(request))
        except _ApiError as error:
            code, msg, status = error.args
            return json_response({"code": code, "msg": msg}, status)

    def expire_tokens(self) -> None:
        """Make every token issued so far invalid."""
        self._tokens.clear()

    def allow_card(self, token: str, since: float) -> None:
        """Allow a callback's token, after the callback's answer, to update the card."""
        self._cards[token] = (since + CARD_LIFETIME, CARD_UPDATES)

    def _data(self, request: Request) -> dict[str, object]:
        post = request.method == "POST"
        if post and request.path == TOKEN_PATH:
            return self._token(request.json())
        if post and request.path == OAUTH_PATH:
            return self._oauth_token(request.json())
        self._check_bearer(request)
        if post and request.path == SEND_PATH:
            return self._send(request)
        if post and (match := _REPLY_PATH.fullmatch(request.path)):
            return self._message("reply", match[1], request.json())
        if post and request.path == CARD_PATH:
            return self._card(request.json())
        raise _ApiError(404, f"the gateway has no {request.method} {request.path}", 404)

    def _token(self, body: dict[str, object]) -> dict[str, object]:
        if body.get("app_id") != self.app_id:
            raise _ApiError(UNKNOWN_APP, "invalid app_id", 200)
        if body.get("app_secret") != self.app_secret:
            raise _ApiError(WRONG_SECRET, "app secret invalid", 200)
        token = self._new_token()
        return {"code": 0, "msg": "ok", "tenant_access_token": token, "expire": int(self.token_lifetime)}

    def _oauth_token(self, body: dict[str, object]) -> dict[str, object]:
        kinds = body.get("grant_type"), body.get("client_assertion_type")
        if kinds != (f"{_OAUTH}:grant-type:jwt-bearer", f"{_OAUTH}:client-assertion-type:jwt-bearer"):
            raise _ApiError(BAD_GRANT, f"grant_type and client_assertion_type are {kinds}", 400)
        if body.get("client_id") != self.app_id:
            raise _ApiError(UNKNOWN_APP, "invalid client_id", 400)
        if self.client_assertion is None or body.get("client_assertion") != self.client_assertion:
            raise _ApiError(WRONG_SECRET, "client assertion invalid", 400)
        return {
            "access_token": self._new_token(),
            "token_type": "Bearer",
            "expires_in": int(self.token_lifetime),
        }

    def _new_token(self) -> str:
        token = f"t-{random_id(self.random)}"
        self._tokens[token] = trio.current_time() + self.token_lifetime
        return token

    def _check_bearer(self, request: Request) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise _ApiError(NO_TOKEN, "Missing access token for authorization.", 400)
        if self._tokens.get(token, 0) <= trio.current_time():
            raise _ApiError(BAD_TOKEN, "Invalid access token for authorization.", 400)

    def _send(self, request: Request) -> dict[str, object]:
        id_type = request.query.get("receive_id_type", "")
        if id_type not in _RECEIVE_ID_TYPES:
            raise _ApiError(BAD_FIELD, f"receive_id_type is {id_type!r}", 400)
        body = request.json()
        to = body.get("receive_id")
        if not isinstance(to, str) or not to:
            raise _ApiError(BAD_FIELD, "receive_id is required", 400)
        return self._message("send", to, body, id_type)

    def _message(
        self, kind: Literal["reply", "send"], to: str, body: dict[str, object], id_type: str | None = None
    ) -> dict[str, object]:
        msg_type, content, uuid = (body.get(key) for key in ("msg_type", "content", "uuid"))
        if not isinstance(msg_type, str) or not msg_type:
            raise _ApiError(BAD_MESSAGE, "msg_type is required", 400)
        if uuid is not None and not (isinstance(uuid, str) and 1 <= len(uuid) <= 50):
            raise _ApiError(BAD_MESSAGE, "uuid is a string of 1 to 50 characters", 400)
        try:
            decoded = msgspec.json.decode(content if isinstance(content, str) else b"")
        except (msgspec.MsgspecError, UnicodeError):
            raise _ApiError(BAD_MESSAGE, "content is not a string of JSON", 400) from None
        now = trio.current_time()
        message = self._uuids.get(uuid) if uuid else None
        if message is None or now >= message.at + UUID_LIFETIME:
            message_id = f"om_{random_id(self.random)}"
            message = Message(kind, to, msg_type, decoded, uuid, message_id, now, id_type)
            if uuid:
                self._uuids[uuid] = message
            self._keep(message)
        data = {"message_id": message.message_id, "msg_type": message.msg_type, "body": {"content": content}}
        return {"code": 0, "msg": "success", "data": data}

    def _card(self, body: dict[str, object]) -> dict[str, object]:
        token, card = body.get("token"), body.get("card")
        if not isinstance(token, str) or not isinstance(card, dict):
            raise _ApiError(BAD_CARD, "token, a string, and card, an object, are required", 400)
        until, left = self._cards.get(token, (0.0, 0))
        now = trio.current_time()
        if token not in self._cards:
            raise _ApiError(BAD_CARD, "no callback with this token was answered yet", 400)
        if now > until:
            raise _ApiError(BAD_CARD, "the token is older than 30 minutes", 400)
        if not left:
            raise _ApiError(BAD_CARD, "the token was used twice already", 400)
        self._cards[token] = (until, left - 1)
        self._keep(Message("card", token, "interactive", card, None, "", now))
        return {"code": 0, "msg": "ok"}

    def _keep(self, message: Message) -> None:
        self.messages.append(message)
        self.count.value = len(self.messages)
