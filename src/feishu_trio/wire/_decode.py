"""Bytes to a frame, for the shape that every known encoder writes; all else goes the general way."""

from __future__ import annotations

import re
from typing import Final

from ._frame import Frame
from ._general import decode_general
from ._tags import HEADERS, KEY, LENGTH, LOG_ID, METHOD, PAYLOAD, SEQ_ID, SERVICE, VALUE
from ._varint import read_length

# Fields 1 to 4 in their order, each once: varints, of which the last is a byte. What the others say is not read
# here; an answer repeats them as they are.
_match_numbers: Final = re.compile(
    rb"%c[\x80-\xff]{0,9}[\0-\x7f]%c[\x80-\xff]{0,9}[\0-\x7f]%c[\x80-\xff]{0,9}[\0-\x7f]%c[\0-\x7f]"
    % (SEQ_ID, LOG_ID, SERVICE, METHOD)
).match

# The keys that events come with, as they stand between a header's length and its value's: one look-up checks
# three bytes and makes no new string.
_KNOWN_KEYS: Final = {
    b"%c%c%b%c" % (KEY, len(key), key.encode(), VALUE): key
    for key in ("type", "message_id", "sum", "seq", "trace_id", "timestamp", "instance_id", "biz_rt")
}

# Texts that no client reads (6, 7, 9), and numbers that are free for what may come.
_PASSED_OVER: Final = frozenset(number << 3 | LENGTH for number in (6, 7, 9, 10, 11, 12, 13, 14, 15))


class _UnusualError(Exception):
    """Not the common shape; it may be a frame all the same."""


def decode_frame(data: bytes) -> Frame:
    """Read one binary WebSocket message.

    Fields that the schema (`proto/pbbp2.proto`) does not know are passed over; of a field that comes twice the
    last value counts; in headers, bytes that are not UTF-8 become U+FFFD. `Frame.raw` keeps the truth.
    Raises `FrameError` for anything that is no frame, with what and at which byte, and nothing else. Fields 1
    to 4, and key and value of each header, are required (the schema is proto2).
    """
    try:
        return _decode_common(data)
    except (IndexError, UnicodeDecodeError, _UnusualError):
        return decode_general(data)


def _decode_common(data: bytes) -> Frame:
    # From left to right, nothing twice; `i` is where the next field starts. A length that points beyond the end
    # is not checked where it stands: it leads to an index that is not there, or past `size` in the end.
    numbers = _match_numbers(data)
    if numbers is None:
        raise _UnusualError
    i = numbers.end()
    method = data[i - 1]

    # the others: all of them are a tag, a length and as many bytes
    headers: dict[str, str] = {}
    payload = b""
    rest = data
    size = len(data)
    while i < size:
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
        elif tag in _PASSED_OVER:
            length, start = read_length(data, i + 1)
            end = start + length
        else:
            raise _UnusualError
        i = end
    if i > size:
        raise _UnusualError
    return Frame(method, headers, payload, data, rest)


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
