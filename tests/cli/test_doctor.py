"""`feishu-trio doctor`: what it shows, its exit codes, and how it is stopped. What it finds: tests/doctor."""

from __future__ import annotations

import json
import signal

import pytest

from feishu_trio.doctor import CHECKS
from feishu_trio.testing import Gateway, open_gateway

from .commands import environment, run, running
from .terminals import shown


async def test_a_pipe_gets_one_json_object_a_line(feishu_gateway: Gateway) -> None:
    done = await run("doctor", env=environment(feishu_gateway))
    assert (done.code, done.err) == (0, "")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert tuple(line["check"] for line in lines) == CHECKS
    assert all(line["fault"] is None for line in lines)
    upgrade = next(each.query for each in feishu_gateway.requests if each.path == "/ws/v2")
    for secret in (feishu_gateway.app_secret, upgrade["ticket"], upgrade["access_key"]):
        assert secret not in done.out


async def test_a_terminal_gets_lines_with_what_to_do() -> None:
    async with open_gateway(bot_name="\x1b[2JBot") as gateway:
        gateway.refuse_handshake(514, 1000040350, "too \x1b[2Jmany")
        code, found = await shown("doctor", env=environment(gateway, TERM="dumb"))
    assert code == 3
    assert "\x1b[" not in found
    lines = found.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert lines[0].startswith("One connection is opened for a moment. Events that come on it are refused")
    marks = {words[1]: words[0] for line in lines if len(words := line.split()) > 1 and words[1] in CHECKS}
    assert marks == dict.fromkeys(CHECKS, "✓") | {
        "tls": "-",
        "handshake": "✗",
        "ping": "-",
        "connections": "-",
    }
    assert "                → the app has its 50 connections already; close one" in map(str.rstrip, lines)
    assert "- ping          not tried: it needs handshake" in map(str.rstrip, lines)


@pytest.mark.parametrize(
    ("code", "extra"),
    [
        (2, {"FEISHU_APP_SECRET": ""}),
        (3, {"FEISHU_APP_SECRET": "s3cr3t-and-wrong"}),
        (4, {"FEISHU_DOMAIN": "https://nowhere.invalid"}),
        (4, {"FEISHU_DOMAIN": "http://127.0.0.1:1"}),
        (2, {"FEISHU_DOMAIN": "nonsense"}),
    ],
)
async def test_the_exit_code_says_what_failed(
    feishu_gateway: Gateway, code: int, extra: dict[str, str]
) -> None:
    done = await run("doctor", env=environment(feishu_gateway, **extra))
    assert done.code == code
    assert "s3cr3t" not in done.out + done.err
    assert "Traceback" not in done.err


async def test_other_failures_are_1(feishu_gateway: Gateway) -> None:
    event = {"subscription_type": "webhook", "subscribed_events": ["im.message.receive_v1"]}
    feishu_gateway.respond(
        "/open-apis/application/v6/applications/*", {"code": 0, "data": {"app": {"event": event}}}
    )
    assert (await run("doctor", env=environment(feishu_gateway))).code == 1


async def test_a_timeout_that_is_none() -> None:
    done = await run("doctor", "--timeout", "0")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("feishu-trio: --timeout: 0.0 is not allowed")


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_a_signal_ends_it(signum: signal.Signals, code: int) -> None:
    async with open_gateway() as gateway:
        gateway.lose_pongs(1)
        async with running("doctor", "--json", env=environment(gateway)) as doctor:
            connection = await gateway.wait_ping()
            doctor.process.send_signal(signum)
            done = await doctor.done()
            await connection.wait_closed()
    assert (done.code, done.err) == (code, "")
    assert json.loads(done.out.splitlines()[-1])["check"] == "token"
