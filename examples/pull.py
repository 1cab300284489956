"""Events pulled by a loop: each is answered when the loop comes back for the next.

Set FEISHU_APP_ID and FEISHU_APP_SECRET, then: python examples/pull.py 'im.*'
"""

import sys

import trio

from feishu_trio import SessionConfig, open_feishu_session


async def main(pattern: str) -> None:
    async with (
        open_feishu_session(config=SessionConfig.from_env()) as session,
        session.events(pattern) as events,
    ):
        async for event in events:
            # An exception in here gives the event back to Feishu, which delivers it again; so does event.nack().
            print(event.type, event.id, event.markdown, flush=True)


if __name__ == "__main__":
    trio.run(main, sys.argv[1] if len(sys.argv) > 1 else "*")
