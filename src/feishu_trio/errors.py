"""What can go wrong, as one tree: everything this package raises of its own is a `FeishuError`.

    FeishuError
    ├── ConfigError               a setting is wrong (also a ValueError)
    ├── ConnectError              Feishu could not be reached; worth another try
    ├── RefusedError              Feishu refused, and would refuse again
    │   ├── AuthenticationError   the app's credentials were not accepted
    │   ├── ForbiddenError        the app is banned, or may not use long connections
    │   └── ConnectionLimitError  the app has its 50 connections already
    ├── ApiError                  a call to Feishu's HTTP API failed
    │   ├── RateLimited           too many calls; it was not carried out
    │   ├── QuotaExceeded         the month's calls are used up
    │   ├── MessageGone           the message was recalled or deleted
    │   └── PermissionMissing     the app may not make this call
    ├── InboxError                stored events cannot be read or written
    │   └── InboxUnreachable      the server that has them does not answer; worth another try
    ├── FrameError                bytes that are no frame (also a ValueError)
    └── EventDecodeError          a body that does not fit its type (also a ValueError)

Beside it stands `Retry`, which is for handlers to raise: no error, but the wish to get the event again.

No message of these holds a secret: neither the app secret, nor a token, nor a whole connection URL.
"""

from __future__ import annotations

from typing import Any

import trio

__all__ = [
    "ApiError",
    "AuthenticationError",
    "ConfigError",
    "ConnectError",
    "ConnectionLimitError",
    "EventDecodeError",
    "FeishuError",
    "ForbiddenError",
    "FrameError",
    "InboxError",
    "InboxUnreachable",
    "MessageGone",
    "PermissionMissing",
    "QuotaExceeded",
    "RateLimited",
    "RefusedError",
    "Retry",
    "wished_retry",
]


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException | None:
    """The first exception in a group, cancellations aside; None if there is no other.

    An interrupt or an exit comes before all others.
    """
    _, rest = group.split(trio.Cancelled)
    error: BaseException | None = (rest and rest.split(Exception)[1]) or rest
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class FeishuError(Exception):
    """The root of the tree. `code` is Feishu's number for what happened, or None if it gave none."""

    def __init__(self, message: str, *, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class ConfigError(FeishuError, ValueError):
    """A setting is wrong; the message names it, its value, and what is allowed."""


class ConnectError(FeishuError):
    """Feishu could not be reached, or was too busy: network, TLS, proxy, time-outs, server errors."""


class RefusedError(FeishuError):
    """Feishu refused the app. Asking again would not help, so nothing is retried."""


class AuthenticationError(RefusedError):
    """The credentials were not accepted: missing, wrong, or of an app that is not what Feishu expects."""


class ForbiddenError(RefusedError):
    """The app is banned, or may not use long connections (only self-built apps may)."""


class ConnectionLimitError(RefusedError):
    """The app has as many connections as Feishu allows (50)."""


class ApiError(FeishuError):
    """A call to Feishu's HTTP API failed, or cannot be made as it was asked for.

    `code` and `msg` are Feishu's own (`code` is the HTTP status where the body had none), `status` is HTTP's;
    `log_id` is what Feishu's support asks for. Where no answer came, all of them are None or empty.
    """

    def __init__(
        self,
        message: str,
        *,
        code: int | None = None,
        msg: str = "",
        status: int | None = None,
        log_id: str | None = None,
    ) -> None:
        super().__init__(message, code=code)
        self.msg = msg
        self.status = status
        self.log_id = log_id


class RateLimited(ApiError):
    """There were too many calls, and this one was not carried out: it may be made again, whatever it is.

    `retry_after` is the time in seconds after which that makes sense; None if Feishu did not say.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.retry_after = retry_after


class QuotaExceeded(ApiError):
    """The calls that the tenant may make in a month are used up."""


class MessageGone(ApiError):
    """The message that the call is about was recalled or deleted."""


class PermissionMissing(ApiError):
    """The app lacks a permission for this call.

    `scopes` are the names of those of which one is enough; `link` is the page of Feishu's console to add them on.
    """

    def __init__(
        self, message: str, *, scopes: tuple[str, ...] = (), link: str | None = None, **facts: Any
    ) -> None:
        super().__init__(message, **facts)
        self.scopes = scopes
        self.link = link


class InboxError(FeishuError):
    """An inbox cannot be opened, read or written; the message says which, and what to do about it."""


class InboxUnreachable(InboxError):
    """The server that has an inbox could not be reached, or does not answer."""


class FrameError(FeishuError, ValueError):
    """Bytes that are no valid frame, or a frame whose headers cannot be true."""


class EventDecodeError(FeishuError, ValueError):
    """An event's payload or body does not have the shape of its type; the message names the path."""


class Retry(Exception):
    """Raised by a handler that wants the event again: no fault of its own, so no traceback is logged.

    Feishu is answered 500, and delivers the event again after about 15 s, 5 min, 1 h and 6 h. In a batch it
    holds for all events of it. Somebody waits for the answer to a callback, which never comes again: there it
    counts as a failure. Where the event was answered on receipt, it is lost, which a warning tells.

    Args:
        after: Seconds from now after which an inbox hands the event on again; None for its usual delay.
            Feishu has delays of its own.
        reason: What the log says about it.
    """

    # Here, too, for subclasses that do not call `__init__`.
    after: float | None = None
    reason: str = ""

    def __init__(self, after: float | None = None, reason: str = "") -> None:
        super().__init__(after, reason)
        try:
            is_wait = after is None or after >= 0
        except TypeError:
            is_wait = False
        if not is_wait:
            hint = "; a reason is given as reason=…" if isinstance(after, str) else ""
            raise ValueError(
                f"after: {after!r} is not allowed; it must be None, or a number of seconds, 0 or more{hint}"
            )
        self.after = after
        self.reason = str(reason)

    def __str__(self) -> str:
        return str(self.reason)


def wished_retry(error: BaseException) -> Retry | None:
    """The `Retry` that an exception is, or of a group of nothing else the one with the longest wait."""
    if isinstance(error, Retry):
        return error
    if not isinstance(error, BaseExceptionGroup):
        return None
    wishes = [wished_retry(each) for each in error.exceptions]
    return max((wish for wish in wishes if wish), key=_wait) if all(wishes) else None


def _wait(wish: Retry) -> float:
    return wish.after if isinstance(wish.after, int | float) else -1.0
