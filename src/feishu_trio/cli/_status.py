"""The line about a session that stands below the events: where it stands, and how it fares."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from math import inf
from typing import Final

import trio

from feishu_trio import Session

from ._conversation import seconds
from ._text import counted

__all__ = ["Status"]

_OVER: Final = 10.0  # seconds over which the rate is taken
_SAMPLES: Final = 100
_FRESH: Final = 0.1  # seconds for which what was told last is told again


class Status:
    """Tells of a session in one line."""

    def __init__(self, shown: Callable[[], int]) -> None:
        self._shown = shown
        self._began = trio.current_time()
        self._last = 0.0
        self._received = 0
        self._samples: deque[tuple[float, int]] = deque([(self._began, 0)], maxlen=_SAMPLES)
        self._told: tuple[float, list[str]] = (-inf, [])
        self.session: Session | None = None
        """None until it is open."""

    def line(self, width: int) -> str:
        """As much of it as fits, the most important first; with room for the ^C that a terminal shows."""
        now = trio.current_time()
        if now - self._told[0] > _FRESH:  # with every event would be dear
            self._told = (now, list(self._parts(now)))
        line, *rest = self._told[1]
        for part in rest:
            if len(line) + len(part) + 6 <= width:
                line = f"{line} | {part}"
        return f"\x1b[2m{line[: max(0, width - 3)]}\x1b[m"

    def _parts(self, now: float) -> Iterator[str]:
        if self.session is None:
            yield f"connecting, {now - self._began:.0f} s"
            return
        stats, wanted = self.session.stats(), self.session.config.connections
        some = f" {stats.connections}/{wanted}" if wanted > 1 else ""
        yield self.session.state.value + some
        shown = self._shown()
        yield counted(stats.received, "event") + (f", {shown} shown" if shown != stats.received else "")
        if stats.received != self._received:
            self._received, self._last = stats.received, now
        yield f"{self._rate(now):.1f}/s"
        if self._received:
            yield f"last {_age(now - self._last)} ago"
        if stats.latency.count:
            yield f"p50 {seconds(stats.latency.p50)}, p99 {seconds(stats.latency.p99)}"
        if stats.duplicates:
            yield f"{stats.duplicates} again"
        if stats.refused:
            yield f"{stats.refused} refused"

    def _rate(self, now: float) -> float:
        """Events a second, over the last while."""
        while len(self._samples) > 1 and self._samples[1][0] <= now - _OVER:
            self._samples.popleft()
        self._samples.append((now, self._received))
        at, received = self._samples[0]
        return (self._received - received) / max(now - at, 1.0)


def _age(time: float) -> str:
    if time < 60:
        return f"{time:.0f} s"
    return f"{time / 60:.0f} min" if time < 3600 else f"{time / 3600:.0f} h"
