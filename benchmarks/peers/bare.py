"""The least that can be done on trio-websocket: receive, parse, handle, answer, one message after the other.

No dedupe, no order, no deadlines, no reconnecting, no heartbeat. It is no client; it is what a client on this
library stands on, with the library's own settings but for the size of a message.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from trio_websocket import open_websocket_url

PAYLOAD = 8 << 3 | 2
HEADERS = 5 << 3 | 2
OK = b'\x42\x0c{"code":200}'  # field 8, 12 bytes

Handler = Callable[[dict[str, Any]], Awaitable[None]]


async def noop(event: dict[str, Any]) -> None:
    pass


async def slow(event: dict[str, Any]) -> None:
    await trio.sleep(0.2)


async def blocking(event: dict[str, Any]) -> None:
    time.sleep(0.2)  # noqa: ASYNC251  # what is measured


async def stuck(event: dict[str, Any]) -> None:
    await trio.sleep_forever()


def varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def take_apart(frame: bytes) -> tuple[bytes, bytes, dict[bytes, bytes]]:
    """The frame without its payload, the payload, and the headers."""
    rest, payload, headers, at = frame, b"", {}, 0
    while at < len(frame):
        start, tag = at, frame[at]
        size, at = varint(frame, at + 1)
        if tag & 7 == 0:
            continue
        value = frame[at : at + size]
        at += size
        if tag == PAYLOAD:
            rest, payload = frame[:start] + frame[at:], value
        elif tag == HEADERS:  # key and value are shorter than 128 bytes here
            end = 2 + value[1]
            headers[value[2:end]] = value[end + 2 :]
    return rest, payload, headers


async def converse(url: str, handler: Handler) -> None:
    parts: dict[bytes, dict[bytes, bytes]] = {}
    async with open_websocket_url(url, max_message_size=10 << 20) as websocket:
        while True:
            message = await websocket.get_message()
            assert isinstance(message, bytes)
            start = time.monotonic()
            rest, payload, headers = take_apart(message)
            if headers[b"type"] != b"event":
                continue
            if headers[b"sum"] != b"1":
                have = parts.setdefault(headers[b"message_id"], {})
                have[headers[b"seq"]] = payload
                if len(have) < int(headers[b"sum"]):
                    continue
                del parts[headers[b"message_id"]]
                payload = b"".join(have[b"%d" % number] for number in range(len(have)))
            event = json.loads(payload)
            if event["header"]["event_type"] == "im.message.receive_v1":
                await handler(event)
            took = b"%d" % ((time.monotonic() - start) * 1000)
            header = b"\x0a\x06biz_rt\x12%c%b" % (len(took), took)
            await websocket.send_message(b"%b\x2a%c%b%b" % (rest, len(header), header, OK))


def discover(domain: str) -> str:
    body = json.dumps({"AppID": "cli_9f5343c580712544", "AppSecret": "secret"}).encode()
    request = urllib.request.Request(
        f"{domain}/callback/ws/endpoint", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        return str(json.load(response)["data"]["URL"])


async def main(domain: str, handler: str, sessions: int) -> None:
    handlers: dict[str, Handler] = {"noop": noop, "slow": slow, "blocking": blocking, "stuck": stuck}
    async with trio.open_nursery() as nursery:
        for _ in range(sessions):
            nursery.start_soon(converse, await trio.to_thread.run_sync(discover, domain), handlers[handler])


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]))
