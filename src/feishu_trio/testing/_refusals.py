"""Refusals: HTTP requests and upgrades that the gateway refuses, never answers, or answers wrongly.

A new refusal is a method here: it prepares a response for a path.
"""

from __future__ import annotations

from collections.abc import Mapping

from ._discovery import DISCOVERY_PATH, SOCKET_PATH, refused_handshake
from ._http import Response, json_response
from ._openapi import OpenApi
from ._server import Server


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
        self._server.prepared.add(DISCOVERY_PATH, None, times)

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
        self._server.prepared.add(SOCKET_PATH, response, times)

    def hang_handshake(self, *, times: int | None = None) -> None:
        """Never answer the next `times` upgrades (None: all)."""
        self._server.prepared.add(SOCKET_PATH, None, times)

    def respond(
        self,
        path: str,
        body: object,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        times: int | None = None,
    ) -> None:
        """Answer the next `times` requests for `path` (None: all) with `body`: bytes as they are, else JSON."""
        extra = tuple((headers or {}).items())
        response = (
            Response(status, body, extra) if isinstance(body, bytes) else json_response(body, status, extra)
        )
        self._server.prepared.add(path, response, times)

    def accept(self) -> None:
        """End all refusals, hangs and prepared responses that are not used up."""
        self._server.prepared.clear()

    def expire_tokens(self) -> None:
        """Make all tenant tokens issued so far invalid."""
        self._api.expire_tokens()
