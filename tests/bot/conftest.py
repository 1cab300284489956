from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from feishu_trio.testing import Gateway, open_gateway


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with open_gateway() as made:
        yield made
