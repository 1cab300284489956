"""Bring about each state, and write what is seen into docs/when-it-goes-wrong.md:

PYTHONPATH=tests .venv/bin/python -m outages
"""

from __future__ import annotations

import contextlib
import sys
import tempfile

import trio

from .page import PAGE, look_at, with_blocks
from .states import STATES

with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
    seen = trio.run(look_at, sys.argv[1:] or STATES)
PAGE.write_text(with_blocks(PAGE.read_text("utf-8"), seen).replace(folder, "/srv/bot"), "utf-8")
