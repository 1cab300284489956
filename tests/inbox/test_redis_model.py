"""Whatever is done to them in turn, an inbox in Redis and one over SQLite hold the same.

So they do though half of what settles events comes twice to the server, as it does when its first reply was lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import msgspec
import pytest

from feishu_trio.inbox.local import LocalInbox
from feishu_trio.inbox.memory import MemoryInbox
from feishu_trio.inbox.protocol import Inbox
from feishu_trio.inbox.records import Claim, Details, Entry, State, Summary
from feishu_trio.inbox.redis import RedisInbox
from feishu_trio.inbox.redis_scripts import SETTLE, Script, reading
from feishu_trio.inbox.redis_server import Link, Refusal

from .test_contract import serving

TYPES = ["x.a", "x.b", "x.c"]
LANES = [None, "one", "two", ""]
FAR = 1e6  # seconds: not due again within a test


class Both:
    """Two inboxes of which the same is asked, and which must answer the same."""

    def __init__(self, random: Random, redis: RedisInbox, other: LocalInbox) -> None:
        self.random = random
        self.redis = redis
        self.other = other
        self.inboxes: tuple[Inbox, Inbox] = redis, other
        self.claims: dict[str, tuple[Claim, Claim]] = {}
        self.stored = 0
        self.steps: list[str] = []

    async def do(self) -> None:
        step = self.random.choices(
            ["store", "claim", "settle", "cancel", "unpark", "requeue", "again", "note", "crash", "purge"],
            [8, 8, 14, 1, 2, 2, 2, 2, 1, 0.5],
        )[0]
        await getattr(self, step)()
        for each in self.inboxes:
            await each.flush()
        await self.compare()

    async def ask(self, step: str, *arguments: Any, **more: Any) -> tuple[Any, Any]:
        self.steps.append(f"{step}{arguments}{more or ''}")
        mine = await getattr(self.inboxes[0], step)(*arguments, **more)
        return mine, await getattr(self.inboxes[1], step)(*arguments, **more)

    def note_both(self, step: str, claims: tuple[Claim, Claim], *arguments: Any, **more: Any) -> None:
        self.steps.append(f"{step} {claims[0].id} {arguments}{more or ''}")
        for inbox, claim in zip(self.inboxes, claims, strict=True):
            getattr(inbox, step)(claim, *arguments, **more)

    async def store(self) -> None:
        entries = []
        for _ in range(self.random.randint(1, 4)):
            self.stored += 1
            name = f"e{self.stored}"
            keys = (
                (f"event:{name}",) if self.random.random() < 0.8 else (f"event:{name}:odd", f"message:{name}")
            )
            lane = self.random.choice(LANES)
            entries.append(
                Entry(keys=keys, id=name, type=self.random.choice(TYPES), lane=lane, payload=name.encode())
            )
            if self.random.random() < 0.2:
                entries.append(self.random.choice(entries))
        mine, others = await self.ask("store", entries)
        assert mine == others

    async def again(self) -> None:
        """An event that was stored arrives again, with one of its keys, or with more."""
        name = f"e{self.random.randint(1, self.stored + 1)}"
        keys = tuple(self.random.sample([f"event:{name}", f"message:{name}"], self.random.randint(1, 2)))
        if self.random.random() < 0.5:
            self.steps.append(f"seen {keys}")
            for each in self.inboxes:
                each.seen(keys)
        else:
            self.stored = max(self.stored, int(name[1:]))
            mine, others = await self.ask(
                "store", [Entry(keys=keys, id=name, type="x.a", lane="one", payload=b"")]
            )
            assert mine == others

    async def claim(self) -> None:
        types = None if self.random.random() < 0.5 else self.random.sample(TYPES, self.random.randint(1, 3))
        limit, in_order = self.random.randint(1, 4), self.random.random() < 0.8
        alone = in_order and self.random.random() < 0.2
        claimed, of_other = await self.ask("claim", limit, types, in_order=in_order, alone=alone)
        assert [each.id for each in claimed] == [each.id for each in of_other]
        for mine, other in zip(claimed, of_other, strict=True):
            fields = {
                name: (getattr(mine, name), getattr(other, name))
                for name in mine.__struct_fields__
                if name not in ("token", "stored")
            }
            assert all(a == b for a, b in fields.values()), fields
            self.claims[mine.id] = mine, other
            if not in_order and self.random.random() < 0.7:
                for inbox, each in zip(self.inboxes, (mine, other), strict=True):
                    await inbox.begin([each])

    async def settle(self) -> None:
        """Several at a time are written as a group, also if events that are done arrive again between them."""
        for _ in range(self.random.randint(1, 4)):
            if self.claims:
                self.settle_one()
            if self.stored and self.random.random() < 0.2:
                keys = [f"event:e{self.random.randint(1, self.stored)}"]
                self.steps.append(f"seen {keys}")
                for each in self.inboxes:
                    each.seen(keys)

    def settle_one(self) -> None:
        name = self.random.choice(list(self.claims))
        claims = self.claims[name]
        step = self.random.choice(
            ["succeeded", "failed", "done", "done", "retry", "retry", "die", "release", "park"]
        )
        match step:
            case "succeeded":
                result = self.random.choice([None, b"", b"1"])
                self.note_both(step, claims, self.random.choice("hi"), result)
                return
            case "failed":
                self.note_both(step, claims, self.random.choice("hi"), "no")
                return
            case "retry":
                delay = self.random.choice([0.0, 0.0, FAR])
                self.note_both(step, claims, delay, "again", counts=self.random.random() < 0.7)
            case "die":
                self.note_both(step, claims, "dead")
            case _:
                self.note_both(step, claims)
        if self.random.random() < 0.8:
            del self.claims[name]  # else what comes next of this claim comes late

    async def note(self) -> None:
        if self.claims:
            claims = self.claims[self.random.choice(list(self.claims))]
            self.steps.append(f"note {claims[0].id}")
            kept = [
                await inbox.note(claim, "h", "key", b"\xff")
                for inbox, claim in zip(self.inboxes, claims, strict=True)
            ]
            assert kept[0] == kept[1]

    async def cancel(self) -> None:
        lane = self.random.choice(LANES[1:])
        spared = [claims[0].number for claims in self.claims.values() if self.random.random() < 0.3]
        keys = [f"event:e{self.random.randint(1, self.stored + 1)}"]
        mine, others = await self.ask("cancel", lane, spared, keys)
        assert (mine.count, sorted(mine.running), mine.known) == (
            others.count,
            sorted(others.running),
            others.known,
        )

    async def unpark(self) -> None:
        mine, others = await self.ask("unpark", self.random.sample(TYPES, 2))
        assert mine == others

    async def requeue(self) -> None:
        ids = [f"e{self.random.randint(1, self.stored + 1)}" for _ in range(3)]
        mine, others = await self.ask("requeue", ids)
        assert mine == others

    async def crash(self) -> None:
        """The lease has ended, as if the process had died; results of its claims come late."""
        self.steps.append("crash")
        self.redis._lease.end()
        await self.redis._renew()
        database = self.other._database
        assert database is not None
        database.recover(self.other._now())
        if self.random.random() < 0.5:
            self.claims.clear()

    async def purge(self) -> None:
        mine, others = await self.ask("purge", self.random.choice(["done", "dead", "parked"]), 0.0)
        assert mine == others

    async def compare(self) -> None:
        """What they show of all events is the same, but for the times."""
        mine, others = [await self.all_of(each) for each in self.inboxes]
        assert mine == others
        name = f"e{self.random.randint(1, self.stored + 1)}"
        shown, of_others = [await each.show(name) for each in self.inboxes]
        assert parts_of(shown) == parts_of(of_others)

    async def all_of(self, inbox: Inbox) -> tuple[Any, ...]:
        counts = msgspec.structs.replace(await inbox.counts(), oldest=None)
        listed = {state: await inbox.list(state, 1000) for state in State}
        assert [len(each) for each in listed.values()] == list(msgspec.structs.astuple(counts))[:7]
        fields = ("number", "id", "type", "state", "lane", "attempts", "crashes")
        events = {
            state: [(*(getattr(each, name) for name in fields), error_of(each)) for each in some]
            for state, some in listed.items()
        }
        return counts, events


def error_of(event: Summary) -> str | None:
    """Its error, but for what is said of crashes."""
    error = event.error
    return "it crashed" if error and " process died" in error else error


def parts_of(event: Details | None) -> object:
    return event and (event.number, event.payload, [(each.name, each.error) for each in event.handlers])


@pytest.fixture
def twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of what settles events is sent again, and gives back the same."""
    random, run = Random(0), Link.run

    async def run_twice(self: Link, calls: Sequence[tuple[Script, bytes]]) -> list[bytes | Refusal]:
        replies = await run(self, calls)
        for (script, argument), reply in zip(calls, replies, strict=True):
            if script is SETTLE and random.random() < 0.5:
                (again,) = await run(self, [(script, argument)])
                assert isinstance(reply, bytes)
                assert isinstance(again, bytes)
                assert [bytes(raw) for raw in reading(again).replies] == [
                    bytes(raw) for raw in reading(reply).replies
                ]
        return replies

    monkeypatch.setattr(Link, "run", run_twice)


@pytest.mark.usefixtures("twice")
@pytest.mark.parametrize("strict_order", [False, True])
async def test_an_inbox_in_redis_does_what_one_over_sqlite_does(
    redis_url: str, prefix: str, is_soak: bool, strict_order: bool
) -> None:
    for seed in range(200 if is_soak else 8):
        redis = RedisInbox(redis_url, prefix=f"{prefix}-{seed}", strict_order=strict_order)
        async with serving(redis), serving(MemoryInbox(strict_order=strict_order)) as memory:
            redis._is_reserving = True  # it is not to claim by itself what must run alone
            both = Both(Random(seed), redis, memory)
            try:
                for _ in range(120):
                    await both.do()
            except AssertionError:
                print(f"seed {seed}:", *both.steps, sep="\n")
                raise
