"""Who is who."""

from __future__ import annotations

from .calls import open_caller

CHATS = "/open-apis/im/v1/chats"
USERS = "/open-apis/contact/v3/users"


async def test_the_bot() -> None:
    async with open_caller(bot_name="Helper") as call:
        for path in ("/open-apis/bot/v3/info", "/open-apis/bot/v3/info/"):
            answer = await call("GET", path)
            assert answer["bot"]["app_name"] == call.gateway.bot.name == "Helper"
            assert answer["bot"]["open_id"] == call.gateway.bot.open_id


async def test_users() -> None:
    async with open_caller() as call:
        tom, ann = call.gateway.user("Tom"), call.gateway.user("Ann")
        assert call.gateway.user("Tom") is tom
        user = (await call("GET", f"{USERS}/{tom.open_id}"))["data"]["user"]
        assert (user["name"], user["union_id"]) == ("Tom", tom.union_id)
        path = f"{USERS}/{tom.user_id}"
        assert (await call("GET", path, params={"user_id_type": "user_id"}))["data"]["user"] == user
        params = [("user_ids", ann.open_id), ("user_ids", "ou_never"), ("user_ids", tom.open_id)]
        items = (await call("GET", f"{USERS}/batch", params=params))["data"]["items"]
        assert [item["name"] for item in items] == ["Ann", "Tom"]
        assert await call.code("GET", f"{USERS}/ou_never") == 41012


async def test_chats_and_who_is_in_them() -> None:
    async with open_caller() as call:
        gateway = call.gateway
        tom = gateway.user("Tom")
        private = (await tom.says("hello")).chat_id
        group = (await tom.says("hello", chat="Team")).chat_id
        await gateway.user("Ann").says("hello", chat="Team")
        chat = (await call("GET", f"{CHATS}/{group}"))["data"]
        assert (chat["name"], chat["chat_mode"], chat["user_count"]) == ("Team", "group", "2")
        assert (await call("GET", f"{CHATS}/{private}"))["data"]["chat_mode"] == "p2p"
        assert await call.code("GET", f"{CHATS}/oc_never") == 232006
        data = (await call("GET", f"{CHATS}/{group}/members", params={"page_size": 1}))["data"]
        assert ([each["name"] for each in data["items"]], data["member_total"]) == (["Tom"], 2)
        params = {"page_size": 1, "page_token": data["page_token"]}
        data = (await call("GET", f"{CHATS}/{group}/members", params=params))["data"]
        assert ([each["name"] for each in data["items"]], data["has_more"]) == (["Ann"], False)
        for wrong in ({"page_size": "9" * 5000}, {"page_token": "9" * 5000}, {"page_token": "x"}):
            assert await call.code("GET", f"{CHATS}/{group}/members", params=wrong) == 99992402
        (bot,) = (await call("GET", f"{CHATS}/{group}/members/bots"))["data"]["items"]
        assert bot == {"bot_id": gateway.bot.open_id, "bot_name": "Bot"}
        (item,) = (await call("GET", CHATS))["data"]["items"]
        assert item["chat_id"] == group
