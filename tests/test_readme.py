"""The READMEs: their parts, and the same figures in both. What holds for every page is in `test_pages`."""

from __future__ import annotations

import re

from pages import ROOT, blocks, shape

ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh.md"


def figures(page: str) -> list[str]:
    """The cells of tables that hold numbers."""
    return re.findall(r"(?<=\| )[*\d.×]+(?= \|)", page)


def test_it_has_its_sections_and_blocks() -> None:
    assert shape(ENGLISH.read_text("utf-8")).count("##") == 9
    assert len(list(blocks(ENGLISH))) == 9


def test_both_have_the_same_figures() -> None:
    english = ENGLISH.read_text("utf-8")
    assert figures(english) == figures(CHINESE.read_text("utf-8"))
    (header,) = re.findall(r"^\| feishu_trio against \|(.*)\|$", english, re.MULTILINE)
    peers = header.split("|")
    assert len(peers) >= 3  # one more for each that there is where the figures are made
    assert len(figures(english)) == 5 * 3 + 8 * len(peers)
