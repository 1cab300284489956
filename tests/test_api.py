from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import trio
from trio.testing import MockClock

from feishu_trio import open_feishu_session
from feishu_trio.api import Api
from feishu_trio.errors import ApiError
from feishu_trio.testing import Gateway, open_gateway

TOKEN_PATH = "/open-apis/auth/v3/tenant_access_token/internal"
SEND_PATH = "/open-apis/im/v1/messages"
SECRET = "S3cr3t-value"


@asynccontextmanager
async def open_api(**behaviour: Any) -> AsyncGenerator[tuple[Gateway, Api], None]:
    """A gateway, and an API that reaches it without a socket, as the autojump clock asks for."""
    async with open_gateway(**behaviour) as gateway, httpx.AsyncClient(transport=gateway.transport) as http:
        yield gateway, Api(http, gateway.domain, gateway.app_id, gateway.app_secret)


def asked(gateway: Gateway, path: str) -> int:
    return sum(request.path == path for request in gateway.requests)


def odd_api(handler: Callable[[httpx.Request], httpx.Response], **settings: Any) -> Api:
    """An API whose token is fine, and whose calls are answered by `handler`."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == TOKEN_PATH:
            return httpx.Response(200, json={"code": 0, "tenant_access_token": f"t-{SECRET}", "expire": 7200})
        return handler(request)

    return Api(
        httpx.AsyncClient(transport=httpx.MockTransport(answer)),
        "https://x.test",
        "cli_a",
        SECRET,
        **settings,
    )


# --- over a real socket -------------------------------------------------------------------------------------


async def test_calls_over_a_socket_share_one_token() -> None:
    with trio.fail_after(20):
        async with open_gateway() as gateway, httpx.AsyncClient(trust_env=False) as http:
            api = Api(http, gateway.domain + "/", gateway.app_id, gateway.app_secret)
            async with trio.open_nursery() as nursery:
                for n in range(30):
                    nursery.start_soon(api.send, f"oc_{n}", "hello 你好")
            assert {message.to for message in gateway.messages} == {f"oc_{n}" for n in range(30)}
            assert {json.dumps(message.content, ensure_ascii=False) for message in gateway.messages} == {
                '{"text": "hello 你好"}'
            }
            assert asked(gateway, TOKEN_PATH) == 1


async def test_an_unreachable_server_is_an_api_error() -> None:
    with trio.fail_after(20):
        async with open_gateway() as gateway, httpx.AsyncClient(trust_env=False) as http:
            await gateway.stop_listening()
            api = Api(http, gateway.domain, gateway.app_id, gateway.app_secret)
            with pytest.raises(ApiError, match="ConnectError") as caught:
                await api.send("oc_a", "hello")
            assert caught.value.code is None
            assert isinstance(caught.value.__cause__, httpx.ConnectError)
            await gateway.start_listening()
            await api.send("oc_a", "hello")  # and it recovers
            assert len(gateway.messages) == 1


# --- messages -----------------------------------------------------------------------------------------------


async def test_reply() -> None:
    async with open_api() as (gateway, api):
        body = await api.reply("om_1", "hi", uuid="once")
        again = await api.reply("om_1", "hi", uuid="once")
        assert body["code"] == 0
        assert body["data"]["message_id"] == again["data"]["message_id"]
        (message,) = gateway.messages
        assert (message.kind, message.to, message.msg_type, message.uuid) == ("reply", "om_1", "text", "once")
        assert message.content == {"text": "hi"}


@pytest.mark.parametrize(
    ("content", "msg_type", "sent"),
    [
        ('a "quoted" text\n', "text", {"text": 'a "quoted" text\n'}),
        ('{"text": "looks like JSON"}', "text", {"text": '{"text": "looks like JSON"}'}),
        ({"text": "as a dict"}, "text", {"text": "as a dict"}),
        ({"elements": []}, "interactive", {"elements": []}),
        ('{"image_key": "img_1"}', "image", {"image_key": "img_1"}),
    ],
)
async def test_content(content: str | dict[str, Any], msg_type: str, sent: object) -> None:
    async with open_api() as (gateway, api):
        await api.send("oc_a", content, msg_type)
        await api.reply("om_a", content, msg_type)
        assert [(m.msg_type, m.content) for m in gateway.messages] == [(msg_type, sent)] * 2


@pytest.mark.parametrize(
    ("receive_id", "id_type"),
    [
        ("oc_a", "chat_id"),
        ("ou_a", "open_id"),
        ("on_a", "union_id"),
        ("someone@example.com", "email"),
        ("7f3a", "user_id"),
        ("o", "user_id"),
    ],
)
async def test_the_kind_of_a_receiver_is_guessed(receive_id: str, id_type: str) -> None:
    async with open_api() as (gateway, api):
        await api.send(receive_id, "hello")
        await api.send(receive_id, "hello", receive_id_type="user_id", uuid="u")
        assert [m.receive_id_type for m in gateway.messages] == [id_type, "user_id"]
        assert [m.uuid for m in gateway.messages] == [None, "u"]


async def test_a_message_id_cannot_leave_its_place_in_the_path() -> None:
    paths = []

    def answer(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.raw_path)
        return httpx.Response(200, json={"code": 0})

    await odd_api(answer).reply("om_/../x?a=b#c", "hi")
    assert paths == [b"/open-apis/im/v1/messages/om_%2F..%2Fx%3Fa%3Db%23c/reply"]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda api: api.reply(None, "hi"), "message_id: None is not allowed; it must be a message's id"),
        (lambda api: api.reply("", "hi"), "message_id: an empty string is not allowed"),
        (
            lambda api: api.send(7, "hi"),
            r"receive_id: a value of type int \(not shown\) is not allowed; it must be the id of a chat",
        ),
        (lambda api: api.update_card(None, {}), "token: None is not allowed"),
        (
            lambda api: api.send("oc_a", None),
            r"content: a value of type NoneType .* is not allowed; it must be a text or a dict",
        ),
        (lambda api: api.reply("om_a", b"hi"), "content: a value of type bytes"),
        (
            lambda api: api.reply("om_a", {"text": {1}}),
            "content: it cannot be written as JSON: Object of type set",
        ),
    ],
)
async def test_what_is_no_id_and_no_content_is_an_api_error(call: Callable[[Any], Any], words: str) -> None:
    async with open_api() as (gateway, api):
        with pytest.raises(ApiError, match=words) as caught:
            await call(api)
        assert caught.value.code is None
        assert not gateway.requests


async def test_a_call_on_a_closed_session_is_an_api_error() -> None:
    with trio.fail_after(20):
        async with open_gateway() as gateway:
            async with open_feishu_session(
                gateway.app_id, gateway.app_secret, domain=gateway.domain
            ) as session:
                await session.api.send("oc_a", "hello")
            with pytest.raises(ApiError, match=r"POST .*: the session is closed") as caught:
                await session.api.send("oc_a", "hello")
            assert caught.value.code is None


async def test_update_card() -> None:
    async with open_api() as (gateway, api):
        gateway._api.allow_card("c-token", trio.current_time())
        await api.update_card("c-token", {"elements": []})
        (message,) = gateway.messages
        assert (message.kind, message.to, message.content) == ("card", "c-token", {"elements": []})
        with pytest.raises(ApiError) as caught:
            await api.update_card("c-never-answered", {})
        assert caught.value.code not in (None, 0)
        assert "c-never-answered" not in str(caught.value)


async def test_params_that_are_none_are_left_out() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["Authorization"] == f"Bearer t-{SECRET}"
        return httpx.Response(200, json={"code": 0, "query": str(request.url.query, "ascii")})

    api = odd_api(answer)
    assert (await api.request("GET", "/a", params={"page_size": 5, "page_token": None}))[
        "query"
    ] == "page_size=5"
    assert (await api.request("GET", "/a?b=1"))["query"] == "b=1"
    assert (await api.request("GET", "/a?b=1", params={}))["query"] == "b=1"


# --- the token ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lifetime", "margin"), [(7200, 300), (3000, 300), (1000, 100), (60, 6)])
async def test_the_token_is_renewed_before_it_ends(
    autojump_clock: MockClock, lifetime: float, margin: float
) -> None:
    async with open_api(token_lifetime=lifetime) as (gateway, api):
        await api.send("oc_a", "first")
        await trio.sleep(lifetime - margin - 1)
        await api.send("oc_a", "still the first token")
        assert asked(gateway, TOKEN_PATH) == 1
        await trio.sleep(2)
        await api.send("oc_a", "the second")
        assert asked(gateway, TOKEN_PATH) == 2
        assert asked(gateway, SEND_PATH) == 3  # none was refused: it was renewed in time


async def test_concurrent_callers_renew_once(autojump_clock: MockClock) -> None:
    async with open_api() as (gateway, api):
        for expected in (1, 2, 3):
            async with trio.open_nursery() as nursery:
                for n in range(30):
                    nursery.start_soon(api.send, f"oc_{n}", "hello")
            assert asked(gateway, TOKEN_PATH) == expected
            assert len(gateway.messages) == 30 * expected
            if expected == 1:
                gateway.expire_tokens()  # all thirty are refused, one renews
            else:
                await trio.sleep(7000)


async def test_a_refused_token_is_renewed_and_the_call_made_again() -> None:
    async with open_api() as (gateway, api):
        await api.send("oc_a", "one")
        gateway.expire_tokens()
        await api.send("oc_a", "two")
        assert [m.content for m in gateway.messages] == [{"text": "one"}, {"text": "two"}]
        assert asked(gateway, TOKEN_PATH) == 2
        assert asked(gateway, SEND_PATH) == 3


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (400, {"code": 99991663, "msg": "Invalid access token"}, 99991663),
        (200, {"code": 99991664}, 99991664),
        (200, {"code": 99991661}, 99991661),
        (200, {"code": 99991668}, 99991668),
        (401, "<html>", 401),
        (401, {"code": 5, "msg": "no"}, 5),
    ],
)
async def test_a_call_is_made_twice_at_most(status: int, body: Any, code: int) -> None:
    async with open_api() as (gateway, api):
        gateway.respond(SEND_PATH, body, status=status)
        with pytest.raises(ApiError) as caught:
            await api.send("oc_a", "hello")
        assert caught.value.code == code
        assert asked(gateway, SEND_PATH) == 2
        assert asked(gateway, TOKEN_PATH) == 2


async def test_other_refusals_are_not_tried_again() -> None:
    async with open_api() as (gateway, api):
        gateway.respond(SEND_PATH, {"code": 230002, "msg": "Bot/User can NOT be in the chat"}, status=400)
        with pytest.raises(ApiError, match="Bot/User can NOT be in the chat") as caught:
            await api.send("oc_a", "hello")
        error = caught.value
        assert (error.code, error.msg) == (230002, "Bot/User can NOT be in the chat")
        assert error.log_id
        assert error.log_id in str(error)
        assert f"POST {SEND_PATH}" in str(error)
        assert asked(gateway, SEND_PATH) == 1


async def test_wrong_credentials() -> None:
    async with open_gateway() as gateway, httpx.AsyncClient(transport=gateway.transport) as http:
        api = Api(http, gateway.domain, gateway.app_id, SECRET)
        with pytest.raises(ApiError, match="app secret invalid") as caught:
            await api.send("oc_a", "hello")
        assert caught.value.code == 10014
        assert SECRET not in str(caught.value)
        assert asked(gateway, TOKEN_PATH) == 1
        assert asked(gateway, SEND_PATH) == 0


async def test_a_cancelled_renewal_leaves_the_others_whole(autojump_clock: MockClock) -> None:
    async with open_api() as (gateway, api):
        gateway.delay(4)
        done = []

        async def impatient() -> None:
            with trio.move_on_after(1) as scope:
                await api.send("oc_impatient", "hello")
            assert scope.cancelled_caught

        async def patient() -> None:
            await trio.sleep(0.5)  # behind the impatient one, which is fetching the token by now
            await api.send("oc_patient", "hello")
            done.append(trio.current_time())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(impatient)
            nursery.start_soon(patient)
            nursery.start_soon(patient)
        assert [m.to for m in gateway.messages] == ["oc_patient"] * 2
        assert asked(gateway, TOKEN_PATH) == 2


async def test_a_failed_renewal_leaves_the_others_whole() -> None:
    async with open_api() as (gateway, api):
        gateway.respond(TOKEN_PATH, {"code": 1, "msg": "busy"}, times=1)
        outcomes = []

        async def call() -> None:
            try:
                await api.send("oc_a", "hello")
                outcomes.append("sent")
            except ApiError as error:
                outcomes.append(error.msg)

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(call)
        assert sorted(outcomes) == ["busy", "sent", "sent"]


@pytest.mark.parametrize("token", [None, "", " ", 5, f"{SECRET}\r\nX-Evil: 1", f"{SECRET}é", [SECRET]])
async def test_note_14_an_unusable_token_is_not_shown(token: Any) -> None:
    async with open_api() as (gateway, api):
        gateway.respond(TOKEN_PATH, {"code": 0, "tenant_access_token": token, "expire": 7200})
        with pytest.raises(ApiError, match="without a usable token") as caught:
            await api.send("oc_a", "hello")
        assert SECRET not in str(caught.value)
        assert asked(gateway, SEND_PATH) == 0


@pytest.mark.parametrize("expire", [None, 0, -5, "7200", "x", float("nan"), []])
async def test_a_token_of_unknown_life_is_used_once(expire: object) -> None:
    fetched = 0

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal fetched
        fetched += request.url.path == TOKEN_PATH
        body = {"code": 0, "tenant_access_token": "t-a", "expire": expire}
        return httpx.Response(200, content=json.dumps(body))

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        api = Api(http, "https://x.test", "cli_a", SECRET)
        await api.request("GET", "/a")
        await api.request("GET", "/a")
    assert fetched == 2


async def test_a_tokens_life_counts_from_when_it_was_asked_for(autojump_clock: MockClock) -> None:
    async with (
        open_gateway(token_lifetime=1000) as gateway,
        httpx.AsyncClient(transport=gateway.transport) as http,
    ):
        api = Api(http, gateway.domain, gateway.app_id, gateway.app_secret, timeout=900)
        gateway.delay(200)  # the token is 200 s old when it arrives, and to be renewed at 900
        await api.send("oc_a", "hello")
        gateway.delay(0)
        await trio.sleep(550)
        assert 900 < trio.current_time() < 1000 + 200 - 100
        await api.send("oc_a", "hello")
        assert asked(gateway, TOKEN_PATH) == 2


async def test_a_late_refusal_of_an_old_token_spares_the_fresh_one(autojump_clock: MockClock) -> None:
    tokens: list[str] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == TOKEN_PATH:
            tokens.append(f"t-{len(tokens)}")
            return httpx.Response(200, json={"code": 0, "tenant_access_token": tokens[-1], "expire": 7200})
        if request.headers["Authorization"] == "Bearer t-0":
            await trio.sleep(5 if request.url.path == "/slow" else 1)
            return httpx.Response(400, json={"code": 99991663})
        return httpx.Response(200, json={"code": 0})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        api = Api(http, "https://x.test", "cli_a", SECRET)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(api.request, "GET", "/slow")
            nursery.start_soon(api.request, "GET", "/quick")
    assert tokens == ["t-0", "t-1"]


async def test_a_token_said_to_live_for_ever_is_not_believed(autojump_clock: MockClock) -> None:
    async with open_api(token_lifetime=1e9) as (gateway, api):
        await api.send("oc_a", "hello")
        await trio.sleep(7200)
        await api.send("oc_a", "hello")
        assert asked(gateway, TOKEN_PATH) == 2


# --- time ---------------------------------------------------------------------------------------------------


async def test_note_01_a_call_ends_at_its_deadline(autojump_clock: MockClock) -> None:
    async with open_api() as (gateway, api):
        gateway.delay(6)  # the token comes in time, the answer to the call does not
        start = trio.current_time()
        with pytest.raises(ApiError, match="no answer within 10 s") as caught:
            await api.send("oc_a", "hello")
        assert trio.current_time() - start == pytest.approx(10)
        assert caught.value.code is None
        assert asked(gateway, SEND_PATH) == 1
        await api.send("oc_a", "hello")  # with the token that did come
        assert asked(gateway, TOKEN_PATH) == 1


async def test_note_01_waiting_for_anothers_token_is_part_of_the_deadline(autojump_clock: MockClock) -> None:
    async with open_api() as (gateway, api):
        gateway.delay(1e6)

        async def call(after: float) -> None:
            await trio.sleep(after)
            start = trio.current_time()
            with pytest.raises(ApiError, match="no answer within 10 s"):
                await api.send("oc_a", "hello")
            assert trio.current_time() - start == pytest.approx(10)

        async with trio.open_nursery() as nursery:
            for after in (0, 1, 5):
                nursery.start_soon(call, after)


async def test_a_callers_own_deadline_is_left_to_the_caller(autojump_clock: MockClock) -> None:
    async with open_api() as (gateway, api):
        gateway.delay(6)
        with pytest.raises(trio.TooSlowError), trio.fail_after(3):
            await api.send("oc_a", "hello")


# --- odd answers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "content", "code", "msg"),
    [
        (502, b"<html>Bad Gateway</html>", 502, ""),
        (200, b"<html>", 200, ""),
        (200, b"", 200, ""),
        (204, b"", 204, ""),
        (200, b"[1]", 200, ""),
        (200, b"\xff\xfe", 200, ""),
        (200, b"[" * 100_000, 200, ""),
        (500, b'{"code": 0}', 500, ""),
        (404, b"{}", 404, ""),
        (302, b'{"code": 0}', 302, ""),
        (200, b'{"code": 5, "msg": "no"}', 5, "no"),
        (200, b'{"code": 5, "msg": null}', 5, ""),
        (200, b'{"code": "5", "msg": ["no"]}', 200, ""),
        (200, b'{"code": [], "msg": "no"}', 200, "no"),
        (200, b'{"code": {}}', 200, ""),
        (400, b'{"error": "x"}', 400, ""),
    ],
)
async def test_odd_answers_are_api_errors(status: int, content: bytes, code: int, msg: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, content=content, headers={"x-tt-logid": "2026log"})

    with pytest.raises(ApiError) as caught:
        await odd_api(answer).request("GET", "/open-apis/x")
    error = caught.value
    assert (error.code, error.msg, error.log_id) == (code, msg, "2026log")
    assert f"HTTP status {status}" in str(error)
    assert "GET /open-apis/x" in str(error)


@pytest.mark.parametrize(
    "content", ['{"code": 0, "data": {"a": 1}}', '{"code": 0, "bot": {}}', '{"a": 1}', "{}"]
)
async def test_the_whole_body_is_handed_on(content: str) -> None:
    api = odd_api(lambda request: httpx.Response(201, content=content))
    assert await api.request("POST", "/x", json={}) == json.loads(content)


@pytest.mark.parametrize(
    "raised",
    [
        httpx.ReadError("reset"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError(f"said Bearer t-{SECRET}"),
        httpx.ProxyError("407"),
        httpx.DecodingError("gzip"),
        httpx.InvalidURL("odd"),
    ],
)
async def test_network_failures_are_api_errors(raised: Exception) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise raised

    with pytest.raises(ApiError, match=type(raised).__name__) as caught:
        await odd_api(answer).request("GET", "/x")
    assert caught.value.code is None
    assert caught.value.__cause__ is (None if SECRET in str(raised) else raised)
    assert SECRET not in str(caught.value)


async def test_note_14_secrets_in_an_answer_are_not_passed_on() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(400, json={"code": 7, "msg": f"token t-{SECRET} and secret {SECRET} are odd"})

    with pytest.raises(ApiError) as caught:
        await odd_api(answer).request("GET", "/x")
    assert SECRET not in str(caught.value)
    assert caught.value.msg == "token *** and secret *** are odd"


async def test_redirects_do_not_carry_the_token_away() -> None:
    hosts = []

    def answer(request: httpx.Request) -> httpx.Response:
        hosts.append(request.url.host)
        return httpx.Response(307, headers={"Location": "https://evil.test/"})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer), follow_redirects=True) as http:
        with pytest.raises(ApiError) as caught:
            await Api(http, "https://x.test", "cli_a", SECRET).request("GET", "/x")
    assert caught.value.code == 307
    assert hosts == ["x.test"]


@pytest.mark.parametrize(
    "path", ["open-apis/x", "@evil.test/x", ".evil.test/x", ":99/x", "https://evil.test", "", None, b"/x"]
)
async def test_a_path_cannot_run_on_in_the_host_name(path: Any) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise AssertionError(f"asked {request.url}")

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        with pytest.raises(ApiError, match="must be a string that begins with a slash"):
            await Api(http, "https://x.test", "cli_a", SECRET).request("GET", path)


def test_note_18_importing_does_not_load_httpx() -> None:
    code = "import sys, feishu_trio.api; print('httpx' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.strip() == "False"


async def test_note_14_a_request_that_failed_is_kept_without_its_secrets() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no way", request=request)

    with pytest.raises(ApiError) as caught:
        await odd_api(answer).request("GET", "/x", json={"secret": SECRET})
    cause = caught.value.__cause__
    assert isinstance(cause, httpx.RequestError)
    assert cause.request.url.path
    assert SECRET.encode() not in cause.request.content
    assert SECRET not in str(cause.request.headers.raw)


# --- apps without a secret ------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["assertion", lambda: "assertion"])
async def test_a_keyless_app_gets_its_token_for_an_assertion(
    autojump_clock: MockClock, given: str | Callable[[], str]
) -> None:
    async with (
        open_gateway(client_assertion="assertion", token_lifetime=1000) as gateway,
        httpx.AsyncClient(transport=gateway.transport) as http,
    ):
        api = Api(http, gateway.domain, gateway.app_id, "", assertion=given)
        await api.reply("om_1", "hi")
        await trio.sleep(990)
        await api.reply("om_2", "hi")
        assert [message.to for message in gateway.messages] == ["om_1", "om_2"]
        assert asked(gateway, "/oauth/v3/token") == 2
        assert asked(gateway, TOKEN_PATH) == 0


@pytest.mark.parametrize(
    ("domain", "accounts"),
    [
        ("https://open.feishu.cn", "https://accounts.feishu.cn"),
        ("https://open.larksuite.com", "https://accounts.larksuite.com"),
        ("https://feishu.example.com", "https://feishu.example.com"),
    ],
)
async def test_an_assertion_goes_to_the_domain_of_accounts(domain: str, accounts: str) -> None:
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(str(request.url))
        return httpx.Response(200, json={"access_token": "t-1", "expires_in": 7200, "code": 0})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        await Api(http, domain, "cli_a", "", assertion="x").request("GET", "/open-apis/bot/v3/info")
    assert seen == [f"{accounts}/oauth/v3/token", f"{domain}/open-apis/bot/v3/info"]


@pytest.mark.parametrize(
    ("domain", "audience"),
    [("https://open.feishu.cn", "accounts.feishu.cn"), ("http://127.0.0.1:8080", "127.0.0.1:8080")],
)
async def test_whoever_gives_an_assertion_is_told_for_whom(domain: str, audience: str) -> None:
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/oauth/v3/token":
            seen.append(json.loads(request.content)["client_assertion"])
        return httpx.Response(200, json={"access_token": "t-1", "expires_in": 7200, "code": 0})

    def given(audience: str) -> str:
        return f"for {audience}"

    def cached(audience: str = "any") -> str:
        return f"for {audience}"

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        for each in (given, cached):
            await Api(http, domain, "cli_a", "", assertion=each).request("GET", "/open-apis/bot/v3/info")
    assert seen == [f"for {audience}", "for any"]


def fails() -> str:
    raise OSError("the key store is down")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (fails, "client_assertion raised OSError: the key store is down"),
        (lambda: None, "client_assertion gave"),
        ("wr0ng-assertion", "client assertion invalid"),
    ],
)
async def test_an_assertion_that_cannot_be_had_or_is_refused_is_an_api_error(given: Any, words: str) -> None:
    async with open_gateway() as gateway, httpx.AsyncClient(transport=gateway.transport) as http:
        with pytest.raises(ApiError, match=words) as info:
            await Api(http, gateway.domain, gateway.app_id, "", assertion=given).reply("om_1", "hi")
        assert "wr0ng" not in str(info.value)


async def test_a_description_of_what_is_wrong_with_an_assertion_is_shown_without_it() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        text = "the assertion s3cret-assertion has expired"
        return httpx.Response(400, json={"error": "invalid_grant", "error_description": text})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        with pytest.raises(ApiError, match="has expired") as info:
            await Api(http, "https://x.test", "cli_a", "", assertion="s3cret-assertion").reply("om_1", "hi")
    assert "s3cret" not in str(info.value)
