"""Calls to Feishu's HTTP API, with the app's tenant token.

Sources: the public documentation of `auth/v3/tenant_access_token/internal`, `im/v1/messages` and
`interactive/v1/card/update`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from json import dumps
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import trio

from .config import FEISHU_DOMAIN, LARK_DOMAIN
from .config.rules import kind_only
from .config.secrets import masked
from .errors import ApiError
from .telemetry import described

if TYPE_CHECKING:
    import httpx

__all__ = ["Api", "TooLarge", "assertion_for", "read_whole"]

# What Feishu says to a token it does not, or no longer, take: 99991661 none given, 99991663 an invalid tenant
# token, 99991664 an invalid app token, 99991668 an invalid token of whatever kind.
_TOKEN_CODES = (99991661, 99991663, 99991664, 99991668)

# A tenant token lives for two hours at most; a longer life is not believed.
_LONGEST_LIFE = 7200.0

_TOKEN_PATH = "/open-apis/auth/v3/tenant_access_token/internal"
# A keyless app gets its token as OAuth has it (RFC 7523), at a domain of its own; elsewhere than at Feishu's and
# Lark's own domains, at the one there is.
_OAUTH_PATH = "/oauth/v3/token"
_OAUTH = {
    "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
    "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
}
_ACCOUNTS = {
    FEISHU_DOMAIN: "https://accounts.feishu.cn",
    LARK_DOMAIN: "https://accounts.larksuite.com",
}

# Bytes of an answer, at most: of a token's, and of any other call's.
_TOKEN_SIZE = 1 << 20
_ANSWER_SIZE = 32 << 20

# A receive_id tells its kind by its beginning.
_ID_TYPES = {"oc_": "chat_id", "ou_": "open_id", "on_": "union_id"}


class TooLarge(Exception):
    """An answer is larger than it may be, or packed, so that it might become so."""


async def read_whole(
    http: httpx.AsyncClient, method: str, url: str, *, limit: int, headers: Mapping[str, str], **options: Any
) -> httpx.Response:
    """Make a request, and read the answer with its body, of `limit` bytes at most. The caller sets the deadline.

    The answer is asked for as it is: a few packed bytes can unpack to gigabytes, and meanwhile nothing else runs.

    Raises:
        TooLarge: It has more, or is packed nevertheless.
        httpx.HTTPError: The exchange failed.
    """
    import httpx

    asked = dict(headers) | {"Accept-Encoding": "identity"}
    body, size = bytearray(), 0
    try:
        with trio.CancelScope() as reading:
            async with http.stream(method, url, headers=asked, follow_redirects=False, **options) as response:
                packed = response.headers.get("Content-Encoding", "").strip().lower()
                if packed not in ("", "identity"):
                    raise TooLarge("it is compressed, which was not asked for")
                async for part in response.aiter_bytes():
                    size += len(part)
                    if size <= limit:
                        body += part
                    else:
                        reading.cancel()  # not by leaving the loop, which would leave its generators half read
    except httpx.RequestError as error:
        error.request = httpx.Request(method, url)  # without the secrets in its headers and its body
        raise
    if size > limit:
        raise TooLarge(f"it has more than {limit} bytes")
    kept = [(name, value) for name, value in response.headers.multi_items() if name not in _OF_THE_BODY]
    return httpx.Response(response.status_code, headers=kept, content=bytes(body))


# Headers that describe a body on its way, and not the one that was read.
_OF_THE_BODY = ("content-encoding", "transfer-encoding", "content-length")


def assertion_for(domain: str, given: str | Callable[..., str]) -> str:
    """What a keyless app has in place of a secret, where `domain` is asked.

    A function that needs an argument gets the audience, which is the domain's host.
    """
    if not callable(given):
        return given
    try:
        inspect.signature(given).bind()
    except TypeError:
        return given(urlsplit(domain).netloc)
    except ValueError:
        pass  # written in C; calling it will show
    return given()


class Api:
    """Feishu's HTTP API as one app sees it. `session.api` is one.

    `http` carries the requests and stays its owner's to close; `timeout` is for one call in seconds, the fetching
    of a token and the second try with a fresh one included. Every call may be cancelled at any time, and raises
    `ApiError` for whatever goes wrong between here and Feishu: `code` is Feishu's own, or else the HTTP status, or
    None where there was no response at all. An answer may have 32 MiB; a larger one, or one that is compressed
    though that was not asked for, is an `ApiError`, too.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        domain: str,
        app_id: str,
        app_secret: str,
        *,
        timeout: float = 10,
        assertion: str | Callable[..., str] | None = None,
    ) -> None:
        self._http = http
        self._domain = domain.rstrip("/")
        self._app_id = app_id
        self._app_secret = app_secret
        self._timeout = timeout
        self._assertion = assertion
        self._asserted: str | None = None  # what was given for the last token
        self._token: str | None = None
        self._renew_at = 0.0
        self._renewing = trio.Lock()

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
    ) -> dict[str, Any]:
        """The whole decoded body of the answer, `{"code": 0, "msg": ..., "data": {...}}`.

        The whole, and not its `data`, as older calls put their fields beside `code`. `path` begins with a slash
        and follows the domain: "/open-apis/im/v1/chats". Of `params`, those that are None are left out. A call
        refused for its token alone is made once more, with a fresh one.
        """
        if not isinstance(path, str) or not path.startswith("/"):
            # It would run on in the host name, and carry the token to wherever that leads.
            raise ApiError(f"{method} {path}: the path must be a string that begins with a slash", code=None)
        call = f"{method} {path}"
        try:
            with trio.fail_after(self._timeout):
                token = await self._tenant_token()
                response = await self._exchange(method, path, token, params, json)
                if _is_token_refused(response):
                    if self._token == token:  # else another call has put a fresh one in its place
                        self._token = None
                    token = await self._tenant_token()
                    response = await self._exchange(method, path, token, params, json)
        except trio.TooSlowError:
            raise ApiError(f"{call}: no answer within {self._timeout:g} s", code=None) from None
        return self._result(call, response)

    async def reply(
        self,
        message_id: str,
        content: str | dict[str, Any],
        msg_type: str = "text",
        uuid: str | None = None,
    ) -> dict[str, Any]:
        """Reply to a message; the answer's `data` is the new message.

        `content` is a text, for `msg_type` "text"; a dict; or, for any other `msg_type`, ready JSON. Replies of
        one `uuid` within an hour are sent once.
        """
        _check_id("message_id", message_id, "a message's id, such as event.data.message.message_id")
        body = {"content": _content(content, msg_type), "msg_type": msg_type, "uuid": uuid}
        return await self.request(
            "POST", f"/open-apis/im/v1/messages/{quote(message_id, safe='')}/reply", json=_given(body)
        )

    async def send(
        self,
        receive_id: str,
        content: str | dict[str, Any],
        msg_type: str = "text",
        receive_id_type: str | None = None,
        uuid: str | None = None,
    ) -> dict[str, Any]:
        """Send a message to a chat or a user; the answer's `data` is the new message.

        `receive_id_type` is `chat_id`, `open_id`, `union_id`, `email` or `user_id`; None goes by how the id looks:
        `oc_`, `ou_`, `on_`, an "@" in it, or none of these. `content` and `uuid` are as for `reply`.
        """
        _check_id("receive_id", receive_id, "the id of a chat or a user, or an email address")
        body = {
            "receive_id": receive_id,
            "content": _content(content, msg_type),
            "msg_type": msg_type,
            "uuid": uuid,
        }
        params = {"receive_id_type": receive_id_type or _id_type(receive_id)}
        return await self.request("POST", "/open-apis/im/v1/messages", params=params, json=_given(body))

    async def update_card(self, token: str, card: dict[str, Any]) -> dict[str, Any]:
        """Update the card whose callback carried `token`.

        Feishu allows it after that callback was answered, within 30 minutes, and twice at most.
        """
        _check_id("token", token, "that of the card's callback, event.data.token")
        body = {"token": token, "card": card}
        return await self.request("POST", "/open-apis/interactive/v1/card/update", json=body)

    async def _tenant_token(self) -> str:
        """The cached token, or a new one: of concurrent callers one fetches it while the others wait.

        One that is cancelled, or fails, leaves the lock to the next, which then fetches for itself.
        """
        async with self._renewing:
            if self._token is None or trio.current_time() >= self._renew_at:
                await self._renew()
            assert self._token is not None
            return self._token

    async def _renew(self) -> None:
        asked_at = trio.current_time()
        if self._assertion is None:
            path, domain = _TOKEN_PATH, self._domain
            credentials = {"app_id": self._app_id, "app_secret": self._app_secret}
        else:
            path, domain = _OAUTH_PATH, _ACCOUNTS.get(self._domain, self._domain)
            credentials = _OAUTH | {"client_id": self._app_id, "client_assertion": self._assert(domain, path)}
        response = await self._exchange("POST", path, None, None, credentials, domain=domain)
        body = self._result(f"POST {path}", response)
        token = body.get("tenant_access_token", body.get("access_token"))
        expire = body.get("expire", body.get("expires_in"))
        # It goes into a header, and a library's complaint about a strange one would quote it.
        if not isinstance(token, str) or not token.isascii() or not token.isprintable() or not token.strip():
            raise ApiError(f"POST {path}: answered without a usable token", code=response.status_code)
        life = min(expire, _LONGEST_LIFE) if isinstance(expire, (int, float)) and expire > 0 else 0
        self._renew_at = asked_at + life - min(300, life / 10)
        self._token = token

    def _assert(self, domain: str, path: str) -> str:
        """What a keyless app has in place of a secret."""
        assert self._assertion is not None, "another app has a secret"
        try:
            self._asserted = assertion_for(domain, self._assertion)
        except Exception as error:
            raise ApiError(
                f"POST {path}: client_assertion raised {self._clean(described(error))}", code=None
            ) from error
        if not isinstance(self._asserted, str) or not self._asserted:
            kind = kind_only(self._asserted)
            raise ApiError(f"POST {path}: client_assertion gave {kind}, where a token must be", code=None)
        return self._asserted

    async def _exchange(
        self,
        method: str,
        path: str,
        token: str | None,
        params: Mapping[str, Any] | None,
        json: Any,
        *,
        domain: str | None = None,
    ) -> httpx.Response:
        import httpx

        if self._http.is_closed:
            raise ApiError(f"{method} {path}: the session is closed", code=None)
        try:
            return await read_whole(
                self._http,
                method,
                (domain or self._domain) + path,
                limit=_ANSWER_SIZE if token else _TOKEN_SIZE,
                params=_given(params) if params else None,
                json=json,
                headers={"Authorization": f"Bearer {token}"} if token else {},
                timeout=None,  # the deadline is the cancel scope around the call
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = self._clean(str(error))
            cause = error if reason == str(error) else None  # else it holds what was masked
            reason = f"{type(error).__name__}: {reason}"
        except TooLarge as error:
            reason, cause = f"the answer is not read: {error}", None
        raise ApiError(f"{method} {path}: {reason}", code=None) from cause

    def _result(self, call: str, response: httpx.Response) -> dict[str, Any]:
        """The body of a response that is a success, or else `ApiError`."""
        body, status = _body(response), response.status_code
        if body is not None and response.is_success and body.get("code") in (0, None):
            return body
        log_id = response.headers.get("X-Tt-Logid")
        log_id = log_id and self._clean(log_id)
        code, msg = (body or {}).get("code"), (body or {}).get("msg", (body or {}).get("error_description"))
        code = code if type(code) is int and code != 0 else status
        msg = self._clean(msg) if isinstance(msg, str) else ""
        reason = msg or ("answered with something that is no JSON object" if body is None else "refused")
        suffix = f" (log id {log_id})" if log_id else ""
        raise ApiError(
            f"{call}: {reason}, code {code}, HTTP status {status}{suffix}", code=code, msg=msg, log_id=log_id
        )

    def _clean(self, text: str) -> str:
        """`text` without the secrets it may hold."""
        return masked(text, self._app_secret, self._token, self._asserted)


def _body(response: httpx.Response) -> dict[str, Any] | None:
    """The JSON object that a response is, or None if it is something else."""
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _is_token_refused(response: httpx.Response) -> bool:
    body = _body(response) or {}
    return response.status_code == 401 or body.get("code") in _TOKEN_CODES


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _check_id(name: str, value: object, allowed: str) -> None:
    """Refuse what no id or token can be. It is not shown: a card's token is a secret."""
    if not isinstance(value, str) or not value:
        kind = "an empty string" if value == "" else "None" if value is None else kind_only(value)
        raise ApiError(f"{name}: {kind} is not allowed; it must be {allowed}", code=None)


def _content(content: str | dict[str, Any], msg_type: str) -> str:
    """A message's content as Feishu takes it: a string of JSON."""
    if not isinstance(content, str | dict):
        raise ApiError(
            f"content: {kind_only(content)} is not allowed; it must be a text or a dict", code=None
        )
    if isinstance(content, dict):
        try:
            return dumps(content, ensure_ascii=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise ApiError(f"content: it cannot be written as JSON: {error}", code=None) from error
    return dumps({"text": content}, ensure_ascii=False) if msg_type == "text" else content


def _id_type(receive_id: str) -> str:
    return _ID_TYPES.get(receive_id[:3], "email" if "@" in receive_id else "user_id")
