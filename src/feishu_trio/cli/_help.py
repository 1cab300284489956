"""How help is laid out, and which words a wrong use gets: the same for every command, at any width."""

from __future__ import annotations

import difflib
import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any, Final

from rich.console import Console
from rich.text import Text
from typer.core import TyperCommand, TyperGroup

from feishu_trio import ConfigError

__all__ = ["Command", "Group", "misuse"]

_MAX_WIDTH: Final = 100  # columns; longer lines are hard to read
_EXTRA: Final = re.compile(r"Got unexpected extra argument\S* \((.*)\)")  # in the words of click
_NARROW: Final = 64  # below, the text stands under what it is about


_MORE: Final = "'{} --help' has all options"


class Command(TyperCommand):
    """A command whose help is laid out here; what is wrong with an option is told with where to read more."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments."""
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            if getattr(error, "ctx", ctx) is None:  # an option without its value: it does not know whose
                error.ctx = ctx  # type: ignore[attr-defined]
            raise

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            if not str(error).startswith("--"):
                raise
            raise ConfigError(f"{error}; {_MORE.format(ctx.command_path)}") from error.__cause__

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Show the help, on stdout."""
        _show_help(self, ctx, {})


class Group(TyperGroup):
    """A group of commands whose help is laid out here; an unknown command is told with what there is."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Show the help, on stdout."""
        _show_help(self, ctx, {name: self.commands[name] for name in self.list_commands(ctx)})

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the arguments name."""
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            near = difflib.get_close_matches(args[0], self.commands, n=1)
            guess = f"did you mean {near[0]!r}? " if near else ""
            raise ConfigError(
                f"{args[0]!r}: there is no such command; {guess}there are {', '.join(self.commands)}; "
                f"'{ctx.command_path} --help' tells what they do"
            )
        return super().resolve_command(ctx, args)


def misuse(error: Any) -> str:
    """What is wrong with a use of a command, and where to read what is right; empty where the help was shown."""
    path = "feishu-trio" if error.ctx is None else error.ctx.command_path
    match type(error).__name__:
        case "NoArgsIsHelpError":  # making the error has shown the help
            return ""
        case "MissingParameter":
            wrong = f"{_name(error.param)} is missing;"
        case "BadParameter" if error.param is not None:
            wrong = f"{_name(error.param)}: {error.message};"
        case "NoSuchOption":
            near = difflib.get_close_matches(error.option_name, error.possibilities or (), n=1)
            guess = f" did you mean {near[0]}?" if near else ""
            wrong = f"{error.option_name}: there is no such option;{guess}"
        case "BadOptionUsage":
            wrong = f"{error.option_name} is given without its value;"
        case _:
            wrong = f"{error.format_message()};"
            if (extra := _EXTRA.fullmatch(error.format_message())) is not None:
                wrong = f"{extra[1]!r}: more than the command takes;"
    return f"{wrong} {_MORE.format(path)}"


def _name(param: Any) -> str:
    if param.param_type_name == "option":
        return str(max(param.opts, key=len))
    return str(param.metavar or param.name.upper()).strip("[].")


def _show_help(command: Any, ctx: Any, commands: dict[str, Any]) -> None:
    console = Console(highlight=False)
    width = min(console.width, _MAX_WIDTH)
    params = command.get_params(ctx)
    arguments = [param for param in params if param.param_type_name == "argument"]
    usage = [ctx.command_path, *(["COMMAND"] if commands else []), *(str(each.metavar) for each in arguments)]
    console.print(Text(f"Usage: {' '.join(usage)} [OPTIONS]", "bold"))
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        console.print(Text(f"\n{textwrap.fill(_plain(paragraph), width, break_on_hyphens=False)}"))
    panels: dict[str, list[tuple[str, str]]] = {
        "Commands": [(name, _first_sentence(each.help)) for name, each in commands.items()],
        "Arguments": [(str(each.metavar).strip("[]"), _plain(each.help)) for each in arguments],
        "Options": [],
    }
    for param in params:
        if param.param_type_name == "option" and not param.hidden:
            panel = getattr(param, "rich_help_panel", None) or "Options"
            panels.setdefault(panel, []).append((_option(param), _plain(" ".join(_told(param)))))
    for title, rows in panels.items():
        if rows:
            console.print(Text(f"\n{title}", "bold"))
            _show_rows(console, rows, width)


def _show_rows(console: Console, rows: list[tuple[str, str]], width: int) -> None:
    indent = 6 if width < _NARROW else 4 + max(len(name) for name, _ in rows)
    for name, text in rows:
        lines = textwrap.wrap(text, width - indent, break_on_hyphens=False)
        first = f"  {name}".ljust(indent)
        if width < _NARROW:
            console.print(Text(first.rstrip(), "cyan"))
        else:
            console.print(Text.assemble((first, "cyan"), lines.pop(0)))
        for line in lines:
            console.print(Text(" " * indent + line))


def _option(param: Any) -> str:
    """`-t, --type TYPE`."""
    is_switch = param.is_flag or param.count
    names = ", ".join(sorted(param.opts, key=len))
    return names if is_switch else f"{names} {param.metavar or 'VALUE'}"


def _told(param: Any) -> Iterator[str]:
    yield param.help or ""
    if param.required:
        yield "Required."
    elif param.show_default is not False and param.default is not None and not (param.is_flag or param.count):
        yield f"[default: {param.default}]"


def _first_sentence(text: str | None) -> str:
    """The first paragraph, up to a colon or full stop: the help of the command has the rest."""
    first = _plain(inspect.cleandoc(text or "").split("\n\n")[0])
    return first.partition(": ")[0].partition(". ")[0].rstrip(".")


def _plain(text: str | None) -> str:
    """In one line, without the marks of Markdown."""
    return " ".join((text or "").split()).replace("`", "")
