"""Feishu's HTTP API as one app sees it. `session.api` is one."""

from __future__ import annotations

from ..events.content import Markdown
from ..events.port import BotInfo
from .cards import Cards
from .exchange import TooLarge, read_whole
from .files import Files
from .messages import Messages
from .tokens import assertion_for

__all__ = ["Api", "BotInfo", "Markdown", "TooLarge", "assertion_for", "read_whole"]


# Each base class is one topic, in a file of its own, over the client that they share. The topics are inherited, not
# delegated to, so that each signature and docstring is written once, and help(Api) and type checkers find it.
class Api(Messages, Files, Cards):
    """Feishu's HTTP API as one app sees it. `session.api` is one.

    `http` carries the requests and stays its owner's to close; `timeout` is for one call in seconds, with all that it
    takes. Every call may be cancelled at any time, and raises `ApiError` for whatever goes wrong between here and
    Feishu: `code` is Feishu's own, or else the HTTP status, or None where there was no answer at all. An answer may
    have 32 MiB; a larger one, or one that is compressed though that was not asked for, is an `ApiError`, too.

    Calls keep within Feishu's published rates: 50 messages a second and 1,000 a minute, 5 a second to a chat or a user,
    5 changes a second of a message's card, 10 operations a second on a card that streams. What would be too much waits
    for its turn. The rates are those of this object; what other processes of the app send, Feishu counts as well.
    """
