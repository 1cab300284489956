"""The queues in Redis that are compared: how each is installed and run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs

from .clients import CLIENT_CORES, spawn

__all__ = ["OURS", "QUEUES", "Queue", "install"]

_FOLDER: Final = Path(__file__).parent / "peers" / "queues"
_VENV: Final = _FOLDER / ".venv"
_PYTHON: Final = _VENV / "bin" / "python"
_PATIENCE: Final = 300.0


@attrs.frozen
class Queue:
    """A queue in Redis, and a worker for it; each is run as `fill URL FILE` and `work URL COUNT`."""

    name: str
    title: str
    command: tuple[str, ...]

    def fill(self, url: str, file: Path) -> None:
        """Put in the events of a file."""
        self._run("fill", url, str(file))

    def work(self, url: str, count: int) -> tuple[float, float]:
        """Handle so many: the seconds that took, and the processor time."""
        said = json.loads(self._run("work", url, str(count)).splitlines()[-1])
        return said["seconds"], said["cpu"]

    def start(self, *arguments: str, cores: Sequence[int] = CLIENT_CORES) -> subprocess.Popen[bytes]:
        """Run it with its arguments."""
        return spawn([*self.command, *arguments], subprocess.PIPE, cores)

    def _run(self, *arguments: str) -> bytes:
        with self.start(*arguments) as process:
            try:
                said, _ = process.communicate(timeout=_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        if process.returncode:
            raise RuntimeError(f"{self.title} failed: {said.decode('utf-8', 'replace')[-2000:]}")
        return said


OURS: Final = Queue("ours", "feishu_trio", (sys.executable, "-m", "benchmarks.peers.queues.ours"))
QUEUES: Final = (
    OURS,
    Queue("bullmq", "BullMQ", ("node", str(_FOLDER / "on_bullmq.cjs"))),
    Queue("faststream", "FastStream", (str(_PYTHON), "-m", "benchmarks.peers.queues.on_faststream")),
    Queue("arq", "arq", (str(_PYTHON), "-m", "benchmarks.peers.queues.on_arq")),
)


def install() -> None:
    """Have what the others need."""
    if not (_FOLDER / "node_modules").is_dir():
        npm = shutil.which("npm")
        if npm is None:
            raise FileNotFoundError("npm is not installed: BullMQ needs it")
        options = ("--silent", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts")
        subprocess.run([npm, "install", *options], cwd=_FOLDER, check=True)
    if not _PYTHON.exists():
        venv.create(_VENV, with_pip=True)
        subprocess.run(
            [_PYTHON, "-m", "pip", "install", "--quiet", "--requirement", _FOLDER / "requirements.txt"],
            check=True,
        )
