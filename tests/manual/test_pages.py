"""The migration page: its languages are held together, its blocks run, its table names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import feishu_trio
from feishu_trio.config import SessionConfig, dotnet
from feishu_trio.events import ALIASES

from .page import CHINESE, DOCS, ENGLISH, claims, named_tests, samples

TESTS = Path(__file__).parents[1]
BOTH = pytest.mark.parametrize("page", [ENGLISH, CHINESE], ids=["english", "chinese"])


def blocks(page: str) -> list[str]:
    return re.findall(r"^```.*?^```", page, re.DOTALL | re.MULTILINE)


def shape(page: str) -> list[str]:
    """The headings by their level, and of each row of a table how many cells it has, in order."""
    text = re.sub(r"^```.*?^```", "", page, flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"^#+(?= )|^\|(?= )", text, re.MULTILINE)


def test_both_languages_have_the_same_headings_rows_and_blocks() -> None:
    assert shape(ENGLISH) == shape(CHINESE)
    assert blocks(ENGLISH) == blocks(CHINESE)


def test_both_languages_name_the_same_tests_for_each_claim() -> None:
    assert [(number, tests) for number, *_, tests in claims(ENGLISH)] == [
        (number, tests) for number, *_, tests in claims(CHINESE)
    ]


def test_each_claim_has_a_test_that_exists() -> None:
    rows = claims(ENGLISH)
    assert [number for number, *_ in rows] == [str(number) for number in range(1, len(rows) + 1)]
    for number, claim, counterpart, cell in rows:
        named = named_tests(cell)
        assert named, (number, claim, counterpart)
        for test in named:
            file, _, name = test.partition("::")
            assert re.search(rf"def {name}\(", (TESTS / file).read_text(encoding="utf-8")), test


def test_the_numbers_of_tests_are_those_of_claims_that_name_them() -> None:
    named = {number: named_tests(cell) for number, *_, cell in claims(ENGLISH)}
    for file in Path(__file__).parent.glob("test_*.py"):
        for name, number in re.findall(r"def (test_manual_(\d+)_\w+)\(", file.read_text(encoding="utf-8")):
            assert f"manual/{file.name}::{name}" in named[str(int(number))]


def test_each_python_block_is_run() -> None:
    assert len(samples(ENGLISH)) == ENGLISH.count("```python")
    run = re.findall(r'sample\("(.*?)"\)', (Path(__file__).parent / "test_samples.py").read_text())
    assert set(run) == set(samples(ENGLISH))


@BOTH
def test_options_have_the_settings_and_defaults_that_the_page_says(page: str) -> None:
    rows = re.findall(r"^\| `(\w+)` \| `\w+` \| (.*?) \| (.*?) \| .* \|$", page, re.MULTILINE)
    read = {name: setting for name, (setting, _) in {**dotnet.OPTIONS, **dotnet.SWITCHES}.items()}
    assert len(rows) == 13
    for option, setting, default in rows:
        if option in dotnet.NO_EFFECT:
            assert default == ""
        else:
            assert setting == f"`{read[option]}`"
            assert default == f"`{getattr(SessionConfig(), read[option])}`"


@BOTH
def test_each_type_and_option_of_the_manual_is_on_the_page(page: str) -> None:
    manual = """
        EnableAutoAck EnableBinaryMessageProcessing FeishuWebSocketClient FeishuWebSocketMessage FeishuWebSocketOptions
        HeartbeatData HeartbeatInfo HeartbeatMessage HeartbeatStatistics IFeishuEventHandler IFeishuEventHandlerFactory
        IFeishuWebSocketManager IMessageHandler JsonMessageHandler WebSocketBinaryMessageEventArgs
        WebSocketCloseEventArgs WebSocketErrorEventArgs WebSocketFeishuEventArgs WebSocketHeartbeatEventArgs
        WebSocketMessageEventArgs WebSocketPingEventArgs WebSocketPongEventArgs WebSocketState WsEndpointResult
    """
    assert [name for name in manual.split() if f"`{name}`" not in page] == []
    assert "pip install feishu-trio" in page


@BOTH
def test_names_that_feishu_never_sends_lead_where_the_page_says(page: str) -> None:
    rows = dict(re.findall(r"^\| `([a-z_0-9]+\.[a-z_0-9.]+)` \| `([a-z_0-9.]+)` \|$", page, re.MULTILINE))
    assert {name: sent for name, sent in rows.items() if name != sent} == ALIASES
    manual = 16
    assert len(rows) == manual


@BOTH
def test_each_lifecycle_event_of_the_page_exists(page: str) -> None:
    named = set(re.findall(r"^\| `\w+` \| `(\w+)`", page, re.MULTILINE))
    kinds = {
        name
        for name in feishu_trio.__all__
        if isinstance(kind := getattr(feishu_trio, name), type)
        and issubclass(kind, feishu_trio.LifecycleEvent)
    }
    assert len(named & kinds) == 9


@BOTH
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page):
        assert (DOCS / target).exists(), target
