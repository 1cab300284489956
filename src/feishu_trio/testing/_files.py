"""The calls for pictures and files: up, and down again."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final
from urllib.parse import quote

import attrs

from ._calls import ApiRefusal, Body, call, done
from ._chats import ChatMessage, Chats
from ._http import Request, Response
from ._media import Media, StoredFile, picture_type
from ._multipart import Part, read_form

_FILES: Final = "/open-apis/im/v1/files"
_IMAGES: Final = "/open-apis/im/v1/images"

MAX_IMAGE: Final = 10 << 20
MAX_FILE: Final = 30 << 20
MAX_DOWNLOAD: Final = 100 << 20

BAD_PARAM: Final = 234001
NOT_IN_MESSAGE: Final = 234003
TOO_LARGE: Final = 234006
NOT_THE_SENDER: Final = 234008
NO_BYTES: Final = 234010
NO_IMAGE: Final = 234011
DOWNLOAD_TOO_LARGE: Final = 234037
NO_RESOURCES: Final = 234043
DELETED: Final = 230110

_FILE_TYPES: Final = ("opus", "mp4", "pdf", "doc", "xls", "ppt", "stream")


@attrs.define(eq=False)
class FileCalls:
    """Uploads and downloads."""

    chats: Chats
    media: Media
    find: Callable[[str], ChatMessage]
    """A message by its id, or the refusal."""

    @call("POST", _IMAGES)
    def upload_image(self, request: Request) -> Body:
        """Upload a picture, of 10 MB at most."""
        form = _form(request)
        if _text(form, "image_type") not in {"message", "avatar"}:
            raise _bad_param("image_type", "message, or avatar")
        data = _data(form, "image", MAX_IMAGE)
        if picture_type(data) is None:
            known = "JPG, JPEG, PNG, WEBP, GIF, BMP, ICO, TIFF, HEIC"
            raise ApiRefusal(NO_IMAGE, f"Can't recognize the image format; it may be one of {known}")
        return done({"image_key": self.media.keep_image(data, self.chats.bot).key})

    @call("POST", _FILES)
    def upload_file(self, request: Request) -> Body:
        """Upload a file, of 30 MB at most."""
        form = _form(request)
        kind, name, duration = (_text(form, field) for field in ("file_type", "file_name", "duration"))
        if kind not in _FILE_TYPES:
            raise _bad_param("file_type", f"one of {', '.join(_FILE_TYPES)}")
        if not name:
            raise _bad_param("file_name", "the file's name")
        if duration and not duration.isdecimal():
            raise _bad_param("duration", "a number of milliseconds")
        data = _data(form, "file", MAX_FILE)
        return done({"file_key": self.media.keep_file(data, name, kind, self.chats.bot).key})

    @call("GET", f"{_IMAGES}/{{image_key}}")
    def download_image(self, request: Request, image_key: str) -> Response:
        """Download a picture that the app has uploaded."""
        return self._own(image_key, is_image=True)

    @call("GET", f"{_FILES}/{{file_key}}")
    def download_file(self, request: Request, file_key: str) -> Response:
        """Download a file that the app has uploaded."""
        return self._own(file_key, is_image=False)

    def _own(self, key: str, *, is_image: bool) -> Response:
        file = self.media.kept.get(key)
        if file is None or file.is_image is not is_image:
            raise ApiRefusal(BAD_PARAM, f"Invalid request param: there is no {key}")
        if file.owner is not self.chats.bot:
            raise ApiRefusal(NOT_THE_SENDER, "The app is not the resource sender")
        return _attachment(file)

    @call("GET", "/open-apis/im/v1/messages/{message_id}/resources/{key}")
    def download_resource(self, request: Request, message_id: str, key: str) -> Response:
        """Download what a message carries, of 100 MB at most."""
        kind = request.query.get("type")
        if kind not in {"image", "file"}:
            raise _bad_param("type", "image, or file")
        message = self.find(message_id)
        if message.recalled:
            raise ApiRefusal(DELETED, "Action unavailable as the message has been deleted")
        if message.msg_type in {"interactive", "merge_forward", "sticker"}:
            raise ApiRefusal(NO_RESOURCES, f"Unsupported message type: {message.msg_type}")
        if (kind, key) not in resources_of(message):
            raise ApiRefusal(NOT_IN_MESSAGE, f"File not in message: {kind} {key}")
        file = self.media.kept.get(key)
        if file is None:
            why = "the gateway was never given its bytes (add_image, add_file), or has forgotten them"
            raise ApiRefusal(NOT_IN_MESSAGE, f"File not in message: {why}")
        if len(file.data) > MAX_DOWNLOAD:
            raise ApiRefusal(DOWNLOAD_TOO_LARGE, "Downloaded file size exceeds limit: 100 MB")
        return _attachment(file)


def resources_of(message: ChatMessage) -> set[tuple[str, str]]:
    """What can be downloaded from a message: `image` or `file`, and the key."""
    found = set()
    nodes: list[object] = [message.content]
    while nodes:
        node = nodes.pop()
        if isinstance(node, dict):
            for field, kind in (("image_key", "image"), ("file_key", "file")):
                if isinstance(key := node.get(field), str):
                    found.add((kind, key))
            nodes += node.values()
        elif isinstance(node, list):
            nodes += node
    return found


def _attachment(file: StoredFile) -> Response:
    plain = re.sub(r"[^ -~]|[\"\\\\]", "_", file.name)
    headers = [("Content-Type", file.content_type)]
    if file.name:
        headers.append(
            ("Content-Disposition", f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(file.name)}")
        )
    return Response(200, file.data, tuple(headers))


def _form(request: Request) -> dict[str, Part]:
    try:
        return read_form(request)
    except ValueError as error:
        raise ApiRefusal(BAD_PARAM, f"Invalid request param: {error}") from None


def _text(form: dict[str, Part], name: str) -> str:
    return form[name].data.decode("utf-8", "replace") if name in form else ""


def _data(form: dict[str, Part], name: str, most: int) -> bytes:
    if name not in form or form[name].filename is None:
        raise _bad_param(name, "a part with a file name")
    data = form[name].data
    if not data:
        raise ApiRefusal(NO_BYTES, "File's size can't be 0")
    if len(data) > most:
        raise ApiRefusal(TOO_LARGE, f"The file size exceed the max value: {most} bytes")
    return data


def _bad_param(name: str, allowed: str) -> ApiRefusal:
    return ApiRefusal(BAD_PARAM, f"Invalid request param: {name} is required, {allowed}")
