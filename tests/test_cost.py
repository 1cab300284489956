"""What one event costs, in things that can be counted, so that no noisy machine moves them.

A peer sends 64 events, or one, and waits for their answers, so many times over; everything the session
does meanwhile is counted. The limits are today's counts with a little room: whoever makes a count grow finds it
named here, and decides whether it is worth it.
"""

from __future__ import annotations

import base64
import gc
import hashlib
import json
import socket
import ssl
import sys
import tracemalloc
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Final

import httpx
import pytest
import trio
import trio.testing
import trustme

import feishu_trio
from feishu_trio import Event, Router, open_feishu_session
from feishu_trio.wire import DATA, encode_frame

WINDOW: Final = 64
ROUNDS: Final = 40
EVENTS: Final = WINDOW * ROUNDS

# An event's share of what a window of 64 takes.
LIMITS: Final = {
    "scheduler steps": 0.20,  # a little more than there ever are: trio draws the order of tasks by lot
    "send calls": 0.025,
    "recv calls": 0.020,
    "function calls": 42.8,  # of this package
}
# What an event takes that comes alone, over a socket.
LONE_LIMITS: Final = {
    "scheduler steps": 2.05,  # the reader's, and a worker's
    "send calls": 1.01,
    "recv calls": 1.01,
    "function calls": 56.2,
}

# What a session takes that hears nothing, of its own and of the libraries that it stands on.
IDLE_LIMITS: Final = {"tasks": 8, "objects": 670, "bytes": 107_000}

# The same over TLS.
TLS_LIMITS: Final = LONE_LIMITS | {"function calls": 64.2}

PACKAGE: Final = str(Path(feishu_trio.__file__).parent)


class CountingStream(trio.abc.Stream):
    """Counts what would be system calls: each is one on a socket with room, or with bytes to read."""

    def __init__(self, stream: trio.abc.Stream, counts: Counter[str]) -> None:
        self._stream = stream
        self._counts = counts

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self._counts["send calls"] += 1
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data = await self._stream.receive_some(max_bytes)
        self._counts["recv calls"] += 1
        return data

    async def aclose(self) -> None:
        await self._stream.aclose()


class StepCounter(trio.abc.Instrument):
    """Counts the scheduler's steps of all tasks below one, but not of that one: it is the peer."""

    def __init__(self, counts: Counter[str], peer: trio.lowlevel.Task) -> None:
        self._counts = counts
        self._peer = peer
        self._is_below: dict[trio.lowlevel.Task, bool] = {}

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task not in self._is_below:
            above = task.parent_nursery
            while above is not None and above.parent_task is not self._peer:
                above = above.parent_task.parent_nursery
            self._is_below[task] = above is not None
        if self._is_below[task]:
            self._counts["scheduler steps"] += 1


class Peer:
    """The server's end, in the test's own task."""

    def __init__(self) -> None:
        self._stream: trio.abc.Stream
        self._number = 0
        self._data = bytearray()

    async def accept(self, accepted: Callable[[], Awaitable[trio.abc.Stream]]) -> None:
        self._stream = await accepted()
        while b"\r\n\r\n" not in self._data:
            self._data += await self._stream.receive_some()
        key = bytes(self._data).lower().partition(b"sec-websocket-key: ")[2].split(b"\r\n")[0]
        start = bytes(self._data).lower().index(key)
        key = bytes(self._data[start : start + len(key)])
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        self._data.clear()
        head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        await self._stream.send_all(head + b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")

    def windows(self, count: int, size: int = WINDOW) -> list[bytes]:
        """So many windows of events that no one has seen before."""
        first = self._number
        self._number += count * size
        return [
            b"".join(map(event, range(start, start + size))) for start in range(first, self._number, size)
        ]

    async def exchange(self, windows: list[bytes], size: int = WINDOW) -> None:
        """Send each window and wait for all its answers before the next."""
        for window in windows:
            await self._stream.send_all(window)
            for _ in range(size):
                await self._answer()

    async def _answer(self) -> None:
        while True:
            data = self._data
            if len(data) >= 4:
                short = data[1] & 0x7F
                end = 8 + int.from_bytes(data[2:4], "big") if short == 126 else 6 + short
                if len(data) >= end:
                    del data[:end]
                    if short == 126:  # what is shorter is a ping
                        return
                    continue
            data += await self._stream.receive_some()


def event(number: int) -> bytes:
    """A message event in a WebSocket frame; neighbours come from different chats."""
    body = {
        "schema": "2.0",
        "header": {
            "event_id": f"event-{number:012}",
            "event_type": "im.message.receive_v1",
            "create_time": "1760000000000",
            "app_id": "cli_0123456789abcdef",
            "tenant_key": "2ca1d211f64f6438",
        },
        "event": {
            "sender": {"sender_id": {"open_id": "ou_84aad35d084aa403a838cf73ee18467"}, "sender_type": "user"},
            "message": {
                "message_id": f"om_{number:012}",
                "chat_id": f"oc_{number % 100:012}",
                "chat_type": "group",
                "message_type": "text",
                "content": '{"text":"hello"}',
            },
        },
    }
    headers = {
        "type": "event",
        "message_id": f"message-{number:012}",
        "sum": "1",
        "seq": "0",
        "trace_id": f"trace-{number:012}",
        "timestamp": "1760000000000",
        "instance_id": "7250184630112",
    }
    frame = encode_frame(
        seq_id=number, log_id=7, service=1, method=DATA, headers=headers, payload=json.dumps(body).encode()
    )
    return b"\x82\x7e" + len(frame).to_bytes(2, "big") + frame


@asynccontextmanager
async def connected(
    counts: Counter[str],
    *,
    over_socket: bool = False,
    authority: trustme.CA | None = None,
    warm: bool = True,
    **settings: Any,
) -> AsyncGenerator[Peer, None]:
    """A session with a handler that does nothing, warm, and the peer it is connected to; over TLS with an authority."""
    router = Router()

    @router.on("im.message.receive_v1")
    async def handler(event: Event[Any]) -> None:
        pass

    peer, (ours, theirs) = Peer(), trio.testing.memory_stream_pair()
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    scheme = "ws" if authority is None else "wss"
    endpoint = {"URL": f"{scheme}://localhost:{port}/ws/v2?device_id=7250&service_id=33554678"}

    async def dial(host: str, port: int) -> trio.abc.Stream:
        return CountingStream(ours, counts)

    async def dialled() -> trio.abc.Stream:
        return theirs

    accept: Callable[[], Awaitable[trio.abc.Stream]] = listener.accept if over_socket else dialled
    if authority is not None:
        served, trusting = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
        authority.issue_cert("localhost").configure_cert(served)
        authority.configure_trust(trusting)
        settings["ssl_context"] = trusting
        accept = trio.SSLListener(listener, served, https_compatible=True).accept

    async with listener, theirs, trio.open_nursery() as nursery:
        nursery.start_soon(peer.accept, accept)
        async with open_feishu_session(
            "cli_0123456789abcdef",
            "secret",
            router=router,
            domain="http://peer",
            dial=None if over_socket else dial,
            http_transport=httpx.MockTransport(
                lambda request: httpx.Response(200, json={"code": 0, "data": endpoint})
            ),
            **settings,
        ):
            if warm:
                await peer.exchange(peer.windows(ROUNDS))  # until what is kept for statistics is full
            counts.clear()
            yield peer
            await trio.aclose_forcefully(peer._stream)  # it does not shake hands at the end
            nursery.cancel_scope.cancel()


def assert_within(costs: Mapping[str, float], limits: Mapping[str, float]) -> None:
    grown = [
        f"{name}: {costs[name]:.3f}, where {limit} is the limit"
        for name, limit in limits.items()
        if costs[name] > limit
    ]
    assert not grown, f"it costs more than it did; {'; '.join(grown)}"


@contextmanager
def counted(counts: Counter[str]) -> Iterator[None]:
    """Count the steps of all tasks but this one, and this package's calls: its functions', and sockets'."""

    def on_call(frame: FrameType, what: str, called: Any) -> None:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return
        if what == "call":
            counts["function calls"] += 1
        elif (
            what == "c_call"
            and isinstance(getattr(called, "__self__", None), socket.socket)
            and called.__name__ in ("send", "recv")
        ):
            counts[f"{called.__name__} calls"] += 1

    steps = StepCounter(counts, trio.lowlevel.current_task())
    trio.lowlevel.add_instrument(steps)
    sys.setprofile(on_call)
    try:
        yield
    finally:
        sys.setprofile(None)
        trio.lowlevel.remove_instrument(steps)


async def test_steps_and_calls(mock_clock: trio.testing.MockClock) -> None:
    """What the processor and the kernel are asked to do for an event, while time stands still: nothing is due."""
    counts: Counter[str] = Counter()
    async with connected(counts) as peer:
        windows = peer.windows(ROUNDS)
        with counted(counts):
            await peer.exchange(windows)
    assert set(counts) == set(LIMITS), "something was not counted at all"
    assert_within({name: count / EVENTS for name, count in counts.items()}, LIMITS)


@pytest.mark.parametrize(
    ("authority", "limits"), [(None, LONE_LIMITS), (trustme.CA(), TLS_LIMITS)], ids=["plain", "TLS"]
)
async def test_steps_and_calls_of_an_event_that_comes_alone(
    authority: trustme.CA | None, limits: dict[str, float], mock_clock: trio.testing.MockClock
) -> None:
    counts: Counter[str] = Counter()
    async with connected(counts, over_socket=True, authority=authority) as peer:
        windows = peer.windows(EVENTS, 1)
        with counted(counts):
            await peer.exchange(windows, 1)
    assert set(counts) == set(limits), "something was not counted at all"
    assert_within({name: count / EVENTS for name, count in counts.items()}, limits)


@pytest.mark.parametrize(
    ("dedupe_window", "limits"),
    [
        # What the ledger keeps of an event for hours: two fingerprints, and their places in a table.
        (8 * 3600, {"objects": 0.1, "bytes": 100}),
        # Nothing: the little that is left is the caches filling up.
        (0, {"objects": 0.1, "bytes": 32}),
    ],
    ids=["ledger", "nothing"],
)
async def test_what_is_left_of_an_event(dedupe_window: float, limits: dict[str, float]) -> None:
    """What stays in memory when an event is over; objects are those that the garbage collector tracks."""
    async with connected(Counter(), dedupe_window=dedupe_window) as peer:
        windows = peer.windows(ROUNDS)
        tracemalloc.start()
        try:
            await peer.exchange(peer.windows(1))  # what it replaces was not traced
            before = alive()
            await peer.exchange(windows)
            after = alive()
        finally:
            tracemalloc.stop()
    left = {name: (after[name] - before[name]) / EVENTS for name in before}
    assert_within(left, limits)


async def test_what_an_idle_session_takes() -> None:
    """Of five sessions, each with the peer that it is connected to in memory; what is made once is not counted."""
    idle = partial(connected, Counter(), warm=False)
    async with AsyncExitStack() as sessions:
        await sessions.enter_async_context(idle())
        await trio.testing.wait_all_tasks_blocked()
        tracemalloc.start()
        try:
            before = alive() | {"tasks": trio.lowlevel.current_statistics().tasks_living}
            for _ in range(5):
                await sessions.enter_async_context(idle())
            await trio.testing.wait_all_tasks_blocked()
            after = alive() | {"tasks": trio.lowlevel.current_statistics().tasks_living}
        finally:
            tracemalloc.stop()
    assert_within({name: (after[name] - before[name]) / 5 for name in before}, IDLE_LIMITS)


def alive() -> dict[str, int]:
    gc.collect()
    return {"objects": len(gc.get_objects()), "bytes": tracemalloc.get_traced_memory()[0]}
