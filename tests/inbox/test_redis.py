"""One inbox of many processes: leases, taking over, and what one process does to what another has."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from feishu_trio.errors import ConfigError, InboxError
from feishu_trio.inbox.records import Claim, Entry, State
from feishu_trio.inbox.redis import RedisInbox
from feishu_trio.inbox.redis_lease import Lease
from feishu_trio.inbox.redis_scripts import VERSION
from session.rig import come_true

from .servers import client_of
from .test_contract import claim, entry, serving

Make = Callable[..., RedisInbox]


@pytest.fixture
def make(redis_url: str, prefix: str) -> Make:
    return functools.partial(RedisInbox, redis_url, prefix=prefix)


@pytest.fixture
def client(redis_url: str) -> Any:
    return client_of(redis_url)


async def dies_with(inbox: RedisInbox, events: int = 1, **how: Any) -> list[str]:
    """A process claims events, and is not there any more: what it keeps it never gives back."""
    async with serving(inbox):
        claims = await inbox.claim(events, **how)
        for each in claims:
            inbox.keep(each)
    return [each.id for each in claims]


def end_leases(client: Any, prefix: str, *living: RedisInbox) -> None:
    """The leases of all others have ended."""
    names = set(client.zrange(f"{{{prefix}}}:owners", 0, -1)) - {
        each._lease.owner.encode() for each in living
    }
    client.zadd(f"{{{prefix}}}:owners", dict.fromkeys(names, 0))


async def claimed(inbox: RedisInbox, wanted: int = 1, seconds: float = 10) -> dict[str, Claim]:
    """Claim as a worker does, until there are so many."""
    found: dict[str, Claim] = {}
    with trio.fail_after(seconds):
        while True:
            found |= {each.id: each for each in await inbox.claim(wanted, inbox.types)}
            if len(found) >= wanted:
                return found
            await inbox.wait_changed()


async def soon(holds: Callable[[], object]) -> None:
    with trio.fail_after(10):
        await come_true(holds)


# --- sharing ------------------------------------------------------------------------------------------------


async def test_what_one_process_stores_another_claims_at_once(make: Make) -> None:
    async with serving(make()) as receiver, serving(make()) as worker:
        await receiver.store([entry("first")])
        assert list(await claim(worker)) == ["first"]
        waited = []
        for number in range(20):
            assert await worker.claim(10, worker.types) == []
            async with trio.open_nursery() as nursery:
                nursery.start_soon(worker.wait_changed)
                await wait_all_tasks_blocked(0.01)
                started = trio.current_time()
                await receiver.store([entry(f"e{number}")])
            waited.append(trio.current_time() - started)
            assert len(await worker.claim(10, worker.types)) == 1
        assert sorted(waited)[10] < 0.3, "without a ticket it looks again after a second"


async def test_each_event_is_claimed_by_one_process_alone_and_in_the_order_of_its_key(make: Make) -> None:
    claims: list[int] = []

    async def work(inbox: RedisInbox) -> None:
        while len(claims) < 400:
            for each in await inbox.claim(5, inbox.types):
                claims.append(int(each.id))
                inbox.done(each)
            with trio.move_on_after(0.2):
                await inbox.wait_changed()

    async with serving(make()) as first, serving(make()) as second, serving(make()) as third:
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                for inbox in (first, second, third):
                    nursery.start_soon(work, inbox)
                for number in range(400):
                    await first.store([entry(str(number), f"lane {number % 7}")])
        assert len(claims) == 400
        for lane in range(7):
            assert [each for each in claims if each % 7 == lane] == list(range(lane, 400, 7))
        for inbox in (first, second, third):
            await inbox.flush()
        assert (await first.counts()).done == 400


async def test_an_event_that_two_receivers_get_is_stored_once(make: Make) -> None:
    results: list[bool] = []

    async def store(inbox: RedisInbox, name: str) -> None:
        (stored,) = await inbox.store(
            [Entry(keys=(name, "m" + name), id=name, type="x.y", lane=None, payload=b"")]
        )
        results.append(stored.is_new)

    async with serving(make()) as first, serving(make()) as second, trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(store, first, f"e{number}")
            nursery.start_soon(store, second, f"e{number}")
    assert (results.count(True), len(results)) == (100, 200)


async def test_many_callers_share_calls(make: Make, client: Any) -> None:
    def calls() -> int:
        stats = client.info("commandstats")
        return int(sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("evalsha", "eval")))

    async with serving(make()) as inbox:
        before = calls()
        async with trio.open_nursery() as nursery:
            for number in range(500):
                nursery.start_soon(inbox.store, [entry(f"e{number}")])
        claims = await inbox.claim(500)
        for each in claims:
            inbox.succeeded(each, "one", None)
            inbox.done(each)
        await inbox.flush()
        assert (await inbox.counts()).done == 500
        assert calls() - before < 50


async def test_all_keys_have_the_prefix_in_braces(make: Make, client: Any, prefix: str) -> None:
    before = {key for key in client.scan_iter(count=10_000) if not key.startswith(f"{{{prefix}}}".encode())}
    async with serving(make()) as inbox:
        await inbox.store([entry(name, "x") for name in "abcd"] + [entry("odd?")])
        claims = await claim(inbox)
        inbox.succeeded(claims["a"], "one", b"1")
        await inbox.note(claims["a"], "one", "key", b"value")
        inbox.retry(claims["a"], 60, "no", counts=True)
        claims |= await claim(inbox)
        inbox.park(claims["b"])
        inbox.die(claims["odd?"], "no")
        claims |= await claim(inbox)
        inbox.done(claims["c"])
        await inbox.flush()
        after = {
            key for key in client.scan_iter(count=10_000) if not key.startswith(f"{{{prefix}}}".encode())
        }
        assert {key for key in after - before if not key.startswith(b"{test-")} == set()
        assert len(client.keys(f"{{{prefix}}}*")) > 15


async def test_an_inbox_is_one_apps_and_of_one_version(make: Make, client: Any, prefix: str) -> None:
    async def opened(inbox: RedisInbox, app_id: str) -> None:
        async with serving(inbox, app_id):
            pass

    await opened(make(), "cli_a")
    with pytest.RaisesGroup(
        pytest.RaisesExc(ConfigError, match="the events of the app cli_a, and this is cli_b"),
        flatten_subgroups=True,
    ):
        await opened(make(), "cli_b")
    await opened(make(), "cli_a")
    client.hset(f"{{{prefix}}}", "version", 99)
    with pytest.RaisesGroup(
        pytest.RaisesExc(InboxError, match=f"its keys are of version 99, and this one knows {VERSION}"),
        flatten_subgroups=True,
    ):
        await opened(make(), "cli_a")


# --- leases -------------------------------------------------------------------------------------------------


async def test_what_a_dead_process_had_claimed_is_taken_over_within_its_lease(make: Make) -> None:
    async with serving(make(lease=2)) as other:
        await other.store([entry("a", "x"), entry("b", "x")])
        assert await dies_with(make(lease=2)) == ["a"]
        died = trio.current_time()
        taken = (await claimed(other))["a"]
        assert 0.5 < trio.current_time() - died < 3
        assert (taken.attempt, taken.crashes) == (1, 1)
        other.done(taken)
        assert list(await claimed(other)) == ["b"]


async def test_a_lease_is_renewed_for_as_long_as_a_handler_runs(make: Make) -> None:
    async with serving(make(lease=1.5)) as inbox, serving(make(lease=1.5)) as other:
        await inbox.store([entry("a")])
        first = (await claim(inbox))["a"]
        with trio.move_on_after(4):
            while True:
                assert await claim(other) == {}
                await other.wait_changed()
        inbox.done(first)
        await inbox.flush()
        assert (await other.counts()).done == 1
        assert inbox.late == 0


async def test_what_a_process_that_stopped_in_order_had_claimed_is_free_at_once(make: Make) -> None:
    async with serving(make()) as other:
        await other.store([entry("a", "x"), entry("b", "x")])
        async with serving(make()) as inbox:
            assert list(await claim(inbox)) == ["a"]
        taken = await claim(other)
        assert [(each.id, each.attempt, each.crashes) for each in taken.values()] == [("a", 1, 0)]


async def test_what_had_not_begun_has_not_crashed(make: Make, client: Any, prefix: str) -> None:
    async with serving(make()) as other:
        await other.store([entry("a"), entry("b")])
        gathered = make()
        async with serving(gathered):
            claims = {each.id: each for each in await gathered.claim(10, in_order=False)}
            await gathered.begin([claims["b"]])
            for each in claims.values():
                gathered.keep(each)
        end_leases(client, prefix, other)
        taken = await claimed(other, 2)
        assert {name: each.crashes for name, each in taken.items()} == {"a": 0, "b": 1}


async def test_a_result_of_a_claim_that_was_taken_over_is_refused_and_counted(
    make: Make, client: Any, prefix: str
) -> None:
    async with serving(make()) as slow, serving(make()) as other:
        await other.store([entry("a"), entry("b"), entry("c")])
        claims = await claim(slow)
        lost: set[int] = set()
        slow.on_lost = lost.update
        client.zrem(f"{{{prefix}}}:owners", slow._lease.owner)  # as a reaper does, after the lease has ended
        for number in client.smembers(f"{{{prefix}}}:o:{slow._lease.owner}"):
            client.hdel(f"{{{prefix}}}:running", number)
            client.zadd(f"{{{prefix}}}:r:x.y", {number: int(number)})
        client.delete(f"{{{prefix}}}:o:{slow._lease.owner}")
        taken = await claim(other)
        assert sorted(taken) == ["a", "b", "c"]
        assert taken["a"].token > claims["a"].token
        slow.done(claims["a"])
        assert not await slow.note(claims["b"], "one", "key", b"value")
        await slow.flush()
        with trio.fail_after(5):
            await come_true(lambda: len(lost) == 2)
        assert lost == {claims["b"].number, claims["c"].number}, "their handlers are to end"
        slow.retry(claims["b"], 0.0, "late", counts=True)
        slow.die(claims["c"], "late")
        await slow.flush()
        assert slow.late == 4
        assert (await other.counts()).running == 3
        for each in taken.values():
            other.done(each)
        await other.flush()
        assert (await other.counts()).done == 3
        assert other.late == 0


async def test_a_result_is_late_also_if_nobody_has_claimed_the_event_since(
    make: Make, client: Any, prefix: str
) -> None:
    # The other looks for dead ones twice as often as the slow one renews: not each time right after that.
    async with serving(make()) as slow, serving(make(lease=1.5)) as other:
        await slow.store([entry("a")])
        first = (await claim(slow))["a"]
        with trio.fail_after(10):
            while not (await other.counts()).ready:
                client.zadd(f"{{{prefix}}}:owners", {slow._lease.owner: 0}, xx=True)
                await trio.sleep(0.01)
        slow.done(first)
        await slow.flush()
        assert slow.late == 1
        assert (await claim(other))["a"].crashes == 1


async def test_tokens_rise_with_each_claim_whatever_became_of_the_last(make: Make) -> None:
    async with serving(make()) as inbox, serving(make()) as other:
        await inbox.store([entry("a")])
        tokens = []
        for each in (inbox, other, inbox, other):
            event = (await claim(each))["a"]
            assert event.attempt == 1
            tokens.append(event.token)
            each.release(event)
            await each.flush()
        assert tokens == sorted(set(tokens))


async def test_what_crashed_twice_is_kept_for_one_process_and_runs_there_alone(
    make: Make, client: Any, prefix: str
) -> None:
    async with serving(make()) as first, serving(make()) as second:
        await first.store([entry("bad", "x"), entry("behind", "x"), entry("good")])
        for _ in range(2):
            assert await dies_with(make()) == ["bad"]
            end_leases(client, prefix, first, second)
            await soon(lambda: client.zcard(f"{{{prefix}}}:owners") == 2)
        # Whoever asks for anything gets what is not suspected, and one of them is kept the suspect.
        (good,) = [*(await claim(first)).values(), *(await claim(second)).values()]
        assert good.id == "good"
        await soon(lambda: first.suspect_is_ready or second.suspect_is_ready)
        for each in (first, second):
            assert await claim(each) == {}
        assert [first.suspect_is_ready, second.suspect_is_ready].count(True) == 1
        keeper, other = (first, second) if first.suspect_is_ready else (second, first)
        assert await claim(other, alone=True) == {}
        (suspect,) = (await claim(keeper, alone=True)).values()
        assert (suspect.id, suspect.crashes, suspect.attempt) == ("bad", 2, 1)
        assert not keeper.suspect_is_ready
        keeper.done(suspect)
        assert list(await claimed(other)) == ["behind"]


async def test_a_suspect_that_is_only_kept_is_given_back_and_has_not_crashed_again(
    make: Make, client: Any, prefix: str
) -> None:
    async with serving(make()) as first:
        await first.store([entry("bad")])
        for _ in range(2):
            await dies_with(make())
            end_leases(client, prefix, first)
            await soon(lambda: client.zcard(f"{{{prefix}}}:owners") == 1)
        async with serving(make()) as second:
            assert await claim(second) == {}
            await soon(lambda: second.suspect_is_ready)
        with trio.fail_after(5):
            while not first.suspect_is_ready:
                assert await claim(first) == {}
                await first.wait_changed()
        assert (await claim(first, alone=True))["bad"].crashes == 2


async def test_a_suspect_that_is_cancelled_before_it_runs_is_kept_no_more(
    make: Make, client: Any, prefix: str
) -> None:
    async with serving(make()) as inbox:
        await inbox.store([entry("bad", "x")])
        for _ in range(2):
            await dies_with(make())
            end_leases(client, prefix, inbox)
            await soon(lambda: client.zcard(f"{{{prefix}}}:owners") == 1)
        assert await claim(inbox) == {}
        await soon(lambda: inbox.suspect_is_ready)
        assert (await inbox.cancel("x")).count == 1
        assert not inbox.suspect_is_ready
        assert await claim(inbox, alone=True) == {}
        assert inbox.late == 0


async def test_after_three_more_crashes_it_is_a_dead_letter_and_its_order_key_goes_on(
    make: Make, client: Any, prefix: str
) -> None:
    async with serving(make()) as living:
        await living.store([entry("bad", "x"), entry("behind", "x")])
        for crash in range(5):
            assert await dies_with(make(), alone=crash >= 2) == ["bad"]
            end_leases(client, prefix, living)
            await soon(lambda: client.zcard(f"{{{prefix}}}:owners") == 1)
        (dead,) = await living.list(State.DEAD)
        assert dead.error == "its process died, or lost its lease, 5 times while it ran"
        assert (dead.crashes, dead.attempts) == (5, 0)
        assert list(await claim(living)) == ["behind"]
        assert await living.requeue(["bad"]) == 1
        assert (await living.show("bad")).crashes == 0  # type: ignore[union-attr]


# --- what one process does to what another has --------------------------------------------------------------


async def test_what_runs_elsewhere_behind_a_key_is_cancelled_there_within_a_second(make: Make) -> None:
    async with serving(make()) as runs, serving(make()) as cancels:
        await runs.store([entry("a", "x"), entry("b", "x"), entry("other", "y")])
        claims = await claim(runs)
        lost: list[int] = []
        runs.on_lost = lost.extend
        cancelled = await cancels.cancel("x")
        assert (cancelled.count, cancelled.running) == (2, [])
        with trio.fail_after(1.5):
            await come_true(lambda: lost)
        assert lost == [claims["a"].number]
        runs.done(claims["a"])
        runs.done(claims["other"])
        await runs.flush()
        assert runs.late == 1
        assert (await cancels.counts()).done == 3


async def test_a_lane_of_thousands_is_ended_in_steps(make: Make) -> None:
    async with serving(make()) as inbox:
        await inbox.store([entry(f"e{number}", "x") for number in range(1700)])
        running = (await claim(inbox))["e0"]
        cancelled = await inbox.cancel("x")
        assert (cancelled.count, cancelled.running) == (1700, [running.number])
        assert (await inbox.counts()).done == 1700
        await inbox.store([entry("new", "x")])
        assert list(await claim(inbox)) == ["new"]


async def test_what_waits_for_its_next_attempt_is_tried_by_any_process(make: Make) -> None:
    async with serving(make()) as first, serving(make()) as second:
        await first.store([entry("a")])
        first.retry((await claim(first))["a"], 0.5, "no", counts=True)
        await first.flush()
        assert (await claimed(second))["a"].attempt == 2


@pytest.mark.parametrize("strict", [False, True])
async def test_with_strict_order_the_key_waits_for_the_next_attempt(make: Make, strict: bool) -> None:
    async with serving(make(strict_order=strict)) as first, serving(make(strict_order=strict)) as second:
        await first.store([entry(name, "x") for name in "abc"])
        first.retry((await claim(first))["a"], 1.0, "no", counts=True)
        await first.flush()
        assert list(await claim(second)) == ([] if strict else ["b"])
        await trio.sleep(1.1)
        assert list(await claim(second)) == (["a"] if strict else []), "b runs"


async def test_what_is_due_again_is_the_next_of_its_key(make: Make) -> None:
    async with serving(make()) as inbox:
        await inbox.store([entry(name, "x") for name in "abcd"])
        inbox.retry((await claim(inbox))["a"], 0.1, "no", counts=True)
        second = (await claim(inbox))["b"]
        await trio.sleep(0.2)
        assert await claim(inbox) == {}, "it is due, and another of its key runs"
        inbox.done(second)
        assert list(await claim(inbox)) == ["a"]


async def test_each_dead_letter_is_told_of_by_one_process(make: Make, client: Any, prefix: str) -> None:
    async with serving(make()) as first, serving(make()) as second:
        await first.store([entry(str(number)) for number in range(4)])
        for each in await first.claim(10):
            first.die(each, "too often")
        await first.flush()
        with trio.fail_after(3):
            await second.wait_untold()
        mine, others = await first.untold(3), await second.untold(3)
        assert [each.id for each in mine] == ["0", "1", "2"]
        assert [each.id for each in others] == ["3"]
        second.told(others[0].number)
        await second.flush()
        assert not second.has_untold, "the others are told of elsewhere"
        async with serving(make()) as third:
            assert await third.untold(3) == []
            client.zrem(f"{{{prefix}}}:owners", first._lease.owner)  # it has died
            assert [each.id for each in await third.untold(3)] == ["0", "1", "2"]
        assert [each.id for each in await second.untold(3)] == ["0", "1", "2"], (
            "it stopped before it had told"
        )


async def test_what_a_process_without_a_route_parks_one_that_has_it_finds(make: Make) -> None:
    async with serving(make()) as without, serving(make()) as having:
        await without.store([entry("a", "x"), entry("b", "x")])
        without.park((await claim(without))["a"])
        await without.flush()
        assert list(await claim(having)) == ["b"], "it waits beside its order key"
        await soon(lambda: having.parked_types == {"x.y"})
        assert await having.unpark(["x.y", "other"]) == 1
        assert having.parked_types == frozenset()
        counts = await having.counts()
        assert (counts.parked, counts.blocked, counts.running) == (0, 1, 1), "it is the next of its key"


async def test_thousands_that_are_parked_are_to_run_in_their_order(make: Make) -> None:
    async with serving(make()) as inbox:
        for number in range(1200):
            await inbox.store([Entry(keys=(), id=str(number), type=f"x.{number % 2}", lane="x", payload=b"")])
        parked = 0
        while parked < 1200:
            for each in await inbox.claim(1):
                inbox.park(each)
                parked += 1
            await inbox.flush()
        assert await inbox.unpark(["x.0", "x.1", "other"]) == 1200
        assert list(await claim(inbox)) == ["0"]
        assert (await inbox.counts()).blocked == 1199
        assert (await inbox.cancel("x")).count == 1200


async def test_what_is_to_be_parked_is_left_to_others_for_a_moment(make: Make) -> None:
    async with serving(make()) as without, serving(make()) as having:
        await having.store([entry("a")])
        assert await without.claim(10, ["x.y"], to_park=True) == []
        assert list(await claim(having)) == ["a"]
        await having.store([entry("b")])
        with trio.fail_after(5):
            while not (claims := await without.claim(10, ["x.y"], to_park=True)):
                await without.wait_changed()
        without.park(claims[0])
        await without.flush()
        assert await having.unpark(["x.y"]) == 1
        assert await without.claim(10, ["x.y"], to_park=True) == [], "it is not parked again at once"


async def test_what_nobody_takes_for_seven_days_is_a_dead_letter(
    make: Make, client: Any, prefix: str
) -> None:
    async with serving(make()) as inbox:
        await inbox.store([entry("a", "x"), entry("b", "x")])
        claims = await claim(inbox)
        inbox.park(claims["a"])
        await inbox.flush()
        await inbox._sweep()
        assert (await inbox.counts()).parked == 1
        client.zincrby(f"{{{prefix}}}:parked", -7 * 86_400, claims["a"].number)  # days pass
        await inbox._sweep()
        (dead,) = await inbox.untold(10)
        assert (dead.id, dead.error) == ("a", "no handler took it for seven days")
        assert list(await claim(inbox)) == ["b"]
        assert client.keys(f"{{{prefix}}}:p:*") == []


# --- what is kept -------------------------------------------------------------------------------------------


async def test_an_event_is_known_until_the_window_after_it_was_settled_is_over(make: Make) -> None:
    async with serving(make(window=1)) as inbox:
        await inbox.store([entry("a")])
        first = (await claim(inbox))["a"]
        await trio.sleep(1.2)
        assert not (await inbox.store([entry("a")]))[0].is_new, "it is not done yet"
        inbox.done(first)
        await trio.sleep(0.7)
        assert not (await inbox.store([entry("a")]))[0].is_new, "and this renews it"
        await trio.sleep(0.7)
        assert not (await inbox.store([entry("a")]))[0].is_new
        await trio.sleep(1.1)
        assert (await inbox.store([entry("a")]))[0].is_new


async def test_nothing_is_left_of_what_is_forgotten(make: Make, client: Any, prefix: str) -> None:
    async with serving(make(window=0.1)) as inbox:
        await inbox.store([entry(name, "x") for name in "abcd"] + [entry("odd?"), entry("e")])
        # Of these the ids do not say by which keys they are known.
        long = "é" * 300
        for name, lane in (("odd", None), (long, long), (f"{long}2", long)):
            await inbox.store([Entry(keys=(f"of {name}",), id=name, type="x.y", lane=lane, payload=b"")])
        assert (await inbox.cancel(long)).count == 2
        assert [each.lane for each in await inbox.list(State.DONE)] == [None, None]
        claims = await claim(inbox)
        inbox.succeeded(claims["a"], "one", b"1")
        inbox.retry(claims["a"], 0.0, "no", counts=True)
        for _ in range(8):
            for each in (await claim(inbox)).values():
                inbox.succeeded(each, "two", None)
                inbox.done(each)
        inbox.done(claims["odd"])
        inbox.die(claims["odd?"], "no")
        inbox.park(claims["e"])
        await inbox.flush()
        assert (await inbox.counts()).done == 7
        await trio.sleep(0.2)
        await inbox._sweep()
        for state in (State.DEAD, State.PARKED):
            assert await inbox.purge(state, 0.0) == 1
        left = {key.decode().removeprefix(f"{{{prefix}}}") for key in client.keys(f"{{{prefix}}}*")}
        assert left - {":t:x.y", f":w:{inbox._lease.owner}"} == {"", ":owners", ":types"}


async def test_an_event_that_comes_with_ever_new_keys_takes_no_more_memory_and_is_forgotten_as_others(
    make: Make, client: Any, prefix: str
) -> None:
    async with serving(make()) as inbox:
        same = [
            Entry(keys=(f"event:{number}", "message"), id=str(number), type="x.y", lane=None, payload=b"")
            for number in range(9000)
        ]
        assert [each.is_new for each in await inbox.store(same)] == [True] + [False] * 8999
        assert len(client.keys(f"{{{prefix}}}:k:*")) == 100
        inbox.done((await claim(inbox))["0"])
        await inbox.flush()
        assert await inbox.purge(State.DONE, 0) == 1
        assert client.keys(f"{{{prefix}}}:k:*") == []


async def test_types_that_have_gone_by_are_forgotten_once_they_are_many(make: Make) -> None:
    async with serving(make()) as inbox, serving(make()) as other:
        await inbox.store(
            [Entry(keys=(), id=str(n), type=f"x.{n}", lane=None, payload=b"") for n in range(1100)]
        )
        for each in await inbox.claim(1099):
            inbox.done(each)
        await inbox.flush()
        await inbox._sweep()
        await soon(lambda: inbox.types == other.types == {"x.1099"})


async def test_one_reply_has_some_megabytes_of_payloads_at_the_most(make: Make) -> None:
    async with serving(make()) as inbox:
        for number in range(5):
            await inbox.store([entry(f"e{number}", payload=bytes(3_000_000))])
        claims = await inbox.claim(10, inbox.types)
        assert len(claims) == 3
        claims += await inbox.claim(10, inbox.types)
        assert len(claims) == 5
        for each in claims:
            inbox.die(each, "no")
        await inbox.flush()
        told = []
        for wanted in (3, 2):
            dead = await inbox.untold(10)
            assert len(dead) == wanted
            told += [each.id for each in dead]
            for letter in dead:
                inbox.told(letter.number)
            await inbox.flush()
        assert sorted(told) == [f"e{number}" for number in range(5)]


async def test_a_type_that_is_stored_while_the_lease_is_renewed_is_known_at_once(make: Make) -> None:
    async with serving(make()) as inbox:
        for number in range(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(inbox._renew)
                new = Entry(keys=(), id="", type=f"x.{number}", lane=None, payload=b"{}")
                nursery.start_soon(inbox.store, [new])
            assert new.type in inbox.types


async def test_events_are_not_read_with_a_large_one_that_fills_the_reply(make: Make, client: Any) -> None:
    async with serving(make()) as inbox:
        await inbox.store([entry("large", payload=bytes(9_000_000))])
        await inbox.store([entry(f"e{number}") for number in range(15)])
        before = client.info("stats")["keyspace_hits"]
        assert [each.id for each in await inbox.claim(16, inbox.types)] == ["large"]
        assert client.info("stats")["keyspace_hits"] - before < 32, "each event has two keys"


async def test_payloads_and_notes_may_be_any_bytes_and_texts_any_text(make: Make) -> None:
    odd = bytes(range(256)) * 300
    for size in (0, 1, 31, 32, 255, 256, 65_535, 65_536):
        async with serving(make()) as inbox:
            name, lane = f"nämé {size} 😀\0", "😀" * size
            await inbox.store([Entry(keys=(name,), id=name, type="x.y", lane=lane, payload=odd[:size])])
            first = (await claim(inbox))[name]
            assert (first.payload, first.lane) == (odd[:size], lane)
            assert await inbox.note(first, "h\0", "k", odd[: min(size, 65_536)])
            inbox.succeeded(first, "h\0", b"")
            inbox.failed(first, "i", "\0")
            inbox.retry(first, 0.0, name, counts=True)
            second = (await claim(inbox))[name]
            assert second.notes == {("h\0", "k"): odd[: min(size, 65_536)]}
            assert second.succeeded == {"h\0": b""}
            inbox.done(second)


async def test_a_step_that_fails_at_the_server_ends_nothing_else(
    make: Make, client: Any, prefix: str
) -> None:
    async with serving(make()) as inbox:
        client.set(f"{{{prefix}}}:done", "another program's")
        for _ in range(2):
            with pytest.raises(InboxError, match="WRONGTYPE"):
                await inbox.purge(State.DONE, 0)
        await inbox.store([entry("a")])
        assert list(await claim(inbox)) == ["a"]


async def test_a_text_without_a_form_in_utf8_is_refused_and_keeps_no_other_out(make: Make) -> None:
    async with serving(make()) as inbox:
        with pytest.raises(InboxError, match="surrogates not allowed"):
            await inbox.store([entry("half a pair: \ud800")])
        with pytest.raises(InboxError, match="surrogates not allowed"):
            await inbox.store(
                [Entry(keys=("a",), id="a", type="x.y", lane=None, payload=b"{}", message_id="\ud800")]
            )
        await inbox.store([entry("b")])
        assert list(await claim(inbox)) == ["b"]


async def test_of_many_done_events_those_with_the_lowest_numbers_are_listed(make: Make) -> None:
    async with serving(make()) as inbox:
        stored = await inbox.store([entry(f"e{number}") for number in range(1500)])
        for each in reversed(await inbox.claim(1500)):
            inbox.done(each)
        await inbox.flush()
        listed = await inbox.list(State.DONE, 3)
        assert [each.id for each in listed] == ["e0", "e1", "e2"]
        listed = await inbox.list(State.DONE, 600, after=stored[899].number)
        assert [each.id for each in listed] == [f"e{number}" for number in range(900, 1500)]
        await inbox.store([entry(f"f{number}", "x") for number in range(1200)])
        blocked = await inbox.list(State.BLOCKED, 2000)
        assert [each.id for each in blocked] == [f"f{number}" for number in range(1, 1200)]


# --- arguments ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"url": "localhost:6379"}, r"^url: 'localhost:6379' is not allowed; it must be redis://"),
        ({"url": "http://u:secret@x"}, r"^url: 'http://\*\*\*@x' is not allowed"),
        ({"url": "redis://x/one"}, "^url: "),
        ({"url": "redis://x?db=1"}, "^url: "),
        ({"url": "redis://a,b/0"}, "^url: "),
        ({"url": "redis+sentinel://a,b"}, "^url: "),
        ({"url": None}, "^url: None"),
        ({"prefix": "{a}"}, "^prefix: '{a}' is not allowed"),
        ({"prefix": ""}, "^prefix: "),
        ({"prefix": 1}, "^prefix: "),
        ({"lease": 0.5}, "^lease: 0.5 is not allowed; it must be a number of seconds from 1 to 3600"),
        ({"durability": "tape"}, "^durability: 'tape' is not allowed; it must be 'memory' or 'disk'"),
    ],
)
def test_a_wrong_argument_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RedisInbox(**{"url": "redis://localhost", **arguments})


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "rediss://user:p%40ss@[::1]:7000/3",
        "redis+sentinel://:secret@a:1,b/main/2",
        "rediss+sentinel://a/main",
    ],
)
def test_what_it_shows_has_no_password(url: str) -> None:
    shown = repr(RedisInbox(url, prefix="bots"))
    assert "prefix='bots'" in shown
    assert "p%40ss" not in shown
    assert "secret" not in shown


async def test_what_is_lost_is_told_of_within_a_step_as_the_lease_ends(autojump_clock: MockClock) -> None:
    """A handler that slept while the process was paused, and wakes with it, has taken no second step by then."""
    lost: list[int] = []
    lease = Lease(1, "inbox", lost.extend)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lease.watch)
        for number in range(20):
            lease.begin("name", trio.current_time())
            lease.held[number] = Claim(number, 1, "a", "x.y", None, b"", "om", "trace", 0.0, 0.0, 1, 0)
            await trio.sleep(1)
            await trio.lowlevel.checkpoint()
            assert lost == [*range(number + 1)]
        nursery.cancel_scope.cancel()


async def test_who_asks_whether_a_claim_is_owned_is_told_of_nothing(autojump_clock: MockClock) -> None:
    """It may be amid a change of the engine, which withdraws what is lost."""
    lost: list[int] = []
    lease = Lease(1, "inbox", lost.extend)
    lease.begin("name", trio.current_time())
    lease.held[7] = claimed = Claim(7, 1, "a", "x.y", None, b"", "om", "trace", 0.0, 0.0, 1, 0)
    await trio.sleep(1)
    assert not lease.owns(claimed)
    assert lost == []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lease.watch)
        await wait_all_tasks_blocked()
        assert lost == [7]
        nursery.cancel_scope.cancel()
