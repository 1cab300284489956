"""The pytest plugin: the fixture `feishu_gateway`, for tests that pytest-trio runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ._gateway import Gateway


@pytest.fixture
async def feishu_gateway() -> AsyncGenerator[Gateway, None]:
    """A local gateway with the default behaviour, closed when the test ends. See `open_gateway`."""
    from ._gateway import open_gateway

    async with open_gateway() as gateway:
        yield gateway
