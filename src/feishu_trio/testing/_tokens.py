"""Tenant tokens: how they are got, and whether a call has a valid one."""

from __future__ import annotations

from random import Random
from typing import Final

import attrs
import trio

from ._calls import ApiRefusal, Body, call
from ._discovery import UNKNOWN_APP, WRONG_SECRET
from ._frames import random_id
from ._http import Request
from ._newest import Newest

TOKEN_PATH: Final = "/open-apis/auth/v3/tenant_access_token/internal"
OAUTH_PATH: Final = "/oauth/v3/token"

NO_TOKEN: Final = 99991661
BAD_TOKEN: Final = 99991663
BAD_GRANT: Final = 20024
"""Of the OAuth endpoint; the documentation names no codes for keyless apps, this is the gateway's own."""

_OAUTH: Final = "urn:ietf:params:oauth"


@attrs.define(eq=False)
class Tokens:
    """The calls that give tokens, and the tokens given so far."""

    app_id: str
    app_secret: str = attrs.field(repr=False)
    client_assertion: str | None = attrs.field(repr=False)
    lifetime: float
    """Seconds a tenant token is valid."""
    random: Random = attrs.field(repr=False)
    _valid_until: Newest[str, float] = attrs.field(factory=Newest, init=False, repr=False)

    def expire(self) -> None:
        """Make every token issued so far invalid."""
        self._valid_until.clear()

    def check(self, request: Request) -> None:
        """Refuse a call without a valid token."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise ApiRefusal(NO_TOKEN, "Missing access token for authorization.")
        if self._valid_until.get(token, 0) <= trio.current_time():
            raise ApiRefusal(BAD_TOKEN, "Invalid access token for authorization.")

    @call("POST", TOKEN_PATH, token=False)
    def tenant_token(self, request: Request) -> Body:
        """A token for an app_id and its secret."""
        body = request.json()
        if body.get("app_id") != self.app_id:
            raise ApiRefusal(UNKNOWN_APP, "invalid app_id", 200)
        if body.get("app_secret") != self.app_secret:
            raise ApiRefusal(WRONG_SECRET, "app secret invalid", 200)
        return {
            "code": 0,
            "msg": "ok",
            "tenant_access_token": self._new_token(),
            "expire": int(self.lifetime),
        }

    @call("POST", OAUTH_PATH, token=False)
    def oauth_token(self, request: Request) -> Body:
        """A token for an app without a secret, in exchange for its assertion."""
        body = request.json()
        kinds = body.get("grant_type"), body.get("client_assertion_type")
        if kinds != (f"{_OAUTH}:grant-type:jwt-bearer", f"{_OAUTH}:client-assertion-type:jwt-bearer"):
            raise ApiRefusal(BAD_GRANT, f"grant_type and client_assertion_type are {kinds}")
        if body.get("client_id") != self.app_id:
            raise ApiRefusal(UNKNOWN_APP, "invalid client_id")
        if self.client_assertion is None or body.get("client_assertion") != self.client_assertion:
            raise ApiRefusal(WRONG_SECRET, "client assertion invalid")
        return {
            "access_token": self._new_token(),
            "token_type": "Bearer",
            "expires_in": int(self.lifetime),
        }

    def _new_token(self) -> str:
        token = f"t-{random_id(self.random)}"
        self._valid_until[token] = trio.current_time() + self.lifetime
        return token
