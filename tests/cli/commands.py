"""The command line as a user has it: a process with an environment, pipes or a terminal, and signals."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from feishu_trio.testing import Gateway

COMMAND = [sys.executable, "-m", "feishu_trio"]

MESSAGE: dict[str, Any] = {
    "sender": {"sender_id": {"open_id": "ou_1"}},
    "message": {
        "message_id": "om_1",
        "chat_id": "oc_1",
        "chat_type": "group",
        "message_type": "text",
        "content": '{"text":"你好, @_user_1"}',
        "mentions": [{"key": "@_user_1", "name": "Bob", "id": {"open_id": "ou_2"}}],
    },
}


@attrs.frozen
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


def environment(gateway: Gateway | None = None, **extra: str) -> dict[str, str]:
    """That of these tests without settings of their own, and with those for a gateway."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("FEISHU_")}
    if gateway is not None:
        env |= {
            "FEISHU_DOMAIN": gateway.domain,
            "FEISHU_APP_ID": gateway.app_id,
            "FEISHU_APP_SECRET": gateway.app_secret,
        }
    return env | {"COLUMNS": "80", "NO_COLOR": "1", "PYTHONWARNINGS": "error"} | extra


async def run(*args: str, env: Mapping[str, str] | None = None, command: list[str] = COMMAND) -> Done:
    """Run a command to its end."""
    with trio.fail_after(20):
        done = await trio.run_process(
            [*command, *args],
            env=environment() if env is None else env,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


@attrs.define
class Running:
    """A command at work."""

    process: trio.Process
    _rest: bytes = b""

    async def line(self) -> str:
        """The next line of its stdout."""
        assert self.process.stdout is not None
        with trio.fail_after(10):
            while b"\n" not in self._rest:
                data = await self.process.stdout.receive_some()
                assert data, f"stdout ended with {self._rest!r}"
                self._rest += data
        line, self._rest = self._rest.split(b"\n", 1)
        return line.decode()

    async def line_with(self, what: str) -> str:
        """The next line of its stdout that has `what` in it."""
        while what not in (line := await self.line()):
            pass
        return line

    async def done(self) -> Done:
        """Wait for its end."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        with trio.fail_after(10):
            out = self._rest + b"".join([data async for data in self.process.stdout])
            err = b"".join([data async for data in self.process.stderr])
            code = await self.process.wait()
        return Done(code, out.decode(), err.decode())


@asynccontextmanager
async def running(
    *args: str, env: Mapping[str, str], command: list[str] = COMMAND
) -> AsyncGenerator[Running, None]:
    """A command at work, killed when the block is left, if it has not ended by then."""
    process = await trio.lowlevel.open_process(
        [*command, *args], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        with trio.fail_after(20):
            yield Running(process)
    finally:
        if process.returncode is None:
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    await stream.aclose()
