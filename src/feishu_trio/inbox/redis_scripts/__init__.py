"""The scripts that an inbox in Redis consists of, and the bytes of their steps and replies.

A script takes a list of steps, does them as one, and gives back what each returned. What all of them share, and every key
there is, stands in `base.lua`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, Final

import msgspec

__all__ = [
    "CLAIM",
    "LOOK",
    "MEND",
    "SCRIPTS",
    "SETTLE",
    "STORE",
    "TEND",
    "VERSION",
    "Reply",
    "Script",
    "bool_of",
    "bytes_of",
    "digest",
    "encode",
    "group",
    "reading",
    "string",
]

VERSION: Final = 3
"""Of the keys: raised when an older version of the scripts cannot go on with them."""


class Script:
    """A script that the server runs as one.

    Args:
        parts: The files it consists of, in this order, between `base` and `run`.
        flags: What the server may make of it; without any it is refused when the memory is full.
    """

    def __init__(self, *parts: str, flags: str = "") -> None:
        shebang = f"#!lua flags={flags}\n" if flags else "#!lua\n"
        folder = files(__name__)
        texts = [folder.joinpath(f"{part}.lua").read_text("utf-8") for part in ("base", *parts, "run")]
        self.text: Final = (shebang + "\n".join(texts)).encode()
        self.sha: Final = hashlib.sha1(self.text, usedforsecurity=False).hexdigest().encode()


# What stores is refused once the server's memory is full, before its first write. All else goes on, so that it empties.
STORE: Final = Script("lanes", "ends", "owned", "known", "store")
SETTLE: Final = Script("lanes", "ends", "owned", "known", "status", "settle", flags="allow-oom")
CLAIM: Final = Script("lanes", "ends", "owned", "status", "claim", flags="allow-oom")
TEND: Final = Script("lanes", "ends", "owned", "status", "facts", "tend", flags="allow-oom")
MEND: Final = Script("lanes", "ends", "owned", "status", "details", "mend", flags="allow-oom")
LOOK: Final = Script("owned", "details", "facts", "look", flags="no-writes")
SCRIPTS: Final = (STORE, SETTLE, CLAIM, TEND, MEND, LOOK)


class Reply(msgspec.Struct, array_like=True):
    """What a script gives back."""

    replies: list[msgspec.Raw]
    """By step; false of a step that failed."""
    errors: list[tuple[int, str]]
    """Which steps failed, which none should, and of what."""
    readied: int
    """How many events have become ready."""


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Reply).decode


def encode(step: tuple[Any, ...]) -> bytes:
    """A step: its name, and its arguments. None of them is None, for Lua's lists end there, and bytes are `string`.

    Raises:
        UnicodeEncodeError: A text has no form in UTF-8.
    """
    return _encode(step)


def string(value: bytes) -> msgspec.Raw:
    """Any bytes as an argument: Lua has one kind of strings for texts and bytes, and takes them as texts only."""
    size = len(value)
    if size < 1 << 16:
        return msgspec.Raw(b"\xda" + size.to_bytes(2) + value)
    return msgspec.Raw(b"\xdb" + size.to_bytes(4) + value)


def group(steps: Sequence[bytes]) -> bytes:
    """The argument of a script: a list of steps."""
    return b"\xdd" + len(steps).to_bytes(4) + b"".join(steps)


def reading(reply: bytes) -> Reply:
    """What a script has given back."""
    return _decode(reply)


def bool_of(raw: msgspec.Raw) -> bool:
    """Whether it is true."""
    return bytes(raw) == b"\xc3"


def bytes_of(raw: msgspec.Raw) -> bytes | None:
    """A string of Lua's, which may be any bytes; None for false."""
    packed = bytes(raw)
    match packed[0]:
        case 0xC0 | 0xC2:
            return None
        case 0xD9:
            return packed[2:]
        case 0xDA:
            return packed[3:]
        case 0xDB:
            return packed[5:]
        case _:
            return packed[1:]


def digest(key: str) -> bytes:
    """A key by which an event is known, as it is kept."""
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()
