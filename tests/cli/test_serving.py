"""An inbox by its URL, and the options behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from feishu_trio import ConfigError, InboxRules, RedisInbox, SQLiteInbox, by_chat, by_sender
from feishu_trio.cli._serving import inbox_of, sqlite_path


@pytest.mark.parametrize(
    ("query", "rules"),
    [
        ("", {}),
        (
            "?max_attempts=3&window=600&strict_order=yes",
            {"max_attempts": 3, "window": 600.0, "strict_order": True},
        ),
        ("?order_by=by_sender&max_age=0%2E5", {"order_by": by_sender, "max_age": 0.5}),
        ("?order_by=none", {"order_by": None}),
    ],
)
def test_an_inbox_is_told_what_stands_behind_its_url(query: str, rules: dict[str, Any]) -> None:
    file, server = inbox_of(f"sqlite:bot.db{query}"), inbox_of(f"redis://host{query}")
    assert isinstance(file, SQLiteInbox)
    assert file.path == Path("bot.db").absolute()
    assert repr(server) == "RedisInbox('redis://host', prefix='feishu')"
    assert file.rules == server.rules == InboxRules(**rules)


def test_an_inbox_in_redis_is_told_more() -> None:
    inbox = inbox_of("redis+sentinel://host/main?lease=60&sentinel_password=p%26&durability=disk&prefix=x")
    assert isinstance(inbox, RedisInbox)
    assert repr(inbox).endswith("prefix='x')")
    assert (inbox._seconds, inbox._server._is_on_disk) == (60.0, True)
    assert inbox._server._address.sentinel_password == "p&"
    assert inbox.rules.order_by is by_chat


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (
            "sqlite:x?max_attempts=none",
            "max_attempts: 'none' is not allowed; it must be a whole number, 1 or more",
        ),
        (
            "sqlite:x?max_attemps=1",
            "option: 'max_attemps' is not allowed; it must be one of window, max_attempts, ",
        ),
        ("sqlite:x?lease=9", "option: 'lease' is not allowed"),
        (
            "sqlite:x?window=1@",
            "window: '1@' is not allowed; it must be None, or a number of seconds, 0.001 or more",
        ),
        (
            "sqlite:x?retry_delay=9&max_retry_delay=5",
            "max_retry_delay: 5.0 is not allowed; it must be a number of",
        ),
        (
            "sqlite:x?order_by=chat",
            "order_by: 'chat' is not allowed; it must be one of by_chat, by_thread, by_sender, none",
        ),
        ("redis://host?lease=0", "lease: 0.0 is not allowed; it must be a number of seconds from 1 to 3600"),
        ("redis://host?durability=x", "durability: 'x' is not allowed; it must be 'memory' or 'disk'"),
        ("sqlite:x?window=9&window=8", "option: window stands twice in the URL; give it once"),
        ("redis://host?prefix=a&lease=9&prefix=b", "option: prefix stands twice in the URL; give it once"),
        ("redis://host?leese=9", "option: 'leese' is not allowed; it must be one of"),
    ],
)
def test_what_is_no_option_is_refused(url: str, words: str) -> None:
    with pytest.raises(ConfigError) as info:
        inbox_of(url)
    assert str(info.value).startswith(f"--inbox: {words}")


def test_a_password_with_a_question_mark_is_not_shown() -> None:
    with pytest.raises(ConfigError) as info:
        inbox_of("redis://:pass?lease=word@host")
    assert "pass?" not in str(info.value)
    assert "word@" not in str(info.value)


@pytest.mark.parametrize("rest", ["word", "word=9", "prefix=a&word=9"])
def test_what_follows_a_password_is_not_shown(rest: str) -> None:
    url = f"redis+sentinel://host/main?lease=5&sentinel_password=pass&{rest}"
    with pytest.raises(ConfigError) as info:
        inbox_of(url)
    assert str(info.value).startswith(
        "--inbox: option: one that is not shown, as it may be part of a password, is"
    )
    assert "word=" not in str(info.value)
    with pytest.raises(ConfigError) as info:
        RedisInbox(url)
    assert "?lease=***&sentinel_password=***'" in str(info.value)


def test_who_looks_into_a_file_passes_over_its_options() -> None:
    assert sqlite_path("sqlite:bot.db?max_attempts=3") == "bot.db"
