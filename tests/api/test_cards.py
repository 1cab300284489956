"""Cards: what is changed, and how."""

from __future__ import annotations

import pytest
import trio

from feishu_trio.errors import ApiError

from .server import open_gateway_api


async def test_update_card() -> None:
    async with open_gateway_api() as (gateway, api):
        gateway._api.allow_card("c-token", trio.current_time())
        await api.update_card("c-token", {"elements": []})
        (message,) = gateway.messages
        assert (message.kind, message.to, message.content) == ("card", "c-token", {"elements": []})
        with pytest.raises(ApiError) as caught:
            await api.update_card("c-never-answered", {})
        assert caught.value.code not in (None, 0)
        assert "c-never-answered" not in str(caught.value)
