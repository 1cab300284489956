"""The README in its two languages: what one has, the other has too."""

from __future__ import annotations

import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENGLISH, CHINESE = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh.md"))
BOTH = pytest.mark.parametrize("page", [ENGLISH, CHINESE], ids=["english", "chinese"])


def shape(page: str) -> list[str]:
    """Headings by their level, blocks, rows of tables and entries of lists, in order."""
    return re.findall(r"^(?:```\w*|#+|\||-)(?=\s)", page, re.MULTILINE)


def code(page: str) -> list[list[str]]:
    """The words of each block, without comments and texts, which are for people."""
    return [
        [
            token.string
            for token in tokenize.generate_tokens(io.StringIO(block).readline)
            if token.type in (tokenize.NAME, tokenize.OP, tokenize.NUMBER)
        ]
        for block in re.findall(r"^```(?:python)?\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    ]


def figures(page: str) -> list[str]:
    """The cells of tables that hold numbers."""
    return re.findall(r"(?<=\| )[*\d.×]+(?= \|)", page)


def links(page: str) -> list[str]:
    """Where it leads, but for one README to the other."""
    targets = re.findall(r"\]\(([^)]+)\)", page)
    return sorted({target.replace(".zh.md", ".md") for target in targets} - {"README.md"})


def test_both_have_the_same_sections_blocks_tables_and_lists() -> None:
    assert shape(ENGLISH) == shape(CHINESE)
    assert shape(ENGLISH).count("##") == 9


def test_both_have_the_same_code_and_figures() -> None:
    assert code(ENGLISH) == code(CHINESE)
    assert len(code(ENGLISH)) == 9
    assert figures(ENGLISH) == figures(CHINESE)
    (header,) = re.findall(r"^\| feishu_trio against \|(.*)\|$", ENGLISH, re.MULTILINE)
    peers = header.split("|")
    assert len(peers) >= 3  # one more for each that there is where the figures are made
    assert len(figures(ENGLISH)) == 5 * 3 + 8 * len(peers)


def test_both_lead_to_the_same_pages() -> None:
    assert links(ENGLISH) == links(CHINESE)


@BOTH
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page):
        assert target.startswith("https://") or (ROOT / target).exists(), target
