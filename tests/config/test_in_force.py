"""What is in force, and where it came from."""

from __future__ import annotations

from pathlib import Path
from ssl import create_default_context
from typing import Any

import attrs
import pytest

from feishu_trio import Ack, PoolConfig, SessionConfig, Setting, SettingOrigin


def found(config: SessionConfig, name: str) -> Setting:
    return next(each for each in config.in_force() if each.name == name)


def test_all_settings_in_the_order_of_the_class() -> None:
    settings = SessionConfig().in_force()
    assert [each.name for each in settings] == [a.name for a in attrs.fields(SessionConfig) if a.init]
    assert all(each.is_default and each.origin is SettingOrigin.DEFAULT for each in settings)


def test_the_last_source_is_where_a_value_came_from(tmp_path: Path) -> None:
    path = tmp_path / "bot.toml"
    path.write_text("[feishu]\napp_id = 'cli_1'\nconnections = 2\nconcurrency = 3\nack_deadline = 2.5\n")
    base = SessionConfig.from_file(path)
    config = SessionConfig.from_env({"FEISHU_CONNECTIONS": "3", "FEISHU_CONCURRENCY": "4"}, base=base)
    config = config.evolve(concurrency=5)
    assert found(config, "app_id") == Setting(
        "app_id", "cli_1", False, SettingOrigin.FILE, f"{path}: feishu:app_id"
    )
    assert found(config, "connections") == Setting(
        "connections", 3, False, SettingOrigin.ENVIRONMENT, "FEISHU_CONNECTIONS"
    )
    assert found(config, "concurrency") == Setting("concurrency", 5, False, SettingOrigin.GIVEN)
    # It stands in the file, and is the default's all the same.
    assert found(config, "ack_deadline").is_default
    assert found(config, "ack_deadline").origin is SettingOrigin.FILE
    assert found(SessionConfig(connections=2), "connections").origin is SettingOrigin.GIVEN


def test_what_another_option_brings_along_came_from_where_that_stands() -> None:
    config = SessionConfig.from_env({"Feishu__WebSocket__ReconnectDelayMs": "5000"})
    backoff = found(config, "reconnect_backoff")
    assert (backoff.value, backoff.place) == ("fixed", "Feishu__WebSocket__ReconnectDelayMs")
    assert backoff.origin is SettingOrigin.ENVIRONMENT


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("app_secret", "s3cr3t", "***"),
        ("client_assertion", "s3cr3t", "***"),
        ("client_assertion", lambda: "s3cr3t", "a function"),
        ("app_access_token", "s3cr3t", "***"),
        ("proxy", "http://me:s3cr3t@proxy:3128", "http://***@proxy:3128"),
        ("headers", {"X-Key": "s3cr3t"}, {"X-Key": "***"}),
        ("pools", {"slow": PoolConfig(concurrency=2)}, {"slow": {"concurrency": 2, "capacity": 1000}}),
        ("ack", Ack.ON_RECEIPT, "on_receipt"),
        ("ssl_context", create_default_context(), "SSLContext"),
        ("reconnect_delay", 1.5, 1.5),
    ],
)
def test_values_are_what_json_can_hold_and_no_secret(name: str, value: Any, shown: object) -> None:
    config = SessionConfig(**{name: value})
    assert found(config, name).value == shown
    assert "s3cr3t" not in repr(config.in_force())
