"""The fixture where pytest-trio is there, which runs it and the tests."""

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have pytest-trio run the async tests that use the fixture, whether they are marked or not."""
    from .plugin import uses_gateway

    for item in items:
        if uses_gateway(item) and item.get_closest_marker("trio") is None:
            item.add_marker("trio")
