"""What becomes of the bots when things go wrong, for the two libraries that the local gateway can serve.

`python -m benchmarks.bots.trials` prints a table, in two or three minutes; with the names of trials, of these alone. All in real time, each bot a process of its own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import attrs
import trio

from feishu_trio.testing import Gateway, User, UserMessage, open_gateway

LIBRARIES: Final = ("ours", "lark_channel_sdk")
ROOT: Final = Path(__file__).parents[2]
# Quick pings and reconnects, so that the trials are short.
CONFIG: Final = {"ReconnectCount": -1, "ReconnectInterval": 1, "ReconnectNonce": 0, "PingInterval": 1}
QUESTION: Final = " ".join(f"word{number}" for number in range(1, 17))
ANSWER: Final = f"You asked: {QUESTION}"


@attrs.define
class Trial:
    """A bot, and the gateway that it speaks to."""

    library: str
    bot: str
    gateway: Gateway
    folder: str
    process: trio.Process | None = None

    @property
    def tom(self) -> User:
        return self.gateway.user("Tom")

    async def start(self) -> None:
        """Start the bot, and wait until it reads."""
        env = {
            **os.environ,
            "FEISHU_APP_ID": self.gateway.app_id,
            "FEISHU_APP_SECRET": self.gateway.app_secret,
            "FEISHU_DOMAIN": self.gateway.domain,
            "SERVER": self.gateway.domain,
            "NO_PROXY": "127.0.0.1",
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]),
        }
        command = [sys.executable, "-m", "benchmarks.bots.local", self.library, self.bot]
        pings = len(self.gateway.pings)
        with (Path(self.folder) / "log").open("ab") as log:
            self.process = await trio.lowlevel.open_process(
                command, env=env, cwd=self.folder, stdout=log, stderr=log
            )
        with trio.fail_after(30):
            await self.gateway.wait_ping(pings + 1)

    async def kill(self) -> None:
        """End the bot as a crash does."""
        if self.process is not None:
            self.process.kill()
            with trio.move_on_after(5, shield=True):
                await self.process.wait()

    async def again(self, message: UserMessage) -> None:
        """Deliver an event a second time, as Feishu does when it does not get the answer to the first."""
        push = message.push
        await self.gateway.push(push.event_type, event_id=push.event_id, payload=push.payload)

    async def sees(self, what: str | Callable[[str], bool], within: float) -> bool:
        """Whether a text comes to stand in Tom's chat in so many seconds, or the chat to satisfy a function."""
        try:
            await self.tom.waits_for(what, timeout=within)
        except TimeoutError:
            return False
        return True

    def replies(self) -> int:
        return len(self.gateway.messages)


@asynccontextmanager
async def trial(library: str, bot: str, **gateway: Any) -> AsyncGenerator[Trial, None]:
    """A bot that runs, and is killed at the end; its gateway redelivers within seconds, where Feishu takes hours."""
    with TemporaryDirectory() as folder:
        settings = {"client_config": CONFIG, "ladder": (2.0, 2.0, 2.0), **gateway}
        async with open_gateway(**settings) as opened:
            made = Trial(library, bot, opened, folder)
            try:
                await made.start()
                yield made
            finally:
                await made.kill()


def times(count: int) -> str:
    return (
        ("not answered", "answered once", "answered twice")[count] if count < 3 else f"answered {count} times"
    )


# Redelivery


async def slow(library: str) -> str:
    """An answer takes longer than the 3 seconds that Feishu waits"""
    async with trial(library, "answer") as bot:
        said = await bot.tom.says(QUESTION)
        await bot.sees(ANSWER, 10)
        await trio.sleep(6)
        return f"{times(bot.replies())}; delivered {len(said.push.deliveries)}×"


async def delivered_twice(library: str) -> str:
    """The event comes a second time, as Feishu did not get the answer to the first"""
    async with trial(library, "echo") as bot:
        said = await bot.tom.says("hello")
        await bot.sees("You said", 5)
        await bot.again(said)
        await trio.sleep(3)
        return times(bot.replies())


async def delivered_twice_over_a_restart(library: str) -> str:
    """The same, and the bot was started anew in between"""
    async with trial(library, "echo") as bot:
        said = await bot.tom.says("hello")
        await bot.sees("You said", 5)
        await bot.kill()
        await bot.start()
        await bot.again(said)
        await trio.sleep(3)
        return times(bot.replies())


# Crashes: SIGKILL, and a new start


async def killed_before_it_replied(library: str) -> str:
    """Echo: killed in the middle of its reply"""
    async with trial(library, "echo") as bot:
        bot.gateway.hang_calls("*/reply", times=1)
        await bot.tom.says("hello")
        await trio.sleep(2)
        await bot.kill()
        await bot.start()
        await bot.sees("You said", 10)
        return times(bot.replies())


async def killed_in_the_middle(library: str) -> str:
    """Answer: killed while the card grows"""
    async with trial(library, "answer") as bot:
        await bot.tom.says(QUESTION)
        await bot.sees("You asked: word1 word2 word3", 10)
        await bot.kill()
        await bot.start()
        is_whole = await bot.sees(ANSWER, 15)
        await trio.sleep(1)
        is_open = "(streaming)" in bot.tom.sees()
        cards = f"{bot.replies()} card{'s' * (bot.replies() > 1)}"
        return f"{cards}, {'whole' if is_whole else 'cut off'}{', left streaming' * is_open}"


async def killed_while_it_asks(library: str) -> str:
    """Approve: killed while it waits for the click, which comes after the new start"""
    async with trial(library, "approve") as bot:
        await bot.tom.says("deploy")
        await bot.sees("[Yes]", 10)
        await bot.kill()
        await bot.start()
        await trio.sleep(1)
        await bot.tom.clicks("Yes")
        does = await bot.sees("Deploying", 5)
        return "acts on the click" if does else "the click is lost"


async def killed_while_it_gathers(library: str) -> str:
    """Gather: killed before it has answered"""
    async with trial(library, "gather") as bot:
        for text in ("one", "two", "three"):
            await bot.tom.says(text)
            await trio.sleep(0.1)
        await bot.kill()
        await bot.start()
        await bot.sees("You said", 8)
        await trio.sleep(2)
        return times(bot.replies())


# Refused calls


def refused(code: int, **how: Any) -> Callable[[str], Awaitable[str]]:
    async def run(library: str) -> str:
        async with trial(library, "echo") as bot:
            bot.gateway.refuse_calls("*/reply", code, times=1, **how)
            await bot.tom.says("hello")
            await bot.sees("You said", 15)
            return times(bot.replies()) + (
                ", not as a reply" if any(each.kind != "reply" for each in bot.gateway.messages) else ""
            )

    run.__name__ = f"refused_{code}"
    run.__doc__ = f"A reply is refused once: HTTP {how.get('status', 429)}, code {code}"
    return run


async def long_text(library: str) -> str:
    """A reply of 40,000 characters, where Feishu takes 5 messages a second for a chat"""
    async with trial(library, "echo", send_limits=True) as bot:
        await bot.tom.says("all of it\n" * 4000 + "end")
        is_whole = await bot.sees(lambda seen: seen.count("end") == 2, 10)
        return f"{'whole' if is_whole else 'cut off'}, in {bot.replies()} messages"


async def refused_update(library: str) -> str:
    """Answer: the last text of the card is refused once (99991400)"""
    async with trial(library, "answer") as bot:
        await bot.tom.says(QUESTION)
        await bot.sees(ANSWER.removesuffix(" word16"), 10)
        bot.gateway.refuse_calls("PUT *content", reset=1, times=1)
        is_whole = await bot.sees(ANSWER, 5)
        return "whole" if is_whole else "cut off"


async def ten_at_once(library: str) -> str:
    """Ten messages of one person within a second, where Feishu takes 5 a second for a chat"""
    async with trial(library, "echo", send_limits=True) as bot:
        for number in range(10):
            await bot.tom.says(f"number {number}")
        await trio.sleep(8)
        said = bot.tom.sees().split("number 9", 1)[1]
        answered = sum(f"number {number}" in said for number in range(10))
        return f"{answered} answered, in {bot.replies()} messages; {len(bot.gateway.refused)} refused"


TRIALS: Final = (
    slow,
    delivered_twice,
    delivered_twice_over_a_restart,
    killed_before_it_replied,
    killed_in_the_middle,
    killed_while_it_asks,
    killed_while_it_gathers,
    refused(99991400, status=429, reset=2),
    refused(99991400, status=400, reset=2),
    refused(230020, status=400),
    refused(1, status=502),
    ten_at_once,
    long_text,
    refused_update,
)


async def main() -> None:
    print("| | " + " | ".join(LIBRARIES) + " |")
    print("| --- |" + " --- |" * len(LIBRARIES))
    for run in TRIALS:
        if sys.argv[1:] and run.__name__ not in sys.argv[1:]:
            continue
        outcomes = [await run(library) for library in LIBRARIES]
        print(f"| {run.__doc__} | " + " | ".join(outcomes) + " |", flush=True)


if __name__ == "__main__":
    trio.run(main)
