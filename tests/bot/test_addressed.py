"""Who is spoken to: `where=to_me()`."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from feishu_trio import ConfigError, Event, MessageIgnored, PermissionMissing, Router, to_me
from feishu_trio.events.im import MessageReceived
from feishu_trio.testing import Gateway
from session.rig import open_session


async def heard(gateway: Gateway, tell: Any, *arguments: Any, **options: Any) -> tuple[list[str], list[str]]:
    """The texts that get through a filter, of those that `tell` says, and why the others do not."""
    router, texts, reasons = Router(), list[str](), list[str]()

    @router.on(MessageReceived, where=to_me(*arguments, **options))
    async def answer(event: Event[MessageReceived]) -> None:
        texts.append(event.text_to_me)

    def note(event: object) -> None:
        if isinstance(event, MessageIgnored):
            reasons.append(event.reason)

    async with open_session(gateway, router=router, on_lifecycle=note):
        await tell()
        await trio.sleep(1)
    return texts, reasons


async def test_private_and_mentioned(autojump_clock: object, gateway: Gateway) -> None:
    tom = gateway.user("Tom")

    async def tell() -> None:
        await tom.says("private")
        await tom.says("not for it", chat="Team")
        await tom.says("for it", chat="Team", mentions=gateway.bot)
        await tom.says("for Ann", chat="Team", mentions=gateway.user("Ann"))
        await tom.says("for all", chat="Team", mentions="all")

    texts, reasons = await heard(gateway, tell)
    assert texts == ["private", "for it"]
    assert reasons == [
        "it does not mention the bot",
        "it does not mention the bot",
        "it mentions everybody, not the bot",
    ]


@pytest.mark.parametrize(
    ("groups", "at_all", "wanted"),
    [
        ("mentioned", True, ["p", "m", "a"]),
        ("all", False, ["p", "n", "m", "a"]),
        ("none", True, ["p"]),
        (["oc_other"], True, ["p"]),
    ],
)
async def test_groups(
    autojump_clock: object, gateway: Gateway, groups: Any, at_all: bool, wanted: list[str]
) -> None:
    tom = gateway.user("Tom")

    async def tell() -> None:
        await tom.says("p")
        await tom.says("n", chat="Team")
        await tom.says("m", chat="Team", mentions=gateway.bot)
        await tom.says("a", chat="Team", mentions="all")

    texts, _ = await heard(gateway, tell, groups, at_all=at_all)
    assert [text.removeprefix("@all").strip() for text in texts] == wanted


async def test_allow(autojump_clock: object, gateway: Gateway) -> None:
    tom, ann = gateway.user("Tom"), gateway.user("Ann")

    async def tell() -> None:
        await tom.says("from Tom")
        await ann.says("from Ann")

    texts, reasons = await heard(gateway, tell, allow=[ann.open_id])
    assert texts == ["from Ann"]
    assert reasons == ["neither who wrote it nor the chat is allowed"]


async def test_bots_are_not_heard(autojump_clock: object, gateway: Gateway) -> None:
    async def tell() -> None:
        for open_id in (gateway.bot.open_id, "ou_other"):
            sender = {"sender_id": {"open_id": open_id}, "sender_type": "app", "tenant_key": "t"}
            message = {
                "message_id": f"om_{open_id}",
                "chat_id": "oc_1",
                "chat_type": "p2p",
                "message_type": "text",
                "content": '{"text":"hello"}',
            }
            await gateway.push("im.message.receive_v1", {"sender": sender, "message": message})

    texts, reasons = await heard(gateway, tell)
    assert texts == []
    assert reasons == ["the bot itself wrote it", "another bot wrote it"]


async def test_a_further_filter(autojump_clock: object, gateway: Gateway) -> None:
    tom = gateway.user("Tom")

    async def tell() -> None:
        await tom.says("/stop")
        await tom.says("go on")

    texts, reasons = await heard(gateway, tell, where=lambda event: event.text_to_me == "/stop")
    assert (texts, reasons) == (["/stop"], [])


async def test_a_route_that_is_added_later(autojump_clock: object, gateway: Gateway) -> None:
    """The first event that needs the bot's name comes again; the next ones need not."""
    router, texts = Router(), list[str]()
    tom = gateway.user("Tom")
    async with open_session(gateway, router=router):

        @router.on(MessageReceived, where=to_me())
        async def answer(event: Event[MessageReceived]) -> None:
            texts.append(event.text_to_me)

        await tom.says("one")
        await trio.sleep(60)
    assert texts == ["one"]


async def test_a_bot_that_is_not_known_for_the_moment(autojump_clock: object, gateway: Gateway) -> None:
    """The session opens, and messages come again once it is."""
    router, texts = Router(), list[str]()

    @router.on(MessageReceived, where=to_me())
    async def answer(event: Event[MessageReceived]) -> None:
        texts.append(event.text_to_me)

    gateway.refuse_calls("*/bot/v3/info", code=2200, status=500)
    async with open_session(gateway, router=router):
        await gateway.user("Tom").says("hello")
        await trio.sleep(30)
        assert texts == []
        gateway.accept()
        await trio.sleep(1000)
    assert texts == ["hello"]


async def test_a_bot_that_may_not_be_known(autojump_clock: object, gateway: Gateway) -> None:
    router = Router()

    @router.on(MessageReceived, where=to_me())
    async def answer(event: Event[MessageReceived]) -> None:
        raise AssertionError

    gateway.refuse_calls("*/bot/v3/info", code=99991672, status=400)
    with pytest.raises(PermissionMissing):
        async with open_session(gateway, router=router):
            raise AssertionError


@pytest.mark.parametrize(
    ("arguments", "options"),
    [(("some",), {}), ((3,), {}), ((), {"allow": "ou_1"}), ((), {"allow": [3]}), ((), {"where": 3})],
)
def test_wrong_arguments(arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        to_me(*arguments, **options)


async def test_a_session_ends_though_the_bot_cannot_be_known(
    autojump_clock: object, gateway: Gateway
) -> None:
    router, began = Router(), 0.0
    gateway.hang_calls("*/bot/v3/info")
    async with open_session(gateway, router=router):

        @router.on(MessageReceived, where=to_me())
        async def answer(event: Event[MessageReceived]) -> None:
            raise AssertionError

        await gateway.user("Tom").says("hello")
        await trio.sleep(1)
        began = trio.current_time()
    assert trio.current_time() - began < 2


async def test_the_maker_of_filters_is_no_filter(
    autojump_clock: object, gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    router = Router()
    router.on(MessageReceived, where=to_me)(lambda event: None)  # type: ignore[arg-type]
    async with open_session(gateway, router=router):
        said = await gateway.user("Tom").says("hello")
        assert (await said.push.answer()).code == 500
    assert "write where=to_me()" in caplog.text
