"""A local stand-in for Feishu's long connection: for tests of bots, demonstrations and measurements.

```python
from feishu_trio.testing import open_gateway

async def try_it() -> None:
    async with open_gateway() as gateway:
        ...  # a client of gateway.domain, gateway.app_id, gateway.app_secret connects
        tom = gateway.user("Tom")
        await tom.says("hello")
        await tom.waits_for("Bot: hello")
        push = await gateway.push("contact.user.created_v3", {"object": {"open_id": "ou_1"}})
        answer = await push.answer()
        assert answer.code == 200
```

The pytest fixture `feishu_gateway` comes with the package.
Names are looked up on first use: the pytest plugin lives in here, and must cost nothing to those who do not use it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._chats import Member
    from ._connection import GatewayConnection
    from ._gateway import Gateway, open_gateway
    from ._http import Request
    from ._media import StoredFile
    from ._messages import Message
    from ._openapi import RefusedCall
    from ._push import Answer, Delivery, Push
    from ._users import Clicked, User, UserMessage
    from ._view import Shown

__all__ = [
    "Answer",
    "Clicked",
    "Delivery",
    "Gateway",
    "GatewayConnection",
    "Member",
    "Message",
    "Push",
    "RefusedCall",
    "Request",
    "Shown",
    "StoredFile",
    "User",
    "UserMessage",
    "open_gateway",
]

if not TYPE_CHECKING:
    _MODULES = {
        "Answer": "_push",
        "Clicked": "_users",
        "Delivery": "_push",
        "Gateway": "_gateway",
        "GatewayConnection": "_connection",
        "Member": "_chats",
        "Message": "_messages",
        "Push": "_push",
        "RefusedCall": "_openapi",
        "Request": "_http",
        "Shown": "_view",
        "StoredFile": "_media",
        "User": "_users",
        "UserMessage": "_users",
        "open_gateway": "_gateway",
    }

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(f".{_MODULES[name]}", __name__), name)
