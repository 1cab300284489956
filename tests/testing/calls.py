"""A caller of the gateway's API, as the tests of its calls use it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import httpx

from feishu_trio.testing import Gateway, open_gateway

from .client import post

TOKEN = "/open-apis/auth/v3/tenant_access_token/internal"
MESSAGES = "/open-apis/im/v1/messages"


@attrs.define
class Caller:
    """Calls with a token; the answer's body, or its code alone where only that matters."""

    gateway: Gateway
    http: httpx.AsyncClient

    async def response(self, method: str, path: str, body: object = None, **options: Any) -> httpx.Response:
        """The whole answer."""
        if body is not None:
            options["json"] = body
        return await self.http.request(method, path, **options)

    async def __call__(self, method: str, path: str, body: object = None, **options: Any) -> dict[str, Any]:
        """The body of an answer in JSON; refusals have a status of their own."""
        response = await self.response(method, path, body, **options)
        answer: dict[str, Any] = response.json()
        assert (response.status_code == 200) == (answer["code"] == 0), answer
        return answer

    async def code(self, method: str, path: str, body: object = None, **options: Any) -> int:
        """The answer's code."""
        return int((await self(method, path, body, **options))["code"])

    async def send(
        self, content: object, msg_type: str = "text", to: str = "oc_1", **fields: object
    ) -> dict[str, Any]:
        """The answer to sending this to a chat."""
        body = {"receive_id": to, "msg_type": msg_type, "content": json.dumps(content), **fields}
        return await self("POST", f"{MESSAGES}?receive_id_type=chat_id", body)

    async def sent(self, content: object, msg_type: str = "text", to: str = "oc_1", **fields: object) -> str:
        """The id of a message sent to a chat."""
        answer = await self.send(content, msg_type, to, **fields)
        assert answer["code"] == 0, answer
        return str(answer["data"]["message_id"])

    async def reply(self, message_id: str, text: str = "hi", **fields: object) -> dict[str, Any]:
        """The answer to a reply."""
        body = {"msg_type": "text", "content": json.dumps({"text": text}), **fields}
        return await self("POST", f"{MESSAGES}/{message_id}/reply", body)


@asynccontextmanager
async def caller_of(gateway: Gateway) -> AsyncIterator[Caller]:
    """A caller with a tenant token, without a socket."""
    answer = await post(gateway, TOKEN, {"app_id": gateway.app_id, "app_secret": gateway.app_secret})
    headers = {"Authorization": f"Bearer {answer.json()['tenant_access_token']}"}
    async with httpx.AsyncClient(
        transport=gateway.transport, base_url=gateway.domain, headers=headers
    ) as http:
        yield Caller(gateway, http)


@asynccontextmanager
async def open_caller(**behaviour: Any) -> AsyncIterator[Caller]:
    """A gateway, and a caller with a tenant token that lives for ever."""
    async with open_gateway(token_lifetime=1e9, **behaviour) as gateway, caller_of(gateway) as caller:
        yield caller
