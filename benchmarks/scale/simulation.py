"""Receivers, a server and workers on a simulated clock, as `RedisInbox` has them talk to each other.

Each process has one call on its way at a time, which takes along what has gathered since the one before. The server does
what has come, one call after the other, and answers when it is through with it. An event that is ready wakes one of the
workers that wait; of a chat at most one is ready or runs.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect
from collections import deque
from collections.abc import Callable, Iterator
from itertools import accumulate, count
from random import Random
from statistics import quantiles
from typing import Any, Final

import attrs

__all__ = ["Chats", "Cost", "Costs", "Outcome", "Setup", "percentile", "simulate"]

_STORED: Final = 4096  # events that one call stores at the most
_NOTED: Final = 256  # results that one call brings
_CLAIMED: Final = 64  # events that one call claims
_TICKETS: Final = 1000  # that the server keeps
_LOOK_AGAIN: Final = 1.0  # seconds after which a worker that waits looks by itself
_RENEW: Final = 1.0  # seconds between two renewals of a lease
_SWEEP: Final = 30.0  # seconds between two looks of a process at what is to be forgotten


@attrs.frozen
class Cost:
    """Seconds of a processor that a call takes, and more for each event in it."""

    call: float = 0.0
    event: float = 0.0

    def of(self, events: int) -> float:
        return self.call + self.event * events


@attrs.frozen
class Costs:
    """Seconds of processor time, and of waiting, of all that is done for an event."""

    store: Cost
    """Of the server, as the next six."""
    claim: Cost
    done: Cost
    forget: float = 0.0
    """An event, once its window is over."""
    ticket: float = 0.0
    """To wake a worker, and have it wait again."""
    renew: float = 0.0
    """A process and second: its renewal of the lease, and its waiting."""
    hold: float = 0.0
    """An event that is claimed, and second."""
    receive: Cost = Cost()
    """Of a receiver: from an event's bytes to its answer's."""
    work: Cost = Cost()
    """Of a worker, beside the handler."""
    network: float = 0.0
    """One way."""
    fsync: float = 0.0
    """With `appendfsync always`: once for all calls that the server does at a time."""


class Chats:
    """Draws chats: the n-th busiest has a share of the events like 1 / n to the power of `skew`."""

    def __init__(self, many: int, skew: float) -> None:
        self._upto = list(accumulate(math.pow(n, -skew) for n in range(1, many + 1)))

    def draw(self, random: Random) -> int:
        return bisect(self._upto, random.random() * self._upto[-1])

    def share(self, chat: int) -> float:
        return (self._upto[chat] - (self._upto[chat - 1] if chat else 0.0)) / self._upto[-1]

    def share_of_busier(self, share: float) -> float:
        """Which part of all events is in chats that have more than this share each."""
        low, high = 0, len(self._upto)
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self.share(middle) > share else (low, middle)
        return self._upto[low - 1] / self._upto[-1] if low else 0.0


@attrs.frozen
class Setup:
    """What comes, and who is there for it."""

    rate: float
    """Events a second, as a Poisson process."""
    seconds: float
    receivers: int
    workers: int
    handler: float
    """Mean seconds of a handler, exponentially distributed."""
    chats: Chats
    slots: int = 64
    """Handlers that a worker runs at a time."""
    backlog: int = 0
    """Events that are stored at the beginning."""
    warm_up: float = 0.0
    """Of the seconds, those that are not looked at."""
    forgotten: int = 500
    """Events that one call forgets."""
    cores: int | None = None
    """Of a machine on which all of them run; None: each has one of its own."""
    sender: float = 0.0
    """Seconds of such a core that the platform takes for an event, as it runs there, too."""


@attrs.define
class Outcome:
    """What has happened, from the end of the warm-up on."""

    seconds: float
    answers: list[float] = attrs.field(factory=list, repr=False)
    """Seconds from an event's arrival to its answer."""
    waits: list[float] = attrs.field(factory=list, repr=False)
    """Seconds from an event's arrival to the beginning of its handler."""
    stored: int = 0
    done: int = 0
    stores: int = 0
    """Calls that stored; and those that claimed something."""
    claims: int = 0
    claimed: int = 0
    server: float = 0.0
    """Shares of the time for which a processor is at work: the server's, and on average a receiver's and a worker's."""
    receiver: float = 0.0
    worker: float = 0.0
    in_handlers: float = 0.0
    """Events in handlers, on average."""
    left: int = 0
    """Events that were stored and are not done at the end."""

    @property
    def rate(self) -> float:
        """Events done a second."""
        return self.done / self.seconds


def percentile(values: list[float], percent: int) -> float:
    """In a hundred parts of the values; not a number of too few."""
    return quantiles(values, n=100, method="inclusive")[percent - 1] if len(values) > 1 else math.nan


def simulate(setup: Setup, costs: Costs, seed: int = 1) -> Outcome:
    return _Simulation(setup, costs, Random(seed)).run()


class _Event:
    __slots__ = ("arrived", "chat")

    def __init__(self, arrived: float, chat: int) -> None:
        self.arrived = arrived
        self.chat = chat


class _Simulation:
    def __init__(self, setup: Setup, costs: Costs, random: Random) -> None:
        self.setup, self.costs, self.random = setup, costs, random
        self.now = 0.0
        self.outcome = Outcome(setup.seconds - setup.warm_up)
        self._agenda: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._order = count()
        self.cores = [0.0] * (setup.cores or 0)  # when each is free
        self._sender = _Processor(self)
        self.server = _Server(self)
        self.receivers = [_Receiver(self) for _ in range(setup.receivers)]
        self.workers = [_Worker(self) for _ in range(setup.workers)]

    def at(self, time: float, do: Callable[..., object], *arguments: Any) -> None:
        heapq.heappush(self._agenda, (time, next(self._order), do, arguments))

    @property
    def is_measured(self) -> bool:
        return self.now >= self.setup.warm_up

    def measured(self, begin: float, end: float) -> float:
        """The part of a time that counts."""
        return max(0.0, min(end, self.setup.seconds) - max(begin, self.setup.warm_up))

    def run(self) -> Outcome:
        setup, outcome = self.setup, self.outcome
        for _ in range(setup.backlog):
            self.server.add(_Event(0.0, setup.chats.draw(self.random)))
        processes: list[_Process] = [*self.receivers, *self.workers]
        for process in processes:
            self.at(self.random.uniform(0, _RENEW), self._renew, process)
        if self.costs.forget and processes:
            self._sweep(setup.rate * _SWEEP / len(processes), _SWEEP / len(processes))
        for worker in self.workers:
            worker.pump()
        if self.receivers:
            self._arrive()
        while self._agenda and self._agenda[0][0] <= setup.seconds:
            self.now, _, do, arguments = heapq.heappop(self._agenda)
            do(*arguments)
        for share, group in (("receiver", self.receivers), ("worker", self.workers)):
            busy = sum(each.processor.busy for each in group)
            setattr(outcome, share, busy / max(1, len(group)) / outcome.seconds)
        outcome.server = self.server.processor.busy / outcome.seconds
        outcome.in_handlers /= outcome.seconds
        outcome.left = self.server.left
        return outcome

    def _arrive(self) -> None:
        if self.setup.rate:
            self.at(self.now + self.random.expovariate(self.setup.rate), self._arrived)

    def _arrived(self) -> None:
        event = _Event(self.now, self.setup.chats.draw(self.random))
        sent = self._sender.take(self.setup.sender)
        self.at(sent, self.random.choice(self.receivers).arrived, event)
        self._arrive()

    def _renew(self, process: _Process) -> None:
        seconds = self.costs.renew + self.costs.hold * process.held
        self.server.call(lambda: seconds, lambda: None)
        self.at(self.now + _RENEW, self._renew, process)

    def _sweep(self, events: float, seconds: float) -> None:
        """Have what was done a window ago be forgotten, step by step."""

        def step(left: int) -> None:
            if left:
                some = min(left, self.setup.forgotten)
                self.server.call(lambda: self.costs.forget * some, lambda: step(left - some))

        step(round(events))
        self.at(self.now + seconds, self._sweep, events, seconds)


class _Processor:
    """Does one thing after the other, on a core of its own or on one that is free."""

    def __init__(self, simulation: _Simulation) -> None:
        self._simulation = simulation
        self._free_at = 0.0
        self.busy = 0.0

    def take(self, seconds: float) -> float:
        """Do something that takes so long: when it is done."""
        begin = max(self._simulation.now, self._free_at)
        cores = self._simulation.cores
        if cores and seconds:
            begin = max(begin, cores[0])
            heapq.heapreplace(cores, begin + seconds)
        self._free_at = begin + seconds
        self.busy += self._simulation.measured(begin, self._free_at)
        return self._free_at


class _Server:
    def __init__(self, simulation: _Simulation) -> None:
        self._simulation = simulation
        self.processor = _Processor(simulation)
        self.left = 0
        self._calls: list[tuple[Callable[[], float], Callable[[], object]]] = []
        self._is_busy = False
        self._lanes: dict[int, deque[_Event]] = {}  # what is blocked behind the event that is ready or runs
        self._ready: deque[_Event] = deque()
        self._waiting: deque[_Worker] = deque()
        self._woken: list[_Worker] = []
        self._tickets = 0

    def call(self, do: Callable[[], float], reply: Callable[[], object]) -> None:
        """A call arrives: `do` returns the seconds that it takes, `reply` is called when its answer is there."""
        self._calls.append((do, reply))
        if not self._is_busy:
            self._round()

    def _round(self) -> None:
        calls, self._calls = self._calls, []
        self._is_busy = bool(calls)
        if calls:
            seconds = sum([do() for do, _ in calls])
            woken, self._woken = self._woken, []
            end = self.processor.take(seconds + self._simulation.costs.ticket * len(woken))
            replies = [reply for _, reply in calls] + [worker.woken for worker in woken]
            self._simulation.at(end + self._simulation.costs.fsync, self._answer, replies)

    def _answer(self, replies: list[Callable[[], object]]) -> None:
        for reply in replies:
            self._simulation.at(self._simulation.now + self._simulation.costs.network, reply)
        self._round()

    # What calls do

    def add(self, event: _Event) -> None:
        """Store one."""
        self.left += 1
        if event.chat in self._lanes:
            self._lanes[event.chat].append(event)
        else:
            self._lanes[event.chat] = deque()
            self._offer(event)

    def _offer(self, event: _Event) -> None:
        self._ready.append(event)
        if self._waiting:
            self._woken.append(self._waiting.popleft())
        else:
            self._tickets = min(self._tickets + 1, _TICKETS)

    def claim(self, limit: int) -> list[_Event]:
        found = [self._ready.popleft() for _ in range(min(limit, len(self._ready)))]
        if len(found) < limit:
            self._tickets = 0
        return found

    def finish(self, event: _Event) -> None:
        self.left -= 1
        behind = self._lanes[event.chat]
        if behind:
            self._offer(behind.popleft())
        else:
            del self._lanes[event.chat]

    def wait(self, worker: _Worker) -> None:
        """It wants a ticket."""
        if self._tickets:
            self._tickets -= 1
            self.call(lambda: self._simulation.costs.ticket, worker.woken)
        else:
            self._waiting.append(worker)


class _Process:
    """Has one call on its way at a time. What it has to read goes first: beyond its core's limit it sends little."""

    held = 0
    """Events that it has claimed."""

    def __init__(self, simulation: _Simulation) -> None:
        self.simulation = simulation
        self.processor = _Processor(simulation)
        self.is_calling = False

    def send(self, seconds: float, do: Callable[[], float], reply: Callable[[], object]) -> None:
        """Have the server do something, which takes this process so long."""
        self.is_calling = True
        sent = self.processor.take(seconds)
        self.simulation.at(sent + self.simulation.costs.network, self.simulation.server.call, do, reply)


class _Receiver(_Process):
    def __init__(self, simulation: _Simulation) -> None:
        super().__init__(simulation)
        self._gathered: deque[_Event] = deque()

    def arrived(self, event: _Event) -> None:
        self.simulation.at(self.processor.take(self.simulation.costs.receive.event), self._read, event)

    def _read(self, event: _Event) -> None:
        self._gathered.append(event)
        self._pump()

    def _pump(self) -> None:
        if self._gathered and not self.is_calling:
            group = list(_taken(self._gathered, _STORED))
            self.send(
                self.simulation.costs.receive.call, lambda: self._store(group), lambda: self._answer(group)
            )

    def _store(self, group: list[_Event]) -> float:
        simulation = self.simulation
        for event in group:
            simulation.server.add(event)
        if simulation.is_measured:
            simulation.outcome.stores += 1
            simulation.outcome.stored += len(group)
        return simulation.costs.store.of(len(group))

    def _answer(self, group: list[_Event]) -> None:
        self.is_calling = False
        if self.simulation.is_measured:
            self.simulation.outcome.answers += [self.simulation.now - event.arrived for event in group]
        self._pump()


class _Worker(_Process):
    def __init__(self, simulation: _Simulation) -> None:
        super().__init__(simulation)
        self._done: deque[_Event] = deque()
        self._looks = True
        self._waits = 0

    def pump(self) -> None:
        idle = self.simulation.setup.slots - self.held
        limit = min(idle, _CLAIMED) if self._looks else 0
        if (limit or self._done) and not self.is_calling:
            done = list(_taken(self._done, _NOTED))
            found: list[_Event] = []
            self.send(
                self.simulation.costs.work.call,
                lambda: self._settle_and_claim(done, limit, found),
                lambda: self._begin_all(limit, found),
            )

    def _settle_and_claim(self, done: list[_Event], limit: int, found: list[_Event]) -> float:
        server, costs, outcome = self.simulation.server, self.simulation.costs, self.simulation.outcome
        seconds = costs.done.of(len(done)) if done else 0.0
        for event in done:
            server.finish(event)
        if limit:
            found += server.claim(limit)
            seconds += costs.claim.of(len(found))
        if self.simulation.is_measured:
            outcome.done += len(done)
            outcome.claims += bool(found)
            outcome.claimed += len(found)
        return seconds

    def _begin_all(self, limit: int, found: list[_Event]) -> None:
        simulation = self.simulation
        self.is_calling = False
        self.held += len(found)
        for event in found:
            simulation.at(self.processor.take(simulation.costs.work.event), self._begin, event)
        if len(found) < limit:
            self._looks = False
            self._waits += 1
            simulation.at(simulation.now + simulation.costs.network, simulation.server.wait, self)
            simulation.at(simulation.now + _LOOK_AGAIN, self._look_again, self._waits)
        self.pump()

    def _begin(self, event: _Event) -> None:
        simulation = self.simulation
        end = simulation.now + simulation.random.expovariate(1 / simulation.setup.handler)
        simulation.outcome.in_handlers += simulation.measured(simulation.now, end)
        if simulation.is_measured:
            simulation.outcome.waits.append(simulation.now - event.arrived)
        simulation.at(end, self._end, event)

    def _end(self, event: _Event) -> None:
        self.held -= 1
        self._done.append(event)
        self.pump()

    def woken(self) -> None:
        self._looks = True
        self.pump()

    def _look_again(self, waits: int) -> None:
        if waits == self._waits:
            self.woken()


def _taken(events: deque[_Event], limit: int) -> Iterator[_Event]:
    for _ in range(min(limit, len(events))):
        yield events.popleft()
