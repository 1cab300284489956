"""Writing: whole pieces in order, by any task, within a bound of time. (For `send_now` see test_tcp.py.)"""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from feishu_trio.connection.ending import DisconnectReason, StreamEnd
from feishu_trio.connection.line_writer import LineWriter

from .streams import FakeStream


async def test_what_is_sent_while_a_write_is_under_way_leaves_in_one_piece(autojump_clock: MockClock) -> None:
    stream = FakeStream(slow=1)
    writer = LineWriter(stream, StreamEnd())
    async with trio.open_nursery() as nursery:
        for data in (b"a", b"b", bytearray(b"c")):
            nursery.start_soon(writer.send_all, data)
            await wait_all_tasks_blocked()
    assert stream.writes == [b"a", b"bc"]


async def test_several_tasks_keep_their_order_and_never_overlap(autojump_clock: MockClock) -> None:
    stream = FakeStream(slow=1)
    writer = LineWriter(stream, StreamEnd())
    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(writer.send_all, b"%d" % number)
            await wait_all_tasks_blocked()
    assert b"".join(stream.writes) == b"01234"


async def test_a_stream_that_takes_nothing_is_stalled(autojump_clock: MockClock) -> None:
    end = StreamEnd()
    writer = LineWriter(FakeStream(slow=1e6), end)
    with pytest.raises(trio.BrokenResourceError):
        await writer.send_all(b"x")
    assert trio.current_time() == 10
    assert end.fault == (DisconnectReason.WRITE_STALLED, "for 10 s")


async def test_a_slow_stream_is_not_a_stalled_one(autojump_clock: MockClock) -> None:
    stream, end = FakeStream(slow=9), StreamEnd()
    await LineWriter(stream, end).send_all(bytes(1 << 20))
    assert trio.current_time() > 100
    assert sum(map(len, stream.writes)) == 1 << 20
    assert end.fault is None


async def test_nothing_follows_a_write_that_was_cut_short(autojump_clock: MockClock) -> None:
    stream = FakeStream(slow=5)
    writer = LineWriter(stream, StreamEnd())
    with trio.move_on_after(1):
        await writer.send_all(b"half")
    stream.slow = 0
    with pytest.raises(trio.BrokenResourceError):
        await writer.send_all(b"more")
    assert stream.writes == []


async def test_nothing_follows_the_close_frame() -> None:
    stream = FakeStream()
    writer = LineWriter(stream, StreamEnd())
    await writer.finish(b"close")
    await writer.send_all(b"more")
    assert stream.writes == [b"close"]


async def test_bytes_that_another_task_was_to_write_do_not_count_as_written(
    autojump_clock: MockClock,
) -> None:
    stream = FakeStream(slow=1)
    writer = LineWriter(stream, StreamEnd())
    outcomes: dict[bytes, str] = {}

    async def write(data: bytes) -> None:
        try:
            await writer.send_all(data)
            outcomes[data] = "written"
        except trio.BrokenResourceError:
            outcomes[data] = "broken"

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write, b"first")
        await wait_all_tasks_blocked()
        nursery.start_soon(write, b"second")  # which the first writes too, when it is done with its own
        await trio.sleep(1.5)
        stream.fails = OSError("cut")
        nursery.start_soon(write, b"third")
    assert b"".join(stream.writes) == b"first"
    assert outcomes[b"second"] == outcomes[b"third"] == "broken"


async def test_a_stream_that_is_no_socket_takes_nothing_at_once() -> None:
    stream = FakeStream()
    writer = LineWriter(stream, StreamEnd())
    assert writer.send_now(b"now") == 0
    assert stream.writes == []
