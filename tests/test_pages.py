"""The pages of the documentation: what they lead to is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    path.relative_to(ROOT).as_posix()
    for folder in (ROOT, ROOT / "docs", ROOT / "benchmarks", ROOT / "tests")
    for path in sorted(folder.glob("*.md"))
]


def outside_blocks(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


def targets(page: Path) -> list[str]:
    """Where a page leads."""
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", outside_blocks(page)))


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings get."""
    headings = re.findall(r"^#+ (.*)$", outside_blocks(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", PAGES)
def test_what_a_page_leads_to_is_there(name: str) -> None:
    page = ROOT / name
    for target in targets(page):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        other = page.parent / file if file else page
        assert other.exists(), target
        assert not anchor or anchor in anchors(other), target


def test_the_page_about_the_log_has_all_loggers() -> None:
    page = (ROOT / "docs" / "logging.md").read_text("utf-8")
    (table,) = re.findall(r"^\| logger .*?\n\n", page, re.DOTALL | re.MULTILINE)
    sources = (ROOT / "src" / "feishu_trio").rglob("*.py")
    made = {
        name
        for path in sources
        for name in re.findall(r'getLogger\("(feishu_trio\.[\w.]+)"', path.read_text("utf-8"))
    }
    assert made | {"feishu_trio.config.sources"} == set(re.findall(r"`(feishu_trio\.[\w.]+)`", table))
