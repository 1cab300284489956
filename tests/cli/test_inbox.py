from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import trio

from feishu_trio import Event, Router, SQLiteInbox
from feishu_trio.testing import Gateway
from session.rig import come_true, open_real_session

from .commands import COMMAND, environment, run


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bot.db"


async def fill(gateway: Gateway, path: Path, count: int = 2) -> list[str]:
    """Leave so many dead letters and one done event; the ids of the dead."""
    router, dead = Router(), []

    @router.on("contact.user.created_v3")
    async def fail(event: Event[Any]) -> None:
        raise ValueError("no\x1b[31m")

    @router.on("im.chat.disbanded_v1")
    async def ok(event: Event[Any]) -> None:
        pass

    inbox = SQLiteInbox(path, max_attempts=1)
    async with open_real_session(gateway, router=router, inbox=inbox) as session:
        for _ in range(count):
            dead.append(
                (await gateway.push("contact.user.created_v3", {"object": {"name": "张三"}})).event_id
            )
        await gateway.push("im.chat.disbanded_v1")
        with trio.fail_after(20):
            await come_true(lambda: (session.stats().dead, session.stats().handled) == (count, 1))
    return dead


async def inbox(path: Path, *args: str) -> list[dict[str, Any]]:
    done = await run("inbox", *args, "--inbox", f"sqlite:{path}")
    assert (done.code, done.err) == (0, "")
    return [json.loads(line) for line in done.out.splitlines()]


async def test_a_pipe_gets_json_lines(feishu_gateway: Gateway, path: Path) -> None:
    dead = await fill(feishu_gateway, path)
    listed = await inbox(path, "list")
    assert [each["id"] for each in listed] == dead
    assert (listed[0]["state"], listed[0]["attempts"]) == ("dead", 1)
    assert [each["id"] for each in await inbox(path, "list", "--after", str(listed[0]["number"]))] == dead[1:]
    assert len(await inbox(path, "list", "--limit", "1")) == 1
    assert [each["type"] for each in await inbox(path, "list", "--state", "done")] == ["im.chat.disbanded_v1"]
    (shown,) = await inbox(path, "show", dead[0])
    assert shown["payload"]["event"]["object"]["name"] == "张三"
    assert shown["handlers"][0]["error"] == "ValueError: no\x1b[31m"
    assert await inbox(path, "show", str(shown["number"])) == [shown]
    (stats,) = await inbox(path, "stats")
    assert (stats["dead"], stats["done"], stats["oldest"]) == (2, 1, None)


async def test_dead_letters_are_requeued_and_purged(feishu_gateway: Gateway, path: Path) -> None:
    dead = await fill(feishu_gateway, path, 3)
    assert await inbox(path, "requeue", dead[0]) == [{"requeued": 1}]
    assert await inbox(path, "purge", "--state", "dead") == [{"purged": 0}], "they are not seven days old"
    assert await inbox(path, "purge", "--state", "done", "--older-than", "0s") == [{"purged": 1}]
    assert await inbox(path, "requeue", "--all") == [{"requeued": 2}]
    (stats,) = await inbox(path, "stats")
    assert (stats["ready"], stats["dead"], stats["done"]) == (3, 0, 0)
    done = await run("inbox", "requeue", dead[0], "--inbox", f"sqlite:{path}")
    assert (done.code, done.err) == (1, "feishu-trio: 0 of 1 are requeued: the others are no dead letters\n")


async def test_while_the_bot_runs_it_takes_a_request_up(feishu_gateway: Gateway, path: Path) -> None:
    (dead,) = await fill(feishu_gateway, path, 1)
    router, handled = Router(), []

    @router.on("contact.user.created_v3")
    async def ok(event: Event[Any]) -> None:
        handled.append((event.id, event.attempt))

    async with open_real_session(feishu_gateway, router=router, inbox=SQLiteInbox(path)):
        assert await inbox(path, "requeue", "--all") == [{"requeued": 1}]
        with trio.fail_after(5):
            await come_true(lambda: handled == [(dead, 1)])


async def test_a_backup_is_a_whole_inbox(feishu_gateway: Gateway, path: Path, tmp_path: Path) -> None:
    dead = await fill(feishu_gateway, path)
    copy = tmp_path / "copy.db"
    assert await inbox(path, "backup", str(copy)) == [{"backup": str(copy)}]
    assert [each["id"] for each in await inbox(copy, "list")] == dead


async def test_a_terminal_gets_tables_and_nothing_that_controls_it(
    feishu_gateway: Gateway, path: Path
) -> None:
    (dead,) = await fill(feishu_gateway, path, 1)
    for command in (["list"], ["show", dead], ["stats"], ["list", "--state", "waiting"]):
        ours, theirs = os.openpty()
        try:
            with trio.fail_after(20):
                await trio.run_process(
                    [*COMMAND, "inbox", *command, "--inbox", f"sqlite:{path}"],
                    env=environment(COLUMNS="200", TERM="dumb"),
                    stdout=theirs,
                )
            shown = os.read(ours, 100_000).decode()
        finally:
            os.close(ours)
            os.close(theirs)
        assert "\x1b" not in shown
        wanted = {"stats": "dead", "waiting": "no event is waiting"}.get(command[-1], dead)
        assert wanted in shown


@pytest.mark.parametrize(
    ("args", "code", "match"),
    [
        (["list", "--inbox", "bot.db"], 2, "it must be sqlite:PATH"),
        (["list", "--inbox", "redis://x"], 2, "it must be sqlite:PATH"),
        (["list", "--inbox", "sqlite:nowhere.db"], 1, "there is no such file"),
        (["show", "x", "--inbox", "sqlite:{path}"], 1, "there is no event 'x'"),
        (["requeue", "--inbox", "sqlite:{path}"], 2, "give the ids of dead letters, or --all"),
        (["requeue", "a", "--all", "--inbox", "sqlite:{path}"], 2, "give the ids of dead letters, or --all"),
        (["purge", "--state", "ready", "--inbox", "sqlite:{path}"], 2, "one of done, dead, parked"),
        (["purge", "--state", "dead", "--older-than", "soon", "--inbox", "sqlite:{path}"], 2, "--older-than"),
        (["list"], 2, "--inbox"),
    ],
)
async def test_a_mistake_is_named(
    feishu_gateway: Gateway, path: Path, args: list[str], code: int, match: str
) -> None:
    await fill(feishu_gateway, path, 0)
    done = await run("inbox", *(each.format(path=path) for each in args))
    assert done.code == code
    assert match in done.err
    assert "Traceback" not in done.err
