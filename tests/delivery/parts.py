"""Runs, routes and deliveries by hand, for tests without an engine."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from feishu_trio.delivery import CALLBACKS, Delivery, Origin, Outcome, Run
from feishu_trio.events import decode_event
from feishu_trio.router import Handler, Route


@attrs.define(eq=False)
class NotedDelivery:
    """A delivery that notes what becomes of it."""

    since: float = 0.0
    origin: Origin = Origin.ARRIVED
    payload: bytes = b""
    message_id: str = ""
    trace_id: str = ""
    received_at: float = 0.0
    deadline: float = 2.5
    attempt: int = 1
    notes: None = None
    is_owned: bool = True
    succeeded: Mapping[str, bytes | None] = attrs.field(factory=dict)
    settled: list[tuple[Outcome, float]] = attrs.field(factory=list)
    """Each outcome, and the seconds it took."""
    given_up: int = 0

    async def begin(self, batch: Sequence[Delivery]) -> None:
        """Not noted."""

    def handler_succeeded(self, name: str, result: bytes | None, *, is_last: bool) -> None:
        """Not noted."""

    def settle(self, outcome: Outcome, took: float, written: Callable[[], None] | None = None) -> None:
        self.settled.append((outcome, took))
        if written is not None:
            written()

    def give_up(self) -> None:
        self.given_up += 1


async def handler(event: object) -> None:
    """Never called: nothing runs here."""


def make_route(
    name: str, handler: Handler = handler, patterns: tuple[str, ...] = ("*",), **settings: Any
) -> Route:
    return Route(handler=handler, name=name, patterns=patterns, **settings)


def make_run(
    event_type: str = "x",
    *,
    origin: Origin = Origin.ARRIVED,
    chat: str | None = None,
    deadline: float = 2.5,
    body: object = None,
    succeeded: Mapping[str, bytes | None] | None = None,
) -> Run:
    """A run of the event `e` with one delivery."""
    header = {"event_id": "e", "event_type": event_type}
    event = decode_event(json.dumps({"schema": "2.0", "header": header, "event": body}).encode())
    run = Run(event, (1,), chat, origin, 0.0, deadline, [NotedDelivery()], {}, event_type in CALLBACKS)
    run.recall(succeeded or {})
    return run


def begin(
    run: Run,
    routes: Sequence[Route],
    awaited: int,
    on_receipt: Sequence[str] = (),
    broken: Mapping[str, Exception] | None = None,
    *,
    is_unrouted: bool = False,
) -> Outcome | None:
    """Plan a run and begin it: so many of its handlers are awaited."""
    run.plan(routes, broken or {}, is_unrouted=is_unrouted)
    return run.begin(awaited, on_receipt)


def succeed(run: Run, name: str, result: bytes | None = None, *, awaited: bool = True) -> Outcome | None:
    """A handler returns."""
    return run.handler_ended(name, awaited, result)


def fail(run: Run, name: str, error: Exception, *, awaited: bool = True) -> Outcome | None:
    """A handler raises."""
    return run.handler_ended(name, awaited, None, error)
