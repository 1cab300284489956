"""The log as lines: JSON that nothing breaks, text, and the set-up for programs that have none."""

from __future__ import annotations

import json
import logging
import logging.config
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feishu_trio import ConfigError
from feishu_trio.logs import JsonFormatter, TextFormatter, hidden, set_up


def record(message: object = "hello", *arguments: object, **attributes: Any) -> logging.LogRecord:
    made = logging.LogRecord("bot", logging.WARNING, __file__, 1, message, arguments, None)
    vars(made).update(attributes)
    return made


def line(made: logging.LogRecord) -> dict[str, Any]:
    text = JsonFormatter().format(made)
    assert text.isascii()
    assert text.isprintable(), "one line"
    parsed = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert isinstance(parsed, dict)
    return parsed


def failed(error: BaseException) -> logging.LogRecord:
    try:
        raise error
    except type(error):
        made = record("failed")
        made.exc_info = sys.exc_info()
        return made


def test_a_record_is_one_object() -> None:
    made = record("event %s", "e1", feishu_event_id="e1", feishu_handler="echo", attempt=3, created=1.25)
    assert line(made) == {
        "time": "1970-01-01T00:00:01.250Z",
        "level": "WARNING",
        "logger": "bot",
        "message": "event e1",
        "process": made.process,
        "feishu_event_id": "e1",
        "feishu_handler": "echo",
        "attempt": 3,
    }
    assert datetime.fromisoformat(line(record())["time"]).tzinfo is not None


def test_an_exception_has_its_type_message_and_stack() -> None:
    error = line(failed(KeyError("no\nsuch")))["exception"]
    assert (error["type"], error["message"]) == ("KeyError", "'no\\nsuch'")
    assert error["stack"].startswith("Traceback (most recent call last):\n")
    assert "in failed\n" in error["stack"]
    assert line(failed(ConfigError("no")))["exception"]["type"] == "feishu_trio.errors.ConfigError"


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.lists(st.text())
)


@given(st.text(), st.dictionaries(st.text(), VALUES), st.lists(VALUES, max_size=3))
def test_nothing_breaks_a_line(text: str, attributes: dict[str, Any], arguments: list[Any]) -> None:
    standard = vars(record())
    made = record(
        text, *arguments, **{name: value for name, value in attributes.items() if name not in standard}
    )
    told = line(made)
    assert (told["level"], told["logger"]) == ("WARNING", "bot"), "no attribute takes the place of these"
    assert "\x1b" not in TextFormatter().format(made)


class Wild:
    def __str__(self) -> str:
        raise ValueError


def test_nothing_grows_without_bound() -> None:
    wild = {f"x{number}" * 100: "y" * 100_000 for number in range(100)}
    text = JsonFormatter().format(record("z" * 10_000_000, **wild, number=10**5000, wild=Wild()))
    assert len(text) < 64 << 10
    text = JsonFormatter().format(failed(ExceptionGroup("many", [ValueError("long " * 10_000)] * 1000)))
    assert len(text) < 64 << 10
    assert line(record(number=10**5000, wild=Wild()))["wild"] == "<Wild>"


def test_both_ends_of_what_is_cut_are_there() -> None:
    message = line(record("begin" + "x" * 100_000 + "end"))["message"]
    assert message.startswith("beginx")
    assert message.endswith("xend")
    assert len(message) == 8 << 10


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()])
def test_secrets_are_not_shown(formatter: logging.Formatter) -> None:
    made = failed(RuntimeError("app_secret=abc123 s3cret-of-mine"))
    made.msg, made.args = "with ticket=%s and %s", ("t0ken", "s3cret-of-mine")
    made.extra_one = "s3cret-of-mine"
    with hidden("s3cret-of-mine"), hidden("s3cret-of-mine"):
        text = formatter.format(made)
    assert "t0ken" not in text
    assert "abc123" not in text
    assert "s3cret-of-mine" not in text
    assert "ticket=***" in text
    assert "s3cret-of-mine" in formatter.format(made), "no session is open that has it"


def test_arguments_that_do_not_fit_lose_no_line() -> None:
    assert line(record("%d events", "many"))["message"] == "%d events (its arguments do not fit: ('many',))"


def test_text_is_lines_without_control_characters() -> None:
    made = record("a\x1b[31mb\u202ec")
    made.created = 0.0
    assert TextFormatter().format(made) == "1970-01-01 00:00:00 WARNING bot: a\\x1b[31mb\\u202ec"
    assert TextFormatter().format(failed(KeyError("x"))).endswith("KeyError: 'x'")


@contextmanager
def bare() -> Iterator[logging.Logger]:
    """The root logger of a program that has set up nothing."""
    root, names = logging.getLogger(), ("feishu_trio", "feishu_trio.connection")
    handlers, levels = root.handlers[:], {name: logging.getLogger(name).level for name in names}
    root.handlers = []
    for name in names:
        logging.getLogger(name).setLevel(logging.NOTSET)
    try:
        yield root
    finally:
        root.handlers = handlers
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def test_a_program_that_has_set_up_nothing_gets_a_log() -> None:
    with bare() as root:
        set_up(None)
        assert root.handlers == []
        set_up("json")
        (handler,) = root.handlers
        assert isinstance(handler.formatter, JsonFormatter)
        assert logging.getLogger("feishu_trio.connection").isEnabledFor(logging.INFO)
        assert not logging.getLogger("feishu_trio.delivery").isEnabledFor(logging.INFO)
        set_up("text")
        assert root.handlers == [handler], "it has one"


def test_the_levels_of_a_program_are_its_own() -> None:
    with bare():
        logging.getLogger("feishu_trio").setLevel(logging.DEBUG)
        set_up("text")
        assert logging.getLogger("feishu_trio").level == logging.DEBUG
        assert logging.getLogger("feishu_trio.connection").level == logging.NOTSET


def test_a_format_that_is_none() -> None:
    with pytest.raises(ConfigError, match=r"log_format.*'xml'"):
        set_up("xml")  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["()", "class"])
def test_it_is_named_in_logging_config(key: str) -> None:
    with bare() as root:
        logging.config.dictConfig(
            {
                "version": 1,
                "disable_existing_loggers": False,
                "formatters": {"json": {key: "feishu_trio.logs.JsonFormatter"}},
                "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
                "root": {"handlers": ["stderr"]},
            }
        )
        assert isinstance(root.handlers[0].formatter, JsonFormatter)
