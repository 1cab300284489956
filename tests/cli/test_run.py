"""`feishu-trio run` and `worker`, and `feishu_trio.run`: services that end in good order."""

from __future__ import annotations

import json
import re
import signal
import sys
from pathlib import Path

import pytest
import trio

from feishu_trio import Router, SQLiteInbox, run
from feishu_trio.testing import Gateway
from session.rig import come_true

from . import commands
from .commands import environment, running

BOT = """
import trio
from feishu_trio import Router
router = Router()

@router.on("im.message.receive_v1")
async def answer(event):
    await event.reply("begun")
    await trio.sleep(60 if "long" in event.text else 0.3)
    await event.reply("done")

def make():
    return router

nothing = 3
"""
STAYS = """
import pathlib, time
def stays(seconds, touch=pathlib.Path("stays").touch, sleep=time.sleep):
    touch()
    sleep(seconds)

"""
PROGRAM = """
import os
from feishu_trio import run
from bot import router
run(router, shutdown_timeout=5)
print("ended", flush=True)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "bot.py").write_text(BOT)
    (tmp_path / "program.py").write_text(PROGRAM)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(kind: str) -> tuple[list[str] | None, list[str]]:
    """A command and its arguments: the service, or a program that does the same."""
    return (None, ["run", "bot:router"]) if kind == "run" else ([sys.executable, "program.py"], [])


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("kind", ["run", "program"])
@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_handlers_end(feishu_gateway: Gateway, kind: str, which: signal.Signals) -> None:
    program, arguments = command(kind)
    tom = feishu_gateway.user("Tom")
    async with running(*arguments, env=environment(feishu_gateway), command=program) as service:
        await feishu_gateway.wait_connected()
        said = await tom.says("hello")
        await tom.waits_for("begun")
        service.process.send_signal(which)
        done = await service.done()
    assert (done.code, (await said.push.settled()).code) == (0, 200)
    assert "done" in tom.sees()
    assert "Traceback" not in done.err
    assert done.out == ("ended\n" if kind == "program" else "")


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("kind", ["run", "program"])
@pytest.mark.parametrize(("which", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
async def test_a_second_signal_ends_it_at_once(
    feishu_gateway: Gateway, kind: str, which: signal.Signals, code: int
) -> None:
    program, arguments = command(kind)
    tom = feishu_gateway.user("Tom")
    async with running(*arguments, env=environment(feishu_gateway), command=program) as service:
        await feishu_gateway.wait_connected()
        await tom.says("hello, long")
        await tom.waits_for("begun")
        service.process.send_signal(signal.SIGTERM)
        await trio.sleep(0.5)
        assert service.process.poll() is None, "it did not wait for its handler"
        service.process.send_signal(which)
        done = await service.done()
    assert done.code == code
    assert "Traceback" not in done.err


BLOCKED = """
import re
import time
import trio
from feishu_trio import Router, run
router = Router()

@router.on("im.message.receive_v1")
async def blocks(event):
    await event.reply("begun")
    {before}
    open("blocked", "w").close()
    {blocks}

if __name__ == "__main__":
    run(router)
"""


@pytest.mark.parametrize(
    ("kind", "before", "blocks", "which", "code"),
    [
        ("run", "", "while True: pass", signal.SIGTERM, 143),
        ("program", "await trio.sleep(0.6)", "time.sleep(1e6)", signal.SIGINT, 130),
        ("program", "", "re.match('(a+)+$', 'a' * 99 + 'b')", signal.SIGTERM, 143),
    ],
    ids=["before the first", "after the first", "without letting threads run"],
)
async def test_a_second_signal_ends_it_though_a_handler_blocks_the_loop(
    feishu_gateway: Gateway,
    folder: Path,
    kind: str,
    before: str,
    blocks: str,
    which: signal.Signals,
    code: int,
) -> None:
    (folder / "bot.py").write_text(BLOCKED.format(before=before, blocks=blocks))
    program, arguments = command(kind)
    if program is not None:
        program = [sys.executable, "bot.py"]
    tom = feishu_gateway.user("Tom")
    async with running(*arguments, env=environment(feishu_gateway), command=program) as service:
        await feishu_gateway.wait_connected()
        await tom.says("hello")
        await tom.waits_for("begun")
        if not before:
            await come_true((folder / "blocked").exists)
        service.process.send_signal(signal.SIGTERM)
        await come_true((folder / "blocked").exists)
        await trio.sleep(0.1)
        assert service.process.poll() is None
        service.process.send_signal(which)
        with trio.fail_after(5):
            assert (await service.done()).code == code


@pytest.mark.parametrize(("which", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
async def test_a_signal_ends_it_before_there_is_a_loop_and_after_it(
    feishu_gateway: Gateway, folder: Path, which: signal.Signals, code: int
) -> None:
    for when, line, ends in (
        ("before", "stays(60)", code),
        ("after", "import atexit; atexit.register(stays, 60)", code),
        ("last", "last = type('Last', (), {'__del__': lambda self, stays=stays: stays(0.5)})()", 0),
    ):
        (folder / "stays").unlink(missing_ok=True)
        (folder / f"{when}.py").write_text(f"{STAYS}{line}\n{BOT}")
        async with running("run", f"{when}:router", env=environment(feishu_gateway)) as service:
            if when != "before":
                await feishu_gateway.wait_connected()
                service.process.send_signal(signal.SIGTERM)
            await come_true((folder / "stays").exists)
            service.process.send_signal(which)
            done = await service.done()
        assert (when, done.code, "Traceback" in done.err) == (when, ends, False)


@pytest.mark.usefixtures("folder")
async def test_a_signal_before_it_is_connected(feishu_gateway: Gateway) -> None:
    env = environment(feishu_gateway, FEISHU_DOMAIN="http://127.0.0.1:9")
    async with running("run", "bot:router", "-v", env=env) as service:
        assert service.process.stderr is not None
        while b"127.0.0.1" not in await service.process.stderr.receive_some():
            pass
        service.process.send_signal(signal.SIGTERM)
        assert (await service.done()).code == 0


async def test_a_worker_handles_what_a_receiver_stored(feishu_gateway: Gateway, folder: Path) -> None:
    tom, env = feishu_gateway.user("Tom"), environment(feishu_gateway)
    async with running("run", "bot:make", "--inbox", "sqlite:bot.db", env=env) as service:
        await feishu_gateway.wait_connected()
        said = await tom.says("hello, long")
        assert (await said.push.settled()).code == 200
        await tom.waits_for("begun")
        service.process.kill()
        await service.process.wait()
    (folder / "bot.py").write_text(BOT.replace("60 if", "0.1 if"))
    async with running("worker", "bot:router", "--inbox", "sqlite:bot.db", env=env) as worker:
        await tom.waits_for("done")
        worker.process.send_signal(signal.SIGTERM)
        done = await worker.done()
        assert done.code == 0
    crashed, began, ended = (line[10:] for line in done.err.splitlines())
    assert "it runs again" in crashed
    assert began == f"working: answer for {SQLiteInbox('bot.db')!r}"
    assert re.fullmatch(r"the worker ended after \d+\.\d s", ended)
    assert tom.sees().count("begun") == 1


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "bot"], "MODULE:ROUTER"),
        (["run", "./bot.py:router"], "it must be MODULE:ROUTER, and no path; did you mean bot:router?"),
        (["run", "other.py:router"], "there is no module other; it is looked for in "),
        (["run", "bot.py:router"], "there is no module bot.py; "),
        (["run", "bot.py:router"], "where Python looks; did you mean bot:router?"),
        (["run", "bot:other"], "bot has no other; did you mean bot:router?"),
        (["run", "bot:nothing"], "it is a int, and must be a Router"),
        (["run", "bot:Router"], "it is the class itself, and must be a Router that has the handlers"),
        (["run", "bot:router", "--inbox", "bot.db"], "or redis://HOST"),
        (["worker", "bot:router", "--inbox", "sqlite:"], "it must be sqlite:PATH"),
        (
            ["worker", "bot:router", "--inbox", "sqlite:bot.db?window=0"],
            "--inbox: window: 0.0 is not allowed",
        ),
        (
            ["run", "bot:router", "--no-claim"],
            "--no-claim needs an inbox to store in: give --inbox; 'feishu-trio run --help' has all options",
        ),
        (["run", "bot:router", "--inbox", "redis://"], "--inbox: url: 'redis://' is not allowed"),
        (["run", "bot:router", "--log-format", "xml"], "'xml' is not allowed; it must be one of text, json;"),
        (["run", "bot:router", "--metrics-port", "x"], "'x' is not allowed; it must be a whole"),
        (["run", "bot:router", "--domain", "x"], "--domain: domain: 'x' is not allowed"),
        (["run", "bot:router", "--inbox", "Redis://:pw@host"], "--inbox: 'Redis://***@host' is not allowed"),
    ],
)
async def test_mistakes(feishu_gateway: Gateway, arguments: list[str], words: str) -> None:
    done = await commands.run(*arguments, env=environment(feishu_gateway))
    assert (done.code, done.out) == (2, "")
    assert words in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    "arguments", [["run", "bot:router"], ["worker", "bot:router"], ["inbox", "stats"]], ids=" ".join
)
async def test_an_inbox_may_stand_in_the_environment(arguments: list[str]) -> None:
    """As its URL may hold a password, and arguments can be read by others."""
    env = environment(FEISHU_APP_ID="cli_1", FEISHU_APP_SECRET="secret", FEISHU_INBOX="mysql://:pw@host")
    done = await commands.run(*arguments, env=env)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("feishu-trio: FEISHU_INBOX: 'mysql://***@host' is not allowed")


@pytest.mark.parametrize(
    ("program", "code", "words"),
    [
        ("router = (", 1, 'bot.py", line 1\n    router = (\n             ^\nSyntaxError: '),
        ("import nowhere", 1, "    import nowhere\nModuleNotFoundError: No module named 'nowhere'\n"),
        ("import bot.nowhere", 1, "No module named 'bot.nowhere'; 'bot' is not a package\n"),
        ("def router():\n    open('nowhere')", 1, "bot.py\", line 2, in router\n    open('nowhere')\n"),
        ("import other", 2, "other.py, line 2: timeout: 0 is not allowed; "),
        ("import program", 2, "program.py, line 4: run is called as the module is imported, "),
        ("import coredis.nowhere", 2, "say: pip install 'feishu-trio[redis]'"),
    ],
)
async def test_an_error_in_the_bot_is_shown_without_what_led_there(
    folder: Path, program: str, code: int, words: str
) -> None:
    (folder / "bot.py").write_text(program)
    (folder / "other.py").write_text("from feishu_trio import Router\nRouter().on('a.b', timeout=0)(print)\n")
    (folder / "program.py").write_text(
        "from feishu_trio import Router, run\n\nrouter = Router()\nrun(router)\n"
    )
    env = environment(FEISHU_APP_ID="cli_1", FEISHU_APP_SECRET="secret")
    done = await commands.run("run", "bot:router", env=env)
    assert (done.code, done.out) == (code, "")
    assert words in done.err
    assert "feishu_trio/cli" not in done.err
    assert "importlib" not in done.err


FAULTY = """
import logging, time
from feishu_trio import Router, run
router = Router()

@router.on("im.message.receive_v1")
async def breaks(event):
    logging.getLogger("mine").warning("got %s", event.text)
    if "block" in event.text:
        time.sleep(1.6)
        await event.reply("done")
    else:
        raise RuntimeError("app_secret=hunter2\\nand more")

if __name__ == "__main__":
    run(router, log_format="json")
"""


@pytest.mark.parametrize("kind", ["run", "program"])
async def test_its_log_is_one_object_a_line(feishu_gateway: Gateway, folder: Path, kind: str) -> None:
    """Connections, an exception, the bot's own lines, and where the loop stood still."""
    (folder / "bot.py").write_text(FAULTY)
    program, arguments = commands.COMMAND, ["run", "bot:router", "--log-format", "json"]
    if kind == "program":
        program, arguments = [sys.executable, "bot.py"], []
    tom = feishu_gateway.user("Tom")
    async with running(*arguments, env=environment(feishu_gateway), command=program) as service:
        await feishu_gateway.wait_connected()
        said = await tom.says("hello\nyou")
        assert (await said.push.answer()).code == 500
        if kind == "run":
            await tom.says("block")
            await tom.waits_for("done")
        service.process.send_signal(signal.SIGTERM)
        done = await service.done()
    assert done.code == 0
    assert feishu_gateway.app_secret not in done.err
    assert "hunter2" not in done.err
    lines = [json.loads(line) for line in done.err.splitlines()]
    own = next(line for line in lines if line["logger"] == "mine")
    assert own["message"] == "got hello\nyou"
    connected = next(line for line in lines if line["message"].startswith("connected"))
    assert connected["level"] == "INFO"
    assert connected["feishu_connection_id"]
    (failed,) = (line for line in lines if "exception" in line)
    assert (failed["feishu_event_type"], failed["feishu_handler"]) == ("im.message.receive_v1", "breaks")
    assert failed["feishu_event_id"] in failed["message"]
    assert failed["feishu_trace_id"]
    assert failed["exception"]["type"] == "RuntimeError"
    still = [line["message"] for line in lines if "stood still for 1." in line["message"]]
    assert len(still) == (kind == "run")
    assert all("bot.py:10 in breaks" in each for each in still)


async def test_its_log_as_text_has_no_secret_either(feishu_gateway: Gateway, folder: Path) -> None:
    (folder / "bot.py").write_text(FAULTY)
    async with running("run", "bot:router", env=environment(feishu_gateway)) as service:
        await feishu_gateway.wait_connected()
        said = await feishu_gateway.user("Tom").says(f"it is {feishu_gateway.app_secret}")
        assert (await said.push.answer()).code == 500
        service.process.send_signal(signal.SIGTERM)
        done = await service.done()
    assert done.code == 0
    assert "got it is ***" in done.err
    assert "RuntimeError: app_secret=***\nand more" in done.err
    assert feishu_gateway.app_secret not in done.err
    assert "hunter2" not in done.err


async def test_an_error_that_ends_it_is_an_object_too(feishu_gateway: Gateway, folder: Path) -> None:
    feishu_gateway.refuse_discovery(403)
    done = await commands.run("run", "bot:router", "--log-format", "json", env=environment(feishu_gateway))
    assert done.code == 3
    assert json.loads(done.err.splitlines()[-1])["level"] == "ERROR"


@pytest.mark.usefixtures("folder")
async def test_a_program_that_cannot_begin_shows_its_own_line_and_why() -> None:
    done = await commands.run(env=environment(), command=[sys.executable, "program.py"])
    assert (done.code, done.out) == (1, "")
    assert "program.py" in done.err
    assert "there is no app_id: " in done.err.splitlines()[-1]
    assert done.err.count("  File ") == 3, "the program, run, and where it raises"


async def test_it_is_a_whole_program() -> None:
    with pytest.raises(RuntimeError, match="run runs a whole program, and trio is running here already"):
        run(Router(), "cli_1", "secret")


async def test_it_is_run_in_the_main_thread() -> None:
    with pytest.raises(
        RuntimeError, match="only the main thread can: call it there, or run open_feishu_session"
    ):
        await trio.to_thread.run_sync(run, Router(), "cli_1", "secret")
