"""A gateway and bots as processes, and what an operator sees of them, in blocks as the page has them."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TypeVar

import attrs
import httpx
import trio

from cli import commands
from cli.commands import Running, environment
from cli.terminals import shown

USER_JOINED = '{"header": {"event_type": "contact.user.created_v3"}, "event": {}}'
"""An event of which no handler in bot.py comes to an end."""

T = TypeVar("T")

PATIENCE = 1.0  # seconds for a probe, as for Kubernetes by default


@attrs.define(eq=False)
class Service:
    """A bot or a worker as a process, with `/readyz` and `/metrics`, and its log."""

    process: trio.Process | commands.Copy
    _http: httpx.AsyncClient
    _log: list[str] = attrs.field(factory=list)
    _lines: trio.Condition = attrs.field(factory=trio.Condition)

    async def readyz(self) -> str:
        """What `/readyz` answers."""
        try:
            answer = await self._http.get(await self._address("/readyz"), timeout=PATIENCE)
        except httpx.ConnectError:
            return "connection refused"
        except httpx.ReadTimeout:
            return f"no answer within {PATIENCE:g} s"
        return f"{answer.status_code} {answer.text.strip()}"

    async def readyz_with(self, words: str) -> str:
        """What `/readyz` answers once it has these words."""
        found = ""
        with trio.move_on_after(15):
            while words not in (found := await self.readyz()):  # noqa: ASYNC110
                await trio.sleep(0.02)
            return found
        raise AssertionError(f"{words!r} is not in what /readyz answers: {found}; the log is {self._log}")

    async def metrics(self) -> str:
        """All that `/metrics` answers."""
        return (await self._http.get(await self._address("/metrics"))).text

    async def metrics_with(self, words: str) -> None:
        """Wait until `/metrics` has these words: an inbox is asked once a second."""
        with trio.move_on_after(15):
            while words not in (found := await self.metrics()):  # noqa: ASYNC110
                await trio.sleep(0.02)
            return
        raise AssertionError(f"{words!r} is not in what /metrics answers: {found}")

    async def hears_a_pong(self) -> None:
        """Wait for the first pong, which comes soon: what is unread when a connection ends makes that a reset."""
        await self.metrics_with("feishu_heartbeat_round_trip_seconds{")

    async def log(self, *beginnings: str) -> str:
        """The first lines of the log that begin so, each after the one before it, once they are there."""
        with trio.move_on_after(15):
            async with self._lines:
                while (found := self._find(beginnings)) is None:
                    await self._lines.wait()
                return found
        raise AssertionError(f"{beginnings} do not stand in the log: {self._log}")

    def _find(self, beginnings: tuple[str, ...]) -> str | None:
        lines, found = iter(self._log), list[str]()
        for beginning in beginnings:
            line = next((line for line in lines if re.match(rf"(\d\d:){{2}}\d\d  {beginning}", line)), None)
            if line is None:
                return None
            found.append(line)
        return "\n".join(found)

    async def _address(self, path: str) -> str:
        line = await self.log("at http://")
        return line.split()[2] + path

    async def read_log(self) -> None:
        """Keep what it logs, line by line; what stands below a line, indented, is of that line."""
        assert self.process.stderr is not None
        rest = b""
        async for data in self.process.stderr:
            *lines, rest = (rest + bytes(data)).split(b"\n")
            async with self._lines:
                for line in map(bytes.decode, lines):
                    if line.startswith(" ") and self._log:
                        self._log[-1] += f"\n{line}"
                    else:
                        self._log.append(line)
                self._lines.notify_all()


@attrs.define(eq=False)
class Scene:
    """What takes part in one outage, and what was seen of it."""

    _stack: AsyncExitStack
    _nursery: trio.Nursery
    _http: httpx.AsyncClient
    env: dict[str, str] = attrs.field(factory=dict)
    """Where the gateway is, and the settings of this outage."""
    blocks: list[str] = attrs.field(factory=list)
    """What the page has of it."""
    scraped: list[str] = attrs.field(factory=list)
    """All that `/metrics` answered."""

    def sets(self, **settings: object) -> None:
        """Settings of the bots to come, and of the doctor."""
        self.env |= {f"FEISHU_{name.upper()}": str(value) for name, value in settings.items()}

    async def enter(self, what: AbstractAsyncContextManager[T]) -> T:
        """Open something for as long as the scene lasts."""
        return await self._stack.enter_async_context(what)

    async def gateway(self, *, port: int = 0) -> Running:
        """Start `feishu-trio gateway`; bots to come connect to it."""
        gateway = await self.enter(commands.running("gateway", "--port", str(port), env=environment()))
        for _ in range(3):
            name, _, value = (await gateway.line_with("export ")).removeprefix("  export ").partition("=")
            self.env[name] = value
        return gateway

    async def service(self, *args: str) -> Service:
        """Start a bot or a worker, and wait until it is ready."""
        running = await self.enter(
            commands.running(
                *args, "--metrics-port", "0", "--metrics-host", "127.0.0.1", env=environment() | self.env
            )
        )
        service = Service(running.process, self._http)
        self._nursery.start_soon(service.read_log)
        await service.readyz_with("200 ")
        return service

    async def bot(self) -> Service:
        """Start `feishu-trio run bot:router`."""
        return await self.service("run", "bot:router")

    # What is seen

    def sees(self, *parts: str) -> None:
        """A block of the page."""
        self.blocks.append("\n\n".join(parts))

    async def metrics(self, service: Service, *names: str) -> str:
        """The samples of these metrics, without the labels that all have; of times, how long ago they were."""
        text = await service.metrics()
        self.scraped.append(text)
        found = []
        for name in names:
            metric, _, label = name.partition("{")
            for sample in re.findall(rf"^{metric}\{{.*", text, re.MULTILINE):
                if label in sample:
                    found.append(_short(sample))
        return "\n".join(["GET /metrics", *found])

    async def doctor(self, *checks: str) -> str:
        """What `feishu-trio doctor` shows: what it complains of, and these checks; "all" is all of it."""
        code, text = await shown("doctor", env=environment(TERM="dumb") | self.env, lines=60)
        lines = [line.rstrip() for line in text.splitlines()[3:]]
        if checks != ("all",):
            lines = _of_interest(lines, checks)
        return "\n".join(["$ feishu-trio doctor", *lines, "$ echo $?", str(code)])

    async def command(self, *args: str) -> str:
        """What another command says."""
        code, text = await shown(*args, env=environment(TERM="dumb") | self.env)
        return "\n".join([f"$ feishu-trio {' '.join(args)}", text, "$ echo $?", str(code)])


def probed(readyz: str) -> str:
    """What `/readyz` answered, as the page has it."""
    return f"GET /readyz\n{readyz}"


def logged(log: str) -> str:
    """Lines of the log, as the page has them."""
    return f"log\n{log}"


@asynccontextmanager
async def open_scene() -> AsyncGenerator[Scene, None]:
    """A scene whose processes end with the block."""
    limits = httpx.Limits(max_keepalive_connections=0)
    async with (
        httpx.AsyncClient(trust_env=False, verify=False, timeout=10, limits=limits) as http,
        trio.open_nursery() as nursery,
    ):
        async with AsyncExitStack() as stack:
            yield Scene(stack, nursery, http)
        nursery.cancel_scope.cancel()


async def type_line(gateway: Running, line: str) -> None:
    """A line for the gateway: a message, or an event's payload."""
    assert gateway.process.stdin is not None
    await gateway.process.stdin.send_all(f"{line}\n".encode())


def _short(sample: str) -> str:
    sample = re.sub(r'app_id="[^"]*",?|role="[^"]*",?', "", sample).replace(",}", "}").replace("{}", "")
    name, _, value = sample.rpartition(" ")
    if "_timestamp_" in name:
        return f"{sample}  # {time.time() - float(value):.1f} s ago"
    return sample


def _of_interest(lines: list[str], checks: tuple[str, ...]) -> list[str]:
    """The lines of these checks, and of what is complained of; an ellipsis for those between."""
    kept = list[str]()
    is_kept = False
    for line in lines:
        if not line.startswith(" "):
            mark, check = line.split()[:2]
            is_kept = mark in "✗!" or check in checks
        if is_kept:
            kept.append(line)
        elif kept[-1:] != ["…"]:
            kept.append("…")
    return kept
