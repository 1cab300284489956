from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feishu_trio import open_feishu_session
from feishu_trio.config import LARK_DOMAIN, Ack, SessionConfig
from feishu_trio.config.sources import strict_json
from feishu_trio.errors import ConfigError

from .refusals import SECRET, file_refusal, read_json, write

# The environment


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
            "FEISHU_HANDLER_MODE": "Sequential",
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
        handler_mode="sequential",
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


# Files


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
    bare = SessionConfig(app_id="cli_f", reconnect_delay=2, reconnect_backoff="fixed")
    assert read_json(tmp_path, document, "Bare:WebSocket") == bare
    assert read_json(tmp_path, document, "Bare") == bare
    assert read_json(tmp_path, document) == SessionConfig(app_id="cli_f")


def test_a_section_that_is_not_there_tells_which_are(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.json", '{"Production": {"WebSocket": {}, "AppId": "x"}, "Test": {}, "Name": "y"}'
    )
    words = file_refusal(path, "Production:Socket")
    assert words == (
        "there is no section 'Production:Socket': no 'Socket' in 'Production', where there are 'WebSocket'"
    )
    assert "at its top, where there are 'Production', 'Test'" in file_refusal(path, "Staging")
    assert "there are none" in file_refusal(path, "Test:WebSocket")
    assert "no 'Name' at its top" in file_refusal(path, "Name")  # a value is no section
    assert "no '' at its top" in file_refusal(path, "")


def test_manual_a_section_finds_the_credentials_under_feishu(tmp_path: Path) -> None:
    feishu = {"AppId": "cli_f", "AppSecret": SECRET, "WebSocket": {"HeartbeatIntervalMs": 30000}}
    production = {"WebSocket": {"HeartbeatIntervalMs": 25000}}
    document: dict[str, Any] = {"feishu": feishu, "Production": production}
    expected = SessionConfig(app_id="cli_f", app_secret=SECRET, heartbeat_interval=25)
    assert read_json(tmp_path, document, "Production:WebSocket") == expected
    assert read_json(tmp_path, document, "Production") == expected
    document["Production"] = production | {"AppSecret": "nearer"}
    assert read_json(tmp_path, document, "Production:WebSocket").app_secret == "nearer"
    document["Production"] = production | {"AppId": None, "AppSecret": None}
    assert read_json(tmp_path, document, "Production:WebSocket") == expected


def test_the_secret_of_one_app_is_not_taken_for_another(tmp_path: Path) -> None:
    document = {"Feishu": {"AppId": "cli_f", "AppSecret": SECRET}, "Production": {"AppId": "cli_p"}}
    assert read_json(tmp_path, document, "Production") == SessionConfig(app_id="cli_p")


def test_wrong_credentials_are_named_where_they_stand(tmp_path: Path) -> None:
    text = '{"Feishu": {"AppId": 5}, "Production": {"WebSocket": {}}}'
    assert file_refusal(write(tmp_path / "a.json", text), "Production:WebSocket").startswith(
        "Feishu:AppId: app_id: 5"
    )


async def test_missing_credentials_are_missed_where_they_were_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FEISHU_APP_ID", raising=False)
    config = read_json(
        tmp_path, {"Production": {"WebSocket": {"AutoReconnect": True}}}, "Production:WebSocket"
    )
    with pytest.raises(ConfigError) as caught:
        async with open_feishu_session(config=config, connections=2):
            pass
    assert str(caught.value) == (
        f"there is no app_id in {tmp_path / 'appsettings.json'}, section 'Production:WebSocket': "
        "give it to open_feishu_session, or set FEISHU_APP_ID"
    )


def test_foreign_tables_are_not_looked_at(tmp_path: Path) -> None:
    foreign = {"Logging": {"LogLevel": {"Default": "Information"}}, "ConnectionStrings": {"AppId": "x"}}
    document = foreign | {
        "AllowedHosts": "*",
        "AppId": "cli_a",
        "WebSocket": {"ReceiveBufferSize": 4096} | foreign,
    }
    expected = SessionConfig(app_id="cli_a", receive_buffer_size=4096)
    assert read_json(tmp_path, document) == expected
    assert read_json(tmp_path, {"Feishu": document}) == expected
    assert read_json(tmp_path, {"Production": document}, "Production:WebSocket") == expected


def test_a_table_that_is_nearly_ours_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", '{"Feishu": {"WebSoket": {"AutoReconnect": false}}}')
    assert file_refusal(path) == "Feishu:WebSoket is no table of settings; the nearest is 'WebSocket'"


@pytest.mark.parametrize("document", [{"Feishu": None}, {"WebSocket": None}, {"feishu": {"WebSocket": None}}])
def test_a_table_that_is_null_is_left_out(tmp_path: Path, document: dict[str, Any]) -> None:
    assert read_json(tmp_path, document) == SessionConfig()
    assert read_json(tmp_path, document | {"Logging": {}, "Production": {"AppId": "a"}}, "Production") == (
        SessionConfig(app_id="a")
    )


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"Feishu": "S3cr3t"}', "Feishu"),
        ('{"Feishu": {"WebSocket": "S3cr3t"}}', "Feishu:WebSocket"),
        ('{"WebSocket": {"EventDeduplication": true}}', "WebSocket:EventDeduplication"),
    ],
)
def test_what_is_no_table_where_one_belongs_is_named(tmp_path: Path, text: str, place: str) -> None:
    message = file_refusal(write(tmp_path / "a.json", text))
    assert message.startswith(f"{place}: a value of type ")
    assert message.endswith("is not allowed; it must be a table of settings")


def test_a_file_of_foreign_tables_alone_asks_for_a_section(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", '{"Production": {"WebSocket": {}}, "Test": {}}')
    assert file_refusal(path) == (
        "there are no settings at its top, only the tables 'Production', 'Test'; "
        "one is read if it is named: section=..."
    )
    assert read_json(tmp_path, {}) == SessionConfig()


# The environment over a file


def test_manual_the_environment_is_laid_over_a_file(tmp_path: Path) -> None:
    settings = {"HeartbeatIntervalMs": 30000, "ReconnectDelayMs": 5000, "MaxReconnectDelayMs": 6000}
    base = read_json(tmp_path, {"Feishu": {"AppId": "cli_f", "AppSecret": SECRET, "WebSocket": settings}})
    environ = {
        "Feishu__WebSocket__HeartbeatIntervalMs": "20000",
        "FEISHU_APP_ID": "cli_env",
        "FEISHU_RECONNECT_DELAY": "8",
        "FEISHU_MAX_RECONNECT_DELAY": "9",
    }
    assert SessionConfig.from_env(environ, base=base) == SessionConfig(
        app_id="cli_env",
        app_secret=SECRET,
        heartbeat_interval=20,
        reconnect_delay=8,
        max_reconnect_delay=9,
    )
    assert SessionConfig.from_env({}, base=base) == base


def test_a_fixed_delay_of_a_file_stays_fixed_until_it_may_grow(tmp_path: Path) -> None:
    base = read_json(tmp_path, {"ReconnectDelayMs": 5000})
    longer = SessionConfig.from_env({"FEISHU_RECONNECT_DELAY": "9"}, base=base)
    assert (longer.reconnect_delay, longer.reconnect_backoff) == (9, "fixed")
    growing = SessionConfig.from_env({"Feishu__WebSocket__MaxReconnectDelayMs": "60000"}, base=base)
    assert (growing.max_reconnect_delay, growing.reconnect_backoff) == (60, "exponential")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.toml", "app_id = 'x'\nconnections = = 2", "at line 2, column 15"),
        ("a.json", '{\n  // comment\n  "a": /* x\n */ ?\n}', "line 4 column 5"),
        ("a.json", '{"AppSecret": "' + SECRET, "line 1 column 15"),
        ("a.json", '{"a": 1 "b"}', "line 1 column 9"),
        ("a.json", "", "line 1 column 1"),
        ("a.json", "[1]", "a value of type list (not shown) where an object"),
        ("a.json", "[" * 100_000, "cannot be parsed: Nested too deep: line 1 column 101 (char 100)"),
        (
            "a.json",
            '{"a": "]]",\n"b": [], "c":\n ' + '{"d": [' * 50_000,
            "Nested too deep: line 3 column 351 ",
        ),
        ("a.toml", "a = " + "[" * 100_000, "cannot be parsed"),
        ("a.json", '{"connections": ' + "9" * 5000 + "}", "cannot be parsed"),
        ("a.yaml", "a: 1", "settings are read from .toml and .json files only"),
    ],
)
def test_broken_files_tell_where(tmp_path: Path, name: str, text: str, words: str) -> None:
    message = file_refusal(write(tmp_path / name, text))
    assert words in message
    assert SECRET not in message


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
    # The comment goes only where JSON allows white space: a document, then an array around it.
    document = (
        f"{comment}[{comment}{json.dumps(value, ensure_ascii=False, indent=1)}{comment},{comment}]{comment}"
    )
    strict = strict_json(document)
    assert json.loads(strict) == [value]
    assert len(strict) == len(document)


def test_a_variable_that_is_nearly_a_setting_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    SessionConfig.from_env({"FEISHU_HEARTBEAT_INTERVL": "22", "FEISHU_SHELL": "x", "FEISHU_CONNECTIONS": "2"})
    (record,) = caplog.records
    assert record.getMessage() == (
        "FEISHU_HEARTBEAT_INTERVL is no setting, and is ignored; the nearest is 'heartbeat_interval'"
    )


@pytest.mark.parametrize(
    ("variable", "setting"),
    [
        ("FEISHU_HEARTBEAT", "heartbeat_interval"),
        ("FEISHU_SECRET", "app_secret"),
        ("FEISHU_TIMEOUT", "pong_timeout"),
        ("FEISHU_HANDLER", "handler_mode"),
        ("FEISHU_CONNECTION_TIMEOUT", "connect_timeout"),
    ],
)
def test_a_variable_of_some_of_a_settings_words_is_warned_of(
    caplog: pytest.LogCaptureFixture, variable: str, setting: str
) -> None:
    assert SessionConfig.from_env({variable: "20"}) == SessionConfig()
    (record,) = caplog.records
    assert record.getMessage() == f"{variable} is no setting, and is ignored; the nearest is {setting!r}"


def test_variables_of_others_are_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    settings = ["APP_ID", "APP_SECRET", "CONNECTIONS", "POOLS"]
    others = [
        "CHAT_ID",
        "WEBHOOK",
        "WEBHOOK_URL",
        "VERIFICATION_TOKEN",
        "ENCRYPT_KEY",
        "LOG_LEVEL",
        "BOT_NAME",
        "TOKEN",
    ]
    environ = {f"FEISHU_{name}": "2" for name in settings + others}
    SessionConfig.from_env(environ | {"FEISHU_DOMAIN": "https://open.feishu.cn", "FEISHU_APP_ID_TEST": "x"})
    assert not caplog.records
