from __future__ import annotations

import pytest
import trio
from trio.testing import check_two_way_stream, wait_all_tasks_blocked

from feishu_trio.testing._memory import CAPACITY, MemoryStream, memory_stream_pair


async def make() -> tuple[MemoryStream, MemoryStream]:
    return memory_stream_pair()


async def make_clogged() -> tuple[MemoryStream, MemoryStream]:
    left, right = memory_stream_pair()
    await left.send_all(bytes(CAPACITY))
    await right.send_all(bytes(CAPACITY))
    return left, right


async def test_it_is_a_stream_by_trio_s_own_rules() -> None:
    await check_two_way_stream(make, make_clogged)


async def test_the_buffer_is_bounded() -> None:
    left, right = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.send_all, bytes(CAPACITY + 1))
        await wait_all_tasks_blocked()
        assert len(await right.receive_some()) == CAPACITY
        assert len(await right.receive_some()) == 1


async def test_a_reset_loses_what_was_on_its_way() -> None:
    left, right = memory_stream_pair()
    await left.send_all(b"x")
    left.reset()
    with pytest.raises(trio.BrokenResourceError):
        await right.receive_some()
    with pytest.raises(trio.BrokenResourceError):
        await right.send_all(b"x")


@pytest.mark.parametrize("n", [0, -1])
async def test_max_bytes(n: int) -> None:
    left, _ = memory_stream_pair()
    with pytest.raises(ValueError, match="max_bytes"):
        await left.receive_some(n)
