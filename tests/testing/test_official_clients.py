"""The official clients against the gateway: the proof that it speaks the platform's protocol."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from feishu_trio.testing import Gateway, open_gateway

HERE = Path(__file__).parent
NODE = HERE.parent / "node"

PYTHON_CLIENT = [sys.executable, str(HERE / "peers" / "lark_client.py")]
CHANNEL_BOT = [sys.executable, str(HERE / "peers" / "channel_bot.py")]
NODE_CLIENT = ["node", str(NODE / "client.mjs")]

MESSAGE = {
    "sender": {"sender_id": {"open_id": "ou_1"}, "sender_type": "user"},
    "message": {
        "message_id": "om_1",
        "chat_id": "oc_1",
        "chat_type": "p2p",
        "message_type": "text",
        "content": '{"text":"你好, gateway"}',
    },
}
CARD = {
    "operator": {"open_id": "ou_1"},
    "token": "c-1",
    "action": {"tag": "button", "value": {"key": "value"}},
    "host": "im_message",
    "context": {"open_message_id": "om_1", "open_chat_id": "oc_1"},
}
# Quick pings and reconnects, so that the tests are short; real seconds, as these clients have no other clock.
CONFIG = {"ReconnectCount": -1, "ReconnectInterval": 1, "ReconnectNonce": 0, "PingInterval": 1}

clients = pytest.mark.parametrize(
    "client",
    [
        pytest.param(PYTHON_CLIENT, id="python"),
        pytest.param(
            NODE_CLIENT,
            id="node",
            marks=pytest.mark.skipif(
                shutil.which("node") is None or not (NODE / "node_modules").is_dir(),
                reason="node, or tests/node/node_modules (npm install), is missing",
            ),
        ),
    ],
)


@asynccontextmanager
async def running(client: list[str], gateway: Gateway) -> AsyncIterator[None]:
    """The client as a process of its own, connected and reading; killed at the end."""
    command = [*client, gateway.domain, gateway.app_id, gateway.app_secret]
    env = {**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    process = await trio.lowlevel.open_process(command, env=env, stdout=2)
    try:
        with trio.fail_after(30):
            # The Node client loses what comes before it begins to read, just after it opened the WebSocket;
            # both ping when they do.
            await gateway.wait_ping()
        yield
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


@clients
async def test_whole_life(client: list[str]) -> None:
    async with open_gateway(client_config=CONFIG, ladder=(0.2,), seed=1) as gateway:
        async with running(client, gateway):
            with trio.fail_after(20):
                whole = await (await gateway.push("im.message.receive_v1", MESSAGE)).settled()
                assert (whole.code, whole.data) == (200, None)

                split = await gateway.push(
                    "im.message.receive_v1", MESSAGE, parts=5, part_order=[3, 1, 0, 4, 2]
                )
                answer = await split.settled()
                assert (answer.code, answer.headers["seq"], answer.headers["sum"]) == (200, "2", "5")

                card = await (await gateway.push("card.action.trigger", CARD)).settled()
                assert (card.code, card.data) == (200, {"toast": {"type": "info", "content": "button"}})

                failing = await gateway.push("demo.fails_v1")
                assert (await failing.settled()).code == 500
                assert len(failing.deliveries) == 2

                old = await gateway.push(
                    "im.message.receive_v1", MESSAGE, extra=b"\x4a\x02\x41\x42"
                )  # LogIDNew
                assert (await old.settled()).code == 200

                await gateway.wait_ping(3)
        assert gateway.violations == []


@clients
async def test_comes_back_after_drops(client: list[str]) -> None:
    async with open_gateway(client_config=CONFIG) as gateway, running(client, gateway):
        for code in (None, 1006, 1000, 1011):
            first = gateway.connections[0]
            await gateway.drop(code)
            with trio.fail_after(20):
                second = first
                while second is first:
                    second = await gateway.wait_ping(len(gateway.pings) + 1)
                answer = await (await gateway.push("im.message.receive_v1", MESSAGE)).settled()
                assert answer.connection is second
        assert gateway.violations == []


@clients
async def test_tries_again_while_the_handshake_is_refused(client: list[str]) -> None:
    async with open_gateway(client_config=CONFIG) as gateway:
        gateway.refuse_handshake(514, 1, "try again", times=2)
        async with running(client, gateway):
            upgrades = [request for request in gateway.requests if request.path == "/ws/v2"]
            assert len(upgrades) == 3


async def test_the_channel_sdk() -> None:
    """Its identity, replies, media in both directions, cards and clicks, and texts that stream."""
    async with open_gateway(client_config=CONFIG, bot_name="Helper") as gateway:
        tom = gateway.user("Tom")
        async with running(CHANNEL_BOT, gateway):
            await tom.says("hello")
            assert await tom.waits_for("Helper: ", timeout=20) == (
                "Tom: hello (OK: Helper)\nHelper: **Helper** received: hello"
            )

            await tom.says("not to you", chat="Team")
            said = await tom.says("to you", mentions=gateway.bot, chat="Team")
            await tom.waits_for("Helper: **Helper** received: @Helper to you", chat="Team", timeout=20)
            (reply,) = (message for message in gateway.messages if message.to == said.message_id)
            assert reply.kind == "reply"
            assert "not to you (OK" not in tom.sees("Team")

            await tom.says("card")
            await tom.waits_for("Approve?\n[Approve]", timeout=20)
            assert (await tom.clicks("Approve")).code == 200
            await tom.waits_for("Helper: Approved: yes", timeout=20)

            await tom.says("media")
            await tom.waits_for("Helper: [image]\nHelper: [file: a.txt]", timeout=20)
            await tom.sends_image(b"\x89PNG\r\n\x1a\n" + bytes(992))
            await tom.waits_for("image: 1000 bytes", timeout=20)
            await tom.sends_file(b"abc", "b.txt")
            await tom.waits_for("file: 3 bytes", timeout=20)

            await tom.says("stream")
            await tom.waits_for(lambda seen: "Helper: Once" in seen and "(streaming)" in seen, timeout=20)
            await tom.waits_for(lambda seen: seen.endswith("Helper: Once upon a time."), timeout=20)

            await tom.says("recall")
            await tom.waits_for("Helper recalled a message", timeout=20)
        assert not gateway.refused
        assert not gateway.violations
