"""`Api`: what it is made of, and what of it events have."""

from __future__ import annotations

import inspect
from typing import Any

import feishu_trio
from feishu_trio import Api
from feishu_trio.events.port import EventApi


def calls(kind: type) -> set[str]:
    return {name for name in vars(kind) | dict(inspect.getmembers(kind)) if not name.startswith("_")}


def arguments(function: Any) -> list[tuple[str, Any, Any]]:
    return [(each.name, each.kind, each.default) for each in inspect.signature(function).parameters.values()]


def test_events_have_all_calls_with_the_same_arguments() -> None:
    assert calls(EventApi) == calls(Api)
    for name in calls(Api):
        if name != "download":  # its overloads are the type checkers'
            assert arguments(getattr(EventApi, name)) == arguments(getattr(Api, name)), name


def test_every_call_says_what_it_does() -> None:
    for name in calls(Api):
        assert inspect.getdoc(getattr(Api, name)), name


def test_errors_of_calls_are_api_errors() -> None:
    for name in ("RateLimited", "QuotaExceeded", "MessageGone", "PermissionMissing"):
        assert issubclass(getattr(feishu_trio, name), feishu_trio.ApiError)
        assert name in feishu_trio.__all__
