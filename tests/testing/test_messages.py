"""Messages: which are accepted, and what becomes of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from .calls import MESSAGES, open_caller

V2 = {"schema": "2.0", "body": {"elements": [{"tag": "markdown", "content": "hello"}]}}
TABLE = "| a | b |\n|---|---|\n| 1 | 2 |\n"


def v2(*elements: object, **members: object) -> dict[str, Any]:
    return {"schema": "2.0", **members, "body": {"elements": list(elements)}}


# --- who can be written to ----------------------------------------------------------------------------------


async def test_replies_go_to_messages_that_exist() -> None:
    async with open_caller() as call:
        gateway = call.gateway
        assert (await call.reply("om_never"))["code"] == 99992354
        await gateway.push(
            "im.message.receive_v1",
            {
                "sender": {"sender_id": {"open_id": "ou_1"}, "sender_type": "user"},
                "message": {"message_id": "om_pushed", "chat_id": "oc_7", "message_type": "text"},
            },
        )
        payload = json.dumps({"event": {"message": {"message_id": "om_whole"}}}).encode()
        await gateway.push("im.message.receive_v1", payload=payload)
        await gateway.push("card.action.trigger", {"context": {"open_message_id": "om_clicked"}})
        await gateway.push("im.message.reaction.created_v1", {"message_id": "om_liked"})
        sent = await call.sent({"text": "a"})
        for message_id in ("om_pushed", "om_whole", "om_clicked", "om_liked", sent):
            assert (await call.reply(message_id))["code"] == 0
            assert gateway.messages[-1].to == message_id
        assert [(each.code, each.path) for each in gateway.refused] == [
            (99992354, f"{MESSAGES}/om_never/reply")
        ]


async def test_a_pushed_message_is_in_the_chat_that_it_names() -> None:
    async with open_caller() as call:
        gateway = call.gateway
        for number, chat_id in enumerate(("oc_7", "oc_8")):
            fields = {"message_id": f"om_{number}", "chat_id": chat_id, "chat_type": "p2p"}
            sender = {"sender_id": {"open_id": "ou_1"}}
            message = {**fields, "message_type": "text", "content": json.dumps({"text": chat_id})}
            await gateway.push("im.message.receive_v1", {"sender": sender, "message": message})
            assert (await call.reply(f"om_{number}"))["data"]["chat_id"] == chat_id
        body = {"receive_id": "ou_1", "msg_type": "text", "content": '{"text":"a"}'}
        answer = await call("POST", f"{MESSAGES}?receive_id_type=open_id", body)
        assert answer["data"]["chat_id"] == "oc_7"
        assert gateway.user("Tom").sees("oc_8") == "ou_1: oc_8\nBot: hi"


async def test_a_reply_is_in_the_chat_and_below_what_it_replies_to() -> None:
    async with open_caller() as call:
        first = await call.sent({"text": "a"}, to="oc_7")
        second = (await call.reply(first))["data"]
        third = (await call.reply(second["message_id"]))["data"]
        assert (second["root_id"], second["parent_id"], second["chat_id"]) == (first, first, "oc_7")
        assert (third["root_id"], third["parent_id"]) == (first, second["message_id"])
        assert "thread_id" not in third


async def test_a_thread_goes_on_once_begun() -> None:
    async with open_caller() as call:
        first = await call.sent({"text": "a"})
        second = (await call.reply(first, reply_in_thread=True))["data"]
        third = (await call.reply(second["message_id"]))["data"]
        assert second["thread_id"] == third["thread_id"]
        assert call.gateway.messages[1].in_thread
        answer = await call(
            "GET", MESSAGES, params={"container_id_type": "thread", "container_id": second["thread_id"]}
        )
        ids = [item["message_id"] for item in answer["data"]["items"]]
        assert ids == [first, second["message_id"], third["message_id"]]
        assert (await call.reply(first, reply_in_thread="yes"))["code"] == 99992402


@pytest.mark.parametrize(
    ("id_type", "good", "bad"),
    [
        ("chat_id", "oc_1", "ou_1"),
        ("open_id", "ou_1", "oc_1"),
        ("union_id", "on_1", "oc_1"),
        ("email", "a@b.c", "ab.c"),
        ("user_id", "7f3a", "a b"),
    ],
)
async def test_a_receiver_is_of_its_kind(id_type: str, good: str, bad: str) -> None:
    async with open_caller() as call:
        path = f"{MESSAGES}?receive_id_type={id_type}"
        text = {"msg_type": "text", "content": '{"text":"a"}'}
        assert await call.code("POST", path, {"receive_id": good, **text}) == 0
        assert await call.code("POST", path, {"receive_id": bad, **text}) == 230001


async def test_what_goes_to_a_user_is_in_the_chat_with_the_user() -> None:
    async with open_caller() as call:
        tom = call.gateway.user("Tom")
        for id_type, receive_id in tom.ids().items():
            body = {"receive_id": receive_id, "msg_type": "text", "content": json.dumps({"text": id_type})}
            assert await call.code("POST", f"{MESSAGES}?receive_id_type={id_type}", body) == 0
        assert tom.sees() == "Bot: open_id\nBot: union_id\nBot: user_id"


# --- what can be said ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("msg_type", "content"),
    [
        ("text", {"text": "x" * 100_000}),
        ("post", {"zh_cn": {"title": "t", "content": [[{"tag": "text", "text": "a"}], [{"tag": "hr"}]]}}),
        ("post", {"en_us": {"content": [[{"tag": "md", "text": "**a**"}]]}}),
        ("interactive", {"elements": [{"tag": "div", "text": {"tag": "lark_md", "content": "a"}}]}),
        ("interactive", {"i18n_elements": {"zh_cn": []}}),
        ("interactive", V2),
        ("interactive", {"type": "template", "data": {"template_id": "AAq"}}),
        ("interactive", v2(*[{"tag": "table", "columns": [], "rows": []}] * 5)),
        ("interactive", v2({"tag": "markdown", "content": f"{TABLE}\n```\n{TABLE}\n{TABLE}```\n" * 5})),
        ("share_chat", {"chat_id": "oc_1"}),
        ("share_user", {"user_id": "ou_1"}),
        ("sticker", {"file_key": "file_1"}),
    ],
)
async def test_content_that_is_accepted(msg_type: str, content: object) -> None:
    async with open_caller() as call:
        answer = await call.send(content, msg_type)
        assert answer["code"] == 0, answer
        assert call.gateway.messages[0].content == content


@pytest.mark.parametrize(
    ("msg_type", "content", "code", "words"),
    [
        ("text", "hello", 230001, "no JSON object"),
        ("text", {"content": "a"}, 230001, "content of a text"),
        ("text", {"text": 5}, 230001, "content of a text"),
        ("text", {"text": "x" * 160_000}, 230025, "153600"),
        ("post", {"zh_cn": {"content": [[{"tag": "md", "text": "x" * 31_000}]]}}, 230025, "30720"),
        ("post", {"content": [[]]}, 230001, "zh_cn"),
        ("post", {"post": {"zh_cn": {"content": [[]]}}}, 230001, "by locale"),
        ("post", {"zh_cn": {"content": [{"tag": "text"}]}}, 230001, "list of elements"),
        ("post", {"zh_cn": {"content": [[{"tag": "b", "text": "a"}]]}}, 230001, "tag is 'b'"),
        ("post", {"zh_cn": {"content": [[{"tag": "a", "text": "a"}]]}}, 230001, "has href"),
        ("post", {"zh_cn": {"content": [[{"tag": "img", "image_key": "img_1"}]]}}, 230001, "image_key"),
        ("image", {"image_key": "img_1"}, 230001, "no picture of the key img_1 was uploaded"),
        ("file", {"key": "file_1"}, 230001, "content has file_key"),
        ("file", {"file_key": "file_1"}, 230001, "no file"),
        ("share_chat", {}, 230001, "chat_id"),
        ("markdown", {"text": "a"}, 230001, "it may be text, post"),
        ("interactive", {"elements": [{"tag": "markdown", "content": "x" * 31_000}]}, 230025, "30720"),
        ("text", {"text": ""}, 230001, "not empty"),
        ("interactive", {}, 230099, "200621"),
        ("interactive", {"text": "hi"}, 230099, "200621"),
        ("interactive", {"schema": "2.0", "elements": []}, 230099, "body.elements"),
        ("interactive", {"schema": "3.0", "elements": []}, 230099, "it may be '1.0' or '2.0'"),
        ("interactive", {"type": "card", "data": {"card_id": "7"}}, 230099, "ErrCode: 11310; ErrMsg: cardid"),
        ("interactive", {"type": "raw", "data": V2}, 230001, "it may be card or template"),
        ("interactive", v2({"tag": "action", "actions": []}), 230099, "200861"),
        ("interactive", v2(*[{"tag": "table"}] * 6), 230099, "ErrCode: 11310; ErrMsg: card table number"),
        ("interactive", v2({"tag": "markdown", "content": f"{TABLE}\n" * 6}), 230099, "card table number"),
        ("interactive", v2(*[{"tag": "hr"}] * 201), 230099, "element exceeds"),
        (
            "interactive",
            v2({"tag": "hr", "element_id": "a"}, {"tag": "hr", "element_id": "a"}),
            230099,
            "300301",
        ),
        ("interactive", v2({"tag": "img", "img_key": "img_1"}), 230099, "200570"),
    ],
)
async def test_content_that_is_refused(msg_type: str, content: object, code: int, words: str) -> None:
    async with open_caller() as call:
        answer = await call.send(content, msg_type)
        assert answer["code"] == code, answer
        assert words in answer["msg"]
        assert not call.gateway.messages


async def test_a_card_that_nests_too_deeply_is_refused() -> None:
    async with open_caller() as call:
        card = '{"tag":"div","a":' * 1500 + "0" + "}" * 1500
        content = f'{{"elements":[{card}]}}'
        body = {"receive_id": "oc_1", "msg_type": "interactive", "content": content}
        answer = await call("POST", f"{MESSAGES}?receive_id_type=chat_id", body)
        assert answer["code"] in (230001, 230099)


async def test_only_what_the_bot_uploaded_itself_is_sent_and_as_what_it_was_uploaded() -> None:
    async with open_caller() as call:
        gateway, tom = call.gateway, call.gateway.user("Tom")
        image, file, voice, video = (
            gateway.add_image(b""),
            gateway.add_file(b"a", "a.txt"),
            gateway.add_file(b"a", "a.opus", kind="opus"),
            gateway.add_file(b"a", "a.mp4", kind="mp4"),
        )
        for msg_type, content, code in [
            ("image", {"image_key": image}, 0),
            ("image", {"image_key": file}, 230001),
            ("image", {"image_key": gateway.add_image(b"", owner=tom)}, 230017),
            ("file", {"file_key": file}, 0),
            ("file", {"file_key": image}, 230001),
            ("file", {"file_key": video}, 230055),
            ("file", {"file_key": gateway.add_file(b"a", "a", owner=tom)}, 230017),
            ("audio", {"file_key": voice}, 0),
            ("audio", {"file_key": file}, 230055),
            ("media", {"file_key": video}, 0),
            ("media", {"file_key": video, "image_key": image}, 0),
            ("media", {"file_key": video, "image_key": "img_1"}, 230001),
            ("media", {"file_key": voice}, 230055),
            ("post", {"zh_cn": {"content": [[{"tag": "img", "image_key": image}]]}}, 0),
            ("post", {"zh_cn": {"content": [[{"tag": "media", "file_key": file}]]}}, 230055),
            ("interactive", v2({"tag": "img", "img_key": image}), 0),
        ]:
            assert (await call.send(content, msg_type))["code"] == code, (msg_type, content)


async def test_mentions_in_a_text() -> None:
    async with open_caller() as call:
        tom = call.gateway.user("Tom")
        text = f'<at user_id="{tom.open_id}">T.</at> and <at user_id="ou_x">Ann</at>: <at user_id="all"></at>'
        answer = await call.send({"text": text})
        assert json.loads(answer["data"]["body"]["content"]) == {"text": "@_user_1 and @_user_2: @_all"}
        named = [(each["key"], each["id"], each["name"]) for each in answer["data"]["mentions"]]
        assert named[0] == ("@_user_1", tom.open_id, "Tom")
        assert named[1][2] == "Ann"
        assert call.gateway.messages[0].content == {"text": text}


# --- once ---------------------------------------------------------------------------------------------------


async def test_a_repeated_uuid_returns_the_first_message(autojump_clock: MockClock) -> None:
    async with open_caller() as call:
        first = await call.send({"text": "a"}, uuid="u")
        again = await call.send({"text": "b"}, uuid="u")
        assert first["data"] == again["data"]
        assert [message.content for message in call.gateway.messages] == [{"text": "a"}]
        assert (await call.send({"text": 5}, uuid="v"))["code"] == 230001
        assert (await call.send({"text": "c"}, uuid="v"))["code"] == 0  # what was refused was not sent


# --- afterwards ---------------------------------------------------------------------------------------------


async def test_fetching() -> None:
    async with open_caller() as call:
        tom = call.gateway.user("Tom")
        said = await tom.says("hello", mentions=call.gateway.bot, chat="Team")
        (item,) = (await call("GET", f"{MESSAGES}/{said.message_id}"))["data"]["items"]
        assert item["body"] == {"content": '{"text":"@_user_1 hello"}'}
        assert item["sender"]["id"] == tom.open_id
        assert (item["msg_type"], item["chat_id"], item["deleted"]) == ("text", said.chat_id, False)
        assert item["mentions"][0]["id"] == call.gateway.bot.open_id
        assert len(item["create_time"]) == 13
        mine = await call.sent({"text": "a"})
        (item,) = (await call("GET", f"{MESSAGES}/{mine}"))["data"]["items"]
        assert (item["sender"]["id"], item["sender"]["sender_type"]) == (call.gateway.app_id, "app")
        assert await call.code("GET", f"{MESSAGES}/om_never") == 99992354


async def test_a_fetched_card_has_its_texts_alone_unless_all_of_it_is_asked_for() -> None:
    async with open_caller() as call:
        card = v2(
            {"tag": "markdown", "content": "a"}, header={"title": {"tag": "plain_text", "content": "T"}}
        )
        path = f"{MESSAGES}/{await call.sent(card, 'interactive')}"
        (item,) = (await call("GET", path))["data"]["items"]
        assert json.loads(item["body"]["content"]) == {
            "title": "T",
            "elements": [[{"tag": "text", "text": "a"}]],
        }
        answer = await call("GET", path, params={"card_msg_content_type": "user_card_content"})
        assert json.loads(answer["data"]["items"][0]["body"]["content"]) == card


async def test_a_chats_history_comes_in_pages() -> None:
    async with open_caller() as call:
        ids = [await call.sent({"text": str(n)}) for n in range(5)]
        params: dict[str, Any] = {"container_id_type": "chat", "container_id": "oc_1", "page_size": 2}
        found: list[str] = []
        more, pages = True, 0
        while more:
            data = (await call("GET", MESSAGES, params=params))["data"]
            found += [item["message_id"] for item in data["items"]]
            more, params["page_token"], pages = data["has_more"], data["page_token"], pages + 1
        assert (found, pages) == (ids, 3)
        del params["page_token"]
        newest = await call("GET", MESSAGES, params={**params, "sort_type": "ByCreateTimeDesc"})
        assert newest["data"]["items"][0]["message_id"] == ids[-1]
        assert await call.code("GET", MESSAGES, params={**params, "page_size": 0}) == 99992402
        assert await call.code("GET", MESSAGES, params={**params, "container_id": "oc_no"}) == 230001
        assert await call.code("GET", MESSAGES, params={**params, "container_id_type": "user"}) == 230001


async def test_a_text_is_edited_twenty_times() -> None:
    async with open_caller() as call:
        message_id = await call.sent({"text": "0"})
        path = f"{MESSAGES}/{message_id}"
        for number in range(1, 21):
            body = {"msg_type": "text", "content": json.dumps({"text": str(number)})}
            answer = await call("PUT", path, body)
            assert (answer["code"], answer["data"]["updated"]) == (0, True)
        assert await call.code("PUT", path, body) == 230072
        (item,) = (await call("GET", path))["data"]["items"]
        assert item["body"]["content"] == '{"text":"20"}'
        edit = call.gateway.messages[-1]
        assert (edit.kind, edit.to, edit.content) == ("edit", message_id, {"text": "20"})


async def test_what_cannot_be_edited() -> None:
    async with open_caller() as call:
        text = {"msg_type": "text", "content": '{"text":"a"}'}
        theirs = call.gateway.add_message("a")
        card = await call.sent(V2, "interactive")
        recalled = await call.sent({"text": "a"})
        await call("DELETE", f"{MESSAGES}/{recalled}")
        for message_id, code in (
            (theirs, 230071),
            (card, 230054),
            (recalled, 230011),
            ("om_never", 99992354),
        ):
            assert await call.code("PUT", f"{MESSAGES}/{message_id}", text) == code
        mine = await call.sent({"text": "a"})
        assert await call.code("PUT", f"{MESSAGES}/{mine}", {**text, "content": "a"}) == 230001
        assert await call.code("PUT", f"{MESSAGES}/{mine}", {**text, "msg_type": "interactive"}) == 230054


async def test_a_card_is_updated_five_times_a_second_for_fourteen_days(autojump_clock: MockClock) -> None:
    async with open_caller() as call:
        path = f"{MESSAGES}/{await call.sent(V2, 'interactive')}"
        body = {"content": json.dumps(v2({"tag": "markdown", "content": "new"}))}
        assert [await call.code("PATCH", path, body) for _ in range(6)] == [0] * 5 + [230020]
        await trio.sleep(1)
        assert await call.code("PATCH", path, body) == 0
        assert call.gateway.messages[-1].kind == "edit"
        assert await call.code("PATCH", path, {"content": "{}"}) == 230099
        assert await call.code("PATCH", f"{MESSAGES}/{await call.sent({'text': 'a'})}", body) == 230001
        await trio.sleep(14 * 86400)
        assert await call.code("PATCH", path, body) == 230031


async def test_what_was_recalled_is_gone(autojump_clock: MockClock) -> None:
    async with open_caller() as call:
        message_id = await call.sent({"text": "a"})
        path = f"{MESSAGES}/{message_id}"
        assert await call.code("DELETE", path) == 0
        assert (await call.reply(message_id))["code"] == 230011
        assert await call.code("DELETE", path) == 230011
        assert await call.code("POST", f"{path}/reactions", {"reaction_type": {"emoji_type": "OK"}}) == 231003
        (item,) = (await call("GET", path))["data"]["items"]
        assert item["deleted"] is True
        assert await call.code("DELETE", f"{MESSAGES}/{call.gateway.add_message('a')}") == 230026
        old = await call.sent({"text": "a"})
        await trio.sleep(86400)
        assert await call.code("DELETE", f"{MESSAGES}/{old}") == 230009


async def test_reactions() -> None:
    async with open_caller() as call:
        tom = call.gateway.user("Tom")
        said = await tom.says("a")
        path = f"{MESSAGES}/{said.message_id}/reactions"
        await tom.reacts(said, "SMILE")
        typing = (await call("POST", path, {"reaction_type": {"emoji_type": "Typing"}}))["data"]
        assert typing["operator"] == {"operator_id": call.gateway.app_id, "operator_type": "app"}
        again = (await call("POST", path, {"reaction_type": {"emoji_type": "Typing"}}))["data"]
        assert again["reaction_id"] == typing["reaction_id"]
        toms, mine = (await call("GET", path))["data"]["items"]
        assert mine == typing
        found = (await call("GET", path, params={"reaction_type": "SMILE"}))["data"]["items"]
        assert found == [toms]
        other = f"{MESSAGES}/{await call.sent({'text': 'b'})}/reactions"
        assert await call.code("DELETE", f"{other}/{mine['reaction_id']}") == 231010
        assert await call.code("DELETE", f"{path}/{toms['reaction_id']}") == 231007
        assert await call.code("DELETE", f"{path}/never") == 231011
        assert await call.code("DELETE", f"{path}/{mine['reaction_id']}") == 0
        assert await call.code("DELETE", f"{path}/{mine['reaction_id']}") == 231011
        for emoji in ("👍", "", 5, None):
            assert await call.code("POST", path, {"reaction_type": {"emoji_type": emoji}}) == 231001


# --- how often ----------------------------------------------------------------------------------------------


async def test_sends_are_limited_on_request(autojump_clock: MockClock) -> None:
    async with open_caller(send_limits=True) as call:
        assert [(await call.send({"text": "a"}))["code"] for _ in range(6)] == [0] * 5 + [99991400]
        body = {"receive_id": "oc_1", "msg_type": "text", "content": '{"text":"a"}'}
        response = await call.response("POST", f"{MESSAGES}?receive_id_type=chat_id", body)
        assert response.status_code == 429
        assert response.headers["x-ogw-ratelimit-limit"] == "5"
        assert response.headers["x-ogw-ratelimit-reset"] == "1"
        codes = [(await call.send({"text": "a"}, to=f"oc_{n}"))["code"] for n in range(2, 52)]
        assert codes == [0] * 45 + [99991400] * 5
        await trio.sleep(1)
        assert (await call.send({"text": "a"}))["code"] == 0


async def test_sends_are_not_limited_by_default(autojump_clock: MockClock) -> None:
    async with open_caller() as call:
        assert {(await call.send({"text": "a"}))["code"] for _ in range(100)} == {0}
