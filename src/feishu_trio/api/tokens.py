"""The app's tenant token: cached, renewed before it ends, fetched once for concurrent callers.

Source: the public documentation of `auth/v3/tenant_access_token/internal`.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import urlsplit

import trio

from ..config import FEISHU_DOMAIN, LARK_DOMAIN
from ..config.rules import kind_only
from ..config.secrets import masked
from ..errors import ApiError
from ..telemetry import described

__all__ = ["TenantToken", "assertion_for"]

# A tenant token lives for two hours at most; a longer life is not believed.
_LONGEST_LIFE: Final = 7200.0

_PATH: Final = "/open-apis/auth/v3/tenant_access_token/internal"
# A keyless app gets its token as OAuth has it (RFC 7523), at a domain of its own; elsewhere than at Feishu's and
# Lark's own domains, at the one there is.
_OAUTH_PATH: Final = "/oauth/v3/token"
_OAUTH: Final = {
    "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
    "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
}
_ACCOUNTS: Final = {
    FEISHU_DOMAIN: "https://accounts.feishu.cn",
    LARK_DOMAIN: "https://accounts.larksuite.com",
}

Ask = Callable[[str, str, dict[str, str]], Awaitable[dict[str, Any]]]
"""Posts JSON to a domain's path, and returns the answer's body."""


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


class TenantToken:
    """The token of one app, got by `ask` for its secret, or for an assertion where the app has none."""

    def __init__(
        self,
        ask: Ask,
        domain: str,
        app_id: str,
        app_secret: str,
        assertion: str | Callable[..., str] | None,
    ) -> None:
        self._ask = ask
        self._domain = domain
        self._app_id = app_id
        self._app_secret = app_secret
        self._assertion = assertion
        self._asserted: str | None = None  # what was given for the last token
        self._token: str | None = None
        self._renew_at = 0.0
        self._renewing = trio.Lock()

    def clean(self, text: object) -> str:
        """A text without the secrets that are known here."""
        return masked(text, self._app_secret, self._token, self._asserted)

    async def get(self) -> str:
        """The cached token, or a new one: of concurrent callers one fetches it while the others wait.

        One that is cancelled, or fails, leaves the lock to the next, which then fetches for itself.
        """
        async with self._renewing:
            if self._token is None or trio.current_time() >= self._renew_at:
                await self._renew()
            assert self._token is not None
            return self._token

    def refused(self, token: str) -> None:
        """Feishu did not take this one, unless another call has put a fresh one in its place."""
        if self._token == token:
            self._token = None

    async def _renew(self) -> None:
        asked_at = trio.current_time()
        if self._assertion is None:
            path, domain = _PATH, self._domain
            credentials = {"app_id": self._app_id, "app_secret": self._app_secret}
        else:
            path, domain = _OAUTH_PATH, _ACCOUNTS.get(self._domain, self._domain)
            credentials = _OAUTH | {"client_id": self._app_id, "client_assertion": self._assert(domain)}
        body = await self._ask(domain, path, credentials)
        token = body.get("tenant_access_token", body.get("access_token"))
        expire = body.get("expire", body.get("expires_in"))
        # It goes into a header, and a library's complaint about a strange one would quote it.
        if not isinstance(token, str) or not token.isascii() or not token.isprintable() or not token.strip():
            raise ApiError(f"POST {path}: answered without a usable token", code=200, status=200)
        life = min(expire, _LONGEST_LIFE) if isinstance(expire, (int, float)) and expire > 0 else 0
        self._renew_at = asked_at + life - min(300, life / 10)
        self._token = token

    def _assert(self, domain: str) -> str:
        """What a keyless app has in place of a secret."""
        assert self._assertion is not None, "another app has a secret"
        try:
            self._asserted = assertion_for(domain, self._assertion)
        except Exception as error:
            raise ApiError(
                f"POST {_OAUTH_PATH}: client_assertion raised {self.clean(described(error))}"
            ) from error
        if not isinstance(self._asserted, str) or not self._asserted:
            kind = kind_only(self._asserted)
            raise ApiError(f"POST {_OAUTH_PATH}: client_assertion gave {kind}, where a token must be")
        return self._asserted
