from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from feishu_trio.testing import open_gateway

from .client import DISCOVERY, connect, discover, post, refusal


async def test_a_url_has_what_clients_read_from_it() -> None:
    async with open_gateway() as gateway:
        response = await post(gateway, DISCOVERY, {"AppID": gateway.app_id, "AppSecret": gateway.app_secret})
        body = response.json()
        assert (response.status_code, body["code"]) == (200, 0)
        assert body["data"]["ClientConfig"]["PingInterval"] == 120
        assert response.headers["x-tt-logid"]
        url = urlsplit(body["data"]["URL"])
        assert f"{url.scheme}://{url.netloc}{url.path}" == gateway.domain.replace("http", "ws") + "/ws/v2"
        query = parse_qs(url.query)
        assert list(query)[:2] == ["device_id", "service_id"]
        assert {"ticket", "access_key"} <= set(query)
        assert int(query["service_id"][0]) < 2**31


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"AppID": None}, 1000040344),
        ({"AppSecret": ""}, 1000040344),
        ({"AppID": "cli_other"}, 10003),
        ({"AppSecret": "wrong"}, 10014),
        ({"AppSecret": "", "ClientAssertion": "wrong"}, 10014),
        ({"AppSecret": "", "ClientAssertion": "token"}, 0),
    ],
)
async def test_credentials(change: dict[str, object], code: int) -> None:
    async with open_gateway(client_assertion="token") as gateway:
        body = {"AppID": gateway.app_id, "AppSecret": gateway.app_secret, **change}
        assert (await post(gateway, DISCOVERY, body)).json()["code"] == code


async def test_no_assertion_is_right_where_none_is_configured() -> None:
    async with open_gateway() as gateway:
        for assertion in ("None", "x"):
            body = {"AppID": gateway.app_id, "AppSecret": "", "ClientAssertion": assertion}
            assert (await post(gateway, DISCOVERY, body)).json()["code"] == 10014


async def test_client_config_goes_out_as_it_is() -> None:
    absurd = {"PingInterval": 0, "ReconnectCount": None, "ReconnectNonce": "x", "ReconnectInterval": 10**9}
    async with open_gateway(client_config=absurd) as gateway:
        body = {"AppID": gateway.app_id, "AppSecret": gateway.app_secret}
        assert (await post(gateway, DISCOVERY, body)).json()["data"]["ClientConfig"] == absurd
        gateway.client_config = None
        assert (await post(gateway, DISCOVERY, body)).json()["data"]["ClientConfig"] is None


async def test_a_ticket_admits_one_connection() -> None:
    async with open_gateway() as gateway:
        url = await discover(gateway)
        async with connect(gateway, url):
            headers = await refusal(gateway, url)
            assert headers["handshake-status"] == "514"
            assert headers["handshake-autherrcode"] != "1000040350"


@pytest.mark.parametrize("part", ["ticket=", "access_key=", "device_id=", "service_id="])
async def test_every_part_of_the_url_counts(part: str) -> None:
    async with open_gateway() as gateway:
        url = (await discover(gateway)).replace(part, f"{part}1")
        assert (await refusal(gateway, url))["handshake-status"] == "514"


async def test_the_connection_limit() -> None:
    async with open_gateway(connection_limit=2) as gateway, connect(gateway), connect(gateway) as second:
        await gateway.wait_connected(2)
        url = await discover(gateway)
        headers = await refusal(gateway, url)
        assert (headers["handshake-status"], headers["handshake-autherrcode"]) == ("514", "1000040350")
        await second.ws.aclose()
        await gateway.connected.wait_value(1)
        async with connect(gateway, url):
            pass  # the refusal did not use up the ticket


async def test_secrets_are_in_no_repr() -> None:
    async with open_gateway(client_assertion="assertion-secret") as gateway:
        url = await discover(gateway)
        async with connect(gateway, url):
            text = repr((gateway, gateway.connections, gateway.requests))
            secrets = [gateway.app_secret, "assertion-secret", *parse_qs(urlsplit(url).query)["ticket"]]
            assert not [secret for secret in secrets if secret in text]
