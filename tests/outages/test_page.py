"""What docs/when-it-goes-wrong.md shows is what is seen when it goes wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from inbox.servers import GIVEN, program
from test_metrics import expressions, samples

from .page import PAGE, blocks, look_at, normal
from .rig import Scene
from .states import STATES

TEXT = PAGE.read_text("utf-8")
NEEDS_REDIS = "The inbox is away"


def assert_shown(heading: str, scene: Scene) -> None:
    """That the page shows what was seen in this state."""
    shown = blocks(TEXT)[heading]
    assert [normal(block) for block in scene.blocks] == [normal(block) for block in shown], heading


def served(texts: Iterable[str]) -> dict[str, set[str]]:
    """The names of all samples that were scraped, with their labels."""
    found = dict[str, set[str]]()
    for text in texts:
        for family in parse(text):
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
    return found


def assert_served(asked: Sequence[str], found: dict[str, set[str]]) -> None:
    """That bots serve what these expressions ask for."""
    for expression in asked:
        selectors = re.findall(r"(feishu_\w+)(?:\{([^}]*)\})?", expression)
        assert selectors, expression
        grouped = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", expression))))
        for name, matchers in selectors:
            assert name in found, f"{name} in {expression}"
            used = set(re.findall(r"(\w+)\s*(?:=~|!=|=)", matchers)) | grouped
            assert used <= found[name] | {"instance"}, expression


async def test_the_page_shows_what_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the dashboard, and the page's alerts, ask for what the bots of these states serve."""
    monkeypatch.chdir(tmp_path)
    seen = await look_at(heading for heading in STATES if heading != NEEDS_REDIS)
    for heading, scene in seen.items():
        assert_shown(heading, scene)
    found = served(text for scene in seen.values() for text in scene.scraped)
    assert_served(expressions(), found)
    assert_served(alerts(), found)


async def test_the_page_shows_an_inbox_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "://" in GIVEN:
        pytest.skip("the server is given by its URL: this test stops it")
    program()
    monkeypatch.chdir(tmp_path)
    seen = await look_at([NEEDS_REDIS])
    assert_shown(NEEDS_REDIS, seen[NEEDS_REDIS])


def alerts() -> list[str]:
    """What the page and docs/metrics.md say is worth an alert."""
    metrics_page = PAGE.with_name("metrics.md").read_text("utf-8")
    (block,) = re.findall(r"worth an alert.*?```\n(.*?)\n```", metrics_page, re.DOTALL)
    return [*block.splitlines(), *re.findall(r"`([^`\n]*feishu_\w+[^`\n]* [<>=]+ [^`\n]*)`", TEXT)]


def metrics_in(asked: Iterable[str]) -> set[str]:
    return {name for expression in asked for name in re.findall(r"feishu_\w+", expression)}


def test_the_page_has_every_state_in_order_and_no_other() -> None:
    assert list(blocks(TEXT)) == list(STATES)


def test_the_dashboard_shows_what_there_is_to_be_alerted_by() -> None:
    assert len(alerts()) > 12
    assert metrics_in(alerts()) <= metrics_in(expressions())


def test_the_page_names_metrics_that_there_are() -> None:
    assert set(re.findall(r"\bfeishu_(?!trio)\w+", TEXT)) <= samples().keys()
