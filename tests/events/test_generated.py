from __future__ import annotations

import ast
import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from .payloads import CATALOGUE

ROOT = Path(__file__).parents[2]


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
    return tmp_path


@pytest.fixture
def no_notes(generator: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator, "NOTES", {})


@pytest.mark.parametrize("field", ["from", "two words", "Upper", "2nd"])
@pytest.mark.usefixtures("no_notes")
def test_a_field_that_python_cannot_name(generator: ModuleType, tmp_path: Path, field: str) -> None:
    with pytest.raises(ValueError, match=rf"a\.B: '{field}'"):
        generator.generate(catalogue(tmp_path, {"a.b_v1": "a.v1.X"}, {"a.v1.X": {field: "str"}}))


@pytest.mark.usefixtures("no_notes")
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


@pytest.mark.usefixtures("no_notes")
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


def test_a_note_on_nothing(generator: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"im\.Message"):
        generator.generate(catalogue(tmp_path, {"a.b_v1": "a.v1.X"}, {"a.v1.X": {"n": "int"}}))


@pytest.mark.usefixtures("no_notes")
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


@pytest.mark.usefixtures("no_notes")
def test_a_type_that_is_none(generator: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'bytes' is no type"):
        generator.generate(catalogue(tmp_path, {"a.b_v1": "a.v1.X"}, {"a.v1.X": {"n": "bytes"}}))
