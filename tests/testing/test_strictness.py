"""The gateway records a client that breaks the protocol."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from feishu_trio.testing import open_gateway
from feishu_trio.wire import CONTROL, OK, Frame, encode_answer, encode_frame, encode_ping, ok_with

from .client import connect

SERVICE = 33554678


@pytest.mark.parametrize(
    ("message", "why"),
    [
        # a ping as a proto3 encoder writes it: zeros, which proto2 requires, left out
        (b"\x18\xb6\x80\x80\x10" + encode_ping(0)[8:], "no frame"),
        (b"", "no frame"),
        (b"{}", "no frame"),
        (encode_ping(SERVICE)[:-1], "no frame"),
        (encode_ping(0), "service"),
        (encode_frame(service=SERVICE, headers={"type": "ping"}, seq_id=1), "SeqID"),
        (encode_frame(service=SERVICE, headers={"type": "ping"}, payload=b"x"), "payload"),
        (encode_frame(service=SERVICE, headers={"type": "pong"}), "type is 'pong'"),
        (encode_frame(service=SERVICE), "type is None"),
        (encode_frame(service=SERVICE, method=2, headers={"type": "ping"}), "method is 2"),
        (encode_frame(service=SERVICE, method=1, headers={"message_id": "?"}, payload=OK), "never sent"),
    ],
)
async def test_frames(message: bytes, why: str) -> None:
    async with open_gateway() as gateway, connect(gateway) as client:
        await client.ws.send_message(message)
        assert await client.wait_closed() == 1002
        assert why in gateway.violations[0]
        assert not gateway.connections


def answer_of(frame: Frame, **changes: object) -> bytes:
    fields: dict[str, object] = {
        "seq_id": frame.seq_id,
        "log_id": frame.log_id,
        "service": frame.service,
        "method": frame.method,
        "headers": {**frame.headers, "biz_rt": "1"},
        "payload": OK,
        **changes,
    }
    return encode_frame(**fields)  # type: ignore[arg-type]


def without(frame: Frame, key: str) -> dict[str, str]:
    return {k: v for k, v in {**frame.headers, "biz_rt": "1"}.items() if k != key}


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda f: answer_of(f, seq_id=f.seq_id + 1), "SeqID"),
        (lambda f: answer_of(f, log_id=f.log_id + 1), "LogID"),
        (lambda f: answer_of(f, service=1), "service"),
        (lambda f: answer_of(f, headers=without(f, "instance_id")), "instance_id"),
        (lambda f: answer_of(f, headers=without(f, "trace_id")), "trace_id"),
        (lambda f: answer_of(f, headers={**f.headers, "seq": "1", "biz_rt": "1"}), "must be kept"),
        (lambda f: answer_of(f, headers=without(f, "biz_rt")), "biz_rt is missing"),
        (lambda f: answer_of(f, headers={**f.headers, "biz_rt": "1.5"}), "biz_rt is '1.5'"),
        (lambda f: answer_of(f, payload=None), "payload"),
        (lambda f: answer_of(f, payload=b"200"), "payload"),
        (lambda f: answer_of(f, payload=b'{"code":"200"}'), "payload"),
        (lambda f: answer_of(f, payload=b'{"code":404}'), "code is 404"),
        (lambda f: answer_of(f, payload=b'{"code":200,"data":"{}"}'), "base64"),
        (lambda f: answer_of(f, payload=ok_with(b"{")), "base64"),
    ],
)
async def test_answers(answer: Callable[[Frame], bytes], why: str) -> None:
    async with open_gateway() as gateway, connect(gateway) as client:
        push = await gateway.push("x")
        await client.ws.send_message(answer(await client.receive()))
        assert await client.wait_closed() == 1002
        assert why in gateway.violations[0]
        assert not push.answers


async def test_what_is_allowed() -> None:
    async with open_gateway() as gateway, connect(gateway) as client:
        failed = await gateway.push("x", ladder=())
        frame = await client.receive()
        # the official Python client leaves biz_rt out when handling failed; the Node client's is negative
        await client.ws.send_message(answer_of(frame, headers=frame.headers, payload=b'{"code":500}'))
        assert (await failed.settled()).biz_rt is None
        other = await gateway.push("x")
        frame = await client.receive()
        await client.ws.send_message(answer_of(frame, headers={**frame.headers, "biz_rt": "-1"}))
        assert (await other.settled()).biz_rt == -1
        assert gateway.violations == []


async def test_only_noted_if_not_strict() -> None:
    async with open_gateway(strict=False) as gateway, connect(gateway) as client:
        await client.ws.send_message(b"nonsense")
        await client.ping()
        assert (await client.receive()).method == CONTROL
        assert len(gateway.violations) == 1
        assert gateway.connections[0].device_id in gateway.violations[0]


async def test_a_broken_websocket_is_a_violation() -> None:
    async with open_gateway() as gateway, connect(gateway) as client:
        (connection,) = gateway.connections
        stream: trio.abc.Stream = client.ws._stream
        await stream.send_all(b"\x82\x00")  # a binary message that is not masked, as a client's must be
        assert await client.wait_closed() == 1002
        await connection.wait_closed()
        assert "WebSocket protocol" in gateway.violations[0]


async def test_one_answer_spliced_over_both_is_fine_and_its_bytes_are_kept() -> None:
    async with open_gateway() as gateway, connect(gateway) as client:
        push = await gateway.push("x", extra=b"\x7a\x02hi")
        frame = await client.receive()
        sent = encode_answer(frame, OK, 0)
        await client.ws.send_message(sent)
        answer = await push.settled()
        assert answer.frame.raw == sent
        assert b"\x7a\x02hi" in answer.frame.raw
