"""The page about testing: its blocks are files, which pytest runs as it would for a user."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import feishu_trio

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
TESTS = re.findall(r"^async def (test_\w+)", PAGE, re.MULTILINE)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """All blocks, each in the file that its first line names."""
    for block in BLOCKS:
        name = re.match(r"# (\w+\.py)$", block, re.MULTILINE)
        assert name is not None, block
        assert not (tmp_path / name[1]).exists()
        (tmp_path / name[1]).write_text(block, encoding="utf-8")
    return tmp_path


def passed(directory: Path, *args: str) -> list[str]:
    """The tests that pass; all others fail this."""
    package = Path(feishu_trio.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rA", "-W", "error", "-p", "no:cacheprovider", *args],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(package), "COLUMNS": "200", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return re.findall(r"^PASSED \w+\.py::(\w+)$", done.stdout, re.MULTILINE)


def test_every_test_of_the_page_passes(directory: Path) -> None:
    assert sorted(passed(directory)) == sorted(TESTS)
    assert len(TESTS) == PAGE.count("async def test_")


def test_those_without_an_autojump_clock_need_no_other_plugin(directory: Path) -> None:
    assert len(passed(directory, "-p", "no:trio", "test_first.py", "test_restart.py")) == 3


def test_every_name_of_the_tables_is_a_gateways() -> None:
    from feishu_trio.testing import Gateway

    rows = re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE)
    names = [name for row in rows for name in re.findall(r"`(\w+)", row)]
    assert len(names) == 22
    assert [name for name in names if not hasattr(Gateway, name)] == []
