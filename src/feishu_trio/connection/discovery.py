"""Asking Feishu where to connect: `POST {domain}/callback/ws/endpoint`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

from .._quiet import QuietStruct
from ..api import TooLarge, assertion_for, read_whole
from ..config import FEISHU_DOMAIN, LARK_DOMAIN, SessionConfig
from ..config.secrets import masked, secrets_of
from ..errors import AuthenticationError, ConnectError, ConnectionLimitError, FeishuError, ForbiddenError
from .client_config import ClientConfig

if TYPE_CHECKING:
    import httpx

__all__ = ["WRONG_DOMAIN", "Endpoint", "discover", "refusal", "shown", "what_to_do"]

_PATH: Final = "/callback/ws/endpoint"
_SHOWN: Final = 200
_SIZE: Final = 1 << 20  # bytes of its answer, at most
# Fields of the URL that may be shown.
_NO_SECRETS: Final = frozenset({"device_id", "service_id", "aid", "fpid"})
# What is asked once a connection needs no socket of its own for as long as that lives.
_HEADERS: Final = {"locale": "zh", "Connection": "close"}

# Codes of discovery's body and of the handshake's headers.
_OK: Final = 0
_SYSTEM_BUSY: Final = 1
_FORBIDDEN: Final = 403
_AUTH_FAILED: Final = 514
_NO_SUCH_APP: Final = 10003
_WRONG_SECRET: Final = 10014
_INTERNAL_ERROR: Final = 1000040343
_NO_CREDENTIAL: Final = 1000040344
_WRONG_APP: Final = 1000040345
_CONNECTION_LIMIT: Final = 1000040350
WRONG_DOMAIN: Final = 1000040351
"""A Feishu app on Lark's domain, or the reverse."""

_WHAT_TO_DO: Final = {
    _FORBIDDEN: "the app is banned or may not use long connections; only self-built apps may",
    _AUTH_FAILED: "check the app_id and app_secret",
    _NO_SUCH_APP: "check the app_id",
    _WRONG_SECRET: "check the app_secret",
    _NO_CREDENTIAL: "give the app_id and app_secret",
    _WRONG_APP: "check the app_id and app_secret",
    _CONNECTION_LIMIT: "the app has its 50 connections already; close one",
    WRONG_DOMAIN: f"the app is Lark's and the domain Feishu's, or the reverse: domain is {FEISHU_DOMAIN} or {LARK_DOMAIN}",
}


class Endpoint(QuietStruct):
    """Where one connection goes. Good for that one only: its address holds a ticket, and is never shown."""

    host: str
    port: int
    tls: bool
    resource: str
    """Path and query, secrets among them."""
    device_id: str
    """The connection's id."""
    service_id: int
    """An int32 that goes into every ping."""
    client_config: ClientConfig
    secrets: tuple[str, ...] = ()
    """What a server was told, and what is not to be shown if it repeats it."""


async def discover(http: httpx.AsyncClient, config: SessionConfig) -> Endpoint:
    """Get the endpoint for one connection.

    The caller sets the deadline.

    Raises:
        ConnectError: No answer, a busy server, or one that makes no sense: worth another try.
        RefusedError: The app was refused; one of its subclasses says why.
    """
    import httpx  # here, so that importing this package stays light

    body: dict[str, str | None] = {"AppID": config.app_id, "AppSecret": config.app_secret}
    secrets = secrets_of(config)
    if config.client_assertion is not None:
        assertion = assertion_for(config.domain, config.client_assertion)
        body |= {"AppSecret": "", "ClientAssertion": assertion}
        secrets += (assertion,)
    try:
        response = await read_whole(
            http, "POST", config.domain + _PATH, limit=_SIZE, headers=_HEADERS, json=body
        )
    except httpx.HTTPError as error:
        reason = masked(_reason(error), *secrets)
        raise ConnectError(f"{config.domain} could not be reached: {reason}") from error
    except TooLarge as error:
        raise ConnectError(f"the answer of {config.domain} is not read: {error}") from None
    if response.status_code != 200:
        raise ConnectError(f"{config.domain} answered with HTTP status {response.status_code}")
    answer = _answer(response.content)
    if answer is None:
        raise ConnectError(f"{config.domain}{_PATH} did not answer as Feishu does; is the domain right?")
    if answer["code"] != _OK:
        raise refusal(answer["code"], masked(answer.get("msg") or "", *secrets), handshake=False)
    data = answer.get("data")
    if not isinstance(data, dict):
        data = {}
    return _endpoint(data.get("URL"), data.get("ClientConfig"), config, secrets)


def _answer(content: bytes) -> dict[str, Any] | None:
    """The JSON object that an answer is, with a code in it; None if it is something else.

    No error comes out of here, for it would hold all of the text, and with it the URL.
    """
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) and type(answer.get("code")) is int else None


def what_to_do(code: int | None) -> str:
    """What helps against a refusal with this code, as the texts of errors end with it; empty if that is not known."""
    return _WHAT_TO_DO.get(code, "") if code is not None else ""


def refusal(code: int, message: object, *, handshake: bool, auth_code: int | None = None) -> FeishuError:
    """The error for a code of discovery, or of a refused handshake's headers. `message` is masked already."""
    limit = _CONNECTION_LIMIT in (code, auth_code)
    reason = f" ({shown(message)})" if message else ""
    hint = what_to_do(_CONNECTION_LIMIT if limit else code)
    text = f"Feishu refused the connection with code {code}{reason}" + (f": {hint}" if hint else "")
    if limit:
        return ConnectionLimitError(text, code=_CONNECTION_LIMIT)
    if code == _FORBIDDEN:
        return ForbiddenError(text, code=code)
    # In the handshake, the server answers "authentication failed" for tickets that it lost, too: a new one helps.
    if handshake or code in (_SYSTEM_BUSY, _INTERNAL_ERROR):
        return ConnectError(f"Feishu could not take the connection: code {code}{reason}", code=code)
    return AuthenticationError(text, code=code)


def _endpoint(url: object, client_config: Any, config: SessionConfig, secrets: tuple[str, ...]) -> Endpoint:
    # The URL holds secrets, so errors say what is wrong with it, and never what it is.
    wrong, host = "", ""
    try:
        if not isinstance(url, str):
            raise ValueError("it is missing")
        if not url.isascii() or not url.isprintable() or " " in url:
            raise ValueError("it has characters that no URL has")
        # The secrets are in the query, and urlsplit keeps what it is given, for the next to ask.
        address, _, query = url.partition("#")[0].partition("?")
        parts = urlsplit(address)
        if parts.scheme not in ("ws", "wss"):
            raise ValueError(f"its scheme is {parts.scheme[:20]!r}, not 'wss'")
        if parts.scheme == "ws" and not config.domain.startswith("http://"):
            raise ValueError("its scheme is 'ws', and only 'wss' is safe; 'ws' is for a domain with http://")
        host = parts.hostname or ""
        if not host:
            raise ValueError("it has no host")
        if any(not 0 < len(label) < 64 for label in host.removesuffix(".").split(".")):
            raise ValueError("its host is no name")
        tls = parts.scheme == "wss"
        port = parts.port if parts.port is not None else 443 if tls else 80
    except ValueError as error:
        wrong = masked(error, *secrets) if "port" not in str(error).lower() else "its port is no port"
    if wrong:  # not raised above, where that error would stay with it
        raise ConnectError(f"the endpoint URL that {config.domain} gave cannot be used: {wrong}")
    fields = parse_qs(query)
    hidden = [
        value
        for name, values in fields.items()
        if name not in _NO_SECRETS
        for value in values
        if len(value) > 3
    ]
    return Endpoint(
        host=parts.hostname or "",
        port=port,
        tls=tls,
        resource=(parts.path or "/") + (f"?{query}" if query else ""),
        device_id=shown(fields.get("device_id", [""])[0]),
        service_id=_int32(fields.get("service_id", ["0"])[0]),
        client_config=ClientConfig.parse(client_config),
        secrets=(*secrets, *hidden),
    )


def _int32(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 1 << 31
    if not -(1 << 31) <= number < 1 << 31:
        raise ConnectError("the endpoint URL has a service_id that is no 32-bit number")
    return number


def shown(text: object) -> str:
    """As much of a text off the wire as a log should hold, on one line."""
    text = str(text)[:_SHOWN]
    return text if text.isprintable() else repr(text)


def _reason(error: BaseException) -> str:
    # httpx says nothing of its own where TLS fails: the reason is further down.
    cause: BaseException | None = error
    while cause is not None and not str(cause):
        cause = cause.__cause__ or cause.__context__
    told = error if cause is None else cause
    return f"{type(told).__name__}: {told}" if str(told) else type(told).__name__
