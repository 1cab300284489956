from __future__ import annotations

import inspect
import pydoc
import ssl
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feishu_trio.config import FEISHU_DOMAIN, LARK_DOMAIN, Ack, PoolConfig, SessionConfig
from feishu_trio.config.rules import rules_of
from feishu_trio.config.settings import AllSettings, SessionSettings
from feishu_trio.errors import ConfigError, FeishuError

from .refusals import SECRET, refusal


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
    assert (config.reconnect_backoff, config.handler_mode) == ("exponential", "all")
    assert config.ack is None
    assert config.ack_deadline == 2.5
    assert (config.dedupe_window, config.dedupe_bytes) == (8 * 3600, 64 << 20)
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


def test_reconnect_delays_belong_together() -> None:
    assert SessionConfig(reconnect_delay=5, max_reconnect_delay=5).max_reconnect_delay == 5
    assert refusal(reconnect_delay=5, max_reconnect_delay=4).startswith(
        "max_reconnect_delay: 4 is not allowed"
    )


def test_a_fixed_delay_has_no_longest() -> None:
    config = SessionConfig(reconnect_delay=5, max_reconnect_delay=4, reconnect_backoff="fixed")
    assert config.reconnect_delay == 5


@pytest.mark.parametrize("mode", ["All", "both", 1, None, True])
def test_handler_modes_are_three(mode: object) -> None:
    assert refusal(handler_mode=mode) == (
        f"handler_mode: {mode!r} is not allowed; it must be 'all', 'single' or 'sequential'"
    )


def test_names_that_are_none_are_refused_with_the_nearest() -> None:
    assert refusal(conections=2) == "'conections' is no setting; the nearest is 'connections'"
    assert refusal(source="x") == "'source' is no setting"
    with pytest.raises(ConfigError, match="the nearest is 'capacity'"):
        PoolConfig(capacty=2)  # type: ignore[call-arg]


@pytest.mark.parametrize("settings", [SessionConfig, PoolConfig])
def test_help_shows_the_meaning_range_and_default_of_each_setting(settings: type) -> None:
    lines = " ".join(pydoc.plain(pydoc.render_doc(settings)).split())
    for a in attrs.fields(settings):
        if a.init:
            default = getattr(settings(), a.name)
            start = f"| {a.name} = {dict(default) if isinstance(default, Mapping) else default!r} | "
            assert start in lines
            entry = lines.split(start)[1].split(" = ")[0].replace("| ", "")
            assert entry.startswith(a.metadata["about"]), entry
            assert f"Allowed: {a.validator.allowed}" in entry.replace("None, or ", "")


def test_the_signature_stays_that_of_the_settings() -> None:
    assert list(inspect.signature(SessionConfig).parameters) == list(rules_of(SessionConfig))


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
    ("pools", "words"),
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
def test_wrong_pools_are_refused(pools: Any, words: str) -> None:
    assert words in refusal(pools=pools)


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
    servers = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    assert "must be None, or an ssl.SSLContext for clients" in refusal(ssl_context=servers)
    for name in ("ssl_context", "dial", "http_transport"):
        assert refusal(**{name: 5}).startswith(f"{name}: 5 is not allowed")


def test_evolve_changes_a_copy() -> None:
    config = SessionConfig(app_id="cli_a", headers={"X-A": "b"}, pools={"a": 1})
    changed = config.evolve(connections=2, domain="https://other/")
    assert (changed.connections, changed.domain) == (2, "https://other")
    assert (changed.app_id, changed.headers, changed.pools) == ("cli_a", config.headers, config.pools)
    assert config.connections == 1
    assert config.evolve() == config


def test_what_is_given_by_name_has_the_fields_and_their_types() -> None:
    kinds = {name: kind.__forward_arg__ for name, kind in AllSettings.__annotations__.items()}
    expected = dict(SessionConfig.__init__.__annotations__)
    del expected["return"]
    assert kinds == expected
    assert SessionSettings.__annotations__.keys() == expected.keys() - {"app_id", "app_secret"}


def test_evolve_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="'conections' is no setting; the nearest is 'connections'"):
        SessionConfig().evolve(conections=2)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match=r"^'zzz' is no setting$"):
        SessionConfig().evolve(zzz=SECRET)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match=r"^connections: 0"):
        SessionConfig().evolve(connections=0)


def test_config_error_is_a_value_error_and_a_feishu_error() -> None:
    with pytest.raises(ValueError, match="connections"):
        SessionConfig(connections=0)
    with pytest.raises(FeishuError, match="connections"):
        SessionConfig(connections=0)


@given(
    st.sampled_from([a.name for a in attrs.fields(SessionConfig) if a.init]),
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


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: SessionConfig(SECRET),  # type: ignore[call-arg]
            "SessionConfig takes its settings by name, as SessionConfig(app_id=…)",
        ),
        (
            lambda: PoolConfig(5),  # type: ignore[call-arg]
            "PoolConfig takes its settings by name, as PoolConfig(concurrency=…)",
        ),
    ],
)
def test_settings_are_given_by_name(make: Callable[[], object], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert str(caught.value) == words
