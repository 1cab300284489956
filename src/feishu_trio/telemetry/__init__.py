"""Lifecycle events, statistics and heartbeats: what users can see. It costs nothing when nobody looks."""
