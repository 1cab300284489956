"""The local gateway: discovery, WebSocket and API on one port, and everything that can go wrong with them."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import count
from random import Random
from typing import Final

import attrs
import trio

from ._access import Access
from ._chatting import Chatting
from ._discovery import Discovery
from ._faults import Faults
from ._observations import Observations
from ._openapi import OpenApi
from ._platform import Platform
from ._refusals import Refusals
from ._server import Server
from ._tokens import Tokens
from ._users import User

LADDER: Final = (15.0, 300.0, 3600.0, 21600.0)
"""Seconds to each redelivery of an event that was not answered with 200 (protocol, section 5)."""

CLIENT_CONFIG: Final[Mapping[str, object]] = {
    "ReconnectCount": -1,
    "ReconnectInterval": 120,
    "ReconnectNonce": 30,
    "PingInterval": 120,
}
"""The configuration that the platform sends to clients (protocol, section 1)."""


# Each base class is one topic of the gateway, in a file of its own, and declares the attributes that it uses;
# they are set here. The topics are inherited, not delegated to, so that each signature and docstring is written
# once, and help(Gateway) and type checkers find it. A new fault is a method in _faults.py, a new refusal of
# requests one in _refusals.py.
@attrs.define(eq=False)
class Gateway(Access, Observations, Chatting, Refusals, Faults):
    """A stand-in for Feishu's long connection; made by `open_gateway`."""

    app_id: str
    """The app's id, which clients must send."""
    app_secret: str = attrs.field(repr=False)
    """The app's secret, which clients must send."""
    max_part_size: int | None
    """Payloads of more bytes are split. May be changed at any time."""
    ladder: tuple[float, ...]
    """Seconds from each failed attempt to deliver an event to the next."""
    _server: Server = attrs.field(repr=False)
    _platform: Platform = attrs.field(repr=False)
    _api: OpenApi = attrs.field(repr=False)
    _random: Random = attrs.field(repr=False)
    _numbers: count[int] = attrs.field(factory=lambda: count(1), init=False, repr=False)
    """Of the pushes made."""
    _users: dict[str, User] = attrs.field(factory=dict, init=False, repr=False)
    """By name."""

    @property
    def client_config(self) -> Mapping[str, object] | None:
        """The configuration that discovery sends to clients, as it is. May be changed at any time."""
        return self._server.client_config

    @client_config.setter
    def client_config(self, config: Mapping[str, object] | None) -> None:
        self._server.client_config = config

    @property
    def pong_config(self) -> Mapping[str, object] | None:
        """The configuration that pongs carry, as it is; None for pongs without a payload. May be changed at any time."""
        return self._platform.pong_config

    @pong_config.setter
    def pong_config(self, config: Mapping[str, object] | None) -> None:
        self._platform.pong_config = config


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
    send_limits: bool = False,
    bot_name: str = "Bot",
    ssl_context: ssl.SSLContext | None = None,
    seed: int | None = None,
) -> AsyncGenerator[Gateway, None]:
    """A gateway on a loopback port, open as long as the block; leaving the block closes everything at once.

    `host`, `port`: where to listen; port 0 is any free one.
    `app_id`, `app_secret`: the credentials that clients must send; the official Node client requires an app_id of this form.
    `client_assertion`: what an app without a secret must send instead; None accepts none.
    `ladder`: seconds from each failed attempt to deliver an event to the next; empty for no redelivery.
    `answer_timeout`: seconds a client has to answer.
    `connection_limit`: the number of connections that the app may have at a time.
    `max_part_size`: payloads of more bytes are split; None for never.
    `client_config`, `pong_config`: the configuration in discovery and in pongs, sent as it is, wrong values too.
    `token_lifetime`: seconds a tenant token is valid.
    `strict`: close a connection with 1002 when its client breaks the protocol; if False, only record it in `violations`.
    `send_limits`: refuse more than 5 messages a second to one chat, and 50 in all, with 429 and 99991400.
    `bot_name`: the bot's name in its chats.
    `ssl_context`: a server's, with a certificate for `host`: with it the port speaks TLS. Streams in memory do not.
    `seed`: makes ids and the choice of connections the same in every run.

    Raises OSError if it cannot listen there. Cancelling the block closes the gateway, as leaving it does.
    """
    random = Random(seed)
    discovery = Discovery(app_id, app_secret, client_assertion, random)
    # Another stream of numbers: calls do not change which connection an event goes to.
    ids = Random(None if seed is None else f"{seed} of the API")
    tokens = Tokens(app_id, app_secret, client_assertion, token_lifetime, ids)
    api = OpenApi.open(tokens, bot_name, ids, send_limits=send_limits)
    platform = Platform(api, random, answer_timeout, connection_limit, strict, pong_config)
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        server = Server(host, port, client_config, ssl_context, nursery, random, discovery, api, platform)
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
