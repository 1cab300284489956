"""The same four bots in four libraries, and what became of them when things went wrong: docs/comparison.md."""
