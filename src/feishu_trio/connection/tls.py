"""TLS over a byte stream, for a WebSocket, for HTTP and for a proxy alike: the one place where it is chosen."""

from __future__ import annotations

import functools
import operator
import os
import ssl
from typing import Final

import trio

from ..errors import ConfigError, ConnectError
from .tcp import TCPStream

__all__ = ["TLSStream", "default_ssl_context", "empty_ssl_context", "secured"]

_RECEIVE_SIZE: Final = 65536
_PIECE: Final = 65536  # bytes that are encrypted at once


class TLSStream(trio.abc.Stream):
    """TLS as a client, by the standard library, over another stream.

    Trio's own tries to read before it waits, gives back one record at a time, and lets others run between encrypting and
    sending. This one waits first, gives back all records that have come, and sends at once over a `TCPStream`.

    An end of the stream without TLS's own goodbye is an end like any other, as HTTP and WebSocket say themselves whether
    something is missing; closing says none. A server that negotiates anew is not put up with.
    """

    def __init__(self, stream: trio.abc.Stream, context: ssl.SSLContext, host: str) -> None:
        self.transport_stream: Final = stream
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.ssl: Final = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        """What the standard library knows of this connection: `version()`, `getpeercert()` and so on."""
        self._send_now = stream.send_now if isinstance(stream, TCPStream) else None
        self._encrypted = b""  # what the socket has not taken yet
        self._writing: Final = trio.StrictFIFOLock()  # whoever has it encrypts, and sends
        self._sending = self._receiving = False
        self._has_more = False  # there may be something to decrypt, or the end
        self._has_ended = self._is_closed = False
        self._fault: ssl.SSLError | None = None  # of what came
        self._is_broken = False  # nothing more can be sent: something was sent in part, or did not go through

    @property
    def holds(self) -> bool:
        """Whether `send_now` took something that the socket did not; `send_all`, be it with no bytes, must follow."""
        return bool(self._encrypted)

    async def do_handshake(self) -> None:
        """Shake hands: nothing else comes before.

        Raises:
            trio.BrokenResourceError: The stream broke, or TLS failed, which is its `__cause__`.
        """
        is_done = False
        while not is_done:
            try:
                self.ssl.do_handshake()
                is_done = True
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as error:
                raise trio.BrokenResourceError("TLS failed") from error
            await self._flush()
            if not is_done:
                await self._receive()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Wait until there is something to read, and read; `b""` at the end.

        Raises:
            trio.BrokenResourceError: The connection broke; for an error of TLS's that is its `__cause__`.
            trio.ClosedResourceError: This stream is closed, or was closed meanwhile.
        """
        size = _RECEIVE_SIZE if max_bytes is None else operator.index(max_bytes)
        if size < 1:
            raise ValueError(f"max_bytes={max_bytes}: at least 1 is allowed")
        if self._receiving:
            raise trio.BusyResourceError("another task is receiving")
        self._receiving = True
        try:
            if self._has_more:
                await trio.lowlevel.checkpoint()
                self._check_open()
            else:
                await self._receive()
            while (data := self._decrypted(size)) is None:
                await self._receive()
            return data
        finally:
            self._receiving = False

    def send_now(self, data: bytes | bytearray | memoryview) -> int:
        """Take as much as may be sent without waiting, and return how many bytes that is; see `holds`.

        Raises what `send_all` does.
        """
        if self._send_now is None or self._encrypted or self._writing.locked():
            return 0
        taken = self._encrypt(data if len(data) <= _PIECE else memoryview(data)[:_PIECE])
        encrypted = self._outgoing.read()
        sent = self._send_now(encrypted)
        if sent < len(encrypted):
            self._encrypted = encrypted[sent:]
        return taken

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send; nothing can be sent any more once this was cancelled.

        Raises:
            trio.BrokenResourceError: The connection broke, or a server negotiates TLS anew.
            trio.ClosedResourceError: This stream is closed.
        """
        if self._sending:
            raise trio.BusyResourceError("another task is sending")
        self._sending = True
        try:
            async with self._writing:
                rest = memoryview(data)
                while rest := rest[self._encrypt(rest[:_PIECE]) :]:
                    await self._send()
                await self._send()
        finally:
            self._sending = False

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the stream below takes something."""
        if self._sending:
            raise trio.BusyResourceError("another task is sending")
        async with self._writing:
            await self.transport_stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close the stream below."""
        self._is_closed = True
        await self.transport_stream.aclose()

    # Receiving

    async def _receive(self) -> None:
        # TLS may have something to say to what came. Whoever is sending says it, too, but a peer that takes nothing
        # must not make that grow.
        if (pending := self._outgoing.pending) and (pending > _PIECE or not self._writing.locked()):
            await self._flush()
        data = await self.transport_stream.receive_some(_RECEIVE_SIZE)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        self._has_more = True

    def _decrypted(self, size: int) -> bytes | None:
        """All that has come, up to so many bytes; None if that is nothing yet, `b""` at the end."""
        parts: list[bytes] = []
        try:
            while size and self._has_more and not (self._has_ended or self._fault):
                part = self.ssl.read(size)
                self._has_ended = not part
                parts.append(part)
                size -= len(part)
                self._has_more = self._has_ended or bool(self._incoming.pending or self.ssl.pending())
        except ssl.SSLWantReadError:
            self._has_more = False
            if not parts:
                return None
        except ssl.SSLEOFError:
            self._has_ended = True
        except ssl.SSLError as error:
            self._fault = error
        if self._fault is not None and not parts:
            raise trio.BrokenResourceError("TLS failed") from self._fault
        return parts[0] if len(parts) == 1 else b"".join(parts)

    # Sending

    def _encrypt(self, data: bytes | bytearray | memoryview) -> int:
        """Encrypt it, as all that is encrypted must be sent; returns its size."""
        if self._is_broken or self._is_closed:
            self._check_writable()
        if not data:
            return 0
        try:
            return self.ssl.write(data)
        except ssl.SSLError as error:
            self._is_broken = True
            raise trio.BrokenResourceError("TLS failed") from error

    def _check_writable(self) -> None:
        self._check_open()
        if self._is_broken:
            raise trio.BrokenResourceError("an earlier write was cut short")

    def _check_open(self) -> None:
        if self._is_closed:
            raise trio.ClosedResourceError("this stream is closed")

    async def _flush(self) -> None:
        async with self._writing:
            await self._send()

    async def _send(self) -> None:
        """Send all that is encrypted; whoever calls this has the lock."""
        self._check_writable()
        while self._encrypted or self._outgoing.pending:
            data = self._encrypted + self._outgoing.read()
            self._encrypted = b""
            self._is_broken = True
            await self.transport_stream.send_all(data)
            self._is_broken = False


@functools.cache
def default_ssl_context() -> ssl.SSLContext:
    """The context that httpx would use: certificates are checked. One for all sessions, for it is large.

    Raises:
        ConfigError: The authorities that `SSL_CERT_FILE` names cannot be read.
    """
    import httpx

    path = os.environ.get("SSL_CERT_FILE")
    try:
        if path:
            with open(path, "rb"):  # older versions of httpx pass over one that is not there
                pass
        return httpx.create_ssl_context()
    except OSError as error:
        if not path:
            raise
        raise ConfigError(
            f"SSL_CERT_FILE: {path!r} cannot be used: {error.strerror}; "
            "it must be the path of a file with certificates in PEM, or not be set"
        ) from error


@functools.cache
def empty_ssl_context() -> ssl.SSLContext:
    """A context that trusts nobody, where no TLS is meant to be: to load the certificate authorities takes a while."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


async def secured(stream: trio.abc.Stream, host: str, port: int, context: ssl.SSLContext) -> TLSStream:
    """TLS with `host` over a stream, which is closed if that fails, or is cancelled. The caller sets the deadline.

    Raises:
        ConnectError: The stream broke, or nobody is there whose certificate can be believed.
    """
    try:
        tls = TLSStream(stream, context, host)
        await tls.do_handshake()
    except BaseException as error:
        await trio.aclose_forcefully(stream)
        if isinstance(error, trio.BrokenResourceError):
            raise ConnectError(f"TLS with {host}:{port} failed: {error.__cause__ or error}") from error
        raise
    return tls
