"""Endpoint discovery and the admission of connections (protocol, sections 1 and 2)."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Final
from urllib.parse import urlencode

import attrs

from ._frames import SERVICE_ID, random_id
from ._http import Request, Response, json_response

DISCOVERY_PATH: Final = "/callback/ws/endpoint"
SOCKET_PATH: Final = "/ws/v2"

NO_CREDENTIAL: Final = 1000040344
AUTH_FAILED: Final = 514
CONNECTION_LIMIT: Final = 1000040350
# For a wrong app_id or app_secret the protocol names no code of discovery; these are the token API's.
UNKNOWN_APP: Final = 10003
WRONG_SECRET: Final = 10014


@attrs.define(eq=False)
class Discovery:
    """Checks credentials, issues URLs, and admits one connection for each URL."""

    app_id: str
    app_secret: str = attrs.field(repr=False)
    client_assertion: str | None = attrs.field(repr=False)
    random: Random = attrs.field(repr=False)
    _tickets: dict[str, tuple[str, str]] = attrs.field(factory=dict, init=False, repr=False)

    def endpoint(self, request: Request, origin: str, client_config: Mapping[str, object] | None) -> Response:
        """Answer a discovery request with a URL at `origin` that is valid for one connection, or with a refusal."""
        body = request.json()
        app_id, secret, assertion = (body.get(key) for key in ("AppID", "AppSecret", "ClientAssertion"))
        if not app_id or not (secret or assertion):
            return _refused(NO_CREDENTIAL, "AppID, and AppSecret or ClientAssertion, are required")
        if app_id != self.app_id:
            return _refused(UNKNOWN_APP, "invalid app_id")
        if secret:
            if secret != self.app_secret:
                return _refused(WRONG_SECRET, "app secret invalid")
        elif assertion != self.client_assertion:
            return _refused(WRONG_SECRET, "client assertion invalid")
        data = {"URL": f"{origin}{SOCKET_PATH}?{self._new_query()}", "ClientConfig": client_config}
        return json_response({"code": 0, "msg": "", "data": data})

    def admit(self, request: Request) -> Response | None:
        """None if `request` may open a connection, else the refusal. Its ticket is used up either way."""
        query = request.query
        ticket = self._tickets.pop(query.get("ticket", ""), None)
        if ticket != (query.get("device_id", ""), query.get("access_key", "")):
            return refused_handshake(AUTH_FAILED, "the ticket is unknown, or was used before", autherrcode=0)
        if query.get("service_id") != str(SERVICE_ID):
            return refused_handshake(AUTH_FAILED, "the service_id is not the ticket's", autherrcode=0)
        return None

    def _new_query(self) -> str:
        # device_id is 19 digits; it comes first and service_id second: the Node client relies on that order
        device_id = str(self.random.randrange(7 * 10**18, 8 * 10**18))
        access_key, ticket = random_id(self.random), random_id(self.random)
        self._tickets[ticket] = (device_id, access_key)
        return urlencode(
            {
                "device_id": device_id,
                "service_id": SERVICE_ID,
                "access_key": access_key,
                "ticket": ticket,
                "fpid": 493,
                "aid": 552564,
            }
        )


def _refused(code: int, msg: str) -> Response:
    return json_response({"code": code, "msg": msg, "data": {}})


def refused_handshake(
    handshake_status: int | None, msg: str, *, autherrcode: int | None, status: int = 400
) -> Response:
    """The refusal of an upgrade, with the headers that state the reason; None omits one."""
    reasons = {
        "Handshake-Status": handshake_status,
        "Handshake-Msg": msg,
        "Handshake-Autherrcode": autherrcode,
    }
    headers = tuple((name, str(value)) for name, value in reasons.items() if value is not None)
    return Response(status, b"", (*headers, ("Connection", "close")))
