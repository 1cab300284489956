"""What users can see: facts, counters, histograms, heartbeats. Lifecycle events cost nothing when nobody looks."""

from __future__ import annotations

from .telemetry import Telemetry, described

__all__ = ["Telemetry", "described"]
