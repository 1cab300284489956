"""Files: up to Feishu, and down from it.

Sources: the public documentation of `im/v1/images`, `im/v1/files` and `im/v1/messages/:message_id/resources`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, overload

import trio

from ..errors import ApiError
from ..events.content import ResourceKind
from ..events.port import DOWNLOAD_SIZE, Form, Source
from .arguments import check_id, check_size, check_utf8, given, in_path, message_in_path, refused
from .client import Call, Client, text_in
from .disk import read_file, save_parts
from .download import Download
from .exchange import Answer, open_answer

__all__ = ["Files"]

# Bytes, at most: of an image and a file that Feishu takes, and of a refusal in a file's place.
_IMAGE_SIZE: Final = 10 << 20
_FILE_SIZE: Final = 30 << 20
_REFUSAL_SIZE: Final = 1 << 20

# Bytes a second at which files have to come and go, unless a timeout is given.
_LEAST_RATE: Final = 100_000

_FILE_TYPES: Final[Mapping[str, str]] = {
    ".opus": "opus",
    ".mp4": "mp4",
    ".pdf": "pdf",
    ".doc": "doc",
    ".docx": "doc",
    ".xls": "xls",
    ".xlsx": "xls",
    ".ppt": "ppt",
    ".pptx": "ppt",
}
_ANY_TYPE: Final = "stream"


class Files(Client):
    """The part of `Api` that is about files."""

    async def upload_image(self, image: Source, *, timeout: float | None = None) -> str:
        """Upload an image, for messages and cards. Its key: `await api.send(chat, {"image_key": key})`.

        Args:
            image: Its bytes, or its path: JPEG, PNG, WEBP, GIF, TIFF, BMP or ICO, of up to 10 MiB.
            timeout: Seconds for all of it; None is the client's own, and one more for each 100 kB.

        Raises:
            ApiError: It cannot be read, is empty or too large, or Feishu refused it.
        """
        _, data = await _content("image", image, _IMAGE_SIZE)
        form: Form = {"image_type": "message", "image": ("image", data)}
        return await self._upload("/open-apis/im/v1/images", form, "image_key", len(data), timeout)

    async def upload_file(
        self,
        file: Source,
        *,
        name: str | None = None,
        file_type: str | None = None,
        duration: int | None = None,
        timeout: float | None = None,
    ) -> str:
        """Upload a file, an audio or a video, for messages. Its key: `await api.send(chat, {"file_key": key})`.

        Args:
            file: Its bytes, or its path: up to 30 MiB.
            name: What it is called in the chat; None is the name of its path, or "file".
            file_type: "opus", "mp4", "pdf", "doc", "xls", "ppt" or "stream", which is any other; None goes by how
                the name ends.
            duration: Milliseconds, of an audio or a video.
            timeout: Seconds for all of it; None is the client's own, and one more for each 100 kB.

        Raises:
            ApiError: It cannot be read, is empty or too large, or Feishu refused it.
        """
        of_path, data = await _content("file", file, _FILE_SIZE)
        name = of_path if name is None else name
        check_id("name", name, 'the name of a file, such as "report.pdf"')
        check_utf8("name", name, 'the name of a file, such as "report.pdf"')
        if file_type is None:
            file_type = _FILE_TYPES.get(os.path.splitext(name)[1].lower(), _ANY_TYPE)
        about = {
            "file_type": file_type,
            "file_name": name,
            "duration": None if duration is None else str(duration),
        }
        form = given(about) | {"file": (name, data)}
        return await self._upload("/open-apis/im/v1/files", form, "file_key", len(data), timeout)

    @overload
    async def download(
        self,
        message_id: str,
        key: str,
        to: None = None,
        *,
        kind: ResourceKind | None = None,
        max_size: int = DOWNLOAD_SIZE,
        timeout: float | None = None,
    ) -> bytes: ...

    @overload
    async def download(
        self,
        message_id: str,
        key: str,
        to: str | os.PathLike[str],
        *,
        kind: ResourceKind | None = None,
        max_size: int = DOWNLOAD_SIZE,
        timeout: float | None = None,
    ) -> Path: ...

    async def download(
        self,
        message_id: str,
        key: str,
        to: str | os.PathLike[str] | None = None,
        *,
        kind: ResourceKind | None = None,
        max_size: int = DOWNLOAD_SIZE,
        timeout: float | None = None,
    ) -> bytes | Path:
        """Download an image or a file of a message: its bytes, or where it is once it was written `to` a path.

        Feishu gives neither stickers, nor what is in forwarded messages or in cards, nor more than 100 MB.

        Args:
            message_id: The message that it is in.
            key: Its `image_key` or `file_key`, such as `event.resources[0].key`.
            to: A path: it is written beside it, and put in its place once it is whole, over what was there. If it
                fails, or is cancelled, nothing is left.
            kind: What it is; None goes by the key.
            max_size: Bytes that it may have.
            timeout: Seconds for all of it; None is the client's own, and one more for each 100 kB that have come.

        Raises:
            ApiError: It could not be had, is too large, did not come whole, or cannot be written.
        """
        if to is not None:
            _check_target(to)
        async with self.open_download(
            message_id, key, kind=kind, max_size=max_size, timeout=timeout
        ) as parts:
            return b"".join([part async for part in parts]) if to is None else await save_parts(parts, to)

    def open_download(
        self,
        message_id: str,
        key: str,
        *,
        kind: ResourceKind | None = None,
        max_size: int = DOWNLOAD_SIZE,
        timeout: float | None = None,
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Download part by part: `async with api.open_download(message_id, key) as parts`, an iterator of bytes.

        The arguments are those of `download`, and what is said of iterating is said at `stream`.
        """
        message = message_in_path(message_id)
        resource = in_path("key", key, "an image_key or a file_key of the message")
        if kind == "sticker":
            raise ApiError(f"key: {key} is a sticker's, which Feishu lets nobody download")
        if kind is None:
            kind = "image" if key.startswith("img_") else "file"
        return self.stream(
            "GET",
            f"/open-apis/im/v1/messages/{message}/resources/{resource}",
            params={"type": "image" if kind == "image" else "file"},
            max_size=max_size,
            timeout=timeout,
        )

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        max_size: int = DOWNLOAD_SIZE,
        timeout: float | None = None,
    ) -> AsyncGenerator[AsyncIterator[bytes], None]:
        """Make any call whose answer is a file: `async with api.stream("GET", path) as parts`, an iterator of bytes.

        Its beginning is tried again as `request` does; one that breaks off is an `ApiError`. Leaving the block before
        the end closes the connection.

        Args:
            method: HTTP's.
            path: What follows the domain, beginning with a slash.
            params: The query; those that are None are left out.
            json: What is sent as JSON.
            max_size: Bytes that the file may have; with more, iterating raises `ApiError`.
            timeout: Seconds for all that is waited for; what the block does between two parts does not count. None is
                the client's own, and one more for each 100 kB that have come.

        Raises:
            ApiError: As with `request`; or the answer is no file, too large, too slow, or not whole.
        """
        check_size("max_size", max_size)
        call = await self._prepared(method, path, params=params, json=json)
        within, per_byte = (self._timeout, 1 / _LEAST_RATE) if timeout is None else (timeout, 0.0)
        began = trio.current_time()
        async with AsyncExitStack() as stack:

            async def begin(token: str, patience: float) -> Answer:
                return await self._begin(call, call.with_token(token), patience, stack)

            answer = await self._perform(call, within, begin)
            left = within - (trio.current_time() - began)
            yield Download(call.name, answer, self._failures, max_size=max_size, left=left, per_byte=per_byte)

    async def save(
        self,
        path: str,
        to: str | os.PathLike[str],
        *,
        params: Mapping[str, Any] | None = None,
        max_size: int = DOWNLOAD_SIZE,
        timeout: float | None = None,
    ) -> Path:
        """Write the file that a GET of any path gives `to` a path here. Where it is.

        It is written as `download` does it; the other arguments are those of `stream`.

        Raises:
            ApiError: As with `stream`; or it cannot be written.
        """
        _check_target(to)
        async with self.stream("GET", path, params=params, max_size=max_size, timeout=timeout) as parts:
            return await save_parts(parts, to)

    async def _begin(
        self, call: Call, options: Mapping[str, Any], patience: float, stack: AsyncExitStack
    ) -> Answer:
        """The answer to a call whose body is a file, left open on the stack."""
        async with AsyncExitStack() as opening:
            with self._failures(call.name), trio.fail_after(patience):
                url = self._domain + call.path
                answer = await opening.enter_async_context(
                    open_answer(self._http, call.method, url, timeout=None, **options)
                )
                response = answer.response
                if response.is_success and not _is_only_json(response.headers):
                    await stack.enter_async_context(opening.pop_all())
                    return answer
                content = await answer.read(_REFUSAL_SIZE)
        self._refusals.success(call.name, response.status_code, response.headers, content)
        raise ApiError(
            f"{call.name}: answered with JSON, where a file was wanted; make the call with request()"
        )

    async def _upload(self, path: str, form: Form, key: str, size: int, timeout: float | None) -> str:
        call = await self._prepared("POST", path, files=form)
        within = self._timeout + size / _LEAST_RATE if timeout is None else timeout
        return text_in(await self._body(call, within), call.name, key)


def _is_only_json(headers: Mapping[str, str]) -> bool:
    """Whether an answer is a body of Feishu's own: a file that is JSON has a name."""
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return kind == "application/json" and "Content-Disposition" not in headers


async def _content(name: str, given: object, most: int) -> tuple[str, bytes]:
    """The name and the bytes of what is to be uploaded."""
    match given:
        case bytes() | bytearray() | memoryview():
            file, data = name, bytes(given)
        case str() | os.PathLike() if given:
            file, data = os.path.basename(given), await read_file(name, given, most)
        case _:
            raise refused(name, given, "bytes, or the path of a file")
    if not data or len(data) > most:
        raise ApiError(f"{name}: it has {len(data)} bytes; Feishu takes 1 to {most}")
    return file, data


def _check_target(to: object) -> None:
    where = os.fspath(to) if isinstance(to, os.PathLike) else to
    if not isinstance(where, str) or not where:
        raise refused("to", to, "the path of a file")
