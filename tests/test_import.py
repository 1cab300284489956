from __future__ import annotations

import subprocess
import sys

# Each costs more to import than this whole package, and is needed by some, or later, or never.
LATER = {
    "httpx",
    "betterproto",
    "google.protobuf",
    "coredis",
    "typer",
    "rich",
    "h2",
    "tomllib",
    "asyncio",
    "sqlite3",
    "filelock",
    "prometheus_client",
    "opentelemetry",
}


def test_note_18_importing_the_package_loads_no_models_and_no_heavy_library() -> None:
    code = "import sys, feishu_trio; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(run.stdout.split())
    assert not loaded & LATER
    models = {name for name in loaded if name.startswith("feishu_trio.events.")}
    assert models <= {
        f"feishu_trio.events.{name}"
        for name in (
            "answers",
            "catalogue",
            "content",
            "envelope",
            "event",
            "order",
            "port",
            "subject",
            "types",
            "_json",
        )
    }
    assert not {name for name in loaded if name.startswith(("feishu_trio.testing", "feishu_trio.cli"))}
