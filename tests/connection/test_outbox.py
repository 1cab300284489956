"""What a connection has to write: in order, and not written before it is."""

from __future__ import annotations

from functools import partial

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from feishu_trio.connection.outbox import Outbox, Outgoing


def filled(*data: bytes) -> Outbox:
    outbox = Outbox()
    for each in data:
        outbox.put(Outgoing(each))
    return outbox


def data_of(items: list[Outgoing]) -> list[bytes | str]:
    return [item.data for item in items]


async def test_messages_are_taken_in_order_so_many_at_a_time() -> None:
    outbox = filled(b"1", b"2", b"3")
    assert data_of(await outbox.take(2)) == [b"1", b"2"]
    outbox.written()
    assert data_of(await outbox.take(2)) == [b"3"]


async def test_taking_waits_until_there_is_something() -> None:
    outbox, taken = Outbox(), []

    async def take() -> None:
        taken.extend(await outbox.take(9))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        await wait_all_tasks_blocked()
        assert taken == []
        outbox.put(Outgoing("text"))
    assert data_of(taken) == ["text"]


async def test_a_message_counts_until_it_is_written() -> None:
    outbox = filled(b"1", b"2")
    await outbox.take(1)
    assert len(outbox) == 2
    outbox.written()
    assert len(outbox) == 1


async def test_each_is_reported_once_and_only_what_was_taken() -> None:
    outbox, sent = Outbox(), list[int]()
    for number in range(4):
        outbox.put(Outgoing(b"", partial(sent.append, number)))
    await outbox.take(2)
    outbox.put(Outgoing(b""))  # while the first two are written
    assert sent == []
    outbox.written()
    outbox.written()
    assert sent == [0, 1]
    await outbox.take(9)
    outbox.written()
    assert sent == [0, 1, 2, 3]


async def test_a_message_that_is_half_written_wakes_the_writer_with_nothing_new() -> None:
    outbox, sent = Outbox(), []
    async with trio.open_nursery() as nursery:

        async def write() -> None:
            assert await outbox.take(9) == []
            outbox.written()

        nursery.start_soon(write)
        await wait_all_tasks_blocked()
        outbox.adopt(Outgoing(b"half", lambda: sent.append(True)))
        assert len(outbox) == 1
    assert sent == [True]
    assert len(outbox) == 0


async def test_what_was_not_written_for_certain_is_given_up_in_order() -> None:
    outbox, sent = Outbox(), []
    outbox.put(Outgoing(b"taken", lambda: sent.append(True)))
    outbox.put(Outgoing(b"waits"))
    await outbox.take(1)
    assert data_of(outbox.empty()) == [b"taken", b"waits"]
    assert len(outbox) == 0
    outbox.written()
    assert sent == []


async def test_waiting_until_no_more_than_so_many_are_left(autojump_clock: MockClock) -> None:
    outbox, ended = filled(b"1", b"2", b"3"), list[int]()

    async def wait(limit: int) -> None:
        await outbox.wait_at_most(limit)
        ended.append(limit)

    with trio.fail_after(1):
        async with trio.open_nursery() as nursery:
            for limit in (3, 2, 0):
                nursery.start_soon(wait, limit)
            await wait_all_tasks_blocked()
            assert ended == [3]
            await outbox.take(1)
            await wait_all_tasks_blocked()
            assert ended == [3], "taken is not written"
            outbox.written()
            await wait_all_tasks_blocked()
            assert ended == [3, 2]
            outbox.empty()
    assert ended == [3, 2, 0]
