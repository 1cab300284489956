from __future__ import annotations

import subprocess
import sys

import pytest

import feishu_trio.testing
from feishu_trio.testing import Gateway

from .client import connect


async def test_the_fixture(feishu_gateway: Gateway) -> None:
    async with connect(feishu_gateway) as client:
        await feishu_gateway.push("x")
        assert (await client.receive()).headers["type"] == "event"


def test_the_plugin_does_not_load_the_gateway() -> None:
    code = "import sys, feishu_trio.testing.plugin; print(*sys.modules, sep='\\n')"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    loaded = [name for name in out.split() if name.startswith("feishu_trio.testing")]
    assert sorted(loaded) == ["feishu_trio.testing", "feishu_trio.testing.plugin"]


def test_the_public_names() -> None:
    for name in feishu_trio.testing.__all__:
        assert getattr(feishu_trio.testing, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = feishu_trio.testing.nothing  # type: ignore[attr-defined]
