"""Pictures and files, up and down."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from feishu_trio.testing import _media
from feishu_trio.testing._media import DOT

from .calls import MESSAGES, Caller, open_caller

IMAGES = "/open-apis/im/v1/images"
FILES = "/open-apis/im/v1/files"


async def upload_image(call: Caller, data: bytes = DOT) -> dict[str, Any]:
    return await call("POST", IMAGES, data={"image_type": "message"}, files={"image": ("a.png", data)})


async def upload_file(
    call: Caller, data: bytes = b"abc", name: str = "a.txt", **fields: str
) -> dict[str, Any]:
    fields = {"file_type": "stream", "file_name": name, **fields}
    return await call("POST", FILES, data=fields, files={"file": (name, data)})


async def test_a_picture_goes_up_into_a_message_and_down_again() -> None:
    async with open_caller() as call:
        key = (await upload_image(call))["data"]["image_key"]
        message_id = await call.sent({"image_key": key}, "image")
        down = await call.response(
            "GET", f"{MESSAGES}/{message_id}/resources/{key}", params={"type": "image"}
        )
        assert (down.content, down.headers["content-type"]) == (DOT, "image/png")
        assert (await call.response("GET", f"{IMAGES}/{key}")).content == DOT
        kept = call.gateway.images[key]
        assert (kept.data, kept.owner, call.gateway.files) == (DOT, call.gateway.bot, {})


async def test_a_file_keeps_its_name() -> None:
    async with open_caller() as call:
        data = b"\r\n--x\r\n\0\xff" * 1000  # what looks like the end of a part is none
        key = (await upload_file(call, data, '报告 "1".pdf', file_type="pdf"))["data"]["file_key"]
        message_id = await call.sent({"file_key": key}, "file")
        down = await call.response("GET", f"{MESSAGES}/{message_id}/resources/{key}", params={"type": "file"})
        assert (down.content, down.headers["content-type"]) == (data, "application/pdf")
        assert "filename*=UTF-8''%E6%8A%A5%E5%91%8A%20%221%22.pdf" in down.headers["content-disposition"]
        assert (await call.response("GET", f"{FILES}/{key}")).content == data
        assert call.gateway.files[key].name == '报告 "1".pdf'


@pytest.mark.parametrize(
    ("path", "fields", "data", "code"),
    [
        (IMAGES, {"image_type": "message"}, b"no picture", 234011),
        (IMAGES, {"image_type": "message"}, b"", 234010),
        (IMAGES, {"image_type": "message"}, DOT + b"\0" * (10 << 20), 234006),
        (IMAGES, {"image_type": "photo"}, DOT, 234001),
        (IMAGES, {}, DOT, 234001),
        (FILES, {"file_type": "stream", "file_name": "a"}, b"", 234010),
        (FILES, {"file_type": "stream", "file_name": "a"}, b"\0" * ((30 << 20) + 1), 234006),
        (FILES, {"file_type": "stream"}, b"a", 234001),
        (FILES, {"file_type": "txt", "file_name": "a"}, b"a", 234001),
        (FILES, {"file_type": "mp4", "file_name": "a", "duration": "1.5 s"}, b"a", 234001),
    ],
)
async def test_uploads_that_are_refused(path: str, fields: dict[str, str], data: bytes, code: int) -> None:
    async with open_caller() as call:
        name = "image" if path == IMAGES else "file"
        assert await call.code("POST", path, data=fields, files={name: ("a", data)}) == code
        assert not call.gateway.images
        assert not call.gateway.files


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b'{"image_type": "message"}', "application/json"),
        (b"--b\r\n", "multipart/form-data; boundary=b"),
        (b"--b\r\n\r\n\r\nx\r\n--b--\r\n", "multipart/form-data; boundary=b"),
        (b"", "multipart/form-data"),
    ],
)
async def test_what_is_no_form(content: bytes, content_type: str) -> None:
    async with open_caller() as call:
        headers = {"Content-Type": content_type}
        assert await call.code("POST", IMAGES, content=content, headers=headers) == 234001


async def test_a_part_without_a_file_name_is_no_file() -> None:
    async with open_caller() as call:
        form = {"image_type": (None, b"message"), "image": (None, DOT)}
        assert await call.code("POST", IMAGES, files=form) == 234001


async def test_a_name_that_no_header_can_hold_as_it_is() -> None:
    async with open_caller() as call:
        key = call.gateway.add_file(b"abc", 'a\r\n"\\ü.txt')
        headers = dict(call.http.headers)
        async with httpx.AsyncClient(base_url=call.gateway.domain, headers=headers, trust_env=False) as http:
            response = await http.get(f"{FILES}/{key}")
        assert response.content == b"abc"
        assert response.headers["content-disposition"] == (
            "attachment; filename=\"a_____.txt\"; filename*=UTF-8''a%0D%0A%22%5C%C3%BC.txt"
        )


async def test_downloads_that_are_refused() -> None:
    async with open_caller() as call:
        gateway, tom = call.gateway, call.gateway.user("Tom")
        mine, theirs = gateway.add_image(DOT), gateway.add_image(DOT, owner=tom)
        file = gateway.add_file(b"a", "a")
        said = (await tom.sends_image()).message_id
        recalled = await tom.sends_image()
        await tom.recalls(recalled)
        card = await call.sent({"elements": [{"tag": "img", "img_key": mine}]}, "interactive")
        post = await tom.posts({"content": [[{"tag": "img", "image_key": "img_lost"}]]})
        key = next(key for key, each in gateway.images.items() if each.owner is tom and key != theirs)
        image = {"type": "image"}
        for path, params, code in [
            (f"{MESSAGES}/{said}/resources/{mine}", image, 234003),
            (f"{MESSAGES}/{said}/resources/{key}", {"type": "file"}, 234003),
            (f"{MESSAGES}/{said}/resources/{key}", {"type": "video"}, 234001),
            (f"{MESSAGES}/{said}/resources/{key}", {}, 234001),
            (f"{MESSAGES}/om_never/resources/{key}", image, 99992354),
            (f"{MESSAGES}/{recalled.message_id}/resources/{key}", image, 230110),
            (f"{MESSAGES}/{card}/resources/{mine}", image, 234043),
            (f"{MESSAGES}/{post.message_id}/resources/img_lost", image, 234003),
            (f"{IMAGES}/{theirs}", {}, 234008),
            (f"{IMAGES}/{file}", {}, 234001),
            (f"{FILES}/{mine}", {}, 234001),
            (f"{FILES}/file_never", {}, 234001),
        ]:
            assert await call.code("GET", path, params=params) == code, (path, params)


async def test_what_users_send_is_downloaded() -> None:
    async with open_caller() as call:
        tom = call.gateway.user("Tom")
        said = await tom.sends_file(b"abc", "a.txt")
        (item,) = (await call("GET", f"{MESSAGES}/{said.message_id}"))["data"]["items"]
        (key,) = call.gateway.files
        assert item["body"]["content"] == f'{{"file_key":"{key}","file_name":"a.txt"}}'
        path = f"{MESSAGES}/{said.message_id}/resources/{key}"
        assert (await call.response("GET", path, params={"type": "file"})).content == b"abc"


async def test_large_bodies_are_not_kept_with_the_requests() -> None:
    async with open_caller() as call:
        await upload_file(call, b"a" * (2 << 20))
        await upload_file(call, b"a")
        large, small = (request.body for request in call.gateway.requests if request.path == FILES)
        assert (large, b"a.txt" in small) == (b"", True)


async def test_the_oldest_files_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_media, "KEPT_BYTES", 10)
    async with open_caller() as call:
        for number in range(4):
            call.gateway.add_file(b"1234", "a", key=f"file_{number}")
        assert list(call.gateway.files) == ["file_2", "file_3"]
        call.gateway.add_file(b"12", "a", key="file_3")  # in place of the old one, which counts no more
        call.gateway.add_file(b"1234", "a", key="file_4")
        assert list(call.gateway.files) == ["file_2", "file_3", "file_4"]
