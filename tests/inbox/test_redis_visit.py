"""An inbox in Redis that is visited: looked at and mended beside those that serve it, and by a command."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trio

from cli.commands import COMMAND, environment
from feishu_trio import ConfigError, InboxError, InboxUnreachable, RedisInbox, SQLiteInbox
from feishu_trio.cli import main
from feishu_trio.inbox.protocol import Inbox
from feishu_trio.inbox.redis_scripts import VERSION

from .proxy import open_proxy
from .servers import client_of, free_port
from .test_contract import claim, entry, serving

Make = Callable[..., RedisInbox]


@pytest.fixture
def make(redis_url: str, prefix: str) -> Make:
    return functools.partial(RedisInbox, redis_url, prefix=prefix)


@pytest.fixture
def client(redis_url: str) -> Any:
    return client_of(redis_url)


@pytest.fixture
def bot_url(redis_url: str, prefix: str) -> str:
    """What `--inbox` says."""
    return f"{redis_url}?prefix={prefix}"


async def fill(inbox: Inbox) -> None:
    """Leave two dead letters, a done event, a parked one and two that wait, one behind the other."""
    async with serving(inbox):
        await inbox.store([entry(name, "x" if name in "de" else None, b'{"n":1}') for name in "abcdef"])
        claims = await claim(inbox)
        for name in "ab":
            inbox.failed(claims[name], "h", "ValueError: no")
            inbox.die(claims[name], "h: ValueError: no")
        inbox.done(claims["c"])
        inbox.park(claims["f"])


def all_there_is(client: Any, prefix: str) -> dict[bytes, bytes]:
    return {key: client.dump(key) for key in client.scan_iter(f"{{{prefix}}}*")}


# --- from a program -----------------------------------------------------------------------------------------


async def test_looking_changes_nothing_and_mending_what_is_asked_for_alone(
    make: Make, client: Any, prefix: str
) -> None:
    await fill(make())
    before = all_there_is(client, prefix)
    async with make().visit() as inbox:
        counts = await inbox.counts()
        assert (counts.ready, counts.blocked, counts.dead, counts.done, counts.parked) == (1, 1, 2, 1, 1)
        assert [each.id for each in await inbox.list("dead")] == ["a", "b"]
        assert [each.id for each in await inbox.list("ready")] == ["d"]
        shown = await inbox.show("a")
        assert shown is not None
        assert (shown.payload, [each.error for each in shown.handlers]) == (b'{"n":1}', ["ValueError: no"])
        assert await inbox.show("z") is None
        assert all_there_is(client, prefix) == before
        assert await inbox.requeue(["a", "z", "d"]) == 1
        assert await inbox.purge("dead", 0.0) == 1
    assert not client.exists(f"{{{prefix}}}:owners"), "it was no owner"
    async with serving(make()) as bot:
        assert list(await claim(bot)) == ["d", "a"]


async def test_beside_a_bot_what_is_requeued_is_claimed_at_once(make: Make) -> None:
    await fill(make())
    async with serving(make()) as bot, make().visit() as inbox:
        while await bot.claim(10, bot.types):
            pass
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(inbox.requeue, ["b"])
                while not (claims := await bot.claim(10, bot.types)):
                    await bot.wait_changed()
        assert [each.id for each in claims] == ["b"]
        assert (await inbox.counts()).running == 2


async def test_a_visitor_neither_stores_nor_claims_nor_serves(make: Make) -> None:
    await fill(make())
    inbox = make()
    async with inbox.visit():
        for refused in (inbox.store([entry("new")]), inbox.claim(10)):
            with pytest.raises(InboxError, match="is only visited"):
                await refused
        with pytest.raises(InboxError, match="serves another session already"):
            async with inbox.visit():
                pass
    async with serving(inbox):
        assert list(await claim(inbox)) == ["d"]
    with pytest.raises(InboxError, match="is not open"):
        await inbox.counts()


async def test_what_the_block_raises_leaves_as_itself(make: Make) -> None:
    await fill(make())
    with pytest.raises(ZeroDivisionError):
        async with make().visit():
            raise ZeroDivisionError


async def test_a_link_that_breaks_is_opened_anew(make: Make, redis_url: str, prefix: str) -> None:
    await fill(make())
    server = urlsplit(redis_url)
    async with open_proxy(server.port or 6379) as proxy:
        through = server._replace(netloc=urlsplit(proxy.url).netloc).geturl()
        async with RedisInbox(through, prefix=prefix).visit() as inbox:
            proxy.cut()
            assert (await inbox.counts()).dead == 2


async def test_where_there_is_no_inbox_it_says_what_to_change(
    make: Make, client: Any, prefix: str, redis_url: str
) -> None:
    async def refused(inbox: RedisInbox, match: str) -> None:
        with pytest.raises(InboxError, match=match):
            async with inbox.visit():
                pass

    await refused(make(), r"there is no inbox yet; if its bot has another prefix, give that: \?prefix=PREFIX")
    assert not client.exists(f"{{{prefix}}}"), "asking left none"
    await fill(make())
    client.hset(f"{{{prefix}}}", "version", VERSION + 1)
    await refused(make(), f"keys are of version {VERSION + 1}, and this one knows {VERSION}")
    for command in (("SET", "a"), ("HSET", "a", "b")):
        client.delete(f"{{{prefix}}}")
        client.execute_command(command[0], f"{{{prefix}}}", *command[1:])
        await refused(make(), f"the key {{{prefix}}} is another program's; give another prefix")
        with pytest.RaisesGroup(pytest.RaisesExc(InboxError, match="another program's")):
            async with serving(make()):
                pass
        assert client.exists(f"{{{prefix}}}:owners") == 0
    away = RedisInbox(f"redis://:secret@127.0.0.1:{free_port()}")
    with pytest.raises(InboxUnreachable, match="cannot be reached") as raised:
        async with away.visit():
            pass
    assert "secret" not in str(raised.value)


def test_the_prefix_may_stand_in_the_url() -> None:
    assert "prefix='bots'" in repr(RedisInbox("redis://localhost/1?prefix=bots"))
    assert "prefix='a+b'" in repr(RedisInbox("redis://localhost?prefix=a+b"))
    assert "prefix='mine'" in repr(RedisInbox("redis://localhost?prefix=bots", prefix="mine"))
    with pytest.raises(ConfigError, match=r"^prefix: .a b. is not allowed"):
        RedisInbox("redis://localhost?prefix=a%20b")


# --- from the command line ----------------------------------------------------------------------------------


STEPS = [
    ["stats"],
    ["list"],
    ["list", "--state", "ready"],
    ["list", "--after", "1", "--limit", "1"],
    ["list", "--state", "blocked"],
    ["show", "a"],
    ["show", "1"],
    ["show", "c"],
    ["show", "nowhere"],
    ["requeue"],
    ["requeue", "b", "c", "nowhere", "b"],
    ["stats"],
    ["purge", "--state", "dead"],
    ["purge", "--state", "ready"],
    ["purge", "--state", "done", "--older-than", "0s"],
    ["requeue", "--all"],
    ["list", "--state", "ready"],
    ["list", "--state", "nonsense"],
]


Command = Callable[..., tuple[Any, str, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`feishu-trio inbox` in this process: its exit code, and what it wrote to stdout and stderr."""

    def run(*args: str) -> tuple[Any, str, str]:
        monkeypatch.setattr(sys, "argv", ["feishu-trio", "inbox", *args])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    return run


def test_the_commands_do_and_say_the_same_as_for_a_file(
    make: Make, bot_url: str, tmp_path: Path, command: Command
) -> None:
    inboxes: list[tuple[str, Inbox]] = [
        (f"sqlite:{tmp_path / 'bot.db'}", SQLiteInbox(tmp_path / "bot.db")),
        (bot_url, make()),
    ]
    results: list[list[tuple[Any, str, str]]] = []
    for url, inbox in inboxes:
        trio.run(fill, inbox)
        results.append([])
        for step in STEPS:
            code, out, err = command(*step, "--inbox", url)
            results[-1].append(
                (code, re.sub(r"20\d\d-\d\d-\d\dT[^\"]*", "TIME", out), err.replace(url, "URL"))
            )
    for step, of_file, of_server in zip(STEPS, *results, strict=True):
        assert of_server == of_file, step
    assert [code for code, _, _ in results[1]] == [0] * 8 + [1, 2, 1, 0, 0, 2, 0, 0, 0, 2]


async def test_beside_a_bot_a_terminal_gets_tables(make: Make, bot_url: str) -> None:
    await fill(make())
    ours, theirs = os.openpty()
    try:
        async with serving(make()) as bot:
            await claim(bot)
            with trio.fail_after(20):
                await trio.run_process(
                    [*COMMAND, "inbox", "stats", "--inbox", bot_url],
                    env=environment(TERM="dumb"),
                    stdout=theirs,
                )
        shown = os.read(ours, 100_000).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert re.search(r"\brunning +1\s", shown)
    assert "the bot ended" not in shown


def test_a_server_that_is_away_or_unfit_is_said_in_one_line_without_its_password(
    make: Make, bot_url: str, command: Command
) -> None:
    def fails(*args: str) -> tuple[int, str]:
        code, out, err = command(*args)
        assert (out, err.count("\n")) == ("", 1)
        assert "hidden" not in err
        return code, err

    port = free_port()
    code, said = fails("stats", "--inbox", f"redis://me:hidden@127.0.0.1:{port}/0?prefix=x")
    assert code == 4
    assert f"RedisInbox('redis://***@127.0.0.1:{port}/0?prefix=***', prefix='x') cannot be opened" in said
    code, said = fails("list", "--inbox", bot_url)
    assert (code, "there is no inbox yet" in said) == (1, True)
    code, said = fails("list", "--inbox", "redis://localhost/0?sentinel_password=hidden")
    assert (code, "?sentinel_password=***' is not allowed" in said) == (2, True)
    code, said = fails("list", "--inbox", "ftp://localhost/0?sentinel_password=hidden")
    assert (code, "sqlite:PATH, such as sqlite:bot.db, or redis://HOST" in said) == (2, True)
    code, said = fails("backup", "copy.db", "--inbox", "redis://:hidden@localhost")
    assert (code, "it must be sqlite:PATH" in said, "makes its backups itself" in said) == (2, True, True)
    trio.run(fill, make())
    code, said = fails("show", "z", "--inbox", bot_url.replace("redis://", "redis://default:hidden@"))
    assert (code, "there is no event 'z' in redis://***@" in said) == (1, True)
