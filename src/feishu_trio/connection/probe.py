"""One connection for a moment: are hands shaken, and how long does a ping take? Nothing is handled on it."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Final

import attrs
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection
from wsproto.frame_protocol import FrameProtocol

from ..config import SessionConfig
from ..config.secrets import masked
from ..errors import ConnectError, first_error
from ..wire import FAILED, Frame, Pong, Receiver, encode_answer, encode_message, encode_ping
from .dial import open_stream
from .discovery import Endpoint
from .ending import Ended
from .handshake import handshake_error, shake_hands
from .line import Line
from .reader import ended_by

__all__ = ["Probed", "probe"]

# Seconds for the close handshake, and which part of the patience, at most.
_CLOSE_TIMEOUT: Final = 2.0
_CLOSE_PART: Final = 0.1


@attrs.define
class Probed:
    """What became of a connection whose handshake was done."""

    handshake: float
    """Seconds that it took, from the name's look-up on."""
    ping: float | None = None
    """Seconds until the pong came; None if none did."""
    trouble: str = ""
    """Why none did."""
    refused: int = 0
    """Events that came meanwhile. They were answered 500, or not at all, so that they come again."""


async def probe(endpoint: Endpoint, config: SessionConfig, *, patience: float) -> Probed:
    """Connect, ping, and close again, in good order. On cancellation nothing is left open.

    Events go to any of an app's connections, so some may come on this one. They are refused at once: a 500 has Feishu
    deliver them again, to whoever handles them, and leaves nobody who clicked a button to wait for it.

    Args:
        endpoint: Where to; it is used up.
        config: The session's settings.
        patience: Seconds for the handshake, and as many for the pong; a tenth of it is for the close handshake.

    Raises:
        ConnectError: The handshake could not be done.
        RefusedError: The server refused the app.
    """
    began = trio.current_time()
    probed: Probed | None = None
    failure: BaseException | None = None
    with trio.move_on_after(patience) as opening:
        line = Line(
            await open_stream(endpoint.host, endpoint.port, tls=endpoint.tls, config=config),
            config.max_message_size,
        )
        try:
            async with trio.open_nursery() as nursery:
                websocket = await shake_hands(nursery, line, endpoint, config)
                opening.deadline = math.inf
                probed = Probed(trio.current_time() - began)
                await _Talk(line, websocket, endpoint, config, probed).run(patience)
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            error = first_error(group)
            failure = handshake_error(endpoint, error) or error
            if failure is None:
                raise
        finally:
            await trio.aclose_forcefully(line)
    if probed is None:
        if failure is None:
            failure = ConnectError(f"{endpoint.host} did not end the handshake within {patience:g} s")
        raise failure from failure.__cause__  # not in the `except`: what it came of may hold the whole URL
    if failure is not None:
        if not isinstance(failure, ConnectError):
            raise failure
        probed.trouble = str(failure)
    return probed


class _Talk:
    """What is said on the connection."""

    def __init__(
        self,
        line: Line,
        websocket: WebSocketConnection,
        endpoint: Endpoint,
        config: SessionConfig,
        probed: Probed,
    ) -> None:
        self._line = line
        self._websocket = websocket
        self._endpoint = endpoint
        self._size = config.receive_buffer_size
        self._receiver = Receiver(max_assembled=config.max_message_size)
        self._probed = probed
        self._ended: Ended | None = None

    async def run(self, patience: float) -> None:
        probed, line = self._probed, self._line
        with trio.move_on_after(patience) as waiting:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read_others, waiting)
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    await self._ping()
                nursery.cancel_scope.cancel()
        if self._ended is None and line.end.fault is not None:
            self._ended = Ended(*line.end.fault)
        if probed.ping is None and self._ended is not None:
            probed.trouble = f"the connection ended: {masked(self._ended, *self._endpoint.secrets)}"
        elif probed.ping is None:
            probed.trouble = f"no pong came within {patience:g} s"
        with (
            trio.move_on_after(min(_CLOSE_TIMEOUT, patience * _CLOSE_PART)),
            suppress(trio.BrokenResourceError, trio.ClosedResourceError),
        ):
            await line.writer.finish(FrameProtocol(client=True, extensions=[]).close(1000))
            while (messages := await line.reader.receive_messages(self._size)) is not None:
                self._events(messages)

    async def _read_others(self, waiting: trio.CancelScope) -> None:
        """Read what trio-websocket makes of all else: messages in fragments or text, and the end."""
        try:
            while True:
                message = await self._websocket.get_message()
                if isinstance(message, bytes):
                    self._events([message])
        except ConnectionClosed as closed:
            self._ended = ended_by(closed, self._line)
            waiting.cancel()

    async def _ping(self) -> None:
        writer, sent_at = self._line.writer, trio.current_time()
        await writer.send_all(encode_message(encode_ping(self._endpoint.service_id)))
        while self._probed.ping is None:
            messages = await self._line.reader.receive_messages(self._size)
            if messages is None:
                return
            for frame in self._events(messages, sent_at):
                await writer.send_all(encode_message(encode_answer(frame, FAILED, 0)))

    def _events(self, messages: list[bytes], sent_at: float | None = None) -> list[Frame]:
        """The events among messages, which are counted; a pong is noted if one is waited for."""
        now, events = trio.current_time(), list[Frame]()
        for message in messages:
            match self._receiver.receive(message, now):
                case Frame() as frame:
                    self._probed.refused += 1
                    events.append(frame)
                case Pong() if sent_at is not None and self._probed.ping is None:
                    self._probed.ping = now - sent_at
        return events
