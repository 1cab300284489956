"""How connections and the streams under them end, in words and as the first to meet it noted it."""

from __future__ import annotations

import ssl

import pytest
import trio

from feishu_trio.connection.ending import DisconnectReason, Ended, StreamEnd


@pytest.mark.parametrize(
    ("ended", "text"),
    [
        (Ended(DisconnectReason.REPLACED), "replaced"),
        (Ended(DisconnectReason.NO_PONG, "2 probes"), "no pong (2 probes)"),
        (Ended(DisconnectReason.CLOSED_BY_SERVER, "", 1001), "closed by server with code 1001"),
        (Ended(DisconnectReason.CLOSED_BY_SERVER, "bye", 0), "closed by server with code 0 (bye)"),
    ],
)
def test_an_ending_in_words(ended: Ended, text: str) -> None:
    assert str(ended) == text


def test_the_first_reason_counts_and_is_reported_once() -> None:
    end, calls = StreamEnd(), []
    end.on_fault = lambda: calls.append(end.fault)
    end.note(DisconnectReason.WRITE_STALLED, "for 10 s")
    end.note(DisconnectReason.END_OF_FILE)
    assert end.fault == (DisconnectReason.WRITE_STALLED, "for 10 s")
    assert calls == [end.fault], "with the reason in place already"


@pytest.mark.parametrize(
    ("cause", "fault"),
    [
        (ConnectionResetError("reset by peer"), (DisconnectReason.RESET, "reset by peer")),
        (ssl.SSLError("bad record mac"), (DisconnectReason.TLS_ERROR, "('bad record mac',)")),
        (None, (DisconnectReason.RESET, "the stream broke")),
    ],
)
def test_a_broken_stream_ends_with_what_broke_it(
    cause: Exception | None, fault: tuple[DisconnectReason, str]
) -> None:
    end, error = StreamEnd(), trio.BrokenResourceError("the stream broke")
    error.__cause__ = cause
    end.note_broken(error)
    assert end.fault == fault
