from __future__ import annotations

import json
import logging
import math
import re
from pathlib import Path
from typing import Any

import pytest
from trio.testing import MockClock

from feishu_trio import ConnectError, ReconnectScheduled, open_feishu_session
from feishu_trio.config import Ack, SessionConfig, dotnet
from feishu_trio.config.rules import Form, rules_of
from feishu_trio.errors import ConfigError
from feishu_trio.testing import Gateway

from .refusals import SECRET, file_refusal, read_json, refusal, write

MILLISECONDS = "number of milliseconds from 1000 to 3600000 (here it is heartbeat_interval)"

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
    off = ["EnableMessageQueue", "ParallelMultiHandlers", "EnableEventDeduplication"]
    options: dict[str, Any] = dict.fromkeys(off, False) | {
        "MessageQueueCapacity": 500,
        "MaxConcurrentMessageProcessing": 10,
        "EventDeduplication": {"CacheExpirationMs": 60000},
        "ack": "on_receipt",
    }
    config = read_json(tmp_path, options)
    assert config == SessionConfig(
        queue_capacity=1, concurrency=10, handler_mode="sequential", ack=Ack.ON_RECEIPT, dedupe_window=0
    )
    config = read_json(tmp_path, options | dict.fromkeys(off, True))
    assert config == SessionConfig(queue_capacity=500, concurrency=10, ack=Ack.ON_RECEIPT, dedupe_window=60)
    path = write(tmp_path / "a.json", '{"EnableMessageQueue": "perhaps"}')
    assert file_refusal(path) == "EnableMessageQueue: 'perhaps' is not allowed; it must be true or false"


def test_dotnet_options_without_effect_are_named_once_each_with_the_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"EnableLogging": True, "TimeOut": 1, "RetryCount": 3, "Webhook": {"EncryptKey": SECRET}}
    assert read_json(tmp_path, {"Feishu": options}) == SessionConfig()
    logging_line, tries, webhook = (record.getMessage() for record in caplog.records)
    assert logging_line == (
        "without effect: Feishu:EnableLogging (Python's logging decides: "
        "logging.getLogger('feishu_trio').setLevel(...))"
    )
    assert "Feishu:TimeOut, Feishu:RetryCount (tries to reconnect have" in tries
    assert "Feishu:Webhook" in webhook
    assert SECRET not in webhook


@pytest.mark.parametrize("option", ["EnableLogging", "EnableBinaryMessageProcessing", "EnableAutoAck"])
@pytest.mark.parametrize("value", [True, False, "False", None])
def test_manual_options_without_effect_do_not_stop_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, option: str, value: object
) -> None:
    assert read_json(tmp_path, {"Feishu": {"WebSocket": {option: value}}}) == SessionConfig()
    (record,) = caplog.records
    assert f"without effect: Feishu:WebSocket:{option} (" in record.getMessage()


@pytest.mark.parametrize(
    ("options", "mode"),
    [
        ({}, "all"),
        ({"EnableMultiHandlerMode": True}, "all"),
        ({"EnableMultiHandlerMode": True, "ParallelMultiHandlers": True}, "all"),
        ({"EnableMultiHandlerMode": True, "ParallelMultiHandlers": False}, "sequential"),
        ({"ParallelMultiHandlers": False}, "sequential"),
        ({"EnableMultiHandlerMode": False}, "single"),
        ({"EnableMultiHandlerMode": False, "ParallelMultiHandlers": False}, "single"),
        ({"ParallelMultiHandlers": False, "EnableMultiHandlerMode": False}, "single"),
        ({"EnableMultiHandlerMode": False, "ParallelMultiHandlers": True}, "single"),
    ],
)
def test_manual_handler_modes(tmp_path: Path, options: dict[str, bool], mode: Any) -> None:
    config = read_json(tmp_path, {"Feishu": {"WebSocket": options}})
    assert config == SessionConfig().evolve(handler_mode=mode)


@pytest.mark.parametrize(
    ("options", "backoff"),
    [
        ({"ReconnectDelayMs": 5000}, "fixed"),
        ({"ReconnectDelayMs": 5000, "MaxReconnectDelayMs": 30000}, "exponential"),
        ({"MaxReconnectDelayMs": 30000, "ReconnectDelayMs": 5000}, "exponential"),
        ({"ReconnectDelayMs": 5000, "reconnect_backoff": "exponential"}, "exponential"),
        ({"reconnect_delay": 5}, "exponential"),
    ],
)
def test_manual_the_reconnect_delay_is_a_fixed_one(
    tmp_path: Path, options: dict[str, object], backoff: str
) -> None:
    config = read_json(tmp_path, options)
    assert (config.reconnect_delay, config.reconnect_backoff) == (5, backoff)


async def test_manual_a_dotnet_file_reconnects_as_it_did(
    tmp_path: Path, feishu_gateway: Gateway, autojump_clock: MockClock
) -> None:
    options = {"MaxReconnectAttempts": 5, "ReconnectDelayMs": 5000}
    config = read_json(tmp_path, {"Feishu": {"WebSocket": options}}).evolve(
        app_id=feishu_gateway.app_id,
        app_secret=feishu_gateway.app_secret,
        domain=feishu_gateway.domain,
        dial=feishu_gateway.dial,
        http_transport=feishu_gateway.transport,
    )
    delays = []

    async def lose_the_server() -> None:
        async with open_feishu_session(config=config) as session, session.lifecycle() as events:
            feishu_gateway.refuse_discovery(1)
            await feishu_gateway.drop()
            async for event in events:
                if isinstance(event, ReconnectScheduled):
                    delays.append(event.delay)

    with pytest.raises(ConnectError, match="given up after 5 tries"):
        await lose_the_server()
    assert len(delays) == 5
    assert all(4.5 <= delay <= 5 for delay in delays)


async def test_manual_a_limit_of_reconnect_attempts_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, feishu_gateway: Gateway, autojump_clock: MockClock
) -> None:
    settings = {"WebSocket": {"MaxReconnectAttempts": 5, "ReconnectDelayMs": 5000}}
    config = read_json(tmp_path, {"Feishu": settings})
    async with open_feishu_session(
        feishu_gateway.app_id,
        feishu_gateway.app_secret,
        config=config,
        domain=feishu_gateway.domain,
        dial=feishu_gateway.dial,
        http_transport=feishu_gateway.transport,
    ):
        (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert record.getMessage() == (
        "Feishu:WebSocket:MaxReconnectAttempts: once 5 tries in a row have failed the session ends, and a "
        "program that runs it; -1, or leaving it out, goes on trying for as long as Feishu lets it"
    )


@pytest.mark.parametrize(
    ("options", "environ", "code"),
    [
        ({"MaxReconnectAttempts": -1}, {}, {}),
        ({"MaxReconnectAttempts": 5, "AutoReconnect": False}, {}, {}),
        ({"max_reconnect_attempts": 5}, {}, {}),
        ({"MaxReconnectAttempts": 5}, {"Feishu__WebSocket__MaxReconnectAttempts": "-1"}, {}),
        ({"MaxReconnectAttempts": 5}, {"Feishu__WebSocket__AutoReconnect": "false"}, {}),
        ({"MaxReconnectAttempts": 5}, {"FEISHU_MAX_RECONNECT_ATTEMPTS": "5"}, {}),
        ({"MaxReconnectAttempts": 5}, {}, {"max_reconnect_attempts": 5}),
    ],
)
def test_manual_a_limit_that_is_none_or_meant_is_not_warned_of(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    options: dict[str, object],
    environ: dict[str, str],
    code: dict[str, Any],
) -> None:
    SessionConfig.from_env(environ, base=read_json(tmp_path, options)).evolve(**code).warn()
    assert not caplog.records


def test_a_limit_of_one_is_warned_of_in_the_singular(caplog: pytest.LogCaptureFixture) -> None:
    SessionConfig.from_env({"Feishu__MaxReconnectAttempts": "1"}).warn()
    (record,) = caplog.records
    assert "once 1 try has failed the session ends" in record.getMessage()


def test_manual_a_limit_of_the_environment_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = read_json(tmp_path, {"MaxReconnectAttempts": -1})
    config = SessionConfig.from_env({"Feishu__WebSocket__MaxReconnectAttempts": "3"}, base=base)
    config.evolve(connections=2).warn()
    (record,) = caplog.records
    assert record.getMessage().startswith("Feishu__WebSocket__MaxReconnectAttempts: once 3 tries in a row")


# The environment


def test_manual_dotnet_variables() -> None:
    config = SessionConfig.from_env(
        {
            "Feishu__AppId": "cli_env",
            "FEISHU__APPSECRET": SECRET,  # as Windows has them
            "Feishu__WebSocket__HeartbeatIntervalMs": " 25000 ",
            "Feishu__WebSocket__ReconnectDelayMs": "3000",
            "Feishu__WebSocket__EventDeduplication__CacheExpirationMs": "60000",
            "feishu__websocket__enablemultihandlermode": "False",
            "Feishu__WebSocket__ReceiveBufferSize": "",
            "FEISHU_CONNECTIONS": "2",
            "Feishu__Elsewhere__AppId": "another's",
            "Feishu__VerificationToken": "another's",
            "Other__AppId": "another's",
        }
    )
    assert config == SessionConfig(
        app_id="cli_env",
        app_secret=SECRET,
        heartbeat_interval=25,
        reconnect_delay=3,
        reconnect_backoff="fixed",
        dedupe_window=60,
        handler_mode="single",
        connections=2,
    )


def test_manual_dotnet_variables_of_another_section() -> None:
    environ = {"Production__WebSocket__HeartbeatIntervalMs": "20000", "Feishu__AppId": "cli_a"}
    assert SessionConfig.from_env(environ, "PRODUCTION_") == SessionConfig(heartbeat_interval=20)


def test_wrong_dotnet_variables_are_named(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ConfigError) as caught:
        SessionConfig.from_env({"Feishu__WebSocket__HeartbeatIntervalMs": "500"})
    assert str(caught.value) == (
        f"Feishu__WebSocket__HeartbeatIntervalMs: 500.0 is not allowed; it must be a {MILLISECONDS}"
    )
    with pytest.raises(
        ConfigError, match=r"^Feishu__AppId: given already, as FEISHU_APP_ID; both are app_id"
    ):
        SessionConfig.from_env({"Feishu__AppId": "a", "FEISHU_APP_ID": "b"})
    assert SessionConfig.from_env({"Feishu__WebSocket__HeartbeatIntervallMs": "5"}) == SessionConfig()
    (record,) = caplog.records
    assert record.getMessage() == (
        "Feishu__WebSocket__HeartbeatIntervallMs is no setting, and is ignored; "
        "the nearest is 'HeartbeatIntervalMs'"
    )


def test_delays_of_two_places_that_do_not_go_together_are_named_in_milliseconds(tmp_path: Path) -> None:
    base = read_json(tmp_path, {"ReconnectDelayMs": 9000})
    with pytest.raises(ConfigError) as caught:
        SessionConfig.from_env({"Feishu__WebSocket__MaxReconnectDelayMs": "5000"}, base=base)
    assert str(caught.value) == (
        "Feishu__WebSocket__MaxReconnectDelayMs: 5000.0 is not allowed; it must be 9000 or more, as "
        "ReconnectDelayMs is (here it is max_reconnect_delay)"
    )


@pytest.mark.parametrize(
    "option", [option for option, (_, convert) in dotnet.OPTIONS.items() if convert is dotnet.milliseconds]
)
def test_each_time_is_refused_and_read_in_milliseconds(tmp_path: Path, option: str) -> None:
    place, table = option, {option: -1}
    if ":" in option:
        outer, inner = option.split(":")
        table = {outer: {inner: -1}}  # type: ignore[dict-item]
    words = file_refusal(write(tmp_path / "a.json", json.dumps(table)))
    rule = rules_of(SessionConfig)[dotnet.OPTIONS[option][0]]
    bounds = re.fullmatch(
        rf"{place}: -1 is not allowed; it must be a number of milliseconds from (\d+) to (\d+) .*", words
    )
    assert bounds is not None
    low, high = (int(bound) for bound in bounds.groups())
    assert [rule.test(dotnet.milliseconds(each)) for each in (low, high, high + 1)] == [True, True, False]


# The environment over a file


@pytest.mark.parametrize(
    ("options", "environ"),
    [
        ({"EnableMultiHandlerMode": False}, {"EnableMultiHandlerMode": True}),
        ({"ParallelMultiHandlers": False}, {"ParallelMultiHandlers": True}),
        ({"ParallelMultiHandlers": False}, {"EnableMultiHandlerMode": False}),
        ({"EnableMultiHandlerMode": False}, {"ParallelMultiHandlers": False}),
        (
            {"EnableMultiHandlerMode": False, "ParallelMultiHandlers": False},
            {"EnableMultiHandlerMode": True},
        ),
        (
            {"EnableMultiHandlerMode": False, "ParallelMultiHandlers": False},
            {"ParallelMultiHandlers": True},
        ),
        ({"EnableMessageQueue": False}, {"EnableMessageQueue": True}),
        ({"EnableMessageQueue": False, "MessageQueueCapacity": 500}, {"EnableMessageQueue": True}),
        ({"EnableMessageQueue": False}, {"MessageQueueCapacity": 500}),
        ({"MessageQueueCapacity": 500}, {"EnableMessageQueue": False}),
        ({"EnableEventDeduplication": False}, {"EnableEventDeduplication": True}),
        (
            {"EnableEventDeduplication": False, "EventDeduplicationCacheExpirationMs": 60000},
            {"EnableEventDeduplication": True},
        ),
        ({"MaxReconnectDelayMs": 60000}, {"ReconnectDelayMs": 5000}),
        ({"ReconnectDelayMs": 5000}, {"MaxReconnectDelayMs": 60000}),
        ({"ReconnectDelayMs": 5000}, {"ReconnectDelayMs": 7000}),
        ({"MaxReconnectAttempts": 5}, {"MaxReconnectAttempts": -1}),
    ],
    ids=str,
)
def test_manual_layers_mean_what_they_mean_in_one_file(
    tmp_path: Path, options: dict[str, object], environ: dict[str, object]
) -> None:
    variables = {f"Feishu__WebSocket__{name}": str(value) for name, value in environ.items()}
    layered = SessionConfig.from_env(variables, base=read_json(tmp_path, options))
    assert layered == read_json(tmp_path, options | environ)


@pytest.mark.parametrize(
    ("options", "environ", "settings"),
    [
        (
            {"EnableMultiHandlerMode": False},
            {"FEISHU_HANDLER_MODE": "sequential"},
            {"handler_mode": "sequential"},
        ),
        ({"EnableMessageQueue": False}, {"FEISHU_QUEUE_CAPACITY": "7"}, {"queue_capacity": 7}),
        ({"queue_capacity": 7}, {"Feishu__MessageQueueCapacity": "8"}, {"queue_capacity": 8}),
        ({"handler_mode": "single"}, {"Feishu__EnableMultiHandlerMode": "true"}, {"handler_mode": "single"}),
        (
            {"EventDeduplicationCacheExpirationMs": 60000},
            {"Feishu__EventDeduplication__CacheExpirationMs": "30000"},
            {"dedupe_window": 30},
        ),
    ],
)
def test_names_of_both_kinds_in_layers(
    tmp_path: Path, options: dict[str, object], environ: dict[str, str], settings: dict[str, Any]
) -> None:
    layered = SessionConfig.from_env(environ, base=read_json(tmp_path, options))
    assert layered == SessionConfig(**settings)


def test_what_code_changed_stays_changed_under_the_environment(tmp_path: Path) -> None:
    base = read_json(tmp_path, {"EnableMultiHandlerMode": False, "ReconnectDelayMs": 5000})
    changed = base.evolve(handler_mode="sequential", reconnect_backoff="exponential", pools={"slow": 2})
    assert SessionConfig.from_env({}, base=changed) == changed
    layered = SessionConfig.from_env({"Feishu__ParallelMultiHandlers": "True"}, base=changed)
    assert layered == changed


# .NET's names where ours are meant


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("HeartbeatIntervalMs", "here it is heartbeat_interval, in seconds"),
        ("MessageQueueCapacity", "here it is queue_capacity"),
        ("EnableMultiHandlerMode", "here false is handler_mode='single'"),
        ("EnableLogging", "it would have no effect: Python's logging decides"),
    ],
)
async def test_dotnet_names_in_code_lead_to_ours(name: str, words: str) -> None:
    expected = f"{name!r} is no setting; {words}"
    assert refusal(**{name: 1}).startswith(expected)
    with pytest.raises(ConfigError) as caught:
        async with open_feishu_session("cli_a", SECRET, **{name: 1}):  # type: ignore[arg-type]
            pass
    assert str(caught.value).startswith(expected)


# What is refused


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ReconectDelayMs": 5}, "ReconectDelayMs is no setting; the nearest is 'ReconnectDelayMs'"),
        ({"domain": 5}, "domain: 5 is not allowed"),
        ({"Domain": 5}, "Domain: 5 is not allowed"),
        (
            {"handler_mode": "both"},
            "handler_mode: 'both' is not allowed; it must be 'all', 'single' or 'sequential'",
        ),
        ({"WebSocket": {"Domian": "x"}}, "WebSocket:Domian is no setting; the nearest is 'domain'"),
        (
            {"HeartbeatIntervalMs": 500},
            f"HeartbeatIntervalMs: 500 is not allowed; it must be a {MILLISECONDS}",
        ),
        (
            {"HeartbeatIntervalMs": "500"},
            "HeartbeatIntervalMs: 500.0 is not allowed; it must be a number of mill",
        ),
        (
            {"HeartbeatIntervalMs": "soon"},
            f"HeartbeatIntervalMs: 'soon' is not allowed; it must be a {MILLISECONDS}",
        ),
        (
            {"HeartbeatIntervalMs": True},
            f"HeartbeatIntervalMs: True is not allowed; it must be a {MILLISECONDS}",
        ),
        (
            {"HeartbeatIntervalMs": [1]},
            f"HeartbeatIntervalMs: [1] is not allowed; it must be a {MILLISECONDS}",
        ),
        ({"HeartbeatIntervalMs": 10**400}, f"000... is not allowed; it must be a {MILLISECONDS}"),
        (
            {"HeartbeatIntervalMs": math.nan},
            f"HeartbeatIntervalMs: nan is not allowed; it must be a {MILLISECONDS}",
        ),
        (
            {"Feishu": {"WebSocket": {"ConnectionTimeoutMs": 0}}},
            "Feishu:WebSocket:ConnectionTimeoutMs: 0 is not allowed; it must be a number of milliseconds from 1 to "
            "3600000 (here it is connect_timeout)",
        ),
        ({"AppId": "a", "app_id": "b"}, "app_id: given already, as AppId; both are app_id"),
        (
            {"ReconnectDelayMs": 9000, "MaxReconnectDelayMs": 5000},
            "MaxReconnectDelayMs: 5000 is not allowed; it must be 9000 or more, as ReconnectDelayMs is "
            "(here it is max_reconnect_delay)",
        ),
        (
            {"reconnect_delay": 9, "max_reconnect_delay": 5},
            "max_reconnect_delay: 5 is not allowed; it must be 9 or",
        ),
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
    names = [*dotnet.OPTIONS, *dotnet.SWITCHES, *dotnet.NO_EFFECT]
    assert len({name.casefold() for name in names} | set(settings)) == len(names) + len(settings)
