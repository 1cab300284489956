"""Calls of Feishu's HTTP API: how the gateway declares them, and how it refuses them.

A call is a method with `@call(method, path)` above it, in the file of its topic; what stands in braces in the path is
handed to it by name. It returns the answer's body, or a whole `Response`, or raises `ApiRefusal`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias, TypeVar
from urllib.parse import unquote

import attrs

from ._http import Request, Response, json_response

Body: TypeAlias = dict[str, object]
Function = TypeVar("Function", bound=Callable[..., Body | Response])

BAD_FIELD: Final = 99992402
"""A field is missing, or is of another type than it must be."""
UNKNOWN_CALL: Final = 404
"""The gateway's own: Feishu answers paths that it does not know with a page."""

_MARK: Final = "feishu_call"


class ApiRefusal(Exception):
    """A refused call. `status` is HTTP's, `error` the member of that name that some refusals have beside their `msg`."""

    def __init__(
        self,
        code: int,
        msg: str,
        status: int = 400,
        *,
        headers: Mapping[str, str] | None = None,
        error: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(code, msg)
        self.code = code
        self.msg = msg
        self.status = status
        self.headers = tuple((headers or {}).items())
        self.error = error

    def response(self) -> Response:
        """The answer."""
        body: Body = {"code": self.code, "msg": self.msg}
        if self.error is not None:
            body["error"] = self.error
        return json_response(body, self.status, self.headers)


def bad_field(name: str, description: str, value: object = None) -> ApiRefusal:
    """The refusal of a field that is missing or wrong, as Feishu words it."""
    violation = {"field": name, "value": "" if value is None else str(value), "description": description}
    msg = f"field validation failed: {name}: {description}"
    return ApiRefusal(BAD_FIELD, msg, error={"field_violations": [violation]})


def done(data: Mapping[str, object] | None = None) -> Body:
    """The body of a success, with its `data`."""
    return {"code": 0, "msg": "success", "data": {} if data is None else data}


def call(method: str, path: str, *, token: bool = True) -> Callable[[Function], Function]:
    """Declare a method as the answer to `method path`; `token` tells whether a tenant token is needed."""

    def declare(function: Function) -> Function:
        function.__dict__[_MARK] = (method, path, token)
        return function

    return declare


@attrs.frozen
class Call:
    """A declared call, bound to its topic."""

    method: str
    pattern: re.Pattern[str]
    token: bool
    answer: Callable[..., Body | Response]

    def matches(self, request: Request) -> dict[str, str] | None:
        """The arguments in the path of `request`; None if it is another call."""
        if request.method != self.method:
            return None
        match = self.pattern.fullmatch(request.path.rstrip("/"))
        return match and {name: unquote(value) for name, value in match.groupdict().items()}


def calls_of(topics: Iterable[object]) -> list[Call]:
    """All calls that the topics declare; one with a fixed path before one with arguments that fits the same path."""
    found: list[tuple[int, Call]] = []
    for topic in topics:
        for name, member in vars(type(topic)).items():
            declared: tuple[str, str, bool] | None = getattr(member, "__dict__", {}).get(_MARK)
            if declared is not None:
                method, path, token = declared
                bound: Any = getattr(topic, name)
                found.append((path.count("{"), Call(method, _pattern(path), token, bound)))
    return [each for _, each in sorted(found, key=lambda pair: pair[0])]


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(path)))
