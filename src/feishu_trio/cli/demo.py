"""`feishu-trio demo`: a local gateway and an echo bot in one process, and a short play between them.

It is a smoke test as well: it fails if anything is not answered as it should be.
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

from ._endings import Failed, Interrupted
from ._interrupt import interruptible
from ._log import Verbose, log_to_stderr
from ._people import Person
from ._stage import Stage, seconds, told

if TYPE_CHECKING:
    from feishu_trio.events.card import ActionTriggered
    from feishu_trio.events.im import MessageReceived
    from feishu_trio.testing import Gateway, Push

__all__ = ["demo"]

_XIAOMING: Final = Person("小明", "7e3d1a9c5b")
_MEIMEI: Final = Person("韩梅梅", "2b94f0c6d8")
_ALICE: Final = Person("Alice", "a51c08e37f")
_BEN: Final = Person("Ben", "d9620b7ce4")

_TOAST: Final = Toast("已批准 · Approved", "success")
_REPORT: Final = "Q3 in a word: splendid. 一切顺利。"

# Feishu gives a bot 3 s, and tries again after 15 s, 5 min, 1 h and 6 h. Nobody would watch that long.
_ANSWER_TIMEOUT: Final = 1.0
_LADDER: Final = (0.5, 1.0, 1.0, 1.0)
_SLOW: Final = 2.0
_PACE: Final = 0.7
_INTRODUCTION: Final = (
    "A bot, and a gateway that stands in for Feishu: one process, no network. To be short, "
    f"the gateway waits {_ANSWER_TIMEOUT:g} s for an answer, and {_LADDER[0]:g} s to deliver again; "
    "Feishu waits 3 s and 15 s."
)
# A play that is not over by then never will be.
_DEADLINE: Final = 14.0


def demo(verbose: Verbose = 0) -> None:
    """A gateway and an echo bot in one process: no account, no network, some eight seconds."""
    log_to_stderr(verbose, quiet=True)
    trio.run(_demo)


async def _demo() -> None:
    async with interruptible() as scope:
        with trio.move_on_after(_DEADLINE) as in_time:
            began = trio.current_time()
            stage = Stage(lambda: f"{trio.current_time() - began:.2f} s")
            stage.introduce(_INTRODUCTION)
            await _perform(stage)
        if in_time.cancelled_caught:
            raise Failed(f"an answer or an echo did not come: the demo was not over after {_DEADLINE:g} s")
    if scope.cancelled_caught:
        raise Interrupted


async def _perform(stage: Stage) -> None:
    router = Router()
    runs: Counter[str] = Counter()

    @router.on("im.message.receive_v1")
    async def echo(event: Event[MessageReceived]) -> None:
        runs[event.id] += 1
        text = event.text or ""
        if text.startswith("/report"):
            await trio.sleep(_SLOW)
            text = _REPORT
        message = event.data.message
        assert message is not None
        assert message.message_id is not None
        await session.api.reply(message.message_id, text)

    @router.on("card.action.trigger")
    async def approve(event: Event[ActionTriggered]) -> CardAnswer:
        runs[event.id] += 1
        return CardAnswer(toast=_TOAST)

    async with testing.open_gateway(answer_timeout=_ANSWER_TIMEOUT, ladder=_LADDER) as gateway:
        stage.line("gateway", f"stands in for Feishu at {gateway.domain}")
        async with open_feishu_session(
            gateway.app_id,
            gateway.app_secret,
            router=router,
            domain=gateway.domain,
            reconnect_delay=0.8,
            ack_deadline=_ANSWER_TIMEOUT,
        ) as session:
            stage.line("bot", "is connected")
            play = _Play(stage, gateway, session)
            await play.perform()
            play.sum_up()
            play.check(runs)


@attrs.define
class _Play:
    """The script, and what came of it."""

    stage: Stage
    gateway: Gateway
    session: Session
    pushes: list[Push] = attrs.field(factory=list)
    echoes: int = 0
    """Replies that came, and said what they should."""

    async def perform(self) -> None:
        """All scenes, in seven seconds or so. Raises `Failed` as soon as one goes wrong."""
        await self._greetings()
        await self._card()
        await self._slow_handler()
        await self._lost_connection()
        await self._says(_ALICE, "All well again?")

    async def _greetings(self) -> None:
        for person, text in ((_XIAOMING, "你好，机器人！"), (_ALICE, "Good morning, bot!")):
            await trio.sleep(_PACE)
            await self._says(person, text)

    async def _card(self) -> None:
        await trio.sleep(_PACE)
        self.stage.line(_MEIMEI.name, "clicks “批准 Approve” on a card")
        push = await self._push("card.action.trigger", _MEIMEI.clicks(decision="approve"))
        answer = await push.answer()
        expected = {"toast": {"content": _TOAST.content, "type": _TOAST.type}}
        if answer.data != expected:
            raise Failed(f"the card was answered with {answer.data!r}, not {expected!r}")
        self.stage.line("bot", f"shows the toast “{_TOAST.content}”", told(answer))

    async def _slow_handler(self) -> None:
        """While a slow handler makes the gateway deliver again, others are served, and it runs only once."""
        await trio.sleep(_PACE)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._asks_for_a_report)
            await trio.sleep(_PACE)
            await self._says(_MEIMEI, "Ben 的报告好慢，我先问一句？")

    async def _asks_for_a_report(self) -> None:
        said = self._new_message_id()
        text = "/report Q3"
        self.stage.line(_BEN.name, text, f"takes {seconds(_SLOW)}")
        push = await self._push("im.message.receive_v1", _BEN.says(text, said))
        await push.wait_deliveries(2)
        self.stage.line("gateway", f"no answer to Ben in {_ANSWER_TIMEOUT:g} s: delivers again")
        await self._hears(said, _REPORT)
        answers = await push.wait_answers(2)
        self.stage.line("bot", _REPORT, told(answers[0]))
        self.stage.line("", "the handler ran once, and both deliveries are answered")

    async def _lost_connection(self) -> None:
        """What is written while nobody is connected comes once somebody is."""
        await trio.sleep(_PACE)
        async with self.session.lifecycle() as happenings, trio.open_nursery() as nursery:
            self.stage.line("gateway", "drops the connection")
            await self.gateway.drop()
            nursery.start_soon(self._says, _XIAOMING, "有人吗？ Anybody there?")
            lost_at = trio.current_time()
            async for happening in happenings:
                self._tell(happening, lost_at)
                if isinstance(happening, Connected):
                    break
        await trio.sleep(_PACE)

    def _tell(self, happening: LifecycleEvent, lost_at: float) -> None:
        match happening:
            case Disconnected(reason=reason):
                self.stage.line("bot", f"lost the connection ({reason})")
            case ReconnectScheduled(delay=delay):
                self.stage.line("bot", f"tries again in {seconds(delay)}")
            case Connected(at=at):
                self.stage.line("bot", "is connected again", f"after {seconds(at - lost_at)}")

    async def _says(self, person: Person, text: str) -> None:
        """Somebody writes to the bot, which says the same."""
        said = self._new_message_id()
        push = await self._push("im.message.receive_v1", person.says(text, said))
        self.stage.line(person.name, text, "" if push.deliveries else "kept by the gateway")
        await self._hears(said, text)
        self.stage.line("bot", text, told(await push.answer()))

    async def _push(self, event_type: str, body: object) -> Push:
        push = await self.gateway.push(event_type, body)
        self.pushes.append(push)
        return push

    async def _hears(self, message_id: str, text: str) -> None:
        """Wait until the gateway has the bot's reply to a message, and see that it is the right one."""
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

    def sum_up(self) -> None:
        """Show what happened, in numbers."""
        stats, pushes = self.session.stats(), self.pushes
        slow = sum(len(push.deliveries) > 1 for push in pushes)
        rows = (
            ("events and callbacks", f"{len(pushes)}"),
            ("answered with 200", f"{sum(push.status == 200 for push in pushes)}"),
            ("replies from the bot", f"{len(self.gateway.messages)}"),
            ("delivered again", f"{slow}, and joined to the handler at work: {stats.duplicates}"),
            ("reconnects", f"{stats.reconnects}"),
            (
                "time to answer",
                f"p50 {seconds(stats.latency.p50)}, p99 {seconds(stats.latency.p99)} (Ben's report)",
            ),
            ("protocol violations", f"{len(self.gateway.violations)}"),
        )
        self.stage.summary("One process, one session", rows)

    def check(self, runs: Counter[str]) -> None:
        """Raise `Failed` unless everything went as it should."""
        stats, gateway = self.session.stats(), self.gateway
        said = [push for push in self.pushes if not push.is_callback]
        wrong = [
            *(f"{push.event_type} ended with {push.status}" for push in self.pushes if push.status != 200),
            *(
                f"a handler ran {runs[push.event_id]} times"
                for push in self.pushes
                if runs[push.event_id] != 1
            ),
            *gateway.violations,
        ]
        if not len(said) == self.echoes == len(gateway.messages):
            wrong.append(f"{len(gateway.messages)} replies to {len(said)} messages")
        if not stats.reconnects:
            wrong.append("no reconnect was counted")
        if not stats.duplicates:
            wrong.append("the redelivery did not join the handler at work")
        if wrong:
            raise Failed("; ".join(wrong))
