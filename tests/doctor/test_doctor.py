"""What the doctor finds: each complaint is provoked, at a gateway, with real certificates, proxies and ports."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import trio
import trustme

from connection.proxies import CREDENTIALS, USER, http_proxy, open_proxy, socks_proxy
from feishu_trio import (
    FEISHU_DOMAIN,
    LARK_DOMAIN,
    ConfigError,
    Event,
    Router,
    SessionConfig,
    open_feishu_session,
)
from feishu_trio.connection.tls import default_ssl_context
from feishu_trio.doctor import CHECKS, Fault, Finding, Verdict, examine
from feishu_trio.testing import Gateway, open_gateway

APPLICATION = "/open-apis/application/v6/applications/*"
DISCOVERY = "/callback/ws/endpoint"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(autouse=True)
def _no_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def settings(gateway: Gateway, **given: Any) -> SessionConfig:
    """Those of a client over a socket."""
    base = {"app_id": gateway.app_id, "app_secret": gateway.app_secret, "domain": gateway.domain}
    return SessionConfig(**base | given)


def in_memory(gateway: Gateway, **given: Any) -> SessionConfig:
    """Those of a client without a socket, for a clock that jumps."""
    return settings(gateway, dial=gateway.dial, http_transport=gateway.transport, **given)


async def examined(config: SessionConfig, timeout: float = 30) -> dict[str, Finding]:
    """All findings, by check, after what holds for any of them."""
    async with aclosing(examine(config, timeout=timeout)) as findings:
        found = [finding async for finding in findings]
    assert tuple(finding.check for finding in found) == CHECKS
    for finding in found:
        assert (finding.fault is not None) == (finding.verdict is Verdict.FAILED)
        assert bool(finding.remedy) or finding.verdict not in (Verdict.FAILED, Verdict.WARNING)
        for secret in filter(None, (config.app_secret, "access_key", "ticket=", "pass:word", "pass%3Aword")):
            assert secret not in str(finding)
    return {finding.check: finding for finding in found}


def verdicts(found: dict[str, Finding]) -> dict[str, Verdict]:
    return {check: finding.verdict for check, finding in found.items()}


def first_failure(found: dict[str, Finding]) -> Finding:
    return next(finding for finding in found.values() if finding.verdict is Verdict.FAILED)


def not_tried(found: dict[str, Finding]) -> set[str]:
    return {check for check, each in found.items() if each.found.startswith("it needs ")}


# All is well


async def test_all_is_well(feishu_gateway: Gateway) -> None:
    found = await examined(settings(feishu_gateway))
    unusual = {"tls": Verdict.NOT_TRIED, "connections": Verdict.UNKNOWN}
    assert verdicts(found) == {check: unusual.get(check, Verdict.OK) for check in CHECKS}
    (connection,) = {each for _, each in feishu_gateway.pings}
    await connection.wait_closed()
    assert connection.close_code == 1000
    assert found["dns"].details["addresses"] == ["127.0.0.1"]
    assert set(found["tcp"].details["seconds"]) == {"127.0.0.1"}
    assert found["discovery"].details["ping_interval"] == 120
    assert found["bot"].details["name"] == feishu_gateway.bot.name
    assert found["subscription"].details["subscribed_events"] == ["im.message.receive_v1"]


async def test_events_that_come_meanwhile_are_refused_and_come_again(autojump_clock: object) -> None:
    router, handled = Router(), list[str]()

    @router.on("im.message.receive_v1")
    async def take(event: Event[Any]) -> None:
        handled.append(event.id)

    async with open_gateway() as gateway, trio.open_nursery() as nursery:
        gateway.delay(0.1)
        found: dict[str, Finding] = {}

        async def look() -> None:
            found.update(await examined(in_memory(gateway)))

        nursery.start_soon(look)
        (connection,) = await gateway.wait_connected()
        push = await gateway.push("im.message.receive_v1", {"message": {"message_id": "om_1"}})
        assert (await push.answer()).code == 500
        await connection.wait_closed()
        async with open_feishu_session(config=in_memory(gateway), router=router):
            assert (await push.settled()).code == 200
    assert handled == [push.event_id]
    assert found["ping"].details["events_refused"] == 1
    assert "1 event came meanwhile, refused here, and comes again" in found["ping"].found
    assert not gateway.violations


# Settings


@pytest.mark.parametrize(
    ("given", "words"),
    [({"app_id": None}, "there is no app id"), ({"app_secret": None}, "no app secret")],
)
async def test_credentials_that_are_not_there(
    feishu_gateway: Gateway, given: dict[str, None], words: str
) -> None:
    found = await examined(settings(feishu_gateway, **given))
    failure = first_failure(found)
    assert (failure.check, failure.fault) == ("credentials", Fault.CONFIGURATION)
    assert words in failure.found
    assert "FEISHU_APP_SECRET" in failure.remedy
    assert found["tcp"].verdict is Verdict.OK
    assert not_tried(found) == set(CHECKS[CHECKS.index("discovery") :]) - {"clock"}
    assert found["clock"].verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("given", "check", "words"),
    [
        ({"app_id": "cli_1"}, "credentials", "not cli_ and 16 hexadecimal digits"),
        ({"domain": FEISHU_DOMAIN}, "credentials", "not 32 letters and digits"),
        ({"domain": "https://www.feishu.cn"}, "domain", "not where apps connect"),
        ({"domain": "http://gateway.example"}, "domain", "without TLS"),
    ],
)
async def test_settings_that_are_odd(
    feishu_gateway: Gateway, given: dict[str, Any], check: str, words: str
) -> None:
    async def nowhere(host: str, port: int) -> trio.abc.Stream:
        raise ConnectionRefusedError("nobody is asked")

    config = settings(feishu_gateway, dial=nowhere, http_transport=feishu_gateway.transport, **given)
    finding = (await examined(config))[check]
    assert finding.verdict is Verdict.WARNING
    assert words in finding.found


async def test_it_says_where_credentials_come_from(feishu_gateway: Gateway) -> None:
    env = {"FEISHU_APP_ID": "cli_1", "FEISHU_APP_SECRET": "s", "FEISHU_DOMAIN": feishu_gateway.domain}
    async with aclosing(examine(SessionConfig.from_env(env))) as findings:
        finding = await anext(findings)
    assert "cli_1 (FEISHU_APP_ID), and its secret (FEISHU_APP_SECRET)" in finding.found


async def test_a_keyless_app() -> None:
    async with open_gateway(client_assertion="an-assertion") as gateway:
        found = await examined(settings(gateway, app_secret=None, client_assertion="an-assertion"))
        assert found["token"].verdict is found["handshake"].verdict is Verdict.OK
        assert "an-assertion" not in str(found)
        found = await examined(settings(gateway, app_secret=None, client_assertion="another-one"))
        assert first_failure(found).check == "discovery"
        assert found["token"].fault is Fault.REFUSED
        assert "another-one" not in str(found)


async def test_a_timeout_that_is_none() -> None:
    with pytest.raises(ConfigError, match="timeout: -1 is not allowed"):
        await examined(SessionConfig(), timeout=-1)


# The network


async def test_a_name_that_does_not_resolve(feishu_gateway: Gateway) -> None:
    found = await examined(settings(feishu_gateway, domain="https://nowhere.invalid"))
    failure = first_failure(found)
    assert (failure.check, failure.fault) == ("dns", Fault.UNREACHABLE)
    assert "nowhere.invalid has no address" in failure.found
    assert not_tried(found) == set(CHECKS[CHECKS.index("tcp") :])


async def test_a_closed_port(feishu_gateway: Gateway) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # nobody listens
        port = unused.getsockname()[1]
        found = await examined(settings(feishu_gateway, domain=f"http://127.0.0.1:{port}"))
    failure = first_failure(found)
    assert (failure.check, failure.fault) == ("tcp", Fault.UNREACHABLE)
    assert "Connection refused" in failure.found
    assert f"something listens on port {port}" in failure.remedy


@asynccontextmanager
async def tls_gateway(
    authority: trustme.CA, name: str = "127.0.0.1", **given: Any
) -> AsyncGenerator[Gateway, None]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name, organization_name="The Server Inc", **given).configure_cert(context)
    async with open_gateway(ssl_context=context) as gateway:
        yield gateway


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def test_a_certificate_that_is_trusted(authority: trustme.CA) -> None:
    async with tls_gateway(authority) as gateway:
        found = await examined(settings(gateway, ssl_context=trusting(authority)))
    assert found["tls"].verdict is Verdict.OK
    assert found["tls"].found.startswith("TLSv1.3 in ")
    assert found["tls"].details["issuer"].startswith("trustme")
    assert datetime.fromisoformat(found["tls"].details["ends"]) > datetime.now(UTC)
    assert found["subscription"].verdict is Verdict.OK


async def test_a_certificate_that_ends_soon(authority: trustme.CA) -> None:
    soon = datetime.now(UTC) + timedelta(days=2)
    async with tls_gateway(authority, not_after=soon) as gateway:
        found = await examined(settings(gateway, ssl_context=trusting(authority)))
    assert found["tls"].verdict is Verdict.WARNING
    assert f"until {soon:%Y-%m-%d}" in found["tls"].found
    assert "renewed" in found["tls"].remedy


@pytest.mark.parametrize(
    ("name", "certificate", "trusted", "words", "remedy"),
    [
        ("127.0.0.1", {}, False, "it is for The Server Inc", "an authority of your own, have SSL_CERT_FILE"),
        ("elsewhere.example", {}, True, "IP address mismatch", "a name that the certificate is for"),
        (
            "127.0.0.1",
            {"not_after": datetime(2020, 1, 2, tzinfo=UTC)},
            True,
            "until 2020-01-02",
            "check this machine's clock",
        ),
    ],
)
async def test_a_certificate_that_is_not_trusted(
    authority: trustme.CA, name: str, certificate: dict[str, Any], trusted: bool, words: str, remedy: str
) -> None:
    async with tls_gateway(authority, name, **certificate) as gateway:
        context = trusting(authority) if trusted else None
        found = await examined(settings(gateway, ssl_context=context))
        assert not gateway.requests, "nothing may be said to whoever is not trusted"
    failure = first_failure(found)
    assert (failure.check, failure.fault) == ("tls", Fault.UNREACHABLE)
    assert words in failure.found
    assert "by trustme" in failure.found
    assert remedy in failure.remedy
    assert not_tried(found) == set(CHECKS[CHECKS.index("discovery") :])


async def test_somebody_on_the_way_opens_what_is_encrypted(authority: trustme.CA) -> None:
    async with tls_gateway(authority, "open.feishu.cn") as gateway:

        async def dial(host: str, port: int) -> trio.abc.Stream:
            return await trio.open_tcp_stream("127.0.0.1", int(gateway.domain.rpartition(":")[2]))

        found = await examined(settings(gateway, domain=FEISHU_DOMAIN, dial=dial))
    assert first_failure(found).check == "tls"
    assert "opens what is encrypted" in found["tls"].remedy
    assert "SSL_CERT_FILE" in found["tls"].remedy


async def test_authorities_that_cannot_be_read(
    feishu_gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")
    default_ssl_context.cache_clear()
    domain = feishu_gateway.domain.replace("http:", "https:")
    failure = first_failure(await examined(settings(feishu_gateway, domain=domain)))
    assert (failure.check, failure.fault) == ("tls", Fault.CONFIGURATION)
    assert failure.found.startswith("SSL_CERT_FILE: '/nowhere.pem' cannot be used: No such file")


async def test_a_port_that_speaks_no_tls(feishu_gateway: Gateway) -> None:
    domain = feishu_gateway.domain.replace("http:", "https:")
    failure = first_failure(await examined(settings(feishu_gateway, domain=domain)))
    assert (failure.check, failure.fault) == ("tls", Fault.UNREACHABLE)
    assert "speaks TLS" in failure.remedy


# Proxies


async def test_a_proxy_that_gives_a_way(feishu_gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_proxy(http_proxy, credentials=True) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://{CREDENTIALS}{proxy.address}")
        found = await examined(settings(feishu_gateway))
        assert found["proxy"].found.startswith(f"http://{proxy.address}, by HTTP_PROXY; gives a way to 127.")
        assert found["dns"].found == found["tcp"].found == "the proxy sees to it"
        assert found["token"].verdict is found["ping"].verdict is Verdict.OK
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        asked = len(proxy.asked)
        found = await examined(settings(feishu_gateway))
        assert found["proxy"].found == "none: NO_PROXY excludes 127.0.0.1 from HTTP_PROXY"
        assert found["tcp"].verdict is Verdict.OK
        assert len(proxy.asked) == asked


@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_a_proxy_that_refuses(feishu_gateway: Gateway, scheme: str) -> None:
    serve = http_proxy if scheme == "http" else socks_proxy
    async with open_proxy(serve, credentials=True) as proxy:
        url = f"{scheme}://{USER}:pass%3Aword%40wrong@{proxy.address}"
        found = await examined(settings(feishu_gateway, proxy=url))
    failure = first_failure(found)
    assert (failure.check, failure.fault) == ("proxy", Fault.UNREACHABLE)
    assert "check the user and password in its URL; it is set by the setting proxy" in failure.found
    assert not_tried(found) == set(CHECKS[CHECKS.index("dns") :])


async def test_a_proxy_that_is_not_there(feishu_gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", f"http://{CREDENTIALS}127.0.0.1:1")
    failure = first_failure(await examined(settings(feishu_gateway)))
    assert (failure.check, failure.fault) == ("proxy", Fault.UNREACHABLE)
    assert failure.found.startswith("the proxy http://127.0.0.1:1 gave no way to 127.0.0.1:")
    assert failure.found.endswith("Connection refused; it is set by ALL_PROXY")
    monkeypatch.setenv("HTTPS_PROXY", "ftp://proxy")
    failure = first_failure(await examined(settings(feishu_gateway)))
    assert (failure.check, failure.fault) == ("proxy", Fault.CONFIGURATION)


# What Feishu answers


async def tried(refuse: Callable[[Gateway], object], **given: Any) -> dict[str, Finding]:
    """What is found at a gateway in memory that refuses something."""
    async with open_gateway() as gateway:
        refuse(gateway)
        return await examined(in_memory(gateway, **given))


@pytest.mark.parametrize(
    ("code", "fault", "remedy"),
    [
        (514, Fault.REFUSED, "check the app_id and app_secret"),
        (1000040345, Fault.REFUSED, "check the app_id and app_secret"),
        (1000040344, Fault.REFUSED, "give the app_id and app_secret"),
        (403, Fault.REFUSED, "only self-built apps may"),
        (1000040350, Fault.REFUSED, "has its 50 connections already"),
        (1000040351, Fault.REFUSED, f"domain is {FEISHU_DOMAIN} or {LARK_DOMAIN}"),
        (12345, Fault.REFUSED, "must belong together"),
        (1, Fault.UNREACHABLE, "try again in a while"),
    ],
)
async def test_discovery_is_refused(autojump_clock: object, code: int, fault: Fault, remedy: str) -> None:
    found = await tried(lambda gateway: gateway.refuse_discovery(code, "why not"))
    failure = first_failure(found)
    assert (failure.check, failure.fault, failure.details["code"]) == ("discovery", fault, code)
    assert f"code {code} (why not)" in failure.found
    assert remedy in failure.remedy
    assert remedy not in failure.found
    assert {"handshake", "ping", "connections"} <= not_tried(found)
    # A token helps to tell what is wrong, unless the app is elsewhere.
    assert found["token"].verdict is (Verdict.NOT_TRIED if code == 1000040351 else Verdict.OK)


@pytest.mark.parametrize(("domain", "other"), [(FEISHU_DOMAIN, LARK_DOMAIN), (LARK_DOMAIN, FEISHU_DOMAIN)])
async def test_the_other_domain_is_named(authority: trustme.CA, domain: str, other: str) -> None:
    async with tls_gateway(authority, domain.removeprefix("https://")) as gateway:
        gateway.refuse_discovery(1000040351, "Incorrect domain name")

        async def dial(host: str, port: int) -> trio.abc.Stream:
            return await trio.open_tcp_stream("127.0.0.1", int(gateway.domain.rpartition(":")[2]))

        found = await examined(
            settings(
                gateway,
                domain=domain,
                dial=dial,
                http_transport=gateway.transport,
                ssl_context=trusting(authority),
            )
        )
    assert first_failure(found).check == "discovery"
    assert f"set FEISHU_DOMAIN={other}" in found["discovery"].remedy
    assert found["token"].found == "it needs domain"
    assert {"bot", "subscription"} <= not_tried(found)


@pytest.mark.parametrize("status", [502, 404])
async def test_an_answer_that_is_not_feishu_s(autojump_clock: object, status: int) -> None:
    found = await tried(lambda gateway: gateway.respond(DISCOVERY, b"<html>", status=status))
    failure = first_failure(found)
    assert (failure.check, failure.fault) == ("discovery", Fault.UNREACHABLE)
    assert f"HTTP status {status}" in failure.found


async def test_a_secret_that_is_wrong(feishu_gateway: Gateway) -> None:
    found = await examined(settings(feishu_gateway, app_secret="a-wrong-secret"))
    assert (found["discovery"].fault, found["token"].fault) == (Fault.REFUSED, Fault.REFUSED)
    assert "app secret invalid, code 10014" in found["token"].found
    assert "A secret that was reset is void" in found["token"].remedy
    assert {"handshake", "ping", "bot", "subscription"} <= not_tried(found)


@pytest.mark.parametrize(
    ("refuse", "fault", "words", "remedy"),
    [
        (
            lambda gateway: gateway.refuse_handshake(403),
            Fault.REFUSED,
            "code 403",
            "only self-built apps may",
        ),
        (
            lambda gateway: gateway.refuse_handshake(514, 1000040350),
            Fault.REFUSED,
            "code 514",
            "50 connections already",
        ),
        (lambda gateway: gateway.refuse_handshake(514, 0), Fault.UNREACHABLE, "code 514", "app_secret"),
        (
            lambda gateway: gateway.refuse_handshake(None, status=502),
            Fault.UNREACHABLE,
            "HTTP status 502",
            "as a WebSocket",
        ),
        (lambda gateway: gateway.hang_handshake(), Fault.UNREACHABLE, "within 10 s", "have the firewall"),
    ],
)
async def test_the_handshake_is_refused(
    autojump_clock: object,
    refuse: Callable[[Gateway], object],
    fault: Fault,
    words: str,
    remedy: str,
) -> None:
    found = await tried(refuse)
    failure = first_failure(found)
    assert (failure.check, failure.fault) == ("handshake", fault)
    assert words in failure.found
    assert remedy in failure.remedy
    assert not_tried(found) == {"ping", "connections"}
    assert found["bot"].verdict is Verdict.OK


async def test_a_pong_that_does_not_come(autojump_clock: object) -> None:
    found = await tried(lambda gateway: gateway.lose_pongs(1))
    assert found["handshake"].verdict is Verdict.OK
    assert (first_failure(found).check, first_failure(found).fault) == ("ping", Fault.UNREACHABLE)
    assert found["ping"].found == "no pong came within 10 s"


async def test_a_server_that_falls_silent_within_a_short_time(autojump_clock: object) -> None:
    """Waiting for its part of the close handshake takes nothing away from what was found."""
    async with open_gateway() as gateway, trio.open_nursery() as nursery:
        gateway.lose_pongs(1)
        found: dict[str, Finding] = {}

        async def look() -> None:
            found.update(await examined(in_memory(gateway), timeout=3))

        nursery.start_soon(look)
        gateway.freeze(await gateway.wait_ping())
    assert found["handshake"].verdict is Verdict.OK
    assert found["ping"].found.startswith("no pong came within 1.3")
    assert found["bot"].verdict is Verdict.OK


@pytest.mark.parametrize("code", [None, 1006, 1011, "noise"])
async def test_a_connection_that_ends_before_its_pong(autojump_clock: object, code: int | str | None) -> None:
    async with open_gateway() as gateway, trio.open_nursery() as nursery:
        gateway.lose_pongs(1)
        found: dict[str, Finding] = {}

        async def look() -> None:
            found.update(await examined(in_memory(gateway)))

        nursery.start_soon(look)
        connection = await gateway.wait_ping()
        if isinstance(code, str):
            connection.line.send(b"\xff" * 20)
        else:
            await gateway.drop(code)
    assert found["handshake"].verdict is Verdict.OK
    assert found["ping"].fault is Fault.UNREACHABLE
    assert "the connection ended" in found["ping"].found
    assert code != 1011 or "closed by server with code 1011" in found["ping"].found


async def test_a_connection_that_breaks_as_the_ping_is_written(autojump_clock: object) -> None:
    async with open_gateway() as gateway:

        async def dial(host: str, port: int) -> trio.abc.Stream:
            return Broken(await gateway.dial(host, port))

        found = await examined(settings(gateway, dial=dial, http_transport=gateway.transport))
    assert found["handshake"].verdict is Verdict.OK
    assert found["ping"].found == "the connection ended: reset (it broke)"


class Broken(trio.abc.Stream):
    """A stream that breaks when it is written to for the second time."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._writes = 0

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self._writes += 1
        if self._writes > 1:
            raise trio.BrokenResourceError("it broke")
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._stream.aclose()


@pytest.mark.parametrize(("seconds", "text"), [(90, "90 s behind"), (-3600, "3600 s ahead of")])
async def test_a_clock_that_is_off(autojump_clock: object, seconds: float, text: str) -> None:
    found = await tried(lambda gateway: gateway.shift_clock(seconds))
    assert found["clock"].verdict is Verdict.WARNING
    assert f"this machine's clock is {text} the server's" in found["clock"].found
    assert "max_age" in found["clock"].remedy
    assert found["clock"].details["behind"] == pytest.approx(seconds, abs=2)
    assert (await tried(lambda gateway: gateway.shift_clock(2)))["clock"].verdict is Verdict.OK


@pytest.mark.parametrize("date", ["noon", f"Mon, 01 Jan {10**20} 00:00:00 GMT"])
async def test_a_date_that_is_none(autojump_clock: object, date: str) -> None:
    async with open_gateway() as gateway:
        found = await examined(
            settings(gateway, dial=gateway.dial, http_transport=Dated(gateway.transport, date))
        )
    assert (found["clock"].verdict, found["clock"].fault) == (Verdict.UNKNOWN, None)
    assert found["bot"].verdict is Verdict.OK


class Dated(httpx.AsyncBaseTransport):
    """A transport whose answers have this date."""

    def __init__(self, transport: httpx.AsyncBaseTransport, date: str) -> None:
        self._transport = transport
        self._date = date

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await self._transport.handle_async_request(request)
        answer.headers["Date"] = self._date
        return answer


@pytest.mark.parametrize(
    ("body", "status"),
    [({"code": 11205, "msg": "app do not have bot"}, 400), ({"code": 0, "bot": {"app_name": "Bot"}}, 200)],
)
async def test_a_bot_that_is_not_switched_on(
    autojump_clock: object, body: dict[str, object], status: int
) -> None:
    found = await tried(lambda gateway: gateway.respond("*/bot/v3/info", body, status=status))
    assert (first_failure(found).check, first_failure(found).fault) == ("bot", Fault.REFUSED)
    assert "switch on the bot" in found["bot"].remedy
    assert found["subscription"].verdict is Verdict.OK


@pytest.mark.parametrize(
    ("answer", "verdict", "remedy"),
    [
        ({"subscription_type": "webhook", "subscribed_events": ["x"]}, Verdict.FAILED, "使用长连接接收事件"),
        ({"subscription_type": "websocket", "subscribed_events": []}, Verdict.WARNING, "add events"),
        (None, Verdict.UNKNOWN, "look yourself"),
    ],
)
async def test_the_subscription(
    autojump_clock: object, answer: object, verdict: Verdict, remedy: str
) -> None:
    body = {"code": 0, "data": {"app": {"event": answer}}}
    finding = (await tried(lambda gateway: gateway.respond(APPLICATION, body)))["subscription"]
    assert finding.verdict is verdict
    assert remedy in finding.remedy


async def test_an_app_that_may_not_read_its_settings(autojump_clock: object) -> None:
    scope = "application:application:self_manage"
    found = await tried(lambda gateway: gateway.refuse_calls(APPLICATION, 99991672, scopes=[scope]))
    assert found["subscription"].verdict is Verdict.UNKNOWN
    assert f"auth?q={scope}" in found["subscription"].remedy


# Time


async def test_a_step_that_takes_too_long_does_not_hold_up_what_does_not_need_it(
    autojump_clock: object,
) -> None:
    began = trio.current_time()
    found = await tried(lambda gateway: gateway.hang_discovery(), connect_timeout=4)
    assert trio.current_time() - began == pytest.approx(4)
    assert (first_failure(found).check, first_failure(found).fault) == ("discovery", Fault.UNREACHABLE)
    assert found["bot"].verdict is Verdict.OK


async def test_all_of_it_ends_within_its_time(autojump_clock: object) -> None:
    began = trio.current_time()
    async with open_gateway() as gateway:
        gateway.hang_discovery()
        gateway.hang_calls("/open-apis/auth/v3/tenant_access_token/internal")
        found = await examined(in_memory(gateway), timeout=13)
    assert trio.current_time() - began == pytest.approx(13)
    assert "10 s" in found["discovery"].found
    assert found["token"].found == "it was not done when the 13 s for all checks were over"
    assert found["clock"].verdict is Verdict.NOT_TRIED
    assert {"handshake", "bot"} <= not_tried(found)


async def test_cancelling_leaves_nothing_open(feishu_gateway: Gateway) -> None:
    feishu_gateway.lose_pongs(1)
    with trio.move_on_after(30) as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(examined, settings(feishu_gateway))
            connection = await feishu_gateway.wait_ping()
            nursery.cancel_scope.cancel()
    assert not scope.cancelled_caught
    with trio.fail_after(5):
        await connection.wait_closed()
