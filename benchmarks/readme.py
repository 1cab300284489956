"""What READMEs and docs/benchmarks.md show of a full run: the chart, and how many times each client's numbers ours are, over TLS.

`python -m benchmarks.readme` does it again with the latest results.
"""

from __future__ import annotations

import re
from typing import Final

from .clients import ROOT
from .results import OURS, Results

__all__ = ["PAGES", "show", "with_figures"]

_LATEST: Final = ROOT / "benchmarks" / "results" / "latest.json"
_CHART: Final = ROOT / "docs" / "benchmarks.svg"

# The words before the table, and a name for the loop.
_ENGLISH: Final = (
    "Ratios of one run, over TLS, with default settings and full semantics (known events looked up, order by chat, counters\n"
    "on):",
    "bare trio-websocket loop",
)
_CHINESE: Final = (
    "同一次测试中的比值，经由 TLS，默认设置，全部语义（查重、按聊天排序、计数）：",
    "直接用 trio-websocket 的循环",
)
PAGES: Final = {
    "README.md": _ENGLISH,
    "README.zh.md": _CHINESE,
    "docs/benchmarks.md": _ENGLISH,
    "docs/benchmarks.zh.md": _CHINESE,
}
_PEERS: Final = {
    "lark": "lark-oapi",
    "channel": "lark-channel-sdk",
    "bare": "",
    "node": "Node SDK",
    "go": "Go SDK",
}
# The rows of the table, in order, and whether more is better.
_ROWS: Final = (
    ("Throughput", "1 kB, window 64", "events/s", True),
    ("Throughput", "1 kB, window 512", "events/s", True),
    ("Throughput", "1 kB, window 1", "events/s", True),
    ("Throughput", "10 kB, window 64", "events/s", True),
    ("Latency", "1,000 events/s", "p50 µs", False),
    ("Latency", "1,000 events/s", "p99 µs", False),
    ("Latency", "1,000 events/s", "p99.9 µs", False),
    ("Start", "one process", "import ms", False),
)
_TABLE: Final = re.compile(r"(?<=benchmarks\.svg\)\n\n).+?\n\n((?:\|[^\n]*\n)+)", re.DOTALL)


def show(results: Results) -> None:
    """Draw the chart, and write the ratios into the pages. What they say about them is for people to write."""
    from .chart import draw  # matplotlib takes a while to load

    results = results.over(tls=True)
    draw(results, _CHART)
    for name in PAGES:
        page = ROOT / name
        page.write_text(with_figures(name, page.read_text(encoding="utf-8"), results), encoding="utf-8")


def with_figures(name: str, page: str, results: Results) -> str:
    """A page with these ratios; what stands before them in each row stays."""
    found = _TABLE.search(page)
    if found is None:
        raise ValueError(f"{name} has no table after its chart")
    lead, loop = PAGES[name]
    peers = [peer for peer in _PEERS if peer in results.clients("Throughput")]
    labels = [line.split("|")[1].strip() for line in found[1].splitlines()]
    lines = [
        [labels[0], *(_PEERS[peer] or loop for peer in peers)],
        ["---", *("---:" for _ in peers)],
        *(
            [label, *(_ratio(results, *row, peer) for peer in peers)]
            for label, row in zip(labels[2:], _ROWS, strict=True)
        ),
    ]
    table = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
    return page[: found.start()] + f"{lead}\n\n{table}" + page[found.end() :]


def _ratio(results: Results, scenario: str, case: str, metric: str, more_is_better: bool, peer: str) -> str:
    ours, theirs = (results.median(scenario, case, metric, name) for name in (OURS, peer))
    if ours is None or not theirs:
        return "–"
    ratio = ours / theirs
    text = f"{ratio:.{0 if ratio >= 10 else 1 if ratio >= 1 else 2}f}×"
    return text if (ratio >= 1) == more_is_better else f"**{text}**"


def main() -> None:
    show(Results.read(_LATEST))


if __name__ == "__main__":
    main()
