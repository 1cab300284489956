"""A storm: one random fault after another while events come, and what must hold when it is over."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from math import inf
from random import Random
from typing import Any, Final

import attrs
import trio

from connection.proxies import Proxy, http_proxy, open_proxy, socks_proxy
from feishu_trio import (
    Ack,
    ConnectError,
    Disconnected,
    DisconnectReason,
    ErrorOccurred,
    Event,
    EventReceived,
    HandlerFailed,
    LifecycleEvent,
    Router,
    Session,
)
from feishu_trio.testing import Delivery, Gateway, GatewayConnection, Push

RECEIVE: Final = "im.message.receive_v1"
USER: Final = "contact.user.created_v3"
CLICK: Final = "card.action.trigger"
PREVIEW: Final = "url.preview.get"

# By type, the handlers that an event's answer waits for.
AWAITED: Final = {
    RECEIVE: ("take",),
    USER: ("welcome", "audit"),
    CLICK: ("click",),
    PREVIEW: ("preview",),
}
FALLBACK: Final = {"toast": {"type": "info", "content": "busy"}}

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
    kinds: Counter[str] = attrs.field(factory=Counter)
    """How often each kind of fault came."""
    deck: list[Callable[[Storm], Awaitable[None]]] = attrs.field(factory=list)
    """The faults to come, before any of their kind comes again: so none is left out by chance."""
    struck: dict[GatewayConnection, float] = attrs.field(factory=dict)
    """The connections that faults struck, and since when: from then on what is sent on them may be lost."""
    texts: list[tuple[GatewayConnection, float]] = attrs.field(factory=list)
    """By number, the text messages for a handler: where and when each was sent."""

    async def strike(self) -> None:
        if not self.deck:
            kinds = KINDS if self.proxy is None else (*KINDS, *PROXY_KINDS)
            self.deck = self.random.sample(kinds, len(kinds))
        kind = self.deck.pop()
        self.kinds[kind.__name__] += 1
        await kind(self)

    def later(self, what: Callable[[], Awaitable[object]], most: float) -> None:
        async def do() -> None:
            await trio.sleep(self.random.uniform(0, most) * self.unit)
            await what()

        self.nursery.start_soon(do)

    def pick(self) -> GatewayConnection | None:
        """A live connection, to be struck now."""
        live = self.gateway.connections
        victim = self.random.choice(live) if live else None
        if victim:
            self.mark(victim)
        return victim

    async def end(self) -> None:
        """All is well again, and everybody begins anew."""
        self.mark()
        self.gateway.accept()
        self.gateway.delay(0)
        self.gateway.lose_pongs(0)
        if self.proxy is not None:
            self.proxy.mood = "well"
        await self.gateway.start_listening()
        await self.gateway.drop()

    def mark(self, *connections: GatewayConnection) -> None:
        """A fault strikes these, or all there are."""
        for each in connections or self.gateway.connections:
            self.struck.setdefault(each, each.opened_at if each.line.delay else trio.current_time())


async def reset(storm: Storm) -> None:
    if victim := storm.pick():
        await storm.gateway.drop(connection=victim)


async def reset_all(storm: Storm) -> None:
    storm.mark()
    await storm.gateway.drop()


async def end_of_file(storm: Storm) -> None:
    if victim := storm.pick():
        await storm.gateway.drop(1006, connection=victim)


async def close(storm: Storm) -> None:
    if victim := storm.pick():
        code = storm.random.choice([1000, 1001, 1011, 1013, 4000])
        await storm.gateway.drop(code, "so it is", connection=victim)


async def no_websocket(storm: Storm) -> None:
    if victim := storm.pick():
        victim.line.send(storm.random.randbytes(50))


async def claims_too_much(storm: Storm) -> None:
    """The header of a frame claims bytes that never come; the server goes on within them."""
    if victim := storm.pick():
        length = storm.random.choice([500_000, 9_000_000, 1 << 40, (1 << 63) - 1])
        victim.line.send(b"\x82\x7f" + length.to_bytes(8, "big"))


async def garbage(storm: Storm) -> None:
    """It is dropped, and does no harm."""
    await storm.gateway.garbage(storm.random.randbytes(storm.random.randrange(100)), "{")


async def texts(storm: Storm) -> None:
    """A crowd of text messages, many of them for a handler that is slow. None of the session's business suffers."""
    live = storm.gateway.connections
    if not live:
        return
    connection = storm.random.choice(live)
    for _ in range(200):
        kind = storm.random.choice(["notice", "notice", "ping", "heartbeat", "pong", "nobody knows it", 7])
        message = {"type": kind, "number": len(storm.texts)}
        if kind == "notice":
            storm.texts.append((connection, trio.current_time()))
        await storm.gateway.text(message, connection=connection)


async def half_open(storm: Storm) -> None:
    if victim := storm.pick():
        storm.gateway.freeze(victim)
        # In the end the server sees it, too.
        storm.later(lambda: storm.gateway.drop(connection=victim), 120)


async def stuck_for_a_while(storm: Storm) -> None:
    victim = storm.pick()

    async def thaw() -> None:
        storm.gateway.thaw(victim)

    if victim:
        storm.gateway.freeze(victim)
        storm.later(thaw, 20)


async def pongs_lost(storm: Storm) -> None:
    storm.gateway.lose_pongs(storm.random.randrange(1, 6), chance=0.03)


async def late(storm: Storm) -> None:
    """For a while, all that the gateway sends comes late."""

    def delay(seconds: float) -> None:
        storm.mark()
        storm.gateway.delay(seconds)

    async def hurry() -> None:
        delay(0)

    delay(storm.random.choice([0.1, 2]) * storm.unit)
    storm.later(hurry, 60)


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
    storm.mark()
    await storm.gateway.stop_listening()
    await storm.gateway.drop(storm.random.choice([None, 1001, 1006]))
    storm.later(storm.gateway.start_listening, 30)


async def reconnect(storm: Storm) -> None:
    storm.mark()

    async def ask() -> None:
        with suppress(ConnectError):  # the old connection lives on, if there is one
            await storm.session.reconnect()

    storm.nursery.start_soon(ask)


async def proxy_hangs_up(storm: Storm) -> None:
    assert storm.proxy is not None
    storm.mark()
    storm.proxy.cut()


async def proxy_misbehaves(storm: Storm) -> None:
    """For a while, whoever comes to the proxy gets no answer, an odd one, or half of one; or it hangs up at once."""
    proxy = storm.proxy
    assert proxy is not None
    proxy.mood = storm.random.choice(["silent", "odd", "short", "gone"])
    if storm.random.random() < 0.5:
        storm.mark()
        proxy.cut()

    async def mend() -> None:
        proxy.mood = "well"

    storm.later(mend, 30)


KINDS: Final = (
    *(reset, reset_all, end_of_file, close, no_websocket, claims_too_much, garbage, texts, half_open),
    *(stuck_for_a_while, pongs_lost, late, refusing, restart, reconnect),
)
PROXY_KINDS: Final = (proxy_hangs_up, proxy_misbehaves, proxy_misbehaves)


class HiccupError(Exception):
    """What a handler raises at its first try, now and then."""


@attrs.define
class Handled:
    """What handlers did, and what the session said of itself."""

    random: Random
    unit: float = 1.0
    starts: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    """By a handler's name and the event's id."""
    ends: defaultdict[tuple[str, str], list[float]] = attrs.field(factory=lambda: defaultdict(list))
    """The same: when it came to its end, without an error."""
    hiccups: dict[tuple[str, str], float] = attrs.field(factory=dict)
    """The same: when it raised, if it did."""
    chats: defaultdict[str, list[str]] = attrs.field(factory=lambda: defaultdict(list))
    """By chat, the events whose handler began or ended, in that order."""
    texts: Counter[int] = attrs.field(factory=Counter)
    """How often the handler of a text message came to its end, by the message's number."""
    read: defaultdict[str, list[float]] = attrs.field(factory=lambda: defaultdict(list))
    """When each event was read, by its id; in the order they were read first."""
    ended: dict[str, Disconnected] = attrs.field(factory=dict)
    """When and how each connection ended, by its id."""
    defects: list[LifecycleEvent] = attrs.field(factory=list)
    """What must not happen, whatever the network does."""

    def follow(self, what: LifecycleEvent) -> None:
        match what:
            case EventReceived(event_id=event_id, at=at):
                self.read[event_id].append(at)
            case Disconnected():
                self.ended[what.connection_id] = what
        match what:
            case ErrorOccurred(where="connection") | Disconnected(reason=DisconnectReason.DEFECT):
                self.defects.append(what)
            case HandlerFailed(error=error) if not isinstance(error, HiccupError):
                self.defects.append(what)

    def outcome(self, push: Push, since: float) -> tuple[float, bool]:
        """When the handlers that a delivery of then waited for had all ended, and whether they had succeeded.

        Infinity if one never ended.
        """
        keys = [(name, push.event_id) for name in AWAITED[push.event_type]]
        ended = {key: ends[-1] for key in keys if (ends := self.ends.get(key))}
        failed = {key: at for key in keys if (at := self.hiccups.get(key, -inf)) >= since}
        return max((ended | failed).get(key, inf) for key in keys), not failed

    def pause(self) -> float:
        """How long a handler takes: most are quick, some not done by the platform's deadline."""
        return self.random.choice([0, 0, 0, 0, 0.1, 1, 4]) * self.unit

    async def work(self, name: str, event: Event[Any]) -> None:
        """Most handlers succeed; some only when they run again."""
        key = name, event.id
        self.starts[key] += 1
        await trio.sleep(self.pause())
        if self.starts[key] == 1 and self.random.random() < 0.03 and event.type != PREVIEW:
            self.hiccups[key] = trio.current_time()
            raise HiccupError
        self.ends[key].append(trio.current_time())

    def router(self) -> Router:
        router = Router()

        @router.on(RECEIVE)
        async def take(event: Event[Any]) -> None:
            chat = self.chats[event.raw["event"]["message"]["chat_id"]]
            chat.append(event.id)
            try:
                await self.work("take", event)
            finally:
                chat.append(event.id)

        @router.on(USER)
        async def welcome(event: Event[Any]) -> None:
            await self.work("welcome", event)

        @router.on(USER)
        async def audit(event: Event[Any]) -> None:
            await self.work("audit", event)

        @router.on(USER, ack=Ack.ON_RECEIPT)
        async def note(event: Event[Any]) -> None:
            await self.work("note", event)

        @router.on(CLICK, fallback=FALLBACK)
        async def click(event: Event[Any]) -> dict[str, object]:
            await self.work("click", event)
            return result(event.id)

        @router.on(PREVIEW)
        async def preview(event: Event[Any]) -> dict[str, object]:
            await self.work("preview", event)
            return result(event.id)

        @router.on_message("notice")
        async def notice(message: dict[str, Any]) -> None:
            await trio.sleep(self.pause())
            self.texts[message["number"]] += 1

        return router


def result(event_id: str) -> dict[str, object]:
    """What the handler of this callback returns."""
    return {"toast": {"type": "info", "content": event_id}}


def fallback(push: Push) -> object:
    """What a callback is answered without its handler's result."""
    return FALLBACK if push.event_type == CLICK else None


async def soak(
    gateway: Gateway,
    session: Session,
    handled: Handled,
    random: Random,
    *,
    events: int,
    faults: int,
    unit: float = 1.0,
    gap: float = 20.0,
    patience: float = 3.0,
    punctual: float = 1.0,
    proxy: StormyProxy | None = None,
) -> None:
    """Push so many events while so many faults strike, one in `gap` units; then see what became of each.

    `patience` is how long the gateway waits for an answer, in units. Of the deliveries that no fault struck, the
    share `punctual` must be read and answered as soon as they can be: all, unless the machine's own speed counts.
    """
    pushes: list[Push] = []
    async with trio.open_nursery() as loading:
        loading.start_soon(load, gateway, random, pushes, events, events * 0.15 / faults, 0.15 * gap * unit)
        async with trio.open_nursery() as nursery:
            storm = Storm(gateway, session, nursery, random, unit, proxy)
            for _ in range(faults):
                await storm.strike()
                await trio.sleep(random.uniform(0, 2 * gap) * unit)
            nursery.cancel_scope.deadline = trio.current_time() + 120 * unit
    await storm.end()

    with trio.fail_after(8 * 3600 * unit):
        for push in pushes:
            if not push.is_callback:
                assert (await push.settled()).code == 200
    await trio.sleep(2 * patience * unit)  # the last handlers come to their ends, and the last answers
    assert not handled.defects, handled.defects[:3]
    assert not gateway.violations, gateway.violations[:3]
    stats = session.stats()
    assert (stats.in_flight, stats.queue_depth, stats.refused) == (0, 0, 0)
    check_connections(storm, handled)
    check_handlers(pushes, handled)
    check_order(handled)
    check_answers(pushes, handled)
    check_punctuality(pushes, storm, handled, patience * unit, punctual)
    check_texts(storm, handled, patience * unit, stats.dropped_messages)
    if faults >= 100:  # it was a bad day indeed
        assert stats.reconnects > faults / 8
        assert sum(len(push.deliveries) > 1 for push in pushes) > faults / 50
        assert len(handled.texts) > faults / 2
        assert len(handled.hiccups) > events / 100
        assert len(storm.kinds) == len(KINDS) + (2 if proxy else 0)
    if faults >= 300:  # enough for some to strike while an answer was on its way
        assert any(is_relayed(push) for push in pushes), "no answer took another connection"
    with trio.fail_after(250 * unit):
        await gateway.wait_connected(session.config.connections)


async def load(
    gateway: Gateway, random: Random, pushes: list[Push], events: int, burst: float, pause: float
) -> None:
    """Push so many events, some `burst` of them at a time, with a `pause` of some seconds in between."""
    while len(pushes) < events:
        for _ in range(min(round(random.expovariate(1 / burst)), events - len(pushes))):
            kind = random.choices([RECEIVE, USER, CLICK, PREVIEW], [12, 5, 2, 1])[0]
            chat = f"oc_{random.randrange(20 + events // 100)}"
            message = {"message_id": f"om_{len(pushes)}", "chat_id": chat}
            pushes.append(await gateway.push(kind, {"message": message} if kind == RECEIVE else None))
        await trio.sleep(random.uniform(0, 2 * pause))


def check_connections(storm: Storm, handled: Handled) -> None:
    """A connection ends only if a fault struck it, or a pong was lost, or by order."""
    struck = {connection.device_id for connection in storm.struck}
    for ended in handled.ended.values():
        by_order = ended.reason in (DisconnectReason.NO_PONG, DisconnectReason.REPLACED)
        assert by_order or ended.connection_id in struck, ended


def check_handlers(pushes: Sequence[Push], handled: Handled) -> None:
    """Each handler of an event came to its end once; if it failed first, it ran again, and no other did.

    What never comes again, a callback or a handler that runs on receipt, runs once, whether or not it fails.
    """
    assert set(handled.read) <= {push.event_id for push in pushes}, "none is made up"
    for push in pushes:
        names = AWAITED[push.event_type]
        for name in (*names, "note") if push.event_type == USER else names:
            key = name, push.event_id
            failed = key in handled.hiccups
            ran = handled.starts[key], len(handled.ends.get(key, ()))
            if push.is_callback and push.event_id not in handled.read:
                assert ran == (0, 0)
            elif push.is_callback or name == "note":
                assert ran == (1, 1 - failed)
            else:
                assert ran == (1 + failed, 1), f"of {name}: starts and ends"


def check_order(handled: Handled) -> None:
    """In a chat one event is handled at a time, in the order they were read."""
    position = {event_id: number for number, event_id in enumerate(handled.read)}
    for log in handled.chats.values():
        assert log[::2] == log[1::2], "an event of a chat began before another had ended"
        first = list(dict.fromkeys(log))
        assert first == sorted(first, key=position.__getitem__), "a chat is out of order"


def check_answers(pushes: Sequence[Push], handled: Handled) -> None:
    """Success is answered once it is one, failure only where a handler failed, and no delivery twice on a connection.

    A callback never comes again: its answer may be lost with its connection, but it is none but the handler's
    result or the fallback.
    """
    for push in pushes:
        written = [(answer.headers["message_id"], answer.connection.device_id) for answer in push.answers]
        assert len(set(written)) == len(written), "a delivery was answered twice"
        done, _ = handled.outcome(push, since=inf)
        failed = any((name, push.event_id) in handled.hiccups for name in AWAITED[push.event_type])
        for answer in push.answers:
            if push.is_callback:
                assert answer.code == 200
                assert answer.data in (result(push.event_id), fallback(push))
            else:
                assert answer.code == 200 or failed, "500, and no handler had failed"
                assert answer.code == 500 or answer.at >= done, "answered before all its handlers were done"


def check_punctuality(
    pushes: Sequence[Push], storm: Storm, handled: Handled, patience: float, punctual: float
) -> None:
    """A delivery that no fault struck is read at once, and answered as soon as its handlers are done, or at a
    callback's deadline.
    """
    whole = [
        (push, delivery)
        for push in pushes
        for delivery in push.deliveries
        if is_whole(delivery.connection, delivery.at + patience, storm, handled)
    ]
    ack_deadline = storm.session.config.ack_deadline
    for is_callback in (False, True):
        good = [
            is_punctual(push, delivery, handled, patience, ack_deadline)
            for push, delivery in whole
            if push.is_callback is is_callback
        ]
        what = "callbacks" if is_callback else "events"
        assert sum(good) >= punctual * len(good), f"of the {what}, {sum(good)} of {len(good)} came in time"
    assert len(whole) > len(pushes) / 10
    first = [push.answers[:1] for push, delivery in whole if delivery is push.deliveries[0]]
    at_once = sum(answer.code == 200 and answer.latency <= patience for (answer,) in filter(None, first))
    assert at_once > len(first) * 2 / 3, f"only {at_once} of {len(first)} events succeeded at once"


def is_punctual(
    push: Push, delivery: Delivery, handled: Handled, patience: float, ack_deadline: float
) -> bool:
    """Whether a delivery was read in half of the patience, and answered so soon after its handlers had ended."""
    soon = delivery.at + patience / 2
    if not any(delivery.at <= at <= soon for at in handled.read.get(push.event_id, ())):
        return False
    done, succeeded = handled.outcome(push, delivery.at)
    answer = next((each for each in push.answers if each.headers["message_id"] == delivery.message_id), None)
    if push.is_callback:
        in_time = succeeded and done < delivery.at + ack_deadline
        expected = result(push.event_id) if in_time else fallback(push)
        return answer is not None and answer.latency <= patience and answer.data == expected
    if done > soon:  # it waits for others of its chat, or its handlers take their time
        return True
    if answer is None:
        return False
    return (answer.code == 200) is succeeded and answer.at <= max(done, delivery.at) + patience / 2


def is_relayed(push: Push) -> bool:
    """Whether an answer came on another connection than its delivery, which had ended."""
    came_on = {delivery.message_id: delivery.connection for delivery in push.deliveries}
    return any(answer.connection is not came_on[answer.headers["message_id"]] for answer in push.answers)


def is_whole(connection: GatewayConnection, until: float, storm: Storm, handled: Handled) -> bool:
    """Whether nothing had struck this connection until then, nor had it ended."""
    if connection.line.delay:  # it was opened, and ended, while all that is sent came late
        return False
    ended = handled.ended.get(connection.device_id)
    return min(storm.struck.get(connection, inf), ended.at if ended else inf) > until


def check_texts(storm: Storm, handled: Handled, patience: float, dropped: int) -> None:
    """A text message, which never comes again, is handled once, or lost with its connection, or counted as dropped."""
    assert set(handled.texts.values()) <= {1}, "a text message was handled twice"
    missing = [
        number
        for number, (connection, at) in enumerate(storm.texts)
        if is_whole(connection, at + patience, storm, handled) and number not in handled.texts
    ]
    assert len(missing) <= dropped, f"{len(missing)} text messages were lost, {dropped} were dropped"
