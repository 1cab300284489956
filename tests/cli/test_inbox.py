from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from feishu_trio import Event, Router, SQLiteInbox
from feishu_trio.cli.inbox import _age, _seconds
from feishu_trio.testing import Gateway
from session.rig import come_true, open_real_session

from .commands import environment, run, running
from .terminals import shown


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


async def terminal(path: Path, *args: str) -> str:
    """What a command shows on a wide terminal."""
    url = f"sqlite:{path}"
    _, found = await shown(
        "inbox", *args, "--inbox", url, env=environment(TERM="dumb"), columns=200, lines=50
    )
    return f"{found}\n"


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
    assert (done.code, done.out) == (1, '{"requeued": 0}\n')
    assert done.err == f"feishu-trio: '{dead[0]}' is not requeued: it is ready, and no dead letter\n"


async def test_of_several_the_dead_letters_are_requeued_and_the_others_named(
    feishu_gateway: Gateway, path: Path
) -> None:
    dead = await fill(feishu_gateway, path, 2)
    (done_event,) = await inbox(path, "list", "--state", "done")
    ids = [dead[0], done_event["id"], "nowhere", dead[1], dead[0]]
    done = await run("inbox", "requeue", *ids, "--inbox", f"sqlite:{path}")
    assert (done.code, done.out) == (1, '{"requeued": 2}\n')
    assert done.err == (
        f"feishu-trio: '{done_event['id']}' is not requeued: it is done, and no dead letter\n"
        f"there is no event 'nowhere' in sqlite:{path}\n"
    )
    assert (await inbox(path, "stats"))[0]["ready"] == 2


async def test_all_are_requeued_once_also_where_they_die_again_at_once(
    feishu_gateway: Gateway, path: Path
) -> None:
    await fill(feishu_gateway, path, 2)
    router, runs = Router(), []

    @router.on("contact.user.created_v3")
    async def fail(event: Event[Any]) -> None:
        runs.append(event.id)
        raise ValueError("still no")

    bot = SQLiteInbox(path, max_attempts=1)
    async with open_real_session(feishu_gateway, router=router, inbox=bot):
        assert await inbox(path, "requeue", "--all") == [{"requeued": 2}]
        with trio.fail_after(5):
            await come_true(lambda: len(runs) == 2)


async def test_a_purge_of_none_says_why(feishu_gateway: Gateway, path: Path) -> None:
    await fill(feishu_gateway, path, 2)
    purge = ["purge", "--state", "dead"]
    shown = await terminal(path, *purge, "--older-than", "90m")
    assert re.fullmatch(
        r"0 purged: of 2 dead events the oldest has been so for \d+s; --older-than is 90m\n", shown
    )
    assert await terminal(path, *purge, "--older-than", "0s") == "2 purged\n"
    assert await terminal(path, *purge, "--older-than", "0s") == "0 purged: no event is dead\n"
    assert " of 1 done event the oldest " in await terminal(path, "purge", "--state", "done")


@pytest.mark.parametrize(
    ("seconds", "age"),
    [(-5, "0s"), (0.9, "0s"), (59.9, "59s"), (60, "1m"), (7199, "1h"), (86_400 * 30.5, "30d")],
)
def test_an_age_is_one_that_older_than_takes(seconds: float, age: str) -> None:
    assert _age(seconds) == age
    assert _seconds(age) <= max(0, seconds)


async def test_what_ran_when_the_bot_was_killed_is_told_of_as_that(path: Path) -> None:
    program = f"""
import trio
from feishu_trio import SQLiteInbox
from feishu_trio.inbox.records import Entry
async def main():
    inbox = SQLiteInbox({str(path)!r})
    async with trio.open_nursery() as nursery:
        await nursery.start(inbox.serve, "cli_a", 60.0)
        await inbox.store([Entry(keys=("event:" + k,), id=k, type="x.y", lane=None, payload=b"1") for k in "ab"])
        await inbox.claim(10)
        print("claimed", flush=True)
        await trio.sleep_forever()
trio.run(main)
"""
    hint = "2 events were running when the bot ended: they run again when it starts\n"
    async with running("-c", program, env=environment(), command=[sys.executable]) as bot:
        assert await bot.line() == "claimed"
        assert "the bot ended" not in await terminal(path, "stats")
        assert "the bot ended" not in await terminal(path, "list", "--state", "running")
    assert (await terminal(path, "stats")).endswith(hint)
    assert (await terminal(path, "list", "--state", "running")).endswith(hint)
    assert "1 event was running when the bot ended: it runs again" in await terminal(path, "show", "a")
    (stats,) = await inbox(path, "stats")
    assert (stats["running"], "hint" in stats) == (2, False)
    assert "the bot ended" not in await terminal(path, "list", "--state", "done")
    lock = path.with_name("bot.db.lock")
    lock.unlink()
    lock.mkdir()  # as for somebody who may only read: whether a bot has the file open cannot be found out
    shown = await terminal(path, "stats")
    assert re.search(r"\n *running +2\n", shown)
    assert "the bot ended" not in shown
    lock.rmdir()
    async with trio.open_nursery() as nursery:
        await nursery.start(SQLiteInbox(path).serve, "cli_a", 60.0)
        nursery.cancel_scope.cancel()
    shown = await terminal(path, "list", "--state", "ready")
    assert re.search(r"^ +1  a  attempts: 0  [-0-9]+ [:0-9]+\n        x.y, crashes: 1\n", shown)


async def test_what_is_shown_of_an_event_says_of_when_it_is(feishu_gateway: Gateway, path: Path) -> None:
    (dead,) = await fill(feishu_gateway, path, 1)
    shown = await terminal(path, "show", dead)
    assert re.search(r"\n *error +fill.<locals>.fail: ValueError: no", shown)
    assert re.search(
        r"\nhandlers, as each ended last\n  fill.<locals>.fail: ValueError: no.*\d\npayload\n\{\n", shown
    )
    await inbox(path, "requeue", dead)
    shown = await terminal(path, "show", dead)
    assert re.search(r"\n *state +ready", shown)
    assert re.search(r"\n *earlier error +fill.<locals>.fail: ValueError: no", shown)
    assert re.search(r"\n  fill.<locals>.fail: ValueError: no.*, before it was\s+requeued\n", shown)
    assert "ValueError" not in await terminal(path, "list", "--state", "ready")
    (done,) = await inbox(path, "list", "--state", "done")
    shown = await terminal(path, "show", done["id"])
    assert shown.endswith("its payload, and how each handler fared, are not kept once it is done\n")


async def test_a_list_that_is_cut_off_says_so(feishu_gateway: Gateway, path: Path) -> None:
    await fill(feishu_gateway, path, 3)
    numbers = [each["number"] for each in await inbox(path, "list")]
    shown = await terminal(path, "list", "--limit", "2")
    assert shown.endswith(f"there are more: --after {numbers[1]} shows the next\n")
    assert "there are more" not in await terminal(path, "list", "--after", str(numbers[1]))
    assert await terminal(path, "list", "--after", str(numbers[2])) == (
        f"no event is dead behind number {numbers[2]}\n"
    )


async def test_an_event_that_was_not_begun_says_so(feishu_gateway: Gateway, path: Path) -> None:
    async with open_real_session(feishu_gateway, inbox=SQLiteInbox(path), claim=False):
        push = await feishu_gateway.push("im.chat.disbanded_v1")
        await push.settled()
    assert "\nhandlers, as each ended last\n  none has ended yet\n" in await terminal(
        path, "show", push.event_id
    )


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
        shown = await terminal(path, *command)
        assert "\x1b" not in shown
        wanted = {"stats": "dead", "waiting": "no event is waiting"}.get(command[-1], dead)
        assert wanted in shown


@pytest.mark.parametrize(
    ("args", "code", "match"),
    [
        (["list", "--inbox", "bot.db"], 2, "it must be sqlite:PATH"),
        (["backup", "copy.db", "--inbox", "redis://x"], 2, "it must be sqlite:PATH"),
        (["list", "--inbox", "sqlite:nowhere.db"], 1, "there is no such file"),
        (["show", "x", "--inbox", "sqlite:{path}"], 1, "there is no event 'x' in sqlite:{path}"),
        (["requeue", "--inbox", "sqlite:{path}"], 2, "give the ids of dead letters, or --all"),
        (["requeue", "a", "--all", "--inbox", "sqlite:{path}"], 2, "dead letters, or --all, not both"),
        (["purge", "--state", "ready", "--inbox", "sqlite:{path}"], 2, "one of done, dead, parked"),
        (
            ["purge", "--state", "dead", "--older-than", "soon", "--inbox", "sqlite:{path}"],
            2,
            "--older-than: 'soon' is not allowed; it must be such as 90, 90s, 30m, 12h or 7d; "
            "'feishu-trio inbox purge --help' has all options",
        ),
        (["show", "9" * 5000, "--inbox", "sqlite:{path}"], 1, "there is no event '999"),
        (["list", "--inbox", "sqlite://nowhere.db"], 1, "'nowhere.db': there is no such file"),
        (["list", "--inbox", "http://me:hidden@host/0"], 2, "'http://***@host/0' is not allowed"),
        (["list"], 2, "--inbox"),
    ],
)
async def test_a_mistake_is_named(
    feishu_gateway: Gateway, path: Path, args: list[str], code: int, match: str
) -> None:
    await fill(feishu_gateway, path, 0)
    done = await run("inbox", *(each.format(path=path) for each in args))
    assert done.code == code
    assert match.format(path=path) in done.err
    assert "hidden" not in done.err
    assert "Traceback" not in done.err
