"""What becomes of a handshake that fails, and of one that succeeds."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from feishu_trio import (
    ConnectError,
    ConnectionLimitError,
    FeishuError,
    ForbiddenError,
    Router,
    Session,
    open_feishu_session,
)
from feishu_trio.testing import Gateway
from feishu_trio.wire import DATA, encode_frame

from .peer import BINARY, PING, TEXT, Peer, Script, frame, scripted


async def attempt(gateway: Gateway, script: Script, **settings: Any) -> Session:
    """One try to connect to a server that follows the script."""
    async with (
        scripted(gateway, script) as dial,
        open_feishu_session(
            gateway.app_id,
            gateway.app_secret,
            domain=gateway.domain,
            http_transport=gateway.transport,
            dial=dial,
            auto_reconnect=False,
            **settings,
        ) as session,
    ):
        return session


def answers(response: bytes) -> Script:
    return lambda peer: peer.answer(response)


def refused(headers: str, status: str = "403 Forbidden", body: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n{body}".encode("latin-1")


@pytest.mark.parametrize(
    ("headers", "error", "code"),
    [
        ("Handshake-Status: 514\r\nHandshake-Autherrcode: 1000040350\r\n", ConnectionLimitError, 1000040350),
        ("HANDSHAKE-STATUS: 514\r\nhandshake-autherrcode: 1000040350\r\n", ConnectionLimitError, 1000040350),
        (
            "hAnDsHaKe-StAtUs:   514  \r\nHandshake-AuthErrCode:1000040350\r\n",
            ConnectionLimitError,
            1000040350,
        ),
        ("Handshake-Status: 514\r\n", ConnectError, 514),
        ("Handshake-Status: 514\r\nHandshake-Autherrcode: 7\r\n", ConnectError, 514),
        ("Handshake-Status: 514\r\nHandshake-Autherrcode: x\r\n", ConnectError, 514),
        ("Handshake-Status: 403\r\n", ForbiddenError, 403),
        ("handshake-status: 403\r\nhandshake-msg: banned\r\n", ForbiddenError, 403),
        ("Handshake-Status: 500\r\n", ConnectError, 500),
        ("Handshake-Status: 1000040344\r\n", ConnectError, 1000040344),
        ("Handshake-Status: -1\r\n", ConnectError, -1),
        ("Handshake-Status: banned\r\n", ConnectError, None),
        ("Handshake-Status: \r\n", ConnectError, None),
        ("", ConnectError, None),
    ],
)
@pytest.mark.parametrize("status", ["400 Bad Request", "403 Forbidden", "200 OK", "404 Not Found", "502 Oh"])
async def test_each_refusal_is_one_exception(
    feishu_gateway: Gateway, headers: str, error: type[FeishuError], code: int | None, status: str
) -> None:
    with pytest.raises(FeishuError) as info:
        await attempt(feishu_gateway, answers(refused(headers, status, "a body")))
    assert type(info.value) is error
    assert info.value.code == code
    if code is None:
        assert f"HTTP status {status[:3]}" in str(info.value)


async def test_a_refusal_is_reported_with_its_message(feishu_gateway: Gateway) -> None:
    headers = "Handshake-Status: 403\r\nHandshake-Msg: \xe7\xa6\x81\x80\r\n"
    with pytest.raises(ForbiddenError, match="禁\ufffd"):
        await attempt(feishu_gateway, answers(refused(headers)))


@pytest.mark.parametrize("status", ["403", "514"])
async def test_a_secret_that_a_refusal_repeats_is_masked(feishu_gateway: Gateway, status: str) -> None:
    told = f"no TK-SECRET, AK-SECRET or {feishu_gateway.app_secret}"
    headers = f"Handshake-Status: {status}\r\nHandshake-Msg: {told}\r\nLocation: /?ticket=TK-SECRET\r\n"
    with pytest.raises(FeishuError, match=r"no \*\*\*, \*\*\* or \*\*\*") as info:
        await attempt(feishu_gateway, answers(refused(headers)))
    error: BaseException | None = info.value
    while error is not None:
        assert "SECRET" not in repr((error, vars(error)))
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize(
    "ending",
    [
        "\r\n",
        "Content-Length: 10\r\n\r\nhalf",
        "Connection: close\r\n\r\na body that the end of the stream ends",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhal",
    ],
)
async def test_a_refusal_counts_though_its_body_never_ends(feishu_gateway: Gateway, ending: str) -> None:
    response = f"HTTP/1.1 403 Forbidden\r\nHandshake-Status: 403\r\n{ending}"
    with pytest.raises(ForbiddenError):
        await attempt(feishu_gateway, answers(response.encode()))


def agreement(peer: Peer) -> bytes:
    """What a client must see to know that the server has read its request."""
    given = re.search(rb"(?i)sec-websocket-key: *(\S+)", peer.request)
    assert given is not None
    digest = hashlib.sha1(given[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
    )


ODD_AGREEMENTS: dict[str, Callable[[bytes], bytes]] = {
    "as usual": lambda head: head,
    "bare LF": lambda head: head.replace(b"\r\n", b"\n"),
    "bare LF at its end": lambda head: head[:-2] + b"\n",
    "HTTP/1.2": lambda head: head.replace(b"HTTP/1.1", b"HTTP/1.2"),
    "HTTP/1.0": lambda head: head.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "no reason": lambda head: head.replace(b" Switching Protocols", b""),
    "after 100": lambda head: b"HTTP/1.1 100 Continue\r\n\r\n" + head,
    "after 103": lambda head: b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + head,
    "after 100 and 103 with bare LF": lambda head: b"HTTP/1.1 100 Go\n\nHTTP/1.1 103 On\n\n" + head,
}


@pytest.mark.parametrize("what", ODD_AGREEMENTS)
@pytest.mark.parametrize("size", [1, 7, 10_000])  # bytes a segment, the first frames among them
async def test_an_agreement_is_one_however_it_is_written(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock, what: str, size: int
) -> None:
    """And its end is where the frames begin, for both who read."""
    got: list[str] = []
    router = Router()

    @router.on("x.y_v1")
    async def take(event: Any) -> None:
        got.append(event.id)

    @router.on_message("note")
    async def take_note(message: dict[str, Any]) -> None:
        got.append(message["type"])

    async def script(peer: Peer) -> None:
        await peer.read_request()
        payload = b'{"schema":"2.0","header":{"event_id":"e1","event_type":"x.y_v1"},"event":{}}'
        event = encode_frame(method=DATA, headers={"type": "event", "message_id": "m"}, payload=payload)
        data = ODD_AGREEMENTS[what](agreement(peer))
        data += frame(BINARY, event) + frame(TEXT, b'{"type": "note"}') + frame(PING, b"?")
        for at in range(0, len(data), size):
            await peer.stream.send_all(data[at : at + size])
        await peer.read_all()

    async with (
        scripted(feishu_gateway, script) as dial,
        open_feishu_session(
            feishu_gateway.app_id,
            feishu_gateway.app_secret,
            router=router,
            domain=feishu_gateway.domain,
            http_transport=feishu_gateway.transport,
            dial=dial,
        ) as session,
    ):
        await trio.sleep(1)
        assert session.stats().reconnects == 0
    assert sorted(got) == ["e1", "note"]


NO_WEBSOCKET = {
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
    "TLS alert": b"\x15\x03\x01\x00\x02\x02\x28",
    "noise": bytes(range(256)) * 8,
    "no line ever": b"x" * 200_000,
    "100 continue": b"HTTP/1.1 100 Continue\r\n\r\n",
    "101 without upgrade": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "101 to another protocol": b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    "redirect": b"HTTP/1.1 302 Found\r\nLocation: https://login/?ticket=TK-SECRET\r\nContent-Length: 0\r\n\r\n",
    "page": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
}


@pytest.mark.parametrize("what", NO_WEBSOCKET)
async def test_a_server_that_speaks_no_websocket(feishu_gateway: Gateway, what: str) -> None:
    with pytest.raises(ConnectError) as info:
        await attempt(feishu_gateway, answers(NO_WEBSOCKET[what]))
    assert "peer" in str(info.value)
    assert "SECRET" not in str(info.value)


@pytest.mark.parametrize(
    ("key", "headers"),
    [
        ("d3Jvbmc=", ""),
        (None, "Sec-WebSocket-Protocol: chat\r\n"),
        (None, "Sec-WebSocket-Protocol: \xff\r\n"),
        (None, "Sec-WebSocket-Extensions: permessage-deflate\r\n"),
    ],
)
async def test_a_server_that_agrees_to_what_was_not_asked(
    feishu_gateway: Gateway, key: str | None, headers: str
) -> None:
    with pytest.raises(ConnectError, match="WebSocket"):
        await attempt(feishu_gateway, lambda peer: peer.accept(key=key, headers=headers))


async def close_at_once(peer: Peer) -> None:
    """Before a byte was read."""


async def close_after_request(peer: Peer) -> None:
    await peer.read_request()


async def close_within_response(peer: Peer) -> None:
    await peer.answer(b"HTTP/1.1 101 Switching Protocols\r\nUpgra")


@pytest.mark.parametrize("script", [close_at_once, close_after_request, close_within_response])
async def test_a_server_that_ends_the_handshake(feishu_gateway: Gateway, script: Script) -> None:
    with pytest.raises(ConnectError, match="ended the WebSocket handshake"), trio.fail_after(2):
        await attempt(feishu_gateway, script)


async def hang_at_once(peer: Peer) -> None:
    await trio.sleep_forever()


async def hang_within_response(peer: Peer) -> None:
    await peer.answer(b"HTTP/1.1 101 Switching Protocols\r\nUpgra")
    await trio.sleep_forever()


async def trickle(peer: Peer) -> None:
    await peer.answer(b"HTTP/1.1 101 Switching Protocols\r\nX: ")
    while True:
        await trio.sleep(1)
        await peer.stream.send_all(b"x")


@pytest.mark.parametrize("script", [hang_at_once, hang_within_response, trickle])
async def test_note_01_a_server_that_hangs_in_the_handshake(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock, script: Script
) -> None:
    start = trio.current_time()
    with pytest.raises(ConnectError, match="no connection within 4 s"):
        await attempt(feishu_gateway, script, connect_timeout=4)
    assert trio.current_time() - start == pytest.approx(4)


async def refuses_connection(host: str, port: int) -> trio.abc.Stream:
    raise ConnectionRefusedError(111, "Connection refused")


async def test_a_port_where_nobody_listens(feishu_gateway: Gateway) -> None:
    with pytest.raises(ConnectError, match="could not be reached"):
        async with open_feishu_session(
            feishu_gateway.app_id,
            feishu_gateway.app_secret,
            domain=feishu_gateway.domain,
            http_transport=feishu_gateway.transport,
            dial=refuses_connection,
            auto_reconnect=False,
        ):
            pass


async def test_the_users_headers_go_with_http_and_the_handshake(feishu_gateway: Gateway) -> None:
    seen = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        seen.append(peer.request.decode())

    with pytest.raises(ConnectError):
        async with (
            scripted(feishu_gateway, script) as dial,
            open_feishu_session(
                feishu_gateway.app_id,
                feishu_gateway.app_secret,
                domain=feishu_gateway.domain,
                http_transport=feishu_gateway.transport,
                dial=dial,
                auto_reconnect=False,
                headers={"X-Tenant": "a", "host": "evil", "Upgrade": "h2c", "Sec-WebSocket-Key": "k"},
            ) as session,
        ):
            await session.wait_closed()
    assert feishu_gateway.requests[0].headers["x-tenant"] == "a"
    lines = seen[0].split("\r\n")
    names = [line.partition(":")[0].lower() for line in lines[1:] if line]
    assert len(names) == len(set(names))
    assert "X-Tenant: a" in lines
    assert "Upgrade: websocket" in lines
    assert "host: evil" not in lines


@pytest.mark.parametrize(
    ("settings", "agent"),
    [
        ({}, "feishu-trio/0.1.0"),
        ({"user_agent": "bot/1"}, "bot/1"),
        ({"headers": {"user-agent": "mine"}, "user_agent": "bot/1"}, "mine"),
    ],
)
async def test_user_agent_of_http_and_handshake(
    feishu_gateway: Gateway, settings: dict[str, Any], agent: str
) -> None:
    async with open_feishu_session(
        feishu_gateway.app_id,
        feishu_gateway.app_secret,
        domain=feishu_gateway.domain,
        http_transport=feishu_gateway.transport,
        dial=feishu_gateway.dial,
        **settings,
    ):
        (connection,) = feishu_gateway.connections
        assert connection.headers["user-agent"] == agent
        assert all(request.headers["user-agent"] == agent for request in feishu_gateway.requests)
