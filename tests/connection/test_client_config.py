from __future__ import annotations

import json
import logging
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feishu_trio.connection import ClientConfig

REAL = {"ReconnectCount": -1, "ReconnectInterval": 120, "ReconnectNonce": 30, "PingInterval": 90}


def test_what_the_platform_sends_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    assert ClientConfig.parse(REAL) == ClientConfig(90, 120, None)
    assert ClientConfig.parse(REAL | {"ReconnectCount": 7}).reconnect_count == 7
    assert not caplog.records


def test_numbers_in_texts_are_numbers() -> None:
    assert ClientConfig.parse({"PingInterval": "45", "ReconnectInterval": "60.5"}) == ClientConfig(45, 60.5)


@pytest.mark.parametrize("given", [None, {}, {"PingInterval": None, "ReconnectCount": None}])
def test_what_is_missing_gets_the_default_without_a_word(
    given: object, caplog: pytest.LogCaptureFixture
) -> None:
    assert ClientConfig.parse(given) == ClientConfig()
    assert not caplog.records


@pytest.mark.parametrize(
    "value",
    [0, -1, -0.0, "x", "", [], {}, True, math.nan, -math.inf, math.inf, "nan", "1e999", 10**400, "٣x"],
)
def test_note_13_what_is_no_interval_gets_the_default_and_a_warning(
    value: object, caplog: pytest.LogCaptureFixture
) -> None:
    config = ClientConfig.parse({"PingInterval": value, "ReconnectInterval": value})
    assert config == ClientConfig()
    assert [r.levelno for r in caplog.records] == [logging.WARNING] * 2
    assert "PingInterval" in caplog.text
    assert "ReconnectInterval" in caplog.text


@pytest.mark.parametrize(("value", "clamped"), [(0.001, 1.0), (1e-300, 1.0), (1e9, 600.0), (10**30, 600.0)])
def test_note_13_out_of_range_values_are_clamped_and_warned_of(
    value: float, clamped: float, caplog: pytest.LogCaptureFixture
) -> None:
    assert ClientConfig.parse({"PingInterval": value}).ping_interval == clamped
    assert f"PingInterval={value!r}" in caplog.text
    assert f"{clamped:g} s is used" in caplog.text


@pytest.mark.parametrize("given", [[], "x", 7, True])
def test_what_is_no_object_gets_defaults(given: object, caplog: pytest.LogCaptureFixture) -> None:
    assert ClientConfig.parse(given) == ClientConfig()
    assert "no JSON object" in caplog.text


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"\xff", b"[]", b"null", b"7", b"[" * 100_000, b'{"PingInterval":' + b"9" * 5000 + b"}"],
)
def test_a_payload_that_is_no_object_is_no_config(payload: bytes, caplog: pytest.LogCaptureFixture) -> None:
    assert ClientConfig.parse_json(payload) is None
    assert "ignored" in caplog.text


number_like = st.text("0123456789.-+eExnaif ", max_size=9)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | number_like,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(number_like, inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from(["PingInterval", "ReconnectInterval", "ReconnectCount", "ReconnectNonce"])


@given(st.dictionaries(names, json_values))
def test_note_13_whatever_comes_can_be_lived_with(given: dict[str, Any]) -> None:
    for config in (ClientConfig.parse(given), ClientConfig.parse_json(json.dumps(given).encode())):
        assert config is not None
        assert 1 <= config.ping_interval <= 600
        assert 1 <= config.reconnect_interval <= 600
        assert config.reconnect_count is None or config.reconnect_count >= 1
