"""A storm: one random fault after another while events come, and what must hold when it is over."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import Any, Final

import attrs
import trio

from connection.proxies import Proxy, http_proxy, open_proxy, socks_proxy
from feishu_trio import ConnectError, Event, Router, Session
from feishu_trio.testing import Gateway, GatewayConnection, Push

RECEIVE: Final = "im.message.receive_v1"
CLICK: Final = "card.action.trigger"

# More steps than Feishu's, within the same eight hours: for here it would lose events, to a thousand faults.
LADDER: Final = (15.0, 60.0, 300.0, *[600.0] * 40)


@attrs.define
class StormyProxy:
    """A proxy between the session and the gateway, which misbehaves by the hour."""

    address: str = ""
    mood: str = "well"
    lines: list[trio.CancelScope] = attrs.field(factory=list)
    """Of each client that is served."""

    def cut(self) -> None:
        """Hang up on everybody."""
        for line in self.lines:
            line.cancel()


@asynccontextmanager
async def open_stormy_proxy(scheme: str, random: Random) -> AsyncGenerator[StormyProxy, None]:
    """A proxy of this scheme, `http` or `socks5`; its address is a URL."""
    proxy = StormyProxy()
    well = {"http": http_proxy, "socks5": socks_proxy}[scheme]

    async def serve(client: trio.SocketStream, plain: Proxy, *, credentials: bool) -> None:
        with trio.CancelScope() as line, suppress(trio.BrokenResourceError, OSError, IndexError):
            proxy.lines.append(line)
            try:
                match proxy.mood:
                    case "well":
                        await well(client, plain, credentials=credentials)
                    case "silent":
                        await trio.sleep_forever()
                    case "odd":
                        await client.receive_some(4096)
                        await client.send_all(random.randbytes(random.randrange(1, 40)))
                    case "short":
                        await client.receive_some(4096)
                        await client.send_all(b"\x05" if scheme == "socks5" else b"HTTP/1.1 2")
            finally:
                proxy.lines.remove(line)

    async with open_proxy(serve) as plain:
        proxy.address = f"{scheme}://{plain.address}"
        yield proxy


@attrs.define
class Storm:
    """Faults, and what they need to be over again. `unit` is a second, or less where time is real."""

    gateway: Gateway
    session: Session
    nursery: trio.Nursery
    random: Random
    unit: float = 1.0
    proxy: StormyProxy | None = None
    struck: Counter[str] = attrs.field(factory=Counter)
    """How often each kind of fault came."""

    async def strike(self) -> None:
        kind = self.random.choice(KINDS if self.proxy is None else (*KINDS, *PROXY_KINDS))
        self.struck[kind.__name__] += 1
        await kind(self)

    def later(self, what: Callable[[], Awaitable[object]], most: float) -> None:
        async def do() -> None:
            await trio.sleep(self.random.uniform(0, most) * self.unit)
            await what()

        self.nursery.start_soon(do)

    @property
    def victim(self) -> GatewayConnection | None:
        live = self.gateway.connections
        return self.random.choice(live) if live else None


async def reset(storm: Storm) -> None:
    if storm.victim:
        await storm.gateway.drop(connection=storm.victim)


async def reset_all(storm: Storm) -> None:
    await storm.gateway.drop()


async def end_of_file(storm: Storm) -> None:
    if storm.victim:
        await storm.gateway.drop(1006, connection=storm.victim)


async def close(storm: Storm) -> None:
    if storm.victim:
        code = storm.random.choice([1000, 1001, 1011, 1013, 4000])
        await storm.gateway.drop(code, "so it is", connection=storm.victim)


async def no_websocket(storm: Storm) -> None:
    if storm.victim:
        storm.victim.line.send(storm.random.randbytes(50))


async def claims_too_much(storm: Storm) -> None:
    """The header of a frame claims bytes that never come; the server goes on within them."""
    if storm.victim:
        length = storm.random.choice([500_000, 9_000_000, 1 << 40, (1 << 63) - 1])
        storm.victim.line.send(b"\x82\x7f" + length.to_bytes(8, "big"))


async def garbage(storm: Storm) -> None:
    await storm.gateway.garbage(
        storm.random.randbytes(storm.random.randrange(100)), "{", connection=storm.victim
    )


async def texts(storm: Storm) -> None:
    """A crowd of text messages, most of them for a handler that is slow."""
    for number in range(200):
        kind = storm.random.choice(["notice", "notice", "ping", "heartbeat", "pong", "nobody knows it", 7])
        await storm.gateway.text({"type": kind, "number": number}, connection=storm.victim)


async def half_open(storm: Storm) -> None:
    victim = storm.victim
    if victim:
        storm.gateway.freeze(victim)
        # In the end the server sees it, too.
        storm.later(lambda: storm.gateway.drop(connection=victim), 120)


async def stuck_for_a_while(storm: Storm) -> None:
    victim = storm.victim

    async def thaw() -> None:
        storm.gateway.thaw(victim)

    if victim:
        storm.gateway.freeze(victim)
        storm.later(thaw, 20)


async def pongs_lost(storm: Storm) -> None:
    storm.gateway.lose_pongs(storm.random.randrange(1, 6), chance=0.03)


async def late(storm: Storm) -> None:
    storm.gateway.delay(storm.random.choice([0, 0, 0.1, 2]) * storm.unit)


async def refusing(storm: Storm) -> None:
    """For a while, all who want to connect are refused, or get no answer."""
    gateway, random = storm.gateway, storm.random
    ways: list[Callable[[], None]] = [
        lambda: gateway.refuse_discovery(random.choice([1, 1000040343])),
        lambda: gateway.refuse_discovery(status=503),
        gateway.hang_discovery,
        lambda: gateway.refuse_handshake(random.choice([514, 1, None])),
        gateway.hang_handshake,
    ]
    random.choice(ways)()

    async def accept() -> None:
        gateway.accept()

    storm.later(accept, 30)


async def restart(storm: Storm) -> None:
    await storm.gateway.stop_listening()
    await storm.gateway.drop(storm.random.choice([None, 1001, 1006]))
    storm.later(storm.gateway.start_listening, 30)


async def reconnect(storm: Storm) -> None:
    async def ask() -> None:
        with suppress(ConnectError):  # the old connection lives on, if there is one
            await storm.session.reconnect()

    storm.nursery.start_soon(ask)


async def proxy_hangs_up(storm: Storm) -> None:
    assert storm.proxy is not None
    storm.proxy.cut()


async def proxy_misbehaves(storm: Storm) -> None:
    """For a while, whoever comes to the proxy gets no answer, an odd one, or half of one; or it hangs up at once."""
    proxy = storm.proxy
    assert proxy is not None
    proxy.mood = storm.random.choice(["silent", "odd", "short", "gone"])
    if storm.random.random() < 0.5:
        proxy.cut()

    async def mend() -> None:
        proxy.mood = "well"

    storm.later(mend, 30)


KINDS: Final = (
    *(reset, reset_all, end_of_file, close, no_websocket, claims_too_much, garbage, texts, half_open),
    *(stuck_for_a_while, pongs_lost, late, refusing, restart, reconnect),
)
PROXY_KINDS: Final = (proxy_hangs_up, proxy_misbehaves, proxy_misbehaves)


@attrs.define
class Handled:
    """What handlers have seen."""

    events: Counter[str] = attrs.field(factory=Counter)
    callbacks: Counter[str] = attrs.field(factory=Counter)
    texts: int = 0

    def router(self, random: Random, unit: float) -> Router:
        """Most handlers are quick; some are not done by the platform's deadline."""
        router = Router()

        async def work() -> None:
            await trio.sleep(random.choice([0, 0, 0, 0, 0.1, 1, 4]) * unit)

        @router.on(RECEIVE)
        async def take(event: Event[Any]) -> None:
            self.events[event.id] += 1
            await work()

        @router.on(CLICK)
        async def click(event: Event[Any]) -> dict[str, object]:
            self.callbacks[event.id] += 1
            await work()
            return toast(event.id)

        @router.on_message("notice")
        async def notice(message: object) -> None:
            self.texts += 1
            await work()

        return router


def toast(event_id: str) -> dict[str, object]:
    return {"toast": {"type": "info", "content": event_id}}


async def soak(
    gateway: Gateway,
    session: Session,
    handled: Handled,
    random: Random,
    *,
    events: int,
    faults: int,
    unit: float = 1.0,
    proxy: StormyProxy | None = None,
) -> None:
    """Push so many events while so many faults strike; then see that each was handled once and answered 200."""
    pushes: list[Push] = []
    # A fault comes every 20 units, and a few events every 3 units.
    burst = events * 3 / (faults * 20)

    async def load() -> None:
        while len(pushes) < events:
            for _ in range(min(round(random.expovariate(1 / burst)), events - len(pushes))):
                if random.random() < 0.1:
                    pushes.append(await gateway.push(CLICK))
                    continue
                message = {
                    "message_id": f"om_{len(pushes)}",
                    "chat_id": f"oc_{random.randrange(20 + events // 100)}",
                }
                pushes.append(await gateway.push(RECEIVE, {"message": message}))
            await trio.sleep(random.uniform(0, 6) * unit)

    async with trio.open_nursery() as loading:
        loading.start_soon(load)
        async with trio.open_nursery() as nursery:
            storm = Storm(gateway, session, nursery, random, unit, proxy)
            for _ in range(faults):
                await storm.strike()
                await trio.sleep(random.uniform(0, 40) * unit)
            nursery.cancel_scope.deadline = trio.current_time() + 120 * unit
    gateway.accept()
    gateway.delay(0)
    gateway.lose_pongs(0)
    if proxy is not None:
        proxy.mood = "well"
    await gateway.start_listening()
    await gateway.drop()

    clicks = [push for push in pushes if push.is_callback]
    messages = [push for push in pushes if not push.is_callback]
    with trio.fail_after(8 * 3600 * unit):
        for push in messages:
            assert (await push.settled()).code == 200
    assert set(handled.events) == {push.event_id for push in messages}, "none is lost, and none is made up"
    assert set(handled.events.values()) == {1}, "each is handled once"
    # A callback never comes again: it may be lost with its connection, but it is not answered with anything else.
    for push in clicks:
        for answer in push.answers:
            assert answer.code == 200
            assert answer.data in (None, toast(push.event_id))
    assert set(handled.callbacks.values()) == {1}
    answered = sum(push.settled_by is not None for push in clicks)
    assert answered > len(clicks) / 5, f"{answered} of {len(clicks)} clicks were answered"
    if faults >= 100:  # it was a bad day indeed
        assert session.stats().reconnects > faults / 8
        assert sum(len(push.deliveries) > 1 for push in messages) > faults / 50
        assert handled.texts > faults
        assert len(storm.struck) == len(KINDS) + (2 if proxy else 0)
    with trio.fail_after(250 * unit):
        await gateway.wait_connected(session.config.connections)
