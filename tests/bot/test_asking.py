"""Questions: the first allowed click wins, late and foreign ones are told so, and none outlives its handler."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from feishu_trio import (
    Ack,
    Card,
    Choice,
    ConfigError,
    Event,
    InboxError,
    MemoryInbox,
    Router,
    SQLiteInbox,
)
from feishu_trio.events.im import MessageReceived
from feishu_trio.testing import Gateway
from session.rig import come_true, open_session

MODERN = {
    "schema": "2.0",
    "body": {
        "elements": [
            {"tag": "markdown", "content": "Deploy?"},
            {
                "tag": "button",
                "text": {"tag": "plain_text", "content": "Go"},
                "behaviors": [{"type": "callback", "value": {"go": 1}}],
            },
        ]
    },
}
OLD = {
    "elements": [
        {"tag": "div", "text": {"tag": "plain_text", "content": "Deploy?"}},
        {
            "tag": "action",
            "actions": [
                {"tag": "button", "text": {"tag": "plain_text", "content": "Go"}, "value": {"go": 1}}
            ],
        },
    ]
}


class Asker:
    """A router whose handler asks, and keeps what comes of it."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.router = Router()
        self.choices: list[Choice] = []
        self.errors: list[Exception] = []
        self.runs = 0
        self.arguments, self.options = arguments, options
        self.router.on(MessageReceived, name="asks")(self.ask)

    async def ask(self, event: Event[MessageReceived]) -> None:
        self.runs += 1
        try:
            self.choices.append(await event.ask(*self.arguments, **self.options))
        except Exception as error:
            self.errors.append(error)

    async def ended(self) -> None:
        with trio.fail_after(1000):
            await come_true(lambda: self.choices or self.errors)


async def test_a_click_answers(autojump_clock: object, gateway: Gateway) -> None:
    asker, tom = Asker("Deploy?", ["Yes", "No"]), gateway.user("Tom")
    async with open_session(gateway, router=asker.router):
        await tom.says("deploy")
        seen = await tom.waits_for("[Yes]")
        assert "Deploy?" in seen
        clicked = await tom.clicks("Yes")
        await asker.ended()
    (choice,) = asker.choices
    assert (choice, choice.by.open_id, clicked.code) == ("Yes", tom.open_id, 200)
    seen = tom.sees()
    assert ("[Yes]" in seen, "[No]" in seen, "Yes" in seen) == (False, False, True)


async def test_choices_with_names(autojump_clock: object, gateway: Gateway) -> None:
    asker, tom = Asker("Deploy?", {"go": "Go on", "stop": "Rather not"}), gateway.user("Tom")
    async with open_session(gateway, router=asker.router):
        await tom.says("deploy")
        await tom.waits_for("[Go on]")
        await tom.clicks("Rather not")
        await asker.ended()
    assert asker.choices == ["stop"]
    assert "Rather not" in tom.sees()


@pytest.mark.parametrize("card", [MODERN, OLD, Card.raw(MODERN)], ids=["2.0", "1.0", "a Card"])
async def test_a_card_of_ones_own(
    autojump_clock: object, gateway: Gateway, card: Card | dict[str, Any]
) -> None:
    asker, tom = Asker(card), gateway.user("Tom")
    async with open_session(gateway, router=asker.router):
        await tom.says("deploy")
        await tom.waits_for("[Go]")
        await tom.clicks("Go")
        await asker.ended()
    assert asker.choices[0].value == {"go": 1}
    assert asker.choices == ['{"go":1}']
    assert "[Go]" not in tom.sees()
    assert "Deploy?" in tom.sees()
    assert "Go" in tom.sees()


LEAVE_FORM = {
    "schema": "2.0",
    "body": {
        "elements": [
            {
                "tag": "form",
                "name": "leave",
                "elements": [
                    {"tag": "input", "name": "reason"},
                    {
                        "tag": "button",
                        "name": "ok",
                        "text": {"tag": "plain_text", "content": "Submit"},
                        "form_action_type": "submit",
                        "behaviors": [{"type": "callback", "value": {"do": "submit"}}],
                    },
                ],
            }
        ]
    },
}
LEAVE_MENU = {
    "schema": "2.0",
    "body": {
        "elements": [
            {
                "tag": "select_static",
                "options": [
                    {"text": {"tag": "plain_text", "content": text}, "value": value}
                    for text, value in (("Sick", "s"), ("Holiday", "h"))
                ],
            }
        ]
    },
}


@pytest.mark.parametrize(
    ("arguments", "clicked", "chosen", "fill"),
    [
        (("Deploy?", {"go": "Go on", "stop": "Rather not"}), "Rather not", "stop", None),
        ((LEAVE_FORM,), "Submit", '{"do":"submit"}', {"reason": "flu"}),
        ((LEAVE_MENU,), "Holiday", "h", None),
        ((OLD,), "Go", '{"go":1}', None),
    ],
    ids=["choices", "form", "menu", "1.0"],
)
async def test_the_card_says_what_was_chosen_in_its_own_words(
    autojump_clock: object,
    gateway: Gateway,
    arguments: tuple[Any, ...],
    clicked: str,
    chosen: str,
    fill: dict[str, object] | None,
) -> None:
    asker, tom = Asker(*arguments), gateway.user("Tom")
    async with open_session(gateway, router=asker.router):
        await tom.says("leave")
        await tom.waits_for("[")
        await tom.clicks(clicked, fill=fill)
        await asker.ended()
    assert asker.choices == [chosen]
    assert f"**{clicked}** @Tom" in tom.sees()


async def test_others_and_late_clicks_are_told_so(autojump_clock: object, gateway: Gateway) -> None:
    tom, ann = gateway.user("Tom"), gateway.user("Ann")
    asker = Asker("Deploy?", ["Yes"])
    async with open_session(gateway, router=asker.router):
        await tom.says("deploy", chat="Team")
        await tom.waits_for("[Yes]", chat="Team")
        foreign = await ann.clicks("Yes", chat="Team")
        assert (foreign.toast, asker.choices) == ("This question is not for you.", [])
        await tom.clicks("Yes", chat="Team")
        await asker.ended()
        # A click that was on its way when the question was answered.
        late = await gateway.push("card.action.trigger", click_of(foreign, tom.open_id))
        answer = await late.answer()
    assert answer.data["toast"]["content"] == "This question is closed."  # type: ignore[index]
    assert len(asker.choices) == 1


def click_of(clicked: Any, open_id: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(clicked.push.payload)["event"]
    body["operator"]["open_id"] = open_id
    return body


async def test_who_is_allowed(autojump_clock: object, gateway: Gateway) -> None:
    tom, ann = gateway.user("Tom"), gateway.user("Ann")
    asker = Asker("Deploy?", ["Yes"], allowed=[ann.open_id])
    async with open_session(gateway, router=asker.router):
        await tom.says("deploy", chat="Team")
        await tom.waits_for("[Yes]", chat="Team")
        assert (await tom.clicks("Yes", chat="Team")).toast == "This question is not for you."
        await ann.clicks("Yes", chat="Team")
        await asker.ended()
    assert asker.choices[0].by.open_id == ann.open_id


async def test_anyone(autojump_clock: object, gateway: Gateway) -> None:
    tom, ann = gateway.user("Tom"), gateway.user("Ann")
    asker = Asker("Deploy?", ["Yes"], allowed="*")
    async with open_session(gateway, router=asker.router):
        await tom.says("deploy", chat="Team")
        await ann.waits_for("[Yes]", chat="Team")
        await ann.clicks("Yes", chat="Team")
        await asker.ended()
    assert asker.choices[0].by.open_id == ann.open_id


async def test_nobody_answers(autojump_clock: object, gateway: Gateway) -> None:
    asker, tom = Asker("Deploy?", ["Yes"], timeout=60), gateway.user("Tom")
    async with open_session(gateway, router=asker.router):
        await tom.says("deploy")
        await asker.ended()
        seen = await tom.waits_for("closed")
    assert [type(error) for error in asker.errors] == [TimeoutError]
    assert "[Yes]" not in seen


async def test_it_ends_with_its_handler(autojump_clock: object, gateway: Gateway) -> None:
    router, tom = Router(), gateway.user("Tom")

    @router.on(MessageReceived, timeout=30, ack=Ack.ON_RECEIPT)
    async def answer(event: Event[MessageReceived]) -> None:
        await event.ask("Deploy?", ["Yes"])

    async with open_session(gateway, router=router):
        await tom.says("deploy")
        await tom.waits_for("[Yes]")
        await tom.waits_for("closed", timeout=60)


@pytest.mark.parametrize("steps", range(0, 90, 3))
async def test_cancelled_wherever_it_stands_no_question_is_left_open(
    autojump_clock: object, gateway: Gateway, steps: int
) -> None:
    router, tom, was_cancelled = Router(), gateway.user("Tom"), list[bool]()

    @router.on(MessageReceived, ack=Ack.ON_RECEIPT)
    async def answer(event: Event[MessageReceived]) -> None:
        with trio.CancelScope() as scope:

            async def cancel() -> None:
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
                scope.cancel()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel)
                await event.ask("Deploy?", ["Yes"])
        was_cancelled.append(scope.cancelled_caught)

    async with open_session(gateway, router=router):
        await tom.says("deploy")
        with trio.fail_after(10):
            await come_true(lambda: was_cancelled)
    assert was_cancelled == [True]
    assert "[Yes]" not in tom.sees()
    assert [message.kind for message in gateway.messages].count("reply") <= 1


async def test_cancelled_as_it_is_sent_it_is_closed(autojump_clock: object, gateway: Gateway) -> None:
    """Feishu's answer, which has the message's id, is still to come."""
    router, tom = Router(), gateway.user("Tom")

    @router.on(MessageReceived, ack=Ack.ON_RECEIPT, timeout=2)
    async def answer(event: Event[MessageReceived]) -> None:
        await event.ask("Deploy?", ["Yes"])

    gateway.hang_calls("*/reply", times=1, handled=True)
    async with open_session(gateway, router=router):
        await tom.says("deploy")
        await tom.waits_for("[Yes]")
        seen = await tom.waits_for("closed", timeout=10)
    assert "[Yes]" not in seen
    assert [message.kind for message in gateway.messages].count("reply") == 1


async def test_several_at_a_time(autojump_clock: object, gateway: Gateway) -> None:
    tom, router, chosen = gateway.user("Tom"), Router(), list[str]()

    @router.on(MessageReceived, ack=Ack.ON_RECEIPT)
    async def answer(event: Event[MessageReceived]) -> None:
        async def ask(what: str) -> None:
            chosen.append(await event.ask(f"{what}?", [f"Yes, {what}", "No"]))

        async with trio.open_nursery() as nursery:
            for what in ("one", "two"):
                nursery.start_soon(ask, what)

    async with open_session(gateway, router=router):
        await tom.says("deploy")
        await tom.waits_for(lambda seen: "[Yes, one]" in seen and "[Yes, two]" in seen)
        await tom.clicks("Yes, two")
        await tom.clicks("Yes, one")
        await trio.sleep(1)
    assert chosen == ["Yes, two", "Yes, one"]


async def test_a_click_needs_no_worker(autojump_clock: object, gateway: Gateway) -> None:
    """Every worker asks, and every one is answered."""
    tom = gateway.user("Tom")
    asker = Asker("Deploy?", ["Yes"])
    async with open_session(gateway, router=asker.router, concurrency=1):
        await tom.says("deploy")
        await tom.waits_for("[Yes]")
        await tom.clicks("Yes")
        await asker.ended()
    assert asker.choices == ["Yes"]


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (("Deploy?",), {}),
        (("Deploy?", []), {}),
        (("Deploy?", "Yes"), {}),
        (("Deploy?", [("yes", "Yes")]), {}),
        (("Deploy?", {"yes": 1}), {}),
        (("Deploy?", ["Yes", "Yes"]), {}),
        (("Deploy?", ["Yes"]), {"allowed": []}),
        (("Deploy?", ["Yes"]), {"allowed": 5}),
        (("Deploy?", ["Yes"]), {"timeout": "60"}),
        (("Deploy?", ["Yes"]), {"timeout": -1}),
        ((Card.template("AAq1"),), {}),
        ((MODERN, ["Yes"]), {}),
        (({"schema": "2.0", "body": {"elements": []}},), {}),
        ((3,), {}),
        (("Deploy?", {"go": None}), {}),
        (("Deploy?", ["Yes"]), {"timeout": "a while"}),
        (
            (
                {
                    "schema": "2.0",
                    "body": {
                        "elements": [
                            {
                                "tag": "button",
                                "text": {"tag": "plain_text", "content": "Go"},
                                "behaviors": [{"type": "open_url", "default_url": "https://example.com"}],
                            }
                        ]
                    },
                },
            ),
            {},
        ),
    ],
)
async def test_what_cannot_be_asked(
    autojump_clock: object, gateway: Gateway, arguments: tuple[Any, ...], options: dict[str, Any]
) -> None:
    asker = Asker(*arguments, **options)
    async with open_session(gateway, router=asker.router):
        await gateway.user("Tom").says("deploy")
        await asker.ended()
    assert [type(error) for error in asker.errors] == [ConfigError]
    assert not gateway.messages


async def test_with_an_inbox_it_is_asked_on_after_a_restart(gateway: Gateway, tmp_path: Path) -> None:
    tom, asked = gateway.user("Tom"), False
    asker = Asker("Deploy?", ["Yes", "No"])
    for _ in range(2):
        inbox = SQLiteInbox(tmp_path / "bot.db")
        async with open_session(gateway, router=asker.router, inbox=inbox, shutdown_timeout=0.1):
            if not asked:
                await tom.says("deploy")
                await tom.waits_for("[Yes]")
            else:
                with trio.fail_after(5):
                    await come_true(lambda: asker.runs == 2)
                await tom.clicks("Yes")
                await asker.ended()
            asked = True
    assert (asker.choices, len(gateway.messages)) == (["Yes"], 1)


async def test_with_an_inbox_the_answer_is_known_after_a_restart(gateway: Gateway, tmp_path: Path) -> None:
    tom, router, chosen = gateway.user("Tom"), Router(), list[Choice]()

    @router.on(MessageReceived)
    async def answer(event: Event[MessageReceived]) -> None:
        chosen.append(await event.ask("Deploy?", ["Yes", "No"]))
        if len(chosen) == 1:
            await trio.sleep_forever()

    for run in range(2):
        inbox = SQLiteInbox(tmp_path / "bot.db")
        async with open_session(gateway, router=router, inbox=inbox, shutdown_timeout=0.1):
            if run == 0:
                await tom.says("deploy")
                await tom.waits_for("[Yes]")
                await tom.clicks("No")
            with trio.fail_after(5):
                await come_true(partial(reached, chosen, run + 1))
    assert chosen == ["No", "No"]
    assert {choice.by.open_id for choice in chosen} == {tom.open_id}
    assert len(gateway.messages) == 1


def reached(values: list[Any], count: int) -> bool:
    return len(values) == count


FORM = {
    "schema": "2.0",
    "body": {
        "elements": [
            {
                "tag": "form",
                "name": "form",
                "elements": [
                    {"tag": "input", "name": "reason", "required": True},
                    {
                        "tag": "button",
                        "name": "send",
                        "form_action_type": "submit",
                        "text": {"tag": "plain_text", "content": "Send"},
                    },
                ],
            },
        ]
    },
}


async def test_a_form_is_answered_by_its_button(autojump_clock: object, gateway: Gateway) -> None:
    asker, tom = Asker(FORM), gateway.user("Tom")
    async with open_session(gateway, router=asker.router):
        await tom.says("deploy")
        await tom.waits_for("[Send]")
        card = json.dumps(gateway.messages[0].content)
        await tom.clicks("Send", fill={"reason": "because"})
        await asker.ended()
    assert (asker.choices, asker.choices[0].form) == (["send"], {"reason": "because"})
    assert card.count("feishu_trio_question") == 1


MENU = {
    "tag": "select_static",
    "options": [{"text": {"tag": "plain_text", "content": "Red one"}, "value": "red"}],
}


@pytest.mark.parametrize(
    "card",
    [
        {
            "schema": "2.0",
            "body": {"elements": [{"tag": "column_set", "columns": [{"tag": "column", "elements": [MENU]}]}]},
        },
        {"elements": [{"tag": "action", "actions": [MENU]}]},
    ],
    ids=["2.0", "1.0"],
)
async def test_a_menu(autojump_clock: object, gateway: Gateway, card: dict[str, Any]) -> None:
    asker, tom = Asker(card), gateway.user("Tom")
    async with open_session(gateway, router=asker.router):
        await tom.says("deploy")
        await tom.waits_for("[Red one]")
        await tom.clicks("Red one")
        await asker.ended()
    assert asker.choices == ["red"]
    assert "Red one" in tom.sees()
    assert "[Red one]" not in tom.sees()


async def test_what_was_filled_in_is_the_answer(autojump_clock: object, gateway: Gateway) -> None:
    card = {"schema": "2.0", "body": {"elements": [{"tag": "input", "name": "reason"}]}}
    asker, tom = Asker(card), gateway.user("Tom")
    async with open_session(gateway, router=asker.router):
        await tom.says("deploy")
        with trio.fail_after(5):
            await come_true(lambda: gateway.messages)
        sent = json.loads(json.dumps(gateway.messages[0].content))
        (behavior,) = sent["body"]["elements"][0]["behaviors"]
        body = {
            "operator": {"open_id": tom.open_id},
            "token": "c-1",
            "action": {"tag": "input", "value": behavior["value"], "input_value": "because"},
            "context": {"open_message_id": gateway.messages[0].message_id},
        }
        await gateway.push("card.action.trigger", body)
        await asker.ended()
    assert asker.choices == ["because"]


@pytest.mark.parametrize("behaviors", [3, "x", [3], {"type": "callback"}])
async def test_a_card_of_the_wrong_shape(autojump_clock: object, gateway: Gateway, behaviors: Any) -> None:
    asker = Asker({"schema": "2.0", "body": {"elements": [{"tag": "button", "behaviors": behaviors}]}})
    async with open_session(gateway, router=asker.router):
        await gateway.user("Tom").says("deploy")
        await asker.ended()
    assert [type(error) for error in asker.errors] == [ConfigError]


async def test_without_an_inbox_it_is_asked_anew(autojump_clock: object, gateway: Gateway) -> None:
    """For the card of the run before says that it is closed, and Feishu would send none that has its uuid."""
    router, tom, chosen = Router(), gateway.user("Tom"), list[Choice]()

    @router.on(MessageReceived)
    async def answer(event: Event[MessageReceived]) -> None:
        chosen.append(await event.ask("Deploy?", ["Yes"], timeout=10))

    async with open_session(gateway, router=router):
        await tom.says("deploy")
        await tom.waits_for("closed", timeout=60)
        await tom.waits_for("[Yes]", timeout=600)
        await tom.clicks("Yes")
        with trio.fail_after(5):
            await come_true(lambda: chosen)
    assert tom.sees().count("closed") == 1


async def test_an_answer_that_cannot_be_kept(autojump_clock: object, gateway: Gateway) -> None:
    router, tom, chosen, runs = Router(), gateway.user("Tom"), list[Choice](), list[int]()

    @router.on(MessageReceived)
    async def answer(event: Event[MessageReceived]) -> None:
        notes = event.notes
        assert notes is not None
        real = type(notes).note
        runs.append(1)

        async def note(self: Any, handler: str, key: str, value: bytes) -> None:
            if b"choice" in value and len(runs) == 1:
                raise InboxError("the disk is full")
            await real(self, handler, key, value)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(notes), "note", note)
            chosen.append(await event.ask("Deploy?", ["Yes"]))

    async with open_session(gateway, router=router, inbox=MemoryInbox()):
        await tom.says("deploy")
        await tom.waits_for("[Yes]")
        clicked = await tom.clicks("Yes")
        await trio.sleep(60)
        await tom.clicks("Yes")
        with trio.fail_after(5):
            await come_true(lambda: chosen)
    assert clicked.toast is not None
    assert "could not be kept" in clicked.toast
    assert len(gateway.messages) == 1


async def test_an_old_card_may_be_changed_later(autojump_clock: object, gateway: Gateway) -> None:
    """Feishu changes only those of which all see the same."""
    asker, tom = Asker(OLD, timeout=5), gateway.user("Tom")
    async with open_session(gateway, router=asker.router):
        await tom.says("deploy")
        await tom.waits_for("[Go]")
        assert '"update_multi": true' in json.dumps(gateway.messages[0].content)
        await tom.waits_for("closed", timeout=60)


async def test_nobody_is_allowed_whom_nobody_knows(autojump_clock: object, gateway: Gateway) -> None:
    router, errors = Router(), list[Exception]()

    @router.on("im.chat.disbanded_v1")
    async def answer(event: Event[Any]) -> None:
        with pytest.raises(ConfigError, match="allowed") as raised:
            await event.ask("Deploy?", ["Yes"])
        errors.append(raised.value)

    async with open_session(gateway, router=router):
        push = await gateway.push("im.chat.disbanded_v1", {"chat_id": "oc_1"})
        await push.settled()
    assert errors
    assert not gateway.messages


async def test_a_click_that_comes_before_the_answer_to_the_call(
    autojump_clock: object, gateway: Gateway
) -> None:
    asker, tom = Asker("Deploy?", ["Yes"]), gateway.user("Tom")
    gateway.hang_calls("*/reply", handled=True)
    async with open_session(gateway, router=asker.router):
        await tom.says("deploy")
        await tom.waits_for("[Yes]")
        began = trio.current_time()
        await tom.clicks("Yes")
        await asker.ended()
        assert trio.current_time() - began < 1
    assert asker.choices == ["Yes"]


async def test_with_an_inbox_nobody_is_asked_again_on_a_closed_card(
    autojump_clock: object, gateway: Gateway
) -> None:
    router, tom, began = Router(), gateway.user("Tom"), list[float]()

    @router.on(MessageReceived)
    async def answer(event: Event[MessageReceived]) -> None:
        began.append(trio.current_time())
        try:
            await event.ask("Deploy?", ["Yes"], timeout=500)
        finally:
            began.append(trio.current_time())

    async with open_session(gateway, router=router, inbox=MemoryInbox()):
        await tom.says("deploy")
        await tom.waits_for("closed", timeout=1000)
        await trio.sleep(60)
    assert len(began) >= 4
    assert began[3] - began[2] < 1  # the next run knows that nobody has answered


async def test_with_an_inbox_stopped_it_is_closed(autojump_clock: object, gateway: Gateway) -> None:
    router, tom = Router(), gateway.user("Tom")

    @router.on(MessageReceived, where=lambda event: event.text == "deploy")
    async def answer(event: Event[MessageReceived]) -> None:
        await event.ask("Deploy?", ["Yes"])

    @router.on(MessageReceived, where=lambda event: event.text == "/stop", ack=Ack.ON_RECEIPT, order_by=None)
    async def stop(event: Event[MessageReceived]) -> None:
        await event.cancel()

    async with open_session(gateway, router=router, inbox=MemoryInbox()):
        await tom.says("deploy")
        await tom.waits_for("[Yes]")
        await tom.says("/stop")
        seen = await tom.waits_for("closed", timeout=10)
    assert "[Yes]" not in seen


async def test_an_answer_is_to_its_own_question(autojump_clock: object, gateway: Gateway) -> None:
    """Asked at once they are asked in any order, which is another when the handler runs again."""
    router, tom, given, runs = Router(), gateway.user("Tom"), list[tuple[str, str]](), list[int]()

    @router.on(MessageReceived)
    async def answer(event: Event[MessageReceived]) -> None:
        runs.append(1)

        async def ask(what: str) -> None:
            given.append((what, await event.ask(f"{what}?", [f"Yes, {what}"])))

        async with trio.open_nursery() as nursery:
            for what in ("one", "two") if len(runs) == 1 else ("two", "one"):
                nursery.start_soon(ask, what)
                await trio.sleep(1)
            if len(runs) == 1:
                await come_true(lambda: len(given) == 1)
                raise ValueError("once more")

    async with open_session(gateway, router=router, inbox=MemoryInbox()):
        await tom.says("deploy")
        await tom.waits_for("[Yes, two]")
        await tom.clicks("Yes, one")
        await trio.sleep(60)
        await tom.clicks("Yes, two")
        with trio.fail_after(100):
            await come_true(lambda: len(given) == 3)
    assert sorted(given) == [("one", "Yes, one"), ("one", "Yes, one"), ("two", "Yes, two")]
    assert len(gateway.messages) == 2


async def test_a_handler_in_a_thread_that_is_given_up_asks_no_more(gateway: Gateway) -> None:
    router, tom, errors = Router(), gateway.user("Tom"), list[Exception]()

    @router.on(MessageReceived, timeout=0.5, ack=Ack.ON_RECEIPT)
    def answer(event: Event[MessageReceived]) -> None:
        try:
            trio.from_thread.run(event.ask, "Deploy?", ["Yes"])
        except Exception as error:
            errors.append(error)

    async with open_session(gateway, router=router):
        await tom.says("deploy")
        await tom.waits_for("closed")
        with trio.fail_after(5):
            await come_true(lambda: errors)
    assert "given up" in str(errors[0])
