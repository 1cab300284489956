"""Every command on a terminal: of 80 × 24, without colours, one that can do nothing, and a narrow one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import attrs
import pyte
import pytest
import trio

from feishu_trio import Event, Router, SQLiteInbox, open_feishu_session
from feishu_trio.cli._app import app
from feishu_trio.testing import Gateway, open_gateway
from session.rig import come_true, open_real_session

from .commands import MESSAGE, environment
from .screens import assert_shown
from .terminals import Terminal, on_terminal

ROUTER = "from feishu_trio import Router\nrouter = Router()\n"


@attrs.frozen
class Kind:
    """A kind of terminal."""

    columns: int = 80
    env: tuple[tuple[str, str], ...] = ()

    def environment(self, gateway: Gateway | None = None) -> dict[str, str]:
        env = environment(gateway)
        del env["NO_COLOR"]
        return env | dict(self.env)


KINDS = {
    "normal": Kind(),
    "no colour": Kind(env=(("NO_COLOR", "1"),)),
    "dumb": Kind(env=(("TERM", "dumb"),)),
    "narrow": Kind(columns=40),
}


@pytest.fixture(params=list(KINDS.values()), ids=list(KINDS))
def kind(request: pytest.FixtureRequest) -> Kind:
    given: Kind = request.param
    return given


def check(terminal: Terminal, kind: Kind) -> None:
    """No line is wider than the terminal, nothing moves the cursor where it must not, and all is as before."""
    assert terminal.is_as_before
    assert "Traceback" not in terminal.sees()
    wide = pyte.HistoryScreen(300, 24, history=1000)
    pyte.ByteStream(wide).feed(bytes(terminal.written).replace(b"^C", b""))  # so a terminal shows the key
    for line in [*wide.history.top, *(wide.buffer[number] for number in range(24))]:
        text = "".join(line[at].data or " " for at in range(300)).rstrip()  # a wide character has two places
        # what is to be copied is left whole
        assert len(text) <= kind.columns or text.startswith("  export FEISHU_"), text
    escapes = set(re.findall(rb"\x1b[^a-zA-Z]*[a-zA-Z]", terminal.written))
    if ("TERM", "dumb") in kind.env:
        assert not escapes
    elif kind.env:
        assert all(each.endswith(b"m") for each in escapes)


def commands() -> Iterator[tuple[str, ...]]:
    yield ()
    yield from ((str(each.callback.__name__),) for each in app.registered_commands if each.callback)
    for group in app.registered_groups:
        yield (str(group.name),)
        assert group.typer_instance is not None
        for command in group.typer_instance.registered_commands:
            assert command.callback is not None
            yield str(group.name), command.name or command.callback.__name__


async def test_help_fits_and_has_a_word_on_everything(kind: Kind) -> None:
    shown: dict[tuple[str, ...], str] = {}
    limit = trio.CapacityLimiter(4)

    async def show(command: tuple[str, ...]) -> None:
        async with (
            limit,
            on_terminal(*command, "--help", env=kind.environment(), columns=kind.columns) as terminal,
        ):
            assert await terminal.ends() == 0
            check(terminal, kind)
            shown[command] = terminal.sees()

    async with trio.open_nursery() as nursery:
        # Its lines are the same without colours: a few will do.
        for command in islice(commands(), 3 if kind.env else None):
            nursery.start_soon(show, command)
    for command, text in shown.items():
        assert text.startswith(f"Usage: {' '.join(('feishu-trio', *command))}")
        assert not re.search(r"<\w+>|\[\[|\{\w|`|None", text), text
        if kind.columns >= 80:
            # each option and argument with what it is for
            for line in re.findall(r"^  (-.*)$", text, re.MULTILINE):
                assert re.fullmatch(r"-.*?\S  +\S.*", line), line


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], "Usage: feishu-trio COMMAND"),
        (["inbox"], "Usage: feishu-trio inbox COMMAND"),
        (["lisen"], "'lisen': there is no such command; did you mean 'listen'? there are demo, listen,"),
        (["inbox", "wipe"], "'wipe': there is no such command; there are list, show,"),
        (["listen", "--max-event", "1"], "--max-event: there is no such option; did you mean --max-events?"),
        (
            ["listen", "--max-events", "x"],
            "--max-events: 'x' is not allowed; it must be a whole number, 1 or more",
        ),
        (
            ["listen", "--timeout", "-1"],
            "--timeout: -1.0 is not allowed; it must be a number of seconds, 0 or more",
        ),
        (["listen", "--timeout", "nan"], "--timeout: nan is not allowed"),
        (
            ["gateway", "--port", "70000"],
            "--port: 70000 is not allowed; it must be a whole number from 0 to 65535",
        ),
        (
            ["inbox", "list", "--state", "odd"],
            "--state: 'odd' is not allowed; it must be one of ready, blocked,",
        ),
        (
            ["listen", "--type"],
            "--type is given without its value; 'feishu-trio listen --help' has all options",
        ),
        (
            ["listen", "a", "b"],
            "'a b': more than the command takes; 'feishu-trio listen --help' has all options",
        ),
        (["run"], "MODULE:ROUTER is missing; 'feishu-trio run --help' has all options"),
        (["inbox", "stats"], "--inbox is missing; 'feishu-trio inbox stats --help' has all options"),
        (
            ["listen", "--filter", "a"],
            "--filter: 'a' is not allowed; it must be PATH=VALUE, PATH!=VALUE or PATH~GLOB, such as "
            "event.message.chat_id=oc_1 or 'text~*deploy*'; 'feishu-trio listen --help' has all options",
        ),
        (["gateway", "--once"], "--once needs something to push: give --send, --event or --file"),
    ],
)
async def test_a_wrong_use_says_what_and_what_to_do(args: list[str], words: str) -> None:
    kind = KINDS["normal"]
    env = kind.environment() | {"FEISHU_APP_ID": "cli_1", "FEISHU_APP_SECRET": "s"}
    async with on_terminal(*args, env=env) as terminal:
        assert await terminal.ends() == 2
        check(terminal, kind)
        assert words in " ".join(terminal.sees().split())


async def test_doctor_config_and_refusals(feishu_gateway: Gateway, kind: Kind) -> None:
    env = kind.environment(feishu_gateway)

    async def see(code: int, words: str, *args: str) -> None:
        async with on_terminal(*args, env=env, columns=kind.columns) as terminal:
            assert await terminal.ends() == code
            check(terminal, kind)
            assert words in " ".join(terminal.sees().split())

    await see(0, "✓ bot Bot", "doctor")
    await see(0, "connections 3 --connections", "config", "--changed", "--connections", "3")
    await see(0, "dedupe_bytes 67108864", "config")
    await see(4, "nowhere.invalid", "listen", "--timeout", "0.3", "--domain", "http://nowhere.invalid")
    await see(3, "refused the connection with code 10014", "listen", "--app-secret", "wrong")


async def test_listen(feishu_gateway: Gateway, kind: Kind) -> None:
    env = kind.environment(feishu_gateway)
    async with on_terminal("listen", env=env, columns=kind.columns) as terminal:
        await feishu_gateway.wait_ping()
        for number in range(12):
            message = {**MESSAGE["message"], "message_id": f"om_{number}"}
            push = await feishu_gateway.push("im.message.receive_v1", {**MESSAGE, "message": message})
            await push.settled()
        if kind.env:
            await terminal.waits_for(lambda shown: shown.count("你好, @Bob") == 12)
        else:
            await terminal.waits_for(lambda _: "connected | 12 events | " in terminal.last())
        await terminal.types("\x03")
        assert await terminal.ends() == 130
        check(terminal, kind)
        assert terminal.sees().count("你好, @Bob") == 12
        assert "12 events |" not in terminal.sees()


def app_of(terminal: Terminal) -> dict[str, Any]:
    """The settings that a gateway names."""
    found = re.findall(r"export FEISHU_(\w+)=(\S+)", terminal.written.decode())
    return {name.lower(): value for name, value in found}


async def test_gateway(kind: Kind) -> None:
    router = Router()

    @router.on("im.message.receive_v1")
    async def answer(event: Event[object]) -> None:
        await event.reply("well")

    async with on_terminal(
        "gateway", "--send", "hello", env=kind.environment(), columns=kind.columns
    ) as terminal:
        await terminal.waits_for("no bot is")
        async with open_feishu_session(**app_of(terminal), router=router):
            await terminal.waits_for("well")
            await terminal.types("again\r")
            await terminal.waits_for(lambda shown: shown.count("answered in") == 2)
        await terminal.types("\x03")
        assert await terminal.ends() == 130
        check(terminal, kind)


@pytest.mark.parametrize(
    ("kind", "keys"),
    [(KINDS["normal"], "ab\x01\x04\x04\x04"), (KINDS["no colour"], "\x04")],
    ids=["prompt", "lines"],
)
async def test_ctrl_d_ends_the_gateway_as_ctrl_c_does(kind: Kind, keys: str) -> None:
    async with on_terminal("gateway", env=kind.environment()) as terminal:
        await terminal.waits_for("Ctrl-C ends it." if kind.env else "you>")
        await terminal.types(keys)  # it deletes what is typed, and ends an empty line
        assert await terminal.ends() == 130
        check(terminal, kind)


async def test_an_answer_that_streams_scrolls_above_the_prompt() -> None:
    router = Router()

    @router.on("im.message.receive_v1")
    async def think(event: Event[object]) -> None:
        async with event.stream() as answer:
            await answer.append("well")

    async with on_terminal("gateway", env=KINDS["normal"].environment()) as terminal:
        await terminal.waits_for("you>")
        async with open_feishu_session(**app_of(terminal), router=router):
            await terminal.types("hello\r")
            await terminal.waits_for("answered in")
        assert re.search(r"bot +well +reply\n", terminal.sees())
        assert "card_id" not in terminal.sees()
        terminal.process.terminate()
        assert await terminal.ends() == 143
        check(terminal, KINDS["normal"])


async def test_what_is_typed_is_not_torn_by_what_comes() -> None:
    router = Router()

    @router.on("im.message.receive_v1")
    async def answer(event: Event[object]) -> None:
        await event.reply(f"to {event.text}")

    async with on_terminal("gateway", env=KINDS["normal"].environment()) as terminal:
        await terminal.waits_for("you>")
        await terminal.types("half a 你")
        await terminal.waits_for(lambda _: terminal.last() == "you> half a 你")
        async with open_feishu_session(**app_of(terminal), router=router):
            await terminal.waits_for("1 connected")
            await terminal.types("好\x1b[D\x1b[Dline, \r")  # left, twice
            await terminal.waits_for("to half a line, 你好")
            await terminal.types("\x1b[A\x15more\r")  # up, and all before the cursor away
            await terminal.waits_for("to more")
            terminal.resize(60, 24)
            await terminal.types("x" * 100)
            await terminal.waits_for(lambda _: terminal.last() == f"you> {'x' * 54}")
        await terminal.waits_for("0 connected")
        assert terminal.sees().count("you>") == 1
        terminal.process.terminate()
        assert await terminal.ends() == 143
        check(terminal, KINDS["normal"])
        assert "you>" not in terminal.sees()


async def test_listen_on_a_terminal_that_is_stopped_keeps_its_heartbeats() -> None:
    async with open_gateway(client_config={"PingInterval": 1}) as gateway:
        env = KINDS["normal"].environment(gateway)
        async with on_terminal("listen", env=env) as terminal:
            await terminal.waits_for("connected |")
            await terminal.types("\x13")  # Ctrl-S
            await gateway.push("im.message.receive_v1", MESSAGE)
            await gateway.wait_ping(3)
            await terminal.types("\x11")  # Ctrl-Q
            await terminal.waits_for("你好, @Bob")
            await terminal.types("\x03")
            assert await terminal.ends() == 130
            check(terminal, KINDS["normal"])


async def test_the_status_follows_the_size_and_the_session(feishu_gateway: Gateway) -> None:
    kind = KINDS["normal"]
    async with on_terminal("listen", "--compact", env=kind.environment(feishu_gateway)) as terminal:
        await feishu_gateway.wait_ping()
        await feishu_gateway.push("im.message.receive_v1", MESSAGE)
        await terminal.waits_for(lambda _: bool(re.search(r"last \d s ago \| p50 ", terminal.last())))
        assert re.search(r"\n[\d:]+  im.message.receive_v1  oc_1  你好, @Bob\n", terminal.sees())
        terminal.resize(24, 24)
        await terminal.waits_for(lambda _: terminal.last() == "connected | 1 event")
        feishu_gateway.refuse_discovery(1000040343)
        await feishu_gateway.drop()
        await terminal.waits_for(lambda _: terminal.last().startswith("reconnecting"))
        terminal.process.terminate()
        assert await terminal.ends() == 143
        assert terminal.is_as_before


async def test_inbox(feishu_gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    router = Router()

    @router.on("contact.user.created_v3")
    async def fail(event: Event[object]) -> None:
        raise ValueError("no " + "and why it is so " * 8)

    inbox = SQLiteInbox("bot.db", max_attempts=1)
    async with open_real_session(feishu_gateway, router=router, inbox=inbox) as session:
        push = await feishu_gateway.push("contact.user.created_v3", {"object": {"name": "张三" * 50}})
        await come_true(lambda: session.stats().dead == 1)

    async def see(kind: Kind, words: str, *args: str) -> None:
        options = ("--inbox", "sqlite:bot.db")
        async with on_terminal(
            "inbox", *args, *options, env=kind.environment(), columns=kind.columns
        ) as terminal:
            assert await terminal.ends() == 0
            check(terminal, kind)
            assert words in " ".join(terminal.sees().split())

    for kind in KINDS.values():
        await see(kind, "contact.user.created_v3: ", "list")
        await see(kind, "attempts 1", "show", push.event_id)
        await see(kind, "dead 1", "stats")
        await see(kind, "0 purged: of 1 dead event", "purge", "--state", "dead")
        await see(kind, "copied to ", "backup", f"copy{kind.columns}{len(kind.env and kind.env[0][0])}.db")
        await see(kind, "no event is done", "list", "--state", "done")
    await see(KINDS["normal"], "1 requeued", "requeue", "--all")


async def test_run_and_worker(
    feishu_gateway: Gateway, kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bot.py").write_text(ROUTER)
    env = kind.environment(feishu_gateway)
    async with on_terminal("run", "bot:router", env=env, columns=kind.columns) as terminal:
        await feishu_gateway.wait_ping()
        await terminal.types("\x03")
        assert await terminal.ends() == 0
        check(terminal, kind)
        assert "connected: connection" in " ".join(terminal.sees().split())
    worker = ("worker", "bot:router", "--inbox", "sqlite:bot.db")
    async with on_terminal(*worker, env=env, columns=kind.columns) as terminal:
        while not (tmp_path / "bot.db").exists():  # noqa: ASYNC110  it shows nothing
            await trio.sleep(0.02)
        await terminal.types("\x03")
        assert await terminal.ends() == 0
        check(terminal, kind)


async def test_demo() -> None:
    async def see(kind: Kind) -> None:
        async with on_terminal("demo", env=kind.environment(), columns=kind.columns) as terminal:
            assert await terminal.ends() == 0
            check(terminal, kind)
            assert "Anybody there?" in terminal.sees()
            if kind.columns >= 80:
                assert_shown("demo", terminal.sees())

    async with trio.open_nursery() as nursery:  # it mostly sleeps
        for kind in KINDS.values():
            nursery.start_soon(see, kind)
