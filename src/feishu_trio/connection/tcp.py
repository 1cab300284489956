"""A TCP stream that does no more than the kernel must: what an event costs is mostly what is done around it."""

from __future__ import annotations

import errno
import operator
import os
import socket
from typing import Final

import trio

__all__ = ["TCPStream", "connect_tcp"]

_RECEIVE_SIZE: Final = 65536
_CLOSED: Final = {errno.EBADF, errno.ENOTSOCK}


async def connect_tcp(host: str, port: int) -> trio.SocketStream:
    """Connect to any address of `host`; on cancellation nothing is left open. The caller sets the deadline.

    Raises:
        OSError: It has none, or none of them takes a connection; the text is why, and not what trio says of all together.
    """
    try:
        return await trio.open_tcp_stream(host, port)
    except OSError as error:
        cause = error.__cause__
        tries = cause.exceptions if isinstance(cause, BaseExceptionGroup) else (cause,)
        reasons = [os.strerror(each.errno) for each in tries if isinstance(each, OSError) and each.errno]
        if not reasons:
            raise
        raise OSError(", ".join(dict.fromkeys(reasons))) from error


class TCPStream(trio.abc.Stream):
    """Takes over the socket of a `trio.SocketStream`, which is good for nothing afterwards.

    Trio's own tries to read before it waits, and after what it has sent it lets others run; this one waits
    before it reads, and sends what the socket takes at once. That is a task switch and a system call less for
    an event that comes alone, and half of the functions called.
    """

    def __init__(self, stream: trio.SocketStream) -> None:
        self._socket = socket.socket(fileno=stream.socket.detach())
        self._socket.setblocking(False)
        self._sending = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Wait until there is something to read, and read; `b""` at the end.

        Raises:
            trio.BrokenResourceError: The connection broke.
            trio.ClosedResourceError: This stream is closed, or was closed meanwhile.
        """
        size = _RECEIVE_SIZE if max_bytes is None else operator.index(max_bytes)
        if size < 1:
            raise ValueError(f"max_bytes={max_bytes}: at least 1 is allowed")
        while True:
            self._check_open()
            try:
                await trio.lowlevel.wait_readable(self._socket)
                return self._socket.recv(size)
            except BlockingIOError:  # there was something, but it was no good
                continue
            except OSError as error:
                raise _stream_error(error) from error

    def send_now(self, data: bytes | bytearray | memoryview) -> int:
        """Send as much as the socket takes without waiting, and return how many bytes that is.

        Raises:
            trio.BrokenResourceError: The connection broke.
            trio.ClosedResourceError: This stream is closed.
        """
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise _stream_error(error) from error

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send; cancelling this leaves some of it sent. Raises what `send_now` does."""
        self._check_free()
        self._sending = True
        try:
            await trio.lowlevel.checkpoint()
            rest = memoryview(data)
            while rest := rest[self.send_now(rest) :]:
                await trio.lowlevel.wait_writable(self._socket)
        finally:
            self._sending = False

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the socket takes something."""
        self._check_free()
        await trio.lowlevel.wait_writable(self._socket)

    async def aclose(self) -> None:
        """Close the socket; whoever waits for it finds it closed."""
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()
        await trio.lowlevel.checkpoint()

    def _check_free(self) -> None:
        self._check_open()
        if self._sending:
            raise trio.BusyResourceError("another task is sending")

    def _check_open(self) -> None:
        if self._socket.fileno() < 0:
            raise trio.ClosedResourceError("this stream is closed")


def _stream_error(error: OSError) -> trio.BrokenResourceError | trio.ClosedResourceError:
    if error.errno in _CLOSED:
        return trio.ClosedResourceError("this stream is closed")
    return trio.BrokenResourceError(f"the connection broke: {error}")
