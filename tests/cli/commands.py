"""The command line as a user has it: a process with an environment, pipes or a terminal, and signals."""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
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


@cache
def _loaded() -> socket.socket:
    """Where a process that has the command line loaded takes requests; it lives as long as the tests."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("warm.py"))],
            env=environment(),
            stdin=theirs.fileno(),
        )

    @atexit.register
    def end() -> None:
        ours.close()
        process.wait()

    return ours


@attrs.define
class Copy:
    """The command line as a process, begun by `warm.py`; what is used of it is as in `trio.Process`."""

    pid: int
    stdin: trio.abc.SendStream | None
    stdout: trio.abc.ReceiveStream | None
    stderr: trio.abc.ReceiveStream | None
    _end: trio.socket.SocketType
    returncode: int | None = None

    async def wait(self) -> int:
        """Wait for its end; its exit code, or minus the signal that ended it."""
        if self.returncode is None:
            self.returncode = int(await self._end.recv(100))
            self._end.close()
        return self.returncode

    def poll(self) -> int | None:
        """Its exit code, if it has ended."""
        if self.returncode is None:
            try:
                self.returncode = int(os.read(self._end.fileno(), 100))
            except BlockingIOError:
                return None
            self._end.close()
        return self.returncode

    def send_signal(self, which: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, which)

    def terminate(self) -> None:
        """Send it SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send it SIGKILL."""
        self.send_signal(signal.SIGKILL)


async def copy(
    args: Sequence[str],
    env: Mapping[str, str],
    files: Sequence[int],
    streams: tuple[
        trio.abc.SendStream | None, trio.abc.ReceiveStream | None, trio.abc.ReceiveStream | None
    ] = (None, None, None),
) -> Copy:
    """Begin a command with these files as its stdin, stdout and stderr; `streams` are our ends of them."""
    ours, theirs = socket.socketpair()
    with theirs:
        socket.send_fds(_loaded(), [b"."], [theirs.fileno(), *files])
    end = trio.socket.from_stdlib_socket(ours)
    request = {"args": list(args), "env": dict(env), "folder": os.getcwd()}
    await trio.SocketStream(end).send_all(json.dumps(request).encode() + b"\n")
    said = b""
    while not said.endswith(b"\n"):
        said += await end.recv(1)
    return Copy(int(said), *streams, end)


async def _piped(args: Sequence[str], env: Mapping[str, str]) -> Copy:
    (stdin, ours), (out, stdout), (err, stderr) = os.pipe(), os.pipe(), os.pipe()
    streams = trio.lowlevel.FdStream(ours), trio.lowlevel.FdStream(out), trio.lowlevel.FdStream(err)
    try:
        return await copy(args, env, (stdin, stdout, stderr), streams)
    finally:
        for file in (stdin, stdout, stderr):
            os.close(file)


async def run(*args: str, env: Mapping[str, str] | None = None, command: Sequence[str] | None = None) -> Done:
    """Run a command to its end."""
    async with running(*args, env=environment() if env is None else env, command=command) as process:
        assert process.process.stdin is not None
        await process.process.stdin.aclose()
        return await process.done()


@attrs.define
class Running:
    """A command at work."""

    process: trio.Process | Copy
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
        found = {"out": self._rest, "err": b""}

        async def read(name: str, stream: trio.abc.ReceiveStream | None) -> None:
            assert stream is not None
            found[name] += b"".join([data async for data in stream])

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read, "out", self.process.stdout)
                nursery.start_soon(read, "err", self.process.stderr)
            code = await self.process.wait()
        return Done(code, found["out"].decode(), found["err"].decode())


@asynccontextmanager
async def running(
    *args: str, env: Mapping[str, str], command: Sequence[str] | None = None
) -> AsyncGenerator[Running, None]:
    """A command at work, killed when the block is left, if it has not ended by then.

    `command` is another program to run, or `COMMAND` for the command line from its very start.
    """
    process: trio.Process | Copy
    if command is None:
        process = await _piped(args, env)
    else:
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
