"""Builds the site, `build/site`, from this folder, in English and Chinese: `make docs`.

Pages are written to be read in the repository, too, so they lead to files outside of this folder. Those are taken
along under `project/`, and what leads to them, or back, is written anew, in a copy that mkdocs then reads. A page for each module of
event models is made here; all other pages of the reference are written by hand.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

import feishu_trio
import feishu_trio.testing

ROOT: Final = Path(__file__).resolve().parents[1]
SOURCE: Final = ROOT / "build" / "site-source"
SITE: Final = ROOT / "build" / "site"
_LINK: Final = re.compile(r"(?<=\]\()(?!\w+:|#)([^)\s#]+)")
_CODE: Final = re.compile(r"^( *)(`{3,}).*?^\1\2$|`[^`\n]+`", re.DOTALL | re.MULTILINE)
# From one language to the other: the site has a switch for that.
_OTHER_LANGUAGE: Final = re.compile(r" *\[(?:中文|English)\]\([^)]*\)[.。]?")

# The search would have what is for those who work on it before what users look for.
_NOT_SEARCHED: Final = "---\nsearch:\n  exclude: true\n---\n\n"


def models() -> list[str]:
    """The modules with models of events, by their names."""
    folder = ROOT / "src" / "feishu_trio" / "events"
    return sorted(
        path.stem for path in folder.glob("*.py") if path.read_text("utf-8").startswith('"""Models ')
    )


def write_pages() -> None:
    """All that mkdocs reads."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    waiting = [
        path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*")) if path.is_file()
    ]
    waiting = [name for name in waiting if not name.endswith(".py")]
    seen = set(waiting)
    for name in waiting:  # grows meanwhile
        place = SOURCE / _place(name)
        place.parent.mkdir(parents=True, exist_ok=True)
        if not name.endswith(".md"):
            shutil.copyfile(ROOT / name, place)
            continue
        page = Page(name)
        is_taken_along = _place(name).startswith("project/")
        place.write_text(f"{_NOT_SEARCHED if is_taken_along else ''}{page.text}", encoding="utf-8")
        waiting += [target for target in page.leads_to if target not in seen]
        seen.update(page.leads_to)
    for name in models():
        for suffix in (".md", ".zh.md"):
            place = SOURCE / "reference" / "models" / f"{name}{suffix}"
            place.parent.mkdir(exist_ok=True)
            place.write_text(
                f"# {name}\n\n::: feishu_trio.events.{name}\n    options:\n      show_root_heading: false\n      show_root_toc_entry: false\n",
                "utf-8",
            )


class Page:
    """A page as mkdocs is to read it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.leads_to: list[str] = []
        text = (ROOT / name).read_text(encoding="utf-8")
        self.text = "".join(self._parts(_OTHER_LANGUAGE.sub("", text)))

    def _parts(self, text: str) -> Iterator[str]:
        end = 0
        for code in _CODE.finditer(text):
            yield _LINK.sub(self._link, text[end : code.start()])
            yield code[0]
            end = code.end()
        yield _LINK.sub(self._link, text[end:])

    def _link(self, found: re.Match[str]) -> str:
        path = os.path.normpath(ROOT / PurePosixPath(self.name).parent / found[1])
        target = Path(path).relative_to(ROOT).as_posix()
        if not (ROOT / target).is_file():
            return found[1]  # mkdocs says where it stands
        if target not in self.leads_to:
            self.leads_to.append(target)
        return os.path.relpath(_place(target), PurePosixPath(_place(self.name)).parent)


def _place(name: str) -> str:
    return name.removeprefix("docs/") if name.startswith("docs/") else f"project/{name}"


def missing() -> list[str]:
    """Public names, and what classes offer by inheritance or without a docstring, that the reference does not have."""
    pages = "".join(page.read_text("utf-8") for page in (SITE / "reference").glob("*.html"))
    shown = set(re.findall(r'id="(feishu_trio\.[\w.]+)"', pages))
    wanted = []
    for module in (feishu_trio, feishu_trio.testing):
        for name in module.__all__:
            wanted.append(f"{module.__name__}.{name}")
            value = getattr(module, name)
            classes = [
                each for each in getattr(value, "__mro__", ()) if each.__module__.startswith("feishu_trio")
            ]
            for member in sorted({member for each in classes for member in vars(each)}):
                of_inbox = name.endswith("Inbox") and hasattr(feishu_trio.Inbox, member)  # said there, once
                only_overloads = getattr(getattr(value, member), "__module__", "") == "typing"
                if not (member.startswith("_") or of_inbox or only_overloads):
                    wanted.append(f"{module.__name__}.{name}.{member}")
    return [name for name in wanted if name not in shown]


def main() -> None:
    write_pages()
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(ROOT / "mkdocs.yml")]
    code = subprocess.run(command, check=False, env=os.environ | {"NO_MKDOCS_2_WARNING": "true"}).returncode
    if code:
        sys.exit(code)
    if names := missing():
        sys.exit(f"the reference lacks {', '.join(names)}")
    print(f"the site is in {SITE / 'index.html'}; with its search: python3 -m http.server --directory {SITE}")


if __name__ == "__main__":
    main()
