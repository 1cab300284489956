from __future__ import annotations

import logging

import pytest

from feishu_trio.telemetry.limits import LogLimit, one_line

logger = logging.getLogger("feishu_trio.test")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_ten_lines_of_a_kind_a_minute_and_the_next_says_how_many_were_kept_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    limit = LogLimit(clock)
    for number in range(25):
        limit.log(logger, logging.WARNING, "bad frame %d", number)
        limit.log(logger, logging.WARNING, "refused %d", number, about=number)
    clock.now = 59.9
    limit.log(logger, logging.WARNING, "bad frame %d", 25)
    clock.now = 60.0
    limit.log(logger, logging.WARNING, "bad frame %d", 26)
    limit.log(logger, logging.WARNING, "bad frame %d", 27)
    lines = [record.getMessage() for record in caplog.records]
    bad = [line for line in lines if line.startswith("bad")]
    assert bad == [
        *[f"bad frame {number}" for number in range(10)],
        "bad frame 26 (16 more lines like this were kept back)",
        "bad frame 27",
    ]
    assert len(lines) - len(bad) == 25, "what differs in `about` has a limit each"


def test_in_the_end_what_was_kept_back_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    limit = LogLimit(Clock())
    for number in range(25):
        limit.log(logger, logging.ERROR, "bad frame %d", number)
    limit.end()
    limit.end()
    last = caplog.records[-1]
    assert len(caplog.records) == 11
    assert (last.levelno, last.getMessage()) == (
        logging.ERROR,
        "15 more lines like 'bad frame %d' were kept back",
    )


def test_what_is_remembered_of_kinds_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    limit = LogLimit(Clock())
    for number in range(5000):
        limit.log(logger, logging.DEBUG, "x", about=number)
        limit.first("type", number)
    assert len(limit._seen) == 256
    assert len(limit._kinds) == 257


def test_the_first_time_and_no_other() -> None:
    limit = LogLimit(Clock())
    assert [limit.first("type", "a"), limit.first("type", "a"), limit.first("pool", "a")] == [
        True,
        False,
        True,
    ]


@pytest.mark.parametrize("text", ["a\nb", "\x1b[31mred", "x" * 1000, "\u202egnp.exe"])
def test_a_text_off_the_wire_is_one_short_line_without_control_characters(text: str) -> None:
    shown = one_line(text)
    assert shown.isprintable()
    assert len(shown) < 420
    assert one_line("om_1 张") == "om_1 张"
