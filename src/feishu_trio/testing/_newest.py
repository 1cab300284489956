"""What the gateway keeps of what clients and tests send: the newest, so that a long run does not fill the memory."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, TypeVar

KEPT: Final = 50_000
"""Of messages and of what goes with them: the newest."""

K = TypeVar("K")
V = TypeVar("V")


class Newest(OrderedDict[K, V]):
    """A dict that forgets the oldest of more than `KEPT` keys."""

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        while len(self) > KEPT:
            self.popitem(last=False)
