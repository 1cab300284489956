"""The local gateway: discovery, WebSocket and API on one port, and everything that can go wrong with them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, Final

import attrs
import msgspec
import trio
from trio_util import AsyncValue

from ._connection import GatewayConnection
from ._discovery import DISCOVERY_PATH, SOCKET_PATH, Discovery, refused_handshake
from ._frames import CALLBACKS, Parcel, event_payload, random_id, split
from ._http import Request, Response, json_response
from ._openapi import Message, OpenApi
from ._platform import Platform
from ._push import Push
from ._server import Server

if TYPE_CHECKING:
    import httpx

LADDER: Final = (15.0, 300.0, 3600.0, 21600.0)
"""Seconds to each redelivery of an event that was not answered with 200 (protocol, section 5)."""

CLIENT_CONFIG: Final[Mapping[str, object]] = {
    "ReconnectCount": -1,
    "ReconnectInterval": 120,
    "ReconnectNonce": 30,
    "PingInterval": 120,
}
"""What the platform tells clients (protocol, section 1)."""

_TURN: Final = 32
"""Pushes made in a row before others get their turn: so that a burst leaves in few writes."""


@attrs.define(eq=False)
class Gateway:
    """A stand-in for Feishu's long connection; made by `open_gateway`."""

    app_id: str
    app_secret: str = attrs.field(repr=False)
    max_part_size: int | None
    """Payloads of more bytes are split. May be changed at any time."""
    ladder: tuple[float, ...]
    """Seconds from each failed try to deliver an event to the next."""
    _server: Server = attrs.field(repr=False)
    _platform: Platform = attrs.field(repr=False)
    _api: OpenApi = attrs.field(repr=False)
    _random: Random = attrs.field(repr=False)
    _pushed: int = attrs.field(default=0, init=False, repr=False)

    # What there is

    @property
    def domain(self) -> str:
        """The address to give to clients, e.g. `http://127.0.0.1:41234`."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._server.host, self._server.host)
        return f"http://[{host}]:{self._server.port}" if ":" in host else f"http://{host}:{self._server.port}"

    @property
    def client_config(self) -> Mapping[str, object] | None:
        """What discovery tells clients, as it is. May be changed at any time."""
        return self._server.client_config

    @client_config.setter
    def client_config(self, config: Mapping[str, object] | None) -> None:
        self._server.client_config = config

    @property
    def pong_config(self) -> Mapping[str, object] | None:
        """What pongs tell clients, as it is; None for pongs without a payload. May be changed at any time."""
        return self._platform.pong_config

    @pong_config.setter
    def pong_config(self, config: Mapping[str, object] | None) -> None:
        self._platform.pong_config = config

    @property
    def connections(self) -> tuple[GatewayConnection, ...]:
        """The live connections, oldest first."""
        return tuple(self._platform.live)

    @property
    def connected(self) -> AsyncValue[int]:
        """The number of live connections, to be waited on: `await gateway.connected.wait_value(0)`."""
        return self._platform.connected

    @property
    def requests(self) -> Sequence[Request]:
        """The last 10,000 HTTP requests, upgrades among them, oldest first."""
        return self._server.requests

    @property
    def pings(self) -> Sequence[tuple[float, GatewayConnection]]:
        """Every ping that came: when, by trio's clock, and on which connection."""
        return self._platform.pings

    @property
    def texts(self) -> Sequence[object]:
        """Every text message that came: decoded if it is JSON, else as it was."""
        return self._platform.texts

    @property
    def violations(self) -> Sequence[str]:
        """Where clients left the protocol, in words. An empty one is the mark of a good client."""
        return self._platform.violations

    @property
    def messages(self) -> Sequence[Message]:
        """What bots sent through the API, oldest first."""
        return self._api.messages

    async def wait_connected(self, n: int = 1) -> tuple[GatewayConnection, ...]:
        """Wait until at least `n` clients are connected; returns the connections."""
        await self.connected.wait_value(lambda count: count >= n)
        return self.connections

    async def wait_message(self, n: int = 1) -> Message:
        """Wait until bots sent at least `n` messages; returns the `n`th."""
        await self._api.count.wait_value(lambda count: count >= n)
        return self.messages[n - 1]

    async def wait_ping(self, n: int = 1) -> GatewayConnection:
        """Wait until at least `n` pings came; returns the connection of the `n`th."""
        await self._platform.pinged.wait_value(lambda count: count >= n)
        return self.pings[n - 1][1]

    # Ways in

    async def dial(self, host: str, port: int) -> trio.abc.Stream:
        """Open a stream to the gateway without a socket, for clients whose dialler can be chosen.

        Whatever the address, it is this gateway that answers. Nothing waits for the kernel, so that trio's
        autojump clock can be used. Raises `ConnectionRefusedError` while the gateway does not listen.
        """
        await trio.lowlevel.checkpoint()
        if not self._server.is_listening:
            raise ConnectionRefusedError(f"the gateway does not listen (asked for {host}:{port})")
        return self._server.connect()

    @property
    def transport(self) -> httpx.AsyncBaseTransport:
        """A transport for `httpx.AsyncClient` that reaches the gateway without a socket."""
        from ._transport import GatewayTransport

        return GatewayTransport(self._server)

    async def serve_stream(self, stream: trio.abc.Stream) -> None:
        """Serve one client over any stream, until either side ends it."""
        await self._server.serve_stream(stream)

    async def stop_listening(self) -> None:
        """Refuse new clients, as a server that is down; those that are connected stay."""
        await self._server.stop_listening()

    async def start_listening(self) -> None:
        """Let clients in again, on the same port. Raises OSError if somebody else took it."""
        await self._server.start_listening()

    # Events

    async def push(
        self,
        event_type: str,
        body: object = None,
        *,
        event_id: str | None = None,
        schema: str = "2.0",
        payload: bytes | None = None,
        callback: bool | None = None,
        connection: GatewayConnection | None = None,
        ladder: Sequence[float] | None = None,
        parts: int | Sequence[bytes] | None = None,
        part_order: Sequence[int] | None = None,
        headers: Mapping[str, str | None] | None = None,
        trace_id: str | None = None,
        seq_id: int | None = None,
        log_id: int | None = None,
        extra: bytes = b"",
    ) -> Push:
        """Send an event, or a callback, to the bot, and go on delivering it as the platform would.

        It goes to one live connection, chosen at random, and this returns; where there is none, that
        was a failed try, and an event waits for the first step of the ladder, as the platform keeps it.

        `body` is the event's body: a mapping, an event model, or None for an empty one.
        `event_id` defaults to a new one. `schema` is "2.0" or "1.0".
        `payload` is sent as it is, instead of all that.
        `callback` defaults to what the type says: a callback is never delivered again.
        `connection` is who gets the first delivery. `ladder` overrides the gateway's, in seconds.
        `parts` splits the payload into that many parts of equal size, or is the parts themselves.
        `part_order` is the parts sent, in that order: it can repeat some and withhold others.
        `headers` are changed or added in the frames' headers; None takes one away.
        `extra` is protobuf appended to every frame as it is: fields that clients do not know.
        `trace_id`, `seq_id` and `log_id` default to new ones for each delivery.
        """
        event_id = event_id or random_id(self._random)
        is_callback = event_type in CALLBACKS if callback is None else callback
        body = {} if body is None else body
        card_token = None
        if event_type == "card.action.trigger":
            fields = msgspec.to_builtins(body)
            card_token = fields.get("token") or f"c-{random_id(self._random)}"
            body = {**fields, "token": card_token}
        if payload is None:
            payload = event_payload(schema, event_type, event_id, self.app_id, body)
        split_into = split(payload, parts, self.max_part_size)
        push = Push(
            event_id,
            event_type,
            payload,
            is_callback,
            self.ladder if ladder is None else tuple(ladder),
            Parcel(
                split_into,
                range(len(split_into)) if part_order is None else tuple(part_order),
                headers or {},
                trace_id,
                seq_id,
                log_id,
                extra,
            ),
            card_token,
        )
        self._platform.ladder.start(push, connection)
        self._pushed += 1
        if self._pushed % _TURN:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            await trio.lowlevel.checkpoint()
        return push

    # Refusals

    def refuse_discovery(
        self, code: int = 1, msg: str = "refused", *, status: int = 200, times: int | None = None
    ) -> None:
        """Answer the next `times` discovery requests (None: all) with `code`, and this HTTP status.

        Refusals of one kind are used up in the order they were asked for. `accept()` ends them all.
        """
        self.respond(DISCOVERY_PATH, {"code": code, "msg": msg, "data": {}}, status=status, times=times)

    def hang_discovery(self, *, times: int | None = None) -> None:
        """Never answer the next `times` discovery requests (None: all)."""
        self._server.refusals.add(DISCOVERY_PATH, None, times)

    def refuse_handshake(
        self,
        handshake_status: int | None = 514,
        autherrcode: int | None = None,
        msg: str = "refused",
        *,
        status: int = 400,
        times: int | None = None,
    ) -> None:
        """Refuse the next `times` upgrades (None: all): `status` is HTTP's, the others go into the Handshake- headers.

        With `handshake_status` None there are no such headers, as where a proxy refuses.
        """
        if handshake_status is None:
            response = Response(status, msg.encode(), (("Connection", "close"),))
        else:
            response = refused_handshake(handshake_status, msg, autherrcode=autherrcode, status=status)
        self._server.refusals.add(SOCKET_PATH, response, times)

    def hang_handshake(self, *, times: int | None = None) -> None:
        """Never answer the next `times` upgrades (None: all)."""
        self._server.refusals.add(SOCKET_PATH, None, times)

    def respond(
        self,
        path: str,
        body: object,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        times: int | None = None,
    ) -> None:
        """Answer the next `times` requests for `path` (None: all) with `body`: bytes as they are, else JSON."""
        extra = tuple((headers or {}).items())
        response = (
            Response(status, body, extra) if isinstance(body, bytes) else json_response(body, status, extra)
        )
        self._server.refusals.add(path, response, times)

    def accept(self) -> None:
        """End all refusals, hangs and `respond`s that are not used up."""
        self._server.refusals.clear()

    def expire_tokens(self) -> None:
        """Make all tenant tokens invalid that were given out so far."""
        self._api.expire_tokens()

    # Faults

    def _chosen(self, connection: GatewayConnection | None) -> tuple[GatewayConnection, ...]:
        return self.connections if connection is None else (connection,)

    async def drop(
        self, code: int | None = None, reason: str = "", *, connection: GatewayConnection | None = None
    ) -> None:
        """End one connection, or all.

        With `code` None by a reset of the TCP connection; with 1006 by its end without a close frame; else by
        a close frame with `code` and `reason`, to which the client has 3 s to agree.
        """
        for each in self._chosen(connection):
            if code is None:
                each.reset()
            else:
                each.close(code, reason)
        await trio.lowlevel.checkpoint()

    def freeze(self, connection: GatewayConnection | None = None) -> None:
        """Make one connection, or all there are, half-open: it stays up, takes bytes, and nothing comes back.

        The gateway goes on believing in it, and delivers events to it. New connections are not frozen.
        """
        for each in self._chosen(connection):
            each.line.frozen.value = True

    def thaw(self, connection: GatewayConnection | None = None) -> None:
        """End `freeze`: what was held back, in both directions, arrives now."""
        for each in self._chosen(connection):
            each.line.frozen.value = False

    def delay(self, seconds: float, connection: GatewayConnection | None = None) -> None:
        """Make all that is sent from now on late by `seconds`: on one connection, or on all, new ones too, and over HTTP."""
        if connection is not None:
            connection.line.delay = seconds
            return
        self._server.delay = seconds
        for line in self._server.lines:
            line.delay = seconds

    def lose_pongs(self, n: int = 0, *, chance: float = 0.0) -> None:
        """Do not answer the next `n` pings; nor, with this chance each, any of those after them."""
        self._platform.pongs_to_lose = n
        self._platform.loss = chance

    async def garbage(
        self,
        data: bytes | None = None,
        text: str | None = None,
        *,
        connection: GatewayConnection | None = None,
    ) -> None:
        """Send `data` as a binary message, `text` as a text message: whatever they are. To one connection, or all."""
        for each in self._chosen(connection):
            if data is not None:
                each.send(data)
            if text is not None:
                each.send(text)
        await trio.lowlevel.checkpoint()

    async def text(self, message: object, *, connection: GatewayConnection | None = None) -> None:
        """Send a text message (protocol, section 6): a string as it is, anything else as JSON. To one connection, or all."""
        text = message if isinstance(message, str) else msgspec.json.encode(message).decode()
        await self.garbage(text=text, connection=connection)


@asynccontextmanager
async def open_gateway(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    app_id: str = "cli_a1b2c3d4e5f60718",
    app_secret: str = "local-gateway-secret",
    client_assertion: str | None = None,
    ladder: Sequence[float] = LADDER,
    answer_timeout: float = 3.0,
    connection_limit: int = 50,
    max_part_size: int | None = None,
    client_config: Mapping[str, object] | None = CLIENT_CONFIG,
    pong_config: Mapping[str, object] | None = None,
    token_lifetime: float = 7200.0,
    strict: bool = True,
    seed: int | None = None,
) -> AsyncGenerator[Gateway, None]:
    """A gateway on a loopback port, for as long as the block lasts; leaving it ends all at once.

    `host`, `port`: where to listen; port 0 takes a free one.
    `app_id`, `app_secret`: what clients must say; the official Node client wants an app_id of this very form.
    `client_assertion`: what a keyless app must say instead of the secret; None lets none in.
    `ladder`: seconds from each failed try to deliver an event to the next; empty for no redelivery.
    `answer_timeout`: seconds a client has for its answer.
    `connection_limit`: how many connections the app may have at a time.
    `max_part_size`: payloads of more bytes are split; None for never.
    `client_config`, `pong_config`: what discovery and pongs tell clients, sent as they are, wrong values too.
    `token_lifetime`: seconds a tenant token is good for.
    `strict`: close a connection with 1002 when its client leaves the protocol; if False, only note it in `violations`.
    `seed`: makes ids, and the choice of connections, the same in every run.

    Raises OSError if it cannot listen there. Cancellation ends it like leaving.
    """
    random = Random(seed)
    discovery = Discovery(app_id, app_secret, client_assertion, random)
    api = OpenApi(app_id, app_secret, token_lifetime, random)
    platform = Platform(api, random, answer_timeout, connection_limit, strict, pong_config)
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        server = Server(host, port, client_config, nursery, random, discovery, api, platform)
        try:
            await server.start_listening()
            nursery.start_soon(platform.ladder.run)
            yield Gateway(app_id, app_secret, max_part_size, tuple(ladder), server, platform, api, random)
        except Exception as error:
            failure = error  # raised below, so that the nursery does not wrap it in a group
        finally:
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
