"""Feishu (Lark) events over the long connection, with structured concurrency on trio.

import trio
from feishu_trio import Router, open_feishu_session

router = Router()

@router.on("im.message.receive_v1")
async def echo(event):
    print(event.data.message.content)

async def main():
    async with open_feishu_session("cli_...", "secret", router=router) as session:
        await session.wait_closed()

trio.run(main)
"""

from __future__ import annotations

from .api import Api
from .config import FEISHU_DOMAIN, LARK_DOMAIN, Ack, PoolConfig, SessionConfig
from .connection import DisconnectReason
from .errors import (
    ApiError,
    AuthenticationError,
    ConfigError,
    ConnectError,
    ConnectionLimitError,
    EventDecodeError,
    FeishuError,
    ForbiddenError,
    FrameError,
    RefusedError,
    Retry,
)
from .events import Card, CardAnswer, Event, Inline, PreviewAnswer, Toast
from .pull import EventStream
from .router import CallNext, Handler, HandlerObject, Middleware, RawHandler, RawMessage, Route, Router
from .session import Health, Session, SessionState, open_feishu_session
from .telemetry.counters import HandlerStats, Latency, PoolStats, SessionStats, TypeStats
from .telemetry.heartbeat import Beat, HeartbeatSeries, HeartbeatStats
from .telemetry.histogram import HistogramSnapshot
from .telemetry.lifecycle import (
    Authenticated,
    Connected,
    Disconnected,
    ErrorOccurred,
    EventAnswered,
    EventReceived,
    Follower,
    HandlerFailed,
    HeartbeatReceived,
    LifecycleEvent,
    LifecycleStream,
    PingReceived,
    PingSent,
    PongReceived,
    ReconnectScheduled,
    TextMessageReceived,
)

__all__ = [
    "FEISHU_DOMAIN",
    "LARK_DOMAIN",
    "Ack",
    "Api",
    "ApiError",
    "Authenticated",
    "AuthenticationError",
    "Beat",
    "CallNext",
    "Card",
    "CardAnswer",
    "ConfigError",
    "ConnectError",
    "Connected",
    "ConnectionLimitError",
    "DisconnectReason",
    "Disconnected",
    "ErrorOccurred",
    "Event",
    "EventAnswered",
    "EventDecodeError",
    "EventReceived",
    "EventStream",
    "FeishuError",
    "Follower",
    "ForbiddenError",
    "FrameError",
    "Handler",
    "HandlerFailed",
    "HandlerObject",
    "HandlerStats",
    "Health",
    "HeartbeatReceived",
    "HeartbeatSeries",
    "HeartbeatStats",
    "HistogramSnapshot",
    "Inline",
    "Latency",
    "LifecycleEvent",
    "LifecycleStream",
    "Middleware",
    "PingReceived",
    "PingSent",
    "PongReceived",
    "PoolConfig",
    "PoolStats",
    "PreviewAnswer",
    "RawHandler",
    "RawMessage",
    "ReconnectScheduled",
    "RefusedError",
    "Retry",
    "Route",
    "Router",
    "Session",
    "SessionConfig",
    "SessionState",
    "SessionStats",
    "TextMessageReceived",
    "Toast",
    "TypeStats",
    "open_feishu_session",
]
