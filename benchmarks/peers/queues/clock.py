"""What a worker in Python says of itself. It imports nothing that the others' environment does not have."""

from __future__ import annotations

import json
import time


class Clock:
    """Counts what is handled, from the first to the last."""

    def __init__(self, count: int) -> None:
        self._left = count
        self._began = self._cpu = 0.0

    def handled(self) -> bool:
        """One more is: whether it was the last. Then the line is printed."""
        if not self._began:
            self._began, self._cpu = time.perf_counter(), time.process_time()
        self._left -= 1
        if self._left:
            return False
        took, cpu = time.perf_counter() - self._began, time.process_time() - self._cpu
        print(json.dumps({"seconds": took, "cpu": cpu}), flush=True)
        return True
