"""The migration page in its two languages, and running what it shows against the local gateway."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
import trio.testing

from feishu_trio.testing import Gateway

DOCS = Path(__file__).parents[2] / "docs"
ENGLISH = (DOCS / "migrating-from-mud-feishu.md").read_text(encoding="utf-8")
CHINESE = (DOCS / "migrating-from-mud-feishu.zh.md").read_text(encoding="utf-8")


def samples(page: str) -> dict[str, str]:
    """The Python blocks of a page, by the heading above each."""
    sections = re.findall(r"^### (.*?)\n(.*?)(?=^##|\Z)", page, re.DOTALL | re.MULTILINE)
    return {
        heading: code
        for heading, text in sections
        for code in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    }


def sample(heading: str) -> dict[str, Any]:
    """The names that the block below a heading of the English page defines, freshly run."""
    names: dict[str, Any] = {"__name__": "sample"}
    exec(samples(ENGLISH)[heading], names)
    return names


def claims(page: str) -> list[list[str]]:
    """The rows of the table of claims: number, claim, counterpart, tests."""
    return [line.strip("| ").split(" | ") for line in page.splitlines() if re.match(r"\| \d+ \| ", line)]


def named_tests(cell: str) -> list[str]:
    """The tests that a cell of the table names, as `directory/file.py::test`."""
    return re.findall(r"`([\w/]+\.py::\w+)`", cell)


def settings(gateway: Gateway) -> dict[str, Any]:
    """What a session needs to meet the gateway in memory."""
    return {
        "app_id": gateway.app_id,
        "app_secret": gateway.app_secret,
        "domain": gateway.domain,
        "dial": gateway.dial,
        "http_transport": gateway.transport,
    }


@asynccontextmanager
async def running(gateway: Gateway, main: Callable[[], Awaitable[object]]) -> AsyncGenerator[None, None]:
    """A program that runs as long as the block, which begins once it is connected."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(main)
        await gateway.wait_connected()
        await trio.testing.wait_all_tasks_blocked()
        yield
        nursery.cancel_scope.cancel()
