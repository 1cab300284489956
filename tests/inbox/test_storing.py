"""What is stored of an event."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from feishu_trio.inbox.storing import lane_of

KEYS = {
    "frozenset('abcdefgh')": '["a","b","c","d","e","f","g","h"]',
    "('oc_1', frozenset([10, 9, 'x', None]))": '["oc_1",["x",10,9,null]]',
    "frozenset([frozenset('ab'), frozenset('c'), (2, frozenset('de'))])": '[["a","b"],["c"],[2,["d","e"]]]',
}


@pytest.mark.parametrize(
    ("key", "text"), [("oc_1", "oc_1"), (7, "7"), (("oc_1", 7, None), '["oc_1",7,null]'), ((), "[]")]
)
def test_keys_as_text(key: object, text: str) -> None:
    assert lane_of(key) == text


def test_a_set_is_the_same_key_in_each_process() -> None:
    program = "from feishu_trio.inbox.storing import lane_of\n" + "".join(
        f"print(lane_of({key}))\n" for key in KEYS
    )
    for seed in "12345":
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.splitlines() == list(KEYS.values())
