"""What concerns both ways of a stream: bytes pass, and one end is noted for both."""

from __future__ import annotations

import ssl

import pytest
import trio
import trio.testing

from feishu_trio.connection.ending import DisconnectReason
from feishu_trio.connection.line import Line

from .streams import FakeStream


async def test_it_passes_bytes_both_ways() -> None:
    here, there = trio.testing.memory_stream_pair()
    line = Line(here, 1000)
    await line.send_all(b"ping")
    assert await there.receive_some() == b"ping"
    refusal = b"HTTP/1.1 403 Forbidden\r\n\r\n"
    await there.send_all(refusal)
    assert await line.receive_some() == refusal


async def test_the_first_end_counts_whoever_meets_it() -> None:
    stream = FakeStream()
    line = Line(stream, 1000)
    assert await line.receive_some() == b""
    stream.fails = ConnectionResetError("reset")
    with pytest.raises(trio.BrokenResourceError):
        await line.send_all(b"x")
    await line.aclose()
    assert line.end.fault == (DisconnectReason.END_OF_FILE, "")


async def test_a_stream_that_is_closed_from_here_broke_the_protocol() -> None:
    line = Line(FakeStream(), 1000)
    await line.aclose()
    assert line.end.fault == (DisconnectReason.PROTOCOL_ERROR, "")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectionResetError(104, "Connection reset by peer"), DisconnectReason.RESET),
        (ssl.SSLError("bad record mac"), DisconnectReason.TLS_ERROR),
    ],
)
@pytest.mark.parametrize("way", ["send", "receive"])
async def test_what_broke_it_is_noted(error: Exception, reason: DisconnectReason, way: str) -> None:
    line = Line(FakeStream(fails=error), 1000)
    with pytest.raises(trio.BrokenResourceError):
        await (line.send_all(b"x") if way == "send" else line.receive_some())
    assert line.end.fault == (reason, str(error))
