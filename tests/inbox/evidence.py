"""What processes that share an inbox in Redis leave behind: the log of their server, command by command, and the one of their
handlers, line by line. And what must hold of the two together: all times are of one machine's clock.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise
from math import inf
from operator import itemgetter
from pathlib import Path

import attrs
import msgspec

from feishu_trio.inbox.redis_replies import read_event

from .redis_bot import LEASE, fails

EVENT, ENDED, DONE = b"{feishu}:e:", b"{feishu}:h:", b"{feishu}:done"
HANDLERS = ("first", "second")
SHORTEST_LEASE = LEASE - 2
"""Seconds that a lease goes on at the least when its process or the server goes away: it is renewed each second, and a busy
machine may be late."""
SLACK = 1.0
"""Seconds for a busy machine to cancel what runs."""


@attrs.define
class Stored:
    """An event, as the server has it."""

    number: int
    id: str
    lane: str
    done: list[float] = attrs.field(factory=list)
    """When it was settled as done."""
    succeeded: dict[str, float] = attrs.field(factory=dict)
    """When the success of a handler was recorded."""
    attempts: int = 0
    crashes: int = 0

    def recorded(self, handler: str) -> float:
        """Since when it has been known that this handler need not run again."""
        return min([self.succeeded.get(handler, inf), *self.done])


@attrs.define(eq=False)
class Run:
    """One run of a handler."""

    handler: str
    event: str
    process: int
    begun: float
    is_late: bool
    """Whether its process was paused in the midst of beginning it: it had looked whether the event was its own."""
    lines: list[float] = attrs.field(factory=list)
    """When it wrote something more."""
    outcome: str = ""
    """`end`, or `aside` if the event is to come again; nothing if it was killed or cancelled."""

    @property
    def ended(self) -> float:
        """When it ended by itself."""
        return self.lines[-1] if self.outcome else inf


@attrs.define
class Disturbance:
    """A process was killed or paused, or the server was away."""

    process: int | None
    """None: the server, and so all of them."""
    begun: float
    over: float = inf
    """Until when it lasted; a process that is killed never comes back."""

    def may_end(self, run: Run, before: float) -> bool:
        """Whether it may have ended the lease under which a handler ran."""
        lasted = self.over - self.begun
        return lasted > SHORTEST_LEASE and self.begun < before and self.over > run.begun

    def ends_by(self, run: Run) -> float:
        """When the lease under which a handler ran has ended for sure, because of this, and its process knows."""
        if self.begun < run.begun or self.over - self.begun < LEASE + SLACK:
            return inf
        return self.begun + LEASE + SLACK if self.process is None else self.over


class Evidence:
    """What is left.

    Args:
        folder: Where the server has its append-only files, of which it has deleted none.
        log: What the handlers wrote.
        disturbances: What was done to them.
    """

    def __init__(self, folder: Path, log: Path, disturbances: Iterable[Disturbance]) -> None:
        self.late = 0
        """How many results came late, as their processes say."""
        self.events = list(stored(folder).values())
        self.runs: dict[tuple[str, str], list[Run]] = defaultdict(list)
        """By handler and event, in the order in which they began."""
        self._of_process: dict[int | None, list[Disturbance]] = defaultdict(list)
        for each in disturbances:
            self._of_process[each.process].append(each)
        resumed = {process: sorted(each.over for each in some) for process, some in self._of_process.items()}
        for line in log.read_text().splitlines():
            what, event, pid, at = line.split()
            process, time = int(pid), float(at)
            handler, _, more = what.partition("-")
            paused = resumed.get(process, [])
            is_first = bool(paused) and time >= paused[0]  # since the process went on
            while paused and time >= paused[0]:
                del paused[0]
            if what == "late":
                self.late += 1
            elif handler in HANDLERS and not more:
                self.runs[what, event].append(Run(what, event, process, time, is_first))
            elif handler in HANDLERS:
                run = next(each for each in reversed(self.runs[handler, event]) if each.process == process)
                run.lines.append(time)
                run.outcome = more if more != "step" else ""

    def check(self, pushed: dict[str, int]) -> None:
        """Nothing is lost, nothing runs more often than it must, and all in order.

        Args:
            pushed: The events, each with its number among them.
        """
        times = Counter(event.id for event in self.events)
        assert not [each for each in pushed if times[each] != 1], "each was stored, and once"
        for event in self.events:
            assert len(event.done) == 1, f"{event}: it was settled once, and what came late was refused"
            for handler in HANDLERS:
                self._check_runs(event, handler, self.runs[handler, event.id])
            assert event.attempts == 1 + fails(pushed[event.id]), f"{event}: deaths are no attempts"
            cut_off = [run for run in self.runs["first", event.id] if not run.outcome]
            assert event.crashes >= len(cut_off), f"{event}: each death counts that it ran at: {cut_off}"
        lanes = defaultdict(list)
        for event in self.events:
            lanes[event.lane].append(event)
        for events in lanes.values():
            self._check_order(events)

    def _check_runs(self, event: Stored, handler: str, runs: list[Run]) -> None:
        ends = [run.ended for run in runs if run.outcome == "end"]
        recorded = event.recorded(handler)
        assert min(ends, default=inf) <= recorded, (
            f"{event}: {handler} succeeded before that was recorded: {runs}"
        )
        for run in runs:
            assert run.begun <= recorded or run.is_late, (
                f"{event}: it began after its success was recorded: {run}"
            )
            ended = min((each.ends_by(run) for each in self._disturbing(run)), default=inf)
            # What a handler does between two checkpoints may come after its lease.
            assert sum(at > ended for at in run.lines) <= 1, f"{event}: {run} went on after {ended}"
        for run, again in pairwise(runs):
            is_over = run.outcome == "aside" or again.is_late or self._may_have_ended(run, again.begun)
            assert is_over, f"{event}: nothing had ended {run} before {again}"

    def _disturbing(self, run: Run) -> list[Disturbance]:
        """What was done to a run's process, or to its server."""
        return self._of_process[None] + self._of_process[run.process]

    def _may_have_ended(self, run: Run, before: float) -> bool:
        return any(each.may_end(run, before) for each in self._disturbing(run))

    def _check_order(self, events: list[Stored]) -> None:
        """Of one chat, in the order in which they were stored: one at a time, and none before an earlier one, unless that
        has stepped aside."""
        timeline: list[tuple[float, bool, Stored, Run | None]] = []
        for event in events:
            timeline.append((event.done[0], False, event, None))
            for handler in HANDLERS:
                for each in self.runs[handler, event.id]:
                    if not each.is_late:
                        timeline.append((each.begun, True, event, each))
                    if each.outcome == "aside":
                        timeline.append((each.lines[-1], False, event, None))
        timeline.sort(key=itemgetter(0, 1))
        running: list[Run] = []
        passed: set[str] = set()
        ahead = 0  # how many have been done, or have stepped aside, from the first one on
        for at, _, event, run in timeline:
            if run is None:
                passed.add(event.id)
                while ahead < len(events) and events[ahead].id in passed:
                    ahead += 1
                continue
            assert event.number <= events[min(ahead, len(events) - 1)].number, (
                f"{event} began at {at} before {events[ahead]}"
            )
            running = [
                each for each in running if at < each.ended and not self._may_have_ended(each, before=at)
            ]
            beside = [each for each in running if each.event != event.id]
            assert not beside, f"{run} runs beside {beside}"
            running.append(run)


def stored(folder: Path) -> dict[int, Stored]:
    """What the server wrote about events, by their numbers."""
    events: dict[int, Stored] = {}
    for name, *arguments in commands(folder):
        match name.upper():
            case b"SET" | b"MSET":
                for key, value in pairs(arguments):
                    if key.startswith(EVENT):
                        number, kept = int(key.removeprefix(EVENT)), read_event(value)
                        event = events.setdefault(number, Stored(number, kept.id, kept.lane or ""))
                        event.attempts, event.crashes = kept.attempts, kept.crashes
            case b"ZADD" if arguments[0] == DONE and arguments[1] != b"XX":  # else it is a later arrival
                for at, finished in pairs(arguments[1:]):
                    events[int(finished)].done.append(float(at))
            case b"HSET" if arguments[0].startswith(ENDED):
                event = events[int(arguments[0].removeprefix(ENDED))]
                for handler, value in pairs(arguments[1:]):
                    at, has_succeeded, _ = msgspec.msgpack.decode(value)
                    if has_succeeded:
                        event.succeeded.setdefault(handler.decode(), at)
    return events


def pairs(arguments: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    return zip(arguments[::2], arguments[1::2], strict=True)


def commands(folder: Path) -> Iterator[list[bytes]]:
    """What a server wrote into its append-only file."""
    for path in sorted(folder.glob("*.incr.aof"), key=lambda path: int(path.name.split(".")[-3])):
        with path.open("rb") as file:
            while line := file.readline():
                if line.startswith(b"*"):
                    yield [file.read(int(file.readline()[1:]) + 2)[:-2] for _ in range(int(line[1:]))]
