"""WebSocket messages in their common shape: whole, binary, unmasked, as Feishu's servers send them.

Everything else (control frames, fragments, text, what breaks the rules) is left to a full WebSocket
implementation: the splitter returns the bytes for it. Source: RFC 6455, section 5.2.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

__all__ = ["MessageSplitter", "encode_message", "encode_messages"]

_FIN_BINARY: Final = 0x82
_FIN_TEXT: Final = 0x81
_FIN_CLOSE: Final = 0x88
_FIN: Final = 0x80
_DATA: Final = (0, 1, 2)  # a continuation, text, binary: without FIN, and without reserved bits
_TOO_BIG: Final = (1009).to_bytes(2, "big")
_MASKED: Final = 0x80
_SHORT: Final = 126  # a length from here on stands in further bytes: two of them, or
_LONG: Final = 127  # eight


class MessageSplitter:
    """Separates whole binary messages from a server's other bytes.

    A frame that claims more than `max_size` bytes is refused by its header, for what follows may be anything but
    its payload: in its place the full implementation gets a close frame that says so, and nothing after it.
    """

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._rest = bytearray()  # the beginning of a frame that is not all here
        self._need = 0  # bytes of it that must be there before it is looked at again
        self._pass = 0  # bytes still to come of a frame that is for the full implementation
        self._in_fragments = False
        self._gave_up = False
        self._is_closed = False  # a frame was refused

    def feed(self, data: bytes | bytearray) -> tuple[list[bytes], bytes]:
        """The messages that are complete now, in order, and the bytes for the full implementation."""
        if self._is_closed:
            return [], b""
        if self._gave_up:
            return [], bytes(data)
        if self._rest:
            self._rest += data
            if len(self._rest) < self._need:
                return [], b""
            data = bytes(self._rest)
            self._rest.clear()
        messages: list[bytes] = []
        others = bytearray()
        at, size = 0, len(data)
        if self._pass:
            at = min(self._pass, size)
            others += data[:at]
            self._pass -= at
        while at < size:
            # The header: opcode, length, and where the payload begins. Lengths must have their shortest form.
            first = data[at]
            length = data[at + 1] if at + 1 < size else -1
            start, least = at + 2, 0
            if length == _SHORT:
                start, least = at + 4, _SHORT
                length = (data[at + 2] << 8) | data[at + 3] if start <= size else -1
            elif length == _LONG:
                start, least = at + 10, 1 << 16
                length = int.from_bytes(data[at + 2 : start], "big") if start <= size else -1
            elif length > _LONG:
                # Masked, which a server's frames must not be: the full implementation refuses it.
                self._gave_up = True
                return messages, bytes(others + data[at:])
            if length < 0:
                self._keep(data, at, start)
                break
            if length > self._max_size and first & 0x7F in _DATA:
                self._is_closed = True
                reason = b"a frame of %d bytes, where %d are allowed" % (length, self._max_size)
                others += b"%c%c%b%b" % (_FIN_CLOSE, 2 + len(reason), _TOO_BIG, reason)
                break
            end = start + length
            if first == _FIN_BINARY and not self._in_fragments and least <= length:
                if end > size:
                    self._keep(data, at, end)
                    break
                messages.append(bytes(data[start:end]))
            else:
                opcode = first & 0x0F
                if opcode < 0x8:
                    self._in_fragments = not first & _FIN
                others += data[at:end]
                self._pass = max(end - size, 0)
            at = end
        return messages, bytes(others)

    def _keep(self, data: bytes | bytearray, at: int, end: int) -> None:
        self._rest += data[at:]
        self._need = end - at


def encode_messages(payloads: Sequence[bytes | str]) -> bytes:
    """Several messages of a client, one after the other."""
    keys = os.urandom(4 * len(payloads))  # all with one call
    return b"".join([encode_message(payload, keys[4 * i : 4 * i + 4]) for i, payload in enumerate(payloads)])


def encode_message(payload: bytes | str, key: bytes | None = None) -> bytes:
    """A client's message as one masked frame: binary, or text for a `str`. `key` is four random bytes."""
    if key is None:
        key = os.urandom(4)  # must not be predictable (RFC 6455, section 10.3)
    if isinstance(payload, str):
        first, payload = _FIN_TEXT, payload.encode()
    else:
        first = _FIN_BINARY
    length = len(payload)
    if length < _SHORT:
        header = bytes((first, _MASKED | length))
    elif length < 1 << 16:
        header = bytes((first, _MASKED | _SHORT, length >> 8, length & 0xFF))
    else:
        header = bytes((first, _MASKED | _LONG)) + length.to_bytes(8, "big")
    # One long integer is the fastest way to XOR.
    mask = int.from_bytes((key * (length // 4 + 1))[:length], "little")
    masked = (int.from_bytes(payload, "little") ^ mask).to_bytes(length, "little")
    return b"%b%b%b" % (header, key, masked)
