"""A gateway and a session that meet in memory, so that the clock may jump."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NamedTuple

from feishu_trio import Router, Session, open_feishu_session
from feishu_trio.testing import Gateway, Push, open_gateway

MESSAGE = "im.message.receive_v1"
USER = "contact.user.created_v3"
CARD = "card.action.trigger"


class Scene(NamedTuple):
    gateway: Gateway
    session: Session

    async def say(self, number: int, chat: str = "oc_1", **push: Any) -> Push:
        """Push the message of this number."""
        return await self.gateway.push(MESSAGE, message(number, chat), **push)


@asynccontextmanager
async def open_scene(
    router: Router | None = None, *, gateway: Mapping[str, Any] | None = None, **settings: Any
) -> AsyncGenerator[Scene, None]:
    """A gateway and a session connected to it. In the end, no violation of the protocol may have been seen."""
    async with open_gateway(**{"seed": 7, **(gateway or {})}) as local:
        async with open_session(local, router, **settings) as session:
            yield Scene(local, session)
        assert local.violations == []


def open_session(
    gateway: Gateway, router: Router | None = None, **settings: Any
) -> AbstractAsyncContextManager[Session]:
    return open_feishu_session(
        gateway.app_id,
        gateway.app_secret,
        domain=gateway.domain,
        dial=gateway.dial,
        http_transport=gateway.transport,
        router=router,
        **settings,
    )


def message(number: int, chat: str = "oc_1") -> dict[str, object]:
    """The body of a message event."""
    return {
        "sender": {"sender_type": "user", "sender_id": {"open_id": "ou_1"}},
        "message": {
            "message_id": f"om_{number}",
            "chat_id": chat,
            "chat_type": "group",
            "message_type": "text",
            "content": '{"text":"hello"}',
        },
    }
