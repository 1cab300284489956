"""What type checkers make of handlers and how they are registered: read by mypy and pyright, and importable.

`assert_type` says what must be inferred. Where a line must be an error it is ignored by name, and as both
checkers tell ignores that are of no use, it is an error for them if the line is none.
"""

from __future__ import annotations

from typing import Any, assert_type

from feishu_trio import (
    CardAnswer,
    Event,
    Inbox,
    Router,
    Session,
    SessionConfig,
    SessionSettings,
    Toast,
    open_feishu_session,
    open_worker,
    run,
    run_worker,
)
from feishu_trio.events import card, contact, im, types

router = Router()


# A model gives the handler its type.


@router.on(im.MessageReceived)
async def by_model(event: Event[im.MessageReceived]) -> None:
    assert_type(event.data, im.MessageReceived)
    assert_type(event.data.message, im.Message)
    assert_type(event.data.message.message_id, str)
    assert_type(event.data.message.content.upper(), str)
    assert_type(event.data.sender.sender_id, im.UserId | None)
    assert_type(event.text, str | None)
    assert_type((event.chat_id, event.about, event.thread_key, event.markdown), tuple[str, str, str, str])
    assert_type(event.sender.open_id, str)
    assert_type(event.sender.is_bot, bool)
    assert_type([resource.key for resource in event.resources], list[str])
    assert_type(event.mentions, tuple[im.Mention, ...])
    event.data.massage  # type: ignore[attr-defined]  # noqa: B018


@router.on(contact.UserCreated)
def plain(event: Event[contact.UserCreated]) -> str | None:
    user = assert_type(event.data.object, contact.UserEvent | None)
    return None if user is None else user.name


@router.on(card.ActionTriggered, fallback=CardAnswer(Toast("one moment")), timeout=30)
async def click(event: Event[card.ActionTriggered]) -> CardAnswer:
    assert_type(event.data.token, str | None)
    return CardAnswer(Toast("done", "success"))


router.on(im.MessageRecalled)(lambda event: assert_type(event, Event[im.MessageRecalled]))


@router.on(
    im.MessageReceived,
    where=lambda event: event.data.sender.sender_type,
    order_by=lambda event: event.data.message,
)
async def filtered(event: Event[im.MessageReceived]) -> None: ...


# A handler may take more than it is given.


@router.on(im.MessageReceived)
async def of_anything(event: Event[object]) -> None: ...


@router.on(im.MessageReceived)
async def of_either(event: Event[im.MessageReceived | contact.UserCreated]) -> None: ...


# But nothing else.


@router.on(im.MessageReceived)  # type: ignore[arg-type]
async def of_another_model(event: Event[contact.UserCreated]) -> None: ...


@router.on(im.MessageReceived)  # type: ignore[arg-type]
def plain_of_another_model(event: Event[contact.UserCreated]) -> None: ...


@router.on(im.MessageReceived)  # type: ignore[arg-type]
async def of_the_body(event: im.MessageReceived) -> None: ...


@router.on(im.MessageReceived, where=lambda event: event.data.object)  # type: ignore[attr-defined]
async def filtered_by_what_is_not_there(event: Event[im.MessageReceived]) -> None: ...


# A type string, a glob or a list says nothing of the data; the handler keeps the type that it has.


@router.on("im.message.receive_v1")
async def by_name(event: Event[im.MessageReceived]) -> None: ...


@router.on(["contact.*", im.MessageReceived, types.CARD_ACTION_TRIGGER])
async def by_list(event: Event[Any]) -> None:
    assert_type(event.data, Any)


@router.on_message("notice")
async def notice(message: dict[str, Any]) -> None: ...


# What is registered stays what it was.


async def call(message: Event[im.MessageReceived], user: Event[contact.UserCreated]) -> None:
    assert_type(await by_model(message), None)
    assert_type(plain(user), str | None)
    assert_type(await by_name(message), None)
    await by_model(user)  # type: ignore[arg-type]
    await by_name(user)  # type: ignore[arg-type]
    await notice(message)  # type: ignore[arg-type]


async def pull(session: Session) -> None:
    async with session.events("im.*") as events:
        async for event in events:
            assert_type(event, Event[Any])


# Settings by name: a wrong name or type is an error, wherever they are given.


def settings(inbox: Inbox) -> None:
    usual: SessionSettings = {"heartbeat_interval": 20, "pools": {"slow": 8, "fast": {"concurrency": 2}}}
    open_feishu_session("cli_a", "secret", router=router, **usual)
    open_feishu_session(ack="on_receipt", connections=2, proxy=None)
    open_feishu_session(hearbeat_interval=20)  # type: ignore[call-arg]
    open_feishu_session(heartbeat_interval="20")  # type: ignore[arg-type]
    open_worker(inbox, router, app_id="cli_a", **usual)
    open_worker(inbox, router, claim=True)  # type: ignore[call-arg]
    run(router, inbox=inbox, claim=False, store="im.*", metrics_port=9090, **usual)
    run(router, conections=2)  # type: ignore[call-arg]
    run(router, connections="2")  # type: ignore[arg-type]
    run_worker(inbox, router, app_id="cli_a", app_secret="secret", **usual)
    run_worker(inbox, router, store="im.*")  # type: ignore[call-arg]
    SessionConfig().evolve(app_id="cli_a", **usual)
    SessionConfig().evolve(handler_mode="one")  # type: ignore[arg-type]
