from __future__ import annotations

import json
import re
import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trio

from feishu_trio import ConfigError
from feishu_trio.cli._filters import filter_of
from feishu_trio.cli._folder import Folder
from feishu_trio.events import decode_event
from feishu_trio.testing import Gateway, open_gateway

from .commands import MESSAGE, environment, run, running
from .terminals import on_terminal


def message(number: int) -> dict[str, object]:
    return {**MESSAGE, "message": {**MESSAGE["message"], "message_id": f"om_{number}"}}


async def test_a_pipe_gets_one_json_object_a_line_at_once(feishu_gateway: Gateway) -> None:
    async with running("listen", env=environment(feishu_gateway)) as listen:
        await feishu_gateway.wait_connected()
        for push in (
            await feishu_gateway.push("im.message.receive_v1", MESSAGE),
            await feishu_gateway.push("im.chat.disbanded_v1", {"name": "a\nb\u2028c"}, schema="1.0"),
            await feishu_gateway.push("unknown.type_v9", {"x": "9007199254740993"}),
        ):
            line = json.loads(await listen.line())
            received_at = datetime.fromisoformat(line.pop("received_at"))
            assert abs((datetime.now(UTC) - received_at).total_seconds()) < 10
            assert line == json.loads(push.payload)
            assert (await push.settled()).code == 200


async def test_an_odd_payload_is_still_a_line_of_json(feishu_gateway: Gateway) -> None:
    head = b'{"schema":"2.0",\n"header":{"event_id":"%d","event_type":"x"},"event":{"a":'
    async with running("listen", env=environment(feishu_gateway)) as listen:
        await feishu_gateway.wait_connected()
        for number, rest in enumerate((b'"\\ud800"}}', b'"\xff"}}', b'"\\u0000\\n"}}')):
            await feishu_gateway.push("x", payload=head % number + rest)
            assert json.loads(await listen.line())["header"]["event_id"] == str(number)


async def test_types_choose_what_is_shown_and_all_is_answered(feishu_gateway: Gateway) -> None:
    args = ("--type", "contact.*", "--type", "im.chat.disbanded_v1", "--max-events", "2")
    async with running("listen", *args, env=environment(feishu_gateway)) as listen:
        await feishu_gateway.wait_connected()
        types = ["im.message.receive_v1", "contact.user.created_v3", "im.chat.disbanded_v1"]
        pushes = [await feishu_gateway.push(each, {"message": {}}) for each in types]
        for push in pushes:
            assert (await push.settled()).code == 200
        done = await listen.done()
    assert done.code == 0
    assert [json.loads(line)["header"]["event_type"] for line in done.out.splitlines()] == types[1:]


async def test_a_misspelt_type_is_reported(feishu_gateway: Gateway) -> None:
    env = environment(feishu_gateway)
    async with running("listen", "-t", "im.mesage.receive_v1", env=env) as listen:
        await feishu_gateway.wait_ping()
        listen.process.terminate()
        done = await listen.done()
    assert "did you mean 'im.message.receive_v1'?" in done.err


async def test_filters_choose_and_compact_lines_have_what_is_mostly_wanted(feishu_gateway: Gateway) -> None:
    args = ("--filter", "event.message.chat_id=oc_1", "-f", "text~*2*", "--compact", "--max-events", "1")
    async with running("listen", *args, env=environment(feishu_gateway)) as listen:
        await feishu_gateway.wait_connected()
        for number in (1, 2):
            content = json.dumps({"text": f"number {number}"})
            body = {
                **MESSAGE,
                "message": {**MESSAGE["message"], "message_id": f"om_{number}", "content": content},
            }
            push = await feishu_gateway.push("im.message.receive_v1", body)
            assert (await push.settled()).code == 200, "what is not shown is answered, too"
        done = await listen.done()
    assert done.code == 0
    (line,) = [json.loads(line) for line in done.out.splitlines()]
    datetime.fromisoformat(line.pop("time"))
    assert line == {
        "id": push.event_id,
        "type": "im.message.receive_v1",
        "chat": "oc_1",
        "sender": "ou_1",
        "text": "number 2",
    }


async def test_each_event_gets_a_file_of_its_own(feishu_gateway: Gateway, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "events"
    args = ("--output-dir", str(folder), "--max-events", "2")
    async with running("listen", *args, env=environment(feishu_gateway)) as listen:
        await feishu_gateway.wait_connected()
        pushes = [
            await feishu_gateway.push("im.message.receive_v1", MESSAGE),
            await feishu_gateway.push("../x\0/" + "y" * 300, {}, event_id="/../" + "z" * 300),
        ]
        done = await listen.done()
    assert done.code == 0
    second, first = sorted(folder.iterdir(), key=lambda each: "receive_v1" in each.name)
    assert re.fullmatch(
        rf"\d{{8}}T\d{{6}}\.\d{{3}}Z_im\.message\.receive_v1_{pushes[0].event_id}\.json", first.name
    )
    assert re.fullmatch(r"\d{8}T\d{6}\.\d{3}Z_\.\._x__y{94}_[_.]{4}z{76}\.json", second.name)
    assert [json.loads(each.read_text()) for each in (first, second)] == [
        json.loads(line) for line in done.out.splitlines()
    ]


def test_no_file_is_overwritten_and_none_is_half_written(tmp_path: Path) -> None:
    event = decode_event(b'{"schema":"2.0","header":{"event_id":"e","event_type":"t"},"event":{}}')
    folder = Folder(tmp_path)
    folder.save(event, b"1")
    folder.save(event, b"2")
    folder.save(event, b"3")
    names = sorted(each.name for each in tmp_path.iterdir())
    assert [re.sub(r"^.*Z_", "", name) for name in names] == ["t_e-2.json", "t_e-3.json", "t_e.json"]
    assert sorted(each.read_bytes() for each in tmp_path.iterdir()) == [b"1", b"2", b"3"]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("event.message.chat_id=oc_1", True),
        ("event.message.chat_id!=oc_1", False),
        ("event.message.chat_id=oc_", False),
        ("header.event_type~im.*", True),
        ("event.message.mentions.name=Bob", True),  # of any element
        ("event.message.mentions.name!=Bob", False),
        ("event.message.nothing!=x", True),
        ("event.message.nothing~*", False),
        ("event.message=x", False),  # an object has no text
        ("event.flag=true", True),
        ("event.number=3", True),
        ("event.number~?", True),
        ("event.none=null", True),
        ("text=你好, @Bob", True),
        ("chat=oc_1", True),
        ("sender~ou_?", True),
        ("text~*=*", False),
        ("event.message.content~*=*", False),
    ],
)
def test_filters(text: str, kept: bool) -> None:
    body = {**MESSAGE, "flag": True, "number": 3, "none": None}
    header = {"event_id": "e", "event_type": "im.message.receive_v1"}
    event = decode_event(json.dumps({"schema": "2.0", "header": header, "event": body}).encode())
    assert filter_of(text)(event) is kept


@pytest.mark.parametrize("text", ["", "a", "=x", "a..b=x", ".a=x", "a.=x", "a b=x", "~x"])
def test_what_is_no_filter_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--filter: .* is not allowed; it must be PATH=VALUE"):
        filter_of(text)


async def test_after_max_events_the_others_go_back() -> None:
    async with open_gateway(ladder=()) as gateway:
        async with running("listen", "--max-events", "2", env=environment(gateway)) as listen:
            await gateway.wait_connected()
            pushes = [await gateway.push("im.message.receive_v1", message(n)) for n in range(6)]
            done = await listen.done()
        with trio.fail_after(5):
            codes = [(await push.settled()).code for push in pushes]
    assert done.code == 0
    shown = [json.loads(line)["event"]["message"]["message_id"] for line in done.out.splitlines()]
    assert shown == ["om_0", "om_1"]
    assert codes == [200, 200, 500, 500, 500, 500]


async def test_the_timeout_is_also_for_connecting() -> None:
    async with open_gateway() as gateway:
        gateway.hang_discovery()
        for timeout in ("0", "0.3"):
            done = await run("listen", "--timeout", timeout, env=environment(gateway))
            assert (done.code, done.out) == (4, "")
            assert done.err.startswith(f"feishu-trio: {gateway.domain}: no connection within {timeout} s")


async def test_a_directory_that_cannot_be_is_2(feishu_gateway: Gateway, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = await run("listen", "--output-dir", str(tmp_path / "file"), env=environment(feishu_gateway))
    assert done.code == 2
    assert done.err.startswith(f"feishu-trio: --output-dir: '{tmp_path}/file' cannot be written to: ")
    assert done.err.endswith("; it must be a directory; 'feishu-trio listen --help' has all options\n")


async def test_timeout_ends_it_well(feishu_gateway: Gateway) -> None:
    async with running("listen", "--timeout", "0.3", env=environment(feishu_gateway)) as listen:
        (connection,) = await feishu_gateway.wait_connected()
        done = await listen.done()
    assert (done.code, done.out) == (0, "")
    assert connection.close_code == 1000


async def test_a_wrong_use_is_2_and_one_line() -> None:
    async def misuse(expected: str, *args: str) -> None:
        done = await run("listen", *args)
        assert (done.code, done.out) == (2, "")
        assert expected in done.err
        assert "Traceback" not in done.err
        assert "s3cr3t" not in done.err

    id_and_secret = ("--app-id", "a", "--app-secret", "s3cr3t")
    async with trio.open_nursery() as nursery:
        for misused in (
            ("there is no app id: give --app-id, or set FEISHU_APP_ID",),
            ("there is no app secret: set FEISHU_APP_SECRET", "--app-id", "cli_1"),
            ("connections: 51 is not allowed", *id_and_secret, "--connections", "51"),
            ("nowhere.toml: cannot be read", "--config", "nowhere.toml"),
            ("--max-events", "--max-events", "0"),
        ):
            nursery.start_soon(misuse, *misused)


async def test_a_refusal_is_3(feishu_gateway: Gateway) -> None:
    done = await run("listen", env=environment(feishu_gateway, FEISHU_APP_SECRET="s3cr3t-and-wrong"))
    assert done.code == 3
    assert done.err.startswith("feishu-trio: Feishu refused the connection with code 10014")
    assert "s3cr3t" not in done.err
    assert "Traceback" not in done.err


async def test_unreachable_is_4(tmp_path: Path) -> None:
    config = tmp_path / "feishu.toml"
    config.write_text('domain = "http://127.0.0.1:1"\nmax_reconnect_attempts = 1\nreconnect_delay = 0.01\n')
    done = await run("listen", "--config", str(config), "--app-id", "cli_1", "--app-secret", "s3cr3t")
    assert done.code == 4
    last = done.err.splitlines()[-1]
    assert last.startswith("feishu-trio: given up after 1 tries")
    assert last.endswith("check the network, the proxy (HTTPS_PROXY) and --domain")
    assert "Traceback" not in done.err


async def test_a_section_of_a_config_file_counts_less_than_variables(
    feishu_gateway: Gateway, tmp_path: Path
) -> None:
    config = tmp_path / "appsettings.json"
    settings = {"AppId": "cli_other", "AppSecret": "s", "BaseUrl": feishu_gateway.domain}
    config.write_text(json.dumps({"Production": {"Feishu": settings}}))
    env = environment(feishu_gateway)
    del env["FEISHU_DOMAIN"]
    async with running("listen", "--config", f"{config}:Production:Feishu", env=env) as listen:
        await feishu_gateway.wait_connected()
        listen.process.terminate()
        assert (await listen.done()).code == 143


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_a_signal_ends_it_in_order(feishu_gateway: Gateway, signum: signal.Signals, code: int) -> None:
    async with running("listen", env=environment(feishu_gateway)) as listen:
        (connection,) = await feishu_gateway.wait_connected()
        await feishu_gateway.wait_ping()
        await feishu_gateway.push("im.message.receive_v1", MESSAGE)
        await listen.line()
        listen.process.send_signal(signum)
        done = await listen.done()
    assert done.code == code
    assert "Traceback" not in done.err
    assert connection.close_code == 1000


async def test_a_signal_ends_it_while_it_connects() -> None:
    async with open_gateway() as gateway:
        gateway.hang_discovery()
        async with running("listen", env=environment(gateway)) as listen:
            with trio.fail_after(5):
                while not gateway.requests:  # noqa: ASYNC110  they cannot be waited on
                    await trio.sleep(0.02)
            listen.process.send_signal(signal.SIGINT)
            done = await listen.done()
    assert (done.code, "Traceback" in done.err) == (130, False)


async def test_a_closed_pipe_ends_it() -> None:
    async with open_gateway(ladder=()) as gateway, running("listen", env=environment(gateway)) as listen:
        await gateway.wait_connected()
        first = await gateway.push("im.message.receive_v1", message(1))
        await listen.line()
        assert (await first.settled()).code == 200
        assert listen.process.stdout is not None
        await listen.process.stdout.aclose()
        second = await gateway.push("im.message.receive_v1", message(2))
        with trio.fail_after(10):
            assert (await second.settled()).code == 500
            assert await listen.process.wait() == 0


async def test_a_reader_that_hangs_holds_up_no_heartbeat() -> None:
    async with (
        open_gateway(client_config={"PingInterval": 1}) as gateway,
        running("listen", env=environment(gateway)) as listen,
    ):
        await gateway.wait_connected()
        await gateway.push("im.message.receive_v1", {"filler": "x" * 1_000_000})
        await gateway.wait_ping(3)
        listen.process.send_signal(signal.SIGINT)
        assert await listen.process.wait() == 130


async def test_no_secret_is_logged_even_with_everything_logged(feishu_gateway: Gateway) -> None:
    async with running("listen", "-vv", "--timeout", "0.3", env=environment(feishu_gateway)) as listen:
        await feishu_gateway.wait_connected()
        done = await listen.done()
    upgrade = feishu_gateway.requests[-1].query
    assert upgrade["device_id"] in done.err
    for secret in (upgrade["ticket"], upgrade["access_key"], feishu_gateway.app_secret):
        assert secret not in done.err


async def test_a_terminal_gets_readable_lines(feishu_gateway: Gateway) -> None:
    env = environment(feishu_gateway, TERM="dumb")
    async with on_terminal("listen", "--max-events", "4", env=env) as terminal:
        await feishu_gateway.wait_connected()
        hostile = {
            "message_type": "text",
            "content": json.dumps({"text": "\x1b[2Jgone\u202e"}),
            "chat_id": "oc_9",
        }
        await feishu_gateway.push("im.message.receive_v1", MESSAGE)
        await feishu_gateway.push("im.message.receive_v1", {"message": {**hostile, "message_id": "om_9"}})
        click = {"operator": {"open_id": "ou_1"}, "context": {"open_chat_id": "oc_1"}, "token": "c-s3cr3t"}
        await feishu_gateway.push("card.action.trigger", click)
        await feishu_gateway.push(
            "im.chat.\x1b[31mdisbanded_v1", {"operator_id": {"open_id": "\x1b[3"}, "n": 1}
        )
        assert await terminal.ends() == 0
    found = terminal.sees()
    lines = [line[10:].rstrip() for line in found.splitlines() if "connect" not in line]
    assert lines[:4] == [
        "im.message.receive_v1  ou_1 in oc_1 (group)",
        "你好, @Bob",
        "im.message.receive_v1  in oc_9",
        r"\x1b[2Jgone\u202e",
    ]
    assert lines[4] == "card.action.trigger  ou_1 in oc_1"
    assert r"im.chat.\x1b[31mdisbanded_v1  \x1b[3" in lines
    assert "c-s3cr3t" not in found
    assert b"\x1b[" not in terminal.written
