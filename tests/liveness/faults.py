"""What can befall a connection: how to cause it, how it must show, and how soon it must be noticed and mended.

`docs/liveness.md` shows this table to users.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import attrs
import trio
import trio.testing

from feishu_trio import DisconnectReason, Session
from feishu_trio.testing import Gateway
from feishu_trio.testing._line import Line

DISCOVERY: Final = "/callback/ws/endpoint"
RECEIVE: Final = "im.message.receive_v1"

Reason = DisconnectReason


@attrs.frozen
class Scene:
    """A session that is up, and what it depends on."""

    gateway: Gateway
    session: Session
    nursery: trio.Nursery
    block: Callable[[float], None]
    """Keep the whole program from running, for so many seconds."""
    suspend: Callable[[float], None]
    """Put the machine to sleep, for so many seconds."""


@attrs.frozen
class Fault:
    """One row. Times are in seconds, with the default settings."""

    name: str
    cause: Callable[[Scene], Awaitable[object]]
    reason: DisconnectReason | None
    """As which it must be noticed; None where the connection must live through it."""
    notice: float = 0.0
    """From the fault to `Disconnected`, at most."""
    recover: float = 0.0
    """From there to `Connected`, at most."""


async def reset(scene: Scene) -> None:
    await scene.gateway.drop()


async def end_of_file(scene: Scene) -> None:
    await scene.gateway.drop(1006)


def closed(code: int) -> Callable[[Scene], Awaitable[object]]:
    return lambda scene: scene.gateway.drop(code, "so it is")


async def no_websocket(scene: Scene) -> None:
    for connection in scene.gateway.connections:
        connection.line.send(b"\xff" * 100)


async def too_large(scene: Scene) -> None:
    await scene.gateway.garbage(b"x" * (scene.session.config.max_message_size + 1))


def claims(length: int) -> Callable[[Scene], Awaitable[object]]:
    """A frame's header claims so many bytes, and the server goes on within them."""

    async def cause(scene: Scene) -> None:
        async def push() -> None:
            while True:
                await scene.gateway.push(RECEIVE, {"message": {}}, ladder=())
                await trio.sleep(10)

        for connection in scene.gateway.connections:
            connection.line.send(b"\x82\x7f" + length.to_bytes(8, "big"))
        scene.nursery.start_soon(push)

    return cause


async def pings_of_a_proxy(scene: Scene) -> None:
    async def ping(line: Line) -> None:
        while True:
            line.send(b"\x89\x00")
            await trio.sleep(10)

    scene.gateway.lose_pongs(10**9)
    scene.nursery.start_soon(ping, scene.gateway.connections[-1].line)
    scene.nursery.start_soon(find_pongs, scene)


async def find_pongs(scene: Scene) -> None:
    """Have the next connection answered again."""
    await scene.gateway.connections[-1].wait_closed()
    scene.gateway.lose_pongs(0)


async def half_open(scene: Scene) -> None:
    scene.gateway.freeze()


async def takes_no_bytes(scene: Scene) -> None:
    scene.gateway.freeze()
    scene.nursery.start_soon(scene.session.send, b"x" * 1_000_000)
    await trio.testing.wait_all_tasks_blocked()


def pongs_lost(count: int) -> Callable[[Scene], Awaitable[object]]:
    async def cause(scene: Scene) -> None:
        scene.gateway.lose_pongs(count)

    return cause


async def events_but_no_pongs(scene: Scene) -> None:
    async def push() -> None:
        while True:
            await scene.gateway.push(RECEIVE, {"message": {}}, ladder=())
            await trio.sleep(10)

    scene.gateway.lose_pongs(10**9)
    scene.nursery.start_soon(push)


async def late(scene: Scene) -> None:
    scene.gateway.delay(12)


async def garbage(scene: Scene) -> None:
    for data in (b"", b"\xff", b"\x08\x96\x01", b"{", b"[1]", bytes(1000)):
        await scene.gateway.garbage(data, "no JSON")


async def blocked(scene: Scene) -> None:
    await scene.gateway.wait_ping(len(scene.gateway.pings) + 1)
    scene.block(600)


async def slept(scene: Scene) -> None:
    scene.suspend(3600)


async def slept_for_too_long(scene: Scene) -> None:
    scene.gateway.freeze()
    scene.suspend(3600)


def busy(times: int, code: int = 1, status: int = 200) -> Callable[[Scene], Awaitable[object]]:
    async def cause(scene: Scene) -> None:
        scene.gateway.refuse_discovery(code, status=status, times=times)
        await scene.gateway.drop()

    return cause


async def discovery_hangs(scene: Scene) -> None:
    scene.gateway.hang_discovery(times=1)
    await scene.gateway.drop()


def discovery_says(body: object) -> Callable[[Scene], Awaitable[object]]:
    async def cause(scene: Scene) -> None:
        scene.gateway.respond(DISCOVERY, body, times=1)
        await scene.gateway.drop()

    return cause


def pointing_at(url: str) -> Callable[[Scene], Awaitable[object]]:
    return discovery_says({"code": 0, "data": {"URL": url}})


def handshake_refused(status: int | None, times: int) -> Callable[[Scene], Awaitable[object]]:
    async def cause(scene: Scene) -> None:
        scene.gateway.refuse_handshake(status, times=times)
        await scene.gateway.drop()

    return cause


async def handshake_hangs(scene: Scene) -> None:
    scene.gateway.hang_handshake(times=1)
    await scene.gateway.drop()


async def restart(scene: Scene) -> None:
    await scene.gateway.stop_listening()
    await scene.gateway.drop(1001, "restart")
    scene.nursery.start_soon(listen_again, scene, 60)


async def listen_again(scene: Scene, seconds: float) -> None:
    await trio.sleep(seconds)
    await scene.gateway.start_listening()


# Tries to connect wait for 1, 2, 4 … 120 s at most, and take 10 s at most.
_TRY: Final = 10.0
_HEARTBEAT: Final = 30.0 + 15.0 + 2 * 5.0
# Bytes that make no whole message count for two heartbeats.
_NO_MESSAGE: Final = 2 * 30.0 + _HEARTBEAT

FAULTS: Final = (
    Fault("close frame, going away (1001)", closed(1001), Reason.CLOSED_BY_SERVER, 0, 1),
    Fault("close frame, server error (1011)", closed(1011), Reason.CLOSED_BY_SERVER, 0, 1),
    Fault("TCP reset", reset, Reason.RESET, 0, 1),
    Fault("end of file without a close frame", end_of_file, Reason.END_OF_FILE, 0, 1),
    Fault("bytes that are no WebSocket", no_websocket, Reason.PROTOCOL_ERROR, 0, 1),
    Fault("message over `max_message_size`", too_large, Reason.PROTOCOL_ERROR, 0, 1),
    Fault("frame that claims more than `max_message_size`", claims(1 << 63), Reason.PROTOCOL_ERROR, 0, 1),
    Fault(
        "frame that claims 10 MB, of which it has none", claims(10_000_000), Reason.NO_PONG, _NO_MESSAGE, 1
    ),
    Fault("pings of a proxy, and no pong of the server", pings_of_a_proxy, Reason.NO_PONG, _NO_MESSAGE, 1),
    Fault("half-open: up, and nothing comes", half_open, Reason.NO_PONG, _HEARTBEAT, 1),
    Fault("half-open, and it takes no more bytes", takes_no_bytes, Reason.WRITE_STALLED, 10 + 1, 1),
    Fault("five pongs lost in a row", pongs_lost(5), Reason.NO_PONG, _HEARTBEAT, 1),
    Fault("one pong lost", pongs_lost(1), None),
    Fault("four pongs lost in a row", pongs_lost(4), None),
    Fault("pongs never come, but events do", events_but_no_pongs, None),
    Fault("everything comes 12 s late", late, None),
    Fault("messages that are garbage", garbage, None),
    Fault("program blocked or stopped for 10 min", blocked, None),
    Fault("machine slept, connection lives", slept, None),
    Fault("machine slept, connection does not", slept_for_too_long, Reason.NO_PONG, 5 + 2 * 5, 1),
    Fault("server down for 60 s", restart, Reason.CLOSED_BY_SERVER, 0, 60 + 120),
    Fault("reset, then discovery busy, 3 times", busy(3), Reason.RESET, 0, 1 + 2 + 4 + 8),
    Fault("reset, then HTTP 503, 3 times", busy(3, status=503), Reason.RESET, 0, 1 + 2 + 4 + 8),
    Fault("reset, then discovery hangs", discovery_hangs, Reason.RESET, 0, 1 + _TRY + 2),
    Fault("reset, then discovery is no JSON", discovery_says(b"<html>"), Reason.RESET, 0, 1 + 2),
    Fault("reset, then an endpoint not `wss`", pointing_at("https://x/"), Reason.RESET, 0, 1 + 2),
    Fault("reset, then an endpoint not absolute", pointing_at("/ws/v2?ticket=1"), Reason.RESET, 0, 1 + 2),
    Fault("reset, then an endpoint that is no WebSocket", pointing_at("ws://x/nothing"), Reason.RESET, 0, 3),
    Fault("reset, then handshake refused (514) twice", handshake_refused(514, 2), Reason.RESET, 0, 1 + 2 + 4),
    Fault("reset, then handshake refused by a proxy", handshake_refused(None, 1), Reason.RESET, 0, 1 + 2),
    Fault("reset, then handshake hangs", handshake_hangs, Reason.RESET, 0, 1 + _TRY + 2),
)
