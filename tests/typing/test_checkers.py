"""Type checkers agree on `registration.py`, on the examples, and on what pages and docstrings show.

mypy reads `registration.py` and the examples with all the other tests (`make types`), pyright here.

This directory is no package: as one, it would stand in the way of the standard library's `typing`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import registration

from pages import PAGES, ROOT, SOURCES, blocks

HERE = Path(__file__).parent
PYRIGHT = HERE.parent / "node" / "node_modules" / "pyright" / "index.js"
SHOWN = {
    re.sub(r"\W+", "_", block.place).lower(): block.code
    for path in (*PAGES, *SOURCES)
    for block in blocks(path)
    if block.language == "python"
}
needs_pyright = pytest.mark.skipif(
    shutil.which("node") is None or not PYRIGHT.is_file(),
    reason="node, or pyright in tests/node/node_modules (npm install), is missing",
)


def pyright(project: Path) -> None:
    command = ["node", str(PYRIGHT), "--project", str(project), "--pythonpath", sys.executable]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "0 errors, 0 warnings" in run.stdout


@pytest.fixture
def shown(tmp_path: Path) -> Path:
    """A directory with each block of Python in pages and docstrings as a module."""
    for name, code in SHOWN.items():
        (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
    return tmp_path


def test_what_is_checked_runs() -> None:
    assert registration.by_model in registration.router.handlers("im.message.receive_v1")


@needs_pyright
def test_pyright() -> None:
    pyright(HERE)


@needs_pyright
def test_pyright_on_what_pages_show(shown: Path) -> None:
    settings = {"include": ["."], "typeCheckingMode": "strict", "extraPaths": [str(ROOT / "src")]}
    (shown / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    pyright(shown)


def test_mypy_on_what_pages_show(shown: Path) -> None:
    assert len(SHOWN) > 120
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--config-file",
        os.devnull,
        *map(str, shown.glob("*.py")),
    ]
    environment = os.environ | {"MYPYPATH": str(ROOT / "src"), "MYPY_CACHE_DIR": str(ROOT / ".mypy_cache")}
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert run.returncode == 0, run.stdout + run.stderr
