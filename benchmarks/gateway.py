"""The other side: discovery and WebSockets over sockets, with TLS or without, as cheap for each event as Python can be.

It knows nothing of the clients, and imports nothing of any. One task, no threads: who measures drives it, and
nothing else goes on meanwhile.
"""

from __future__ import annotations

import base64
import hashlib
import json
import select
import selectors
import socket
import struct
import tempfile
import time
from pathlib import Path
from typing import Any, Final, Self

from .frames import SERVICE, field, websocket_frame
from .tls import TLSSocket, serving

__all__ = ["Connection", "Gateway", "SilentError", "attend"]

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CHUNK: Final = 1 << 18
_BINARY, _CLOSE, _PING, _PONG = 2, 8, 9, 10

_NOTHING: Final = memoryview(b"")

# Seconds for which a client may do nothing at all while it is waited for.
_PATIENCE: Final = 30

# What lark-channel-sdk asks before it connects.
_CALLS: Final[dict[bytes, dict[str, Any]]] = {
    b"POST /open-apis/auth/v3/tenant_access_token/internal ": {"tenant_access_token": "t", "expire": 7200},
    b"GET /open-apis/bot/v3/info ": {"bot": {"open_id": "ou_bot", "app_name": "Bot"}},
}

_APP_PONG: Final = websocket_frame(
    _BINARY,
    b"".join([field(1, 0), field(2, 0), field(3, SERVICE), field(4, 0)])
    + field(5, field(1, "type") + field(2, "pong")),
)


class SilentError(Exception):
    """A client did not do what was waited for, or went away."""


class Connection:
    """One client's WebSocket. The socket blocks, for half a minute at the most."""

    def __init__(self, sock: socket.socket | TLSSocket) -> None:
        self.socket = sock
        self.pongs = 0
        """WebSocket pongs that have come."""
        self._rest = b""
        self._cut = 0  # bytes still to be sent of an event that was begun
        self._owed = b""  # frames that wait for it
        self._transcript: list[bytes] = []

    def take_transcript(self) -> bytes:
        """All frames that came since this was asked last, as they came."""
        transcript = b"".join(self._transcript)
        self._transcript.clear()
        return transcript

    def send(self, data: bytes | memoryview) -> None:
        """Send all of it."""
        try:
            self.socket.sendall(data)
        except BlockingIOError:
            raise SilentError(f"the client read nothing for {_PATIENCE} s") from None
        except OSError as error:
            raise SilentError(f"the connection broke: {error}") from error

    def send_some(self, events: memoryview, size: int) -> int:
        """Send what can be sent of events of this size without waiting; returns how many bytes.

        It may end in the middle of a frame. What heartbeats are owed goes out where a frame ends.
        """
        if self._owed and not self._cut:
            self._owed = self._owed[self._try(self._owed) :]
            if self._owed:
                return 0
        sent = self._try(events[: self._cut] if self._owed else events)
        self._cut = (self._cut - sent) % size
        return sent

    def _try(self, data: bytes | memoryview) -> int:
        try:
            return self.socket.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise SilentError(f"the connection broke: {error}") from error

    def receive(self, *, wait: bool = True) -> int:
        """Read what there is, waiting for it or not; returns how many answers came with it.

        Only the headers of frames are looked at. Heartbeats are answered.
        """
        try:
            data = self.socket.recv(_CHUNK, 0 if wait else socket.MSG_DONTWAIT)
        except BlockingIOError:
            if wait:
                raise SilentError(f"the client sent nothing for {_PATIENCE} s") from None
            return 0
        except OSError as error:
            raise SilentError(f"the connection broke: {error}") from error
        if not data:
            raise SilentError("the client closed the connection")
        buffer = self._rest + data
        answers = at = 0
        size = len(buffer)
        while at + 6 <= size:
            if buffer[at + 1] == 0xFE:  # masked, with two bytes of length: an answer, for none is shorter
                end = at + 8 + (buffer[at + 2] << 8 | buffer[at + 3])
                if end > size:
                    break
                answers += 1
            else:
                end = at + 6 + (buffer[at + 1] & 0x7F)
                if end > size:
                    break
                self._heartbeat(buffer[at] & 0x0F, buffer[at:end])
            at = end
        self._transcript.append(buffer[:at])
        self._rest = buffer[at:]
        return answers

    def _heartbeat(self, opcode: int, frame: bytes) -> None:
        if opcode == _BINARY:
            self._reply(_APP_PONG)
        elif opcode == _PING:
            mask = frame[2:6]
            self._reply(websocket_frame(_PONG, bytes(b ^ mask[i & 3] for i, b in enumerate(frame[6:]))))
        elif opcode == _PONG:
            self.pongs += 1
        elif opcode == _CLOSE:
            raise SilentError("the client closed the WebSocket")
        else:
            raise SilentError(f"the client sent a frame of opcode {opcode}")

    def _reply(self, frame: bytes) -> None:
        if self._cut or self._owed or self._holds:
            self._owed += frame
        else:
            self.send(frame)

    def is_alive(self, seconds: float, rest: memoryview = _NOTHING) -> bool:
        """Whether the client answers a WebSocket ping in time; the `rest` of an event goes before it."""
        before, deadline = self.pongs, time.perf_counter() + seconds
        self._owed += websocket_frame(_PING, b"")
        while self.pongs == before:
            left = deadline - time.perf_counter()
            if left <= 0:
                return False
            wanted = [self.socket] if self._owed or self._holds else []
            readable, writable, _ = select.select([self.socket], wanted, [], left)
            if readable:
                self.receive(wait=False)
            if writable:
                rest = rest[self.send_some(rest, len(rest) or 1) :]
        return True

    @property
    def _holds(self) -> bool:
        return isinstance(self.socket, TLSSocket) and self.socket.holds

    def close(self) -> None:
        """Close the socket, without ceremony."""
        self.socket.close()


class Gateway:
    """A listener on a loopback port, with TLS or without."""

    def __init__(self, *, tls: bool = False) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._folder = tempfile.TemporaryDirectory()
        self.authorities: Final = Path(self._folder.name) / "authorities.pem" if tls else None
        """What clients are to trust, if it speaks TLS; for as long as it is open."""
        self._context = serving("127.0.0.1", self.authorities) if self.authorities else None
        self.domain: Final = f"http{'s' * tls}://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self._folder.cleanup()

    def accept(self, seconds: float = _PATIENCE) -> Connection:
        """Answer requests until one of them is a WebSocket, and it is open."""
        deadline = time.perf_counter() + seconds
        while True:
            self._listener.settimeout(max(0.001, deadline - time.perf_counter()))
            try:
                accepted, _ = self._listener.accept()
            except TimeoutError:
                raise SilentError(f"no client connected within {seconds:g} s") from None
            sock = self._set_up(accepted)
            head, body = _request(sock)
            call = next((call for call in _CALLS if head.startswith(call)), None)
            if head.startswith(b"POST /callback/ws/endpoint "):
                sock.sendall(self._endpoint(body))
                sock.close()
            elif call is not None:
                sock.sendall(_answer(_CALLS[call]))
                sock.close()
            elif head.startswith(b"GET /ws/v2?"):
                sock.sendall(_switching(head))
                return Connection(sock)
            else:
                raise SilentError(f"a client asked for {head[:80]!r}")

    def _set_up(self, sock: socket.socket) -> socket.socket | TLSSocket:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A time-out in the kernel: Python's own costs a system call for each other one.
        limit = struct.pack("ll", _PATIENCE, 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        if self._context is None:
            return sock
        try:
            return TLSSocket(sock, self._context)
        except OSError as error:
            raise SilentError(f"TLS with a client failed: {error}") from error

    def _endpoint(self, body: bytes) -> bytes:
        json.loads(body)["AppSecret"]
        query = f"device_id=7250&service_id={SERVICE}&access_key=k&ticket=t"
        url = f"ws{self.domain.removeprefix('http')}/ws/v2?{query}"
        config = {"ReconnectCount": -1, "ReconnectInterval": 120, "ReconnectNonce": 30, "PingInterval": 120}
        return _answer({"data": {"URL": url, "ClientConfig": config}})


def _answer(fields: dict[str, Any]) -> bytes:
    answer = json.dumps({"code": 0, "msg": "", **fields}).encode()
    head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: "
    return f"{head}{len(answer)}\r\n\r\n".encode() + answer


def attend(connections: list[Connection], seconds: float) -> None:
    """Answer the heartbeats of idle clients: those that wait, and those that come for so long."""
    deadline = time.perf_counter() + seconds
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection.socket, selectors.EVENT_READ, connection)
        left = seconds
        while left >= 0:
            for key, _ in selector.select(left):
                key.data.receive(wait=False)
            left = deadline - time.perf_counter()


def _request(sock: socket.socket | TLSSocket) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        data += _more(sock)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(_header(head, b"content-length") or 0)
    while len(body) < length:
        body += _more(sock)
    return head, body


def _more(sock: socket.socket | TLSSocket) -> bytes:
    data = sock.recv(65536)
    if not data:
        raise SilentError("a client went away in the middle of its request")
    return data


def _header(head: bytes, name: bytes) -> bytes | None:
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip()
    return None


def _switching(head: bytes) -> bytes:
    key = _header(head, b"sec-websocket-key")
    if key is None:
        raise SilentError("a client asked for a WebSocket without a key")
    accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())
    lines = [b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket", b"Connection: Upgrade"]
    return b"\r\n".join([*lines, b"Sec-WebSocket-Accept: " + accept, b"", b""])
