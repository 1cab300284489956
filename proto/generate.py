"""Write the code that is made from the schemas in this directory: `python proto/generate.py [--check]`.

With --check nothing is written: files that are not what would be written are named, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import _events
import _frame

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Run the generators. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Write the code that is made from the schemas.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is not fresh")
    check = parser.parse_args().check

    generated = _frame.generate(ROOT) | _events.generate(ROOT)
    stale = [
        (path, text)
        for path, made in generated.items()
        if (text := formatted(made, path)) != (path.read_text(encoding="utf-8") if path.exists() else None)
    ]
    for path, text in stale:
        name = path.relative_to(ROOT)
        if check:
            print(f"{name} is not fresh: run python proto/generate.py", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"{name} written")
    return 1 if check and stale else 0


def formatted(source: str, path: Path) -> str:
    """`source` as ruff would leave it in `path`."""
    for command in (["check", "--fix-only", "--quiet"], ["format", "--quiet"]):
        source = subprocess.run(
            [sys.executable, "-m", "ruff", *command, f"--stdin-filename={path}", "-"],
            cwd=ROOT,
            input=source,
            capture_output=True,
            check=True,
            encoding="utf-8",
        ).stdout
    return source


if __name__ == "__main__":
    sys.exit(main())
