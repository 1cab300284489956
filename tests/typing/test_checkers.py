"""Type checkers agree on `registration.py`. mypy reads it with all the other tests (`make types`), pyright here.

This directory is no package: as one, it would stand in the way of the standard library's `typing`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import registration

HERE = Path(__file__).parent
PYRIGHT = HERE.parent / "node" / "node_modules" / "pyright" / "index.js"


def test_what_is_checked_runs() -> None:
    assert registration.by_model in registration.router.handlers("im.message.receive_v1")


@pytest.mark.skipif(
    shutil.which("node") is None or not PYRIGHT.is_file(),
    reason="node, or pyright in tests/node/node_modules (npm install), is missing",
)
def test_pyright() -> None:
    command = ["node", str(PYRIGHT), "--project", str(HERE), "--pythonpath", sys.executable]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "0 errors, 0 warnings" in run.stdout
