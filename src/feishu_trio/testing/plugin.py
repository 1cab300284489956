"""The pytest plugin: the fixture `feishu_gateway`, for async tests, which it has run by trio.

A test that uses it needs no mark and no option, with pytest-trio or without.
"""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Final

import pytest

FIXTURE: Final = "feishu_gateway"


def pytest_configure(config: pytest.Config) -> None:
    """Choose the fixture that goes with what else is there."""
    module = "._fixture" if config.pluginmanager.hasplugin("trio") else "._fixture_alone"
    config.pluginmanager.register(import_module(module, __package__), "feishu_trio fixture")


def uses_gateway(item: pytest.Item) -> bool:
    """Whether this is an async test that uses the fixture."""
    test = getattr(item, "obj", None)
    return FIXTURE in getattr(item, "fixturenames", ()) and inspect.iscoroutinefunction(test)
