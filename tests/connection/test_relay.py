"""The way of answers whose connection has ended."""

from __future__ import annotations

import logging

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from feishu_trio.connection.outbox import Outbox, Outgoing
from feishu_trio.connection.relay import Relay
from feishu_trio.telemetry import Telemetry


@attrs.define(eq=False)
class Carrier:
    outbox: Outbox = attrs.field(factory=Outbox)
    owed: int = 0
    closed: trio.Event = attrs.field(factory=trio.Event)

    def give(self, *data: bytes, portable: bool = True) -> None:
        for each in data:
            self.outbox.put(Outgoing(each, portable=portable))

    @property
    def has(self) -> list[bytes | str]:
        return [item.data for item in self.outbox.items]


def make_relay() -> Relay[Carrier]:
    return Relay(lambda: None, Telemetry(lambda: 0.0))


async def test_what_a_connection_has_not_written_goes_to_another_that_is_live() -> None:
    relay, ended, other = make_relay(), Carrier(), Carrier()
    relay.joined(ended)
    relay.joined(other)
    ended.give(b"half written", b"waits")
    await ended.outbox.take(1)
    relay.left(ended)
    assert relay.live == [other]
    assert other.has == [b"half written", b"waits"]
    assert ended.has == []


def test_a_connections_own_pings_end_with_it() -> None:
    relay, ended, other = make_relay(), Carrier(), Carrier()
    relay.joined(ended)
    relay.joined(other)
    ended.give(b"ping", portable=False)
    ended.give(b"answer")
    relay.left(ended)
    assert other.has == [b"answer"]


def test_without_a_live_connection_answers_wait_for_the_next() -> None:
    relay, first, second, third = make_relay(), Carrier(), Carrier(), Carrier()
    relay.joined(first)
    first.give(b"1", b"2")
    relay.left(first)
    relay.forward(Outgoing(b"3"))
    relay.joined(second)
    relay.joined(third)
    assert (second.has, third.has) == ([b"1", b"2", b"3"], [])
    relay.forward(Outgoing(b"4"))
    assert second.has[-1] == b"4"


def test_so_many_answers_wait_and_the_oldest_are_dropped_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    relay = make_relay()
    for number in range(10_000):
        relay.forward(Outgoing(b"%d" % number))
    assert not caplog.records
    for number in range(10_000, 10_500):
        relay.forward(Outgoing(b"%d" % number))
    assert {(record.levelno, record.getMessage()) for record in caplog.records} == {
        (logging.WARNING, "more than 10000 answers wait for a connection: the oldest are dropped")
    }
    assert len(caplog.records) <= 10, "within the bounds of what is logged"
    connection = Carrier()
    relay.joined(connection)
    assert len(connection.outbox) == 10_000
    assert (connection.has[0], connection.has[-1]) == (b"500", b"10499")


def test_who_follows_the_live_connections_is_called_when_they_have_changed() -> None:
    seen: list[int] = []
    relay: Relay[Carrier] = Relay(lambda: seen.append(len(relay.live)), Telemetry())
    one, two = Carrier(), Carrier()
    relay.joined(one)
    relay.joined(two)
    relay.left(one)
    relay.left(two)
    assert seen == [1, 2, 1, 0]


async def test_all_is_answered_once_connections_that_have_ended_owe_nothing_either() -> None:
    relay, ended, other = make_relay(), Carrier(owed=1), Carrier(owed=1)
    relay.joined(ended)
    relay.joined(other)
    relay.left(ended)
    waited = trio.Event()

    async def wait() -> None:
        await relay.wait_answered()
        waited.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        for carrier in (other, ended):
            assert not waited.is_set()
            carrier.owed = 0
            relay.look_for_answered()
            await wait_all_tasks_blocked()
    assert waited.is_set()
