"""What keeps an app from getting its events: checks in order, each with what was found and what to do about it.

async with aclosing(examine(SessionConfig.from_env())) as findings:
    async for finding in findings:
        print(finding.verdict, finding.check, finding.found, finding.remedy)

    findings      what a check comes to
    network       the way to Feishu: proxy, names, TCP, TLS
    examination   the checks, and their order
"""

from __future__ import annotations

from .examination import CHECKS, examine
from .findings import Fault, Finding, Verdict

__all__ = ["CHECKS", "Fault", "Finding", "Verdict", "examine"]
