"""Files: up and down, whole or not at all."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from feishu_trio.errors import ApiError, MessageGone
from feishu_trio.testing._http import Request

from .server import CUT, HANG, Reply, Scene, limited, open_api, open_real_api
from .test_client import fields

IMAGES = "POST /open-apis/im/v1/images"
FILES = "POST /open-apis/im/v1/files"
RESOURCE = "GET /open-apis/im/v1/messages/om_1/resources/file_1"
MIB = 1 << 20


@pytest.fixture
def no_collection() -> Iterator[None]:
    """What is closed only when the garbage is collected was left open."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def the_call(scene: Scene, name: str) -> Request:
    (request,) = scene.server.asked(name)
    return request


# --- up -------------------------------------------------------------------------------------------------------


async def test_an_image_is_uploaded_from_bytes_or_a_path(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    async with open_api() as scene:
        for image in (b"\x89PNG", bytearray(b"\x89PNG"), tmp_path / "a.png", str(tmp_path / "a.png")):
            scene.server.on(IMAGES, {"data": {"image_key": "img_1"}})
            assert await scene.api.upload_image(image) == "img_1"
        for request in scene.server.asked(IMAGES):
            assert fields(request) == {"image_type": (None, b"message"), "image": ("image", b"\x89PNG")}


@pytest.mark.parametrize(
    ("name", "file_type"),
    [
        ("a.opus", "opus"),
        ("a.MP4", "mp4"),
        ("报告.pdf", "pdf"),
        ("a.doc", "doc"),
        ("a.docx", "doc"),
        ("a.xlsx", "xls"),
        ("a.pptx", "ppt"),
        ("a.tar.gz", "stream"),
        ("pdf", "stream"),
    ],
)
async def test_a_file_is_of_the_type_that_its_name_tells(tmp_path: Path, name: str, file_type: str) -> None:
    (tmp_path / name).write_bytes(b"data")
    async with open_api() as scene:
        scene.server.on(FILES, {"data": {"file_key": "file_1"}})
        assert await scene.api.upload_file(tmp_path / name) == "file_1"
        form = fields(the_call(scene, FILES))
        assert form["file_type"] == (None, file_type.encode())
        assert form["file_name"] == (None, name.encode())
        assert form["file"][1] == b"data"
        assert "duration" not in form


async def test_a_file_has_the_name_type_and_duration_that_are_given() -> None:
    async with open_api() as scene:
        scene.server.on(FILES, {"data": {"file_key": "file_1"}})
        await scene.api.upload_file(b"data", name="a.mp4", file_type="stream", duration=3000)
        form = fields(the_call(scene, FILES))
        assert (form["file_type"], form["file_name"]) == ((None, b"stream"), (None, b"a.mp4"))
        assert form["duration"] == (None, b"3000")


@pytest.mark.parametrize(
    ("upload", "words"),
    [
        (lambda api: api.upload_image(b""), "image: it has 0 bytes; Feishu takes 1 to 10485760"),
        (lambda api: api.upload_image(bytes(10 * MIB + 1)), "image: it has 10485761 bytes; Feishu takes"),
        (lambda api: api.upload_file(bytes(30 * MIB + 1)), "file: it has 31457281 bytes; Feishu takes"),
        (lambda api: api.upload_image("not/there.png"), "image: not/there.png cannot be read: No such file"),
        (lambda api: api.upload_file(Path("/not/there")), "file: /not/there cannot be read: No such file"),
        (lambda api: api.upload_file("/"), "file: / cannot be read"),
        (lambda api: api.upload_file("a\0b"), "cannot be read: embedded null byte"),
        (lambda api: api.upload_image(None), "image: None is not allowed; it must be bytes, or the path"),
        (lambda api: api.upload_image(""), "image: an empty string is not allowed"),
        (lambda api: api.upload_file(7), "file: a value of type int"),
        (lambda api: api.upload_file(b"x", name=""), "name: an empty string is not allowed"),
        (lambda api: api.upload_file(b"x", name="\udcff.pdf"), "name: .* without half surrogate pairs"),
    ],
)
async def test_what_cannot_be_uploaded_is_an_api_error(upload: Callable[[Any], Any], words: str) -> None:
    async with open_api() as scene:
        with pytest.raises(ApiError, match=words):
            await upload(scene.api)
        assert not scene.server.requests


async def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", 1 << 40)  # a terabyte, without a block of it on the disk
    async with open_api() as scene:
        with pytest.raises(ApiError, match=r"large has 1099511627776 bytes; Feishu takes 31457280 at most"):
            await scene.api.upload_file(tmp_path / "large")


async def test_an_upload_without_a_key_is_an_api_error() -> None:
    async with open_api() as scene:
        scene.server.on(IMAGES, {"data": {}})
        with pytest.raises(ApiError, match="POST /open-apis/im/v1/images: answered without image_key"):
            await scene.api.upload_image(b"x")


@pytest.mark.parametrize(("timeout", "whole"), [(None, 30), (3.0, 3)])
async def test_an_upload_has_time_for_its_size(
    autojump_clock: MockClock, timeout: float | None, whole: float
) -> None:
    async with open_api() as scene:
        scene.server.on(IMAGES, HANG)
        with pytest.raises(ApiError, match=f"no answer within {whole} s"):
            await scene.api.upload_image(bytes(2_000_000), timeout=timeout)
        assert trio.current_time() == pytest.approx(whole)


@pytest.mark.usefixtures("no_collection")
async def test_a_cancelled_upload_leaves_nothing() -> None:
    async def deaf(stream: trio.SocketStream) -> None:
        async with stream:
            await trio.sleep_forever()

    async with open_real_api() as scene, trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, deaf, [listener])
        scene.server.on(FILES, {})
        await scene.api.request("POST", "/open-apis/im/v1/files")  # for the token
        scene.api._domain = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        with trio.move_on_after(0.2) as scope:
            await scene.api.upload_file(bytes(20 * MIB))
        assert scope.cancelled_caught
        nursery.cancel_scope.cancel()


# --- down -----------------------------------------------------------------------------------------------------


def left(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


@pytest.mark.parametrize(
    ("key", "kind", "asked_for"),
    [
        ("img_1", None, "image"),
        ("file_1", None, "file"),
        ("img_1", "file", "file"),
        ("file_1", "image", "image"),
        ("file_1", "audio", "file"),
        ("file_1", "video", "file"),
    ],
)
async def test_what_is_asked_for_goes_by_the_key_or_the_kind(key: str, kind: Any, asked_for: str) -> None:
    async with open_api() as scene:
        name = f"GET /open-apis/im/v1/messages/om_1/resources/{key}"
        scene.server.on(name, b"data")
        assert await scene.api.download("om_1", key, kind=kind) == b"data"
        assert the_call(scene, name).query == {"type": asked_for}


async def test_a_download_is_written_where_it_is_wanted(tmp_path: Path) -> None:
    data = os.urandom(3 * MIB)
    async with open_real_api() as scene:
        scene.server.on(RESOURCE, data)
        (tmp_path / "old").write_bytes(b"what was there before")
        for name in ("new", "old", "text"):
            to = tmp_path / name
            assert await scene.api.download("om_1", "file_1", str(to) if name == "text" else to) == to
            assert to.read_bytes() == data
        assert left(tmp_path) == ["new", "old", "text"]


async def test_an_empty_file_is_one(tmp_path: Path) -> None:
    async with open_api() as scene:
        scene.server.on(RESOURCE, b"")
        assert await scene.api.download("om_1", "file_1") == b""
        await scene.api.download("om_1", "file_1", tmp_path / "empty")
        assert (tmp_path / "empty").read_bytes() == b""


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(b"x" * 100_000, sent=70_000), "GET .*RemoteProtocolError"),
        (Reply(b"x" * 2000, headers={"Content-Length": "3000"}, sent=2000), "RemoteProtocolError"),
        (Reply(b"x" * 100_001), "the file has more than 100000 bytes; give a larger max_size"),
        (Reply(b"x", headers={"Content-Encoding": "gzip"}), "it is compressed"),
        (Reply({"code": 234043, "msg": "Unsupported message type"}, 400), "Unsupported message type"),
        (Reply({"code": 234043, "msg": "Unsupported message type"}, 200), "Unsupported message type"),
        (Reply({"data": 1}, 200), "answered with JSON, where a file was wanted"),
        (Reply(b"<html>", 404), "HTTP status 404"),
        (Reply(b"", 302, {"Location": "http://evil.test/"}), "HTTP status 302"),
    ],
)
async def test_a_download_that_fails_leaves_what_was_there(
    autojump_clock: MockClock, tmp_path: Path, reply: Reply, words: str
) -> None:
    (tmp_path / "a").write_bytes(b"what was there before")
    async with open_api() as scene:
        scene.server.on(RESOURCE, reply)
        with pytest.raises(ApiError, match=words):
            await scene.api.download("om_1", "file_1", tmp_path / "a", max_size=100_000)
        with pytest.raises(ApiError, match=words):
            await scene.api.download("om_1", "file_1", max_size=100_000)
    assert left(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"what was there before"


async def test_a_file_that_says_it_is_too_large_is_not_waited_for(autojump_clock: MockClock) -> None:
    async with open_api() as scene:
        scene.server.on(RESOURCE, Reply(bytes(200), sent=0, then="hold"))
        with pytest.raises(ApiError, match="more than 100 bytes"):
            await scene.api.download("om_1", "file_1", max_size=100)
        assert trio.current_time() == 0


async def test_a_file_of_unknown_size_is_capped_too() -> None:
    async def endless(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some(1 << 16)
            await stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                await stream.send_all(b"10000\r\n" + bytes(1 << 16) + b"\r\n")

    with trio.fail_after(20):
        async with open_real_api() as scene, trio.open_nursery() as nursery:
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(_ignoring_breaks, endless, listener)
            await scene.api._token.get()
            scene.api._domain = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
            with pytest.raises(ApiError, match="more than 1000000 bytes"):
                await scene.api.download("om_1", "file_1", max_size=1_000_000)
            nursery.cancel_scope.cancel()


async def _ignoring_breaks(serve: Callable[[trio.SocketStream], Any], listener: trio.SocketListener) -> None:
    async def handle(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            await serve(stream)

    await trio.serve_listeners(handle, [listener])


async def test_a_json_file_is_a_file() -> None:
    async with open_api() as scene:
        headers = {"Content-Type": "application/json", "Content-Disposition": 'attachment; filename="a.json"'}
        scene.server.on(RESOURCE, Reply(b'{"code": 7}', headers=headers))
        assert await scene.api.download("om_1", "file_1") == b'{"code": 7}'


async def test_a_download_of_what_is_gone_says_so() -> None:
    async with open_api() as scene:
        scene.server.on(RESOURCE, Reply({"code": 231003, "msg": "The message is deleted"}, 400))
        with pytest.raises(MessageGone):
            await scene.api.download("om_1", "file_1")


@pytest.mark.parametrize(
    ("download", "words"),
    [
        (lambda api: api.download(None, "file_1"), "message_id: None is not allowed"),
        (lambda api: api.download("om_1", None), "key: None is not allowed; it must be an image_key or"),
        (lambda api: api.download("om_1", "file_1", kind="sticker"), "file_1 is a sticker's"),
        (lambda api: api.download("om_1", "file_1", 5), "to: a value of type int"),
        (lambda api: api.download("om_1", "file_1", ""), "to: an empty string"),
        (lambda api: api.download("om_1", "file_1", max_size=0), "max_size: 0 is not allowed"),
        (lambda api: api.download("om_1", "file_1", timeout=0), "timeout: 0 is not allowed"),
    ],
)
async def test_what_cannot_be_downloaded_is_an_api_error(download: Callable[[Any], Any], words: str) -> None:
    async with open_api() as scene:
        with pytest.raises(ApiError, match=words):
            await download(scene.api)
        assert not scene.server.requests


@pytest.mark.parametrize(
    ("to", "words"), [("not/there/a", "No such file"), ("directory", "[Dd]irectory"), ("a\0b", "null")]
)
async def test_where_nothing_can_be_written_is_an_api_error(tmp_path: Path, to: str, words: str) -> None:
    (tmp_path / "directory").mkdir()
    async with open_real_api() as scene:
        scene.server.on(RESOURCE, b"data")
        with pytest.raises(ApiError, match=f"to: .* cannot be written: .*{words}"):
            await scene.api.download("om_1", "file_1", tmp_path / to)
    assert left(tmp_path) == ["directory"]


@pytest.mark.usefixtures("no_collection")
async def test_a_cancelled_download_leaves_nothing(tmp_path: Path) -> None:
    async with open_real_api() as scene:
        scene.server.on(RESOURCE, Reply(b"x" * 200_000, sent=100_000, then="hold"))
        with trio.move_on_after(0.3) as scope:
            await scene.api.download("om_1", "file_1", tmp_path / "a")
        assert scope.cancelled_caught
        await scene.server.wait_left()
    assert left(tmp_path) == []


async def test_the_beginning_of_a_download_is_tried_again(autojump_clock: MockClock) -> None:
    async with open_api() as scene:
        scene.server.on(RESOURCE, CUT, Reply({}, 500), limited(1), Reply({"code": 99991663}, 400), b"data")
        with pytest.raises(ApiError):
            await scene.api.download("om_1", "file_1")
        assert len(scene.server.asked(RESOURCE)) == 4
        assert await scene.api.download("om_1", "file_1") == b"data"


# --- part by part ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize("how", ["break", "raise", "cancel", "unread", "all"])
async def test_a_stream_may_be_left_at_any_time(how: str) -> None:
    async with open_real_api() as scene:
        size = 100_000 if how == "all" else 50_000_000
        scene.server.on("GET /a", Reply(bytes(size)))
        with trio.CancelScope() as scope:
            try:
                async with scene.api.stream("GET", "/a") as parts:
                    if how != "unread":
                        async for _ in parts:
                            if how == "break":
                                break
                            if how == "raise":
                                raise LookupError
                            if how == "cancel":
                                scope.cancel()
                                await trio.lowlevel.checkpoint()
            except LookupError:
                assert how == "raise"
        assert scope.cancelled_caught == (how == "cancel")
        if how == "all":
            assert scene.server.there == 1, "it is not kept for the next call"
        else:
            await scene.server.wait_left()
        scene.server.on("GET /b", {})
        await scene.api.request("GET", "/b")


async def test_the_error_of_a_block_is_left_alone() -> None:
    async with open_api() as scene:
        scene.server.on("GET /a", b"data")
        mine = ApiError("mine")
        with pytest.raises(ApiError) as caught:
            async with scene.api.stream("GET", "/a"):
                raise mine
        assert caught.value is mine


async def test_a_stream_that_stops_is_told_when_its_time_is_over(autojump_clock: MockClock) -> None:
    async with open_api() as scene:
        scene.server.on("GET /a", Reply(bytes(300_000), sent=200_000, then="hold"))
        async with scene.api.stream("GET", "/a") as parts:
            with pytest.raises(ApiError, match="GET /a: no answer came in time"):
                [part async for part in parts]
        assert trio.current_time() == pytest.approx(12)  # 10 s, and one for each 100 kB


@pytest.mark.parametrize(
    ("pace", "timeout", "comes"),
    [
        ((50_000, 0.4), None, True),
        ((1000, 1.0), None, False),
        ((50_000, 0.4), 7.0, False),
        ((50_000, 0.4), 9.0, True),
    ],
)
async def test_a_download_must_come_at_a_hundred_kilobytes_a_second(
    autojump_clock: MockClock, pace: tuple[int, float], timeout: float | None, comes: bool
) -> None:
    async with open_api() as scene:
        scene.server.on("GET /a", Reply(bytes(1_000_000), pace=pace))  # 8 s at the usual pace
        came = False
        with suppress(ApiError):
            async with scene.api.stream("GET", "/a", timeout=timeout) as parts:
                came = sum([len(part) async for part in parts]) == 1_000_000
        assert came == comes


async def test_what_the_block_does_takes_nothing_of_the_time(autojump_clock: MockClock) -> None:
    async with open_api() as scene:
        scene.server.on("GET /a", bytes(200_000))
        async with scene.api.stream("GET", "/a", timeout=5) as parts:
            size = 0
            async for part in parts:
                await trio.sleep(100)
                size += len(part)
        assert size == 200_000


async def test_any_call_that_gives_a_file_can_be_saved(tmp_path: Path) -> None:
    async with open_real_api() as scene:
        scene.server.on("GET /media", b"data")
        assert await scene.api.save("/media", tmp_path / "a", params={"extra": "1"}) == tmp_path / "a"
        assert (tmp_path / "a").read_bytes() == b"data"
        assert the_call(scene, "GET /media").query == {"extra": "1"}
        with pytest.raises(ApiError, match="to: None is not allowed"):
            await scene.api.save("/media", None)  # type: ignore[arg-type]
