"""The platform behind the gateway: live connections, what is sent to them, and what is received from them."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from itertools import count
from random import Random
from typing import Final
from weakref import WeakValueDictionary

import attrs
import msgspec
import trio
from trio_util import AsyncValue

from ..errors import FrameError
from ..wire import CONTROL, DATA, Frame, decode_frame, encode_frame
from ._connection import PROTOCOL_ERROR, GatewayConnection
from ._frames import random_id
from ._json import decoded
from ._ladder import Ladder
from ._openapi import OpenApi
from ._push import Answer, Delivery, Push, read_answer_body

_INTEGER: Final = re.compile("-?[0-9]+")


@attrs.define(eq=False)
class Platform:
    """Delivers pushes to live connections, one at random for each, and checks that clients keep to the protocol."""

    api: OpenApi
    random: Random
    answer_timeout: float
    connection_limit: int
    strict: bool
    pong_config: Mapping[str, object] | None
    pongs_to_lose: int = attrs.field(default=0, init=False)
    loss: float = attrs.field(default=0.0, init=False)
    """The probability that a ping gets no answer."""
    violations: list[str] = attrs.field(factory=list, init=False)
    pings: list[tuple[float, GatewayConnection]] = attrs.field(factory=list, init=False)
    pinged: AsyncValue[int] = attrs.field(factory=lambda: AsyncValue(0), init=False)
    texts: list[object] = attrs.field(factory=list, init=False)
    live: list[GatewayConnection] = attrs.field(factory=list, init=False)
    connected: AsyncValue[int] = attrs.field(factory=lambda: AsyncValue(0), init=False)
    ladder: Ladder = attrs.field(init=False)
    _awaited: WeakValueDictionary[str, Push] = attrs.field(factory=WeakValueDictionary, init=False)
    """By message_id: the pushes still referenced, by the ladder or by the caller of `push`."""
    _prefix: str = attrs.field(init=False)
    """The start of every message_id of this gateway."""
    _numbers: count[int] = attrs.field(factory=lambda: count(1), init=False)

    def __attrs_post_init__(self) -> None:
        self.ladder = Ladder(self._deliver, self.answer_timeout)
        self._prefix = random_id(self.random, 64)

    @property
    def is_full(self) -> bool:
        """Whether the app has all the connections it may have."""
        return len(self.live) >= self.connection_limit

    def join(self, connection: GatewayConnection) -> None:
        """Add `connection` to the live ones, which get events."""
        self.live.append(connection)
        self.connected.value = len(self.live)

    def leave(self, connection: GatewayConnection) -> None:
        """Remove `connection` from the live ones; a second call does nothing."""
        if connection in self.live:
            self.live.remove(connection)
            self.connected.value = len(self.live)

    def violated(self, connection: GatewayConnection, what: str) -> None:
        """Record that a client broke the protocol, and close its connection if `strict`."""
        self.violations.append(f"connection {connection.device_id}: {what}")
        if self.strict:
            connection.close(PROTOCOL_ERROR, what)

    def received(self, connection: GatewayConnection, message: bytes | str) -> None:
        """Act on a client's message."""
        if isinstance(message, str):
            return self._received_text(connection, message)
        try:
            frame = decode_frame(message)
        except FrameError as error:
            return self.violated(connection, f"a binary message: {error}")
        try:
            if frame.method == CONTROL:
                self._received_ping(connection, frame)
            elif frame.method == DATA:
                self._received_answer(connection, frame)
            else:
                raise ValueError(f"a frame's method is {frame.method}; allowed is {CONTROL} or {DATA}")
        except ValueError as error:
            self.violated(connection, str(error))

    def _received_ping(self, connection: GatewayConnection, frame: Frame) -> None:
        kind = frame.headers.get("type")
        if kind != "ping":
            raise ValueError(f"a control frame's type is {kind!r}; allowed is 'ping'")
        received = (frame.service, frame.seq_id, frame.log_id, frame.payload)
        if received != (connection.service_id, 0, 0, b""):
            raise ValueError(
                f"a ping's service, SeqID, LogID and payload are {received}; "
                f"they must be {(connection.service_id, 0, 0, b'')}"
            )
        self.pings.append((trio.current_time(), connection))
        self.pinged.value = len(self.pings)
        if self.pongs_to_lose:
            self.pongs_to_lose -= 1
            return
        if self.random.random() < self.loss:
            return
        payload = None if self.pong_config is None else msgspec.json.encode(self.pong_config)
        pong = encode_frame(
            service=connection.service_id, method=CONTROL, headers={"type": "pong"}, payload=payload
        )
        connection.send(pong)

    def _received_answer(self, connection: GatewayConnection, frame: Frame) -> None:
        message_id = frame.headers.get("message_id", "")
        push = self._awaited.get(message_id)
        if push is None:
            if not message_id.startswith(self._prefix):
                raise ValueError(f"an answer is to message_id {message_id!r}, which was never sent")
            return  # another answer to a push that is settled and no longer referenced
        delivery = next(each for each in reversed(push.deliveries) if each.message_id == message_id)
        try:
            delivery.check(frame)
            code, data = read_answer_body(frame.payload)
            biz_rt = frame.headers.get("biz_rt")
            # The official Python client omits it from a 500, and the Node client's is negative.
            if biz_rt is None and code == 200:
                raise ValueError("the header biz_rt is missing")
            if biz_rt is not None and not _INTEGER.fullmatch(biz_rt):
                raise ValueError(f"the header biz_rt is {biz_rt!r}, not a number of milliseconds")
        except ValueError as error:
            raise ValueError(f"the answer to message_id {message_id!r}: {error}") from None
        now = trio.current_time()
        answer = Answer(code, data, frame, now, now - delivery.at, connection)
        self.ladder.answered(push, delivery, answer)
        if push.settled_by is answer and answer.code == 200:
            self.api.answered(push, answer, delivery.at)

    def _received_text(self, connection: GatewayConnection, message: str) -> None:
        try:
            text = decoded(message)
        except ValueError:
            text = message
        self.texts.append(text)
        match text:
            case {"type": "ping"}:
                connection.send(f'{{"type":"pong","timestamp":{int(time.time())}}}')
            case {"type": "auth"}:
                connection.send('{"type":"auth","code":0,"msg":"success"}')

    def _deliver(self, push: Push, connection: GatewayConnection | None) -> Delivery | None:
        if connection is None and self.live:
            connection = self.random.choice(self.live)
        if connection is None or not connection.is_open:
            return None
        parcel, number = push.parcel, next(self._numbers)
        message_id = parcel.headers.get("message_id", f"{self._prefix}-{number}") or ""
        delivery = Delivery(
            connection,
            trio.current_time(),
            message_id,
            parcel.new_headers(message_id, parcel.trace_id or random_id(self.random)),
            number if parcel.seq_id is None else parcel.seq_id,
            # 53 bits: the Node client keeps it as a double, and returns larger ones rounded
            self.random.getrandbits(53) if parcel.log_id is None else parcel.log_id,
            parcel,
        )
        self._awaited[message_id] = push
        push.deliveries += (delivery,)
        for frame in delivery.frames():
            connection.send(frame)
        push.changed()
        return delivery
