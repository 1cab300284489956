"""`Retry`: the wish of a handler to get an event again."""

from __future__ import annotations

import copy
import logging
import pickle
from datetime import timedelta
from typing import Any

import pytest
from trio.testing import MockClock

from feishu_trio import ApiError, Event, Retry, Router

from .scene import CARD, USER, open_scene


class Own(Retry):
    def __init__(self) -> None:
        pass  # as careless subclasses do


class Silent(Retry):
    def __str__(self) -> str:
        raise ValueError("no text")


class Odd(Retry):
    after = "soon"  # type: ignore[assignment]
    reason = ValueError("no string")  # type: ignore[assignment]

    def __init__(self) -> None:
        pass


@pytest.mark.parametrize(
    "wish",
    [
        Retry(),
        Retry(5, "busy"),
        Retry(reason=ConnectionError("away")),  # type: ignore[arg-type]
        Retry(reason=None),  # type: ignore[arg-type]
        Own(),
        Silent(),
        Odd(),
        ExceptionGroup("", [Retry(1), Odd()]),
    ],
)
async def test_an_event_comes_again_without_a_fault(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, wish: Exception
) -> None:
    caplog.set_level(logging.INFO)
    router, times = Router(), 0

    @router.on(USER)
    async def handle(event: Event[Any]) -> None:
        nonlocal times
        times += 1
        if times == 1:
            raise wish

    async with open_scene(router) as scene:
        push = await scene.gateway.push(USER)
        assert (await push.settled()).code == 200
        assert [answer.code for answer in push.answers] == [500, 200]
        stats = scene.session.stats()
    assert (stats.retried, stats.failed, stats.handled) == (1, 0, 1)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING or record.exc_info]


async def test_in_a_callback_it_is_a_failure(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    router = Router()

    @router.on(CARD, fallback="fallback", name="click")
    async def click(event: Event[Any]) -> None:
        raise Retry(5, "busy")

    async with open_scene(router) as scene:
        assert (await (await scene.gateway.push(CARD)).settled()).data == "fallback"
        stats = scene.session.stats()
    assert (stats.retried, stats.failed) == (0, 1)
    handler = stats.by_handler["click", CARD]
    assert (handler.retried, handler.failed) == (0, 1)
    assert "handler click failed" in caplog.text


def test_what_is_wrong_with_after_is_said() -> None:
    with pytest.raises(ValueError, match=r"after: -1 is not allowed; it must be None, or a number"):
        Retry(-1)
    with pytest.raises(ValueError, match=r"after: '30' is not allowed; .* a reason is given as reason=…"):
        Retry("30")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"after: datetime.timedelta\(.* is not allowed"):
        Retry(timedelta(1))  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [Retry(5, "busy"), ApiError("failed", code=7, msg="no", log_id="L")])
def test_exceptions_can_be_copied_and_sent_to_other_processes(error: Exception) -> None:
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(again) is type(error)
        assert (str(again), vars(again)) == (str(error), vars(error))
