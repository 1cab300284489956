from __future__ import annotations

import sys
from pathlib import Path

from feishu_trio.cli._users import User
from feishu_trio.testing import Gateway

from .commands import environment, running

EXAMPLES = Path(__file__).parents[2] / "examples"
MING = User("小明", "1")


def command(name: str) -> list[str]:
    return [sys.executable, str(EXAMPLES / name)]


async def test_echo(feishu_gateway: Gateway) -> None:
    async with running(env=environment(feishu_gateway), command=command("echo.py")):
        await feishu_gateway.wait_connected()
        push = await feishu_gateway.push("im.message.receive_v1", MING.message("你好", "om_1"))
        reply = await feishu_gateway.wait_message()
        assert (reply.to, reply.content) == ("om_1", {"text": "你好"})
        assert (await push.settled()).code == 200


async def test_pull(feishu_gateway: Gateway) -> None:
    async with running("im.*", env=environment(feishu_gateway), command=command("pull.py")) as pull:
        await feishu_gateway.wait_ping()
        push = await feishu_gateway.push("im.message.receive_v1", MING.message("hi", "om_1"))
        assert await pull.line() == f"im.message.receive_v1 {push.event_id} hi"
        assert (await push.settled()).code == 200


async def test_cards(feishu_gateway: Gateway) -> None:
    env = environment(feishu_gateway, FEISHU_ACK_DEADLINE="0.2")
    async with running(env=env, command=command("cards.py")):
        await feishu_gateway.wait_connected()
        slow = await feishu_gateway.push("card.action.trigger", MING.click(do="report"))
        assert (await slow.settled()).data == {"toast": {"content": "正在写… Working on it…", "type": "info"}}
        quick = await feishu_gateway.push("card.action.trigger", MING.click(do="approve"))
        assert (await quick.settled()).data == {"toast": {"content": "已批准 Approved", "type": "success"}}
        await feishu_gateway.push("im.message.receive_v1", MING.message("?", "om_1"))
        question = await feishu_gateway.wait_message()
        assert (question.kind, question.msg_type) == ("reply", "interactive")
        update = await feishu_gateway.wait_message(2)
        assert (update.kind, update.to) == ("card", slow.card_token)
        assert "报告写好了" in str(update.content)
