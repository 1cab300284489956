"""How long to wait before the next try to connect."""

from __future__ import annotations

import random
from typing import Final

__all__ = ["Backoff"]

_FIRST_DELAY: Final = 1.0
# Whatever is asked for, a second try in a row must not become one of a busy loop.
_LEAST: Final = 0.1
# A connection that lived this long has proved itself. One that the server accepts and drops has not: it
# must not start a storm of quick first tries.
_PROVEN_AFTER: Final = 60.0


class Backoff:
    """Full jitter: each delay is drawn between zero and a bound that doubles with every try in a row.

    The first is short, so that a single drop costs little; jitter keeps thousands of clients, dropped
    together, from coming back together. `first` and `longest` are seconds; a `first` of 0 is at once, and
    the delays after it grow from the usual.

    With `fixed`, each delay is `first`, less up to a tenth of it.
    """

    def __init__(
        self,
        first: float | None,
        longest: float | None,
        rng: random.Random | None = None,
        *,
        fixed: bool = False,
    ) -> None:
        if first is None:
            first = _FIRST_DELAY if longest is None else min(_FIRST_DELAY, longest)
        self._first = first
        self._longest = longest
        self._fixed = fixed
        self._uniform = random.uniform if rng is None else rng.uniform
        self._tries = 0  # since a connection last proved itself

    def next(self, server_longest: float) -> float:
        """The delay before the next try; the server's bound holds unless the user has set one."""
        if self._fixed:
            return self._uniform(0.9, 1.0) * max(self._first, _LEAST)
        longest = max(server_longest if self._longest is None else self._longest, self._first)
        tries, self._tries = self._tries, self._tries + 1
        bound = min((self._first or _FIRST_DELAY) * 2.0 ** min(tries, 30), longest) if tries else self._first
        return self._uniform(0.0, max(bound, _LEAST) if tries else bound)

    def ended(self, lived: float) -> None:
        """A connection ended after `lived` seconds: if that was long enough, start from the beginning."""
        if lived >= _PROVEN_AFTER:
            self._tries = 0
