"""A Redis or Valkey that the tests of a run share, each with keys of its own."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from .servers import GIVEN, client_of, running


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real server that nobody stops."""
    if "://" in GIVEN:
        yield GIVEN
        return
    with running(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.fixture
def prefix(redis_url: str) -> Iterator[str]:
    """What the keys of this test begin with; they are deleted in the end."""
    name = f"test-{secrets.token_hex(4)}"
    yield name
    client = client_of(redis_url)
    cursor = -1
    while cursor:
        cursor, keys = client.scan(max(cursor, 0), f"{{{name}*", count=10_000)
        if keys:
            client.unlink(*keys)
    client.close()
