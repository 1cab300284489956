"""Payloads to test with: the samples, and envelopes around any body."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SAMPLES = Path(__file__).parent / "samples"
CATALOGUE: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "proto" / "events.json").read_text(encoding="utf-8")
)


def sample(name: str) -> bytes:
    return (SAMPLES / f"{name}.json").read_bytes()


def v2(event_type: str = "im.message.receive_v1", body: object = None, **header: object) -> bytes:
    facts = {"event_id": "e-1", "event_type": event_type, "create_time": "1608725989000"} | header
    return json.dumps({"schema": "2.0", "header": facts, "event": {} if body is None else body}).encode()


def v1(body: object, **envelope: object) -> bytes:
    return json.dumps({"uuid": "u-1", "type": "event_callback", "event": body} | envelope).encode()


def message(message_type: str, content: object, mentions: list[dict[str, Any]] | None = None) -> bytes:
    written = content if isinstance(content, str) else json.dumps(content)
    return v2(body={"message": {"message_type": message_type, "content": written, "mentions": mentions}})
