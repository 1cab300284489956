"""A local stand-in for Feishu's long connection: for tests of bots, demonstrations and measurements.

    async with open_gateway() as gateway:
        ...  # a client of gateway.domain, gateway.app_id, gateway.app_secret connects
        push = await gateway.push("im.message.receive_v1", {"message": {...}})
        answer = await push.answer()

Needs the extra `gateway`. The pytest fixture `feishu_gateway` comes with the package.
Names are looked up on first use: the pytest plugin lives in here, and must cost nothing to those who do not use it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._connection import GatewayConnection
    from ._gateway import Gateway, open_gateway
    from ._http import Request
    from ._openapi import Message
    from ._push import Answer, Delivery, Push

__all__ = [
    "Answer",
    "Delivery",
    "Gateway",
    "GatewayConnection",
    "Message",
    "Push",
    "Request",
    "open_gateway",
]

if not TYPE_CHECKING:
    _MODULES = {
        "Answer": "_push",
        "Delivery": "_push",
        "Gateway": "_gateway",
        "GatewayConnection": "_connection",
        "Message": "_openapi",
        "Push": "_push",
        "Request": "_http",
        "open_gateway": "_gateway",
    }

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(f".{_MODULES[name]}", __name__), name)
