"""The stream under the WebSocket, as trio-websocket wants it: a reader, a writer, and the end of both."""

from __future__ import annotations

import trio

from .ending import DisconnectReason, StreamEnd
from .line_reader import LineReader
from .line_writer import LineWriter

__all__ = ["Line"]


class Line(trio.abc.Stream):
    """Wraps the stream that the WebSocket is spoken over. A connection uses `reader` and `writer` themselves."""

    def __init__(self, stream: trio.abc.Stream, max_message_size: int) -> None:
        self.end = StreamEnd()
        self.reader = LineReader(stream, self.end, max_message_size)
        self.writer = LineWriter(stream, self.end)
        self._stream = stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send; see `LineWriter.send_all`."""
        await self.writer.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """As the wrapped stream does."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive what is left for trio-websocket; see `LineReader.receive_some`."""
        return await self.reader.receive_some(max_bytes)

    async def aclose(self) -> None:
        """Close the wrapped stream."""
        self.end.note(DisconnectReason.PROTOCOL_ERROR)
        await self._stream.aclose()
