"""The fixture where pytest-trio is not there: its tests are run here, each with a gateway."""

from __future__ import annotations

import inspect
from typing import Any

import pytest


class _NotOpen:
    """What the fixture is until its test is run."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        raise RuntimeError(
            f"feishu_gateway.{name}: there is a gateway in async tests alone, and only where no other plugin runs "
            "them (pytest-asyncio does with asyncio_mode=auto)"
        )


@pytest.fixture
def feishu_gateway() -> object:
    """A local gateway with the default behaviour, opened as the test is run. See `open_gateway`."""
    return _NotOpen()


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
