"""TLS on the gateway's side: certificates, and a socket that speaks it."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Final

import certifi
import trustme

__all__ = ["TLSSocket", "serving"]

_RECORD: Final = 1 << 14  # bytes that a record of TLS carries at the most
_PIECE: Final = 1 << 16  # bytes that are encrypted at once where nothing may wait


def serving(host: str, authorities: Path) -> ssl.SSLContext:
    """What serves a host; `authorities` is written: the usual ones, so that loading takes what it does, and a new one."""
    authority = trustme.CA()
    authorities.write_bytes(authority.cert_pem.bytes() + Path(certifi.where()).read_bytes())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(host).configure_cert(context)
    return context


class TLSSocket:
    """What the gateway uses of a socket, over TLS; time-outs are the kernel's, as without.

    All that came is decrypted when it is read, so that waiting for more is waiting for the socket.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self._socket = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._held = b""
        self._shake_hands()

    def _shake_hands(self) -> None:
        is_done = False
        while not is_done:
            try:
                self._tls.do_handshake()
                is_done = True
            except ssl.SSLWantReadError:
                pass
            self.sendall(b"")
            if not is_done:
                self._receive(_PIECE, 0)

    @property
    def holds(self) -> bool:
        """Whether `send` took something that the socket did not; sending anything, be it nothing, sends that first."""
        return bool(self._held)

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Wait for something and read it, up to so many bytes before they are decrypted; `b""` at the end."""
        while not (data := self._decrypted()):
            if not self._receive(size, flags):
                return b""
        return data

    def _receive(self, size: int, flags: int) -> bool:
        """Have TLS know what came, or that nothing will; whether anything did."""
        encrypted = self._socket.recv(size, flags)
        if encrypted:
            self._incoming.write(encrypted)
        else:
            self._incoming.write_eof()
        return bool(encrypted)

    def _decrypted(self) -> bytes:
        parts = []
        try:
            while self._incoming.pending:
                parts.append(self._tls.read(_RECORD))
        except ssl.SSLWantReadError:  # the rest of a record is still to come
            pass
        return b"".join(parts)

    def sendall(self, data: bytes | memoryview) -> None:
        """Send all of it."""
        if data:
            self._tls.write(data)
        held, self._held = self._held, b""
        self._socket.sendall(held + self._outgoing.read())

    def send(self, data: bytes | memoryview, flags: int) -> int:
        """Send some of it; how many bytes were taken, see `holds`."""
        if self._held:
            self._held = self._held[self._socket.send(self._held, flags) :]
        if self._held or not data:
            return 0
        taken = self._tls.write(data[:_PIECE])
        self._held = self._outgoing.read()
        with suppress(BlockingIOError):
            self._held = self._held[self._socket.send(self._held, flags) :]
        return taken

    def fileno(self) -> int:
        """The socket's, to wait for it."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket, without ceremony."""
        self._socket.close()
