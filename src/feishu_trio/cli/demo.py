"""`feishu-trio demo`: a local gateway and an echo bot in one process, and a short scenario.

It is a smoke test as well: it fails if anything is not answered as expected.
"""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import attrs
import trio

from feishu_trio import (
    CardAnswer,
    Connected,
    Disconnected,
    Event,
    LifecycleEvent,
    ReconnectScheduled,
    Router,
    Session,
    Toast,
    open_feishu_session,
    testing,
)

from ._conversation import Conversation, answer_note, seconds
from ._endings import Failed
from ._interrupt import interruptible
from ._log import Verbose, log_to_stderr
from ._users import User

if TYPE_CHECKING:
    from feishu_trio.events.card import ActionTriggered
    from feishu_trio.events.im import MessageReceived
    from feishu_trio.testing import Gateway, Push

__all__ = ["demo"]

_XIAOMING: Final = User("小明", "7e3d1a9c5b")
_MEIMEI: Final = User("韩梅梅", "2b94f0c6d8")
_ALICE: Final = User("Alice", "a51c08e37f")
_BEN: Final = User("Ben", "d9620b7ce4")

_TOAST: Final = Toast("已批准 · Approved", "success")
_REPORT: Final = "Q3 in a word: splendid. 一切顺利。"

# Feishu gives a bot 3 s, and delivers again after 15 s, 5 min, 1 h and 6 h. A demo must be shorter.
_ANSWER_TIMEOUT: Final = 1.0
_LADDER: Final = (0.5, 1.0, 1.0, 1.0)
_SLOW: Final = 2.0
_PACE: Final = 0.7
_INTRODUCTION: Final = (
    "An echo bot, and a gateway that stands in for Feishu: one process, no account, no network. Watch a handler that is "
    "too slow for its answer run once, though its event comes twice, and a message that is written while there is no "
    "connection be answered. To be short, "
    f"the gateway waits {_ANSWER_TIMEOUT:g} s for an answer, and {_LADDER[0]:g} s to deliver again; "
    "Feishu waits 3 s and 15 s."
)
_NEXT: Final = """
A bot of your own is as short:

  from feishu_trio import Router, run

  router = Router()

  @router.on("im.message.receive_v1")
  async def echo(event):
      await event.reply(event.markdown)

  if __name__ == "__main__":
      run(router)

Without an account, start it beside

  feishu-trio gateway

which is a Feishu that you type in, and says how the bot finds it.
"""
# Seconds after which the scenario has failed.
_DEADLINE: Final = 14.0


def demo(verbose: Verbose = 0) -> None:
    """A gateway and an echo bot in one process: no account, no network, some eight seconds."""
    log_to_stderr(verbose, quiet=True)
    trio.run(_demo)


async def _demo() -> None:
    async with interruptible() as interruption:
        with trio.move_on_after(_DEADLINE) as in_time:
            began = trio.current_time()
            conversation = Conversation(lambda: f"{trio.current_time() - began:.2f} s")
            conversation.introduce(_INTRODUCTION)
            await _run(conversation)
        if in_time.cancelled_caught:
            raise Failed(f"an answer or an echo did not come: the demo was not over after {_DEADLINE:g} s")
    interruption.check()


async def _run(conversation: Conversation) -> None:
    router = Router()
    runs: Counter[str] = Counter()

    @router.on("im.message.receive_v1")
    async def echo(event: Event[MessageReceived]) -> None:
        runs[event.id] += 1
        text = event.text or ""
        if text.startswith("/report"):
            await trio.sleep(_SLOW)
            text = _REPORT
        await event.reply(text)

    @router.on("card.action.trigger")
    async def approve(event: Event[ActionTriggered]) -> CardAnswer:
        runs[event.id] += 1
        return CardAnswer(toast=_TOAST)

    async with testing.open_gateway(answer_timeout=_ANSWER_TIMEOUT, ladder=_LADDER) as gateway:
        conversation.line("gateway", f"stands in for Feishu at {gateway.domain}")
        async with open_feishu_session(
            gateway.app_id,
            gateway.app_secret,
            router=router,
            domain=gateway.domain,
            reconnect_delay=0.8,
            ack_deadline=_ANSWER_TIMEOUT,
        ) as session:
            conversation.line("bot", "is connected")
            scenario = _Scenario(conversation, gateway, session)
            await scenario.run()
            scenario.summarize()
            scenario.check(runs)
            conversation.introduce(_NEXT)


@attrs.define
class _Scenario:
    """The steps of the demo, and their results."""

    conversation: Conversation
    gateway: Gateway
    session: Session
    pushes: list[Push] = attrs.field(factory=list)
    echoes: int = 0
    """Replies with the expected text."""

    async def run(self) -> None:
        """Run all steps, in about seven seconds. Raises `Failed` at the first wrong result."""
        await self._greetings()
        await self._card()
        await self._slow_handler()
        await self._lost_connection()
        await self._send(_ALICE, "All well again?")

    async def _greetings(self) -> None:
        for user, text in ((_XIAOMING, "你好，机器人！"), (_ALICE, "Good morning, bot!")):
            await trio.sleep(_PACE)
            await self._send(user, text)

    async def _card(self) -> None:
        await trio.sleep(_PACE)
        self.conversation.line(_MEIMEI.name, "clicks “批准 Approve” on a card")
        push = await self._push("card.action.trigger", _MEIMEI.click(decision="approve"))
        answer = await push.settled()
        expected = {"toast": {"content": _TOAST.content, "type": _TOAST.type}}
        if answer.data != expected:
            raise Failed(f"the card was answered with {answer.data!r}, not {expected!r}")
        self.conversation.line("bot", f"shows the toast “{_TOAST.content}”", answer_note(answer))

    async def _slow_handler(self) -> None:
        """A slow handler runs only once, though the gateway delivers its event again, and other events are handled."""
        await trio.sleep(_PACE)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._ask_for_report)
            await trio.sleep(_PACE)
            await self._send(_MEIMEI, "Ben 的报告好慢，我先问一句？")

    async def _ask_for_report(self) -> None:
        message_id = self._new_message_id()
        text = "/report Q3"
        self.conversation.line(_BEN.name, text, f"takes {seconds(_SLOW)}")
        push = await self._push("im.message.receive_v1", _BEN.message(text, message_id))
        await push.wait_deliveries(2)
        self.conversation.line("gateway", f"no answer to Ben in {_ANSWER_TIMEOUT:g} s: delivers again")
        await self._check_reply(message_id, _REPORT)
        answers = await push.wait_answers(2)
        self.conversation.line("bot", _REPORT, answer_note(answers[0]))
        self.conversation.line("", "the handler ran once, and both deliveries are answered")

    async def _lost_connection(self) -> None:
        """A message sent while no bot is connected is delivered after the reconnect."""
        await trio.sleep(_PACE)
        async with self.session.lifecycle() as events, trio.open_nursery() as nursery:
            self.conversation.line("gateway", "drops the connection")
            await self.gateway.drop()
            nursery.start_soon(self._send, _XIAOMING, "有人吗？ Anybody there?")
            lost_at = trio.current_time()
            async for event in events:
                self._show(event, lost_at)
                if isinstance(event, Connected):
                    break
        await trio.sleep(_PACE)

    def _show(self, event: LifecycleEvent, lost_at: float) -> None:
        match event:
            case Disconnected(reason=reason):
                self.conversation.line("bot", f"lost the connection ({reason})")
            case ReconnectScheduled(delay=delay):
                self.conversation.line("bot", f"tries again in {seconds(delay)}")
            case Connected(at=at):
                self.conversation.line("bot", "is connected again", f"after {seconds(at - lost_at)}")

    async def _send(self, user: User, text: str) -> None:
        """Send a user's message to the bot, and wait for the echo."""
        message_id = self._new_message_id()
        push = await self._push("im.message.receive_v1", user.message(text, message_id))
        self.conversation.line(user.name, text, "" if push.deliveries else "kept by the gateway")
        await self._check_reply(message_id, text)
        self.conversation.line("bot", text, answer_note(await push.settled()))

    async def _push(self, event_type: str, body: object) -> Push:
        push = await self.gateway.push(event_type, body)
        self.pushes.append(push)
        return push

    async def _check_reply(self, message_id: str, text: str) -> None:
        """Wait for the bot's reply to a message, and check its text."""
        for n in itertools.count(1):
            message = await self.gateway.wait_message(n)
            if message.to == message_id:
                if message.content != {"text": text}:
                    raise Failed(f"the bot replied {message.content!r}, not {text!r}")
                self.echoes += 1
                return

    @staticmethod
    def _new_message_id() -> str:
        return f"om_{uuid4().hex}"

    def summarize(self) -> None:
        """Show the results, in numbers."""
        stats, pushes = self.session.stats(), self.pushes
        redelivered = sum(len(push.deliveries) > 1 for push in pushes)
        rows = (
            ("events and callbacks", f"{len(pushes)}"),
            ("answered with 200", f"{sum(push.status == 200 for push in pushes)}"),
            ("replies from the bot", f"{len(self.gateway.messages)}"),
            ("delivered again", f"{redelivered}, and joined to the handler at work: {stats.duplicates}"),
            ("reconnects", f"{stats.reconnects}"),
            (
                "time to answer",
                f"p50 {seconds(stats.latency.p50)}, p99 {seconds(stats.latency.p99)} (Ben's report)",
            ),
            ("protocol violations", f"{len(self.gateway.violations)}"),
        )
        self.conversation.summary("One process, one session", rows)

    def check(self, runs: Counter[str]) -> None:
        """Raise `Failed` unless every result is as expected."""
        stats, gateway = self.session.stats(), self.gateway
        messages = [push for push in self.pushes if not push.is_callback]
        wrong = [
            *(f"{push.event_type} ended with {push.status}" for push in self.pushes if push.status != 200),
            *(
                f"a handler ran {runs[push.event_id]} times"
                for push in self.pushes
                if runs[push.event_id] != 1
            ),
            *gateway.violations,
        ]
        if not len(messages) == self.echoes == len(gateway.messages):
            wrong.append(f"{len(gateway.messages)} replies to {len(messages)} messages")
        if not stats.reconnects:
            wrong.append("no reconnect was counted")
        if not stats.duplicates:
            wrong.append("the redelivery did not join the handler at work")
        if wrong:
            raise Failed("; ".join(wrong))
