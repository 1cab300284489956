"""Refusals: HTTP requests and upgrades that the gateway refuses, never answers, or answers wrongly.

A new refusal is a method here: it prepares a response for a path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ._discovery import DISCOVERY_PATH, SOCKET_PATH, refused_handshake
from ._http import Response, json_response
from ._limits import TOO_OFTEN
from ._openapi import OpenApi
from ._responses import Prepared
from ._server import Server

# What Feishu says, and with which status, where it is not 400.
_MESSAGES: Final[Mapping[int, str]] = {
    TOO_OFTEN: "request trigger frequency limit",
    11232: "create message trigger service frequency limit",
    230020: "This operation triggers the frequency limit.",
    99991403: "This month's API call quota has been exceeded",
    99991672: "Access denied. One of the following scopes is required.",
    99991661: "Missing access token for authorization.",
    99991663: "Invalid access token for authorization.",
    99991664: "invalid app token",
    99991668: "Invalid access token for authorization.",
}
_STATUS: Final[Mapping[int, int]] = {TOO_OFTEN: 429, 99991403: 403}


class Refusals:
    """The part of `Gateway` that refuses requests."""

    __slots__ = ()

    _server: Server
    _api: OpenApi

    def refuse_discovery(
        self, code: int = 1, msg: str = "refused", *, status: int = 200, times: int | None = None
    ) -> None:
        """Answer the next `times` discovery requests (None: all) with `code`, and this HTTP status.

        Refusals of one path are used up in the order of the calls. `accept()` ends them all.
        """
        self.respond(DISCOVERY_PATH, {"code": code, "msg": msg, "data": {}}, status=status, times=times)

    def hang_discovery(self, *, times: int | None = None) -> None:
        """Never answer the next `times` discovery requests (None: all)."""
        self._server.prepared.add(Prepared(DISCOVERY_PATH, times, is_handled=False, hangs=True))

    def refuse_handshake(
        self,
        handshake_status: int | None = 514,
        autherrcode: int | None = None,
        msg: str = "refused",
        *,
        status: int = 400,
        times: int | None = None,
    ) -> None:
        """Refuse the next `times` upgrades (None: all): `status` is HTTP's, the others go into the Handshake- headers.

        With `handshake_status` None there are no such headers, as where a proxy refuses.
        """
        if handshake_status is None:
            response = Response(status, msg.encode(), (("Connection", "close"),))
        else:
            response = refused_handshake(handshake_status, msg, autherrcode=autherrcode, status=status)
        self._server.prepared.add(Prepared(SOCKET_PATH, times, response))

    def hang_handshake(self, *, times: int | None = None) -> None:
        """Never answer the next `times` upgrades (None: all)."""
        self._server.prepared.add(Prepared(SOCKET_PATH, times, is_handled=False, hangs=True))

    def respond(
        self,
        path: str,
        body: object,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        times: int | None = None,
    ) -> None:
        """Answer the next `times` requests for `path` (None: all) with `body`: bytes as they are, else JSON.

        `path` is as for `refuse_calls`.
        """
        extra = tuple((headers or {}).items())
        response = (
            Response(status, body, extra) if isinstance(body, bytes) else json_response(body, status, extra)
        )
        self._server.prepared.add(Prepared(path, times, response))

    def refuse_calls(
        self,
        path: str,
        code: int = TOO_OFTEN,
        msg: str | None = None,
        *,
        status: int | None = None,
        reset: float | None = None,
        scopes: Sequence[str] = (),
        times: int | None = None,
    ) -> None:
        """Refuse the next `times` calls of the API (None: all) whose path fits `path`, without handling them.

        In `path`, `*` stands for anything; a method may stand before it: `"POST /open-apis/im/v1/messages/*/reply"`.
        Tokens, discovery and the WebSocket are meant only where a path names them as they are.
        `code` and `msg` go into the answer; of the codes that clients know, `msg` is Feishu's own by default.
        `status` is HTTP's; by default 429 for 99991400, 403 for 99991403, and 400 for the others.
        `reset` is `x-ogw-ratelimit-reset`, the seconds until the client may come again; None omits it.
        `scopes` are the permissions that are missing, as in `refuse_calls("*", 99991672, scopes=["im:message"])`.
        """
        headers = (
            {} if reset is None else {"x-ogw-ratelimit-limit": "50", "x-ogw-ratelimit-reset": f"{reset:g}"}
        )
        body: dict[str, object] = {
            "code": code,
            "msg": _MESSAGES.get(code, "refused") if msg is None else msg,
        }
        if scopes:
            link = f"{self._server.domain}/app/{self._api.tokens.app_id}/auth?q={','.join(scopes)}"
            violations = [{"type": "action_scope_required", "subject": scope} for scope in scopes]
            helps = [{"url": link, "description": "Apply for the permissions"}]
            body["error"] = {"permission_violations": violations, "helps": helps}
        self.respond(
            path,
            body,
            status=_STATUS.get(code, 400) if status is None else status,
            headers=headers,
            times=times,
        )

    def hang_calls(self, path: str, *, handled: bool = False, times: int | None = None) -> None:
        """Never answer the next `times` calls (None: all) whose path fits `path`, as for `refuse_calls`.

        `handled` tells whether they are done nevertheless, so that the answer alone is lost.
        """
        self._server.prepared.add(Prepared(path, times, is_handled=handled, hangs=True))

    def cut_calls(self, path: str, *, times: int | None = None) -> None:
        """Handle the next `times` calls (None: all) whose path fits `path`, and end the connection in the middle of the answer."""
        self._server.prepared.add(Prepared(path, times, is_cut=True))

    def accept(self) -> None:
        """End all refusals, hangs and prepared responses that are not used up."""
        self._server.prepared.clear()

    def expire_tokens(self) -> None:
        """Make all tenant tokens issued so far invalid."""
        self._api.tokens.expire()
