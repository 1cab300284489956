"""Commands on a terminal: a pseudo-terminal, and an emulator that shows what a person would see."""

from __future__ import annotations

import fcntl
import os
import struct
import termios
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager

import attrs
import pyte
import trio

from .commands import Copy, copy


@attrs.define
class Terminal:
    """A terminal with a command on it."""

    process: Copy
    screen: pyte.HistoryScreen
    _keys: trio.lowlevel.FdStream
    _modes: list[object]
    written: bytearray = attrs.field(factory=bytearray)
    """All that was written to it."""
    _news: trio.Condition = attrs.field(factory=trio.Condition)
    _over: trio.Event = attrs.field(factory=trio.Event)

    def sees(self) -> str:
        """What it shows, with what has scrolled away above, without spaces at the ends of lines."""
        above = [
            "".join(line[at].data for at in range(self.screen.columns)) for line in self.screen.history.top
        ]
        return "\n".join(line.rstrip() for line in [*above, *self.screen.display]).rstrip()

    def last(self) -> str:
        """The last line that is not empty."""
        return self.sees().splitlines()[-1] if self.sees() else ""

    async def waits_for(self, wanted: str | Callable[[str], bool]) -> str:
        """Wait until it shows this; what it shows then."""
        holds = wanted if callable(wanted) else lambda shown: wanted in shown
        with trio.move_on_after(10):
            async with self._news:
                while not holds(self.sees()):
                    await self._news.wait()
                return self.sees()
        raise AssertionError(f"{wanted} does not show on the terminal, but\n{self.sees()}")

    async def types(self, text: str) -> None:
        """Press keys."""
        await self._keys.send_all(text.encode())

    def resize(self, columns: int, lines: int) -> None:
        """Change its size, as a person does who drags its window's corner."""
        self.screen.resize(lines, columns)
        _set_size(self._keys.fileno(), columns, lines)

    async def ends(self) -> int:
        """Wait for the command's end; its exit code."""
        with trio.fail_after(15):
            await self._over.wait()
            return await self.process.wait()

    @property
    def is_as_before(self) -> bool:
        """Whether the cursor shows, and the terminal's modes are those from before the command."""
        left = b"\x1b[?1049h" in self.written or b"\x1b[?25l" in self.written
        return not left and not self.screen.cursor.hidden and _modes(self._keys.fileno()) == self._modes

    async def follow(self, output: trio.lowlevel.FdStream) -> None:
        """Show what is written to it."""
        stream = pyte.ByteStream(self.screen)
        try:
            async for data in output:
                async with self._news:
                    self.written += data
                    stream.feed(bytes(data))
                    self._news.notify_all()
        except trio.BrokenResourceError:  # so Linux tells that nothing has it open
            self._over.set()


@asynccontextmanager
async def on_terminal(
    *args: str, env: Mapping[str, str], columns: int = 80, lines: int = 24
) -> AsyncGenerator[Terminal, None]:
    """A command on a terminal of this size, killed when the block is left, if it has not ended by then."""
    ours, theirs = os.openpty()
    _set_size(ours, columns, lines)
    modes = _modes(ours)
    env = {name: value for name, value in env.items() if name not in ("COLUMNS", "LINES")}
    try:
        process = await copy(args, {"TERM": "xterm-256color"} | env, (theirs, theirs, theirs))
    finally:
        os.close(theirs)
    async with trio.lowlevel.FdStream(ours) as keys, trio.lowlevel.FdStream(os.dup(ours)) as output:
        terminal = Terminal(process, pyte.HistoryScreen(columns, lines, history=1000), keys, modes)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(terminal.follow, output)
            try:
                with trio.fail_after(30):
                    yield terminal
            finally:
                process.kill()
                with trio.CancelScope(shield=True):
                    await process.wait()
                nursery.cancel_scope.cancel()


async def shown(*args: str, env: Mapping[str, str], columns: int = 80, lines: int = 24) -> tuple[int, str]:
    """Run a command to its end on a terminal: its exit code, and what the terminal shows then."""
    async with on_terminal(*args, env=env, columns=columns, lines=lines) as terminal:
        return await terminal.ends(), terminal.sees()


def _set_size(file: int, columns: int, lines: int) -> None:
    fcntl.ioctl(file, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


def _modes(file: int) -> list[object]:
    return list(termios.tcgetattr(file))
