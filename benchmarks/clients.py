"""The clients: how each is started, pinned to a core, and what it costs, as the kernel counts it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
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
_GO_PROGRAM: Final = ROOT / "benchmarks" / "peers" / "go" / "main.go"
_GO_SDK: Final = Path(os.environ["GO_SDK"]).resolve() if os.environ.get("GO_SDK") else None
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_PATIENCE: Final = 30  # seconds
_GATHERS: Final = 0.7  # seconds; lark-channel-sdk waits for more of the same chat, and then calls its handler

CORES: Final = sorted(os.sched_getaffinity(0))
CLIENT_CORES: Final = CORES[-1:]
PINNED: Final = len(CORES) > 1
"""Whether there are cores enough to give gateway and client one each."""

# Settings; and what keeps Python from storing bytecode, which all packages that are installed have.
_NOT_THEIRS: Final = ("FEISHU_", "LARK_", "PYTHONDONTWRITEBYTECODE")
# OpenSSL, and with it Python's ssl, httpx and websockets, and Go; requests; Node.
_TRUSTED: Final = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")


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
    missing: Callable[[], str | None] = lambda: None
    """Says why it cannot be run here, and None if it can, once it is installed or built."""
    is_early: bool = False
    """Whether it answers an event before its handler is done."""
    is_single: bool = False
    """Whether a process of it has one session at the most."""
    is_concurrent: bool = False
    """Whether the parts of an event overtake each other in it, so that it answers whichever comes last."""

    def start(self, gateway: Gateway, handler: str = "noop", sessions: int = 1) -> Running:
        """Start it, and wait until its first session is up."""
        return Running(self, gateway, handler, sessions)


class Running:
    """A client that runs, as a context manager: killed in the end."""

    def __init__(self, client: Client, gateway: Gateway, handler: str, sessions: int) -> None:
        self.client = client
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed in `stop`
        started = time.perf_counter()
        self.tls: Final = gateway.authorities is not None
        command = [*client.command, gateway.domain, handler, str(sessions)]
        self._process = spawn(command, self._output, authorities=gateway.authorities)
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

    def rest(self) -> None:
        """Let it do what is left of events that it has answered."""
        before, until = -1.0, time.perf_counter() + _PATIENCE
        while self.client.is_early and self.cpu() - before > _GATHERS / 100:  # what is no more is its last
            if time.perf_counter() > until:
                raise SilentError(f"{self.client.title} is still at work {_PATIENCE} s after its last answer")
            before = self.cpu()
            time.sleep(_GATHERS)

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
    command: Sequence[str],
    output: IO[bytes] | int,
    cores: Sequence[int] = CLIENT_CORES,
    authorities: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program on the clients' core; what it says, and its complaints, go to `output`."""
    with on_cores(cores):  # which the child takes over, with all its threads to come
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(authorities),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def environment(authorities: Path | None = None) -> dict[str, str]:
    """The clients' environment; they trust the authorities in a file, each library by the name that it documents."""
    theirs = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_THEIRS)}
    loopback = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    trusted = {} if authorities is None else dict.fromkeys(_TRUSTED, str(authorities))
    return {**theirs, **loopback, **trusted, "NODE_PATH": str(_NODE_HOME / "node_modules")}


def _missing_node() -> str | None:
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        return "node or npm is not installed"
    if (_NODE_HOME / "node_modules" / _NODE_SDK).is_dir():
        return None
    options = ("--silent", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts")
    done = subprocess.run([npm, "install", *options], cwd=_NODE_HOME, check=False)
    return None if done.returncode == 0 else f"npm install failed with exit code {done.returncode}"


def _missing_go() -> str | None:
    if _GO_SDK is None or not _GO_SDK.exists():
        return "GO_SDK names neither a checkout of it nor the program"
    if _GO_SDK.is_file():
        return None
    go = shutil.which("go")
    if go is None:
        return "go is not installed"
    # A file that is named belongs to the module of the directory it is built in, wherever it is.
    command = [go, "build", "-o", str(_GO_PROGRAM.with_suffix("")), str(_GO_PROGRAM)]
    done = subprocess.run(command, cwd=_GO_SDK, check=False)
    return None if done.returncode == 0 else f"go build failed with exit code {done.returncode}"


def _go() -> Client:
    program, title = _GO_PROGRAM.with_suffix(""), "oapi-sdk-go"
    if _GO_SDK is not None and _GO_SDK.is_file():
        program = _GO_SDK
    elif _GO_SDK is not None and _GO_SDK.is_dir():
        describe = ("git", "describe", "--tags", "--always")
        said = subprocess.run(describe, cwd=_GO_SDK, capture_output=True, text=True, check=False)
        title = f"{title} {said.stdout.strip().removeprefix('v')}".strip()
    return Client("go", title, (str(program),), (str(program),), _missing_go, is_concurrent=True)


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
        attrs.evolve(
            _python(
                "channel",
                f"lark-channel-sdk {version('lark-channel-sdk')}",
                "lark_channel",
                "import lark_channel",
            ),
            is_early=True,
            is_single=True,
        ),
        Client(
            "node",
            f"node-sdk {_NODE_VERSION}",
            ("node", "benchmarks/peers/node.cjs"),
            (
                "node",
                "-e",
                f"require('{_NODE_SDK}'); console.log(`${{require('fs').readFileSync('/proc/self/status')}}`)",
            ),
            _missing_node,
        ),
        _go(),
    )
}
