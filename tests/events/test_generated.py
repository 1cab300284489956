from __future__ import annotations

import ast
import importlib.util
import json
import sys
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from .payloads import CATALOGUE

ROOT = Path(__file__).parents[2]
EVENTS = ROOT / "src" / "feishu_trio" / "events"


@pytest.fixture(scope="module")
def generator() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("_events", ROOT / "proto" / "_events.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["_events"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["_events"]


def test_what_is_checked_in_is_what_the_catalogue_gives(generator: ModuleType) -> None:
    files: dict[Path, str] = generator.generate(ROOT)
    assert (
        len(files)
        == len({name.partition(".")[0] for name, event in CATALOGUE["events"].items() if event["body"]}) + 3
    )
    for path, text in files.items():
        assert ast.dump(ast.parse(path.read_text(encoding="utf-8"))) == ast.dump(ast.parse(text)), path


def catalogue(tmp_path: Path, events: dict[str, str], models: dict[str, Any]) -> Path:
    (tmp_path / "proto").mkdir()
    whole = {
        "events": {name: {"kind": "event", "body": {"model": model}} for name, model in events.items()},
        "models": models,
    }
    (tmp_path / "proto" / "events.json").write_text(json.dumps(whole), encoding="utf-8")
    (tmp_path / "proto" / "meanings.toml").touch()
    return tmp_path


@pytest.mark.parametrize("field", ["from", "two words", "Upper", "2nd"])
def test_a_field_that_python_cannot_name(generator: ModuleType, tmp_path: Path, field: str) -> None:
    with pytest.raises(ValueError, match=rf"a\.B: '{field}'"):
        generator.generate(catalogue(tmp_path, {"a.b_v1": "a.v1.X"}, {"a.v1.X": {field: "str"}}))


def test_what_annotations_need_is_imported(generator: ModuleType, tmp_path: Path) -> None:
    files = generator.generate(catalogue(tmp_path, {"a.b_v1": "a.v1.X"}, {"a.v1.X": {"value": "any"}}))
    text = files[tmp_path / "src" / "feishu_trio" / "events" / "a.py"]
    assert "from typing import Any, ClassVar\n" in text
    assert "    value: Any | None = None\n" in text


def test_two_shapes_of_one_name(generator: ModuleType, tmp_path: Path) -> None:
    events = {"a.b_v1": "a.v1.X", "a.c_v1": "a.v1.Y"}
    models = {
        "a.v1.X": {"u": {"model": "a.v1.U"}},
        "a.v1.Y": {"u": {"model": "a.v2.U"}},
        "a.v1.U": {"n": "int"},
        "a.v2.U": {"n": "str"},
    }
    root = catalogue(tmp_path, events, models)
    with pytest.raises(ValueError, match=r"two different models.*'a', 'U'"):
        generator.generate(root)


def test_affixes_go_where_the_name_is_free(generator: ModuleType, tmp_path: Path) -> None:
    events = {"a.b.c_v1": "a.v1.X"}
    models = {
        "a.v1.X": {
            "one": {"model": "a.v1.EventUser"},
            "two": {"list": {"model": "a.v1.RoomEvent"}},
            "three": {"model": "a.v1.Room"},
            "four": {"model": "a.v1.EventBC"},
        },
        "a.v1.EventUser": {"n": "int"},
        "a.v1.RoomEvent": {"n": "int"},
        "a.v1.Room": {"n": "int"},
        "a.v1.EventBC": {"n": "int"},
    }
    files = generator.generate(catalogue(tmp_path, events, models))
    text = files[tmp_path / "src" / "feishu_trio" / "events" / "a.py"]
    assert "    one: User | None = None\n" in text
    assert "    two: tuple[RoomEvent, ...] | None = None\n" in text
    assert "    three: Room | None = None\n" in text
    assert "    four: EventBC | None = None" in text  # BC is the event


LONG = "long " * 20 + "text"
ONE_EVENT = {"a.b_v1": "a.v1.X"}, {"a.v1.X": {"n": "int", "u": {"model": "a.v1.U"}}, "a.v1.U": {"n": "int"}}


def explained(generator: ModuleType, tmp_path: Path, meanings: str) -> str:
    root = catalogue(tmp_path, *ONE_EVENT)
    (root / "proto" / "meanings.toml").write_text(meanings, encoding="utf-8")
    text: str = generator.generate(root)[root / "src" / "feishu_trio" / "events" / "a.py"]
    return text


@pytest.mark.parametrize(
    "meanings",
    [
        'events."a.c_v1" = "It is."',
        'models."a.V" = "It is."',
        'everywhere.m = "It is."',
        'a.m = "It is."',
        'a.B.m = "It is."',
        'a.V.n = "It is."',
        'b.B.n = "It is."',
        "a.B.n = 1",
        'a.n = "It is."\neverywhere.n = "It is."',
    ],
)
def test_a_meaning_of_nothing(generator: ModuleType, tmp_path: Path, meanings: str) -> None:
    with pytest.raises(ValueError, match=r"meanings of what is not there"):
        explained(generator, tmp_path, meanings)


def test_what_things_mean(generator: ModuleType, tmp_path: Path) -> None:
    text = explained(
        generator,
        tmp_path,
        f"""
        events."a.b_v1" = "Something happened"
        models."a.U" = "A thing.\\n\\nIn all."
        everywhere.u = "Everywhere."
        a.n = "In the module."
        a.B.n = "In the class, {LONG}."
        """,
    )
    assert '    """Something happened: `a.b_v1`."""\n' in text
    assert '    """A thing.\n\n    In all.\n    """\n' in text
    assert '    u: U | None = None\n    """Everywhere."""' in text
    assert '    """In the module."""' in text
    assert f'    n: int | None = None\n    """In the class, {LONG[:84]}\n    {LONG[85:]}.\n    """\n' in text


def meanings_in(path: Path) -> dict[tuple[str, str], str]:
    """The docstrings of the attributes in a module, by class and attribute."""
    classes = [
        node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.ClassDef)
    ]
    return {
        (each.name, field.target.id): text
        for each in classes
        for field, after in pairwise(each.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
        and isinstance(text := after.value.value, str)
    }


def test_the_source_says_what_a_field_is() -> None:
    im = meanings_in(EVENTS / "im.py")
    assert '`"p2p"`' in im["Message", "chat_type"]
    assert im["Message", "chat_id"] == im["ChatUpdated", "chat_id"] == "The chat's id, `oc_…`."
    assert ("LarkAgentContext", "active_chat_id") not in im
    assert "`ou_…`" in meanings_in(EVENTS / "shared.py")["UserId", "open_id"]


def test_the_generated_lines_are_short() -> None:
    meant = tomllib.loads((ROOT / "proto" / "meanings.toml").read_text(encoding="utf-8"))
    modules = meant.keys() - {"events", "models", "everywhere"}
    assert len(modules) > 10
    for module in modules:
        for line in (EVENTS / f"{module}.py").read_text(encoding="utf-8").splitlines():
            assert len(line) <= 110, line


def test_what_is_never_none(generator: ModuleType, tmp_path: Path) -> None:
    models = {"a.v1.X": {"n": "int", "s": "str", "u": {"model": "a.v1.U"}}, "a.v1.U": {"n": "int"}}
    root = catalogue(tmp_path, {"a.b_v1": "a.v1.X"}, models)
    source = root / "proto" / "events.json"
    whole = json.loads(source.read_text(encoding="utf-8"))

    def generated(**fields: str) -> str:
        source.write_text(json.dumps(whole | {"never_none": {"a.v1.X": fields}}), encoding="utf-8")
        text: str = generator.generate(root)[root / "src" / "feishu_trio" / "events" / "a.py"]
        return text

    text = generated(u="required", s="empty")
    assert '    u: U\n    n: int | None = None\n    s: str = ""\n' in text
    assert "    u: U = field(factory=lambda: U())" in generated(u="empty")
    with pytest.raises(ValueError, match=r"a\.v1\.X has no \['x'\]"):
        generated(x="required")
    with pytest.raises(ValueError, match="n cannot be 'empty'"):
        generated(n="empty")


def test_a_type_that_is_none(generator: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'bytes' is no type"):
        generator.generate(catalogue(tmp_path, {"a.b_v1": "a.v1.X"}, {"a.v1.X": {"n": "bytes"}}))
