"""`python -m feishu_trio` is `feishu-trio`."""

from __future__ import annotations

from .cli import main

main()
