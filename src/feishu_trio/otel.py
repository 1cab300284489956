"""Spans for OpenTelemetry: one for each run of a handler, and in it one for each request to Feishu.

Needs the extra `otel`, which is OpenTelemetry's API alone: what becomes of the spans is the affair of the SDK that the
program sets up. Where nothing is traced, nothing of this is imported.

Source: the semantic conventions of messaging and HTTP client spans.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, Final
from urllib.parse import urlsplit

import trio

from .api.watching import Request, watcher
from .errors import wished_retry
from .events import Event
from .logs import described
from .routes import CallNext, Middleware

try:
    from opentelemetry.trace import (
        Link,
        Span,
        SpanContext,
        SpanKind,
        Status,
        StatusCode,
        Tracer,
        TracerProvider,
        get_tracer,
    )
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "feishu_trio.otel needs opentelemetry-api, which is not installed: pip install 'feishu-trio[otel]'",
        name=error.name,
    ) from error

__all__ = ["tracing"]

# Names of spans are few, whatever comes off the wire or is called: those after so many have no second word.
_NAMES: Final = 256
_NAME_LENGTH: Final = 200
# Runs that failed are remembered so that the next ones of the same event and handler are linked to the first of them.
_REMEMBERED: Final = 1024
# Of a path such as /open-apis/im/v1/messages/om_1/reply the first four parts, and these later ones, are words of
# Feishu's; all others may be ids of messages, files and people.
_WORD: Final = re.compile(r"[a-z]+(?:[_-][a-z]+)*\d?")
_FIRST_PARTS: Final = 4
_LATER_PARTS: Final = frozenset(
    {
        "batch_update",
        "content",
        "create",
        "elements",
        "forward",
        "internal",
        "members",
        "reactions",
        "reply",
        "resources",
        "search",
        "settings",
        "update",
    }
)


def tracing(*, calls: bool = True, provider: TracerProvider | None = None) -> Middleware:
    """A middleware that makes a span of each run of a handler: `router.middleware(tracing())`.

    The span is a CONSUMER's, `process im.message.receive_v1`. A run that comes after one that failed, of the same
    event and handler and in this process, has a link to the first of them. Messages in JSON and `session.events()` have no
    middleware, and so no spans.

    Args:
        calls: Whether requests to Feishu that are made while a handler runs, or by tasks and threads that it starts,
            have spans in its span: CLIENT's, one for each try.
        provider: Whose tracer makes the spans; OpenTelemetry's global one, if not given.
    """
    return _Tracing(get_tracer("feishu_trio", version("feishu-trio"), provider), calls=calls)


class _Tracing:
    """The middleware. Its memory is bounded."""

    def __init__(self, tracer: Tracer, *, calls: bool) -> None:
        self._tracer = tracer
        self._calls = calls
        self._types = _Names()
        self._paths = _Names()
        self._first: OrderedDict[tuple[str, str], SpanContext] = OrderedDict()

    async def __call__(self, event: Any, call_next: CallNext) -> object:
        """Run a handler in a span; `event` is a list of events where it takes batches."""
        events: Sequence[Event[Any]] = event if isinstance(event, list) else (event,)
        handler = (events[0].port and events[0].port.handler) or ""
        keys = [(each.id, handler) for each in events if each.id]
        links = [Link(self._first[key]) for key in keys if key in self._first]
        with self._tracer.start_as_current_span(
            self._types.after("process", _one_type(events)),
            kind=SpanKind.CONSUMER,
            attributes=_facts(events, handler),
            links=links,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            token = watcher.set(self._request) if self._calls else None
            try:
                result = await call_next(event)
            except BaseException as error:
                self._failed(span, keys, error)
                raise
            finally:
                if token is not None:
                    watcher.reset(token)
            span.set_attribute("feishu.outcome", "ok")
        for key in keys:
            self._first.pop(key, None)
        return result

    def _failed(self, span: Span, keys: Sequence[tuple[str, str]], error: BaseException) -> None:
        for key in keys:
            self._first.setdefault(key, span.get_span_context())
            if len(self._first) > _REMEMBERED:
                self._first.popitem(last=False)
        if wished_retry(error) is not None:
            span.set_attribute("feishu.outcome", "retry")
            return
        if _is_cancelled(error):  # by its timeout, by cancel(), or as the session ends
            span.set_attribute("feishu.outcome", "cancelled")
            span.set_attribute("error.type", "cancelled")
            span.set_status(Status(StatusCode.ERROR, "cancelled"))
            return
        span.set_attribute("feishu.outcome", "failed")
        _record(span, error)

    @contextmanager
    def _request(self, request: Request) -> Iterator[None]:
        """A span for one request. It has no URL: that may name messages, files and people."""
        template = self._paths.known(_template(request.path))
        address = urlsplit(request.domain)
        attributes: dict[str, str | int] = {
            "http.request.method": request.method,
            "server.address": address.hostname or "",
        }
        if (port := address.port or {"https": 443, "http": 80}.get(address.scheme)) is not None:
            attributes["server.port"] = port
        if template is not None:
            attributes["url.template"] = template
        if request.number:
            attributes["http.request.resend_count"] = request.number
        with self._tracer.start_as_current_span(
            f"{request.method} {template}" if template else request.method,
            kind=SpanKind.CLIENT,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            finally:
                _conclude(span, request)


class _Names:
    """Names that spans may have: so many that have been asked for first."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def known(self, name: str) -> str | None:
        """The name, if it is one of them."""
        if name in self._known:
            return name
        if not name or len(name) > _NAME_LENGTH or len(self._known) >= _NAMES:
            return None
        self._known.add(name)
        return name

    def after(self, word: str, name: str) -> str:
        """A word and the name; the word alone if it is none of them."""
        known = self.known(name)
        return word if known is None else f"{word} {known}"


def _one_type(events: Sequence[Event[Any]]) -> str:
    """The type of all these events; empty if there are several."""
    types = {each.type for each in events}
    return types.pop() if len(types) == 1 else ""


def _facts(events: Sequence[Event[Any]], handler: str) -> dict[str, str | int | bool]:
    first, *others = events
    facts: dict[str, str | int | bool] = {
        "messaging.system": "feishu",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "feishu.handler": handler,
    }
    if event_type := _one_type(events):
        facts["messaging.destination.name"] = event_type[:_NAME_LENGTH]
    if first.app_id:
        facts["feishu.app_id"] = first.app_id[:_NAME_LENGTH]
    if others:
        facts["messaging.batch.message_count"] = len(events)
        return facts
    facts |= {
        "messaging.message.id": first.id[:_NAME_LENGTH],
        "messaging.message.body.size": len(first.payload),
        "feishu.attempt": first.attempt,
        "feishu.redelivered": first.redelivered,
    }
    if first.trace_id:
        facts["feishu.trace_id"] = first.trace_id[:_NAME_LENGTH]
    return facts


def _conclude(span: Span, request: Request) -> None:
    error = request.error
    if request.code == "0":
        span.set_attribute("http.response.status_code", 200)
        return
    span.set_attribute("error.type", request.code)
    span.set_status(StatusCode.ERROR)  # without Feishu's words, which may repeat what was sent
    if error is not None and error.status is not None:
        span.set_attribute("http.response.status_code", error.status)
    if error is not None and error.log_id:
        span.set_attribute("feishu.log_id", error.log_id)


def _is_cancelled(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_cancelled, error.exceptions))
    return isinstance(error, trio.Cancelled)


def _record(span: Span, error: BaseException) -> None:
    # As `record_exception` has it, which neither bounds nor hides anything.
    kind, message, stack = described(error)
    span.add_event(
        "exception", {"exception.type": kind, "exception.message": message, "exception.stacktrace": stack}
    )
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR, type(error).__qualname__))


def _template(path: str) -> str:
    """A path with its ids left out: `/open-apis/im/v1/messages/{id}/reply`."""
    parts = path.split("/")[1:]
    words = (
        (number < _FIRST_PARTS and _WORD.fullmatch(part)) or part in _LATER_PARTS
        for number, part in enumerate(parts)
    )
    return "".join(f"/{part if is_word else '{id}'}" for part, is_word in zip(parts, words, strict=True))
