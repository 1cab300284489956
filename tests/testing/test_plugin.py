from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import feishu_trio
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


PAGE = Path(__file__).parents[2] / "docs" / "gateway.md"


def bare_pytest(directory: Path, code: str) -> subprocess.CompletedProcess[str]:
    """pytest in a project that has it and this package, and nothing else."""
    (directory / "test_bot.py").write_text(code, encoding="utf-8")
    others = [word for name in ("trio", "hypothesispytest", "anyio") for word in ("-p", f"no:{name}")]
    command = [sys.executable, "-m", "pytest", *others, "-q", "test_bot.py"]
    env = {**os.environ, "PYTHONPATH": str(Path(feishu_trio.__file__).parents[1])}
    return subprocess.run(command, cwd=directory, env=env, capture_output=True, text=True, timeout=60)


def test_a_project_needs_pytest_and_this_package_alone(tmp_path: Path) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    run = bare_pytest(tmp_path, block)
    assert "1 passed" in run.stdout, run.stdout
    failing = block.replace('"Bot: hello"', '"Bot: bye", timeout=0.1')
    run = bare_pytest(tmp_path, failing)
    assert "does not see 'Bot: bye' after 0.1 s, but:" in run.stdout, run.stdout


def test_without_a_gateway_the_fixture_says_so(tmp_path: Path) -> None:
    run = bare_pytest(tmp_path, "def test_it(feishu_gateway):\n    feishu_gateway.domain\n")
    assert "feishu_gateway.domain: there is a gateway in async tests alone" in run.stdout, run.stdout
