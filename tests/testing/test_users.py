"""Users: what they write reaches bots as events, what they see is the chat as it stands."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from feishu_trio import Event, Router, open_feishu_session
from feishu_trio.events.card import ActionTriggered
from feishu_trio.events.im import MessageReceived
from feishu_trio.testing import Gateway, UserMessage, open_gateway

from .calls import MESSAGES, caller_of, open_caller
from .client import connect


def body_of(push_of: UserMessage) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(push_of.push.payload)["event"]
    return body


def button(text: str, **members: object) -> dict[str, object]:
    return {"tag": "button", "text": {"tag": "plain_text", "content": text}, **members}


# --- what reaches the bot -----------------------------------------------------------------------------------


async def test_a_private_message() -> None:
    async with open_gateway() as gateway:
        tom = gateway.user("Tom")
        said = await tom.says("hello")
        assert said.push.event_type == "im.message.receive_v1"
        body = body_of(said)
        assert body["sender"]["sender_id"] == tom.ids()
        assert body["sender"]["sender_type"] == "user"
        message = body["message"]
        assert (message["message_id"], message["chat_id"]) == (said.message_id, said.chat_id)
        assert (message["chat_type"], message["message_type"]) == ("p2p", "text")
        assert message["content"] == '{"text":"hello"}'
        assert not {"root_id", "parent_id", "thread_id", "mentions"} & set(message)
        again = await tom.says("hello")
        assert again.chat_id == said.chat_id
        assert again.message_id != said.message_id
        assert (await gateway.user("Ann").says("hello")).chat_id != said.chat_id


async def test_mentions() -> None:
    async with open_gateway(bot_name="Helper") as gateway:
        tom, ann = gateway.user("Tom"), gateway.user("Ann")
        said = await tom.says("hello", mentions=gateway.bot, chat="Team")
        message = body_of(said)["message"]
        assert (message["chat_type"], message["content"]) == ("group", '{"text":"@_user_1 hello"}')
        (mention,) = message["mentions"]
        assert (mention["key"], mention["name"]) == ("@_user_1", "Helper")
        assert mention["id"]["open_id"] == gateway.bot.open_id
        several = await tom.says("ask @Ann, please", mentions=[gateway.bot, ann, "all"], chat="Team")
        message = body_of(several)["message"]
        assert message["content"] == '{"text":"@_all @_user_1 ask @_user_2, please"}'
        assert [each["name"] for each in message["mentions"]] == ["Helper", "Ann", "all"]
        assert tom.sees("Team") == "Tom: @Helper hello\nTom: @all @Helper ask @Ann, please"
        assert ann.sees("Team") == tom.sees(said.chat_id)
        assert tom.sees() == ""


async def test_only_members_and_all_can_be_mentioned() -> None:
    async with open_gateway() as gateway:
        with pytest.raises(LookupError, match=r"'Bot' cannot be mentioned; allowed are gateway\.bot"):
            await gateway.user("Tom").says("hello", mentions="Bot", chat="Team")  # type: ignore[arg-type]


async def test_replies_and_threads() -> None:
    async with open_gateway() as gateway:
        tom, ann = gateway.user("Tom"), gateway.user("Ann")
        first = await tom.says("first", chat="Team")
        reply = await ann.says("reply", reply_to=first)
        message = body_of(reply)["message"]
        assert (message["root_id"], message["parent_id"]) == (first.message_id, first.message_id)
        assert message["chat_id"] == first.chat_id
        deeper = body_of(await tom.says("deeper", reply_to=reply.message_id))["message"]
        assert (deeper["root_id"], deeper["parent_id"]) == (first.message_id, reply.message_id)
        begun = await ann.says("in a thread\nof two lines", thread=first)
        assert begun.thread_id
        assert (await tom.says("in it, too", thread=begun)).thread_id == begun.thread_id
        assert (await tom.says("still", reply_to=begun)).thread_id == begun.thread_id
        await tom.says("last", chat="Team")
        assert tom.sees("Team").splitlines() == [
            "Tom: first",
            "  Ann: in a thread",
            "  of two lines",
            "  Tom: in it, too",
            "  Tom: still",
            "Ann: reply",
            "Tom: deeper",
            "Tom: last",
        ]
        with pytest.raises(LookupError, match="there is no message 'om_never'"):
            await tom.says("a", reply_to="om_never")
        with pytest.raises(LookupError, match="is not in the chat 'Other'"):
            await tom.says("a", reply_to=first, chat="Other")


async def test_other_kinds_of_messages() -> None:
    async with open_gateway() as gateway:
        tom = gateway.user("Tom")
        image = body_of(await tom.sends_image())["message"]
        file = body_of(await tom.sends_file(b"abc", "a.txt"))["message"]
        audio = body_of(await tom.sends_file(b"abc", "a.opus", kind="audio"))["message"]
        video = body_of(await tom.sends_file(b"abc", "a.mp4", kind="media"))["message"]
        post = body_of(await tom.posts("one\ntwo", title="T"))["message"]
        await tom.posts({"content": [[{"tag": "img", "image_key": "img_1"}, {"tag": "text", "text": "!"}]]})
        (key,) = gateway.images
        assert (image["message_type"], json.loads(image["content"])) == ("image", {"image_key": key})
        assert list(json.loads(file["content"])) == ["file_key", "file_name"]
        assert list(json.loads(audio["content"])) == ["file_key", "duration"]
        assert list(json.loads(video["content"])) == ["file_key", "file_name", "duration"]
        assert json.loads(post["content"])["content"][1] == [{"tag": "text", "text": "two"}]
        assert tom.sees().splitlines() == [
            "Tom: [image]",
            "Tom: [file: a.txt]",
            "Tom: [audio: a.opus]",
            "Tom: [video: a.mp4]",
            "Tom: T",
            "one",
            "two",
            "Tom: [image]!",
        ]


async def test_reactions_and_recalls() -> None:
    async with open_gateway() as gateway:
        tom, ann = gateway.user("Tom"), gateway.user("Ann")
        said = await tom.says("hello", chat="Team")
        push = await ann.reacts(said, "SMILE")
        await tom.reacts(said, "SMILE")
        await tom.reacts(said.message_id)
        body = json.loads(push.payload)["event"]
        assert (body["message_id"], body["reaction_type"]) == (said.message_id, {"emoji_type": "SMILE"})
        assert (body["operator_type"], body["user_id"]) == ("user", ann.ids())
        assert tom.sees("Team") == "Tom: hello (SMILE: Ann, Tom) (THUMBSUP: Tom)"
        with pytest.raises(LookupError, match="Ann cannot recall a message of Tom"):
            await ann.recalls(said)
        push = await tom.recalls(said)
        assert (push.event_type, json.loads(push.payload)["event"]["message_id"]) == (
            "im.message.recalled_v1",
            said.message_id,
        )
        assert tom.sees("Team") == "Tom recalled a message"


# --- what is seen -------------------------------------------------------------------------------------------


async def test_what_a_bot_does_is_seen() -> None:
    async with open_caller() as call:
        tom = call.gateway.user("Tom")
        said = await tom.says("hello")
        text = (await call.reply(said.message_id, f'<at user_id="{tom.open_id}"></at>, hi'))["data"][
            "message_id"
        ]
        body = {"msg_type": "text", "content": '{"text":"hi!"}'}
        file = call.gateway.add_file(b"a", "报告.pdf", kind="pdf")
        await call.sent({"file_key": file}, "file", to=said.chat_id)
        lines = [
            [{"tag": "text", "text": "a "}, {"tag": "at", "user_id": "ou_1", "user_name": "Ann"}],
            [{"tag": "hr"}],
        ]
        await call.sent({"zh_cn": {"title": "T", "content": lines}}, "post", to=said.chat_id)
        gone = await call.sent({"text": "oops"}, to=said.chat_id)
        assert tom.sees().splitlines() == [
            "Tom: hello",
            "Bot: @Tom, hi",
            "Bot: [file: 报告.pdf]",
            "Bot: T",
            "a @Ann",
            "---",
            "Bot: oops",
        ]
        await call("PUT", f"{MESSAGES}/{text}", body)
        await call("POST", f"{MESSAGES}/{text}/reactions", {"reaction_type": {"emoji_type": "Typing"}})
        await call("DELETE", f"{MESSAGES}/{gone}")
        assert "Bot: hi! (edited) (Typing: Bot)" in tom.sees()
        assert tom.sees().endswith("Bot recalled a message")


V1: dict[str, Any] = {
    "header": {"title": {"tag": "plain_text", "content": "Deploy?"}, "template": "blue"},
    "elements": [
        {"tag": "div", "text": {"tag": "lark_md", "content": "v1.2 to **all**"}},
        {"tag": "div", "fields": [{"is_short": True, "text": {"tag": "lark_md", "content": "by Ann"}}]},
        {"tag": "hr"},
        {
            "tag": "action",
            "actions": [button("Approve", value={"do": "yes"}), button("Reject", value={"do": "no"})],
        },
        {"tag": "note", "elements": [{"tag": "plain_text", "content": "a note"}]},
    ],
}
V2: dict[str, Any] = {
    "schema": "2.0",
    "header": {"title": {"tag": "plain_text", "content": "Deploy?"}},
    "body": {
        "elements": [
            {"tag": "markdown", "content": "v1.2\nto **all**"},
            {
                "tag": "column_set",
                "columns": [
                    {
                        "tag": "column",
                        "elements": [
                            button("Approve", behaviors=[{"type": "callback", "value": {"do": "yes"}}])
                        ],
                    },
                    {
                        "tag": "column",
                        "elements": [button("Reject", behaviors=[{"type": "callback", "value": "no"}])],
                    },
                ],
            },
            {
                "tag": "select_static",
                "options": [{"text": {"tag": "plain_text", "content": "Later"}, "value": "1 h"}],
                "name": "when",
            },
        ]
    },
}


@pytest.mark.parametrize(
    ("card", "lines"),
    [
        (V1, ["Deploy?", "v1.2 to **all**", "by Ann", "---", "[Approve] [Reject]", "a note"]),
        (V2, ["Deploy?", "v1.2", "to **all**", "[Approve] [Reject] [Later]"]),
        ({"type": "template", "data": {"template_id": "AAq"}}, ["[card template AAq]"]),
        ({"i18n_elements": {"en_us": [{"tag": "markdown", "content": "a"}]}}, ["a"]),
    ],
)
async def test_cards_are_seen(card: dict[str, Any], lines: list[str]) -> None:
    async with open_caller() as call:
        tom = call.gateway.user("Tom")
        said = await tom.says("?")
        await call.sent(card, "interactive", to=said.chat_id)
        assert tom.sees().splitlines() == ["Tom: ?", f"Bot: {lines[0]}", *lines[1:]]


async def test_waiting(autojump_clock: MockClock) -> None:
    async with open_gateway() as gateway, trio.open_nursery() as nursery:
        tom = gateway.user("Tom")

        async def later() -> None:
            for text in ("one", "two"):
                await trio.sleep(2)
                await tom.says(text)

        nursery.start_soon(later)
        assert await tom.waits_for("one") == "Tom: one"
        assert trio.current_time() == pytest.approx(2)
        assert await tom.waits_for(lambda seen: seen.count("Tom") == 2) == "Tom: one\nTom: two"
        with pytest.raises(
            TimeoutError, match=r"Tom does not see 'three' after 3 s, but:\nTom: one\nTom: two"
        ):
            await tom.waits_for("three", timeout=3)
        assert trio.current_time() == pytest.approx(7)
        assert await tom.waits_for("one", timeout=0) == "Tom: one\nTom: two"


# --- clicks -------------------------------------------------------------------------------------------------


async def clicking(card: object, text: str, **options: Any) -> dict[str, Any]:
    """The body of the click on a card that Tom got."""
    async with open_caller() as call, connect(call.gateway) as client:
        tom = call.gateway.user("Tom")
        body = {"receive_id": tom.open_id, "msg_type": "interactive", "content": json.dumps(card)}
        answer = await call("POST", f"{MESSAGES}?receive_id_type=open_id", body)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(tom.clicks, text, **options))
            frame = await client.receive()
            await client.answer(frame)
        click: dict[str, Any] = json.loads(frame.payload)["event"]
        assert click["operator"]["open_id"] == tom.open_id
        assert click["context"]["open_message_id"] == answer["data"]["message_id"]
        assert click["token"].startswith("c-")
        return click


@pytest.mark.parametrize(
    ("card", "text", "options", "action"),
    [
        (V1, "Approve", {}, {"tag": "button", "value": {"do": "yes"}}),
        (V2, "Approve", {}, {"tag": "button", "value": {"do": "yes"}}),
        (V2, "Reject", {}, {"tag": "button", "value": "no"}),
        (V2, "Later", {}, {"tag": "select_static", "option": "1 h", "name": "when"}),
        (
            {"elements": [button("Delete", value={"n": 1}), button("Delete", value={"n": 2})]},
            "Delete",
            {"which": 1},
            {"tag": "button", "value": {"n": 2}},
        ),
    ],
)
async def test_clicks(card: object, text: str, options: dict[str, Any], action: dict[str, object]) -> None:
    click = await clicking(card, text, **options)
    assert {**action, "timezone": "Asia/Shanghai"} == click["action"]


FORM = {
    "schema": "2.0",
    "body": {
        "elements": [
            {
                "tag": "form",
                "name": "leave",
                "elements": [
                    {
                        "tag": "input",
                        "name": "reason",
                        "required": True,
                        "label": {"tag": "plain_text", "content": "Why"},
                    },
                    {"tag": "input", "name": "note", "default_value": "none"},
                    {
                        "tag": "select_static",
                        "name": "kind",
                        "options": [{"text": {"tag": "plain_text", "content": "Sick"}, "value": "sick"}],
                    },
                    {"tag": "checker", "name": "paid", "text": {"tag": "plain_text", "content": "paid"}},
                    {"tag": "multi_select_static", "name": "days"},
                    button("Send", form_action_type="submit", name="send", value={"a": 1}),
                    button("Clear", form_action_type="reset", name="clear"),
                    button("Send it", form_action_type="submit", name="it"),
                ],
            }
        ]
    },
}


async def test_a_form_is_filled_in() -> None:
    click = await clicking(FORM, "Send", fill={"reason": "ill", "kind": "sick"})
    assert click["action"]["form_value"] == {
        "reason": "ill",
        "note": "none",
        "kind": "sick",
        "paid": False,
        "days": [],
    }
    assert (click["action"]["name"], click["action"]["value"]) == ("send", {"a": 1})


LINKS = {
    "elements": [
        button("Docs", url="https://example.invalid"),
        button("Off", value={}, disabled=True),
        button("Twice", value={}),
        button("Twice", value={}),
    ]
}


@pytest.mark.parametrize(
    ("card", "text", "options", "words"),
    [
        (V1, "Aprove", {}, r"no card in the chat has a button 'Aprove'; there are \[Approve\] \[Reject\]"),
        (LINKS, "Docs", {}, "it only opens a link"),
        (LINKS, "Off", {}, "it is disabled"),
        (LINKS, "Twice", {}, r"there are 2 of \[Twice\]; say which"),
        (LINKS, "Twice", {"which": 2}, "no card"),
        (LINKS, "Twice", {"which": 0, "fill": {"a": "b"}}, "submits no form"),
        (FORM, "Send", {}, "'reason', which is required"),
        (FORM, "Send", {"fill": {"reasn": "a"}}, "no 'reasn'; it has reason, note, kind, paid, days"),
        (FORM, "Send it", {"fill": {"reason": "a"}}, "200340"),
        (FORM, "Clear", {}, "resets its form"),
        (FORM, "Sick", {}, "part of a form"),
    ],
)
async def test_clicks_that_cannot_be(card: object, text: str, options: dict[str, Any], words: str) -> None:
    async with open_caller() as call:
        tom = call.gateway.user("Tom")
        said = await tom.says("?")
        await call.sent(card, "interactive", to=said.chat_id)
        with pytest.raises(LookupError, match=words):
            await tom.clicks(text, **options)


async def test_the_newest_card_is_clicked_that_has_the_button() -> None:
    async with open_caller() as call, connect(call.gateway) as client:
        tom = call.gateway.user("Tom")
        with pytest.raises(LookupError, match="there are none"):
            await tom.clicks("OK")
        chat = (await tom.says("?")).chat_id
        await client.receive()
        ids = [
            await call.sent({"elements": [button(text, value={})]}, "interactive", to=chat)
            for text in ("OK", "OK", "Cancel", "OK")
        ]
        await call("DELETE", f"{MESSAGES}/{ids[3]}")
        for message, clicked in ((None, ids[1]), (ids[0], ids[0]), (call.gateway.messages[0], ids[0])):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(tom.clicks, "OK", message=message))
                frame = await client.receive()
                await client.answer(frame)
            assert json.loads(frame.payload)["event"]["context"]["open_message_id"] == clicked


async def test_a_click_that_nobody_answers(autojump_clock: MockClock) -> None:
    async with open_caller() as call, connect(call.gateway):
        tom = call.gateway.user("Tom")
        await call.sent(V1, "interactive", to=(await tom.says("?")).chat_id)
        with pytest.raises(TimeoutError, match="lost"):
            await tom.clicks("Approve")


# --- a bot --------------------------------------------------------------------------------------------------


@pytest.fixture
def router() -> Router:
    router = Router()

    @router.on("im.message.receive_v1")
    async def on_message(event: Event[MessageReceived]) -> None:
        message = event.data.message
        assert message is not None
        assert message.message_id
        card = {**V1, "elements": [*V1["elements"], button("Wrong", value={"do": "wrong"})]}
        await event.api.reply(message.message_id, card, "interactive")

    @router.on("card.action.trigger")
    async def on_click(event: Event[ActionTriggered]) -> object:
        assert event.data.action is not None
        match event.data.action.value:
            case {"do": "yes"}:
                card = {"elements": [{"tag": "markdown", "content": "Approved"}]}
                return {"toast": {"content": "Thanks"}, "card": {"type": "raw", "data": card}}
            case {"do": "no"}:
                return {"card": {"elements": []}}
            case {"do": "wrong"}:
                return {"card": {"type": "raw", "data": {"text": "hi"}}}
        raise AssertionError

    return router


async def test_a_bot(feishu_gateway: Gateway, router: Router) -> None:
    tom = feishu_gateway.user("Tom")
    async with open_feishu_session(
        feishu_gateway.app_id, feishu_gateway.app_secret, domain=feishu_gateway.domain, router=router
    ):
        await tom.says("deploy, please")
        await tom.waits_for("[Approve]")
        clicked = await tom.clicks("Reject")
        assert (clicked.code, clicked.toast) == (200, None)
        assert clicked.flaw is not None
        assert "type" in clicked.flaw
        before = tom.sees()
        broken = feishu_gateway.messages[0].message_id
        clicked = await tom.clicks("Wrong")
        assert clicked.flaw is not None
        assert clicked.flaw.startswith("its card: parse card json err")
        assert (clicked.message_id, tom.sees()) == (broken, before)  # Feishu shows an error, and the old card
        clicked = await tom.clicks("Approve")
        assert (clicked.code, clicked.toast, clicked.flaw) == (200, "Thanks", None)
        assert tom.sees() == "Tom: deploy, please\nBot: Approved"
    assert not feishu_gateway.refused
    assert not feishu_gateway.violations


async def test_what_was_there_before() -> None:
    async with open_gateway() as gateway, caller_of(gateway) as call:
        tom = gateway.user("Tom")
        mine = gateway.add_message("a", message_id="om_1", sender=tom)
        theirs = gateway.add_message("b", sender=gateway.bot, chat="oc_9")
        assert mine == "om_1"
        assert (await call.reply(mine))["code"] == (await call.reply(theirs))["code"] == 0
        assert tom.sees() == "Tom: a\nBot: hi"
        assert tom.sees("oc_9") == "Bot: b\nBot: hi"
        assert (await call.reply(gateway.add_message()))["code"] == 0
        assert gateway.user("somebody").sees() == "somebody: \nBot: hi"


async def test_ids_are_the_same_in_every_run() -> None:
    seen = []
    for _ in range(2):
        async with open_gateway(seed=3) as gateway:
            said = await gateway.user("Tom").says("a")
            seen.append((gateway.bot.open_id, gateway.user("Tom").open_id, said.message_id))
    assert seen[0] == seen[1]
