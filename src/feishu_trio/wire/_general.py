"""Bytes to a frame of any shape that protobuf allows, read as Google's proto2 readers read it.

Two steps. First the bytes are walked, strictly: broken ones are refused here, and what the schema does not
have (other numbers, other wire types, groups) is left out. Then the schema's betterproto class reads what
remains. It could not do the first step: it reads cut-off fields as short ones, the fields of a group as the
frame's own, and any wire type as the right one.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import FrameError
from ._encode import encode_field
from ._fields import MAX_DEPTH, allowance, walk
from ._frame import Frame
from ._tags import HEADERS, KEY, LOG_ID, METHOD, PAYLOAD, SEQ_ID, SERVICE, VALUE
from ._varint import read_varint, varint


def decode_general(data: bytes) -> Frame:
    """Read a frame of any shape that protobuf allows. Raises `FrameError`, and nothing else."""
    known, rest = _strip(data)

    # Imported here, because betterproto is slow to load, and hardly any frame needs it.
    from . import _pbbp2

    message = _pbbp2.Frame.FromString(known)
    seq_id, log_id, service, method = message.seq_id, message.log_id, message.service, message.method
    if seq_id is None or log_id is None or service is None or method is None:
        numbers = {"SeqID": seq_id, "LogID": log_id, "service": service, "method": method}
        missing = ", ".join(name for name, number in numbers.items() if number is None)
        raise FrameError(f"no frame: {missing} (required) not found in {len(data)} bytes")
    headers: dict[str, str] = {}
    for index, header in enumerate(message.headers):
        if header.key is None or header.value is None:
            missing = "key" if header.key is None else "value"
            raise FrameError(f"no frame: {missing} (required) not found in headers[{index}]")
        headers.setdefault(header.key, header.value)
    return Frame(method, headers, message.payload or b"", data, rest)


def _strip(data: bytes) -> tuple[bytes, bytes]:
    """The fields of `data` that the schema has, in their common form; and `data` without any payload."""
    known = bytearray()
    rest = bytearray()
    copied = 0  # to `rest`, up to this byte
    allowed = allowance()
    for tag, start, value, end in walk(data, 0, len(data), MAX_DEPTH, allowed):
        if tag in (SEQ_ID, LOG_ID, SERVICE, METHOD):
            number, _ = read_varint(data, value)
            known += varint(tag) + varint(number)
        elif tag == HEADERS:
            known += encode_field(tag, _strip_header(data, value, end, allowed))
        elif tag == PAYLOAD:
            known += encode_field(tag, data[value:end])
            rest += data[copied:start]
            copied = end
    rest += data[copied:]
    return bytes(known), bytes(rest)


def _strip_header(data: bytes, at: int, end: int, allowed: Iterator[int]) -> bytes:
    known = bytearray()
    for tag, _, value, value_end in walk(data, at, end, MAX_DEPTH - 1, allowed):
        if tag in (KEY, VALUE):
            # proto2 does not ask strings to be UTF-8, and an event must not be lost for a header.
            text = data[value:value_end].decode(errors="replace")
            known += encode_field(tag, text.encode())
    return bytes(known)
