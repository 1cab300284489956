"""What becomes of the bots on slack-bolt and aiogram, against local servers that do what theirs do, as far as bots see it.

To be run by a Python that has slack-bolt and aiogram: `python -m benchmarks.bots.elsewhere`. A message is delivered again
when nobody says that it arrived: by the envelope's id to Slack, by a later `offset` to Telegram.
"""

from __future__ import annotations

import asyncio
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

from aiohttp import web

ROOT = Path(__file__).parents[2]


class Server(ABC):
    """The calls of a bot, in order; `refuse` is how many of the next messages are refused, with a wait of 2 seconds."""

    library: ClassVar[str]
    sends: ClassVar[str]
    """The call that sends a message."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.refuse = 0
        self.hang = False
        self.readers = 0
        self._changed = asyncio.Event()

    def changed(self) -> None:
        self._changed.set()

    async def until(self, is_so: Callable[[], bool], within: float) -> bool:
        """Wait for something that the server sees; whether it came to be so in so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                while not is_so():
                    self._changed.clear()
                    await self._changed.wait()
        return is_so()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        data = dict(await request.post()) if request.can_read_body else dict(request.query)
        if request.content_type == "application/json":
            data = await request.json()
        method = request.path.rsplit("/", 1)[-1]
        self.calls.append((method, data))
        self.changed()
        if method == self.sends and self.hang:
            await asyncio.sleep(600)
        if method == self.sends and self.refuse:
            self.refuse -= 1
            return self.too_often()
        return await self.result(method, data, request)

    def sent(self) -> int:
        return sum(method == self.sends for method, _ in self.calls)

    @abstractmethod
    def is_confirmed(self) -> bool:
        """Whether the bot has told that the message arrived."""

    @abstractmethod
    def too_often(self) -> web.Response: ...

    @abstractmethod
    async def result(self, method: str, data: dict[str, Any], request: web.Request) -> web.StreamResponse: ...

    @abstractmethod
    async def says(self, text: str, number: int, attempt: int = 0) -> None: ...


class Telegram(Server):
    library = "aiogram"
    sends = "sendMessage"

    def __init__(self) -> None:
        super().__init__()
        self.updates: dict[int, dict[str, Any]] = {}

    def is_confirmed(self) -> bool:
        return not self.updates

    def too_often(self) -> web.Response:
        refusal = {"ok": False, "error_code": 429, "description": "Too Many Requests: retry after 2"}
        return web.json_response({**refusal, "parameters": {"retry_after": 2}}, status=429)

    async def result(self, method: str, data: dict[str, Any], request: web.Request) -> web.StreamResponse:
        chat = {"id": 7, "type": "private", "first_name": "Tom"}
        if method == "getMe":
            return done({"id": 1, "is_bot": True, "first_name": "Bot", "username": "bot"})
        if method == "getUpdates":
            self.readers += 1
            offset = int(data.get("offset") or 0)
            self.updates = {key: value for key, value in self.updates.items() if key >= offset}
            self.changed()
            await self.until(lambda: bool(self.updates), 2)
            return done(list(self.updates.values()))
        return done({"message_id": 99, "date": 0, "chat": chat, "text": data.get("text", "")})

    async def says(self, text: str, number: int, attempt: int = 0) -> None:
        tom = {"id": 7, "is_bot": False, "first_name": "Tom"}
        message = {
            "message_id": number,
            "date": 0,
            "chat": {**tom, "type": "private"},
            "from": tom,
            "text": text,
        }
        self.updates[number] = {"update_id": number, "message": message}
        self.changed()


def done(result: object) -> web.Response:
    return web.json_response({"ok": True, "result": result})


class Slack(Server):
    library = "slack_bolt"
    sends = "chat.postMessage"

    def __init__(self) -> None:
        super().__init__()
        self.socket: web.WebSocketResponse | None = None
        self.acknowledged = 0
        self._envelopes = count(1)

    def is_confirmed(self) -> bool:
        return self.acknowledged > 0

    def too_often(self) -> web.Response:
        return web.json_response(
            {"ok": False, "error": "ratelimited"}, status=429, headers={"Retry-After": "2"}
        )

    async def result(self, method: str, data: dict[str, Any], request: web.Request) -> web.StreamResponse:
        if method == "socket":
            self.socket = web.WebSocketResponse()
            await self.socket.prepare(request)
            await self.socket.send_json({"type": "hello"})
            self.readers += 1
            self.changed()
            async for message in self.socket:
                self.acknowledged += "envelope_id" in message.json()
                self.changed()
            return self.socket
        if method == "apps.connections.open":
            return web.json_response({"ok": True, "url": f"ws://{request.host}/socket"})
        if method == "auth.test":
            ids = {"user_id": "UBOT", "bot_id": "BBOT", "team_id": "T1", "user": "bot", "team": "t"}
            return web.json_response({"ok": True, **ids})
        return web.json_response({"ok": True, "ts": "99.0", "channel": "C1"})

    async def says(self, text: str, number: int, attempt: int = 0) -> None:
        assert self.socket is not None
        kind = "app_mention" if "<@UBOT>" in text else "message"
        event = {"type": kind, "channel": "C1", "user": "U1", "text": text, "ts": f"{number}.0"}
        payload = {"type": "event_callback", "team_id": "T1", "event_id": f"Ev{number}", "event": event}
        envelope: dict[str, Any] = {"type": "events_api", "envelope_id": f"e{next(self._envelopes)}"}
        if attempt:
            envelope |= {"retry_attempt": attempt, "retry_reason": "timeout"}
        await self.socket.send_json({**envelope, "accepts_response_payload": False, "payload": payload})


@asynccontextmanager
async def serving(server: Server) -> AsyncGenerator[str, None]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def running(server: Server, url: str, bot: str) -> AsyncGenerator[asyncio.subprocess.Process, None]:
    env = {
        **os.environ,
        "SERVER": url,
        "TELEGRAM_TOKEN": "1:abc",
        "SLACK_BOT_TOKEN": "xoxb-1",
        "SLACK_APP_TOKEN": "xapp-1",
        "NO_PROXY": "127.0.0.1",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "benchmarks.bots.local", server.library, bot]
    readers = server.readers
    process = await asyncio.create_subprocess_exec(
        *command, env=env, stderr=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        assert await server.until(lambda: server.readers > readers, 30), "the bot does not read"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def trials(kind: type[Server]) -> None:
    server = kind()
    async with serving(server) as url, running(server, url, "echo"):
        await server.says("hello", 1)
        assert await server.until(lambda: server.sent() == 1, 10), server.calls
        await server.says("hello", 1, attempt=1)
        await server.until(lambda: server.sent() == 2, 3)
        print(f"{kind.library}: a message that is delivered twice is answered {server.sent()}×")

    server = kind()
    async with serving(server) as url:
        async with running(server, url, "echo"):
            server.hang = True
            await server.says("hello", 1)
            assert await server.until(lambda: server.sent() == 1, 10), server.calls
            is_confirmed = await server.until(server.is_confirmed, 2)
        print(f"{kind.library}: a message is confirmed before its handler is done: {is_confirmed}")
        server.hang = False
        async with running(server, url, "echo"):
            await server.until(lambda: server.sent() == 2, 3)
        print(
            f"{kind.library}: killed in the middle of its reply and started anew, it tries {server.sent()}× in all"
        )

    server = kind()
    async with serving(server) as url, running(server, url, "echo"):
        server.refuse = 1
        await server.says("hello", 1)
        await server.until(lambda: server.sent() == 2, 5)
        print(
            f"{kind.library}: a reply that is refused once with 429 and a wait of 2 s is tried {server.sent()}×"
        )

    server = kind()
    async with serving(server) as url, running(server, url, "gather"):
        for number, text in enumerate(("one", "two", "three"), 1):
            await server.says(text, number)
            await asyncio.sleep(0.2)
        await server.until(lambda: server.sent() == 3, 4)  # one for each, if it does not gather
        texts = [data.get("text") for method, data in server.calls if method == server.sends]
        print(f"{kind.library}: gathered: {texts}")


async def works(kind: type[Server], bot: str, text: str, last: str) -> None:
    """Have a bot do its work, which ends with the call `last`."""
    server = kind()
    async with serving(server) as url, running(server, url, bot):
        known = len(server.calls)
        await server.says(text, 1)
        assert await server.until(lambda: last in dict(server.calls[known:]), 10), server.calls
        made = [method for method, _ in server.calls[known:] if method != "getUpdates"]
        print(f"{kind.library}: {bot}: calls {', '.join(made)}")


async def main() -> None:
    for kind in (Slack, Telegram):
        await trials(kind)
    await works(Slack, "answer", "<@UBOT> one two", "chat.stopStream")
    await works(Telegram, "answer", "@bot one two", "editMessageText")
    await works(Telegram, "approve", "deploy", "sendMessage")
    await works(Slack, "approve", "deploy", "chat.postMessage")


if __name__ == "__main__":
    asyncio.run(main())
