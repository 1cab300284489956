"""What is claimed of numbers, and whether it holds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

import attrs

from .results import OURS, Results, Sample

__all__ = ["Target", "table", "write"]

_RESULTS: Final = Path(__file__).parent / "results"


@attrs.frozen
class Target:
    """What is claimed of a number."""

    title: str
    bound: float
    is_most: bool = False
    """Whether the number may not be more than that; else it may not be less."""
    unit: str = "×"

    def holds(self, values: Sequence[float]) -> bool:
        """Whether the median of all rounds is within the bound."""
        value = median(values)
        return value <= self.bound if self.is_most else value >= self.bound


def table(
    values: Mapping[str, Sequence[float]],
    targets: Mapping[str, Target],
    others: Mapping[str, tuple[str, str]],
    heading: str,
) -> list[str]:
    """Medians, in Markdown, with what the rounds have between them; `others` are titles and units."""
    lines = ["| | median | rounds | target | holds |", "| --- | ---: | ---: | ---: | --- |"]
    for name, target in targets.items():
        value, least, most = (_shown(of(values[name])) for of in (median, min, max))
        lines.append(
            f"| {target.title} | {value}{target.unit} | {least} to {most} "
            f"| {'≤' if target.is_most else '≥'} {target.bound:g}{target.unit} "
            f"| {'yes' if target.holds(values[name]) else '**no**'} |"
        )
    lines += ["", f"| {heading} | median | rounds |", "| --- | ---: | ---: |"]
    for name, (title, unit) in others.items():
        middle, least, most = (_shown(of(values[name])) for of in (median, min, max))
        lines.append(f"| {title} | {middle} {unit} | {least} to {most} |")
    return lines


def write(name: str, settings: Any, values: Mapping[str, Sequence[float]], text: str) -> None:
    """Keep what was measured: as Markdown, and every round of it as JSON."""
    results = Results.here({name: attrs.asdict(settings)})
    results.samples = [Sample(name, each, "", OURS, value) for each in values for value in values[each]]
    (_RESULTS / f"{name}.md").write_text(text + "\n")
    (_RESULTS / f"{name}.json").write_text(json.dumps(results.to_json(), indent=1) + "\n")


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
