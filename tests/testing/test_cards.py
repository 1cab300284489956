"""Card entities: how they are made, stream, and change."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from feishu_trio.testing import Shown

from .calls import MESSAGES, Caller, open_caller
from .client import connect

CARDS = "/open-apis/cardkit/v1/cards"
TEXT = {"tag": "markdown", "element_id": "text", "content": "…"}


def card(*elements: object, **config: object) -> dict[str, Any]:
    return {"schema": "2.0", "config": config, "body": {"elements": list(elements or [TEXT])}}


async def create(call: Caller, content: object) -> dict[str, Any]:
    return await call("POST", CARDS, {"type": "card_json", "data": json.dumps(content)})


async def streaming(call: Caller, *elements: object) -> str:
    """The id of a card that streams, sent to Tom."""
    card_id = str((await create(call, card(*elements, streaming_mode=True)))["data"]["card_id"])
    tom = call.gateway.user("Tom")
    body = {
        "receive_id": tom.open_id,
        "msg_type": "interactive",
        "content": json.dumps({"type": "card", "data": {"card_id": card_id}}),
    }
    assert await call.code("POST", f"{MESSAGES}?receive_id_type=open_id", body) == 0
    return card_id


async def write(
    call: Caller, card_id: str, text: str, sequence: object, element: str = "text", **more: object
) -> int:
    path = f"{CARDS}/{card_id}/elements/{element}/content"
    return await call.code("PUT", path, {"content": text, "sequence": sequence, **more})


async def configure(call: Caller, card_id: str, sequence: int, **config: object) -> int:
    body = {"settings": json.dumps({"config": config}), "sequence": sequence}
    return await call.code("PATCH", f"{CARDS}/{card_id}/settings", body)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ({"elements": []}, 300303),
        ({}, 300307),
        ([], 200220),
        ({"schema": "2.0"}, 200220),
        ({**card(), "config": "streaming"}, 200220),
        (card({"tag": "markdown", "content": "x" * 31_000}), 200860),
        (card(TEXT, TEXT), 300301),
        (card(*[{"tag": "hr"}] * 201), 300305),
        (card(update_multi=False), 300302),
        (card({"tag": "img", "img_key": "img_1"}), 230099),
    ],
)
async def test_cards_that_cannot_be_made(content: object, code: int) -> None:
    async with open_caller() as call:
        assert (await create(call, content))["code"] == code


@pytest.mark.parametrize(
    "body",
    [{}, {"type": "card_json"}, {"type": "template", "data": "{}"}, {"type": "card_json", "data": card()}],
)
async def test_a_card_is_made_of_its_type_and_json_in_a_string(body: object) -> None:
    async with open_caller() as call:
        assert await call.code("POST", CARDS, body) == 99992402


async def test_a_text_is_streamed(autojump_clock: MockClock) -> None:
    async with open_caller() as call:
        tom = call.gateway.user("Tom")
        card_id = await streaming(call)
        assert tom.sees() == "Bot: … (streaming)"
        assert await write(call, card_id, "Hel", 1) == 0
        assert await write(call, card_id, "Hello", 5) == 0
        assert tom.sees() == "Bot: Hello (streaming)"
        assert await configure(call, card_id, 6, streaming_mode=False) == 0
        assert tom.sees() == "Bot: Hello"
        assert await write(call, card_id, "Hello!", 7) == 300309
        assert await configure(call, card_id, 7, streaming_mode=True) == 0
        assert await write(call, card_id, "Hello!", 8) == 0


async def test_one_message_as_a_person_sees_it(autojump_clock: MockClock) -> None:
    async with open_caller() as call, trio.open_nursery() as nursery:
        gateway, tom = call.gateway, call.gateway.user("Tom")
        card_id = await streaming(call)
        message = gateway.messages[0]
        assert gateway.shown(message) == Shown("…", True)

        async def later() -> None:
            await trio.sleep(2)
            await write(call, card_id, f"as <at id={tom.open_id}></at> and <at id=ou_7></at> said", 1)

        nursery.start_soon(later)
        shown = await gateway.wait_shown(message, lambda shown: shown.text != "…")
        assert shown == Shown("as @Tom and @ou_7 said", True)
        assert trio.current_time() == 2
        await gateway.wait_shown(message.message_id, lambda shown: not shown.is_streaming)
        assert trio.current_time() == pytest.approx(600, abs=1)  # it ends by itself
        await tom.recalls(mine := await tom.says("a"))
        assert gateway.shown(mine) == Shown("", False)
        with pytest.raises(LookupError, match="there is no message 'om_7'"):
            gateway.shown("om_7")


async def test_sequences_rise_over_all_operations(autojump_clock: MockClock) -> None:
    async with open_caller() as call:
        card_id = await streaming(call)
        assert await write(call, card_id, "a", 3) == 0
        for sequence, code in [
            (3, 300317),
            (2, 300317),
            (0, 99992402),
            (2**31, 99992402),
            ("4", 99992402),
            (True, 99992402),
        ]:
            assert await write(call, card_id, "b", sequence) == code
        assert await configure(call, card_id, 3, streaming_mode=False) == 300317
        assert await write(call, card_id, "x" * 31_000, 4) == 200860
        assert await write(call, card_id, "b", 4) == 0  # what was refused took up no sequence


async def test_a_uuid_is_used_once_for_a_card() -> None:
    async with open_caller() as call:
        card_id, other = await streaming(call), await streaming(call)
        assert await write(call, card_id, "a", 1, uuid="u") == 0
        assert await write(call, card_id, "b", 2, uuid="u") == 200770
        assert await write(call, other, "a", 1, uuid="u") == 0
        assert await write(call, card_id, "b", 2, uuid="") == 99992402


async def test_a_card_takes_ten_operations_a_second(autojump_clock: MockClock) -> None:
    async with open_caller() as call:
        card_id = await streaming(call)
        codes = [await write(call, card_id, str(n), n) for n in range(1, 12)]
        assert codes == [0] * 10 + [99991400]
        body = {"content": "a", "sequence": 11}
        response = await call.response("PUT", f"{CARDS}/{card_id}/elements/text/content", body)
        assert (response.status_code, response.headers["x-ogw-ratelimit-limit"]) == (429, "10")
        await trio.sleep(1)
        assert await write(call, card_id, "a", 11) == 0


async def test_what_cannot_be_streamed() -> None:
    async with open_caller() as call:
        button = {"tag": "button", "element_id": "ok", "text": {"tag": "plain_text", "content": "OK"}}
        chart = {"tag": "hr", "element_id": "rule"}
        card_id = await streaming(call, TEXT, button, chart)
        assert await write(call, "7", "a", 1) == 200740
        assert await write(call, card_id, "a", 1, "other") == 300313
        assert await write(call, card_id, "a", 1, "rule") == 300310
        assert await write(call, card_id, "", 1) == 99992402
        assert await write(call, card_id, "|a|b|\n|-|-|\n|1|2|\n\n" * 6, 1) == 230099
        assert await write(call, card_id, "Done", 1, "ok") == 0
        assert call.gateway.user("Tom").sees() == "Bot: …\n[Done]\n--- (streaming)"


async def test_streaming_ends_by_itself_after_ten_minutes(autojump_clock: MockClock) -> None:
    async with open_caller() as call:
        tom = call.gateway.user("Tom")
        card_id = await streaming(call)
        with trio.fail_after(601):
            await tom.waits_for(lambda seen: "(streaming)" not in seen, timeout=700)
        assert trio.current_time() >= 600
        assert await write(call, card_id, "a", 1) == 200850
        assert await configure(call, card_id, 1, streaming_mode=True) == 0
        assert await write(call, card_id, "a", 2) == 0


async def test_a_card_lives_for_fourteen_days(autojump_clock: MockClock) -> None:
    async with open_caller() as call:
        card_id = await streaming(call)
        unsent = (await create(call, card()))["data"]["card_id"]
        await trio.sleep(14 * 86400)
        assert await write(call, card_id, "a", 1) == 200750
        content = {"type": "card", "data": {"card_id": unsent}}
        assert (await call.send(content, "interactive"))["code"] == 200750


async def test_a_card_is_sent_once() -> None:
    async with open_caller() as call:
        content = {"type": "card", "data": {"card_id": (await create(call, card()))["data"]["card_id"]}}
        await call.sent(content, "interactive")
        assert (await call.send(content, "interactive"))["code"] == 230099


async def test_a_whole_card_is_replaced() -> None:
    async with open_caller() as call:
        tom = call.gateway.user("Tom")
        card_id = await streaming(call)
        new = {"type": "card_json", "data": json.dumps(card({"tag": "markdown", "content": "new"}))}
        assert await call.code("PUT", f"{CARDS}/{card_id}", {"card": new, "sequence": 1}) == 0
        assert tom.sees() == "Bot: new"
        assert await call.code("PUT", f"{CARDS}/{card_id}", {"card": new, "sequence": 1}) == 300317
        assert await call.code("PUT", f"{CARDS}/{card_id}", {"sequence": 2}) == 99992402
        assert await call.code("PUT", f"{CARDS}/7", {"card": new, "sequence": 2}) == 200740


async def test_settings() -> None:
    async with open_caller() as call:
        card_id = await streaming(call)
        path = f"{CARDS}/{card_id}/settings"
        for settings, code in [
            ({"config": {}}, 99992402),
            ("", 99992402),
            ("[", 200220),
            ('{"config": 1}', 99992402),
            ('{"config": {"update_multi": false}}', 300302),
            (json.dumps({"config": {"summary": {"content": "a" * 31_000}}}), 200860),
            ('{"config": {"summary": {"content": "a"}}, "body": 1}', 0),
        ]:
            assert await call.code("PATCH", path, {"settings": settings, "sequence": 1}) == code
        assert await write(call, card_id, "a", 2) == 0  # it streams still


async def test_a_click_holds_up_a_stream_and_its_answer_changes_no_card_that_streams() -> None:
    async with open_caller() as call, connect(call.gateway) as client:
        tom = call.gateway.user("Tom")
        button = {"tag": "button", "text": {"tag": "plain_text", "content": "OK"}, "value": {"a": 1}}
        card_id = await streaming(call, TEXT, button)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tom.clicks, "OK")
            frame = await client.receive()
            assert await write(call, card_id, "a", 1) == 200810
            await client.answer(frame, answer_of({"card": {"type": "raw", "data": card({"tag": "hr"})}}))
        assert await write(call, card_id, "a", 1) == 0
        assert tom.sees() == "Bot: a\n[OK] (streaming)"
        await configure(call, card_id, 2, streaming_mode=False)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tom.clicks, "OK")
            frame = await client.receive()
            await client.answer(frame, answer_of({"card": {"type": "raw", "data": card({"tag": "hr"})}}))
        assert tom.sees() == "Bot: ---"


def answer_of(result: object) -> bytes:
    from base64 import b64encode

    return json.dumps({"code": 200, "data": b64encode(json.dumps(result).encode()).decode()}).encode()


async def test_a_card_is_shown_that_comes_with_the_token_of_a_click() -> None:
    async with open_caller() as call, connect(call.gateway) as client:
        tom = call.gateway.user("Tom")
        button = {"tag": "button", "text": {"tag": "plain_text", "content": "OK"}, "value": {}}
        message_id = await call.sent({"elements": [button]}, "interactive", to=(await tom.says("a")).chat_id)
        await client.receive()
        context = {"open_message_id": message_id}
        push = await call.gateway.push("card.action.trigger", {"token": "c-1", "context": context})
        await client.answer(await client.receive())
        await push.settled()
        update = {"token": "c-1", "card": {"elements": [{"tag": "markdown", "content": "done"}]}}
        assert (
            await call.code("POST", "/open-apis/interactive/v1/card/update", {**update, "card": {}}) == 230099
        )
        assert await call.code("POST", "/open-apis/interactive/v1/card/update", update) == 0
        assert tom.sees() == "Tom: a\nBot: done"
