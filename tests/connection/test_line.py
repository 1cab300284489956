from __future__ import annotations

import ssl

import pytest
import trio
import trio.testing

from feishu_trio.connection import DisconnectReason
from feishu_trio.connection.line import Line


class Wire(trio.abc.Stream):
    """Notes every write; takes `slow` seconds for each, or fails."""

    def __init__(self, slow: float = 0.0, fails: Exception | None = None) -> None:
        self.writes: list[bytes] = []
        self.slow = slow
        self.fails = fails

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.sleep(self.slow)
        if self.fails is not None:
            raise trio.BrokenResourceError("sending failed") from self.fails
        self.writes.append(bytes(data))

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        if self.fails is not None:
            raise trio.BrokenResourceError("receiving failed") from self.fails
        return b""

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


async def test_what_is_sent_while_a_write_is_under_way_leaves_in_one_piece(
    autojump_clock: trio.testing.MockClock,
) -> None:
    wire = Wire(slow=1)
    line = Line(wire, 1000)
    async with trio.open_nursery() as nursery:
        for data in (b"a", b"b", bytearray(b"c")):
            nursery.start_soon(line.send_all, data)
            await trio.testing.wait_all_tasks_blocked()
    assert wire.writes == [b"a", b"bc"]


async def test_several_writers_keep_their_order_and_never_overlap(
    autojump_clock: trio.testing.MockClock,
) -> None:
    wire = Wire(slow=1)
    line = Line(wire, 1000)
    async with trio.open_nursery() as nursery:
        for n in range(5):
            nursery.start_soon(line.send_all, b"%d" % n)
            await trio.testing.wait_all_tasks_blocked()
    assert b"".join(wire.writes) == b"01234"


async def test_a_line_that_takes_nothing_is_stalled(autojump_clock: trio.testing.MockClock) -> None:
    line = Line(Wire(slow=1e6), 1000)
    start = trio.current_time()
    with pytest.raises(trio.BrokenResourceError):
        await line.send_all(b"x")
    assert trio.current_time() - start == 10
    assert line.fault == (DisconnectReason.WRITE_STALLED, "for 10 s")


async def test_a_slow_line_is_not_a_stalled_one(autojump_clock: trio.testing.MockClock) -> None:
    wire = Wire(slow=9)
    line = Line(wire, 1000)
    await line.send_all(bytes(1 << 20))
    assert trio.current_time() > 100
    assert sum(map(len, wire.writes)) == 1 << 20
    assert line.fault is None


async def test_nothing_follows_a_write_that_was_cut_short(autojump_clock: trio.testing.MockClock) -> None:
    wire = Wire(slow=5)
    line = Line(wire, 1000)
    with trio.move_on_after(1):
        await line.send_all(b"half")
    wire.slow = 0
    with pytest.raises(trio.BrokenResourceError):
        await line.send_all(b"more")
    assert wire.writes == []


async def test_nothing_follows_the_last_bytes() -> None:
    wire = Wire()
    line = Line(wire, 1000)
    await line.finish(b"bye")
    await line.send_all(b"and another thing")
    assert wire.writes == [b"bye"]


async def test_how_it_ended_is_remembered_and_the_first_end_counts() -> None:
    line = Line(Wire(), 1000)
    assert await line.receive_some() == b""
    await line.aclose()
    assert line.fault == (DisconnectReason.END_OF_FILE, "")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectionResetError(104, "Connection reset by peer"), DisconnectReason.RESET),
        (ssl.SSLError("bad record mac"), DisconnectReason.TLS_ERROR),
    ],
)
@pytest.mark.parametrize("way", ["send", "receive"])
async def test_what_broke_it_is_told(error: Exception, reason: DisconnectReason, way: str) -> None:
    line = Line(Wire(fails=error), 1000)
    with pytest.raises(trio.BrokenResourceError):
        await (line.send_all(b"x") if way == "send" else line.receive_some())
    assert line.fault == (reason, str(error))


async def test_it_passes_bytes_both_ways() -> None:
    here, there = trio.testing.memory_stream_pair()
    line = Line(here, 1000)
    await line.send_all(b"ping")
    assert await there.receive_some() == b"ping"
    await there.send_all(b"pong")
    assert await line.receive_some(4) == b"pong"


AGREED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
ONE, TWO = b"\x82\x03one", b"\x82\x03two"
PING, TEXT = b"\x89\x01p", b"\x81\x04text"


async def test_whole_messages_are_taken_out_and_the_rest_is_left() -> None:
    here, there = trio.testing.memory_stream_pair()
    line = Line(here, 1000)
    await there.send_all(AGREED[:20])
    assert await line.receive_some() == AGREED[:20]
    # The server's first frames come in one piece with the end of its response.
    await there.send_all(AGREED[20:] + ONE + PING + TWO[:2])
    assert await line.receive_some() == AGREED[20:]
    assert await line.receive_messages(4096) == [b"one"]
    assert await line.receive_some() == PING
    await there.send_all(TWO[2:] + TEXT + ONE)
    assert await line.receive_messages(4096) == [b"two", b"one"]
    assert await line.receive_some() == TEXT


async def test_a_refusal_is_passed_on_with_its_body() -> None:
    here, there = trio.testing.memory_stream_pair()
    line = Line(here, 1000)
    await there.send_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\n" + ONE)
    assert (await line.receive_some()).endswith(ONE)


@pytest.mark.parametrize("broken", [False, True])
async def test_both_readers_learn_of_the_end(broken: bool) -> None:
    here, there = trio.testing.memory_stream_pair()
    line = Line(here, 1000)
    await there.send_all(AGREED + TEXT)
    await line.receive_some()
    assert await line.receive_messages(4096) == []
    if broken:
        await here.aclose()
        line._stream = Wire(fails=ConnectionResetError("reset"))
    else:
        await there.aclose()
    assert await line.receive_messages(4096) is None
    assert await line.receive_some() == TEXT
    if broken:
        with pytest.raises(trio.BrokenResourceError):
            await line.receive_some()
    else:
        assert await line.receive_some() == b""


async def test_a_reader_that_is_slow_with_the_rest_holds_the_other_back() -> None:
    here, there = trio.testing.memory_stream_pair()
    line = Line(here, 1000)
    await there.send_all(AGREED)
    await line.receive_some()
    flood = (b"\x81\x7e\x40\x00" + b"x" * 0x4000) * 5
    async with trio.open_nursery() as nursery:
        nursery.start_soon(there.send_all, flood + ONE)
        assert await line.receive_messages(1 << 20) == [b"one"]
        assert line.is_clogged
        nursery.start_soon(line.wait_unclogged)
        await trio.testing.wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 1
        assert await line.receive_some() == flood
        assert not line.is_clogged


async def test_bytes_that_another_was_to_write_are_not_taken_for_written(
    autojump_clock: trio.testing.MockClock,
) -> None:
    wire = Wire(slow=1)
    line = Line(wire, 1000)
    outcomes: dict[bytes, str] = {}

    async def write(data: bytes) -> None:
        try:
            await line.send_all(data)
            outcomes[data] = "written"
        except trio.BrokenResourceError:
            outcomes[data] = "broken"

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write, b"first")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(write, b"second")  # which the first takes along when it is done with its own
        await trio.sleep(1.5)
        wire.fails = OSError("cut")
        nursery.start_soon(write, b"third")
    assert b"".join(wire.writes) == b"first"
    assert outcomes[b"second"] == outcomes[b"third"] == "broken"
