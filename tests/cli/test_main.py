from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import trio

from feishu_trio import ConfigError, ForbiddenError
from feishu_trio.cli._endings import ending
from feishu_trio.cli._text import printable

from .commands import run


async def test_the_version_by_both_names() -> None:
    for command in (
        [str(Path(sys.executable).parent / "feishu-trio")],
        [sys.executable, "-m", "feishu_trio"],
    ):
        done = await run("--version", command=command)
        assert (done.code, done.out, done.err) == (0, f"feishu-trio {version('feishu-trio')}\n", "")


@pytest.mark.parametrize(
    ("module", "args", "extra"),
    [("typer", ["--version"], "cli"), ("rich.console", ["demo"], "cli")],
)
async def test_an_extra_that_is_missing_is_named(module: str, args: list[str], extra: str) -> None:
    code = f"import sys; sys.modules[{module!r}] = None; from feishu_trio.cli import main; main()"
    done = await run(*args, command=[sys.executable, "-c", code])
    assert done.code == 2
    assert done.err.splitlines()[-1] == (
        f"feishu-trio: {module} is not installed; say: pip install 'feishu-trio[{extra}]'"
    )
    assert "Traceback" not in done.err


async def test_an_unwritable_stdout_is_reported() -> None:
    command = ["sh", "-c", 'exec "$0" -m feishu_trio demo >/dev/full', sys.executable]
    done = await run(command=command)
    assert (done.code, done.err) == (1, "feishu-trio: [Errno 28] No space left on device\n")
    done = await run(
        command=[command[0], command[1], command[2].replace(">/dev/full", ">&-"), sys.executable]
    )
    assert (done.code, done.err) == (1, "feishu-trio: stdout is closed\n")


def test_an_error_is_found_in_the_groups_that_nurseries_make() -> None:
    group = BaseExceptionGroup("", [BaseExceptionGroup("", [trio.Cancelled._create(), ForbiddenError("no")])])
    end = ending(group)
    assert end is not None
    assert (end.code, end.message) == (3, "no")


@pytest.mark.parametrize("error", [RuntimeError("a bug"), ModuleNotFoundError(name="numpy"), KeyError("x")])
def test_a_bug_keeps_its_traceback(error: Exception) -> None:
    assert ending(error) is None


def test_a_config_error_from_a_handler_module_is_a_usage_error() -> None:
    end = ending(ConfigError("name='x': another handler has this name already"))
    assert end is not None
    assert end.code == 2


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("你好\u3000👨‍👩‍👧 ok", "你好\u3000👨‍👩‍👧 ok"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("a\r\nb\tc", r"a\r\nb\tc"),
        ("\u202eevil\ud800", r"\u202eevil\ud800"),
    ],
)
def test_untrusted_text_cannot_control_the_terminal(text: str, shown: str) -> None:
    assert printable(text) == shown
