"""Whatever is done to them in turn, an inbox in Redis and one over SQLite hold the same."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
import pytest

from feishu_trio.inbox.memory import MemoryInbox
from feishu_trio.inbox.protocol import Inbox
from feishu_trio.inbox.records import Claim, Details, Entry, State
from feishu_trio.inbox.redis import RedisInbox

from .test_contract import serving

TYPES = ["x.a", "x.b", "x.c"]
LANES = [None, "one", "two", ""]
FAR = 1e6  # seconds: not due again within a test


class Both:
    """Two inboxes of which the same is asked, and which must answer the same."""

    def __init__(self, random: Random, redis: RedisInbox, other: Inbox) -> None:
        self.random = random
        self.inboxes: tuple[Inbox, Inbox] = redis, other
        self.claims: dict[str, tuple[Claim, Claim]] = {}
        self.stored = 0
        self.steps: list[str] = []

    async def do(self) -> None:
        step = self.random.choices(
            ["store", "claim", "settle", "cancel", "unpark", "requeue", "again", "note"],
            [8, 8, 14, 1, 2, 2, 2, 2],
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
        """An event that was stored arrives again, with one of its keys, or with one more."""
        name = f"e{self.random.randint(1, self.stored + 1)}"
        keys = (f"event:{name}", f"message:{name}")[: self.random.randint(1, 2)]
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
        claimed, of_other = await self.ask("claim", limit, types, in_order=in_order)
        assert [each.id for each in claimed] == [each.id for each in of_other]
        for mine, other in zip(claimed, of_other, strict=True):
            fields = {
                name: (getattr(mine, name), getattr(other, name))
                for name in mine.__struct_fields__
                if name not in ("token", "stored")
            }
            assert all(a == b for a, b in fields.values()), fields
            self.claims[mine.id] = mine, other
            if not in_order:
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
        fields = ("number", "id", "type", "state", "lane", "attempts", "error")
        events = {
            state: [tuple(getattr(each, name) for name in fields) for each in some]
            for state, some in listed.items()
        }
        return counts, events


def parts_of(event: Details | None) -> object:
    return event and (event.number, event.payload, [(each.name, each.error) for each in event.handlers])


@pytest.mark.parametrize("strict_order", [False, True])
async def test_an_inbox_in_redis_does_what_one_over_sqlite_does(
    redis_url: str, prefix: str, is_soak: bool, strict_order: bool
) -> None:
    for seed in range(200 if is_soak else 8):
        redis = RedisInbox(redis_url, prefix=f"{prefix}-{seed}", strict_order=strict_order)
        async with serving(redis), serving(MemoryInbox(strict_order=strict_order)) as memory:
            both = Both(Random(seed), redis, memory)
            try:
                for _ in range(120):
                    await both.do()
            except AssertionError:
                print(f"seed {seed}:", *both.steps, sep="\n")
                raise
