"""`pytest -k manual` runs every test that the table of claims names, wherever it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from .page import ENGLISH, claims, named_tests


@pytest.hookimpl(tryfirst=True)  # before those that -k leaves out are left out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    tests = Path(__file__).parents[1]
    named = {test for *_, cell in claims(ENGLISH) for test in named_tests(cell)}
    for item in items:
        name = f"{item.path.relative_to(tests).as_posix()}::{item.name.partition('[')[0]}"
        if name in named:
            item.extra_keyword_matches.add("manual")
