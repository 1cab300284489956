"""How many lines each bot has: `python -m benchmarks.bots.lines`.

Counted are those that hold code: no blank ones, comments, docstrings and imports. All are formatted by `make format`.
"""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path
from typing import Final

LIBRARIES: Final = ("ours", "lark_channel_sdk", "slack_bolt", "aiogram")
BOTS: Final = ("echo", "answer", "approve", "gather")

_NO_CODE: Final = frozenset(
    {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
)


def lines_of(source: str) -> int:
    """The number of lines that hold code."""
    held: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _NO_CODE:
            held.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.stmt):
            continue
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if is_text or isinstance(node, ast.Import | ast.ImportFrom):
            held.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(held)


def lines(library: str, bot: str) -> int:
    return lines_of((Path(__file__).parent / library / f"{bot}.py").read_text(encoding="utf-8"))


def main() -> None:
    for bot in BOTS:
        print(f"{bot:<8}", *(f"{library} {lines(library, bot):2}  " for library in LIBRARIES))


if __name__ == "__main__":
    main()
