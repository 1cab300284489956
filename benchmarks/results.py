"""What was measured: as JSON, for machines and for later; as Markdown tables, for people."""

from __future__ import annotations

import json
import os
import platform
import ssl
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Final, TypeVar

import attrs

from .clients import CLIENTS, PINNED, ROOT

__all__ = ["OURS", "Results", "Sample"]

OURS: Final = "ours"

# What is no better for being more or less.
_NO_RATIO: Final = ("%", "answers", "events the")

T = TypeVar("T")


@attrs.frozen
class Sample:
    """One number from one round."""

    scenario: str
    case: str
    metric: str
    """What it is, with its unit."""
    client: str
    value: float | None
    """None: not to be had, because the client never got there, or answers before its handler is done."""
    tls: bool = False


@attrs.define
class Results:
    """All samples of a run, and where it ran."""

    machine: dict[str, Any]
    settings: dict[str, Any]
    samples: list[Sample] = attrs.field(factory=list)

    @classmethod
    def here(cls, settings: dict[str, Any]) -> Results:
        """No results yet, from this machine."""
        return cls(_machine(), settings)

    @classmethod
    def read(cls, path: Path) -> Results:
        """What `to_json` gave to a file."""
        known = json.loads(path.read_text(encoding="utf-8"))
        return cls(known["machine"], known["settings"], [Sample(**sample) for sample in known["samples"]])

    def title(self, client: str) -> str:
        """A client's name, and the version that was measured."""
        return str(self.machine["clients"][client])

    def to_json(self) -> dict[str, Any]:
        """Everything, for `json.dump`."""
        return attrs.asdict(self)

    def over(self, *, tls: bool) -> Results:
        """The part of them that was measured over TLS, or without."""
        return attrs.evolve(self, samples=[sample for sample in self.samples if sample.tls == tls])

    def scenarios(self) -> list[str]:
        """The scenarios there are samples of, in order."""
        return _unique(sample.scenario for sample in self.samples)

    def median(self, scenario: str, case: str, metric: str, client: str) -> float | None:
        """The median over all rounds; None where the client has no number."""
        values = [
            sample.value
            for sample in self.samples
            if (sample.scenario, sample.case, sample.metric, sample.client)
            == (scenario, case, metric, client)
        ]
        known = [value for value in values if value is not None]
        return median(known) if known and len(known) == len(values) else None

    def clients(self, scenario: str) -> list[str]:
        """The clients that a scenario was run with."""
        return _unique(sample.client for sample in self.samples if sample.scenario == scenario)

    def to_markdown(self) -> str:
        """A table for each scenario, over TLS and without: medians, and in brackets how many times ours."""
        lines = [
            f"{self.machine['processor']}, {self.machine['cores']} cores, Python {self.machine['python']}, "
            f"Node {self.machine['node'] or '-'}, {self.machine['date']}. "
            "Medians over the rounds; in brackets, how many times feishu_trio's.",
            "",
        ]
        for part, where in ((self.over(tls=True), "over TLS"), (self.over(tls=False), "without TLS")):
            for scenario in part.scenarios():
                lines += [f"### {scenario}, {where}", "", *part._table(scenario), ""]
        return "\n".join(lines)

    def _table(self, scenario: str) -> Iterable[str]:
        clients = self.clients(scenario)
        titles = [self.title(client) for client in clients]
        yield f"| | {' | '.join(titles)} |"
        yield f"| --- |{' ---: |' * len(titles)}"
        rows = _unique((sample.case, sample.metric) for sample in self.samples if sample.scenario == scenario)
        for case, metric in rows:
            cells = [self._cell(scenario, case, metric, client) for client in clients]
            yield f"| {case}: {metric} | {' | '.join(cells)} |"

    def _cell(self, scenario: str, case: str, metric: str, client: str) -> str:
        value, ours = (self.median(scenario, case, metric, name) for name in (client, OURS))
        if value is None:
            return "-"
        if client == OURS or not ours or value <= 0 or metric.startswith(_NO_RATIO):
            return _shown(value)
        return f"{_shown(value)} ({value / ours:.2g}×)"


def _shown(value: float) -> str:
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _unique(items: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(items))


def _machine() -> dict[str, Any]:
    names = [
        line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")
    ]
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "processor": names[0] if names else platform.machine(),
        "cores": os.cpu_count(),
        "pinned": PINNED,
        "load": os.getloadavg()[0],
        "kernel": platform.release(),
        "python": platform.python_version(),
        "node": _output("node", "--version").removeprefix("v"),
        "commit": _output("git", "rev-parse", "--short", "HEAD"),
        "packages": {
            name: version(name)
            for name in (
                "trio",
                "trio-websocket",
                "wsproto",
                "msgspec",
                "lark-oapi",
                "lark-channel-sdk",
                "websockets",
            )
        },
        "clients": {name: client.title for name, client in CLIENTS.items()},
        "openssl": ssl.OPENSSL_VERSION,
    }


def _lines(path: str) -> list[str]:
    try:
        with open(path) as file:
            return file.read().splitlines()
    except OSError:
        return []


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
