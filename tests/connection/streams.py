"""A stream for what is written to one, and how it breaks."""

from __future__ import annotations

import trio


class FakeStream(trio.abc.Stream):
    """Notes every write; takes `slow` seconds for each, or fails. There is nothing to read but the end."""

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
