"""Feishu (Lark) events over the long connection, under trio.

```python
from feishu_trio import Event, Router, run
from feishu_trio.events.im import MessageReceived

router = Router()

@router.on(MessageReceived)
async def echo(event: Event[MessageReceived]) -> None:
    await event.reply(event.text or event.markdown)

if __name__ == "__main__":
    run(router, "cli_...", "secret")
```

to run a bot   run; open_feishu_session for a Session; SessionConfig
handlers       Router, Event, Retry, to_me; CardAnswer, Card, Toast
what bots say  Event.reply, Event.stream, Event.ask; all other calls: Api
stored events  SQLiteInbox, RedisInbox, MemoryInbox; run_worker, open_worker
what goes on   Session.lifecycle, Session.stats, Session.health; open_probes
errors         FeishuError; ConfigError, RefusedError, ApiError
models         feishu_trio.events.im and its siblings
tests          feishu_trio.testing: a gateway that stands in for Feishu
asyncio        feishu_trio.asyncio: a bot inside of an asyncio program

Each has a help of its own, help(feishu_trio.Router); so has the command,
feishu-trio --help. What follows here is the reference of all names.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .api import Api, BotInfo
from .bot import ANYONE, ToMe, to_me
from .config import (
    FEISHU_DOMAIN,
    LARK_DOMAIN,
    Ack,
    PoolConfig,
    SessionConfig,
    SessionSettings,
    Setting,
    SettingOrigin,
)
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
    InboxError,
    InboxUnreachable,
    MessageGone,
    PermissionMissing,
    QuotaExceeded,
    RateLimited,
    RefusedError,
    Retry,
)
from .events import Card, CardAnswer, Event, Inline, Person, PreviewAnswer, Resource, Toast
from .events.content import Markdown
from .events.order import by_chat, by_sender, by_thread
from .events.port import Choice, EventApi, Sendable, Sent, Streamed
from .pull import EventStream
from .router import CallNext, Handler, HandlerObject, Middleware, RawHandler, RawMessage, Route, Router
from .service import Health, SessionState
from .session import Session, open_feishu_session
from .telemetry.counters import HandlerStats, Latency, PoolStats, SessionStats, TypeStats
from .telemetry.heartbeat import Beat, HeartbeatSeries, HeartbeatStats
from .telemetry.histogram import HistogramSnapshot
from .telemetry.lifecycle import (
    Authenticated,
    Connected,
    Disconnected,
    ErrorOccurred,
    EventAnswered,
    EventDead,
    EventReceived,
    Follower,
    HandlerFailed,
    HandlerStuck,
    HeartbeatReceived,
    LifecycleEvent,
    LifecycleStream,
    MessageIgnored,
    PingReceived,
    PingSent,
    PongReceived,
    ReconnectScheduled,
    TextMessageReceived,
)
from .telemetry.stuck import HeldUp, StuckHandler, StuckStats

if TYPE_CHECKING:
    from .inbox.memory import MemoryInbox
    from .inbox.protocol import Inbox, InboxRules
    from .inbox.records import Counts as InboxCounts
    from .inbox.records import Details as InboxDetails
    from .inbox.records import HandlerState
    from .inbox.records import State as InboxState
    from .inbox.records import Summary as InboxSummary
    from .inbox.redis import RedisInbox
    from .inbox.sqlite import SQLiteInbox
    from .inbox.visitor import InboxFile
    from .probes import Probes, open_probes
    from .program import run, run_worker
    from .worker import Worker, open_worker

__version__: str
"""The version that is installed."""

__all__ = [
    "ANYONE",
    "FEISHU_DOMAIN",
    "LARK_DOMAIN",
    "Ack",
    "Api",
    "ApiError",
    "Authenticated",
    "AuthenticationError",
    "Beat",
    "BotInfo",
    "CallNext",
    "Card",
    "CardAnswer",
    "Choice",
    "ConfigError",
    "ConnectError",
    "Connected",
    "ConnectionLimitError",
    "DisconnectReason",
    "Disconnected",
    "ErrorOccurred",
    "Event",
    "EventAnswered",
    "EventApi",
    "EventDead",
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
    "HandlerState",
    "HandlerStats",
    "HandlerStuck",
    "Health",
    "HeartbeatReceived",
    "HeartbeatSeries",
    "HeartbeatStats",
    "HeldUp",
    "HistogramSnapshot",
    "Inbox",
    "InboxCounts",
    "InboxDetails",
    "InboxError",
    "InboxFile",
    "InboxRules",
    "InboxState",
    "InboxSummary",
    "InboxUnreachable",
    "Inline",
    "Latency",
    "LifecycleEvent",
    "LifecycleStream",
    "Markdown",
    "MemoryInbox",
    "MessageGone",
    "MessageIgnored",
    "Middleware",
    "PermissionMissing",
    "Person",
    "PingReceived",
    "PingSent",
    "PongReceived",
    "PoolConfig",
    "PoolStats",
    "PreviewAnswer",
    "Probes",
    "QuotaExceeded",
    "RateLimited",
    "RawHandler",
    "RawMessage",
    "ReconnectScheduled",
    "RedisInbox",
    "RefusedError",
    "Resource",
    "Retry",
    "Route",
    "Router",
    "SQLiteInbox",
    "Sendable",
    "Sent",
    "Session",
    "SessionConfig",
    "SessionSettings",
    "SessionState",
    "SessionStats",
    "Setting",
    "SettingOrigin",
    "Streamed",
    "StuckHandler",
    "StuckStats",
    "TextMessageReceived",
    "ToMe",
    "Toast",
    "TypeStats",
    "Worker",
    "by_chat",
    "by_sender",
    "by_thread",
    "open_feishu_session",
    "open_probes",
    "open_worker",
    "run",
    "run_worker",
    "to_me",
]


# Loaded on use, each from its module, by its name there: who has no inbox pays neither for SQLite nor for coredis.
_LATER = {
    "Inbox": ("inbox.protocol", "Inbox"),
    "InboxCounts": ("inbox.records", "Counts"),
    "InboxDetails": ("inbox.records", "Details"),
    "InboxFile": ("inbox.visitor", "InboxFile"),
    "HandlerState": ("inbox.records", "HandlerState"),
    "InboxRules": ("inbox.protocol", "InboxRules"),
    "InboxState": ("inbox.records", "State"),
    "InboxSummary": ("inbox.records", "Summary"),
    "MemoryInbox": ("inbox.memory", "MemoryInbox"),
    "Probes": ("probes", "Probes"),
    "RedisInbox": ("inbox.redis", "RedisInbox"),
    "SQLiteInbox": ("inbox.sqlite", "SQLiteInbox"),
    "Worker": ("worker", "Worker"),
    "open_probes": ("probes", "open_probes"),
    "open_worker": ("worker", "open_worker"),
    "run": ("program", "run"),
    "run_worker": ("program", "run_worker"),
}


if not TYPE_CHECKING:  # a checker would take any name for one that is there

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            from importlib.metadata import version

            return version("feishu-trio")
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module, its_name = _LATER[name]
        found = globals()[name] = getattr(import_module(f".{module}", __name__), its_name)
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
