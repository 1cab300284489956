from __future__ import annotations

import json
import logging
import math
import ssl
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feishu_trio.config import FEISHU_DOMAIN, LARK_DOMAIN, Ack, PoolConfig, SessionConfig
from feishu_trio.errors import ConfigError, FeishuError

SECRET = "S3cr3t-value"


def refusal(**settings: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        SessionConfig(**settings)
    return str(caught.value)


def test_defaults_are_the_documented_ones() -> None:
    config = SessionConfig()
    assert config.domain == FEISHU_DOMAIN == "https://open.feishu.cn"
    assert LARK_DOMAIN == "https://open.larksuite.com"
    assert config.auto_reconnect is True
    assert config.max_reconnect_attempts is None
    assert config.reconnect_delay is None
    assert config.max_reconnect_delay is None
    assert config.heartbeat_interval is None
    assert (config.pong_timeout, config.connect_timeout, config.shutdown_timeout) == (15, 10, 10)
    assert (config.receive_buffer_size, config.max_message_size) == (262144, 10485760)
    assert (config.queue_capacity, config.concurrency, config.connections) == (1000, 64, 1)
    assert config.pools == {}
    assert config.ack is Ack.ON_SUCCESS
    assert config.ack_deadline == 2.5
    assert config.dedupe_window == 8 * 3600
    for name in ("app_id", "app_secret", "proxy", "ssl_context", "headers", "user_agent", "client_assertion"):
        assert getattr(config, name) is None


def test_config_is_frozen_comparable_and_hashable() -> None:
    config = SessionConfig(pools={"slow": 2}, headers={"X-A": "b"})
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        config.connections = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        config.pools["slow"] = PoolConfig()  # type: ignore[index]
    assert config == SessionConfig(pools={"slow": 2}, headers={"X-A": "b"})
    assert config != SessionConfig(pools={"slow": 3}, headers={"X-A": "b"})
    assert hash(config) == hash(SessionConfig(pools={"slow": 2}, headers={"X-A": "b"}))


def test_given_mappings_are_copied() -> None:
    headers = {"X-A": "b"}
    config = SessionConfig(headers=headers)
    headers["X-A"] = "changed"
    assert config.headers == {"X-A": "b"}


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
        ("connections", 1, 50),
        ("shutdown_timeout", 0, 86_400),
    ],
)
def test_numbers_have_bounds(name: str, least: float, most: float | None) -> None:
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


@pytest.mark.parametrize(
    "name", ["pong_timeout", "dedupe_window", "domain", "ack", "pools", "auto_reconnect"]
)
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


def test_reconnect_delays_belong_together() -> None:
    assert SessionConfig(reconnect_delay=5, max_reconnect_delay=5).max_reconnect_delay == 5
    assert refusal(reconnect_delay=5, max_reconnect_delay=4).startswith(
        "max_reconnect_delay: 4 is not allowed"
    )


def test_ack_by_member_or_value() -> None:
    assert SessionConfig(ack=Ack.ON_STORED).ack is Ack.ON_STORED
    assert SessionConfig().evolve(ack="On_Receipt").ack is Ack.ON_RECEIPT
    assert "'on_success'" in refusal(ack="never")
    assert refusal(ack=1).startswith("ack: 1 ")


def test_pools_from_numbers_dicts_and_configs() -> None:
    pools = SessionConfig(
        pools={"a": 3, "b": {"capacity": 5}, "c": PoolConfig(concurrency=1, capacity=2)}
    ).pools
    assert pools["a"] == PoolConfig(concurrency=3, capacity=1000)
    assert pools["b"] == PoolConfig(concurrency=64, capacity=5)
    assert pools["c"] == PoolConfig(concurrency=1, capacity=2)


@pytest.mark.parametrize(
    ("pools", "told"),
    [
        ({"default": 3}, "the pool 'default' is set by concurrency and queue_capacity"),
        (
            {"llm": 0},
            "pools['llm']: concurrency: 0 is not allowed; it must be a whole number from 1 to 10000",
        ),
        ({"llm": True}, "pools['llm']: concurrency: True"),
        ({"llm": None}, "pools['llm']: concurrency: None"),
        ({"llm": {"capacity": 0}}, "pools['llm']: capacity: 0"),
        (
            {"llm": {"concurency": 3}},
            "pools['llm']: 'concurency' is no setting; the nearest is 'concurrency'",
        ),
        ({"": 3}, "a mapping of names to pools"),
        ({3: 3}, "a mapping of names to pools"),
        (["llm"], "pools: ['llm'] is not allowed"),
    ],
)
def test_wrong_pools_are_refused(pools: Any, told: str) -> None:
    assert told in refusal(pools=pools)


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


def test_note_14_no_secret_in_a_repr() -> None:
    config = SessionConfig(
        app_id="cli_shown",
        app_secret=SECRET,
        client_assertion=SECRET,
        proxy=f"socks5://user:{SECRET}@proxy:1080",
        headers={"Authorization": SECRET},
    )
    for text in (repr(config), str(config), f"{config}"):
        assert SECRET not in text
        assert "cli_shown" in text
        assert "socks5://***@proxy:1080" in text
        assert "Authorization" in text


def test_empty_and_odd_texts_are_refused() -> None:
    for name in ("app_id", "app_secret", "user_agent", "client_assertion"):
        for value in ("", " ", 5):
            assert refusal(**{name: value}).startswith(f"{name}: ")
    assert refusal(user_agent="bot\r\nX-Evil: 1").startswith("user_agent: ")
    assert SessionConfig(user_agent="my bot/1.0").user_agent == "my bot/1.0"


def test_objects() -> None:
    import httpx

    async def dial(host: str, port: int) -> Any: ...

    context = ssl.create_default_context()
    transport = httpx.MockTransport(lambda request: httpx.Response(200))
    config = SessionConfig(
        ssl_context=context, dial=dial, http_transport=transport, client_assertion=lambda: "fresh"
    )
    assert config.ssl_context is context
    assert config.dial is dial
    assert config.http_transport is transport
    assert callable(config.client_assertion)
    assert config.client_assertion() == "fresh"
    for name in ("ssl_context", "dial", "http_transport"):
        assert refusal(**{name: 5}).startswith(f"{name}: 5 is not allowed")


def test_evolve_changes_a_copy() -> None:
    config = SessionConfig(app_id="cli_a", headers={"X-A": "b"}, pools={"a": 1})
    changed = config.evolve(connections=2, domain="https://other/")
    assert (changed.connections, changed.domain) == (2, "https://other")
    assert (changed.app_id, changed.headers, changed.pools) == ("cli_a", config.headers, config.pools)
    assert config.connections == 1
    assert config.evolve() == config


def test_evolve_tells_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="'conections' is no setting; the nearest is 'connections'"):
        SessionConfig().evolve(conections=2)
    with pytest.raises(ConfigError, match=r"^'zzz' is no setting$"):
        SessionConfig().evolve(zzz=SECRET)
    with pytest.raises(ConfigError, match=r"^connections: 0"):
        SessionConfig().evolve(connections=0)


def test_config_error_is_a_value_error_and_a_feishu_error() -> None:
    with pytest.raises(ValueError, match="connections"):
        SessionConfig(connections=0)
    with pytest.raises(FeishuError, match="connections"):
        SessionConfig(connections=0)


@given(
    st.sampled_from([a.name for a in attrs.fields(SessionConfig)]),
    st.one_of(
        *[st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary()],
        st.lists(st.integers(), max_size=2),
        st.dictionaries(
            st.one_of(st.text(), st.integers()), st.one_of(st.text(), st.integers(), st.none()), max_size=2
        ),
    ),
)
def test_any_value_is_kept_or_refused_by_name(name: str, value: Any) -> None:
    try:
        config = SessionConfig(**{name: value})
    except ConfigError as error:
        assert str(error).startswith(name)  # noqa: PT017 - the other outcome is as good
    else:
        assert config.evolve() == config
        assert repr(config)


# --- the environment ----------------------------------------------------------------------------------------


def test_from_env_reads_every_scalar() -> None:
    config = SessionConfig.from_env(
        {
            "FEISHU_APP_ID": " cli_a\n",
            "FEISHU_APP_SECRET": SECRET,
            "FEISHU_DOMAIN": "https://open.larksuite.com/",
            "FEISHU_AUTO_RECONNECT": "Off",
            "FEISHU_MAX_RECONNECT_ATTEMPTS": "5",
            "FEISHU_RECONNECT_DELAY": "0.5",
            "FEISHU_HEARTBEAT_INTERVAL": "20",
            "FEISHU_ACK": "ON_RECEIPT",
            "FEISHU_CONNECTIONS": "2",
            "FEISHU_PROXY": "",
            "FEISHU_CLIENT_ASSERTION": "token",
            "FEISHU_POOLS": "ignored",
            "FEISHU_SSL_CONTEXT": "ignored",
            "FEISHU_SOMETHING_ELSE": "ignored",
            "CONNECTIONS": "ignored",
        }
    )
    assert config == SessionConfig(
        app_id="cli_a",
        app_secret=SECRET,
        domain=LARK_DOMAIN,
        auto_reconnect=False,
        max_reconnect_attempts=5,
        reconnect_delay=0.5,
        heartbeat_interval=20,
        ack=Ack.ON_RECEIPT,
        connections=2,
        client_assertion="token",
    )


def test_from_env_reads_os_environ_and_other_prefixes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEISHU_APP_ID", "cli_os")
    monkeypatch.setenv("BOT_APP_ID", "cli_bot")
    assert SessionConfig.from_env().app_id == "cli_os"
    assert SessionConfig.from_env(prefix="BOT_").app_id == "cli_bot"


@pytest.mark.parametrize(
    ("text", "flag"),
    [*[(t, True) for t in ("1", "true", "YES", "on")], *[(t, False) for t in ("0", "False", "no", "OFF")]],
)
def test_flags_in_the_environment(text: str, flag: bool) -> None:
    assert SessionConfig.from_env({"FEISHU_AUTO_RECONNECT": text}).auto_reconnect is flag


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("FEISHU_AUTO_RECONNECT", "perhaps"),
        ("FEISHU_CONNECTIONS", "4.5"),
        ("FEISHU_CONNECTIONS", "many"),
        ("FEISHU_PONG_TIMEOUT", "nan"),
        ("FEISHU_PONG_TIMEOUT", "inf"),
        ("FEISHU_CONNECTIONS", "9" * 5000),
    ],
)
def test_wrong_variables_are_named(variable: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SessionConfig.from_env({variable: text})
    setting = variable.removeprefix("FEISHU_").lower()
    assert str(caught.value).startswith(f"{variable}: {setting}: ")
    assert len(str(caught.value)) < 300


# --- files --------------------------------------------------------------------------------------------------

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


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def read_json(tmp_path: Path, document: object, section: str | None = None) -> SessionConfig:
    return SessionConfig.from_file(write(tmp_path / "appsettings.json", json.dumps(document)), section)


def file_refusal(path: Path, section: str | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        SessionConfig.from_file(path, section)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value).removeprefix(f"{path}: ")


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


def test_dotnet_options_without_counterpart_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"EnableLogging": True, "EmptyQueueCheckIntervalMs": 100, "Webhook": {"EncryptKey": SECRET}}
    with caplog.at_level(logging.WARNING, logger="feishu_trio"):
        assert read_json(tmp_path, {"Feishu": options}) == SessionConfig()
    (record,) = caplog.records
    assert "Feishu:EnableLogging, Feishu:EmptyQueueCheckIntervalMs, Feishu:Webhook" in record.getMessage()
    assert SECRET not in record.getMessage()


@pytest.mark.parametrize(
    ("options", "told"),
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
def test_wrong_options_are_refused(tmp_path: Path, options: object, told: str) -> None:
    assert told in file_refusal(write(tmp_path / "a.json", json.dumps(options)))


def test_toml_in_our_names(tmp_path: Path) -> None:
    text = """
        other = 1
        [feishu]
        app_id = "cli_toml"
        connections = 2
        ack = "on_stored"
        headers = { X-Team = "bots" }
        heartbeat_interval = "20"
        [feishu.pools]
        slow = 4
        [feishu.pools.fast]
        capacity = 10
    """
    assert SessionConfig.from_file(write(tmp_path / "bot.toml", text)) == SessionConfig(
        app_id="cli_toml",
        connections=2,
        ack=Ack.ON_STORED,
        headers={"X-Team": "bots"},
        heartbeat_interval=20,
        pools={"slow": 4, "fast": {"capacity": 10}},
    )


def test_settings_at_the_top_of_a_file(tmp_path: Path) -> None:
    path = write(tmp_path / "bot.TOML", '\ufeffapp_id = "cli_top"\r\nconcurrency = 3\r\n')
    assert SessionConfig.from_file(str(path)) == SessionConfig(app_id="cli_top", concurrency=3)


def test_sections(tmp_path: Path) -> None:
    document = {
        "Feishu": {"AppId": "cli_f"},
        "Production": {
            "AppId": "cli_p",
            "AppSecret": "secret",
            "Elsewhere": 1,
            "WebSocket": {"AutoReconnect": False, "app_secret": "nearer"},
        },
        "Bare": {"WebSocket": {"ReconnectDelayMs": 2000}},
    }
    expected = SessionConfig(app_id="cli_p", app_secret="nearer", auto_reconnect=False)
    assert read_json(tmp_path, document, "Production:WebSocket") == expected
    assert read_json(tmp_path, document, "production:websocket") == expected
    assert read_json(tmp_path, document, "Bare:WebSocket") == SessionConfig(reconnect_delay=2)
    assert read_json(tmp_path, document, "Bare") == SessionConfig(reconnect_delay=2)
    assert read_json(tmp_path, document) == SessionConfig(app_id="cli_f")


def test_a_section_that_is_not_there_tells_which_are(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.json", '{"Production": {"WebSocket": {}, "AppId": "x"}, "Test": {}, "Name": "y"}'
    )
    told = file_refusal(path, "Production:Socket")
    assert told == (
        "there is no section 'Production:Socket': no 'Socket' in 'Production', where there are 'WebSocket'"
    )
    assert "at its top, where there are 'Production', 'Test'" in file_refusal(path, "Staging")
    assert "there are none" in file_refusal(path, "Test:WebSocket")
    assert "no 'Name' at its top" in file_refusal(path, "Name")  # a value is no section
    assert "no '' at its top" in file_refusal(path, "")
    assert "a section is read if it is named" in file_refusal(path)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.toml", "app_id = 'x'\nconnections = = 2", "at line 2, column 15"),
        ("a.json", '{\n  // comment\n  "a": /* x\n */ ?\n}', "line 4 column 5"),
        ("a.json", '{"AppSecret": "' + SECRET, "line 1 column 15"),
        ("a.json", '{"a": 1 "b"}', "line 1 column 9"),
        ("a.json", "", "line 1 column 1"),
        ("a.json", "[1]", "a value of type list (not shown) where an object"),
        ("a.json", "[" * 100_000, "cannot be parsed"),
        ("a.toml", "a = " + "[" * 100_000, "cannot be parsed"),
        ("a.json", '{"connections": ' + "9" * 5000 + "}", "cannot be parsed"),
        ("a.yaml", "a: 1", "settings are read from .toml and .json files only"),
    ],
)
def test_broken_files_tell_where(tmp_path: Path, name: str, text: str, told: str) -> None:
    said = file_refusal(write(tmp_path / name, text))
    assert told in said
    assert SECRET not in said


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert file_refusal(tmp_path / "none.toml") == "cannot be read: No such file or directory"
    (tmp_path / "dir.json").mkdir()
    assert file_refusal(tmp_path / "dir.json") == "cannot be read: Is a directory"
    (tmp_path / "utf16.json").write_bytes('{"AppId": "ä"}'.encode("utf-16"))
    assert file_refusal(tmp_path / "utf16.json") == "not UTF-8, at byte 0"
    assert "cannot be read" in file_refusal(tmp_path / "nul\0.toml")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
    st.sampled_from(["", "// c\n", "/* , ] } */", '  // "q\n']),
)
def test_comments_and_commas_leave_values_alone(value: object, comment: str) -> None:
    from feishu_trio.config import _strict_json

    # The comment goes only where JSON allows white space: a document, then an array around it.
    document = (
        f"{comment}[{comment}{json.dumps(value, ensure_ascii=False, indent=1)}{comment},{comment}]{comment}"
    )
    strict = _strict_json(document)
    assert json.loads(strict) == [value]
    assert len(strict) == len(document)
