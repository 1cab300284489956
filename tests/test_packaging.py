"""What is published: one version, a changelog that has it, and a help that begins with an overview."""

from __future__ import annotations

import pydoc
import re
import tomllib
from operator import attrgetter
from pathlib import Path

import feishu_trio
import feishu_trio.asyncio
import feishu_trio.events.im
import feishu_trio.testing

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


def test_help_begins_with_an_overview_that_fits_on_a_screen() -> None:
    screen = pydoc.plain(pydoc.render_doc(feishu_trio)).partition("PACKAGE CONTENTS")[0].splitlines()
    assert len(screen) <= 35
    assert max(map(len, screen)) <= 80
    (table,) = re.findall(r"^to run.*?\n\n", feishu_trio.__doc__ or "", re.DOTALL | re.MULTILINE)
    names = re.findall(r"feishu_trio(?:\.\w+)+|\b[A-Z]\w*(?:\.\w+)?|\b\w+_\w+|\brun\b(?=;)", table)
    assert len(names) > 22
    for name in names:
        if name != "Feishu":
            assert attrgetter(name.removeprefix("feishu_trio."))(feishu_trio), name
