"""What a server repeats is shown without secrets."""

from __future__ import annotations

import json
import time
from urllib.parse import quote

import pytest

from feishu_trio.config import SessionConfig
from feishu_trio.config.secrets import masked, secrets_of

SECRET = 'pass"wörd/9f8e7d+'


@pytest.mark.parametrize("form", [SECRET, quote(SECRET), quote(SECRET, safe=""), json.dumps(SECRET)[1:-1]])
def test_a_secret_is_masked_however_it_is_escaped(form: str) -> None:
    assert masked(f"no {form} here, {form}", SECRET) == "no *** here, ***"


@pytest.mark.parametrize(
    "text",
    [
        "wss://host/ws/v2?device_id=7&access_key=HIDDEN&ticket=HIDDEN",
        "wss%3A%2F%2Fhost%2F%3Fticket%3DHIDDEN%26x",
        '{"AppSecret": "HIDDEN", "ClientAssertion": "HIDDEN"}',
        "tenant_access_token: HIDDEN",
        "Authorization: Bearer HIDDEN",
        "{'app_secret': 'HIDDEN'}",
    ],
)
def test_what_is_named_like_a_secret_is_masked(text: str) -> None:
    assert "HIDDEN" not in masked(text)
    assert "***" in masked(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "they said so",
        "invalid ticket",
        "the token is wrong",
        "code 514: authentication failed",
        "a=1&b=2",
    ],
)
def test_all_else_stays(text: str) -> None:
    assert masked(text, "s3cret", None, "") == text


@pytest.mark.parametrize("text", ["a_" * 20_000, "token " * 7_000, "client_" * 6_000, "token" + " " * 40_000])
def test_a_long_text_blocks_nobody(text: str) -> None:
    began = time.process_time()
    assert masked(text) == text
    assert time.process_time() - began < 0.5


def test_the_secrets_of_the_settings() -> None:
    config = SessionConfig(
        app_secret="one",
        client_assertion="two",
        app_access_token=lambda: "three",
        proxy="http://me:four@host",
    )
    assert secrets_of(config) == ("one", "two", "four")
