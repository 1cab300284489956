from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import pytest

from feishu_trio.config import Ack, SessionConfig, dotnet
from feishu_trio.config.rules import Form, rules_of

from .refusals import SECRET, file_refusal, read_json, write

APPSETTINGS = """\ufeff{
  // what the .NET client reads
  "Logging": { "LogLevel": { "Default": "Information" } },
  "Feishu": {
    "AppId": "cli_//no-comment",
    "AppSecret": "/*,}-]secret\\",]", /* the string is kept whole */
    "WebSocket": {
      "AutoReconnect": true,
      "MaxReconnectAttempts": -1,
      "ReconnectDelayMs": 5000,
      "maxreconnectdelayms": "30000", // any case, and numbers in strings, as .NET takes them
      "HeartbeatIntervalMs": 25000,
      "ConnectionTimeoutMs": 10500,
      "ReceiveBufferSize": 4096,
      "MaxBinaryMessageSize": 2097152,
      "MessageQueueCapacity": 500,
      "EnableMessageQueue": true,
      "EnableAutoAck": "True",
      "EnableEventDeduplication": true,
      "Unset": null,
    },
  },
}
"""


def test_appsettings_of_the_dotnet_client(tmp_path: Path) -> None:
    text = APPSETTINGS.replace('"Unset": null,', "")
    assert SessionConfig.from_file(write(tmp_path / "appsettings.json", text)) == SessionConfig(
        app_id="cli_//no-comment",
        app_secret='/*,}-]secret",]',
        max_reconnect_attempts=None,
        reconnect_delay=5,
        max_reconnect_delay=30,
        heartbeat_interval=25,
        connect_timeout=10.5,
        receive_buffer_size=4096,
        max_message_size=2097152,
        queue_capacity=500,
    )


def test_unknown_names_are_refused_even_if_null(tmp_path: Path) -> None:
    path = write(tmp_path / "appsettings.json", APPSETTINGS)
    assert file_refusal(path) == "Feishu:WebSocket:Unset is no setting"


def test_dotnet_switches_win(tmp_path: Path) -> None:
    off = ["EnableMessageQueue", "ParallelMultiHandlers", "EnableAutoAck", "EnableEventDeduplication"]
    options: dict[str, Any] = dict.fromkeys(off, False) | {
        "MessageQueueCapacity": 500,
        "MaxConcurrentMessageProcessing": 10,
        "EventDeduplication": {"CacheExpirationMs": 60000},
        "ack": "on_receipt",
    }
    config = read_json(tmp_path, options)
    assert config == SessionConfig(queue_capacity=1, concurrency=1, ack=Ack.ON_SUCCESS, dedupe_window=0)
    config = read_json(tmp_path, options | dict.fromkeys(off, True))
    assert config == SessionConfig(queue_capacity=500, concurrency=10, ack=Ack.ON_RECEIPT, dedupe_window=60)
    path = write(tmp_path / "a.json", '{"EnableAutoAck": "perhaps"}')
    assert file_refusal(path) == "EnableAutoAck: 'perhaps' is not allowed; it must be true or false"


def test_dotnet_options_without_counterpart_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"EnableLogging": True, "EmptyQueueCheckIntervalMs": 100, "Webhook": {"EncryptKey": SECRET}}
    with caplog.at_level(logging.WARNING, logger="feishu_trio"):
        assert read_json(tmp_path, {"Feishu": options}) == SessionConfig()
    (record,) = caplog.records
    assert "Feishu:EnableLogging, Feishu:EmptyQueueCheckIntervalMs, Feishu:Webhook" in record.getMessage()
    assert SECRET not in record.getMessage()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ReconectDelayMs": 5}, "ReconectDelayMs is no setting; the nearest is 'ReconnectDelayMs'"),
        ({"WebSocket": {"Domian": "x"}}, "WebSocket:Domian is no setting; the nearest is 'domain'"),
        (
            {"HeartbeatIntervalMs": 500},
            "HeartbeatIntervalMs: heartbeat_interval: 0.5 is not allowed; it must be None, or a number of seconds",
        ),
        ({"HeartbeatIntervalMs": "soon"}, "HeartbeatIntervalMs: heartbeat_interval: 'soon'"),
        ({"HeartbeatIntervalMs": True}, "HeartbeatIntervalMs: heartbeat_interval: True"),
        ({"HeartbeatIntervalMs": [1]}, "HeartbeatIntervalMs: heartbeat_interval: [1]"),
        ({"HeartbeatIntervalMs": 10**400}, "HeartbeatIntervalMs: heartbeat_interval: 1000"),
        ({"HeartbeatIntervalMs": math.nan}, "HeartbeatIntervalMs: heartbeat_interval: nan"),
        ({"AppId": "a", "app_id": "b"}, "app_id: app_id is given twice, first as AppId"),
        ({"ReconnectDelayMs": 9000, "MaxReconnectDelayMs": 5000}, "max_reconnect_delay: 5.0 is not allowed"),
        ({"AppSecret": 5}, "app_secret: a value of type int (not shown)"),
        ({"ssl_context": "x"}, "ssl_context is no setting"),
        ({"pools": {"a": {"size": 1}}}, "pools: pools['a']: 'size' is no setting"),
    ],
)
def test_wrong_options_are_refused(tmp_path: Path, options: object, words: str) -> None:
    assert words in file_refusal(write(tmp_path / "a.json", json.dumps(options)))


def test_every_option_stands_for_a_setting() -> None:
    settings = rules_of(SessionConfig)
    for name, _ in (*dotnet.OPTIONS.values(), *dotnet.SWITCHES.values()):
        assert settings[name].form is Form.TEXT
    names = [*dotnet.OPTIONS, *dotnet.SWITCHES, *dotnet.UNUSED]
    assert len({name.casefold() for name in names} | set(settings)) == len(names) + len(settings)
