"""Log records as lines: JSON for a collector of logs, or text; and the set-up for a program that has none.

```python
import logging.config

logging.config.dictConfig({
    "version": 1,
    "formatters": {"json": {"()": "feishu_trio.logs.JsonFormatter"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
})
```
"""

from __future__ import annotations

import json
import logging
import math
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias

from .config import wrong
from .config.secrets import masked

__all__ = [
    "JsonFormatter",
    "LogFormat",
    "TextFormatter",
    "described",
    "hidden",
    "set_levels",
    "set_up",
    "told",
]

LogFormat: TypeAlias = Literal["text", "json"]

_MESSAGE: Final = 8 << 10  # characters
_STACK: Final = 16 << 10
_EXTRA: Final = 1 << 10
_NAME: Final = 64
_EXTRAS: Final = 32
_LOOKED_AT: Final = 4  # so many times as many characters are searched for secrets before a text is cut
_GROUP: Final = 8  # exceptions of a group that are shown, and groups within groups
_LARGEST: Final = 2**63
# What moves the cursor, colours, hides or reverses text; a line's end and a tab do not.
_CONTROL: Final = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]"
_OWN: Final = frozenset(
    (*vars(logging.makeLogRecord({})), "message", "asctime", "time", "level", "logger", "exception", "stack")
)

_hidden: list[tuple[str, ...]] = []  # of each session that is open


@contextmanager
def hidden(*secrets: str) -> Iterator[None]:
    """Within, these secrets are not in what the formatters here write."""
    _hidden.append(secrets)
    try:
        yield
    finally:
        _hidden.remove(secrets)


class JsonFormatter(logging.Formatter):
    """A record as one line with one JSON object, in ASCII.

    `time` (RFC 3339, UTC, milliseconds), `level`, `logger`, `message`, `process` (its number); every attribute that
    `extra` gave the record, under its own name; `exception`, an object of `type`, `message` and `stack`; `stack` for
    `stack_info`. All of it is bounded, and without the secrets of open sessions and the values of what is named like one.
    Arguments are taken as `logging.Formatter` does, for `logging.config`, and ignored.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, object] = {
            "time": at.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": _shown(_message_of(record), _MESSAGE),
            "process": record.process,
        }
        extras = (name for name in vars(record) if name not in _OWN)
        for name, _ in zip(extras, range(_EXTRAS), strict=False):
            line[name[:_NAME]] = _value(getattr(record, name))
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            line["exception"] = dict(zip(("type", "message", "stack"), described(error), strict=True))
        if record.stack_info:
            line["stack"] = _shown(record.stack_info, _STACK)
        return json.dumps(line)


class TextFormatter(logging.Formatter):
    """A record as text: time (UTC), level, logger and message, and on further lines an exception's stack.

    Without the secrets of open sessions and the values of what is named like one, and without control characters.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The text, without the end of its last line."""
        at = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%d %H:%M:%S")
        text = f"{at} {record.levelname} {record.name}: {told(record)}"
        return re.sub(_CONTROL, lambda found: repr(found[0])[1:-1], text)


def described(error: BaseException) -> tuple[str, str, str]:
    """An exception's type, message and stack, bounded, and without secrets."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return name, _shown(_text_of(error), _MESSAGE), _shown(_stack_of(error), _STACK)


def told(record: logging.LogRecord) -> str:
    """A record's message, and on further lines an exception's stack, bounded, and without secrets."""
    lines = [_shown(_message_of(record), _MESSAGE)]
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        lines.append(_shown(_stack_of(error).rstrip(), _STACK))
    if record.stack_info:
        lines.append(_shown(record.stack_info, _STACK))
    return "\n".join(lines)


def set_up(log_format: LogFormat | None) -> None:
    """Log to stderr, for a program that has not said otherwise: unless the root, or this package, has a handler.

    Raises:
        ConfigError: The format is none of these.
    """
    if log_format not in ("text", "json", None):
        raise wrong("log_format", log_format, "'text', 'json', or None to leave logging alone")
    root, package = logging.getLogger(), logging.getLogger("feishu_trio")
    if log_format is None or root.handlers or package.handlers:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root.addHandler(handler)
    if package.level == logging.NOTSET:
        set_levels()


def set_levels(verbose: int = 0) -> None:
    """Let pass what connections, sessions and workers do, and warnings; with `verbose` 1 also information, with 2 everything."""
    package = logging.getLogger("feishu_trio")
    if verbose:
        package.setLevel(logging.INFO if verbose == 1 else logging.DEBUG)
    else:
        package.setLevel(logging.WARNING)
        for name in ("connection", "probes", "session", "worker"):
            package.getChild(name).setLevel(logging.INFO)


def _shown(text: str, most: int) -> str:
    """A text without secrets, of so many characters at the most: its beginning, and more of its end."""
    looked_at = most * _LOOKED_AT
    if len(text) > looked_at:
        text = _cut(text, looked_at)
    return _cut(masked(text, *(secret for secrets in _hidden for secret in secrets)), most)


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    head = most // 4
    return f"{text[:head]} … {text[head - most + 3 :]}"


def _value(value: Any) -> object:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and type(value) is int and -_LARGEST <= value < _LARGEST:
        return value
    if type(value) is float and math.isfinite(value):
        return value
    return _shown(_text_of(value), _EXTRA)


def _text_of(value: object) -> str:
    try:
        return str(value)
    except Exception:  # a user's own class, or a number with very many digits
        return f"<{type(value).__name__}>"


def _message_of(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # arguments that do not fit its format
        return f"{_text_of(record.msg)} (its arguments do not fit: {_text_of(record.args)})"


def _stack_of(error: BaseException) -> str:
    told = traceback.TracebackException(
        type(error),
        error,
        error.__traceback__,
        compact=True,
        max_group_width=_GROUP,
        max_group_depth=_GROUP,
    )
    return "".join(told.format())
