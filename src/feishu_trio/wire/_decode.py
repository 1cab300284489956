"""Bytes to a frame: quickly for the shape that every known encoder writes, else by `decode_general`."""

from __future__ import annotations

import re
from typing import Final

from ._frame import Frame
from ._general import decode_general
from ._tags import (
    ENCODING,
    HEADERS,
    KEY,
    LENGTH,
    LOG_ID,
    LOG_ID_NEW,
    METHOD,
    PAYLOAD,
    SEQ_ID,
    SERVICE,
    TYPE,
    VALUE,
)
from ._varint import read_length

# Fields 1 to 4 in their order, each once: varints, the last of them a single byte. The first three are not
# decoded here; an answer repeats them as they are.
NUMBERS: Final = "".join(rf"\x{tag:02x}[\x80-\xff]{{0,9}}[\0-\x7f]" for tag in (SEQ_ID, LOG_ID, SERVICE))
_match_numbers: Final = re.compile(rf"{NUMBERS}\x{METHOD:02x}[\0-\x7f]".encode()).match

# The usual header keys, with the bytes around them: all that stands between a header's length and its value's
# length. One look-up checks these bytes and makes no new string.
_KNOWN_KEYS: Final = {
    b"%c%c%b%c" % (KEY, len(key), key.encode(), VALUE): key
    for key in ("type", "message_id", "sum", "seq", "trace_id", "timestamp", "instance_id", "biz_rt")
}

# Texts that no client reads (6, 7, 9), and fields that the schema does not have yet.
_SKIPPED: Final = frozenset(number << 3 | LENGTH for number in (10, 11, 12, 13, 14, 15)) | {
    ENCODING,
    TYPE,
    LOG_ID_NEW,
}

# Fields beside these four from which on a frame is none of the common shape. It has fewer than `MAX_FIELDS` in all.
_MANY: Final = 300


class _UnusualError(Exception):
    """Not the common shape, but perhaps a frame."""


def decode_frame(data: bytes) -> Frame:
    """Read one binary WebSocket message.

    Fields that the schema (`proto/pbbp2.proto`) does not have are skipped; of a field that comes twice the
    last value counts; in headers, bytes that are not UTF-8 become U+FFFD. `Frame.raw` keeps the bytes.
    Raises `FrameError`, and nothing else, for anything that is no frame, or one of more fields than `MAX_FIELDS`:
    what is wrong, and at which byte. Fields 1 to 4, and key and value of each header, are required (the schema is proto2).
    """
    # From left to right, nothing twice; `i` is where the next field starts. A length that points beyond the
    # end is not checked where it stands: it leads to an index that is not there, or past `size` in the end.
    numbers = _match_numbers(data)
    if numbers is None:
        return decode_general(data)
    i = numbers.end()
    method = data[i - 1]

    # The other fields: each is a tag, a length and as many bytes.
    headers: dict[str, str] = {}
    payload = b""
    rest = data
    size = len(data)
    try:
        for _ in range(_MANY):
            if i >= size:
                break
            tag = data[i]
            if tag == HEADERS:
                length = data[i + 1]
                end = i + 2 + length
                middle = i + 5 + data[i + 3]  # where the value's length stands
                key = _KNOWN_KEYS.get(data[i + 2 : middle])
                if key is None or length > 0x7F:
                    key, value, end = _read_header(data, i + 1)
                elif middle + 1 + data[middle] == end:
                    value = data[middle + 1 : end].decode()
                else:
                    raise _UnusualError
                if key not in headers:
                    headers[key] = value
            elif tag == PAYLOAD and rest is data:
                length, start = read_length(data, i + 1)
                end = start + length
                payload = data[start:end]
                rest = data[:i] + data[end:]
            elif tag in _SKIPPED:
                length, start = read_length(data, i + 1)
                end = start + length
            else:
                raise _UnusualError
            i = end
        if i == size:
            return Frame(method, headers, payload, data, rest)
    except (IndexError, UnicodeDecodeError, _UnusualError):
        pass
    return decode_general(data)


def _read_header(data: bytes, at: int) -> tuple[str, str, int]:
    """Key, value and end of the header whose length stands at byte `at`: for new keys and for long values."""
    length, start = read_length(data, at)
    end = start + length
    if data[start] != KEY:
        raise _UnusualError
    key_length, key_start = read_length(data, start + 1)
    key_end = key_start + key_length
    if data[key_end] != VALUE:
        raise _UnusualError
    value_length, value_start = read_length(data, key_end + 1)
    if value_start + value_length != end:
        raise _UnusualError
    return data[key_start:key_end].decode(), data[value_start:end].decode(), end
