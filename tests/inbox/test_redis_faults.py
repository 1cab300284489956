"""What a server, or the network to it, does to an inbox: nothing is answered that is not stored, and all comes back."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from feishu_trio.errors import ConfigError, InboxError, InboxUnreachable
from feishu_trio.inbox.records import State, Stored
from feishu_trio.inbox.redis import RedisInbox
from feishu_trio.inbox.redis_scripts import VERSION
from feishu_trio.inbox.redis_server import Link
from session.rig import come_true

from .proxy import Proxy, open_proxy
from .servers import Server, free_port, running
from .test_contract import claim, entry, serving


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running(tmp_path / "server", appendonly="yes", appendfsync="always") as server:
        yield server


async def store(inbox: RedisInbox, name: str, seconds: float = 20) -> Stored:
    """Store it as soon as that can be done, as Feishu does: it delivers again what was refused."""
    with trio.fail_after(seconds):
        while True:
            try:
                (stored,) = await inbox.store([entry(name)])
                return stored
            except InboxError:
                await trio.sleep(0.1)


async def soon(holds: Any, seconds: float = 20) -> None:
    with trio.fail_after(seconds):
        await come_true(holds)


async def is_refused(
    inbox: RedisInbox,
    name: str,
    match: str,
    seconds: float = 2.5,
    error: type[InboxError] = InboxError,
) -> None:
    with trio.fail_after(seconds), pytest.raises(error, match=match):
        await inbox.store([entry(name)])


async def test_a_server_that_was_killed_and_comes_back(server: Server) -> None:
    async with serving(RedisInbox(server.url, durability="disk")) as inbox:
        await inbox.store([entry("a"), entry("b"), entry("c")])
        claims = await claim(inbox)
        inbox.done(claims["a"])
        await inbox.flush()
        server.kill()
        inbox.done(claims["b"])
        await is_refused(inbox, "d", "RedisInbox.*(Connection|cannot be reached)")
        assert "cannot be reached" in str(inbox.fault)
        assert inbox.owes, "nothing more is to be claimed"
        started = trio.current_time()
        await trio.sleep(1)
        await is_refused(inbox, "d", "cannot be reached")
        with pytest.raises(InboxError):
            await inbox.claim(10)
        assert trio.current_time() - started < 3.5
        await trio.to_thread.run_sync(server.start)
        assert (await store(inbox, "d")).is_new
        await soon(lambda: inbox.fault is None)
        await inbox.flush()
        assert not inbox.owes
        assert list(await claim(inbox)) == ["d"]
        inbox.done(claims["c"])
        await inbox.flush()
        assert (await inbox.counts()).done == 3
        assert inbox.late == 0


async def test_a_server_that_comes_back_at_once_is_not_noticed(server: Server) -> None:
    async with serving(RedisInbox(server.url)) as inbox:
        await inbox.store([entry("a")])
        server.kill()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(inbox.store, [entry("b")])
            await trio.to_thread.run_sync(server.start)
        assert sorted(await claim(inbox)) == ["a", "b"]


async def test_a_server_that_is_stopped_is_given_up_in_time_and_goes_on_where_it_was(server: Server) -> None:
    async with serving(RedisInbox(server.url)) as inbox:
        await inbox.store([entry("a")])
        claims = await claim(inbox)
        server.pause()
        try:
            inbox.done(claims["a"])
            refusal = "the server does not answer|has not answered"
            await is_refused(inbox, "b", refusal, error=InboxUnreachable)
            await soon(lambda: inbox.fault is not None)
            await trio.sleep(5)
            await is_refused(inbox, "b", "not answered", 0.5, InboxUnreachable)
        finally:
            server.resume()
        await store(inbox, "b")
        await inbox.flush()
        assert (await inbox.counts()).done == 1
        assert list(await claim(inbox)) == ["b"]
        assert inbox.late == 0, "it was done when it woke, over the old link, and that was no other's doing"


async def test_a_full_memory_refuses_events_and_is_emptied(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "feishu_trio.inbox")
    async with serving(RedisInbox(server.url)) as inbox:
        await inbox.store([entry("a"), entry("b"), entry("c")])
        claims = await claim(inbox)
        inbox.release(claims["c"])
        server.set("maxmemory", "1")
        await is_refused(inbox, "d", "OOM command not allowed")
        assert "OOM" in str(inbox.fault)
        with pytest.raises(InboxError, match="OOM"):
            await inbox.note(claims["a"], "one", "key", b"value")
        inbox.succeeded(claims["a"], "one", b"1")
        inbox.done(claims["b"])
        await inbox.flush()
        assert not inbox.owes
        assert (await inbox.counts()).done == 1, "it was written down"
        assert list(await claim(inbox)) == ["c"], "handlers go on, and make room"
        await trio.sleep(2.5)
        assert inbox.fault is not None
        server.set("maxmemory", "0")
        await soon(lambda: inbox.fault is None, 3)  # by itself: nobody stores anything
        await inbox.store([entry("d")])
        assert await inbox.note(claims["a"], "one", "key", b"value")
    messages = [each.getMessage() for each in caplog.records]
    assert sum("cannot be written to" in each for each in messages) == 1, "it is told once"
    assert sum("can be written to again" in each for each in messages) == 1


async def test_a_disk_that_cannot_be_written_refuses_all_and_results_are_kept(server: Server) -> None:
    async with serving(RedisInbox(server.url)) as inbox:
        await inbox.store([entry("a")])
        claims = await claim(inbox)
        server.set("min-replicas-to-write", "1")  # as the server refuses every write: it has none
        inbox.done(claims["a"])
        await is_refused(inbox, "b", "NOREPLICAS")
        await soon(lambda: inbox.owes)
        with trio.fail_after(1):
            await inbox.flush()
        assert inbox.owes
        server.set("min-replicas-to-write", "0")
        await soon(lambda: not inbox.owes)
        await inbox.flush()
        assert (await inbox.counts()).done == 1
        await inbox.store([entry("b")])
        assert inbox.fault is None


async def test_a_server_that_becomes_a_replica_is_left_until_it_is_none(server: Server) -> None:
    async with serving(RedisInbox(server.url)) as inbox:
        await inbox.store([entry("a")])
        claims = await claim(inbox)
        server.client.replicaof("127.0.0.1", free_port())
        inbox.done(claims["a"])
        await is_refused(inbox, "b", "replica")
        await soon(lambda: "is a replica of 127.0.0.1" in str(inbox.fault))
        server.client.replicaof("NO", "ONE")
        await store(inbox, "b")
        await inbox.flush()
        assert (await inbox.counts()).done == 1


async def test_a_server_that_was_emptied_is_begun_anew(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(RedisInbox(server.url)) as inbox, serving(RedisInbox(server.url)) as other:
        await inbox.store([entry("a"), entry("b")])
        claims = await claim(inbox)
        lost: set[int] = set()
        inbox.on_lost = lost.update
        server.client.flushall()
        with trio.fail_after(5):
            await come_true(lambda: lost)
        assert lost == {each.number for each in claims.values()}
        inbox.done(claims["a"])
        await inbox.store([entry("c"), entry("d")])
        await soon(lambda: other.types == {"x.y"})
        found = await claim(other)
        assert list(found) == ["c", "d"]
        assert found["c"].token > claims["a"].token, "it rises, though the server has forgotten it"
        inbox.done(claims["b"])  # of a number that is another event's now
        await inbox.flush()
        assert (await other.counts()).running == 2
        with pytest.RaisesGroup(
            pytest.RaisesExc(Exception, match="cli_a, and this is cli_b"), flatten_subgroups=True
        ):
            async with serving(RedisInbox(server.url), "cli_b"):
                pass
    assert "all that RedisInbox" in caplog.text


async def test_a_result_that_a_failover_has_forgotten_is_refused_though_its_number_is_another_events(
    server: Server, tmp_path: Path
) -> None:
    server.set("repl-diskless-sync-delay", "0")
    with running(tmp_path / "replica", replicaof=f"127.0.0.1 {server.port}") as replica:
        async with open_proxy(server.port) as proxy, serving(RedisInbox(proxy.url)) as inbox:
            await soon(lambda: replica.client.hexists("{feishu}", "token"))
            replica.client.execute_command("REPLICAOF", "NO", "ONE")  # nothing more is sent to it
            await inbox.store([entry("a")])
            first = (await claim(inbox))["a"]
            proxy.stall()
            inbox.done(first)
            async with serving(RedisInbox(replica.url)) as other:
                await other.store([entry("b")])
                second = (await claim(other))["b"]
                assert second.number == first.number
                proxy.server_port = replica.port
                proxy.cut()
                await soon(lambda: inbox.late == 1)
                assert (await other.counts()).running == 1
                assert other.owns(second)


@pytest.mark.parametrize("is_cut_off", [False, True], ids=["by its next renewal", "over its next link"])
async def test_a_server_that_was_emptied_and_is_another_apps_now_ends_the_inbox(
    server: Server, is_cut_off: bool
) -> None:
    async def hand_over() -> None:
        await soon(lambda: server.client.hexists("{feishu}", "app"))
        pipeline = server.client.pipeline()
        pipeline.flushall()
        pipeline.hset("{feishu}", mapping={"app": "cli_b", "version": VERSION, "token": 1})
        if is_cut_off:
            pipeline.client_kill_filter(_type="normal", skipme=True)
        pipeline.execute()

    with trio.fail_after(15):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hand_over)
            with pytest.raises(ConfigError, match="the events of the app cli_b, and this is cli_a"):
                await RedisInbox(server.url).serve("cli_a", 3600)


async def test_scripts_that_the_server_has_forgotten_are_sent_again(server: Server) -> None:
    async with serving(RedisInbox(server.url)) as inbox:
        for number in range(3):
            server.client.script_flush()
            await inbox.store([entry(f"e{number}")])
            server.client.script_flush()
            claims = await claim(inbox)
            inbox.done(claims[f"e{number}"])
            server.client.script_flush()
            assert (await inbox.counts()).done == number + 1
        assert inbox.fault is None


@pytest.mark.parametrize("after", [0, 1, 7, None])
async def test_a_network_that_stalls_within_a_reply(server: Server, after: int | None) -> None:
    async with open_proxy(server.port) as proxy, serving(RedisInbox(proxy.url)) as inbox:
        await inbox.store([entry("a")])
        proxy.stall(after=after)
        await is_refused(inbox, "b", "not answer")
        await soon(lambda: inbox.fault is not None)
        proxy.go_on()
        await store(inbox, "b")
        await soon(lambda: inbox.fault is None)
        assert sorted(await claim(inbox)) == ["a", "b"]
        assert (await inbox.counts()).running == 2


async def test_what_was_claimed_in_a_reply_that_never_came_is_free_again_and_has_not_crashed(
    server: Server,
) -> None:
    async with open_proxy(server.port) as proxy, serving(RedisInbox(proxy.url)) as inbox:
        await inbox.store([entry("a", "x"), entry("b", "x"), entry("c")])
        (held,) = await inbox.claim(1)
        proxy.stall(after=3)
        with trio.move_on_after(0.2):
            await inbox.claim(10)
        await soon(lambda: server.client.scard(f"{{feishu}}:o:{inbox._lease.owner}") == 2)
        proxy.cut()
        with trio.fail_after(5):
            while not (found := await claim(inbox)):
                await inbox.wait_changed()
        assert {name: (each.attempt, each.crashes) for name, each in found.items()} == {"c": (1, 0)}
        inbox.done(held)
        await inbox.flush()
        assert list(await claim(inbox)) == ["b"]
        assert inbox.late == 0, "what it held it still does, under another name"


class Watched(RedisInbox):
    """One whose proxy holds back the reply in which the server gives it another name, while it is to."""

    def __init__(self, proxy: Proxy, lease: float) -> None:
        super().__init__(proxy.url, lease=lease)
        self.proxy = proxy
        self.is_held_back = False
        self.entered: list[str] = []
        """The names that it had in the end."""

    async def _enter(self, link: Link) -> None:
        if self.is_held_back:
            self.proxy.stall(after=0)
        await super()._enter(link)
        self.entered.append(self._lease.owner)


async def test_what_the_server_gave_to_a_name_in_a_reply_that_never_came_is_kept_under_the_next(
    server: Server,
) -> None:
    async with open_proxy(server.port) as proxy, serving(Watched(proxy, lease=30)) as inbox:
        await inbox.store([entry("a")])
        (held,) = await inbox.claim(1)
        inbox.is_held_back = True
        proxy.cut()
        await soon(lambda: not server.client.exists(f"{{feishu}}:o:{inbox.entered[0]}"))
        inbox.is_held_back = False
        proxy.cut()
        await soon(lambda: len(inbox.entered) == 2)
        assert inbox.owns(held)
        inbox.done(held)
        await inbox.flush()
        assert (await inbox.counts()).done == 1


async def test_a_lease_that_ends_while_the_server_gives_another_name(server: Server) -> None:
    async with open_proxy(server.port) as proxy, serving(Watched(proxy, lease=1)) as inbox:
        await inbox.store([entry("a")])
        await inbox.claim(1)
        lost: list[int] = []
        inbox.on_lost = lost.extend
        inbox.is_held_back = True
        proxy.cut()
        with trio.fail_after(3):
            await come_true(lambda: lost)
        proxy.go_on()
        with trio.fail_after(5):
            while not (found := await claim(inbox)):
                await inbox.wait_changed()
        assert found["a"].crashes == 1


async def test_after_an_outage_that_is_longer_than_the_lease_one_name_is_taken(server: Server) -> None:
    async with open_proxy(server.port) as proxy, serving(Watched(proxy, lease=1)) as inbox:
        proxy.stall()
        # Once its lease is over it asks for a name, too, as soon as there is a link.
        await soon(lambda: len(inbox._lease.names) == 2)
        proxy.go_on()
        await soon(lambda: len(inbox.entered) == 2)
        await inbox.flush()
        assert inbox._lease.owner == inbox.entered[-1]


async def test_a_result_that_is_sent_twice_as_its_reply_was_lost_is_not_late(server: Server) -> None:
    async with open_proxy(server.port) as proxy, serving(RedisInbox(proxy.url)) as inbox:
        await inbox.store([entry(name) for name in "abcd"])
        claims = await claim(inbox)
        proxy.stall(after=0)
        inbox.done(claims["a"])
        inbox.retry(claims["b"], 60, "no", counts=True)
        inbox.die(claims["c"], "no")
        inbox.park(claims["d"])
        await soon(lambda: inbox.fault is not None)
        proxy.cut()
        await soon(lambda: inbox.fault is None)
        await inbox.flush()
        counts = await inbox.counts()
        assert (counts.done, counts.waiting, counts.dead, counts.parked) == (1, 1, 1, 1)
        assert inbox.late == 0


async def test_who_asks_for_a_dead_letter_while_the_link_breaks_leaves_it_to_one_teller(
    server: Server,
) -> None:
    async with (
        open_proxy(server.port) as proxy,
        serving(RedisInbox(proxy.url)) as inbox,
        serving(RedisInbox(server.url)) as other,
    ):
        await inbox.store([entry("a")])
        inbox.die((await claim(inbox))["a"], "no")
        await inbox.flush()
        told: list[str] = []

        async def ask() -> None:
            told.extend(each.id for each in await inbox.untold(10))

        proxy.stall()
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                await wait_all_tasks_blocked(0.01)
                proxy.cut()
            told += [each.id for each in await other.untold(10)]
            assert told == ["a"]


async def test_who_is_cut_off_loses_its_claims_when_its_lease_ends_and_others_take_over(
    server: Server,
) -> None:
    async with (
        open_proxy(server.port) as proxy,
        serving(RedisInbox(server.url, lease=3)) as other,
        serving(RedisInbox(proxy.url, lease=3)) as inbox,
    ):
        await inbox.store([entry("a"), entry("b")])
        claims = await claim(inbox)
        cut_off = trio.current_time()
        lost: set[int] = set()
        inbox.on_lost = lost.update
        proxy.stall()
        inbox.done(claims["b"])
        with trio.fail_after(4):
            await come_true(lambda: lost)
        ended = trio.current_time()
        assert ended - cut_off <= 3.1
        assert lost == {each.number for each in claims.values()}
        with trio.fail_after(4):
            while not (found := await claim(other)):
                await other.wait_changed()
        assert trio.current_time() >= ended - 0.1, "never while its owner may be at work"
        assert found["a"].crashes == 1
        inbox.done(claims["a"])
        proxy.go_on()
        await soon(lambda: inbox.fault is None)
        await inbox.flush()
        assert inbox.late >= 1
        assert (await other.counts()).running == len(found)
        other.done(found["a"])
        await other.flush()
        assert other.late == 0


async def test_after_an_outage_results_come_before_anything_is_taken_over(server: Server) -> None:
    """The leases of all have ended meanwhile, and one process is back before the other."""
    async with (
        open_proxy(server.port) as proxy,
        serving(RedisInbox(server.url, lease=12)) as quick,
        serving(RedisInbox(proxy.url, lease=12)) as slow,
    ):
        await slow.store([entry("a")])
        first = (await claim(slow))["a"]
        proxy.stall()
        server.kill()
        await trio.to_thread.run_sync(server.start)
        server.client.zadd("{feishu}:owners", {slow._lease.owner: 0})
        await soon(lambda: quick.fault is not None)
        await soon(lambda: quick.fault is None)
        await trio.sleep(1.5)
        assert await claim(quick) == {}
        slow.done(first)
        proxy.cut()
        await soon(lambda: slow.fault is None)
        await slow.flush()
        assert (await quick.counts()).done == 1
        assert slow.late == 0
        server.client.zadd("{feishu}:owners", {"dead": 0})
        await soon(lambda: not server.client.zscore("{feishu}:owners", "dead"))


async def test_what_was_owed_is_written_when_the_inbox_closes_if_the_server_is_back(server: Server) -> None:
    async with serving(RedisInbox(server.url)) as inbox:
        await inbox.store([entry("a")])
        claims = await claim(inbox)
        server.kill()
        await soon(lambda: inbox.fault is not None)
        inbox.done(claims["a"])
        await trio.to_thread.run_sync(server.start)
    async with serving(RedisInbox(server.url)) as inbox:
        assert (await inbox.counts()).done == 1


async def test_closing_without_a_server_does_not_take_long_and_says_what_is_lost(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(RedisInbox(server.url)) as inbox:
        await inbox.store([entry("a")])
        claims = await claim(inbox)
        server.kill()
        await soon(lambda: inbox.fault is not None)
        inbox.done(claims["a"])
        started = trio.current_time()
    assert trio.current_time() - started < 6
    assert "is closed without its server, and 1 results are not written" in caplog.text


async def test_while_nothing_can_be_written_what_is_seen_again_takes_no_memory(server: Server) -> None:
    async with serving(RedisInbox(server.url)) as inbox:
        await inbox.store([entry("a")])
        server.pause()
        try:
            for _ in range(20_000):
                inbox.seen(("event:a",))
            assert inbox._pump.owed <= 10_000
            await soon(lambda: inbox.fault is not None)
            owed = inbox._pump.owed
            for _ in range(100):
                inbox.seen(("event:a",))
            assert inbox._pump.owed == owed
        finally:
            server.resume()
        await soon(lambda: inbox.fault is None)


async def test_ten_thousand_cancellations_leave_all_as_it_was(server: Server) -> None:
    """Calls that are cancelled at random moments lose no connection, no claim and no event."""
    random = Random(1)
    cancelled = 0
    server.set("appendfsync", "no")
    async with serving(RedisInbox(server.url)) as inbox, serving(RedisInbox(server.url)) as other:
        connections = server.client.info("clients")["connected_clients"]
        stored = 0

        async def call(number: int) -> None:
            nonlocal cancelled, stored
            inbox_of = random.choice((inbox, other))
            with trio.CancelScope() as scope:
                if random.random() < 0.8:
                    scope.deadline = trio.current_time() + random.expovariate(1000)
                match random.randrange(6):
                    case 0 | 1:
                        await inbox_of.store([entry(f"e{number}", f"lane {number % 50}")])
                        stored += 1
                    case 2:
                        claims = await inbox_of.claim(3, inbox_of.types, in_order=random.random() < 0.8)
                        try:
                            await inbox_of.begin(claims)
                        except BaseException:
                            for each in claims:
                                inbox_of.release(each)
                            raise
                        for each in claims:
                            inbox_of.done(each)
                    case 3:
                        with trio.move_on_after(0.02):
                            await inbox_of.wait_changed()
                    case 4:
                        await inbox_of.counts()
                    case 5:
                        await inbox_of.list(State.DONE, 3)
            cancelled += scope.cancelled_caught

        number = 0
        while cancelled < 10_000:
            async with trio.open_nursery() as nursery:
                for _ in range(200):
                    nursery.start_soon(call, number)
                    number += 1
        assert inbox.fault is None
        assert stored > 100
        with trio.fail_after(60):
            while True:
                for each in (inbox, other):
                    for one in await each.claim(50):
                        each.done(one)
                    await each.flush()
                counts = await inbox.counts()
                if counts.done >= stored and not (counts.ready or counts.blocked or counts.running):
                    break
        assert server.client.info("clients")["connected_clients"] == connections
        assert inbox.late == other.late == 0
