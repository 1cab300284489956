from __future__ import annotations

import json
from base64 import b64encode
from collections import Counter

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from feishu_trio.testing import open_gateway
from feishu_trio.testing._frames import header_pairs, split
from feishu_trio.wire import Assembler, encode_frame, ok_with

from .client import connect


async def test_an_event_and_its_answer() -> None:
    async with open_gateway() as gateway, connect(gateway) as client:
        push = await gateway.push("im.message.receive_v1", {"message": {"content": "你好"}})
        assert (push.done, push.status, len(push.deliveries)) == (False, None, 1)
        frame = await client.receive()
        payload = json.loads(frame.payload)
        assert payload["schema"] == "2.0"
        assert payload["header"]["event_id"] == push.event_id
        assert payload["header"]["event_type"] == "im.message.receive_v1"
        assert payload["header"]["app_id"] == gateway.app_id
        assert payload["header"]["create_time"].isdigit()
        assert payload["event"] == {"message": {"content": "你好"}}
        assert frame.headers["message_id"] == push.deliveries[0].message_id
        assert (frame.headers["sum"], frame.headers["seq"]) == ("1", "0")

        await client.answer(frame)
        answer = await push.settled()
        assert (answer.code, answer.data, answer.biz_rt) == (200, None, 7)
        assert (push.done, push.status, push.lost, push.answers) == (True, 200, False, (answer,))
        assert answer.connection is gateway.connections[0]
        assert answer.header_pairs == [*frame.headers.items(), ("biz_rt", "7")]
        assert answer.latency >= 0
        assert push.deliveries[0].answered


async def test_the_result_of_a_callback_is_decoded() -> None:
    async with open_gateway() as gateway, connect(gateway) as client:
        push = await gateway.push("card.action.trigger", {"action": {}})
        await client.answer(await client.receive(), ok_with('{"toast":"好"}'.encode()))
        assert (await push.settled()).data == {"toast": "好"}


async def test_schema_1() -> None:
    async with open_gateway() as gateway, connect(gateway) as client:
        push = await gateway.push("leave_approvalV2", {"leave_type": "年假"}, schema="1.0", event_id="u-1")
        payload = json.loads((await client.receive()).payload)
        assert (payload["type"], payload["uuid"], push.event_id) == ("event_callback", "u-1", "u-1")
        assert payload["event"]["type"] == "leave_approvalV2"
        assert payload["event"]["leave_type"] == "年假"
        with pytest.raises(ValueError, match=r"schema is '3\.0'"):
            await gateway.push("x", schema="3.0")


async def test_what_is_said_verbatim_is_sent_verbatim() -> None:
    async with open_gateway() as gateway, connect(gateway) as client:
        await gateway.push(
            "x",
            payload=b"{no json",
            headers={"type": "card", "instance_id": None, "sum": "1000000000", "seq": "-1"},
            seq_id=2**64 - 1,
            log_id=0,
            trace_id="trace",
            extra=b"\x7a\x02hi",  # field 15
        )
        frame = await client.receive()
        assert (frame.payload, frame.seq_id, frame.log_id) == (b"{no json", 2**64 - 1, 0)
        assert frame.headers["type"] == "card"
        assert (frame.headers["sum"], frame.headers["seq"]) == ("1000000000", "-1")
        assert frame.headers["trace_id"] == "trace"
        assert "instance_id" not in frame.headers
        assert frame.raw.endswith(b"\x7a\x02hi")


@pytest.mark.parametrize("message_id", ["m-1", None])
async def test_a_message_id_of_one_s_own(message_id: str | None) -> None:
    async with open_gateway() as gateway, connect(gateway) as client:
        push = await gateway.push("x", headers={"message_id": message_id})
        frame = await client.receive()
        assert frame.headers.get("message_id") == message_id
        await client.answer(frame)
        assert (await push.settled()).code == 200
        assert gateway.violations == []


@pytest.mark.parametrize("order", [None, [2, 0, 1], [0, 0, 1, 2], [1, 1, 2, 0, 0]])
async def test_a_split_message(order: list[int] | None) -> None:
    async with open_gateway() as gateway, connect(gateway) as client:
        push = await gateway.push("x", {"text": "y" * 100}, parts=3, part_order=order)
        assembler = Assembler()
        for _ in order or range(3):
            frame = await client.receive()
            whole = assembler.add(frame, trio.current_time())
            if whole is not None:
                assert whole == push.payload
                await client.answer(frame)
                break
        assert (await push.settled()).code == 200
        assert gateway.violations == []


async def test_parts_as_given_and_parts_withheld() -> None:
    async with open_gateway() as gateway, connect(gateway) as client:
        push = await gateway.push("x", parts=[b"{", b"", b"}"], part_order=[0, 1])
        frames = [await client.receive(), await client.receive()]
        assert [frame.payload for frame in frames] == [b"{", b""]
        await client.answer(frames[1])
        assert await client.wait_closed() == 1002
        assert not push.answers
        assert "withheld" in gateway.violations[0]


async def test_large_payloads_are_split() -> None:
    async with open_gateway(max_part_size=1000) as gateway, connect(gateway) as client:
        await gateway.push("x", {"text": "y" * 3000})
        frames = [await client.receive() for _ in range(4)]
        assert {frame.headers["sum"] for frame in frames} == {"4"}
        assert max(len(frame.payload) for frame in frames) == 1000
        assert json.loads(b"".join(frame.payload for frame in frames))["event"]["text"] == "y" * 3000


@given(st.binary(max_size=50), st.integers(1, 9))
def test_parts_add_up(payload: bytes, n: int) -> None:
    assert b"".join(split(payload, n, None)) == payload
    assert len(split(payload, n, None)) == n
    pieces = split(payload, None, n)
    assert b"".join(pieces) == payload
    assert all(len(piece) <= n for piece in pieces)


@given(st.lists(st.tuples(st.text(max_size=9), st.text(max_size=200)), max_size=5), st.binary(max_size=9))
def test_header_pairs_reads_what_was_encoded(pairs: list[tuple[str, str]], payload: bytes) -> None:
    raw = encode_frame(seq_id=2**64 - 1, service=-1, headers=pairs, payload=payload)
    assert header_pairs(raw + b"\x71" + bytes(8) + b"\x7d" + bytes(4)) == pairs


async def test_each_event_goes_to_one_connection_at_random() -> None:
    async with open_gateway(seed=7) as gateway, connect(gateway), connect(gateway), connect(gateway):
        await gateway.wait_connected(3)
        pushes = [await gateway.push("x") for _ in range(300)]
        counts = Counter(push.deliveries[0].connection.device_id for push in pushes)
        assert len(counts) == 3
        assert min(counts.values()) > 60
        chosen = gateway.connections[1]
        assert (await gateway.push("x", connection=chosen)).deliveries[0].connection is chosen


async def test_the_same_seed_gives_the_same_ids() -> None:
    ids = []
    for _ in range(2):
        async with open_gateway(seed=3) as gateway, connect(gateway):
            ids.append((await gateway.push("x")).deliveries[0].message_id)
    assert ids[0] == ids[1]


async def test_an_answer_may_come_by_another_connection() -> None:
    async with open_gateway() as gateway, connect(gateway) as one:
        first = gateway.connections[0]
        async with connect(gateway) as other:
            await gateway.wait_connected(2)
            push = await gateway.push("x", connection=first)
            frame = await one.receive()
            await gateway.drop(connection=first)
            await other.answer(frame)
            assert (await push.settled()).connection is not first
            assert gateway.violations == []


async def test_pings_and_pongs() -> None:
    async with open_gateway(pong_config={"PingInterval": 5}) as gateway, connect(gateway) as client:
        await client.ping()
        pong = await client.receive()
        assert (pong.method, pong.headers, json.loads(pong.payload)) == (
            0,
            {"type": "pong"},
            {"PingInterval": 5},
        )
        gateway.pong_config = None
        gateway.lose_pongs(2)
        for _ in range(3):
            await client.ping()
        assert (await client.receive()).payload == b""
        assert await gateway.wait_ping(4) is gateway.connections[0]
        assert len(gateway.pings) == 4
        with trio.move_on_after(0.05) as waiting:
            await client.receive()
        assert waiting.cancelled_caught


async def test_text_messages() -> None:
    async with open_gateway() as gateway, connect(gateway) as client:
        await gateway.text({"type": "event", "data": {"你": 1}})
        assert json.loads(await client.ws.get_message()) == {"type": "event", "data": {"你": 1}}
        await gateway.text("not json")
        assert await client.ws.get_message() == "not json"
        await client.ws.send_message('{"type":"ping"}')
        assert json.loads(await client.ws.get_message())["type"] == "pong"
        await client.ws.send_message('{"type":"auth","timestamp":1,"data":{"app_access_token":"t"}}')
        assert json.loads(await client.ws.get_message()) == {"type": "auth", "code": 0, "msg": "success"}
        await client.ws.send_message("hello")
        await client.ping()
        await client.receive()
        assert [text if isinstance(text, str) else "json" for text in gateway.texts] == [
            "json",
            "json",
            "hello",
        ]
        assert gateway.violations == []


async def test_a_websocket_ping_is_answered_and_long_messages_are_put_together() -> None:
    async with open_gateway() as gateway, connect(gateway) as client:
        await client.ws.ping()
        push = await gateway.push("card.action.trigger")
        frame = await client.receive()
        result = json.dumps({"x": "y" * 300_000}).encode()
        await client.answer(frame, b'{"code":200,"data":"' + b64encode(result) + b'"}')
        assert (await push.settled()).data == json.loads(result)


async def test_the_first_answer_and_the_one_that_settles() -> None:
    async with open_gateway(ladder=(0.05,)) as gateway, connect(gateway) as client:
        push = await gateway.push("x")
        frame = await client.receive()
        await client.answer(frame, b'{"code":500}')
        assert (await push.answer()).code == 500
        assert not push.done
        frame = await client.receive()
        await client.answer(frame, b'{"code":200}')
        assert (await push.settled()).code == 200
        assert (await push.answer()).code == 500
    async with open_gateway() as gateway:
        lost = await gateway.push("x", ladder=())
        with pytest.raises(TimeoutError):
            await lost.answer()
