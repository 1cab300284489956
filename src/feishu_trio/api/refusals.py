"""What Feishu answers: a success's body, or the error of a refusal, with what to do about it.

Sources: the common error codes of the platform's documentation, and those of `im/v1/messages`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from ..config import LARK_DOMAIN
from ..errors import ApiError, MessageGone, PermissionMissing, QuotaExceeded, RateLimited

__all__ = ["Refusals", "is_token_refused", "json_object"]

# What Feishu says to a token it does not, or no longer, take: 99991661 none given, 99991663 an invalid tenant
# token, 99991664 an invalid app token, 99991665 and 99991666 other apps' tokens, 99991668 an invalid one of any kind.
_TOKEN_CODES: Final = frozenset({99991661, 99991663, 99991664, 99991665, 99991666, 99991668})

_RATE_CODES: Final = frozenset({99991400, 230020, 11232})
_QUOTA_CODES: Final = frozenset({99991403})
_GONE_CODES: Final = frozenset({230011, 231003})
_NO_ID_CODES: Final = frozenset({99992354})
_PERMISSION_CODES: Final = frozenset({99991672})

_RESET: Final = "x-ogw-ratelimit-reset"
_SCOPE: Final = r"[a-z][\w.:-]*"
# "One of the following scopes is required: [im:message, im:message:send]"
_SCOPES_IN_TEXT: Final = r"(?i)scopes? (?:is|are) required[^\[]{0,20}\[([^\]]*)\]"


def json_object(content: bytes) -> dict[str, Any] | None:
    """The JSON object that a body is, or None if it is something else."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def is_token_refused(error: ApiError) -> bool:
    """Whether a call was refused for its token alone."""
    return error.status == 401 or error.code in _TOKEN_CODES


class Refusals:
    """Makes errors of answers, without the secrets that `clean` removes, for the app of this id."""

    def __init__(self, domain: str, app_id: str, clean: Callable[[object], str]) -> None:
        console = LARK_DOMAIN if "larksuite" in domain else "https://open.feishu.cn"
        self._app_page = f"{console}/app/{app_id}/"
        self._clean = clean

    def success(self, call: str, status: int, headers: Mapping[str, str], content: bytes) -> dict[str, Any]:
        """The body of an answer that is a success.

        Raises:
            ApiError: It is none.
        """
        body = json_object(content)
        if body is not None and 200 <= status < 300 and body.get("code") in (0, None):
            return body
        raise self.error(call, status, headers, body)

    def error(
        self, call: str, status: int, headers: Mapping[str, str], body: dict[str, Any] | None
    ) -> ApiError:
        """The error of an answer that is no success."""
        log_id = headers.get("X-Tt-Logid")
        log_id = log_id and self._clean(log_id)
        code, msg = (body or {}).get("code"), (body or {}).get("msg", (body or {}).get("error_description"))
        code = code if type(code) is int and code != 0 else status
        msg = self._clean(msg) if isinstance(msg, str) else ""
        reason = msg or ("answered with something that is no JSON object" if body is None else "refused")
        suffix = f" (log id {log_id})" if log_id else ""
        text = f"{call}: {reason}, code {code}, HTTP status {status}{suffix}"
        facts: dict[str, Any] = {"code": code, "msg": msg, "status": status, "log_id": log_id}
        if code in _QUOTA_CODES:
            return QuotaExceeded(
                f"{text}; the calls that the tenant may make in a month are used up", **facts
            )
        if code in _RATE_CODES or status == 429:
            after = _seconds(headers.get(_RESET))
            when = "later" if after is None else f"in {after:g} s"
            return RateLimited(
                f"{text}; there were too many calls: make it again {when}", retry_after=after, **facts
            )
        if code in _GONE_CODES:
            return MessageGone(f"{text}; the message was recalled or deleted", **facts)
        if code in _PERMISSION_CODES:
            return self._permission(text, body or {}, msg, facts)
        if code in _NO_ID_CODES:
            text = f"{text}; a chat message's id is event.about (event.id is the event's, event.message_id the frame's)"
        return ApiError(text, **facts)

    def _permission(
        self, text: str, body: dict[str, Any], msg: str, facts: dict[str, Any]
    ) -> PermissionMissing:
        error = body.get("error")
        error = error if isinstance(error, dict) else {}
        scopes = _scopes(_texts(error.get("permission_violations"), "subject"))
        if not scopes and (match := re.search(_SCOPES_IN_TEXT, msg)):
            scopes = _scopes(map(str.strip, match[1].split(",")))
        links = [*_texts(error.get("helps"), "url"), *re.findall(r"https://[^\s\"'<>)\]，。]+", msg)]
        link = next((link for link in links if link.startswith(self._app_page)), None)
        link = self._clean(link or f"{self._app_page}auth?q={','.join(scopes)}")
        names = " or ".join(scopes) or "a permission"
        return PermissionMissing(
            f"{text}; the app lacks {names}: add it, and publish a version of the app, at {link}",
            scopes=scopes,
            link=link,
            **facts,
        )


def _scopes(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(text for text in texts if re.fullmatch(_SCOPE, text))


def _texts(rows: object, field: str) -> list[str]:
    """What rows have in a field, as far as it is text."""
    found = [row.get(field) for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return [text for text in found if isinstance(text, str)]


def _seconds(text: str | None) -> float | None:
    try:
        seconds = float(text or "")
    except ValueError:
        return None
    return seconds if 0 <= seconds < math.inf else None
