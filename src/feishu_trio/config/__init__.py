"""The settings of a session: what each may be, and where it can be read from.

    rules      what one setting may be, and the words for one that is wrong
    fields     names that are checked, and what `help` shows
    dotnet     the option names of the .NET client, and what becomes of their values
    sources    the environment, TOML and JSON files
    in_force   each setting with where its value came from
    settings   `SessionConfig` and its kin, made of these

Times are seconds and sizes are bytes, everywhere but in the .NET client's own option names, whose
milliseconds are turned into seconds as they are read. Importing this package reads nothing: neither a file
nor the environment.
"""

from __future__ import annotations

from .in_force import Setting
from .rules import wrong
from .settings import FEISHU_DOMAIN, LARK_DOMAIN, Ack, PoolConfig, SessionConfig, SessionSettings
from .sources import SettingOrigin

__all__ = [
    "FEISHU_DOMAIN",
    "LARK_DOMAIN",
    "Ack",
    "PoolConfig",
    "SessionConfig",
    "SessionSettings",
    "Setting",
    "SettingOrigin",
    "wrong",
]
