"""`python -m benchmarks`: the scenarios; `profile` and `lone`: where time goes; `models`: what event models cost."""

from __future__ import annotations

import argparse
import gc
import json
import sys
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from . import lone, models, profiling, readme
from .answers import WrongAnswerError
from .clients import CLIENTS, Client, pin_gateway
from .gateway import Gateway, SilentError
from .results import Results
from .scenarios import SCENARIOS, Arena

_RESULTS = Path(__file__).parent / "results"
_BUSY = 0.5  # processes that want to run, on average, before anything is measured
_QUICK: dict[str, Any] = {
    "rounds": 2,
    "seconds": 0.25,
    "latency_seconds": 1.0,
    "slow_seconds": 1.0,
    "burst": 20_000,
    "burst_seconds": 4.0,
    "idle_sessions": 50,
    "idle_seconds": 2.0,
    "starts": 1,
}
# With TLS, and without: enough to see what TLS costs.
_SETTINGS: dict[bool, dict[str, Any]] = {
    True: {},
    False: {"rounds": 3, "starts": 3, "idle_sessions": 100, "idle_seconds": 10.0},
}
_NOT_PROFILED = {
    "channel": "works in threads, which the profiler does not see",
    "node": "is no Python program",
    "go": "is no Python program",
}


def main() -> None:
    arguments = _parse(sys.argv[1:])
    pin_gateway()
    if arguments.command == "profile":
        for client in arguments.clients or ["ours"]:
            profiling.profile(client, arguments.events, arguments.window, tls=not arguments.plain)
    elif arguments.command == "lone":
        lone.lone(min(arguments.events, 5_000), tls=not arguments.plain)
    elif arguments.command == "models":
        print(models.table())
    elif _run(arguments):
        sys.exit(1)


def _parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("command", nargs="?", choices=["run", "profile", "lone", "models"], default="run")
    parser.add_argument("--quick", action="store_true", help="small and short: to see that it works")
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, metavar="SCENARIO", help=", ".join(SCENARIOS))
    parser.add_argument("--clients", nargs="+", choices=CLIENTS, metavar="CLIENT", help=", ".join(CLIENTS))
    parser.add_argument("--rounds", type=int, help="rounds of throughput and latency; 7 and 3 if not given")
    either = parser.add_mutually_exclusive_group()
    either.add_argument(
        "--tls", action="store_true", help="over TLS alone, as profile and lone do by default"
    )
    either.add_argument("--plain", action="store_true", help="without TLS alone")
    parser.add_argument("--out", type=Path, help="a directory for the results; a full run has one of its own")
    parser.add_argument("--events", type=int, default=50_000, help="profile: how many events")
    parser.add_argument("--window", type=int, default=64, help="profile: how many unanswered at a time")
    arguments = parser.parse_args(words)
    for name, why in _NOT_PROFILED.items():
        if arguments.command == "profile" and name in (arguments.clients or ()):
            parser.error(f"profile: {name} {why}")
    return arguments


def _run(arguments: argparse.Namespace) -> bool:
    """Run the scenarios; whether one had to be given up."""
    console = Console(stderr=True)
    asked = dict(_QUICK) if arguments.quick else {}
    if arguments.rounds:
        asked["rounds"] = arguments.rounds
    left_out = {True: arguments.plain, False: arguments.tls}
    settings = {tls: {**each, **asked} for tls, each in _SETTINGS.items() if not left_out[tls]}
    clients = _present(arguments.clients or list(CLIENTS), console)
    names = arguments.only or list(SCENARIOS)
    results = Results.here(
        {
            "quick": arguments.quick,
            "scenarios": names,
            "over TLS": settings.get(True),
            "without TLS": settings.get(False),
        }
    )
    if results.machine["load"] > _BUSY:
        console.print("this machine is busy: the CPU time of an event still says something, little else does")
    columns = (
        TextColumn("{task.description:40}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    failed = False
    gc.freeze()
    gc.disable()  # the gateway makes no cycles worth a pause in the middle of a round
    with ExitStack() as stack:
        # Drawn between the steps only: a thread that draws would take its time from the gateway.
        progress = stack.enter_context(Progress(*columns, console=console, auto_refresh=False))
        arenas = {
            tls: Arena(stack.enter_context(Gateway(tls=tls)), clients, **each)
            for tls, each in settings.items()
        }
        for name, tls in product(names, arenas):
            scenario, arena = SCENARIOS[name], arenas[tls]
            title = f"{scenario.title}, {'over' if tls else 'without'} TLS"
            task = progress.add_task(title, total=scenario.steps(arena))
            progress.refresh()
            try:
                for samples in scenario.run(arena):
                    results.samples += samples
                    progress.update(task, advance=1, refresh=True)
                    gc.collect()
            except (SilentError, WrongAnswerError) as error:
                console.print(f"{title} was given up: {error}", style="red", markup=False)
                failed = True
    _write(results, arguments, console)
    return failed


def _present(names: list[str], console: Console) -> list[Client]:
    clients = []
    for name in names:
        missing = CLIENTS[name].missing()
        if missing is None:
            clients.append(CLIENTS[name])
        else:
            console.print(f"{CLIENTS[name].title} is left out: {missing}")
    return clients


def _write(results: Results, arguments: argparse.Namespace, console: Console) -> None:
    text = results.to_markdown()
    console.print(Markdown(text))
    partial = ("quick", "only", "clients", "tls", "plain")
    full = not any(getattr(arguments, name) for name in partial)
    out = arguments.out or (_RESULTS if full else None)
    if out is None:
        return
    out.mkdir(parents=True, exist_ok=True)
    (out / "latest.md").write_text(text)
    (out / "latest.json").write_text(json.dumps(results.to_json(), indent=1, ensure_ascii=False) + "\n")
    console.print(f"results: {out}")
    if full:
        readme.show(results)


if __name__ == "__main__":
    main()
