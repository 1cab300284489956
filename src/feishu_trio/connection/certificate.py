"""What a certificate says, also one that is not trusted, of which Python's ssl tells nothing but the bytes.

DER (X.690) is tag, length and content; a certificate (RFC 5280, section 4.1) is a list of such.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

import attrs

__all__ = ["Certificate"]

_UTC_TIME: Final = 0x17
_VERSION: Final = 0xA0
# id-at-commonName, organizationName and organizationalUnitName.
_NAMES: Final = (b"\x55\x04\x03", b"\x55\x04\x0a", b"\x55\x04\x0b")


@attrs.frozen
class Certificate:
    """Whose it is, who issued it, and for which time."""

    subject: str
    issuer: str
    begins: datetime
    ends: datetime

    @classmethod
    def parse(cls, der: bytes) -> Certificate | None:
        """Read a certificate; None if it is none."""
        try:
            (_, certificate), *_ = _items(der)
            (_, body), *_ = _items(certificate)
            items = [content for tag, content in _items(body) if tag != _VERSION]
            _serial, _algorithm, issuer, validity, subject, *_ = items
            begins, ends = (_time(tag, content) for tag, content in _items(validity))
            return cls(_name(subject), _name(issuer), begins, ends)
        except (ValueError, IndexError):
            return None


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        tag, length = data[at], data[at + 1]
        at += 2
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(data[at : at + size])
            at += size
        if at + length > len(data):
            raise ValueError("it ends too early")
        yield tag, data[at : at + length]
        at += length


def _name(name: bytes) -> str:
    """The common name, else the organization, with the rest behind it."""
    found: dict[bytes, str] = {}
    for _, one in _items(name):
        for _, pair in _items(one):
            (_, key), (_, value) = _items(pair)
            found[key] = value.decode("utf-8", "replace")
    first, *rest = [found[key] for key in _NAMES if key in found] or ["no name"]
    return f"{first} ({', '.join(rest)})" if rest else first


def _time(tag: int, content: bytes) -> datetime:
    text = content.decode("ascii")
    if tag == _UTC_TIME:  # two digits of the year, from 1950 on
        text = ("19" if text >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
