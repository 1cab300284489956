"""What the typed models of events cost to load: one domain, all of them, and the official SDK beside them."""

from __future__ import annotations

import sys
from statistics import median

from .scenarios import loaded

__all__ = ["table"]

_TIMES = 5
_STATUS = "print(open('/proc/self/status').read())"
_DOMAINS = (
    "import importlib, pkgutil, feishu_trio.events as e; "
    "[importlib.import_module(f'feishu_trio.events.{m.name}') for m in pkgutil.iter_modules(e.__path__)]"
)
_LOADS = {
    "Python alone": "pass",
    "`import feishu_trio`: no models": "import feishu_trio",
    "and one domain: `feishu_trio.events.im`": "import feishu_trio.events.im",
    "and all domains": _DOMAINS,
    "`import lark_oapi`": "import lark_oapi",
}


def table() -> str:
    """A Markdown table: medians over a few processes each, the compiled bytecode being there."""
    lines = ["| | ms | ms CPU | MB |", "| --- | ---: | ---: | ---: |"]
    for title, statement in _LOADS.items():
        command = (sys.executable, "-c", f"{statement}; {_STATUS}")
        loaded(command)  # writes the bytecode, if need be
        runs = [loaded(command) for _ in range(_TIMES)]
        seconds, cpu, peak = (median(run[i] for run in runs) for i in range(3))
        lines.append(f"| {title} | {seconds * 1e3:.0f} | {cpu * 1e3:.0f} | {peak / 1e6:.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
