"""What many idle sessions in one process cost: `python -m benchmarks.sessions [how many]`, 500 if not said.

The scenario `idle` of `python -m benchmarks`, for this package alone, over TLS and without, and over a whole minute.
"""

from __future__ import annotations

import sys

from .clients import CLIENTS, pin_gateway
from .gateway import Gateway
from .results import Sample
from .scenarios import SCENARIOS, Arena

_SECONDS = 60.0


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    pin_gateway()
    for tls in (True, False):
        with Gateway(tls=tls) as gateway:
            arena = Arena(gateway, [CLIENTS["ours"]], idle_sessions=count, idle_seconds=_SECONDS)
            samples: list[Sample] = [each for step in SCENARIOS["idle"].run(arena) for each in step]
        for sample in samples:
            where = "over TLS" if tls else "without TLS"
            print(f"{sample.case}, {where}: {sample.value:.2f} {sample.metric}")


if __name__ == "__main__":
    main()
