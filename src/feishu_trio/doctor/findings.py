"""What a check comes to."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import attrs

__all__ = ["Fault", "Finding", "Verdict", "failed", "not_tried", "ok", "unknown", "warning"]


class Verdict(enum.StrEnum):
    """What to think of a finding."""

    OK = "ok"
    """All is well."""
    WARNING = "warning"
    """It works, and may not be what is meant."""
    FAILED = "failed"
    """Something is wrong."""
    UNKNOWN = "unknown"
    """It cannot be known from here."""
    NOT_TRIED = "not tried"
    """A check that it needs has failed, or there is nothing to try."""


class Fault(enum.StrEnum):
    """Where the cause of a failed check is."""

    CONFIGURATION = "configuration"
    """In this program's settings."""
    REFUSED = "refused"
    """Feishu refuses the app, or what it asks for."""
    UNREACHABLE = "unreachable"
    """Feishu cannot be reached, or is too busy."""
    OTHER = "other"
    """Elsewhere, such as in how Feishu is to deliver the app's events."""


@attrs.frozen(kw_only=True)
class Finding:
    """What one check came to. No text of it holds a secret."""

    check: str
    """Its name: one of `CHECKS`."""
    verdict: Verdict
    """What to think of it."""
    found: str
    """What was found, in words."""
    remedy: str = ""
    """What to do about it; empty if nothing is to be done."""
    fault: Fault | None = None
    """Where the cause is; None unless the check failed."""
    details: Mapping[str, Any] = attrs.field(factory=dict)
    """The same for programs: values that JSON can hold. Times are in seconds."""


def ok(check: str, found: str, **details: Any) -> Finding:
    """All is well."""
    return Finding(check=check, verdict=Verdict.OK, found=found, details=details)


def warning(check: str, found: str, remedy: str, **details: Any) -> Finding:
    """It works, and may not be what is meant."""
    return Finding(check=check, verdict=Verdict.WARNING, found=found, remedy=remedy, details=details)


def failed(check: str, fault: Fault, found: str, remedy: str, **details: Any) -> Finding:
    """Something is wrong."""
    return Finding(
        check=check, verdict=Verdict.FAILED, found=found, remedy=remedy, fault=fault, details=details
    )


def unknown(check: str, found: str, remedy: str = "", **details: Any) -> Finding:
    """It cannot be known from here."""
    return Finding(check=check, verdict=Verdict.UNKNOWN, found=found, remedy=remedy, details=details)


def not_tried(check: str, why: str) -> Finding:
    """It was not tried."""
    return Finding(check=check, verdict=Verdict.NOT_TRIED, found=why)
