"""One request and its answer: nothing of either is left behind, whatever ends it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import trio

if TYPE_CHECKING:
    import httpx

__all__ = ["Answer", "TooLarge", "open_answer", "read_whole"]

# Seconds that the closing of a connection may take.
_CLOSING: Final = 5.0

# Headers that describe a body on its way, and not the one that was read.
_OF_THE_BODY: Final = ("content-encoding", "transfer-encoding", "content-length")


class TooLarge(Exception):
    """An answer is larger than it may be, or packed, so that it might become so."""


class Answer:
    """An answer whose body is still to come: iterate over it, once."""

    def __init__(self, response: httpx.Response, method: str, url: str) -> None:
        import httpx

        self.response = response
        assert isinstance(response.stream, httpx.AsyncByteStream)
        self._parts = aiter(response.stream)  # as it comes: nothing is unpacked
        self._method = method
        self._url = url

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        with _without_secrets(self._method, self._url):
            return await anext(self._parts)

    async def read(self, limit: int) -> bytes:
        """The whole body, of `limit` bytes at most.

        Raises:
            TooLarge: It has more.
            httpx.HTTPError: It did not come whole.
        """
        body = bytearray()
        async for part in self:
            body += part
            if len(body) > limit:
                raise TooLarge(f"it has more than {limit} bytes")
        return bytes(body)

    async def unwind(self) -> None:
        """Finish the generators under a body that is half read; else they would be left for the garbage collector."""
        import httpx

        with trio.CancelScope(shield=True) as unwinding, suppress(httpx.HTTPError):
            unwinding.cancel()  # the next read from the network ends the innermost of them, and so all
            async for _ in self._parts:
                pass


@asynccontextmanager
async def open_answer(
    http: httpx.AsyncClient, method: str, url: str, *, headers: Mapping[str, str], **options: Any
) -> AsyncGenerator[Answer, None]:
    """Make a request, and read the beginning of its answer. The caller sets the deadline.

    The answer is asked for as it is: a few packed bytes can unpack to gigabytes, and meanwhile nothing else runs.
    A block that is left before the body was read closes the connection.

    Raises:
        TooLarge: It is packed nevertheless.
        httpx.HTTPError: The exchange failed.
    """
    with _without_secrets(method, url):
        request = http.build_request(
            method, url, headers={**headers, "Accept-Encoding": "identity"}, **options
        )
        response = await http.send(request, stream=True, follow_redirects=False)
    answer = Answer(response, method, url)
    try:
        packed = response.headers.get("Content-Encoding", "").strip().lower()
        if packed not in ("", "identity"):
            raise TooLarge("it is compressed, which was not asked for")
        yield answer
    finally:
        await answer.unwind()
        with trio.move_on_after(_CLOSING, shield=True):
            await response.aclose()


async def read_whole(
    http: httpx.AsyncClient, method: str, url: str, *, limit: int, headers: Mapping[str, str], **options: Any
) -> httpx.Response:
    """Make a request, and read the answer with its body, of `limit` bytes at most. The caller sets the deadline.

    Raises:
        TooLarge: It has more, or is packed.
        httpx.HTTPError: The exchange failed.
    """
    import httpx

    async with open_answer(http, method, url, headers=headers, **options) as answer:
        body = await answer.read(limit)
    response = answer.response
    kept = [(name, value) for name, value in response.headers.multi_items() if name not in _OF_THE_BODY]
    return httpx.Response(response.status_code, headers=kept, content=body)


@contextmanager
def _without_secrets(method: str, url: str) -> Iterator[None]:
    """Errors keep the request they are of: leave that without its headers and its body."""
    import httpx

    try:
        yield
    except httpx.RequestError as error:
        error.request = httpx.Request(method, url)
        raise
