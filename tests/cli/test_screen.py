"""The line at the bottom of a terminal, over a stdout that takes nothing for a while."""

from __future__ import annotations

import threading

import pytest
import trio

from feishu_trio.cli import _screen
from feishu_trio.cli._screen import open_screen


async def test_what_a_thread_writes_late_does_not_come_behind_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[bytes] = []
    begun, go_on = threading.Event(), threading.Event()

    def write(data: bytes) -> None:
        begun.set()
        go_on.wait(5)
        written.append(data)

    async def soon() -> None:
        await trio.sleep(0.1)
        go_on.set()

    monkeypatch.setattr(_screen, "write_all", write)
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            async with open_screen(lambda width: "the line"):
                await trio.to_thread.run_sync(
                    begun.wait
                )  # a thread draws the line, and nobody waits for it any more
                nursery.start_soon(soon)
                scope.cancel()
    assert written[0].endswith(b"the line")
    assert written[1:] == [b"\r\x1b[2K"]
