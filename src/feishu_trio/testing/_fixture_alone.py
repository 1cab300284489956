"""The fixture where pytest-trio is not there: its tests are run here, each with a gateway."""

from __future__ import annotations

import inspect
from typing import Any

import pytest


@pytest.fixture
def feishu_gateway() -> None:
    """A local gateway with the default behaviour, opened as the test is run. See `open_gateway`."""


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> object:
    """Run an async test that uses the fixture."""
    from .plugin import FIXTURE, uses_gateway

    if not uses_gateway(pyfuncitem):
        return None
    import trio

    from ._gateway import open_gateway

    names = inspect.signature(pyfuncitem.obj).parameters
    arguments: dict[str, Any] = {name: pyfuncitem.funcargs[name] for name in names}

    async def run() -> None:
        async with open_gateway() as gateway:
            await pyfuncitem.obj(**{**arguments, FIXTURE: gateway})

    trio.run(run)
    return True
