"""Calls to Feishu's HTTP API: token, rates, retries, deadlines. What the calls are about stands in the files beside."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import trio

from .._quiet import QuietStruct
from ..errors import ApiError, RateLimited
from ..events.port import BotInfo, Form
from ..telemetry.limits import LogLimit
from .arguments import as_json, check_id, check_mapping, check_timeout, check_utf8, given, refused
from .disk import read_file
from .exchange import TooLarge, read_whole
from .limits import Key, Limiter, keys_of
from .pages import Pages
from .refusals import Refusals, is_token_refused
from .tokens import TenantToken
from .watching import Unanswered, watched

if TYPE_CHECKING:
    import httpx

__all__ = ["Call", "Client", "text_in"]

T = TypeVar("T")

# Bytes of an answer, at most: of a token's, and of any other call's.
_TOKEN_SIZE: Final = 1 << 20
_ANSWER_SIZE: Final = 32 << 20

# A call is tried so many times; before the second it waits for half of this to all of it, in seconds, and before the
# next twice as long.
_TRIES: Final = 4
_BACKOFF: Final = 1.0
# Calls that one limit held up come back spread over so many seconds.
_SPREAD: Final = 0.25


class Call(QuietStruct):
    """A call, ready to be sent as often as it takes."""

    method: str
    path: str
    options: Mapping[str, Any]
    """What httpx makes the request of, beside its address."""
    keys: tuple[Key, ...]
    is_repeatable: bool
    """Whether it may be sent again where nobody knows if it was carried out."""

    @property
    def name(self) -> str:
        """What errors call it."""
        return f"{self.method} {self.path}"

    def with_token(self, token: str) -> dict[str, Any]:
        """Its options, as the app's own call."""
        return {**self.options, "headers": {**self.options["headers"], "Authorization": f"Bearer {token}"}}


class Client:
    """The part of `Api` that makes calls of any kind."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        domain: str,
        app_id: str,
        app_secret: str,
        *,
        timeout: float = 10,
        assertion: str | Callable[..., str] | None = None,
        on_request: Callable[[str, float], object] | None = None,
    ) -> None:
        self._http = http
        self._domain = domain.rstrip("/")
        self._timeout = timeout
        self._on_request = on_request
        self._token = TenantToken(self._ask_token, self._domain, app_id, app_secret, assertion)
        self._refusals = Refusals(self._domain, app_id, self._token.clean)
        self._limiter = Limiter()
        self._log_limit = LogLimit()
        self.known_bot: BotInfo | None = None
        """Who the bot is, once `bot` has found out."""
        self._asking_bot = trio.Lock()

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        content: bytes | bytearray | memoryview | None = None,
        files: Form | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Make a call of any kind. The whole decoded body of its answer: `{"code": 0, "msg": ..., "data": {...}}`.

        The whole, and not its `data`, as older calls put their fields beside `code`. It may have 32 MiB.

        A call refused for its token alone is made once more, with a fresh one. One that came too soon was not carried
        out, and is made again when Feishu says so. Where no answer comes, or an HTTP status of 500 and more, nobody
        knows whether it was carried out: then it is tried again, four times in all, only if it is a GET or HEAD, or
        has a `uuid` in its JSON. One try of such a call may take half of the time.

        Args:
            method: HTTP's.
            path: What follows the domain, beginning with a slash: "/open-apis/im/v1/chats".
            params: The query; those that are None are left out.
            json: What is sent as JSON; one of `json`, `content` and `files` may be given, or none.
            content: Bytes that are sent as they are.
            files: A form with files: `{"image_type": "message", "image": Path("a.png")}`. A str is a text; bytes,
                `(name, bytes)` and paths are files, and paths are read in a thread.
            timeout: Seconds for all of it: its token, its turn within Feishu's rates, and all tries. None is the
                client's own.

        Raises:
            RateLimited: Feishu takes it too late for the timeout, which is raised at once; or never took it.
            QuotaExceeded, MessageGone, PermissionMissing: Feishu says so.
            ApiError: It cannot be made, failed, or was refused.
        """
        call = await self._prepared(method, path, params=params, json=json, content=content, files=files)
        return await self._body(call, timeout)

    def pages(self, path: str, *, params: Mapping[str, Any] | None = None, items: str = "items") -> Pages:
        """All items of a list that comes in pages: `async for chat in api.pages("/open-apis/im/v1/chats")`.

        Each page is a GET of its own, with the client's timeout, made when the loop comes to it. `params` may have a
        `page_size`; `items` is the field of `data` that has the list. The loop may be left at any time.

        Raises:
            ApiError: A page could not be had; or `items` is no list.
        """

        async def ask(token: str | None) -> Any:
            asked = dict(params or {}) | ({} if token is None else {"page_token": token})
            return (await self.request("GET", path, params=asked)).get("data")

        if params is not None:
            check_mapping("params", params, "a mapping of names to values")
        return Pages(f"GET {path}", ask, items)

    async def bot(self) -> BotInfo:
        """Who the app's bot is: its name and open_id, fetched once for all callers.

        Raises:
            ApiError: It could not be had; the next call tries again.
        """
        async with self._asking_bot:
            if self.known_bot is None:
                path = "/open-apis/bot/v3/info"
                bot = (await self.request("GET", path)).get("bot")
                name, open_id = (
                    (bot.get("app_name"), bot.get("open_id")) if isinstance(bot, dict) else (None, None)
                )
                if not isinstance(open_id, str) or not open_id:
                    raise ApiError(f"GET {path}: answered without an open_id; is the app's bot switched on?")
                self.known_bot = BotInfo(name if isinstance(name, str) else "", open_id)
            return self.known_bot

    async def _prepared(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        content: bytes | bytearray | memoryview | None = None,
        files: Form | None = None,
        chat: str | None = None,
    ) -> Call:
        """A call, checked; `chat` is the one that a message replied to is in, as far as that is known."""
        check_id("method", method, 'an HTTP method, such as "GET"')
        check_utf8("path", path, "what follows the domain")
        name = f"{method} {path}"
        if not isinstance(path, str) or not path.startswith("/"):
            # It would run on in the host name, and carry the token to wherever that leads.
            raise ApiError(f"{name}: the path must be a string that begins with a slash")
        if params is not None:
            check_mapping("params", params, "a mapping of names to values")
            for value in params.values():
                for each in value if isinstance(value, list | tuple) else (value,):
                    check_utf8("params", each, "a mapping of names to values")
        if sum(each is not None for each in (json, content, files)) > 1:
            raise ApiError(f"{name}: give one of json, content and files, as a call has one body")
        options: dict[str, Any] = {"headers": {}, "params": given(params) if params else None}
        if json is not None:
            options["content"] = as_json(f"{name}: json", json).encode()
            options["headers"] = {"Content-Type": "application/json; charset=utf-8"}
        elif content is not None:
            if not isinstance(content, bytes | bytearray | memoryview):
                raise refused(
                    f"{name}: content", content, "bytes; for JSON there is json=, for a form files="
                )
            options["content"] = bytes(content)
            options["headers"] = {"Content-Type": "application/octet-stream"}
        elif files is not None:
            options["files"] = await _form(f"{name}: files", files)
        method = method.upper()
        is_repeatable = method in ("GET", "HEAD") or bool(isinstance(json, Mapping) and json.get("uuid"))
        return Call(method, path, options, keys_of(method, path, json, chat), is_repeatable)

    async def _body(self, call: Call, timeout: float | None = None) -> dict[str, Any]:
        """The whole body of a call's answer."""

        async def whole(token: str, patience: float) -> dict[str, Any]:
            url = self._domain + call.path
            return await self._exchange(
                call.name, call.method, url, patience, _ANSWER_SIZE, call.with_token(token)
            )

        return await self._perform(call, timeout, whole)

    async def _perform(
        self, call: Call, timeout: float | None, attempt: Callable[[str, float], Awaitable[T]]
    ) -> T:
        """Make a call within its time. `attempt` gets a token, and the seconds that it may wait for an answer."""
        self._check_open(call.name)
        if timeout is not None:
            check_timeout(timeout)
        within = self._timeout if timeout is None else timeout
        try:
            with trio.fail_after(within):
                return await self._tries(call, attempt)
        except trio.TooSlowError:
            raise ApiError(f"{call.name}: no answer within {within:g} s") from None

    async def _tries(self, call: Call, attempt: Callable[[str, float], Awaitable[T]]) -> T:
        left = trio.current_effective_deadline() - trio.current_time()
        patience = left / 2 if call.is_repeatable else math.inf
        has_new_token = False
        for number in range(_TRIES):
            token = None
            wait = _BACKOFF * 2**number * random.uniform(0.5, 1)
            try:
                token = await self._token.get()
                await self._limiter.wait(call.name, call.keys)
                with watched(call.method, self._domain, call.path, number, self._on_request):
                    return await attempt(token, patience)
            except Unanswered as lost:
                failure = lost.error
                is_worth_another = call.is_repeatable
            except RateLimited as error:
                failure = error
                is_worth_another = True
                if error.retry_after is not None:
                    wait = error.retry_after + random.uniform(0, _SPREAD)
            except ApiError as error:
                failure = error
                if token is not None and not has_new_token and is_token_refused(error):
                    has_new_token = True
                    self._token.refused(token)
                    continue
                is_worth_another = call.is_repeatable and (error.status or 0) >= 500
            is_in_time = trio.current_time() + wait <= trio.current_effective_deadline()
            if not is_worth_another or not is_in_time or number == _TRIES - 1:
                break
            await trio.sleep(wait)
        raise failure from failure.__cause__

    async def _ask_token(self, domain: str, path: str, credentials: dict[str, str]) -> dict[str, Any]:
        options = {"json": credentials, "headers": {}}
        with watched("POST", domain, path, 0, self._on_request):
            return await self._exchange(f"POST {path}", "POST", domain + path, math.inf, _TOKEN_SIZE, options)

    async def _exchange(
        self, name: str, method: str, url: str, patience: float, limit: int, options: Mapping[str, Any]
    ) -> dict[str, Any]:
        with self._failures(name), trio.fail_after(patience):
            response = await read_whole(self._http, method, url, limit=limit, timeout=None, **options)
        return self._refusals.success(name, response.status_code, response.headers, response.content)

    def _check_open(self, name: str) -> None:
        if self._http.is_closed:
            raise ApiError(f"{name}: the session is closed; make calls within its block")

    @contextmanager
    def _failures(self, name: str) -> Iterator[None]:
        """What goes wrong on the way becomes `Unanswered`, or `ApiError` where trying again would not help."""
        import httpx

        self._check_open(name)
        useless = httpx.LocalProtocolError | httpx.UnsupportedProtocol
        try:
            yield
        except trio.TooSlowError:
            raise Unanswered(ApiError(f"{name}: no answer came in time")) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = self._token.clean(error)
            failure = ApiError(f"{name}: {type(error).__name__}: {reason}")
            failure.__cause__ = error if reason == str(error) else None  # else it holds what was masked
            if isinstance(error, httpx.TransportError) and not isinstance(error, useless):
                raise Unanswered(failure) from None
            raise failure from failure.__cause__
        except TooLarge as error:
            raise ApiError(f"{name}: the answer is not read: {error}") from None


def text_in(body: Mapping[str, Any], call: str, field: str) -> str:
    """A text that the data of an answer must have.

    Raises:
        ApiError: It has none.
    """
    data = body.get("data")
    text = data.get(field) if isinstance(data, dict) else None
    if not isinstance(text, str) or not text:
        raise ApiError(f"{call}: answered without {field}")
    return text


async def _form(name: str, files: Form) -> list[tuple[str, tuple[str | None, bytes, str | None]]]:
    """A form as httpx takes it."""
    check_mapping(name, files, "a mapping of names to texts, bytes, names with bytes, or paths")
    form: list[tuple[str, tuple[str | None, bytes, str | None]]] = []
    for field, value in files.items():
        check_id(f"{name}: a field's name", field, "a text")
        check_utf8(f"{name}: a field's name", field, "a text")
        match value:
            case str():
                check_utf8(f"{name}: {field}", value, "a text")
                form.append((field, (None, value.encode(), None)))
                continue
            case bytes():
                file, data = field, value
            case (str(file), bytes(data)):
                pass
            case os.PathLike():
                file, data = os.path.basename(value), await read_file(f"{name}: {field}", value)
            case _:
                raise refused(f"{name}: {field}", value, "a text, bytes, a name with bytes, or a path")
        check_utf8(f"{name}: {field}: the file's name", file, "a text")
        form.append((field, (file, data, "application/octet-stream")))
    return form
