"""What becomes of requests, prepared in advance: other answers than the regular ones, or none."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Final

import attrs
import trio

from ._discovery import DISCOVERY_PATH, SOCKET_PATH
from ._http import Request, Response
from ._tokens import OAUTH_PATH, TOKEN_PATH

_NAMED_ALONE: Final = frozenset({DISCOVERY_PATH, SOCKET_PATH, TOKEN_PATH, OAUTH_PATH})


@attrs.define(eq=False)
class Prepared:
    """What becomes of the requests that fit a pattern."""

    pattern: str
    """A path, in which `*` stands for anything; a method and a space may stand before it.

    Discovery, the WebSocket and tokens are meant only where they are named as they are, without a `*`.
    """
    left: int | None
    """The requests that it is yet for; None: for ever."""
    response: Response | None = None
    """The answer; None: the regular one."""
    is_handled: bool = True
    """Whether the request is handled, where there is no other answer."""
    hangs: bool = False
    """Whether no answer is ever given."""
    is_cut: bool = False
    """Whether the connection ends in the middle of the answer."""

    def fits(self, request: Request) -> bool:
        """Whether it is for this request."""
        whole = f"{request.method} {request.path}" if " " in self.pattern else request.path
        if "*" in self.pattern and request.path in _NAMED_ALONE:
            return False
        return fnmatchcase(whole, self.pattern)

    async def answer(self, handle: Callable[[], Response]) -> Response:
        """The answer; never returns where there is to be none. `handle` gives the regular one."""
        response = self.response
        if response is None:
            response = handle() if self.is_handled else Response()
        if self.hangs:
            await trio.sleep_forever()
        return attrs.evolve(response, is_cut=self.is_cut)


@attrs.define(eq=False)
class PreparedResponses:
    """A queue; the first that fits a request is for it."""

    _queue: list[Prepared] = attrs.field(factory=list)

    def add(self, prepared: Prepared) -> None:
        """Add one, behind those that are there. ValueError for a pattern that fits no path, or fewer than one request."""
        if not prepared.pattern.rpartition(" ")[2].startswith(("/", "*")):
            raise ValueError(
                f"path is {prepared.pattern!r}, which fits no request: it is a whole one that begins with a slash, or a "
                "pattern such as '*/reply' or 'POST */messages'"
            )
        if prepared.left is not None and prepared.left < 1:
            raise ValueError(f"times is {prepared.left}; allowed is 1 or more, or None for always")
        self._queue.append(prepared)

    def clear(self) -> None:
        """Return to the regular responses."""
        self._queue.clear()

    def take(self, request: Request) -> Prepared | None:
        """The one for this request, of which one use is counted; None if there is none."""
        prepared = next((each for each in self._queue if each.fits(request)), None)
        if prepared is not None and prepared.left is not None:
            prepared.left -= 1
            if not prepared.left:
                self._queue.remove(prepared)
        return prepared
