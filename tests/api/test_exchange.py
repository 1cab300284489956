"""One exchange: what is read, what is not, and that nothing of it stays behind."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import httpx
import pytest
import trio

from feishu_trio.api.exchange import TooLarge, open_answer, read_whole

from .server import Reply, open_real_api


@pytest.fixture(autouse=True)
def no_collection() -> Iterator[None]:
    """What is closed only when the garbage is collected was left open."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def test_an_answer_is_read_whole_without_the_headers_of_its_way() -> None:
    async with open_real_api() as scene:
        scene.server.on("POST /a", Reply(b"body", 201, {"X-Log": "x", "Content-Encoding": "identity"}))
        response = await read_whole(
            scene.http, "POST", f"{scene.domain}/a", limit=4, headers={"X-Mine": "1"}, content=b"asked"
        )
        assert (response.status_code, response.content, response.headers["X-Log"]) == (201, b"body", "x")
        assert "Content-Encoding" not in response.headers
        (request,) = scene.server.asked("POST /a")
        assert (request.headers["x-mine"], request.headers["accept-encoding"]) == ("1", "identity")
        assert request.body == b"asked"


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(bytes(50_000_000)), "it has more than 10000000 bytes"),
        (Reply(bytes(50_000_000), headers={"Content-Encoding": "GZIP"}), "it is compressed"),
    ],
)
async def test_an_answer_that_is_too_large_or_packed_is_not_read(reply: Reply, words: str) -> None:
    async with open_real_api() as scene:
        scene.server.on("GET /a", reply)
        with pytest.raises(TooLarge, match=words):
            await read_whole(scene.http, "GET", f"{scene.domain}/a", limit=10_000_000, headers={})
        await scene.server.wait_left()


async def test_a_body_that_is_left_closes_its_connection() -> None:
    async with open_real_api() as scene:
        scene.server.on("GET /a", Reply(bytes(50_000_000)))
        async with open_answer(scene.http, "GET", f"{scene.domain}/a", headers={}) as answer:
            assert len(await anext(answer)) > 0
        await scene.server.wait_left()


async def test_a_deadline_in_the_middle_of_a_body_closes_its_connection() -> None:
    async with open_real_api() as scene:
        scene.server.on("GET /a", Reply(bytes(500_000), sent=400_000, then="hold"))
        with trio.move_on_after(0.3) as scope:
            await read_whole(scene.http, "GET", f"{scene.domain}/a", limit=10_000_000, headers={})
        assert scope.cancelled_caught
        await scene.server.wait_left()


async def test_an_error_keeps_nothing_of_what_was_sent() -> None:
    async with open_real_api() as scene:
        scene.server.on("POST /a", Reply(bytes(500_000), sent=100))
        with pytest.raises(httpx.RemoteProtocolError) as caught:
            await read_whole(
                scene.http,
                "POST",
                f"{scene.domain}/a",
                limit=10_000_000,
                headers={"X-Token": "S3cr3t"},
                content=b"S3cr3t",
            )
        request = caught.value.request
        assert "x-token" not in request.headers
        assert request.content == b""
