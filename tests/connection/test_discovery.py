from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Awaitable, Callable, Iterable

import httpx
import pytest
import trio
import trio.testing

from feishu_trio import (
    ApiError,
    AuthenticationError,
    ConnectError,
    ConnectionLimitError,
    FeishuError,
    ForbiddenError,
    SessionConfig,
)
from feishu_trio.api import Api
from feishu_trio.connection import ClientConfig, http_client
from feishu_trio.connection.discovery import Endpoint, discover
from feishu_trio.testing import Gateway, open_gateway

from .test_http import serve

PATH = "/callback/ws/endpoint"
URL = "wss://host/ws/v2?device_id=7250&service_id=33554678&access_key=AK-SECRET&ticket=TK-SECRET"


async def ask(gateway: Gateway, **settings: object) -> Endpoint:
    given = {"app_id": gateway.app_id, "app_secret": gateway.app_secret, "domain": gateway.domain}
    async with httpx.AsyncClient(transport=gateway.transport) as http:
        return await discover(http, SessionConfig(**(given | settings)))  # type: ignore[arg-type]


async def ask_for(gateway: Gateway, data: object, **settings: object) -> Endpoint:
    """Discovery that answers with this `data`."""
    gateway.respond(PATH, {"code": 0, "msg": "", "data": data})
    return await ask(gateway, **settings)


async def test_the_answer_is_an_endpoint(feishu_gateway: Gateway) -> None:
    feishu_gateway.client_config = {"PingInterval": 7, "ReconnectInterval": 8, "ReconnectCount": 9}
    endpoint = await ask(feishu_gateway)
    host, _, port = feishu_gateway.domain.removeprefix("http://").partition(":")
    assert (endpoint.host, endpoint.port, endpoint.tls) == (host, int(port), False)
    assert endpoint.client_config == ClientConfig(7, 8, 9)
    assert endpoint.service_id == 33554678
    assert re.fullmatch(r"7\d{18}", endpoint.device_id)
    assert endpoint.resource.startswith("/ws/v2?device_id=7")
    (request,) = feishu_gateway.requests
    assert (request.method, request.path) == ("POST", PATH)
    assert request.headers["locale"] == "zh"
    assert request.json() == {"AppID": feishu_gateway.app_id, "AppSecret": feishu_gateway.app_secret}


@pytest.mark.parametrize("given", ["token", lambda: "token"])
async def test_a_keyless_app_gives_its_assertion(given: str | Callable[[], str]) -> None:
    async with open_gateway(client_assertion="token") as gateway:
        await ask(gateway, app_secret=None, client_assertion=given)
        assert gateway.requests[-1].json() == {
            "AppID": gateway.app_id,
            "AppSecret": "",
            "ClientAssertion": "token",
        }


async def test_whoever_gives_an_assertion_is_told_for_whom() -> None:
    audiences = []

    def given(audience: str) -> str:
        audiences.append(audience)
        return "token"

    async with open_gateway(client_assertion="token") as gateway:
        await ask(gateway, app_secret=None, client_assertion=given)
        assert [f"http://{each}" for each in audiences] == [gateway.domain]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (1, ConnectError),
        (1000040343, ConnectError),
        (1000040344, AuthenticationError),
        (403, ForbiddenError),
        (514, AuthenticationError),
        (1000040350, ConnectionLimitError),
        (10003, AuthenticationError),
        (10014, AuthenticationError),
        (-1, AuthenticationError),
        (1 << 70, AuthenticationError),
    ],
)
async def test_each_code_is_one_exception(
    feishu_gateway: Gateway, code: int, error: type[FeishuError]
) -> None:
    feishu_gateway.refuse_discovery(code, "they said so")
    with pytest.raises(FeishuError) as info:
        await ask(feishu_gateway)
    assert type(info.value) is error
    assert info.value.code == code
    assert str(code) in str(info.value)
    assert "they said so" in str(info.value)


async def test_a_wrong_app_or_secret_is_told_with_what_to_look_at(feishu_gateway: Gateway) -> None:
    with pytest.raises(AuthenticationError, match=r"code 10003 \(.+\): check the app_id$"):
        await ask(feishu_gateway, app_id="cli_other")
    with pytest.raises(AuthenticationError, match=r"code 10014 \(.+\): check the app_secret$"):
        await ask(feishu_gateway, app_secret="wrong")


@pytest.mark.parametrize("status", [201, 204, 301, 302, 400, 401, 403, 404, 429, 500, 502, 503])
async def test_any_other_http_status_is_worth_another_try(feishu_gateway: Gateway, status: int) -> None:
    feishu_gateway.refuse_discovery(403, status=status)
    with pytest.raises(ConnectError, match=f"HTTP status {status}"):
        await ask(feishu_gateway)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>captive portal</html>",
        b"null",
        b"[]",
        b'"code"',
        b"7",
        b"{}",
        b'{"code": null}',
        b'{"code": "0"}',
        b'{"code": true}',
        b'{"code": 0.0}',
        b'{"code": NaN}',
        b"\xff\xfe{}",
        b"[" * 100_000,
        b'{"code": ' + b"9" * 5000 + b"}",
    ],
)
async def test_a_body_that_is_not_feishus_is_worth_another_try(feishu_gateway: Gateway, body: bytes) -> None:
    feishu_gateway.respond(PATH, body)
    with pytest.raises(ConnectError, match="is the domain right") as info:
        await ask(feishu_gateway)
    assert info.value.__cause__ is None


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (None, "missing"),
        (7, "missing"),
        ("", "scheme"),
        ("/ws/v2?ticket=TK-SECRET", "scheme"),
        ("host/ws/v2?ticket=TK-SECRET", "scheme"),
        ("https://host/?ticket=TK-SECRET", "scheme"),
        ("javascript:TK-SECRET", "scheme"),
        ("wss:///ws/v2?ticket=TK-SECRET", "host"),
        ("wss://:443/?ticket=TK-SECRET", "host"),
        ("wss://a..b/?ticket=TK-SECRET", "host"),
        ("wss://" + "a" * 64 + "/?ticket=TK-SECRET", "host"),
        ("wss://host:port/?ticket=TK-SECRET", "port"),
        ("wss://host:65536/?ticket=TK-SECRET", "port"),
        ("wss://host:-1/?ticket=TK-SECRET", "port"),
        ("wss://[::1/?ticket=TK-SECRET", "cannot be used"),
        ("wss://host/ ?ticket=TK-SECRET", "characters"),
        ("wss://host/\r\nX: TK-SECRET", "characters"),
        ("wss://hóst/?ticket=TK-SECRET", "characters"),
        (URL.replace("33554678", "x"), "service_id"),
        (URL.replace("33554678", str(1 << 31)), "service_id"),
        (URL.replace("33554678", "9" * 5000), "service_id"),
    ],
)
async def test_a_url_that_cannot_be_used_is_not_shown(feishu_gateway: Gateway, url: object, why: str) -> None:
    with pytest.raises(ConnectError, match=why) as info:
        await ask_for(feishu_gateway, {"URL": url})
    assert "SECRET" not in repr([info.value, info.value.__cause__])


def chain(error: BaseException | None) -> list[str]:
    """All that an exception holds, with what it came of."""
    return (
        []
        if error is None
        else [repr((error, vars(error))), *chain(error.__cause__), *chain(error.__context__)]
    )


@pytest.mark.parametrize(
    "body",
    [
        '{"code": 0, "data": {"URL": "wss://host/?ticket=TK-SECRET"}',
        '{"code": 0, "data": {"URL": "wss://[/?ticket=TK-SECRET"}}',
        '{"code": 0, "data": {"URL": "wss://a:TK-SECRET/?ticket=TK-SECRET"}}',
        '{"code": 0, "data": {"URL": "wss://host/?service_id=x&ticket=TK-SECRET"}}',
        '{"code": 1, "msg": "busy: wss://host/?access_key=TK-SECRET&ticket=TK-SECRET"}',
    ],
)
async def test_nothing_an_error_came_of_holds_the_url(feishu_gateway: Gateway, body: str) -> None:
    feishu_gateway.respond(PATH, body.encode())
    with pytest.raises(ConnectError) as info:
        await ask(feishu_gateway)
    assert "TK-SECRET" not in "".join(chain(info.value))


@pytest.mark.parametrize("code", [1, 403, 514, 1000040350])
@pytest.mark.parametrize("before", [0, 150, 195])  # where it would be shown whole, and where cut in two
async def test_a_secret_that_the_server_repeats_is_masked(code: int, before: int) -> None:
    for secret, settings in (
        ("app-hush-hush", {"app_secret": "app-hush-hush"}),
        ("assert-hush-hush", {"app_secret": None, "client_assertion": lambda: "assert-hush-hush"}),
    ):
        async with open_gateway() as gateway:
            gateway.refuse_discovery(code, "x" * before + f" {secret} is wrong")
            with pytest.raises(FeishuError) as info:
                await ask(gateway, **settings)
            assert "hush" not in "".join(chain(info.value))
            assert secret[:5] not in str(info.value)


@pytest.mark.parametrize("data", [None, [], "x", 7, {}])
async def test_data_that_is_none_is_worth_another_try(feishu_gateway: Gateway, data: object) -> None:
    with pytest.raises(ConnectError, match="missing"):
        await ask_for(feishu_gateway, data)


async def test_plain_ws_is_for_plain_http_alone(feishu_gateway: Gateway) -> None:
    url = URL.replace("wss:", "ws:")
    assert (await ask_for(feishu_gateway, {"URL": url})).port == 80
    with pytest.raises(ConnectError, match="only 'wss' is safe"):
        await ask_for(feishu_gateway, {"URL": url}, domain="https://open.feishu.cn")


@pytest.mark.parametrize(
    ("url", "host", "port", "resource"),
    [
        ("wss://Host", "host", 443, "/"),
        ("wss://host?a=1", "host", 443, "/?a=1"),
        ("wss://[::1]:9/x", "::1", 9, "/x"),
        ("WSS://user:pw@host/x#fragment", "host", 443, "/x"),
    ],
)
async def test_urls_are_taken_apart(
    feishu_gateway: Gateway, url: str, host: str, port: int, resource: str
) -> None:
    endpoint = await ask_for(feishu_gateway, {"URL": url})
    assert (endpoint.host, endpoint.port, endpoint.resource, endpoint.tls) == (host, port, resource, True)


async def test_note_14_an_endpoint_does_not_show_its_secrets(feishu_gateway: Gateway) -> None:
    endpoint = await ask_for(feishu_gateway, {"URL": URL})
    assert "SECRET" in endpoint.resource
    assert "SECRET" not in repr(endpoint)


async def test_an_id_off_the_wire_cannot_forge_lines_of_a_log(feishu_gateway: Gateway) -> None:
    endpoint = await ask_for(feishu_gateway, {"URL": "wss://host/?device_id=1%0AERROR+forged" + "x" * 9000})
    assert "\n" not in endpoint.device_id
    assert len(endpoint.device_id) < 300


def answering(
    head: str, parts: Callable[[], Iterable[bytes]]
) -> Callable[[trio.SocketStream], Awaitable[None]]:
    async def answer(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(f"HTTP/1.1 200 OK\r\n{head}\r\n".encode())
        for part in parts():
            await stream.send_all(part)

    return answer


def endless() -> Iterable[bytes]:
    for _ in range(10_000):
        yield b" " * 65536


LARGE: dict[str, tuple[str, Callable[[], Iterable[bytes]]]] = {
    "gzip": (
        "Content-Encoding: gzip\r\nContent-Length: 100000000\r\n",
        lambda: [gzip.compress(bytes(1 << 26), 1)],
    ),
    "deflate in capitals": ("Content-Encoding: DEFLATE\r\n", lambda: [zlib.compress(bytes(1 << 26), 1)]),
    "endless": ("", endless),
    "a length too large": ("Content-Length: 1000000000\r\n", endless),
}


@pytest.mark.parametrize("what", LARGE)
async def test_an_answer_without_an_end_is_not_read(what: str) -> None:
    async with serve(answering(*LARGE[what])) as server:
        config = SessionConfig(app_id="cli_a", app_secret="x", domain=f"http://127.0.0.1:{server.port}")
        started = trio.current_time()
        async with http_client(config) as http:
            with pytest.raises(ConnectError, match="is not read"):
                await discover(http, config)
            with pytest.raises(ApiError, match="is not read"):
                await Api(http, config.domain, "cli_a", "x").send("oc_a", "hi")
        assert trio.current_time() - started < 2
        await server.wait_left()


async def test_an_answer_is_asked_for_as_it_is(feishu_gateway: Gateway) -> None:
    await ask(feishu_gateway)
    assert feishu_gateway.requests[0].headers["accept-encoding"] == "identity"


async def test_a_server_that_is_not_there_is_worth_another_try(feishu_gateway: Gateway) -> None:
    await feishu_gateway.stop_listening()
    with pytest.raises(ConnectError, match="could not be reached") as info:
        await ask(feishu_gateway)
    assert isinstance(info.value.__cause__, httpx.HTTPError)


async def test_note_01_a_server_that_hangs_can_be_left(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    feishu_gateway.hang_discovery()
    with trio.move_on_after(3) as scope:
        async with httpx.AsyncClient(transport=feishu_gateway.transport, timeout=None) as http:
            await discover(http, SessionConfig(app_id="cli_a", domain=feishu_gateway.domain))
    assert scope.cancelled_caught
