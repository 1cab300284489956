from __future__ import annotations

import inspect
import pydoc
import subprocess
import sys

import attrs
import pytest

import feishu_trio

# Each costs more to import than a file of this package, and is needed by some, or later, or never.
LATER = {
    "httpx",
    "betterproto",
    "google.protobuf",
    "coredis",
    "typer",
    "rich",
    "h2",
    "tomllib",
    "asyncio",
    "sqlite3",
    "filelock",
    "prometheus_client",
    "opentelemetry",
    "urllib.request",
    "http.client",
    "difflib",
}
# Of this package: what a session without an inbox does not need before its first event, or at all.
OURS_LATER = (
    "feishu_trio.api.markdown",
    "feishu_trio.bot.streaming",
    "feishu_trio.cli",
    "feishu_trio.inbox",
    "feishu_trio.probes",
    "feishu_trio.program",
    "feishu_trio.testing",
    "feishu_trio.worker",
)
# To make an attrs class takes as long as to load a module, a struct of msgspec's a tenth of it. These need what only
# attrs has: validators, fields that are not shown or not given, counters to which others are added.
WITH_ATTRS = {"Counts", "PoolConfig", "RawMessage", "Route", "SessionConfig", "SessionStats"}


def loaded(code: str) -> set[str]:
    code += "; import sys; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(run.stdout.split())


def test_note_18_importing_the_package_loads_no_models_and_no_heavy_library() -> None:
    modules = loaded("import feishu_trio")
    assert not modules & LATER
    models = {name for name in modules if name.startswith("feishu_trio.events.")}
    assert models <= {
        f"feishu_trio.events.{name}"
        for name in (
            "answers",
            "catalogue",
            "content",
            "envelope",
            "event",
            "order",
            "port",
            "subject",
            "types",
            "_json",
        )
    }
    assert not {name for name in modules if name.startswith(OURS_LATER)}


def test_a_session_and_its_router_need_no_more() -> None:
    assert loaded("from feishu_trio import Event, Router, SessionConfig, open_feishu_session") == loaded(
        "import feishu_trio"
    )


def test_importing_the_package_makes_few_attrs_classes() -> None:
    code = (
        "import attrs, gc, feishu_trio; "
        "print(*(c.__name__ for c in gc.get_objects() if isinstance(c, type) and '__attrs_attrs__' in vars(c)"
        " and c.__module__.startswith('feishu_trio.')))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert sorted(run.stdout.split()) == sorted(WITH_ATTRS)


@pytest.mark.parametrize("name", feishu_trio.__all__)
def test_every_name_is_there_however_late_its_module_is_loaded(name: str) -> None:
    assert name in dir(feishu_trio)
    assert getattr(feishu_trio, name) is getattr(feishu_trio, name)


def test_what_is_loaded_late_has_its_help() -> None:
    text = pydoc.plain(pydoc.render_doc(feishu_trio))
    assert "Run handlers for what an inbox holds, without a connection" in text
    with pytest.raises(AttributeError, match="no attribute 'open_nothing'"):
        _ = feishu_trio.open_nothing  # type: ignore[attr-defined]


def test_the_help_of_settings_has_each_of_them() -> None:
    text = inspect.getdoc(feishu_trio.SessionConfig) or ""
    assert all(
        f"\n{field.name} = " in text for field in attrs.fields(feishu_trio.SessionConfig) if field.init
    )
