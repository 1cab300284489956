"""The pages of the documentation, in their two languages, and what stands in them."""

from __future__ import annotations

import ast
import io
import re
import textwrap
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAIRS = [(ROOT / "README.md", ROOT / "README.zh.md")] + [
    (page, page.with_suffix(".zh.md"))
    for page in sorted(DOCS.rglob("*.md"))
    if not page.name.endswith(".zh.md") and page.parent.name != "project"
]
"""Each page in English, with the same in Chinese; `docs/project` is for those who work on it, in English alone."""
PAGES = [page for pair in PAIRS for page in pair]
SOURCES = [
    path for path in sorted((ROOT / "src" / "feishu_trio").rglob("*.py")) if "```" in path.read_text("utf-8")
]
"""Modules whose docstrings have code."""

_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A block of code."""

    place: str
    """The page, and the number of its first line."""
    language: str
    code: str


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path) -> Iterator[Block]:
    """The blocks of a page, or of a module's docstrings."""
    text = path.read_text("utf-8")
    if path.suffix == ".py":
        nodes = [
            node
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        text = "\n".join(ast.get_docstring(node) or "" for node in nodes)
    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, found.start()) + 2
        yield Block(f"{name(path)}:{line}", found[2], textwrap.dedent(found[3]))


def outside_blocks(text: str, instead: str = "") -> str:
    """A page without its blocks of code."""
    return _BLOCK.sub(instead, text)


def shape(text: str) -> list[str]:
    """Headings by their level, blocks by their language, rows of tables and entries of lists, in order."""
    return re.findall(r"^ *(?:```\w*|#+|\||-|\d+\.)(?=\s)", text, re.MULTILINE)


def words(block: Block) -> list[str]:
    """A block without comments, Python without texts, and what people say (`text`) by its lines: these are for people."""
    if block.language == "text":
        return ["" for _ in block.code.splitlines()]
    if block.language in ("python", "py"):
        found, depth = [], 0
        for token in tokenize.generate_tokens(io.StringIO(block.code).readline):
            # From Python 3.12 on an f-string is several tokens; what is in it stands where its language wants it.
            depth += {"FSTRING_START": 1, "FSTRING_END": -1}.get(tokenize.tok_name[token.type], 0)
            if not depth and token.type in (tokenize.NAME, tokenize.OP, tokenize.NUMBER):
                found.append(token.string)
        return found
    return [re.sub(r"(?:^|\s+)(?:#|//) .*|\s+$", "", line) for line in block.code.splitlines()]


def texts(block: Block) -> list[str]:
    """The texts in a block of Python, in order, but for those with a value within."""
    if block.language not in ("python", "py"):
        return []
    nodes = list(ast.walk(ast.parse(block.code)))
    within = {part for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    return [
        node.value
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in within
    ]


def anchors(text: str) -> list[str]:
    """The anchors that a page's headings get, in order."""
    headings = re.findall(r"^#+ (.*)$", outside_blocks(text), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


def targets(text: str) -> list[str]:
    """Where a page leads."""
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", outside_blocks(text)))
