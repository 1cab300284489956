"""The pages of the documentation: both languages say the same, what they lead to is there, what they show can be run."""

from __future__ import annotations

import ast
import json
import re
import shlex
import tomllib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

import feishu_trio
import feishu_trio.testing
from feishu_trio.cli._app import app
from pages import (
    DOCS,
    PAGES,
    PAIRS,
    ROOT,
    Block,
    anchors,
    blocks,
    name,
    outside_blocks,
    shape,
    targets,
    texts,
    words,
)

OTHERS = [
    path
    for folder in (ROOT, ROOT / "benchmarks", ROOT / "tests", DOCS / "project")
    for path in sorted(folder.glob("*.md"))
    if path not in PAGES
]
BLOCKS = [block for page in PAGES for block in blocks(page)]
MODELS = [
    path.stem
    for path in sorted((ROOT / "src" / "feishu_trio" / "events").glob("*.py"))
    if path.read_text("utf-8").startswith('"""Models ')
]
COMMANDS: Any = typer.main.get_command(app)


@pytest.mark.parametrize(("english", "chinese"), PAIRS, ids=lambda path: name(path))
def test_both_languages_have_the_same_sections_blocks_tables_and_lists(english: Path, chinese: Path) -> None:
    assert chinese.exists()
    assert shape(english.read_text("utf-8")) == shape(chinese.read_text("utf-8"))
    assert [words(block) for block in blocks(english)] == [words(block) for block in blocks(chinese)]


@pytest.mark.parametrize(("english", "chinese"), PAIRS, ids=lambda path: name(path))
def test_both_languages_have_the_same_texts_in_code_where_these_are_no_chinese(
    english: Path, chinese: Path
) -> None:
    """A text that people see is translated; a key, a type, an id or a name is not."""
    for one, other in zip(blocks(english), blocks(chinese), strict=True):
        for original, text in zip(texts(one), texts(other), strict=True):
            if re.fullmatch(r"[\w.:/*-]+", original):
                assert text == original or re.search("[\u4e00-\u9fff]", text), (other.place, original, text)


@pytest.mark.parametrize(("english", "chinese"), PAIRS, ids=lambda path: name(path))
def test_both_languages_have_the_same_names_and_codes(english: Path, chinese: Path) -> None:
    """Names in code, and in tables numbers that are long or in code: codes, limits, defaults."""
    first, second = (outside_blocks(page.read_text("utf-8")) for page in (english, chinese))

    def names(text: str) -> set[str]:
        return set(re.findall(r"`([A-Za-z_][\w.]+)`", text)) - {"await"}

    def numbers(text: str) -> list[set[str]]:
        rows = re.findall(r"^\|.*", re.sub(r"\]\([^)]*\)", "]", text), re.MULTILINE)
        return [set(re.findall(r"\d[\d,.]+\d|(?<=`)\d+(?=`)", row)) for row in rows]

    assert not names(first) - names(second)
    assert numbers(first) == numbers(second)


@pytest.mark.parametrize("page", [*PAGES, *OTHERS], ids=name)
def test_a_list_or_table_has_an_empty_line_before_it(page: Path) -> None:
    """Without one it is a part of the paragraph on the site, though not everywhere."""
    entry = re.compile(r" *(?:[-*+]|\d+\.) ")
    before = ""
    in_list = False
    for line in outside_blocks(page.read_text("utf-8"), "\n").splitlines():
        if entry.match(line):
            assert in_list or not before.strip(), (before, line)
            in_list = True
        elif not line.startswith(" "):
            in_list = bool(line.strip()) and in_list  # a paragraph of an entry goes on
        if line.startswith("|"):
            assert before.startswith("|") or not before.strip(), (before, line)
        before = line


@pytest.mark.parametrize(("english", "chinese"), PAIRS, ids=lambda path: name(path))
def test_both_languages_lead_to_the_same_places(english: Path, chinese: Path) -> None:
    def places(page: Path) -> Counter[str]:
        """Where it leads, by the English page, and by the number of the heading there."""
        found = Counter[str]()
        for target in targets(page.read_text("utf-8")):
            file, _, anchor = target.partition("#")
            other = page.parent / file if file else page
            if anchor and other.suffix == ".md":
                anchor = str(anchors(other.read_text("utf-8")).index(anchor))
            found[f"{file}#{anchor}".replace(".zh.", ".")] += 1
        return found

    def beside(page: Path) -> str:
        return f"{page.name.replace('.zh.', '.')}#"  # one language leads to the other

    assert places(english).keys() - {beside(english)} == places(chinese).keys() - {beside(chinese)}


@pytest.mark.parametrize("page", [*PAGES, *OTHERS], ids=name)
def test_what_a_page_leads_to_is_there(page: Path) -> None:
    for target in targets(page.read_text("utf-8")):
        if re.match(r"https?://", target):
            continue
        file, _, anchor = target.partition("#")
        other = page.parent / file if file else page
        if file.startswith("models/"):  # made with the site, of a module
            other = ROOT / "src" / "feishu_trio" / "events" / f"{other.name.partition('.')[0]}.py"
        assert other.exists(), target
        assert not anchor or anchor in anchors(other.read_text("utf-8")), target
        if page.name.endswith(".zh.md") and page.parent == other.parent and other.suffix == ".md":
            assert other.name.endswith(".zh.md") or "[English]" in page.read_text("utf-8"), target


def test_the_site_has_every_page() -> None:
    listed = re.findall(r"^ +- (\S+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(page.relative_to(DOCS).as_posix() for page, _ in PAIRS[1:])


@pytest.mark.parametrize("suffix", [".md", ".zh.md"])
def test_the_reference_has_every_name(suffix: str) -> None:
    pages = (DOCS / "reference").glob(f"*[a-z]{suffix}")
    found = re.findall(
        r"^::: feishu_trio\.(\S+)$",
        "\n".join(page.read_text("utf-8") for page in pages if page.name.count(".") == suffix.count(".")),
        re.MULTILINE,
    )
    assert len(found) == len(set(found))
    wanted = {*feishu_trio.__all__, *(f"testing.{name}" for name in feishu_trio.testing.__all__)}
    beside = {name for name in found if re.match(r"asyncio|doctor|events|logs|metrics|otel", name)}
    assert wanted == set(found) - beside
    models = re.compile(rf"events\.(?:{'|'.join(MODELS)})\b")  # on pages that are made with the site
    assert {name for name in imported() if not models.match(name)} <= set(found)


def imported() -> set[str]:
    """What the Python on pages imports, as `asyncio.call_trio`."""
    trees = [ast.parse(block.code) for block in BLOCKS if block.language == "python"]
    return {
        f"{node.module}.{name.name}".removeprefix("feishu_trio.")
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "feishu_trio"
        for name in node.names
    }


@pytest.mark.parametrize("suffix", [".md", ".zh.md"])
def test_the_reference_has_every_module_of_models(suffix: str) -> None:
    page = (DOCS / "reference" / f"models{suffix}").read_text("utf-8")
    assert re.findall(rf"\(models/(\w+){re.escape(suffix)}\)", page) == MODELS


def commands(block: Block) -> list[list[str]]:
    """The calls of `feishu-trio` in a block of the shell's."""
    if block.language not in ("", "sh", "bash", "console"):
        return []
    lines = re.sub(r"\\\n\s*", "", block.code).splitlines()
    found = [re.search(r"^(?:\$ |[A-Z_]+=\S+ )*feishu-trio (.*)", line) for line in lines]
    return [
        re.split(r"\s[|><&]", " ".join(shlex.split(call[1], comments=True)))[0].split()
        for call in found
        if call
    ]


def test_commands_that_pages_show_can_be_given() -> None:
    """Each is a command that is there, with options that it has."""
    seen = 0
    command: Any
    for block in BLOCKS:
        for call in commands(block):
            command, given = COMMANDS, call
            while hasattr(command, "commands") and given and not given[0].startswith("-"):
                assert given[0] in command.commands, (block.place, call)
                command, given = command.commands[given[0]], given[1:]
            options = {option for parameter in command.params for option in parameter.opts} | {"-h", "--help"}
            for word in given:
                assert not word.startswith("-") or word.partition("=")[0] in options, (block.place, call)
            seen += 1
    assert seen > 40


def test_options_that_pages_name_are_there() -> None:
    """Those in sentences, and those given to an image or by a service manager."""

    def options(command: Any) -> set[str]:
        inner = [options(other) for other in getattr(command, "commands", {}).values()]
        return {option for parameter in command.params for option in parameter.opts}.union(*inner)

    known = options(COMMANDS) | {"--help"}
    for page in PAGES:
        text = page.read_text("utf-8")
        named = " ".join(re.findall(r"`([^`\n]+)`", outside_blocks(text)))
        given = " ".join(re.findall(r"\b(?:run|worker)\b[\", ]+\w+:router\b(.*)", text))
        assert {*re.findall(r"(?<![\w-])--[a-z][\w-]*", f"{named} {given}")} <= known, page


def test_files_that_pages_show_can_be_read() -> None:
    """`py` is Python that stands on other libraries; what is `python` is checked by `typing/test_checkers.py`."""
    readers: dict[str, Callable[[str], object]] = {
        "toml": tomllib.loads,
        "json": json.loads,
        "yaml": lambda text: list(yaml.safe_load_all(text)),
        "py": lambda text: compile(text, "page", "exec"),
    }
    seen = Counter[str]()
    for block in BLOCKS:
        if block.language in readers:
            try:
                readers[block.language](block.code)
            except (ValueError, SyntaxError, yaml.YAMLError) as error:
                raise AssertionError(block.place) from error
            seen[block.language] += 1
    assert seen.keys() == readers.keys()


def test_the_page_about_the_log_has_all_loggers() -> None:
    page = (DOCS / "logging.md").read_text("utf-8")
    (table,) = re.findall(r"^\| logger .*?\n\n", page, re.DOTALL | re.MULTILINE)
    sources = (ROOT / "src" / "feishu_trio").rglob("*.py")
    made = {
        name
        for path in sources
        for name in re.findall(r'getLogger\("(feishu_trio\.[\w.]+)"', path.read_text("utf-8"))
    }
    assert made | {"feishu_trio.config.sources"} == set(re.findall(r"`(feishu_trio\.[\w.]+)`", table))


def test_blocks_have_ends() -> None:
    for page in PAGES:
        assert "```" not in outside_blocks(page.read_text("utf-8")), page
