"""A stand-in for a language model, which all bots that stream ask."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import trio

PAUSE = 0.2  # seconds from word to word


async def think(question: str) -> AsyncIterator[str]:
    """Under trio."""
    for word in words(question):
        await trio.sleep(PAUSE)
        yield word


async def think_in_asyncio(question: str) -> AsyncIterator[str]:
    for word in words(question):
        await asyncio.sleep(PAUSE)
        yield word


def think_in_thread(question: str) -> Iterator[str]:
    for word in words(question):
        time.sleep(PAUSE)
        yield word


def words(question: str) -> list[str]:
    return [f"{word} " for word in f"You asked: {question}".split()]
