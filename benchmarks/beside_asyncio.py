"""What a session costs inside an asyncio program: `python -m benchmarks.beside_asyncio [rounds]`.

The scenarios `throughput` and `latency`, for trio in a thread of its own, the same with handlers that run under asyncio, and
trio as asyncio's guest, beside trio alone.
"""

from __future__ import annotations

import sys

from .clients import CLIENTS, Client, pin_gateway
from .gateway import Gateway
from .results import OURS, Results
from .scenarios import SCENARIOS, Arena

_TITLES = {
    "thread": "in a thread of its own",
    "handlers": "in a thread, handlers under asyncio",
    "guest": "as asyncio's guest",
}


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    command = (sys.executable, "-m", "benchmarks.peers.beside_asyncio")
    clients = [CLIENTS[OURS]] + [Client(mode, title, (*command, mode), ()) for mode, title in _TITLES.items()]
    results = Results.here({})
    pin_gateway()
    with Gateway() as gateway:
        arena = Arena(gateway, clients, rounds=rounds)
        for name in ("throughput", "latency"):
            for samples in SCENARIOS[name].run(arena):
                results.samples += samples
    seen: dict[tuple[str, str], None] = dict.fromkeys(
        (f"{sample.scenario}: {sample.case}", sample.metric) for sample in results.samples
    )
    for case, metric in seen:
        scenario, _, rest = case.partition(": ")
        medians = [results.median(scenario, rest, metric, client.name) for client in clients]
        ratios = [f"{(value or 0) / (medians[0] or 1):.2f}" for value in medians[1:]]
        shown = ", ".join(f"{title} {ratio}" for title, ratio in zip(_TITLES.values(), ratios, strict=True))
        print(f"{case}, {metric}: trio alone {medians[0]:.1f}; × {shown}")


if __name__ == "__main__":
    main()
