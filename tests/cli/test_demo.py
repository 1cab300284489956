from __future__ import annotations

import os
import signal
import sys

import trio

from .commands import environment, run, running


async def test_the_demo_shows_everything_and_ends_well() -> None:
    began = trio.current_time()
    done = await run("demo", env=environment(PYTHONIOENCODING="utf-8"))
    assert (done.code, done.err) == (0, "")
    assert trio.current_time() - began < 15
    for line in (
        "你好，机器人！",
        "Good morning, bot!",
        "shows the toast “已批准 · Approved”",
        "no answer to Ben in 1 s: delivers again",
        "the handler ran once, and both deliveries are answered",
        "lost the connection (reset)",
        "is connected again",
        "kept by the gateway",
        "All well again?",
        "answered with 200    │ 7 ",
        "reconnects           │ 1 ",
    ):
        assert line in done.out
    assert "\x1b" not in done.out
    assert all(len(line) <= 80 for line in done.out.splitlines())


async def test_the_demo_fails_if_an_echo_is_wrong() -> None:
    code = """
import feishu_trio
right = feishu_trio.Event.reply
feishu_trio.Event.reply = lambda self, text: right(self, text[::-1])
from feishu_trio.cli import main
main()
"""
    done = await run("demo", command=[sys.executable, "-c", code], env=environment(PYTHONIOENCODING="utf-8"))
    assert done.code == 1
    assert done.err == "feishu-trio: the bot replied {'text': '！人器机，好你'}, not '你好，机器人！'\n"


async def test_the_demo_fails_if_an_event_is_not_answered_with_200() -> None:
    code = """
import feishu_trio
async def reply(self, *args):
    raise feishu_trio.ApiError("POST: out of order", code=1)
feishu_trio.Api.reply = reply
import feishu_trio.cli.demo
feishu_trio.cli.demo._DEADLINE = 1.0
from feishu_trio.cli import main
main()
"""
    done = await run("demo", command=[sys.executable, "-c", code])
    assert done.code == 1
    assert done.err.splitlines()[-1].startswith("feishu-trio: an answer or an echo did not come")


async def test_the_demo_can_be_interrupted() -> None:
    async with running("demo", env=environment()) as demo:
        await demo.line_with("is connected")
        demo.process.terminate()
        done = await demo.done()
    assert (done.code, done.err) == (143, "")


async def test_make_says_nothing_of_its_interruption() -> None:
    command = ["setsid", "make", "-o", f"{sys.prefix}/.demo", f"VENV={sys.prefix}", "demo"]
    async with running(command=command, env=environment()) as demo:
        await demo.line_with("is connected")
        os.killpg(demo.process.pid, signal.SIGINT)  # as a terminal does
        done = await demo.done()
    assert (done.code, done.err) == (-signal.SIGINT, "")
