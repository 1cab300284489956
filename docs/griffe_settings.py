"""Has the reference show of a setting its default, what it means and what is allowed, in place of how it is declared."""

from __future__ import annotations

import importlib
from typing import Any

import attrs
import griffe


class Settings(griffe.Extension):
    """For classes that are `@settings`: griffe reads the source, and runs none of it."""

    def on_class(self, *, cls: griffe.Class, **_: Any) -> None:
        """Once all of a class has been read."""
        if any(
            decorator.callable_path == "feishu_trio.config.fields.settings" for decorator in cls.decorators
        ):
            real = getattr(importlib.import_module(cls.module.path), cls.name)
            for field in attrs.fields(real):
                if field.init:
                    default = getattr(field.default, "factory", lambda value=field.default: value)()
                    text = f"{field.metadata['about']}\n\nAllowed: {field.validator.described}."
                    cls[field.name].value = repr(default)
                    cls[field.name].docstring = griffe.Docstring(text, parent=cls[field.name])
