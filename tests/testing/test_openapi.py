from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from feishu_trio.testing import Gateway, open_gateway
from feishu_trio.testing._push import read_answer_body

from .calls import open_caller
from .client import connect, post

TOKEN = "/open-apis/auth/v3/tenant_access_token/internal"
SEND = "/open-apis/im/v1/messages"
REPLY = f"{SEND}/om_1/reply"
CARD = "/open-apis/interactive/v1/card/update"
TEXT = {"msg_type": "text", "content": '{"text":"hi"}'}


async def token_of(gateway: Gateway) -> str:
    response = await post(gateway, TOKEN, {"app_id": gateway.app_id, "app_secret": gateway.app_secret})
    return str(response.json()["tenant_access_token"])


async def call(gateway: Gateway, path: str, body: object, token: str | None = None) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {token or await token_of(gateway)}"}
    response = await post(gateway, path, body, headers)
    assert response.headers["x-tt-logid"]
    answer: dict[str, Any] = response.json()
    assert response.status_code == (200 if answer["code"] == 0 else 404 if answer["code"] == 404 else 400)
    return answer


async def test_tokens(autojump_clock: MockClock) -> None:
    async with open_gateway(token_lifetime=100) as gateway:
        gateway.add_message(message_id="om_1")
        for body, code in [
            ({"app_id": gateway.app_id, "app_secret": gateway.app_secret}, 0),
            ({"app_id": gateway.app_id, "app_secret": "wrong"}, 10014),
            ({"app_id": "cli_other", "app_secret": gateway.app_secret}, 10003),
        ]:
            answer = (await post(gateway, TOKEN, body)).json()
            assert (answer["code"], answer.get("expire")) == (code, None if code else 100)
        token = await token_of(gateway)
        assert (await call(gateway, REPLY, TEXT, token))["code"] == 0
        await trio.sleep(100)
        assert (await call(gateway, REPLY, TEXT, token))["code"] == 99991663
        token = await token_of(gateway)
        gateway.expire_tokens()
        assert (await call(gateway, REPLY, TEXT, token))["code"] == 99991663
        assert (await call(gateway, REPLY, TEXT, "t-guess"))["code"] == 99991663
        assert (await post(gateway, REPLY, TEXT)).json()["code"] == 99991661
        assert len(gateway.messages) == 1


async def test_reply_and_send() -> None:
    async with open_gateway() as gateway:
        gateway.add_message(message_id="om_1")
        first = await call(gateway, REPLY, TEXT)
        await call(gateway, f"{SEND}?receive_id_type=chat_id", {"receive_id": "oc_1", **TEXT})
        reply, sent = gateway.messages
        assert (reply.kind, reply.to, reply.msg_type, reply.content) == (
            "reply",
            "om_1",
            "text",
            {"text": "hi"},
        )
        assert reply.message_id == first["data"]["message_id"]
        assert (sent.kind, sent.to, sent.receive_id_type) == ("send", "oc_1", "chat_id")
        assert await gateway.wait_message(2) is sent


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        (SEND, {"receive_id": "oc_1", **TEXT}, 99992402),
        (f"{SEND}?receive_id_type=room", {"receive_id": "oc_1", **TEXT}, 99992402),
        (f"{SEND}?receive_id_type=chat_id", TEXT, 99992402),
        (REPLY, {"msg_type": "text", "content": "hi"}, 230001),
        (REPLY, {"msg_type": "text", "content": {"text": "hi"}}, 230001),
        (REPLY, {"content": '{"text":"hi"}'}, 230001),
        (REPLY, {**TEXT, "uuid": "u" * 51}, 230001),
        (CARD, {"token": "c-1"}, 10002),
        (CARD, {"token": "c-1", "card": {}}, 10002),
        ("/open-apis/im/v1/chats", {}, 404),
    ],
)
async def test_wrong_calls(path: str, body: object, code: int) -> None:
    async with open_gateway() as gateway:
        gateway.add_message(message_id="om_1")
        assert (await call(gateway, path, body))["code"] == code
        assert not gateway.messages


async def test_a_uuid_is_sent_once_within_an_hour(autojump_clock: MockClock) -> None:
    async with open_gateway() as gateway:
        gateway.add_message(message_id="om_1")
        ids = []
        for wait in (0, 3599, 1):
            await trio.sleep(wait)
            ids.append((await call(gateway, REPLY, {**TEXT, "uuid": "u-1"}))["data"]["message_id"])
        assert ids[0] == ids[1] != ids[2]
        assert len(gateway.messages) == 2


async def test_a_card_is_updated_after_the_answer_twice_within_half_an_hour(
    autojump_clock: MockClock,
) -> None:
    async with open_gateway() as gateway, connect(gateway) as client:
        await gateway.push("card.action.trigger", {"token": "c-1"})
        frame = await client.receive()
        update = {"token": "c-1", "card": {"elements": []}}
        assert (await call(gateway, CARD, update))["code"] == 10002
        codes = []
        for _ in range(3):
            await client.answer(frame)  # a second answer opens nothing anew
            await client.ping()
            await client.receive()
            codes.append((await call(gateway, CARD, update))["code"])
        assert codes == [0, 0, 10002]
        assert [(m.kind, m.to, m.content) for m in gateway.messages] == [
            ("card", "c-1", {"elements": []})
        ] * 2

        push = await gateway.push("card.action.trigger", {"token": "c-2"})
        await client.answer(await client.receive())
        await push.settled()
        await trio.sleep(1801)
        answer = await call(gateway, CARD, {"token": "c-2", "card": {}})
        assert "30 minutes" in answer["msg"]


async def test_waiting_for_a_message() -> None:
    async with open_gateway() as gateway, trio.open_nursery() as nursery:
        gateway.add_message(message_id="om_1")
        nursery.start_soon(call, gateway, REPLY, TEXT)
        with trio.fail_after(5):
            assert (await gateway.wait_message()).kind == "reply"


_NAMES = st.sampled_from(
    [
        "tag",
        "content",
        "text",
        "elements",
        "body",
        "header",
        "title",
        "schema",
        "config",
        "data",
        "type",
        "card_id",
        "card",
        "sequence",
        "uuid",
        "msg_type",
        "receive_id",
        "settings",
        "value",
        "behaviors",
        "options",
        "columns",
        "rows",
        "name",
        "element_id",
        "img_key",
        "image_key",
        "zh_cn",
        "reaction_type",
        "token",
    ]
)
_TAGS = st.sampled_from(
    [
        "div",
        "markdown",
        "button",
        "form",
        "action",
        "table",
        "img",
        "select_static",
        "input",
        "column_set",
        "plain_text",
    ]
)
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, 2)
    | st.sampled_from(["", "2.0", "card", "card_json"])
    | _TAGS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=5),
    max_leaves=12,
)
_CALLS = [
    ("POST", f"{SEND}?receive_id_type=chat_id"),
    ("POST", REPLY),
    ("PUT", f"{SEND}/om_mine"),
    ("PATCH", f"{SEND}/om_mine"),
    ("POST", f"{SEND}/om_1/reactions"),
    ("POST", CARD),
    ("POST", "/open-apis/cardkit/v1/cards"),
]


@pytest.mark.parametrize(("method", "path"), _CALLS)
@settings(max_examples=50, deadline=None)
@given(
    body=st.dictionaries(_NAMES, _VALUES), inner=_VALUES, msg_type=st.sampled_from(["post", "interactive"])
)
async def test_whatever_is_called_is_answered(
    method: str, path: str, body: dict[str, object], inner: object, msg_type: str
) -> None:
    async with open_caller() as caller:
        gateway = caller.gateway
        for message_id, sender in (("om_1", gateway.user("Tom")), ("om_mine", gateway.bot)):
            gateway.add_message(message_id=message_id, sender=sender)
        text = json.dumps(inner)
        for sent in (
            body,
            {"receive_id": "oc_1", "msg_type": msg_type, "content": text, "type": "card_json", "data": text},
        ):
            assert (await caller.response(method, path, sent)).status_code in (200, 400)
        gateway.user("Tom").sees("oc_1")
        await gateway.push("im.message.receive_v1", {"message": inner, "sender": body}, ladder=())


@pytest.mark.parametrize("behaviors", [1, "callback", {"type": "callback"}, [1], None])
async def test_a_button_of_wrong_behaviors_is_shown(behaviors: object) -> None:
    async with open_caller() as caller:
        button = {"tag": "button", "text": "Yes", "behaviors": behaviors}
        message_id = await caller.sent({"elements": [button]}, "interactive")
        assert await caller.code("GET", f"{SEND}/{message_id}") == 0
        assert caller.gateway.user("Tom").sees("oc_1") == "Bot: [Yes]"


async def test_what_nests_without_end_is_no_json() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    async with open_caller() as caller:
        body = b'{"receive_id":"oc_1","msg_type":' + deep + b"}"
        response = await caller.response("POST", f"{SEND}?receive_id_type=chat_id", content=body)
        assert response.json()["error"]["field_violations"][0]["field"] == "receive_id"
    with pytest.raises(ValueError, match="its payload is"):
        read_answer_body(b'{"code":200,"more":' + deep + b"}")
    with pytest.raises(ValueError, match="not JSON in base64"):
        read_answer_body(json.dumps({"code": 200, "data": b64encode(deep).decode()}).encode())


async def test_a_post_of_a_pushed_event_is_shown_as_far_as_it_is_one() -> None:
    async with open_gateway() as gateway:
        content = json.dumps({"content": [1, [2, {"tag": "text", "text": "here"}, {"tag": "a"}]]})
        message = {"message_id": "om_1", "chat_id": "oc_1", "message_type": "post", "content": content}
        await gateway.push("im.message.receive_v1", {"message": message}, ladder=())
        assert gateway.user("Tom").sees("oc_1") == "ou_unknown: here"
