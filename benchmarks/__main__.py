"""`python -m benchmarks`: the scenarios; `profile`: where time goes; `models`: what event models cost."""

from __future__ import annotations

import argparse
import gc
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from . import models, profiling
from .answers import WrongAnswerError
from .clients import CLIENTS, ROOT, Client, pin_gateway
from .gateway import Gateway, SilentError
from .results import Results
from .scenarios import SCENARIOS, Arena

_RESULTS = Path(__file__).parent / "results"
_CHART = ROOT / "docs" / "benchmarks.png"
_BUSY = 0.5  # processes that want to run, on average, before anything is measured
_QUICK = {
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


def main() -> None:
    arguments = _parse(sys.argv[1:])
    pin_gateway()
    if arguments.command == "profile":
        for client in arguments.clients or ["ours"]:
            profiling.profile(client, arguments.events, arguments.window)
    elif arguments.command == "models":
        print(models.table())
    elif _run(arguments):
        sys.exit(1)


def _parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("command", nargs="?", choices=["run", "profile", "models"], default="run")
    parser.add_argument("--quick", action="store_true", help="small and short: to see that it works")
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, metavar="SCENARIO", help=", ".join(SCENARIOS))
    parser.add_argument("--clients", nargs="+", choices=CLIENTS, metavar="CLIENT", help=", ".join(CLIENTS))
    parser.add_argument("--rounds", type=int, help="rounds of throughput and latency; 7 if not given")
    parser.add_argument("--out", type=Path, help="a directory for the results; a full run has one of its own")
    parser.add_argument("--events", type=int, default=50_000, help="profile: how many events")
    parser.add_argument("--window", type=int, default=64, help="profile: how many unanswered at a time")
    arguments = parser.parse_args(words)
    if arguments.command == "profile" and "node" in (arguments.clients or ()):
        parser.error("profile: node is no Python program")
    return arguments


def _run(arguments: argparse.Namespace) -> bool:
    """Run the scenarios; whether one had to be given up."""
    console = Console(stderr=True)
    settings = dict(_QUICK) if arguments.quick else {}
    if arguments.rounds:
        settings["rounds"] = arguments.rounds
    clients = _present(arguments.clients or list(CLIENTS), console)
    names = arguments.only or list(SCENARIOS)
    results = Results.here({"quick": arguments.quick, "scenarios": names, **settings})
    if results.machine["load"] > _BUSY:
        console.print("this machine is busy: the CPU time of an event still says something, little else does")
    columns = (
        TextColumn("{task.description:28}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    failed = False
    gc.freeze()
    gc.disable()  # the gateway makes no cycles worth a pause in the middle of a round
    # Drawn between the steps only: a thread that draws would take its time from the gateway.
    with Gateway() as gateway, Progress(*columns, console=console, auto_refresh=False) as progress:
        arena = Arena(gateway, clients, **settings)  # type: ignore[arg-type]  # settings are named there
        for name in names:
            scenario = SCENARIOS[name]
            task = progress.add_task(scenario.title, total=scenario.steps(arena))
            progress.refresh()
            try:
                for samples in scenario.run(arena):
                    results.samples += samples
                    progress.update(task, advance=1, refresh=True)
                    gc.collect()
            except (SilentError, WrongAnswerError) as error:
                console.print(f"{scenario.title} was given up: {error}", style="red", markup=False)
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
    full = not (arguments.quick or arguments.only or arguments.clients)
    out = arguments.out or (_RESULTS if full else None)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "latest.md").write_text(text)
        (out / "latest.json").write_text(json.dumps(results.to_json(), indent=1, ensure_ascii=False) + "\n")
        console.print(f"results: {out}")
    if full:
        from .chart import draw  # matplotlib takes a while to load

        draw(results, _CHART)
        console.print(f"chart: {_CHART}")


if __name__ == "__main__":
    main()
