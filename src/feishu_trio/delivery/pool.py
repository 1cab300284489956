"""A pool: so many handlers at a time, so many events waiting, and order within a key.

Workers take jobs out of a memory channel. A job whose key is busy waits in that key's lane instead and joins
the channel when its turn comes, so that it holds no worker and no other key. Workers are started when there is
work for one more; lanes vanish when they are empty.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Iterator
from typing import Any, Final, Generic, Protocol, TypeVar

import trio

__all__ = ["PATIENCE", "Pool", "WaitingBytes"]


class Queueable(Protocol):
    """What a pool wants of a job."""

    @property
    def key(self) -> Hashable:
        """It waits until those of its key that came before are done; None is no key."""

    @property
    def weight(self) -> int:
        """The number of events it stands for."""

    @property
    def size(self) -> int:
        """The bytes of payload that wait with it."""

    @property
    def is_held(self) -> bool:
        """Whether it may not begin, even if its turn has come, until `Pool.release`."""


J = TypeVar("J", bound=Queueable)

# Seconds for which a full pool may hold its callers back, who have other pools to serve; and how much of that
# comes back with each second in which it does not. A pool that has caught up has all of it again.
PATIENCE: Final = 1.0
_REGAINED: Final = 0.1
# So many jobs that never wait may run one after the other before others get the processor.
_JOBS_PER_TURN: Final = 32


class _Worker(Generic[J]):
    """A task that runs one job after the other."""

    __slots__ = ("is_cancelled", "job", "scope", "task")

    def __init__(self) -> None:
        self.task = trio.lowlevel.current_task()
        self.scope = trio.CancelScope()
        self.job: J | None = None
        self.is_cancelled = False
        """Whether its job has been cancelled by its scope: it needs another for the next."""


class WaitingBytes:
    """The bytes of payload that wait in several pools, all together, and how many may.

    A pool is full, too, when as many wait in all of them; but a pool in which nothing waits takes one more, so
    that the events of one do not keep those of another from being handled. So there can be one event more for
    each pool.
    """

    def __init__(self, limit: float = math.inf) -> None:
        self.limit = limit
        self.used = 0
        self.pools: list[Pool[Any]] = []

    def give_back(self, size: int) -> None:
        """So many of too many wait no more; who waits for room in any of the pools looks again."""
        self.used -= size
        if self.used < self.limit:
            for pool in self.pools:
                pool.look_for_room()


class Pool(Generic[J]):
    """Runs jobs, at most `concurrency` at a time; with `capacity` waiting for a worker or their turn, it is full.

    `run` is called with a job and the limiter of this pool's threads. Only what ends the program, or at
    least the nursery, may leave it.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[J, trio.CapacityLimiter], Awaitable[None]],
        *,
        concurrency: int,
        capacity: int,
        waiting_bytes: WaitingBytes | None = None,
        freed: trio.lowlevel.ParkingLot | None = None,
    ) -> None:
        self.name = name
        self.concurrency = concurrency
        self.capacity = capacity
        self.waiting = 0
        """Events that wait."""
        self.running = 0
        """Jobs that run."""
        self.begun = 0
        """Jobs that have begun so far."""
        self._run = run
        self._bytes = WaitingBytes() if waiting_bytes is None else waiting_bytes
        self._bytes.pools.append(self)
        # Both are made for the first job: a pool that has none costs next to nothing.
        self._ready: trio.MemorySendChannel[J] | None = None
        self._jobs: trio.MemoryReceiveChannel[J] | None = None
        self._threads: trio.CapacityLimiter | None = None
        self._queued = 0  # jobs in the channel
        # By key the job that runs or is queued; where others wait for it, all of them, that one first.
        self._lanes: dict[Hashable, J | deque[J]] = {}
        self._due: set[J] = set()  # jobs that are held, though their turn has come
        self._nursery: trio.Nursery | None = None
        self._workers = 0  # started, or about to be
        self._crew: list[_Worker[J]] = []
        self._closed = False
        self._patience = PATIENCE
        self._spent_at = 0.0  # when some of it was last spent
        self._stuck_at = -1  # how many had begun when it was last found stuck
        self._held: list[object] = []  # callers in wait_room, who have room in this order
        self._waking = False  # a worker has been woken, or started, and has not looked for a job yet
        # Workers without a job. The last to fall asleep wakes first: it is the one whose memory is still warm.
        self._sleeping: list[trio.lowlevel.Task] = []
        self._room = trio.lowlevel.ParkingLot()
        self._idle = trio.lowlevel.ParkingLot()
        self._freed = trio.lowlevel.ParkingLot() if freed is None else freed  # who waits for an idle worker

    def __repr__(self) -> str:
        return f"<Pool {self.name}: {self.running}/{self.concurrency} running, {self.waiting}/{self.capacity} waiting>"

    @property
    def has_room(self) -> bool:
        """Whether there is room for a job."""
        return self.waiting < self.capacity and (not self.waiting or self._bytes.used < self._bytes.limit)

    @property
    def is_full(self) -> bool:
        """Whether a newcomer must wait: there is no room, or others have been waiting for it."""
        return bool(self._held) or not self.has_room

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs and nothing waits."""
        return not self.waiting and not self.running

    def start(self, nursery: trio.Nursery) -> None:
        """Let workers be started in `nursery`; whoever holds it ends them by cancelling it."""
        self._nursery = nursery

    def check_key(self, key: Hashable) -> None:
        """Raise what a key raises that cannot be looked up."""
        _ = key in self._lanes

    def reserve(self, size: int = 0) -> None:
        """Count one event of `size` bytes as waiting here, before it is submitted as a part of a batch."""
        self.waiting += 1
        self._bytes.used += size

    def submit(self, job: J, *, reserved: bool = False) -> None:
        """Queue a job; if `reserved`, `reserve` has counted its events before.

        The caller has seen that there is room; the handlers of one event may go beyond it.
        """
        if not reserved:
            self.waiting += job.weight
            self._bytes.used += job.size
        key = job.key
        if key is not None:
            lane = self._lanes.setdefault(key, job)
            if lane is not job:
                if isinstance(lane, deque):
                    lane.append(job)
                else:
                    self._lanes[key] = deque((lane, job))
                return
        self._enqueue(job)

    def release(self, job: J) -> None:
        """A job that was submitted while it was held is so no more: it may begin once its turn comes, or has come."""
        if job in self._due:
            self._due.remove(job)
            self._enqueue(job)

    def behind(self, is_wanted: Callable[[Hashable], bool]) -> list[J]:
        """The jobs that run or wait and whose key is wanted, those of a key in their order."""
        lanes = [lane for key, lane in self._lanes.items() if is_wanted(key)]
        return [job for lane in lanes for job in (lane if isinstance(lane, deque) else (lane,))]

    def cancel(self, job: J) -> None:
        """End a job that runs, and no other."""
        for worker in self._crew:
            if worker.job is job:
                worker.is_cancelled = True
                worker.scope.cancel()

    def drop(self, job: J) -> None:
        """End a job that has a key, or take it out of those that wait.

        If it is about to begin, it does: whoever runs it sees that it is not wanted any more.
        """
        lane = self._lanes[job.key]
        if job in self._due:
            self._due.remove(job)
            self._unqueue(job)
            self._advance(job.key)
        elif isinstance(lane, deque) and lane[0] is not job:
            if lane[-1] is job:
                lane.pop()
            else:
                lane.remove(job)
            self._unqueue(job)
        else:
            self.cancel(job)

    def _unqueue(self, job: J) -> None:
        self.waiting -= job.weight
        self._bytes.give_back(job.size)
        self.look_for_room()
        if self.is_idle:
            self._idle.unpark_all()

    def at_work(self) -> Iterator[tuple[trio.lowlevel.Task, J]]:
        """The jobs that run, each with the worker's task."""
        return ((worker.task, worker.job) for worker in self._crew if worker.job is not None)

    def lines(self) -> Iterator[tuple[Hashable, J, J, int]]:
        """Of each key for which others wait: its job that runs or is queued, the next one, and how many wait."""
        for key, lane in self._lanes.items():
            if isinstance(lane, deque) and len(lane) > 1:
                yield key, lane[0], lane[1], len(lane) - 1

    def job_of(self, task: trio.lowlevel.Task) -> J | None:
        """The job that a task runs, if it is a worker of this pool."""
        return next((worker.job for worker in self._crew if worker.task is task), None)

    def look_for_room(self) -> None:
        """There may be room now, for those who wait for it."""
        if self._room:
            self._room.unpark_all()

    def close(self) -> None:
        """Have the workers end once there is nothing left to do."""
        self._closed = True
        while self._sleeping:
            trio.lowlevel.reschedule(self._sleeping.pop())

    async def wait_room(self, until: float = math.inf) -> bool:
        """Wait until there is room for a job, `PATIENCE` at the most; False if there is none.

        Who waits first has room first. The room is the caller's until its next checkpoint.
        """
        start = trio.current_time()
        if not self._held:
            self._patience = min(PATIENCE, self._patience + _REGAINED * (start - self._spent_at))
            self._spent_at = start
        turn = object()
        self._held.append(turn)
        has_room = False
        try:
            with trio.move_on_at(min(until, start + self._patience)):
                while self._held[0] is not turn or not self.has_room:
                    await self._room.park()
            has_room = self._held[0] is turn and self.has_room
        finally:
            self._held.remove(turn)
            self._room.unpark_all()  # whose turn is next, and whether there is room left for it
            now = trio.current_time()
            self._patience = max(0.0, self._patience - (now - self._spent_at))
            self._spent_at = now
        return has_room

    async def wait_room_while_moving(self) -> bool:
        """Wait for room as long as a job begins every `PATIENCE` seconds; False if the pool is stuck.

        For callers who serve no other pool, and who must drop what has no room.
        """
        while not self.has_room:
            if self.begun == self._stuck_at:
                return False
            begun = self.begun
            with trio.move_on_after(PATIENCE):
                await self._room.park()
            if self.begun == begun:
                self._stuck_at = begun
        return True

    def idle_workers(self, batch: int = 1) -> int:
        """How many events more would begin at once, each worker taking a batch of them, as far as there is room."""
        if not self.has_room:
            return 0
        return max(0, min((self.concurrency - self.running) * batch, self.capacity) - self.waiting)

    async def wait_idle(self) -> None:
        """Wait until nothing runs and nothing waits."""
        while not self.is_idle:
            await self._idle.park()

    def _enqueue(self, job: J) -> None:
        if job.is_held:
            self._due.add(job)
            return
        if self._ready is None:
            # Bounded by `has_room`, which callers see to, and which counts what waits in lanes and batches, too.
            self._ready, self._jobs = trio.open_memory_channel[J](math.inf)
        self._queued += 1
        self._ready.send_nowait(job)
        if not self._waking:
            self._wake()

    def _wake(self) -> None:
        """Have one more worker look for a job, if there is one to be had.

        One at a time: each wakes the next if it leaves any work. So jobs that never wait are all done by the first.
        """
        if self._sleeping:
            self._waking = True
            trio.lowlevel.reschedule(self._sleeping.pop())
        elif self._workers < self.concurrency:
            assert self._nursery is not None, "the pool has not been started"
            self._waking = True
            self._workers += 1
            self._nursery.start_soon(self._work, name=f"feishu_trio pool {self.name}")

    async def _work(self) -> None:
        """Run one job after the other, once there is one and this worker's turn has come.

        Workers do not wait in the channel itself: it would hand a job to one that starts it later than another
        starts the next, and jobs are to begin in the order they came.
        """
        self._waking = False
        turn = 0
        jobs = self._jobs
        assert jobs is not None, "workers are started for jobs"
        if self._threads is None:
            # A limiter of its own, so that no other pool, nor another library, can exhaust it.
            self._threads = trio.CapacityLimiter(self.concurrency)
        threads = self._threads
        worker = _Worker[J]()
        self._crew.append(worker)
        try:
            while True:
                with trio.CancelScope() as worker.scope:
                    worker.is_cancelled = False
                    while not worker.is_cancelled:
                        while not self._queued:
                            self._patience = PATIENCE
                            if self._closed:
                                return
                            await self._sleep()
                            self._waking = False
                        job = jobs.receive_nowait()
                        self._queued -= 1
                        if self._queued and not self._waking:
                            self._wake()
                        self.waiting -= job.weight
                        waiting_bytes = self._bytes
                        if waiting_bytes.used < waiting_bytes.limit:
                            waiting_bytes.used -= job.size
                        else:
                            waiting_bytes.give_back(job.size)
                        self.running += 1
                        self.begun += 1
                        if self._room and self.has_room:
                            self._room.unpark_all()
                        worker.job = job
                        try:
                            await self._run(job, threads)
                        finally:
                            worker.job = None
                            self.running -= 1
                            if job.key is not None:
                                self._advance(job.key)
                            if self._freed and self.idle_workers():
                                self._freed.unpark_all()
                            if not self.running and not self.waiting and self._idle:
                                self._idle.unpark_all()
                        turn += 1
                        if turn % _JOBS_PER_TURN == 0:
                            await trio.lowlevel.checkpoint()
        finally:
            self._crew.remove(worker)
            self._workers -= 1

    async def _sleep(self) -> None:
        task = trio.lowlevel.current_task()
        self._sleeping.append(task)

        def abort(_: object) -> trio.lowlevel.Abort:
            self._sleeping.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def _advance(self, key: Hashable) -> None:
        """Queue the next job of this key, or forget the key."""
        lane = self._lanes[key]
        if isinstance(lane, deque):
            lane.popleft()
            if lane:
                self._enqueue(lane[0])
                return
        del self._lanes[key]
