"""Stored events in SQLite: the tables, and each step as a function of a transaction. No threads, no trio, no clock.

One connection does all of it (two that write and checkpoint a WAL can lose commits, in SQLite before 3.51.3). Whoever
calls groups what it has: `with database.transaction(): …`, and answers after the commit.

An order key is a lane: at most one event of a lane is ready or runs, the others are blocked behind it. One that waits
for its next attempt has left its lane, unless order is strict; due again, it is the next. Lanes are told apart by a hash,
which makes their index half as large: should two have the same, they wait for each other.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final

from ..delivery import EVENT_KEY
from .records import Cancelled, Claim, Counts, Details, Entry, HandlerState, State, Stored, Summary

__all__ = ["APPLICATION_ID", "SUSPECT", "VERSION", "Database"]

APPLICATION_ID: Final = 0x46545249  # "FTRI": what `file` and SQLite's own tools say of it
SUSPECT: Final = 2
"""Crashes from which on an event runs with no other beside it."""

_MOST_CRASHES: Final = SUSPECT + 3

# What a file of each version lacks of the next. Files are made so, too: a version's text is never changed.
_MIGRATIONS: Final = (
    """
    CREATE TABLE meta (app_id TEXT NOT NULL, generation INTEGER NOT NULL);
    CREATE TABLE event (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        keys BLOB NOT NULL,
        id TEXT NOT NULL,
        type TEXT NOT NULL,
        message_id TEXT NOT NULL,
        trace_id TEXT NOT NULL,
        lane TEXT,
        lane_hash INTEGER,
        state INTEGER NOT NULL,
        due REAL,
        attempts INTEGER NOT NULL DEFAULT 0,
        crashes INTEGER NOT NULL DEFAULT 0,
        token INTEGER NOT NULL DEFAULT 0,
        received REAL NOT NULL,
        stored REAL NOT NULL,
        settled REAL,
        error TEXT
    );
    CREATE INDEX ready ON event (number) WHERE state = 0;
    CREATE INDEX suspect ON event (number) WHERE state = 0 AND crashes >= 2;
    CREATE INDEX lane ON event (lane_hash, number) WHERE lane_hash IS NOT NULL AND state < 4;
    CREATE INDEX waiting ON event (due) WHERE state = 3;
    CREATE INDEX running ON event (number) WHERE state = 2;
    CREATE INDEX settled ON event (state, settled) WHERE state >= 4;
    CREATE TABLE body (number INTEGER PRIMARY KEY, payload BLOB NOT NULL);
    CREATE TABLE key (key BLOB PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE handler (
        number INTEGER NOT NULL,
        name TEXT NOT NULL,
        result BLOB,
        at REAL NOT NULL,
        PRIMARY KEY (number, name)
    ) WITHOUT ROWID;
    """,
    """
    ALTER TABLE meta ADD COLUMN strict INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE handler ADD COLUMN error TEXT;
    ALTER TABLE event ADD COLUMN untold INTEGER;
    CREATE INDEX untold ON event (number) WHERE untold = 1;
    CREATE TABLE note (
        number INTEGER NOT NULL,
        handler TEXT NOT NULL,
        key TEXT NOT NULL,
        value BLOB NOT NULL,
        PRIMARY KEY (number, handler, key)
    ) WITHOUT ROWID;
    """,
    """
    ALTER TABLE event ADD COLUMN gathered INTEGER;
    DROP INDEX lane;
    CREATE INDEX head ON event (lane_hash) WHERE lane_hash IS NOT NULL AND state IN (0, 2);
    CREATE INDEX blocked ON event (lane_hash) WHERE lane_hash IS NOT NULL AND state = 1;
    CREATE INDEX aside ON event (lane_hash) WHERE lane_hash IS NOT NULL AND state = 3;
    CREATE INDEX parked ON event (lane_hash) WHERE lane_hash IS NOT NULL AND state = 6;
    """,
    # Files of version 3 that were made before the first release may have an older index in the place of these.
    """
    DROP INDEX IF EXISTS lane;
    CREATE INDEX IF NOT EXISTS head ON event (lane_hash) WHERE lane_hash IS NOT NULL AND state IN (0, 2);
    CREATE INDEX IF NOT EXISTS blocked ON event (lane_hash) WHERE lane_hash IS NOT NULL AND state = 1;
    CREATE INDEX IF NOT EXISTS aside ON event (lane_hash) WHERE lane_hash IS NOT NULL AND state = 3;
    CREATE INDEX IF NOT EXISTS parked ON event (lane_hash) WHERE lane_hash IS NOT NULL AND state = 6;
    """,
)

VERSION: Final = len(_MIGRATIONS)

# The states as numbers, as they are in files: none is ever given another meaning.
_READY, _BLOCKED, _RUNNING, _WAITING, _DONE, _DEAD, _PARKED = range(7)
_STATES: Final = (
    State.READY,
    State.BLOCKED,
    State.RUNNING,
    State.WAITING,
    State.DONE,
    State.DEAD,
    State.PARKED,
)

# What belongs to an event, in tables of its own.
_PARTS: Final = ("body", "handler", "note")
_SUMMARY: Final = "number, id, type, state, lane, attempts, crashes, received, stored, due, settled, error"

_KEY_BYTES: Final = 16
_SPARE_PAGES: Final = 64
_IDS: Final = 500  # that are looked for at a time
_LARGEST_NUMBER: Final = (1 << 63) - 1  # that SQLite has
_LONG: Final = 256  # characters from which on a lane is no chat's id, and takes memory

# Where an event stands in a lane, whose hash is ?1: an index for each place, so that those which wait for their next
# attempt, thousands perhaps, are not looked through for those which do not.
_AT_HEAD: Final = (
    "SELECT number, state, lane FROM event INDEXED BY head WHERE lane_hash = ?1 AND state IN (0, 2)"
)
_BEHIND: Final = "SELECT number, state, lane FROM event INDEXED BY blocked WHERE lane_hash = ?1 AND state = 1"
_ASIDE: Final = "SELECT number, state, lane FROM event INDEXED BY aside WHERE lane_hash = ?1 AND state = 3"
_BESIDE: Final = "SELECT number, state, lane FROM event INDEXED BY parked WHERE lane_hash = ?1 AND state = 6"

# A list of any length as one parameter.
_IN_LIST: Final = "type IN (SELECT value FROM json_each(?))"
# The same for types of which one has a NUL, where SQLite's JSON would end.
_IN_HEX_LIST: Final = "hex(type) IN (SELECT value FROM json_each(?))"


class Database:
    """The tables of one inbox, over an open connection. All times are seconds since 1970.

    Args:
        connection: SQLite's, in autocommit mode.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._execute = connection.execute
        self._is_strict = False  # whether an event that waits for its next attempt holds up its lane
        self._token = 0

    # The file

    def create(self, app_id: str) -> None:
        """Make the tables, in a new file."""
        with self.transaction():
            self._migrate(0)
            self._execute("INSERT INTO meta (app_id, generation) VALUES (?, 0)", (app_id,))
            self._execute(f"PRAGMA application_id = {APPLICATION_ID}")

    def migrate(self) -> None:
        """Have the tables of an older version become this one's, all at once or not at all."""
        (version,) = self._execute("PRAGMA user_version").fetchone()
        if version < VERSION:
            with self.transaction():
                self._migrate(version)

    def _migrate(self, version: int) -> None:
        if version:
            self._complete(version)
        for migration in _MIGRATIONS[version:]:
            for statement in migration.split(";"):
                self._execute(statement)
        self._execute(f"PRAGMA user_version = {VERSION}")

    def _complete(self, version: int) -> None:
        """Add columns that files of an older version may lack if they were made before the first release."""
        if not self._has_column("event", "lane_hash"):
            self._execute("ALTER TABLE event ADD COLUMN lane_hash INTEGER")
            lanes = self._execute("SELECT number, lane FROM event WHERE lane IS NOT NULL").fetchall()
            self._connection.executemany(
                "UPDATE event SET lane_hash = ? WHERE number = ?",
                [(_hash(lane), number) for number, lane in lanes],
            )
        if version > 1 and not self._has_column("meta", "strict"):
            self._execute("ALTER TABLE meta ADD COLUMN strict INTEGER NOT NULL DEFAULT 0")

    def _has_column(self, table: str, name: str) -> bool:
        query = "SELECT 1 FROM pragma_table_info(?) WHERE name = ?"
        return self._execute(query, (table, name)).fetchone() is not None

    @property
    def app_id(self) -> str:
        """The app whose events these are."""
        row = self._execute("SELECT app_id FROM meta").fetchone()
        if row is None:
            raise sqlite3.DatabaseError("it does not say whose events it has: its table meta is empty")
        return str(row[0])

    def keep_order(self) -> None:
        """Let order be as strict as it was for the last owner."""
        (self._is_strict,) = map(bool, self._execute("SELECT strict FROM meta").fetchone())

    def set_order(self, *, strict: bool) -> None:
        """Whether an event that waits for its next attempt holds up its lane. What is there is put in order."""
        self.keep_order()
        if self._is_strict == strict:
            return
        self._is_strict = strict
        with self.transaction():
            self._execute("UPDATE meta SET strict = ?", (strict,))
            lanes = self._execute(
                "SELECT DISTINCT lane FROM event WHERE state = 3 AND lane IS NOT NULL"
            ).fetchall()
            for (lane,) in lanes:
                if strict:
                    self._execute(
                        f"UPDATE event SET state = 1 WHERE number IN (SELECT number FROM ({_AT_HEAD}) WHERE state = 0)",
                        (_hash(lane),),
                    )
                elif self._head(lane) is None:
                    self._free(lane)

    def latest(self) -> float:
        """The latest time in the file; 0 in a new one. The clock may have been set back since."""
        (stored,) = self._execute("SELECT stored FROM event ORDER BY number DESC LIMIT 1").fetchone() or (
            0.0,
        )
        settled = [
            self._execute(
                "SELECT max(settled) FROM event INDEXED BY settled WHERE state = ? AND state >= 4", (state,)
            ).fetchone()[0]
            for state in (_DONE, _DEAD)
        ]
        (ended,) = self._execute(
            "SELECT max(at) FROM handler"
        ).fetchone()  # of those that are to be tried again
        return max(float(stored), *(float(each or 0.0) for each in (*settled, ended)))

    def recover(self, now: float) -> int:
        """Take the file over at an opening: what ran when its last owner died is ready again; how many ran.

        That counts as a crash, but for what had not begun. What crashed too often is a dead letter. An earlier claim is
        outdated by this: a token starts with the generation, which rises with each opening.
        """
        with self.transaction():
            self._execute("UPDATE meta SET generation = generation + 1")
            (generation,) = self._execute("SELECT generation FROM meta").fetchone()
            self._token = generation << 40
            running = self._execute(
                "SELECT number, lane, crashes + (gathered IS NULL) FROM event INDEXED BY running WHERE state = 2"
            ).fetchall()
            for number, lane, crashes in running:
                self._execute(
                    "UPDATE event SET state = 0, crashes = ?, attempts = attempts - 1 WHERE number = ?",
                    (crashes, number),
                )
                if crashes >= _MOST_CRASHES:
                    self._bury(number, lane, f"the process died {crashes} times while it ran", now)
        return len(running)

    def touch(self) -> None:
        """Write, and change nothing."""
        self._execute("UPDATE meta SET generation = generation")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What is done within is committed as a whole at the end, or not at all."""
        self._execute("BEGIN IMMEDIATE")
        try:
            yield
            self._execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._execute("ROLLBACK")
            raise

    # Storing

    def store(self, entries: Sequence[Entry], now: float) -> list[Stored]:
        """Store what is not known by any of its keys; of what is known and done, the window starts anew."""
        first = self._next_number()
        keys = [list(dict.fromkeys(map(_digest, entry.keys))) for entry in entries]
        rows = [(key, number) for number, of_one in enumerate(keys, first) for key in of_one]
        if self._add_keys(rows) == len(rows):
            self._insert(first, entries, keys, now)
            return [Stored(number, True) for number in range(first, first + len(entries))]
        # One of them is known. That is seldom, so it costs less to begin anew than to ask first.
        self._remove_keys(rows)
        if len(entries) > 1:
            return [stored for entry in entries for stored in self.store([entry], now)]
        return [Stored(self._renew(keys[0], now), False)]

    def seen(self, keys: Iterable[str], now: float) -> None:
        """The event of these keys has arrived again: if it is known and done, its window starts anew."""
        digests = list(dict.fromkeys(map(_digest, keys)))
        if any(self._number_of(key) is not None for key in digests):
            self._renew(digests, now)

    def _next_number(self) -> int:
        row = self._execute("SELECT seq FROM sqlite_sequence WHERE name = 'event'").fetchone()
        return 1 if row is None else int(row[0]) + 1

    def _insert(self, first: int, entries: Sequence[Entry], keys: Sequence[list[bytes]], now: float) -> None:
        self._connection.executemany(
            # The state is blocked, 1, if another event holds the lane; else ready, 0.
            "INSERT INTO event (lane_hash, number, keys, id, type, message_id, trace_id, lane, state, received, stored) "
            f"VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?1 IS NOT NULL AND EXISTS ({self._holders}), ?9, ?10)",
            [
                (
                    None if entry.lane is None else _hash(entry.lane),
                    number,
                    b"".join(of_one),
                    entry.id,
                    entry.type,
                    entry.message_id,
                    entry.trace_id,
                    entry.lane,
                    entry.received,
                    now,
                )
                for number, (entry, of_one) in enumerate(zip(entries, keys, strict=True), first)
            ],
        )
        self._connection.executemany(
            "INSERT INTO body VALUES (?, ?)",
            [(number, entry.payload) for number, entry in enumerate(entries, first)],
        )

    def _add_keys(self, rows: Sequence[tuple[bytes, int]]) -> int:
        """Events of these numbers are known by these keys, but for those that are another's; how many are not."""
        return self._connection.executemany("INSERT OR IGNORE INTO key VALUES (?, ?)", rows).rowcount

    def _remove_keys(self, rows: Sequence[tuple[bytes, int]]) -> None:
        self._connection.executemany("DELETE FROM key WHERE key = ? AND number = ?", rows)

    def _renew(self, keys: Sequence[bytes], now: float) -> int:
        """One of these is a stored event's: it is known by all of them, and its window starts anew; its number."""
        numbers = [self._number_of(key) for key in keys]
        number = next((each for each in numbers if each is not None), None)
        assert number is not None, "a key that is known is an event's"
        self._execute(
            "UPDATE event SET settled = max(settled, ?) WHERE number = ? AND state = 4", (now, number)
        )
        new_keys = [key for key, known in zip(keys, numbers, strict=True) if known is None]
        if self._add_keys([(key, number) for key in new_keys]):
            self._execute(
                "UPDATE event SET keys = CAST(keys || ? AS BLOB) WHERE number = ?",
                (b"".join(new_keys), number),
            )
        return number

    def _number_of(self, key: bytes) -> int | None:
        row = self._execute("SELECT number FROM key WHERE key = ?", (key,)).fetchone()
        return None if row is None else int(row[0])

    # Lanes

    @property
    def _holders(self) -> str:
        """The query for the events that hold the lane whose hash is ?1: one, if any."""
        return f"{_AT_HEAD} UNION ALL {_ASIDE}" if self._is_strict else _AT_HEAD

    def _free(self, lane: str | None) -> None:
        """The event that held this lane does not any more: the next is ready."""
        if lane is not None:
            self._execute(
                f"UPDATE event SET state = 0 WHERE number = (SELECT number FROM ({_BEHIND}) ORDER BY number LIMIT 1)",
                (_hash(lane),),
            )

    def _head(self, lane: str | None, besides: int = 0) -> tuple[int, int] | None:
        """The number and state of the event that holds a lane, but for one; None if it is free."""
        if lane is None:
            return None
        head: tuple[int, int] | None = self._execute(
            f"SELECT number, state FROM ({self._holders}) WHERE number <> ?2", (_hash(lane), besides)
        ).fetchone()
        return head

    def _enter(self, number: int, lane: str | None) -> None:
        """An event that stood beside its lane is to run: as the next, if another of the lane runs."""
        state = _READY
        head = self._head(lane, number)
        if head is not None:
            if head[1] != _READY or head[0] < number:
                state = _BLOCKED
            else:
                self._execute("UPDATE event SET state = 1 WHERE number = ?", (head[0],))
        self._execute("UPDATE event SET state = ?, due = NULL WHERE number = ?", (state, number))

    # Claiming

    def claim(
        self, limit: int, now: float, types: Collection[str] | None = None, *, gathers: bool = False
    ) -> list[Claim]:
        """Claim up to `limit` events of these types, the oldest first; not those that must run alone.

        Their attempts are counted. `gathers` if they do not begin before `begin`.
        """
        self._wake(now, limit)
        which = "SELECT number FROM event INDEXED BY ready WHERE state = 0 AND crashes < ? {} ORDER BY number LIMIT ?"
        if types is None:
            return self._claim(which.format(""), (SUSPECT, limit), gathers=gathers)
        is_one, wanted = _of_types(types)
        return self._claim(which.format(f"AND {is_one}"), (SUSPECT, wanted, limit), gathers=gathers)

    def begin(self, claims: Iterable[Claim]) -> None:
        """What was gathered begins: from here on a crash counts."""
        self._connection.executemany(
            "UPDATE event SET gathered = NULL WHERE number = ? AND token = ?",
            [(claim.number, claim.token) for claim in claims],
        )

    def types(self) -> set[str]:
        """The types of events that are neither done nor dead."""
        return {
            kind for (kind,) in self._execute("SELECT DISTINCT type FROM event WHERE state NOT IN (4, 5)")
        }

    def types_of(self, numbers: Collection[int]) -> set[str]:
        """The types of these events."""
        rows = self._execute(
            "SELECT DISTINCT type FROM event WHERE number IN (SELECT value FROM json_each(?))",
            (_list(numbers),),
        )
        return {kind for (kind,) in rows}

    def claim_alone(self, now: float) -> list[Claim]:
        """Claim the oldest event that must run with no other beside it, if there is one."""
        self._wake(now, 1)
        return self._claim(
            "SELECT number FROM event INDEXED BY suspect WHERE state = 0 AND crashes >= 2 ORDER BY number LIMIT 1",
            (),
        )

    def suspect_is_ready(self) -> bool:
        """Whether there is something for `claim_alone`."""
        query = "SELECT 1 FROM event INDEXED BY suspect WHERE state = 0 AND crashes >= 2 LIMIT 1"
        return self._execute(query).fetchone() is not None

    def _claim(self, which: str, arguments: tuple[int | str, ...], *, gathers: bool = False) -> list[Claim]:
        self._token += 1
        rows = self._execute(
            "UPDATE event SET state = 2, attempts = attempts + 1, token = ?, gathered = ? "
            f"WHERE number IN ({which}) "
            "RETURNING number, token, id, type, lane, (SELECT payload FROM body WHERE number = event.number), "
            "message_id, trace_id, received, stored, attempts, crashes, "
            "EXISTS (SELECT 1 FROM handler WHERE number = event.number) "
            "OR EXISTS (SELECT 1 FROM note WHERE number = event.number)",
            (self._token, gathers or None, *arguments),
        ).fetchall()
        rows.sort()
        claims = []
        for *fields, has_parts in rows:
            claim = Claim(*fields)
            claim.is_gathered = gathers
            if has_parts:
                claim.has_parts = True
                claim.succeeded = self._succeeded(claim.number)
                claim.notes = self._notes(claim.number)
            claims.append(claim)
        return claims

    def _succeeded(self, number: int) -> dict[str, bytes | None]:
        return dict(
            self._execute(
                "SELECT name, result FROM handler WHERE number = ? AND error IS NULL", (number,)
            ).fetchall()
        )

    def _notes(self, number: int) -> dict[tuple[str, str], bytes]:
        rows = self._execute("SELECT handler, key, value FROM note WHERE number = ?", (number,))
        return {(handler, key): value for handler, key, value in rows}

    def _wake(self, now: float, limit: int) -> None:
        """Those whose next attempt is due are to run."""
        due = self._execute(
            "SELECT number, lane FROM event INDEXED BY waiting WHERE state = 3 AND due <= ? ORDER BY due LIMIT ?",
            (now, max(limit, 100)),
        ).fetchall()
        for number, lane in due:
            self._enter(number, lane)

    def next_due(self) -> float | None:
        """When the next attempt of a waiting event is due; None if none waits."""
        (due,) = self._execute("SELECT min(due) FROM event INDEXED BY waiting WHERE state = 3").fetchone()
        return None if due is None else float(due)

    # Settling

    def succeeded(self, claim: Claim, handler: str, result: bytes | None, now: float) -> bool:
        """A handler succeeded; it does not run again. False if the claim is outdated."""
        return self._handler_ended(claim, handler, now, result=result)

    def failed(self, claim: Claim, handler: str, error: str, now: float) -> bool:
        """A handler failed. False if the claim is outdated."""
        return self._handler_ended(claim, handler, now, error=error)

    def _handler_ended(
        self, claim: Claim, handler: str, now: float, *, result: bytes | None = None, error: str | None = None
    ) -> bool:
        if not self._owns(claim):
            return False
        claim.has_parts = True
        self._execute(
            "INSERT OR REPLACE INTO handler (number, name, result, at, error) VALUES (?, ?, ?, ?, ?)",
            (claim.number, handler, result, now, error),
        )
        return True

    def note(self, claim: Claim, handler: str, key: str, value: bytes) -> bool:
        """Keep a value of a handler until the event is done. False if the claim is outdated."""
        if not self._owns(claim):
            return False
        claim.has_parts = True
        self._execute("INSERT OR REPLACE INTO note VALUES (?, ?, ?, ?)", (claim.number, handler, key, value))
        return True

    def done(self, claim: Claim, now: float) -> bool:
        """Every handler succeeded: only its keys are kept, for the window. False if the claim is outdated."""
        if not self._leave(claim, _DONE, now):
            return False
        for table in _PARTS if claim.has_parts else ("body",):
            self._execute(f"DELETE FROM {table} WHERE number = ?", (claim.number,))
        texts = claim.id, claim.message_id, claim.trace_id, claim.lane or ""
        if max(map(len, texts)) > _LONG:  # its keys are what it is known by
            self._execute(
                "UPDATE event SET id = ?, message_id = ?, trace_id = ?, lane = NULL, lane_hash = NULL "
                "WHERE number = ?",
                (*(text[:_LONG] for text in texts[:3]), claim.number),
            )
        return True

    def retry(self, claim: Claim, due: float, error: str, *, counts: bool = True) -> bool:
        """It is to run again at `due`, for what failed; `counts` if that was an attempt. False if outdated."""
        if not self._owns(claim):
            return False
        self._execute(
            "UPDATE event SET state = 3, due = ?, error = ?, attempts = attempts - ? WHERE number = ?",
            (due, error, 0 if counts else 1, claim.number),
        )
        if not self._is_strict:
            self._free(claim.lane)
        return True

    def die(self, claim: Claim, error: str, now: float, *, has_begun: bool = True) -> bool:
        """It is a dead letter. False if the claim is outdated. What has not begun was no attempt."""
        if not self._owns(claim):
            return False
        if not has_begun:
            self._execute("UPDATE event SET attempts = attempts - 1 WHERE number = ?", (claim.number,))
        self._bury(claim.number, claim.lane, error, now)
        return True

    def _bury(self, number: int, lane: str | None, error: str, now: float) -> None:
        """It is a dead letter, of which nobody has been told."""
        self._execute(
            "UPDATE event SET state = 5, settled = ?, error = ?, untold = 1 WHERE number = ?",
            (now, error, number),
        )
        self._free(lane)

    def cancel(self, lane: str, spared: Collection[int], now: float, keys: Iterable[str] = ()) -> Cancelled:
        """Whatever runs or waits in a lane, or is parked beside it, is done, but for some events."""
        numbers = {self._number_of(_digest(key)) for key in keys}
        of_hash = " UNION ALL ".join((_AT_HEAD, _BEHIND, _ASIDE, _BESIDE))
        which = (
            f"SELECT number FROM ({of_hash}) WHERE lane = ?2 "
            "AND number NOT IN (SELECT value FROM json_each(?3))"
        )
        arguments = _hash(lane), lane, _list(spared)
        running = [number for (number,) in self._execute(f"{which} AND state = 2", arguments)]
        (count, of_keys) = self._execute(
            f"SELECT count(*), count(*) FILTER (WHERE number IN (SELECT value FROM json_each(?4))) FROM ({which})",
            (*arguments, _list([number for number in numbers if number])),
        ).fetchone()
        for table in _PARTS:
            self._execute(f"DELETE FROM {table} WHERE number IN ({which})", arguments)
        self._execute(
            f"UPDATE event SET state = 4, due = NULL, error = NULL, settled = ?4 WHERE number IN ({which})",
            (*arguments, now),
        )
        if self._head(lane) is None:
            self._free(lane)
        return Cancelled(count, running, of_keys)

    def release(self, claim: Claim) -> bool:
        """It was not begun, or was cancelled: it is ready again, and no attempt is counted. False if outdated."""
        if not self._owns(claim):
            return False
        self._execute("UPDATE event SET state = 0, attempts = attempts - 1 WHERE number = ?", (claim.number,))
        return True

    def release_all(self, spared: Collection[int] = ()) -> int:
        """What is claimed is ready again, but for some that go on, and no attempt is counted; how many."""
        return self._execute(
            "UPDATE event SET state = 0, attempts = attempts - 1 "
            "WHERE number IN (SELECT number FROM event INDEXED BY running WHERE state = 2 "
            "AND number NOT IN (SELECT value FROM json_each(?)))",
            (_list(spared),),
        ).rowcount

    def park(self, claim: Claim, now: float) -> bool:
        """No route here takes it: it waits beside its lane for a process that has one. False if outdated."""
        if not self._leave(claim, _PARKED, now):
            return False
        self._execute("UPDATE event SET attempts = attempts - 1 WHERE number = ?", (claim.number,))
        return True

    def _owns(self, claim: Claim) -> bool:
        row = self._execute("SELECT state, token FROM event WHERE number = ?", (claim.number,)).fetchone()
        return row is not None and row[0] == _RUNNING and row[1] == claim.token

    def _leave(self, claim: Claim, state: int, now: float) -> bool:
        left = self._execute(
            "UPDATE event SET state = ?1, settled = ?2, error = CASE WHEN ?1 = 4 THEN NULL ELSE error END "
            "WHERE number = ?3 AND state = 2 AND token = ?4",
            (state, now, claim.number, claim.token),
        ).rowcount
        if not left:
            return False
        self._free(claim.lane)
        return True

    def step_aside(self, claim: Claim) -> None:
        """It has no order any more: the next of its lane is ready."""
        self._execute("UPDATE event SET lane = NULL, lane_hash = NULL WHERE number = ?", (claim.number,))
        self._free(claim.lane)
        claim.lane = None

    # What is settled

    def unpark(self, types: Collection[str]) -> int:
        """Those of these types are to run, as a route takes them now; how many there are."""
        is_one, wanted = _of_types(types)
        parked = self._execute(
            f"SELECT number, lane FROM event INDEXED BY settled WHERE state = 6 AND state >= 4 AND {is_one} "
            "ORDER BY number",
            (wanted,),
        ).fetchall()
        for number, lane in parked:
            self._execute("UPDATE event SET settled = NULL WHERE number = ?", (number,))
            self._enter(number, lane)
        return len(parked)

    def bury_parked(self, before: float, error: str, now: float, limit: int) -> int:
        """Up to `limit` events that have been parked since before then are dead letters; how many there were."""
        rows = self._execute(
            "SELECT number FROM event INDEXED BY settled WHERE state = 6 AND state >= 4 AND settled <= ? "
            "ORDER BY settled LIMIT ?",
            (before, limit),
        ).fetchall()
        for (number,) in rows:
            self._bury(number, None, error, now)
        return len(rows)

    def untold(self, limit: int) -> list[Details]:
        """Up to `limit` dead letters that nobody has been told of, the oldest first."""
        rows = self._execute("SELECT number FROM event INDEXED BY untold WHERE untold = 1 LIMIT ?", (limit,))
        return [self._details(number) for (number,) in rows.fetchall()]

    def has_untold(self) -> bool:
        """Whether there is something for `untold`."""
        query = "SELECT 1 FROM event INDEXED BY untold WHERE untold = 1 LIMIT 1"
        return self._execute(query).fetchone() is not None

    def told(self, number: int) -> None:
        """Whoever wants to know of this dead letter has been told."""
        self._execute("UPDATE event SET untold = NULL WHERE number = ?", (number,))

    def numbers(self, ids: Iterable[str | int]) -> list[int]:
        """The numbers of events of which some are given by their ids; without those that there are not.

        Of several that have one id, as it is missing or could not be read, the dead letters come first.
        """
        found: list[list[int] | str] = []
        for each in ids:
            if isinstance(each, int):
                found.append(self._existing(each) if 0 < each <= _LARGEST_NUMBER else [])
            else:
                number = self._number_of(_digest(EVENT_KEY + each))
                # What has no form in UTF-8 was read so.
                found.append(each.encode("utf-8", "replace").decode() if number is None else [number])
        by_id = self._numbers_by_id({each for each in found if isinstance(each, str)})
        return [number for each in found for number in (by_id[each] if isinstance(each, str) else each)]

    def _existing(self, number: int) -> list[int]:
        rows = self._execute("SELECT number FROM event WHERE number = ?", (number,))
        return [number for (number,) in rows]

    def _numbers_by_id(self, ids: Collection[str]) -> dict[str, list[int]]:
        """The numbers of events of these ids: as there is no index for it, of many in one look through all events."""
        found: dict[str, list[int]] = {each: [] for each in ids}
        wanted = list(ids)
        for at in range(0, len(wanted), _IDS):
            some = wanted[at : at + _IDS]
            rows = self._execute(
                f"SELECT id, number FROM event WHERE id IN ({', '.join('?' * len(some))}) "
                "ORDER BY state <> 5, number",
                some,
            )
            for event_id, number in rows.fetchall():
                found[event_id].append(number)
        return found

    def requeue(self, numbers: Iterable[int], now: float) -> list[int]:
        """Dead letters are to run again, as if they had just been stored; their new numbers.

        What had succeeded does not run again.
        """
        requeued = []
        for number in numbers:
            row = self._execute(
                "SELECT lane, keys FROM event WHERE number = ? AND state = 5", (number,)
            ).fetchone()
            if row is None:
                continue
            lane, keys = row
            new = self._next_number()
            self._execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'event'", (new,))
            self._execute(
                "UPDATE event SET number = ?, state = ?, attempts = 0, crashes = 0, stored = ?, settled = NULL, "
                "untold = NULL WHERE number = ?",
                (new, _READY if self._head(lane) is None else _BLOCKED, now, number),
            )
            for table in _PARTS:
                self._execute(f"UPDATE {table} SET number = ? WHERE number = ?", (new, number))
            for key in _digests(keys):
                self._execute("UPDATE key SET number = ? WHERE key = ? AND number = ?", (new, key, number))
            requeued.append(new)
        return requeued

    def purge(self, state: State, before: float, limit: int) -> int:
        """Forget up to `limit` settled events of a state that were settled before; how many there were."""
        rows = self._execute(
            "SELECT number, keys FROM event INDEXED BY settled WHERE state = ? AND state >= 4 AND settled <= ? "
            "ORDER BY settled LIMIT ?",
            (_STATES.index(state), before, limit),
        ).fetchall()
        self._remove_keys([(key, number) for number, keys in rows for key in _digests(keys)])
        for table in (*_PARTS, "event"):
            self._connection.executemany(
                f"DELETE FROM {table} WHERE number = ?", [(number,) for number, _ in rows]
            )
        return len(rows)

    def shrink(self, pages: int) -> bool:
        """Give up to so many free pages back to the file system, if most are free; whether any were.

        Not within a transaction. Some stay for the next events.
        """
        free = self._free_pages()
        (total,) = self._execute("PRAGMA page_count").fetchone()
        if free <= max(_SPARE_PAGES, total // 2):
            return False
        # `execute` would free one page only.
        self._connection.executescript(f"PRAGMA incremental_vacuum({pages})")
        self._execute("PRAGMA wal_checkpoint").fetchall()  # which makes the file shorter
        return self._free_pages() < free

    def _free_pages(self) -> int:
        return int(self._execute("PRAGMA freelist_count").fetchone()[0])

    # Looking

    def copy(self, path: str) -> None:
        """Copy all that is committed into a new file."""
        self._execute("VACUUM INTO ?", (path,))

    def counts(self) -> Counts:
        """How many events stand where."""
        rows = self._execute("SELECT state, count(*) FROM event GROUP BY state").fetchall()
        (oldest,) = self._execute("SELECT min(stored) FROM event WHERE state < 4").fetchone()
        return Counts(**{_STATES[state]: count for state, count in rows}, oldest=oldest)

    def list(self, state: State, limit: int, after: int = 0) -> list[Summary]:
        """Events of a state, in the order of their numbers, from behind `after` on."""
        rows = self._execute(
            f"SELECT {_SUMMARY} FROM event WHERE state = ? AND number > ? ORDER BY number LIMIT ?",
            (_STATES.index(state), after, limit),
        ).fetchall()
        return [Summary(**_summary(row)) for row in rows]

    def show(self, event: str | int) -> Details | None:
        """One event, by its id or its number; None if it is not there."""
        numbers = self.numbers([event])
        return self._details(numbers[0]) if numbers else None

    def _details(self, number: int) -> Details:
        *summary, message_id, trace_id = self._execute(
            f"SELECT {_SUMMARY}, message_id, trace_id FROM event WHERE number = ?", (number,)
        ).fetchone()
        body = self._execute("SELECT payload FROM body WHERE number = ?", (number,)).fetchone()
        handlers = self._execute("SELECT name, error, at FROM handler WHERE number = ?", (number,))
        return Details(
            **_summary(summary),
            message_id=message_id,
            trace_id=trace_id,
            payload=None if body is None else body[0],
            handlers=tuple(HandlerState(name=name, error=error, at=at) for name, error, at in handlers),
        )


def _summary(row: Iterable[Any]) -> dict[str, Any]:
    """The fields of a `Summary`, of a row of `_SUMMARY`'s columns."""
    fields = dict(zip(_SUMMARY.split(", "), row, strict=True))
    fields["state"] = _STATES[fields["state"]]
    return fields


def _of_types(types: Collection[str]) -> tuple[str, str]:
    """The condition that a type is one of these, and its parameter."""
    if any("\0" in each for each in types):
        return _IN_HEX_LIST, _list([each.encode("utf-8", "surrogatepass").hex().upper() for each in types])
    return _IN_LIST, _list(types)


def _hash(lane: str) -> int:
    return _hash_again(lane) if len(lane) < _LONG else _hash_anew(lane)


def _hash_anew(lane: str) -> int:
    digest = hashlib.blake2b(lane.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


_hash_again: Final = lru_cache(1024)(_hash_anew)  # chats come again and again


def _list(values: Collection[str | int]) -> str:
    return json.dumps(list(values))


def _digests(keys: bytes) -> list[bytes]:
    return [keys[at : at + _KEY_BYTES] for at in range(0, len(keys), _KEY_BYTES)]


def _digest(key: str) -> bytes:
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=_KEY_BYTES).digest()
