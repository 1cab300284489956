"""An inbox seen from another process: while its bot has it open, after it was killed, and when nobody has it."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
import trio

from feishu_trio import ConfigError, InboxError, InboxFile, InboxState, SQLiteInbox
from feishu_trio.inbox import sqlite, visitor
from feishu_trio.inbox.requests import Answer, Purge, Requests
from session.rig import come_true

from .test_contract import claim, entry, serving


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bot.db"


async def fill(path: Path) -> None:
    """Leave two dead letters, a done event and two that wait, one behind the other."""
    async with serving(SQLiteInbox(path)) as inbox:
        await inbox.store([entry(name, "x" if name in "de" else None, name.encode()) for name in "abcde"])
        claims = await claim(inbox)
        for name in "ab":
            inbox.failed(claims[name], "h", "ValueError: no")
            inbox.die(claims[name], "h: ValueError: no")
        inbox.done(claims["c"])


@pytest.mark.parametrize("is_open", [True, False], ids=["open", "closed"])
async def test_it_reads_while_the_inbox_is_open_and_when_it_is_not(path: Path, is_open: bool) -> None:
    await fill(path)
    file = InboxFile(path)
    async with trio.open_nursery() as nursery:
        if is_open:
            await nursery.start(SQLiteInbox(path).serve, "cli_a", 60.0)
        counts = file.counts()
        assert (counts.ready, counts.blocked, counts.dead, counts.done) == (1, 1, 2, 1)
        assert [each.id for each in file.list("dead")] == ["a", "b"]
        assert [each.id for each in file.list(InboxState.DEAD, 1, after=1)] == ["b"]
        shown = file.show("a")
        assert shown is not None
        assert (shown.payload, [each.error for each in shown.handlers]) == (b"a", ["ValueError: no"])
        assert file.show("z") is None
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("is_open", [True, False], ids=["open", "closed"])
async def test_it_changes_what_is_there_or_has_its_owner_do_so(path: Path, is_open: bool) -> None:
    await fill(path)
    file = InboxFile(path)
    async with trio.open_nursery() as nursery:
        inbox = SQLiteInbox(path)
        if is_open:
            await nursery.start(inbox.serve, "cli_a", 60.0)
        start = trio.current_time()
        assert await trio.to_thread.run_sync(file.requeue, ["a", "z", "d"]) == 1
        assert await trio.to_thread.run_sync(file.purge, "dead", 0.0) == 1
        assert trio.current_time() - start < 3
        if not is_open:
            await nursery.start(inbox.serve, "cli_a", 60.0)
        assert list(await claim(inbox)) == ["d", "a"]
        assert not await trio.Path(f"{path}-requests").exists()
        nursery.cancel_scope.cancel()


async def test_it_knows_whether_somebody_has_the_inbox_open(path: Path) -> None:
    await fill(path)
    assert not InboxFile(path).is_open()
    async with serving(SQLiteInbox(path)):
        assert InboxFile(path).is_open()
        assert InboxFile(path).counts().dead == 2
    assert not InboxFile(path).is_open()
    async with serving(SQLiteInbox(path)):
        pass  # asking left no lock behind


async def test_a_waiting_claim_begins_once_something_was_requeued(path: Path) -> None:
    await fill(path)
    async with serving(SQLiteInbox(path)) as inbox:
        while await inbox.claim(10):
            pass
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.to_thread.run_sync, InboxFile(path).requeue, ["b"])
                while not (claims := await inbox.claim(10)):
                    await inbox.wait_changed()
        assert [each.id for each in claims] == ["b"]


async def test_what_the_owner_cannot_do_is_said_to_whoever_asked(path: Path) -> None:
    await fill(path)
    requests = Requests(path)
    odd = {
        "1.request": b"nonsense",
        "2.request": b'{"type":"drop"}',
        "3.request": b'{"type":"requeue","ids":5}',
        "4.request": json.dumps({"type": "purge", "state": "running", "older_than": 0}).encode(),
    }
    async with serving(SQLiteInbox(path)) as inbox:
        requests.folder.mkdir()
        for name, content in odd.items():
            (requests.folder / name).write_bytes(content)
        with trio.fail_after(5):
            for name in odd:
                await come_true((requests.folder / name).with_suffix(".answer").exists)
                answer = requests.take_answer(requests.folder / name)
                assert answer is not None
                assert answer.error
        requests.leave()
        assert requests.pending() == []
        assert (await inbox.counts()).dead == 2


async def test_whoever_waits_for_an_owner_that_ends_does_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(path)
    monkeypatch.setattr(sqlite, "_LOOK", 3600.0)  # it takes nothing up
    async with serving(SQLiteInbox(path)):
        done: list[int] = []
        thread = threading.Thread(target=lambda: done.append(InboxFile(path).purge("dead", 0.0)))
        thread.start()
        await trio.sleep(0.2)
        assert len(Requests(path).pending()) == 1
    await trio.to_thread.run_sync(thread.join, 5)
    assert done == [2]
    assert not Requests(path).folder.exists()


async def test_what_nobody_takes_up_is_left_and_done_at_the_next_opening(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visitor, "_PATIENCE", 0.2)
    await fill(path)
    monkeypatch.setattr(sqlite, "_LOOK", 3600.0)
    async with serving(SQLiteInbox(path)):
        with pytest.raises(InboxError, match="has not taken this up"):
            await trio.to_thread.run_sync(InboxFile(path).purge, "dead", 0.0)
    monkeypatch.undo()
    async with serving(SQLiteInbox(path)):
        with trio.fail_after(5):
            await come_true(lambda: InboxFile(path).counts().dead == 0)


def test_after_a_kill_all_that_was_committed_is_seen(path: Path) -> None:
    trio.run(fill, path)
    program = f"""
import trio
from feishu_trio import SQLiteInbox
from feishu_trio.inbox.records import Entry
async def main():
    inbox = SQLiteInbox({str(path)!r})
    async with trio.open_nursery() as nursery:
        await nursery.start(inbox.serve, "cli_a", 60.0)
        await inbox.store([Entry(keys=("event:k",), id="k", type="x.y", lane=None, payload=b"k")])
        print("stored", flush=True)
        await trio.sleep_forever()
trio.run(main)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as bot:
        assert bot.stdout is not None
        assert bot.stdout.readline() == b"stored\n"
        assert InboxFile(path).show("k") is not None
        bot.kill()
    assert InboxFile(path).show("k") is not None
    assert InboxFile(path).purge("dead", 0.0) == 2
    assert InboxFile(path).counts().ready == 2


async def test_a_backup_is_an_inbox_with_all_that_was_committed(path: Path, tmp_path: Path) -> None:
    await fill(path)
    async with serving(SQLiteInbox(path)) as inbox:
        assert isinstance(inbox, SQLiteInbox)
        await inbox.store([entry("late")])
        await inbox.backup(tmp_path / "copy.db")
        with pytest.raises(InboxError, match="is there already"):
            await inbox.backup(tmp_path / "copy.db")
        with pytest.raises(InboxError, match="there is no folder"):
            await inbox.backup(tmp_path / "nowhere" / "copy.db")
    InboxFile(path).backup(tmp_path / "second.db")
    for name in ("copy.db", "second.db"):
        async with serving(SQLiteInbox(tmp_path / name)) as inbox:
            assert list(await claim(inbox)) == ["d", "late"]
            assert (await inbox.counts()).dead == 2
        with closing(sqlite3.connect(tmp_path / name)) as connection:
            assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]


async def test_a_file_that_was_moved_or_replaced_while_it_is_open_is_noticed(
    path: Path, tmp_path: Path
) -> None:
    async with serving(SQLiteInbox(path)) as inbox:
        await inbox.store([entry("a")])
        os.rename(path, tmp_path / "moved.db")
        with pytest.raises(InboxError, match="moved or deleted"):
            await inbox.store([entry("b")])
        assert inbox.fault is not None
        shutil.copy(tmp_path / "moved.db", path)
        with pytest.raises(InboxError, match="moved or deleted"):
            await inbox.store([entry("b")])
        os.replace(tmp_path / "moved.db", path)
        with trio.fail_after(5):
            while inbox.fault is not None:
                await inbox.wait_changed()
        await inbox.store([entry("b")])
        assert list(await claim(inbox)) == ["a", "b"]


async def test_a_purge_that_was_left_is_of_what_was_there_then(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visitor, "_PATIENCE", 0.2)
    monkeypatch.setattr(sqlite, "_LOOK", 3600.0)
    await fill(path)
    async with serving(SQLiteInbox(path)) as inbox:
        with pytest.raises(InboxError, match="has not taken this up"):
            await trio.to_thread.run_sync(InboxFile(path).purge, "dead", 0.0)
        inbox.die((await claim(inbox))["d"], "later")
    monkeypatch.undo()
    async with serving(SQLiteInbox(path)):
        with trio.fail_after(5):
            await come_true(lambda: [each.id for each in InboxFile(path).list("dead")] == ["d"])


def test_a_backup_leaves_what_is_not_its_own(path: Path, tmp_path: Path) -> None:
    trio.run(fill, path)
    (tmp_path / "copy.db.tmp").write_text("somebody's")
    InboxFile(path).backup(tmp_path / "copy.db")
    assert (tmp_path / "copy.db.tmp").read_text() == "somebody's"


def test_a_path_that_cannot_be_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^path: "):
        InboxFile(tmp_path / "a\0b")
    with pytest.raises(InboxError, match="cannot be opened"):
        InboxFile(tmp_path / ("x" * 5000)).counts()


def test_a_file_with_a_broken_schema_is_named(path: Path) -> None:
    trio.run(fill, path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"ON event (lane_hash", b"ON event (l\xffne_hash"))
    with pytest.raises(InboxError):
        InboxFile(path).counts()
    with pytest.raises(InboxError):
        InboxFile(path).purge("dead", 0.0)


def test_what_is_no_inbox_is_named(path: Path, tmp_path: Path) -> None:
    with pytest.raises(InboxError, match="there is no such file"):
        InboxFile(path).counts()
    with pytest.raises(InboxError, match="there is no such file"):
        InboxFile(path).purge("dead", 0.0)
    with pytest.raises(ConfigError, match=r"^state: 'ready' .* done, dead, parked"):
        InboxFile(path).purge("ready", 0.0)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE x (y)")
    with pytest.raises(InboxError, match="another program"):
        InboxFile(path).counts()
    (tmp_path / "text").write_text("nothing of the kind" * 100)
    with pytest.raises(InboxError, match="not a database"):
        InboxFile(tmp_path / "text").counts()
    (tmp_path / "empty").touch()
    with pytest.raises(InboxError, match="nothing has been stored"):
        InboxFile(tmp_path / "empty").counts()


def test_an_answer_that_nobody_comes_for_is_removed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = Requests(path)
    file = requests.put(Purge("dead", 0.0))
    requests.answer(file, Answer(1))
    assert requests.pending() == []
    assert len(list(requests.folder.iterdir())) == 1
    monkeypatch.setattr("feishu_trio.inbox.requests._KEPT", -1.0)
    assert requests.pending() == []
    assert list(requests.folder.iterdir()) == []


async def test_a_request_that_nests_without_end_is_refused(path: Path) -> None:
    async with serving(SQLiteInbox(path)) as inbox:
        folder = Requests(path).folder
        folder.mkdir()
        (folder / "1.request").write_bytes(b'{"a":' + b"[" * 200_000)
        with trio.fail_after(10):
            await come_true((folder / "1.answer").exists)
        await inbox.store([entry("a")])


def test_an_answer_that_goes_away_meanwhile_keeps_no_request_from_being_seen(path: Path) -> None:
    requests = Requests(path)
    file = requests.put(Purge("dead", 0.0))
    (requests.folder / "0.answer").symlink_to("nowhere")  # listed, and not there when it is looked at
    assert requests.pending() == [file]


def test_a_backup_that_cannot_be_written_is_told_from_a_file_that_cannot_be_read(
    path: Path, tmp_path: Path
) -> None:
    trio.run(fill, path)
    with pytest.raises(InboxError, match=r"bot\.db' cannot be copied to '.*n': unable to open"):
        InboxFile(path).backup(tmp_path / ("n" * 250))


async def test_what_is_requeued_without_an_owner_is_not_old_where_the_clock_was_ahead(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = time.time() + 3600
    async with serving(inbox := SQLiteInbox(path)):
        monkeypatch.setattr(inbox, "_time", lambda: ahead)
        await inbox.store([entry("a"), entry("b")])
        claims = await claim(inbox)
        inbox.die(claims["a"], "no")
        inbox.done(claims["b"])
    assert InboxFile(path).requeue(["a"]) == 1
    async with serving(SQLiteInbox(path, max_age=600)) as inbox:
        assert list(await claim(inbox)) == ["a"]
