"""What is seen of a request from outside, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
import trio
from trio.testing import MockClock

from feishu_trio import ApiError, RateLimited
from feishu_trio.api.watching import Request, Unanswered, watched, watcher

LOST = ApiError("no answer came in time")


@pytest.mark.parametrize(
    ("ends", "code", "error"),
    [
        (None, "0", None),
        (Unanswered(LOST), "unanswered", LOST),
        (ApiError("too large"), "failed", ApiError),
        (RateLimited("slowly", code=99991400, status=429), "99991400", RateLimited),
        (ValueError(), "failed", None),
    ],
)
async def test_what_came_of_it(
    autojump_clock: MockClock, ends: Exception | None, code: str, error: object
) -> None:
    ended = list[tuple[str, float]]()
    seen = list[Request]()

    @contextmanager
    def watch(request: Request) -> Iterator[None]:
        seen.append(request)
        yield

    token = watcher.set(watch)
    with (
        suppress(Unanswered, ApiError, ValueError),
        watched("GET", "https://x.test", "/a/b?c=1", 2, lambda *how: ended.append(how)),
    ):
        await trio.sleep(3)
        if ends is not None:
            raise ends
    watcher.reset(token)
    assert ended == [(code, 3)]
    (request,) = seen
    assert (request.method, request.path, request.number, request.code) == ("GET", "/a/b", 2, code)
    assert request.error is error or type(request.error) is error
    assert "?" not in repr(request)


async def test_one_that_is_cancelled_is_counted_too(autojump_clock: MockClock) -> None:
    ended = list[tuple[str, float]]()
    with (
        trio.move_on_after(1),
        watched("GET", "https://x.test", "/a", 0, lambda *how: ended.append(how)),
    ):
        await trio.sleep_forever()
    assert ended == [("cancelled", 1)]
