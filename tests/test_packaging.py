"""What is published: one version, and a changelog that has it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import feishu_trio

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def test_the_version_is_in_one_place() -> None:
    version = PROJECT["version"]
    assert feishu_trio.__version__ == version
    for path in (ROOT / "src").rglob("*.py"):
        assert not re.search(rf"""["'/]{re.escape(version)}["']""", path.read_text("utf-8")), path


def test_the_changelog_has_the_version() -> None:
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[0] == PROJECT["version"]


def test_the_extra_all_has_the_others() -> None:
    extras = PROJECT["optional-dependencies"]
    (names,) = re.findall(r"\[(.*)\]", extras["all"][0])
    assert {*names.split(","), "all"} == extras.keys()
    assert all(extras.values())
