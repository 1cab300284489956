from __future__ import annotations

import math
from typing import Any

import attrs
import pytest

from feishu_trio.config import SessionConfig
from feishu_trio.config.rules import Form, Rule, at, flag, number, rules_of, shown, unknown, wrong
from feishu_trio.errors import ConfigError

from .refusals import SECRET, refusal


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("max_reconnect_attempts", 0, None),
        ("reconnect_delay", 0, 3600),
        ("max_reconnect_delay", 0, 3600),
        ("heartbeat_interval", 1, 3600),
        ("pong_timeout", 0.001, 3600),
        ("connect_timeout", 0.001, 3600),
        ("receive_buffer_size", 1024, 2**26),
        ("max_message_size", 1024, 2**30),
        ("queue_capacity", 1, 1_000_000),
        ("concurrency", 1, 10_000),
        ("ack_deadline", 0.001, 3),
        ("dedupe_window", 0, 30 * 86_400),
        ("dedupe_bytes", 1 << 20, 1 << 40),
        ("connections", 1, 50),
        ("shutdown_timeout", 0, 86_400),
    ],
)
def test_numbers_have_bounds(name: str, least: Any, most: Any) -> None:
    assert getattr(SessionConfig().evolve(**{name: least}), name) == least
    wrong: list[Any] = [least - 1, True, False, "5", math.nan, math.inf, -math.inf, [], 3 + 0j]
    if most is not None:
        assert getattr(SessionConfig().evolve(**{name: most}), name) == most
        wrong.append(most + 1)
        wrong.append(10**400)
    for value in wrong:
        text = refusal(**{name: value})
        assert text.startswith(f"{name}: {value!r}"[:60])
        assert str(least) in text


@pytest.mark.parametrize("name", ["connections", "concurrency", "queue_capacity", "max_message_size"])
def test_counts_are_whole_numbers(name: str) -> None:
    assert "a whole number" in refusal(**{name: 2048.0})


@pytest.mark.parametrize("name", ["pong_timeout", "dedupe_window", "domain", "pools", "auto_reconnect"])
def test_only_what_may_be_none_may_be_none(name: str) -> None:
    assert refusal(**{name: None}).startswith(f"{name}: None")


def test_ack_deadline_over_the_limit_tells_why() -> None:
    assert refusal(ack_deadline=3.5) == (
        "ack_deadline: 3.5 is not allowed; it must be a number of seconds from 0.001 to 3 (Feishu itself waits for 3 s)"
    )


def test_milliseconds_taken_for_seconds_are_refused() -> None:
    for name in ("heartbeat_interval", "reconnect_delay", "max_reconnect_delay", "connect_timeout"):
        assert "30000" in refusal(**{name: 30000})


@pytest.mark.parametrize("value", [0, 1, "true", None])
def test_flags_are_flags(value: object) -> None:
    assert "True or False" in refusal(auto_reconnect=value)


@pytest.mark.parametrize(
    ("given_url", "kept"),
    [
        ("https://open.larksuite.com/", "https://open.larksuite.com"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
        ("https://gateway.corp/feishu/", "https://gateway.corp/feishu"),
        ("https://gate_way.corp.", "https://gate_way.corp."),
        ("https://飞书.corp", "https://飞书.corp"),
        ("https://xn--6kqu3u", "https://xn--6kqu3u"),
    ],
)
def test_domain_is_kept_without_its_last_slash(given_url: str, kept: str) -> None:
    assert SessionConfig(domain=given_url).domain == kept


@pytest.mark.parametrize(
    "url",
    [
        *["", "open.feishu.cn", "//open.feishu.cn", "ftp://open.feishu.cn", "https://", "https:///path"],
        *["https://h?x=1", "https://h?", "https://h#f", "https://h:99999", "https://h:x", "https://[::1"],
        *["https://h\n", " https://h", "https://h\\@evil", f"https://user:{SECRET}@h", 5, b"https://h"],
        *["https://a..b", "https://.", f"https://{'a' * 64}", "https://xn--", "https://xn--zzzz99999999"],
        *["https://例え..テスト", "https://a\u00adb", "https://\ud800x"],
    ],
)
def test_domain_must_be_an_absolute_url(url: Any) -> None:
    text = refusal(domain=url)
    assert text.startswith("domain: ")
    assert "http:// or https://" in text
    assert SECRET not in text


@pytest.mark.parametrize(
    "headers",
    [
        {"X-A": f"{SECRET}\r\nX-B: c"},
        {"X A": SECRET},
        {"X-A": f"{SECRET}\n"},
        {"X-A": 5},
        {5: "x"},
        SECRET,
        {"": SECRET},
    ],
)
def test_headers_cannot_smuggle_and_do_not_show(headers: Any) -> None:
    text = refusal(headers=headers)
    assert text.startswith("headers: ")
    assert SECRET not in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("proxy", f"gopher://user:{SECRET}@proxy:1"),
        ("proxy", f"http://user:{SECRET}@"),
        ("proxy", f"http://us@er:{SECRET}@proxy:port"),
        ("proxy", f"user:{SECRET}@proxy"),
        ("proxy", f"http://user:a/{SECRET}@proxy"),
        ("proxy", f"http://user:\n{SECRET}@proxy"),
        ("app_secret", f"{SECRET} "),
        ("app_secret", SECRET.encode()),
        ("app_secret", [SECRET]),
        ("client_assertion", f"{SECRET}\n"),
        ("client_assertion", {SECRET: 1}),
    ],
)
def test_note_14_no_secret_in_a_refusal(name: str, value: Any) -> None:
    text = refusal(**{name: value})
    assert text.startswith(f"{name}: ")
    assert SECRET not in text


def test_empty_and_odd_texts_are_refused() -> None:
    for name in ("app_id", "app_secret", "user_agent", "client_assertion"):
        for value in ("", " ", 5):
            assert refusal(**{name: value}).startswith(f"{name}: ")
    assert refusal(user_agent="bot\r\nX-Evil: 1").startswith("user_agent: ")
    assert SessionConfig(user_agent="my bot/1.0").user_agent == "my bot/1.0"


# The words


def test_every_wrong_value_is_put_the_same_way() -> None:
    error = wrong("timeout", -1, "a number of seconds above 0")
    assert isinstance(error, ConfigError)
    assert str(error) == "timeout: -1 is not allowed; it must be a number of seconds above 0"
    reason = wrong("fallback", {}, "what JSON can hold", why=ValueError("too deep"), show=lambda _: "it")
    assert str(reason) == "fallback: it is not allowed; it must be what JSON can hold (too deep)"


def test_long_values_are_cut() -> None:
    assert len(shown("x" * 1000)) == 100
    assert shown("x" * 1000).endswith("...")


def test_unknown_names_come_with_the_nearest_and_their_place() -> None:
    assert str(unknown("Timout", ["timeout", "size"])) == "'Timout' is no setting; the nearest is 'timeout'"
    assert str(unknown("zzz", ["timeout"], place="A:zzz")) == "A:zzz is no setting"
    assert str(unknown("Timout", ["timeout"], instead="say size")) == "'Timout' is no setting; say size"


def test_the_place_comes_first_and_the_cause_is_kept() -> None:
    cause = OSError("disk")
    with (
        pytest.raises(ConfigError, match=r"^outer: inner: x: 1 is not allowed") as caught,
        at("outer"),
        at("inner"),
    ):
        raise wrong("x", 1, "2") from cause
    assert caught.value.__cause__ is cause
    with pytest.raises(ConfigError, match=r"^Feishu:size: 1 is not allowed"), at("Feishu:size"):
        raise wrong("size", 1, "2")
    with pytest.raises(ZeroDivisionError), at("place"):
        _ = 1 / 0


# Rules by themselves


def test_a_rule_checks_by_name() -> None:
    rule = number(int, 1, optional=True)
    rule.check("size", 1)
    rule.check("size", None)
    with pytest.raises(
        ConfigError, match=r"^size: 0 is not allowed; it must be None, or a whole number, 1 or more$"
    ):
        rule.check("size", 0)


def test_a_rule_reads_texts_and_leaves_what_it_cannot_read() -> None:
    assert flag().read("Yes") is True
    assert number(float, 0).read("2.5") == 2.5
    for value in ("perhaps", 1, None):
        assert flag().read(value) == value


def test_every_setting_has_a_rule() -> None:
    rules = rules_of(SessionConfig)
    assert list(rules) == [a.name for a in attrs.fields(SessionConfig) if a.init]
    assert all(isinstance(rule, Rule) for rule in rules.values())
    forms = {form: {name for name, rule in rules.items() if rule.form is form} for form in Form}
    assert forms[Form.TABLE] == {"pools", "headers"}
    assert forms[Form.OBJECT] == {"ssl_context", "dial", "http_transport"}
