"""The chart that the README shows: a few numbers, over TLS, one bar for each client."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .clients import CLIENTS
from .results import OURS, Results

__all__ = ["draw"]

_PANELS: Final = (
    ("Throughput", "1 kB, window 64", "events/s", "events a second: more is better\n(1 kB, 64 unanswered)"),
    ("Throughput", "1 kB, window 512", "events/s", "events a second: more is better\n(1 kB, 512 unanswered)"),
    ("Latency", "1,000 events/s", "p50 µs", "latency, median, µs: less is better\n(1,000 events a second)"),
    ("Latency", "1,000 events/s", "p99.9 µs", "latency, p99.9, µs: less is better\n(1,000 events a second)"),
    ("Start", "one process", "import ms", "import, ms: less is better\n"),
)
_OURS, _OTHERS, _INK = "#1456f0", "#8f9bb0", "#2b2f36"
# It stands on light pages and on dark ones.
_STYLE = (
    "<style>:root { --ink: #2b2f36 } @media (prefers-color-scheme: dark) { :root { --ink: #d5d9e0 } }</style>"
)


def draw(results: Results, path: Path) -> None:
    """Write the chart as SVG; of results over TLS alone, or without alone."""
    look: Any = {"font.size": 9, "text.color": _INK, "axes.edgecolor": _OTHERS}
    with mpl.rc_context({**look, "svg.fonttype": "none", "svg.hashsalt": "feishu_trio"}):
        names = [name for name in CLIENTS if name in results.clients("Throughput")]
        figure = Figure(figsize=(14, 1.3 + 0.4 * len(names)), layout="constrained")
        for axes, panel in zip(figure.subplots(1, len(_PANELS), sharey=True), _PANELS, strict=True):
            _bars(axes, results, names, *panel)
        figure.supxlabel("all over TLS, each client on a core of its own", fontsize=9)
        path.parent.mkdir(parents=True, exist_ok=True)
        written = io.StringIO()
        figure.savefig(written, format="svg", transparent=True, metadata={"Date": None})
    start, tag, rest = written.getvalue().replace(_INK, "var(--ink)").partition("<defs>")
    path.write_text(f"{start}{_STYLE}\n {tag}{rest}", encoding="utf-8")


def _bars(
    axes: Axes, results: Results, names: list[str], scenario: str, case: str, metric: str, title: str
) -> None:
    values = [results.median(scenario, case, metric, name) or 0.0 for name in names]
    bars = axes.barh(
        [results.title(name) for name in names],
        values,
        color=[_OURS if name == OURS else _OTHERS for name in names],
    )
    axes.bar_label(bars, [f"{value:,.0f}" for value in values], padding=3, color=_INK)
    axes.set_title(title, fontsize=9, loc="left", color=_INK)
    axes.set_xlim(0, max(values) * 1.25 or 1)
    axes.invert_yaxis() if not axes.yaxis_inverted() else None
    axes.xaxis.set_visible(False)
    axes.tick_params(left=False, labelcolor=_INK)
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
