"""The clients: how each is started, pinned to a core, and what it costs, as the kernel counts it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import IO, Final, Self

import attrs

from .gateway import Connection, Gateway, SilentError

__all__ = [
    "CLIENTS",
    "CLIENT_CORES",
    "CORES",
    "PINNED",
    "ROOT",
    "Client",
    "Running",
    "environment",
    "on_cores",
    "pin_gateway",
    "processor_seconds",
    "spawn",
]

ROOT: Final = Path(__file__).parent.parent
_NODE_HOME: Final = ROOT / "tests" / "node"  # where package.json pins the version
_NODE_SDK: Final = "@larksuiteoapi/node-sdk"
_NODE_VERSION: Final = json.loads((_NODE_HOME / "package.json").read_text())["dependencies"][_NODE_SDK]
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")

CORES: Final = sorted(os.sched_getaffinity(0))
CLIENT_CORES: Final = CORES[-1:]
PINNED: Final = len(CORES) > 1
"""Whether there are cores enough to give gateway and client one each."""


def pin_gateway() -> None:
    """Keep this process on the first core; clients get the last."""
    if PINNED:
        os.sched_setaffinity(0, CORES[:1])


@attrs.frozen
class Client:
    """A client to measure."""

    name: str
    title: str
    command: tuple[str, ...]
    """The program; domain, handler and number of sessions are added."""
    importing: tuple[str, ...]
    """A program that does no more than load the library, then prints /proc/self/status."""

    def missing(self) -> str | None:
        """Why it cannot be run here, or None if it can. The Node client is installed if npm is there."""
        if self.name != "node":
            return None
        npm = shutil.which("npm")
        if npm is None or shutil.which("node") is None:
            return "node or npm is not installed"
        if (_NODE_HOME / "node_modules" / _NODE_SDK).is_dir():
            return None
        options = ("--silent", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts")
        done = subprocess.run([npm, "install", *options], cwd=_NODE_HOME, check=False)
        return None if done.returncode == 0 else f"npm install failed with exit code {done.returncode}"

    def start(self, gateway: Gateway, handler: str = "noop", sessions: int = 1) -> Running:
        """Start it, and wait until its first session is up."""
        return Running(self, gateway, handler, sessions)


class Running:
    """A client that runs, as a context manager: killed in the end."""

    def __init__(self, client: Client, gateway: Gateway, handler: str, sessions: int) -> None:
        self.client = client
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed in `stop`
        started = time.perf_counter()
        self._process = spawn([*client.command, gateway.domain, handler, str(sessions)], self._output)
        self.connections: list[Connection] = []
        try:
            self.connections.append(gateway.accept())
            self.ready_after = time.perf_counter() - started
            """Seconds from nothing to its first session."""
            while len(self.connections) < sessions:
                self.connections.append(gateway.accept())
        except SilentError as error:
            raise SilentError(f"{client.title}: {error}\n{self._said()}") from error
        finally:
            if len(self.connections) < sessions:
                self.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.wait()
        for connection in self.connections:
            connection.close()
        self._output.close()

    @property
    def connection(self) -> Connection:
        """Its first connection."""
        return self.connections[0]

    def cpu(self) -> float:
        """Seconds of processor time it has had so far, all threads, to the nanosecond."""
        return processor_seconds(self._process.pid)

    def rss(self) -> int:
        """Bytes of memory it has now."""
        return int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]) * _PAGE

    def _said(self) -> str:
        self._output.seek(0)
        return self._output.read()[-2000:].decode("utf-8", "replace")


def processor_seconds(pid: int) -> float:
    """Seconds of processor time a process has had so far, all threads, to the nanosecond."""
    # What clock_getcpuclockid(3) returns for a process on Linux; Python has no name for it.
    return time.clock_gettime((~pid << 3) | 2)


@contextmanager
def on_cores(cores: Sequence[int]) -> Iterator[None]:
    """Have this process, and what it starts, on these cores, where there are enough to tell them apart."""
    ours = os.sched_getaffinity(0)
    if PINNED:
        os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, ours)


def spawn(
    command: Sequence[str], output: IO[bytes] | int, cores: Sequence[int] = CLIENT_CORES
) -> subprocess.Popen[bytes]:
    """Start a program on the clients' core; what it says, and its complaints, go to `output`."""
    with on_cores(cores):  # which the child takes over, with all its threads to come
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def environment() -> dict[str, str]:
    theirs = {name: value for name, value in os.environ.items() if not name.startswith(("FEISHU_", "LARK_"))}
    loopback = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    return {**theirs, **loopback, "NODE_PATH": str(_NODE_HOME / "node_modules")}


def _python(name: str, title: str, module: str, statement: str) -> Client:
    status = "print(open('/proc/self/status').read())"
    return Client(
        name,
        title,
        (sys.executable, "-m", f"benchmarks.peers.{module}"),
        (sys.executable, "-c", f"{statement}; {status}"),
    )


CLIENTS: Final = {
    client.name: client
    for client in (
        _python(
            "ours",
            f"feishu_trio {version('feishu-trio')}",
            "ours",
            "from feishu_trio import Router, open_feishu_session",
        ),
        _python(
            "bare",
            f"bare trio-websocket {version('trio-websocket')}",
            "bare",
            "import trio, trio_websocket",
        ),
        _python("lark", f"lark-oapi {version('lark-oapi')}", "lark", "import lark_oapi"),
        Client(
            "node",
            f"node-sdk {_NODE_VERSION}",
            ("node", "benchmarks/peers/node.cjs"),
            (
                "node",
                "-e",
                f"require('{_NODE_SDK}'); console.log(`${{require('fs').readFileSync('/proc/self/status')}}`)",
            ),
        ),
    )
}
