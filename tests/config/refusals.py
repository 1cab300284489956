from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from feishu_trio.config import SessionConfig
from feishu_trio.errors import ConfigError

SECRET = "S3cr3t-value"


def refusal(**settings: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        SessionConfig(**settings)
    return str(caught.value)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def read_json(tmp_path: Path, document: object, section: str | None = None) -> SessionConfig:
    return SessionConfig.from_file(write(tmp_path / "appsettings.json", json.dumps(document)), section)


def file_refusal(path: Path, section: str | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        SessionConfig.from_file(path, section)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value).removeprefix(f"{path}: ")
