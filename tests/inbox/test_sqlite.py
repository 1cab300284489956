"""The inbox in a file: who may open it, what survives, and what is said when it cannot be written."""

from __future__ import annotations

import functools
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import trio
import trio.testing

from feishu_trio import InboxFile
from feishu_trio.errors import ConfigError, InboxError
from feishu_trio.inbox import database as database_module
from feishu_trio.inbox import local
from feishu_trio.inbox.database import APPLICATION_ID, VERSION, Database
from feishu_trio.inbox.sqlite import SQLiteInbox
from session.rig import come_true

from .test_contract import claim, entry, serving


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bot.db"


async def test_what_was_stored_is_there_when_it_is_opened_again(path: Path) -> None:
    async with serving(SQLiteInbox(path)) as inbox:
        await inbox.store([entry("a"), entry("b"), entry("c")])
        claims = await claim(inbox, 2)
        inbox.done(claims["a"])
    async with serving(SQLiteInbox(path)) as inbox:
        found = await claim(inbox)
        assert {name: (each.attempt, each.crashes) for name, each in found.items()} == {
            "b": (1, 0),
            "c": (1, 0),
        }
        assert not (await inbox.store([entry("a")]))[0].is_new


async def test_each_commit_is_synchronous_and_the_file_says_whose_it_is(path: Path) -> None:
    inbox = SQLiteInbox(path)
    async with serving(inbox):
        await inbox.store([entry("a")])
        assert inbox._file.connection is not None
        facts = {
            name: inbox._file.connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "auto_vacuum", "application_id", "user_version")
        }
    full, incremental = 2, 2
    assert facts == {
        "journal_mode": "wal",
        "synchronous": full,
        "auto_vacuum": incremental,
        "application_id": APPLICATION_ID,
        "user_version": VERSION,
    }


async def refused(inbox: SQLiteInbox, error: type[Exception], match: str, app_id: str = "cli_a") -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(error, match=match), flatten_subgroups=True):
        async with serving(inbox, app_id):
            pass


async def test_a_file_of_the_first_version_is_brought_up_to_date(path: Path) -> None:
    async with serving(SQLiteInbox(path)) as inbox:
        await inbox.store([entry("a"), entry("b")])
        first = (await claim(inbox, 1))["a"]
        inbox.succeeded(first, "one", None)
        await inbox.flush()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "DROP TABLE note; DROP INDEX untold; ALTER TABLE meta DROP COLUMN strict; ALTER TABLE event DROP COLUMN untold; "
            "DROP INDEX head; DROP INDEX blocked; DROP INDEX aside; DROP INDEX parked; "
            "CREATE INDEX lane ON event (lane_hash, number) WHERE lane_hash IS NOT NULL AND state < 4; "
            "ALTER TABLE event DROP COLUMN gathered; "
            "ALTER TABLE handler DROP COLUMN error; PRAGMA user_version = 1"
        )
    async with serving(SQLiteInbox(path)) as inbox:
        found = await claim(inbox)
        assert list(found["a"].succeeded) == ["one"]
        assert await inbox.note(found["a"], "one", "key", b"value")
        inbox.die(found["b"], "no")
        assert [each.id for each in await inbox.untold(10)] == ["b"]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)
        schema = connection.execute(
            "SELECT sql FROM sqlite_master WHERE type = 'index' OR name IN ('event', 'handler', 'meta') ORDER BY name"
        ).fetchall()
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        Database(connection).create("cli_a")
        fresh = connection.execute(
            "SELECT sql FROM sqlite_master WHERE type = 'index' OR name IN ('event', 'handler', 'meta') ORDER BY name"
        ).fetchall()
    assert schema == fresh


# What files of a version were made like before the first release.
OLD_LANE = "DROP INDEX head; DROP INDEX blocked; DROP INDEX aside; DROP INDEX parked; "
NO_HASH = (
    OLD_LANE + "ALTER TABLE event DROP COLUMN gathered; ALTER TABLE event DROP COLUMN lane_hash; "
    "CREATE INDEX lane ON event (lane, number) WHERE lane IS NOT NULL AND state < 4; "
    "ALTER TABLE meta DROP COLUMN strict; "
)
EARLY = {
    1: NO_HASH + "DROP TABLE note; DROP INDEX untold; ALTER TABLE event DROP COLUMN untold; "
    "ALTER TABLE handler DROP COLUMN error; ",
    2: NO_HASH,
    3: OLD_LANE
    + "CREATE INDEX lane ON event (lane_hash, number) WHERE lane_hash IS NOT NULL AND state < 4; ",
}


@pytest.mark.parametrize("version", EARLY)
async def test_a_file_of_before_the_first_release_is_brought_up_to_date(path: Path, version: int) -> None:
    async with serving(SQLiteInbox(path)) as inbox:
        await inbox.store([entry("a", "x"), entry("b", "x"), entry("c", "y")])
        assert list(await claim(inbox)) == ["a", "c"]
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(f"{EARLY[version]} PRAGMA user_version = {version}")
    async with serving(SQLiteInbox(path)) as inbox:
        found = await claim(inbox)
        assert list(found) == ["a", "c"]
        await inbox.store([entry("d", "y")])
        assert not await claim(inbox), "each chat has one that runs"
        inbox.done(found["a"])
        inbox.done(found["c"])
        await inbox.flush()
        assert list(await claim(inbox)) == ["b", "d"]


async def test_a_migration_that_is_cut_off_has_changed_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(SQLiteInbox(path)) as inbox:
        await inbox.store([entry("a")])
    monkeypatch.setattr(database_module, "VERSION", VERSION + 1)
    monkeypatch.setattr(
        database_module,
        "_MIGRATIONS",
        (*database_module._MIGRATIONS, "CREATE TABLE new (x); SELECT no_such_function()"),
    )
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        with pytest.raises(sqlite3.OperationalError):
            Database(connection).migrate()
        assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)
        assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'new'").fetchone() == (0,)


READ_ONLY = """
import os, sys
import trio
from feishu_trio import InboxError, SQLiteInbox

async def main(path):
    try:
        await SQLiteInbox(path).serve("cli_a", 3600.0)
    except InboxError as error:
        print(error)

folder, made = sys.argv[1:]
trio.run(trio.to_thread.run_sync, int)  # all is imported
if not os.getuid():
    os.seteuid(int(made))
trio.run(main, os.path.join(folder, "bot.db"))
"""


@pytest.mark.parametrize(
    ("modes", "words"),
    [
        ({"": 0o555}, "bot.db.lock' cannot be had: "),
        ({"": 0o555, "bot.db": 0o644, "bot.db.lock": 0o644}, "cannot be opened: attempt to write a readonly"),
        (
            {"bot.db": 0o444},
            "cannot be opened: attempt to write a readonly database; see who may write to it",
        ),
        ({"bot.db": 0o000}, "cannot be opened: unable to open database file; see who may write to it"),
    ],
)
async def test_what_may_not_be_written_is_named(modes: dict[str, int], words: str) -> None:
    """By a user who is not root, whom no mode keeps from anything."""
    user = os.getuid() or 65534

    def restrict(folder: Path) -> None:
        for file in (*folder.iterdir(), folder):
            if not os.getuid():
                os.chown(file, user, user)
            file.chmod(modes.get("" if file == folder else file.name, 0o755))

    with tempfile.TemporaryDirectory() as name:  # where another user may come
        if "bot.db" in modes:
            async with serving(SQLiteInbox(Path(name, "bot.db"))) as inbox:
                await inbox.store([entry("a")])
        restrict(Path(name))
        done = await trio.run_process([sys.executable, "-c", READ_ONLY, name, str(user)], capture_stdout=True)
        await trio.Path(name).chmod(0o755)
    assert words in done.stdout.decode()


async def test_a_second_owner_is_refused_and_the_first_is_not_disturbed(path: Path) -> None:
    async with serving(SQLiteInbox(path)) as inbox:
        await refused(
            SQLiteInbox(path), InboxError, "another process has this inbox open.* End the other one; several"
        )
        await inbox.store([entry("a")])
    async with serving(SQLiteInbox(path)) as inbox:
        assert list(await claim(inbox)) == ["a"]


async def test_a_second_process_is_refused(path: Path) -> None:
    program = (
        "import sys, trio; from feishu_trio.inbox.sqlite import SQLiteInbox\n"
        "async def main():\n"
        "    async with trio.open_nursery() as nursery:\n"
        "        await nursery.start(SQLiteInbox(sys.argv[1]).serve, 'cli_a', 60)\n"
        "        print('open', flush=True); await trio.sleep_forever()\n"
        "trio.run(main)"
    )
    async with trio.open_nursery() as nursery:
        run = functools.partial(
            trio.run_process, [sys.executable, "-c", program, path], stdout=subprocess.PIPE
        )
        process = await nursery.start(functools.partial(run, check=False, capture_stdout=False))
        assert (await process.stdout.receive_some(100)).startswith(b"open")
        await refused(SQLiteInbox(path), InboxError, "another process has this inbox open")
        process.kill()
    async with serving(SQLiteInbox(path)):
        pass  # nothing is left of it that would keep others out


def text_file(path: Path) -> None:
    path.write_text("this is the diary of somebody else\n" * 100)


def others_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (x)")


def newer(path: Path) -> None:
    trio.run(leave_empty, path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")


def another_apps(path: Path) -> None:
    trio.run(leave_empty, path, "cli_other")


async def leave_empty(path: Path, app_id: str = "cli_a") -> None:
    async with serving(SQLiteInbox(path), app_id):
        pass


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        pytest.param(text_file, InboxError, "is the path of some other file", id="no database"),
        pytest.param(others_database, InboxError, "database of another program", id="another's"),
        pytest.param(newer, InboxError, "written by a newer feishu_trio", id="newer"),
        pytest.param(
            another_apps, ConfigError, "holds the events of the app cli_other, not of cli_a", id="app"
        ),
        pytest.param(Path.mkdir, InboxError, "this is a folder", id="a folder"),
    ],
)
def test_what_is_no_inbox_of_this_app_is_refused(
    path: Path, make: Callable[[Path], None], error: type[Exception], match: str
) -> None:
    make(path)
    before = path.read_bytes() if path.is_file() else b""
    trio.run(refused, SQLiteInbox(path), error, match)
    assert (path.read_bytes() if path.is_file() else b"") == before, "and is left as it was"
    trio.run(refused, SQLiteInbox(path), error, match)  # not "another process"


@pytest.mark.parametrize("make", [SQLiteInbox, InboxFile])
def test_the_address_that_the_command_takes_is_no_path(make: Callable[[str], object]) -> None:
    with pytest.raises(
        ConfigError, match=r"'sqlite:a\.db' is not allowed; it must be the path alone, such as 'a\.db'"
    ):
        make("sqlite:a.db")


async def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    await refused(
        SQLiteInbox(tmp_path / "no" / "bot.db"), InboxError, "there is no folder '.*no': make it first"
    )


async def test_when_the_disk_is_full_nothing_is_stored_and_results_are_kept_until_there_is_room(
    path: Path,
) -> None:
    inbox = SQLiteInbox(path)
    async with serving(inbox):
        await inbox.store([entry("a"), entry("b")])
        claims = await claim(inbox)
        connection = inbox._file.connection
        assert connection is not None
        # Checkpoint, and allow no further page: SQLite itself says that the disk is full.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(InboxError, match="database or disk is full"):
            await inbox.store([entry("big", payload=b"x" * 100_000)])
        assert inbox.fault is not None
        inbox.succeeded(claims["a"], "h" * 100_000, b"1")
        inbox.done(claims["b"])
        await trio.testing.wait_all_tasks_blocked(0.05)
        connection.execute("PRAGMA max_page_count = 1000000")
        with trio.fail_after(10):
            while inbox.fault is not None:
                await inbox.wait_changed()
            await inbox.flush()
        assert (await inbox.counts()).done == 1
        inbox.release(claims["a"])
        assert dict((await claim(inbox))["a"].succeeded) == {"h" * 100_000: b"1"}
        assert (await inbox.store([entry("big", payload=b"x" * 100_000)]))[0].is_new


async def test_one_entry_that_cannot_be_stored_keeps_no_other_out(path: Path) -> None:
    async with serving(SQLiteInbox(path)) as inbox:
        results: list[object] = []

        async def store(name: str) -> None:
            try:
                results.append((await inbox.store([entry(name)]))[0].is_new)
            except InboxError as error:
                results.append(str(error))

        async with trio.open_nursery() as nursery:
            for name in ("a", "half a pair: \ud800", "b"):
                nursery.start_soon(store, name)
        assert results.count(True) == 2
        assert sum("surrogates not allowed" in str(each) for each in results) == 1
        assert sorted(await claim(inbox)) == ["a", "b"]
        assert inbox.fault is None


def test_a_path_that_is_too_long_is_named(tmp_path: Path) -> None:
    trio.run(refused, SQLiteInbox(tmp_path / ("x" * 5000)), InboxError, "cannot be had")


async def test_order_can_become_strict_after_a_crash(path: Path) -> None:
    async with serving(SQLiteInbox(path)) as inbox:
        await inbox.store([entry(name, "x") for name in "abcd"])
        inbox.retry((await claim(inbox))["a"], 0.5, "no", counts=True)
        inbox.keep((await claim(inbox))["b"])  # as if it had died with it
    async with serving(SQLiteInbox(path, strict_order=True)) as inbox:
        ran: list[str] = []
        with trio.fail_after(10):
            while len(ran) < 4:
                for each in await inbox.claim(10):
                    ran.append(each.id)
                    inbox.done(each)
                await inbox.wait_changed()
    assert ran == ["a", "b", "c", "d"]


async def test_a_clock_that_was_years_ahead_keeps_nothing_for_years(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    years = 10 * 365 * 86_400.0
    async with serving(SQLiteInbox(path)) as inbox:
        monkeypatch.setattr(time, "time", lambda real=time.time: real() + years)
        await inbox.store([entry("a"), entry("b")])
        claims = await claim(inbox)
        inbox.done(claims["a"])
        await inbox.flush()
        monkeypatch.undo()
        inbox.retry(claims["b"], 0.1, "no", counts=True)
        with trio.fail_after(5):
            while not (again := await claim(inbox)):
                await inbox.wait_changed()
        assert list(again) == ["b"]
        inbox.done(again["b"])
    monkeypatch.setattr(local, "_PURGE_EVERY", 0.05)
    async with serving(SQLiteInbox(path, window=0.2)) as inbox:
        with trio.fail_after(5):
            while True:
                if not (await inbox.counts()).done:
                    break
                await trio.sleep(0.05)


async def test_a_clock_that_was_set_back_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 2_000_000_000.0
    monkeypatch.setattr("time.time", lambda: now)
    async with serving(SQLiteInbox(path), window=100) as inbox:
        await inbox.store([entry("a")])
        inbox.done((await claim(inbox))["a"])
    now -= 50_000
    async with serving(SQLiteInbox(path), window=100) as inbox:
        await inbox.store([entry("b")])
        assert (await claim(inbox))["b"].stored >= 2_000_000_000.0
        assert not (await inbox.store([entry("a")]))[0].is_new


async def test_the_file_shrinks_once_most_of_it_is_free(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_PURGE_EVERY", 0.1)
    async with serving(SQLiteInbox(path)) as inbox:
        await inbox.store([entry(f"e{number}", payload=bytes(2_000_000)) for number in range(10)])
        for each in await inbox.claim(10):
            inbox.done(each)
        await inbox.flush()
        with trio.fail_after(20):
            await come_true(lambda: path.stat().st_size < 2_000_000)


async def test_a_process_may_go_to_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    async with serving(SQLiteInbox("bot.db")) as inbox:
        monkeypatch.chdir(tmp_path / "other")
        await inbox.store([entry("a")])
        assert inbox.fault is None
    assert [each.name for each in (tmp_path / "other").iterdir()] == []


async def test_a_file_that_does_not_say_whose_it_is_is_named(path: Path) -> None:
    async with serving(SQLiteInbox(path)):
        pass
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM meta")
    with pytest.raises(InboxError, match="its table meta is empty"):
        await SQLiteInbox(path).serve("cli_a", 60)


async def test_a_retry_of_a_time_years_ahead_is_due_all_the_same(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = time.time() + 40 * 365 * 86_400
    async with serving(SQLiteInbox(path)) as inbox:
        await inbox.store([entry("a")])
        with monkeypatch.context() as clock:
            clock.setattr(inbox, "_time", lambda: ahead)
            (found,) = await inbox.claim(1)
            inbox.failed(found, "h", "no")
            inbox.retry(found, 5.0, "no", counts=True)
            await inbox.flush()
    async with serving(SQLiteInbox(path)) as inbox:
        (waiting,) = await inbox.list("waiting")
        assert waiting.due is not None
        assert waiting.due - inbox._now() < 6
