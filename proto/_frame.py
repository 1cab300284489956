"""The frame's schema, `pbbp2.proto`, to betterproto classes."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SCHEMA = Path("proto/pbbp2.proto")
OUTPUT = Path("src/feishu_trio/wire/_pbbp2.py")

HEADER = f'''\
"""The frame's betterproto classes: made from {SCHEMA.as_posix()} by proto/generate.py, not by hand."""

# ruff: noqa: RUF009 - betterproto's fields are dataclasses.field in disguise

from __future__ import annotations

'''


def generate(root: Path) -> dict[Path, str]:
    """What `OUTPUT` should hold, for the schema found under `root` (the repository's top), not yet formatted.

    Raises `subprocess.CalledProcessError` if protoc refuses the schema.
    """
    schema = root / SCHEMA
    # protoc looks for plugins on PATH, where a virtual environment that is not activated is missing.
    name = "protoc-gen-python_betterproto"
    plugin = shutil.which(name, path=Path(sys.executable).parent) or name
    with tempfile.TemporaryDirectory() as out:
        subprocess.run(
            [
                *(sys.executable, "-m", "grpc_tools.protoc"),
                f"--plugin={name}={plugin}",
                f"--proto_path={schema.parent}",
                f"--python_betterproto_out={out}",
                schema.name,
            ],
            check=True,
            capture_output=True,
            text=True,
        )
        made = (Path(out) / "pbbp2" / "__init__.py").read_text(encoding="utf-8")
    # The plugin's own header is comments, up to the first import.
    return {root / OUTPUT: HEADER + made[made.index("from dataclasses") :]}
