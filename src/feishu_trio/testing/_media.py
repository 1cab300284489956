"""Pictures and files that bots upload and users send: their bytes, by key. No HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from ._chats import Chats, Member

KEPT_BYTES: Final = 256 << 20
"""Of pictures and files that the gateway keeps, the newest ones."""

# How pictures of the formats that Feishu takes begin.
_FORMATS: Final[tuple[tuple[bytes, str], ...]] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"\0\0\1\0", "image/x-icon"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
)
_TYPES: Final[Mapping[str, str]] = {
    "opus": "audio/ogg",
    "mp4": "video/mp4",
    "pdf": "application/pdf",
    "doc": "application/msword",
    "xls": "application/vnd.ms-excel",
    "ppt": "application/vnd.ms-powerpoint",
}

DOT: Final = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)
"""A picture of one pixel."""


@attrs.frozen(eq=False)
class StoredFile:
    """A picture, or a file."""

    key: str
    """By which messages name it: their `image_key` or `file_key`."""
    name: str
    """Empty for a picture."""
    kind: str
    """`image`, or the `file_type` with which it was uploaded: opus, mp4, pdf, doc, xls, ppt, stream."""
    content_type: str
    """The media type with which it is downloaded."""
    data: bytes = attrs.field(repr=False)
    """All its bytes."""
    owner: Member = attrs.field(repr=False)
    """Who uploaded it. A bot can send its own ones alone."""

    @property
    def is_image(self) -> bool:
        """Whether it is a picture."""
        return self.kind == "image"


def picture_type(data: bytes) -> str | None:
    """The media type of a picture; None if it is in no format that Feishu takes."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:8] == b"ftyp" and data[8:12] in {b"heic", b"heix", b"mif1"}:
        return "image/heic"
    return next((name for start, name in _FORMATS if data.startswith(start)), None)


@attrs.define(eq=False)
class Media:
    """All pictures and files, the oldest of which are forgotten beyond `KEPT_BYTES`."""

    chats: Chats
    kept: dict[str, StoredFile] = attrs.field(factory=dict, init=False, repr=False)
    """By key."""
    _size: int = attrs.field(default=0, init=False)

    def keep_image(self, data: bytes, owner: Member, key: str | None = None) -> StoredFile:
        """Keep a picture."""
        kind = picture_type(data) or "application/octet-stream"
        return self._keep(StoredFile(key or self.chats.new_id("img_v3_"), "", "image", kind, data, owner))

    def keep_file(
        self, data: bytes, name: str, kind: str, owner: Member, key: str | None = None
    ) -> StoredFile:
        """Keep a file of a `file_type`."""
        content_type = _TYPES.get(kind, "application/octet-stream")
        key = key or self.chats.new_id("file_v3_")
        return self._keep(StoredFile(key, name, kind, content_type, data, owner))

    def has_image(self, key: str) -> bool:
        """Whether there is a picture of this key that the bot may send."""
        file = self.kept.get(key)
        return file is not None and file.is_image and file.owner is self.chats.bot

    def _keep(self, file: StoredFile) -> StoredFile:
        replaced = self.kept.pop(file.key, None)
        self._size += len(file.data) - (len(replaced.data) if replaced else 0)
        self.kept[file.key] = file
        while self._size > KEPT_BYTES and len(self.kept) > 1:
            oldest = self.kept.pop(next(iter(self.kept)))
            self._size -= len(oldest.data)
        return file
