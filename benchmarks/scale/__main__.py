"""`python -m benchmarks.scale`: what events take at a server, and how many of them one carries; docs/many-machines.md."""

from __future__ import annotations

import argparse
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import attrs
import trio

from ..results import OURS, Results, Sample
from . import trial
from .server import (
    Calls,
    Entries,
    Life,
    Rest,
    Server,
    Spent,
    fitted,
    measure_calls,
    measure_life,
    measure_rest,
)
from .simulation import Chats, Cost, Costs, Outcome, Setup, percentile, simulate

_RESULTS: Final = Path(__file__).parents[1] / "results"
_NO_LOG: Final = "no log"
_LOG: Final = "`appendfsync everysec`"
_AOF: Final = {"appendonly": "yes", "appendfsync": "everysec", "auto_aof_rewrite_percentage": "0"}
_NETWORK: Final = 0.0001  # seconds one way, between machines of one data centre
_CHATS: Final = 100_000
_SKEW: Final = 0.5
_HANDLER: Final = 0.05
_RATE: Final = 10_000


@attrs.frozen
class Sizes:
    """How much of everything."""

    sizes: tuple[int, ...] = (1, 2, 4, 16, 64, 256)
    senders: tuple[int, ...] = (1, 8, 32)
    events: int = 1_000
    rounds: int = 5
    life: int = 20_000
    life_rounds: int = 3
    remembered: int = 300_000
    idle: float = 3.0
    seconds: float = 6.0
    warm_up: float = 2.0
    rates: tuple[int, ...] = (1_000, 2_500, 5_000, 7_500, 10_000, 12_500, 15_000, 17_500, 20_000)
    trials: tuple[tuple[int, int], ...] = ((500, 1), (1_000, 2), (2_000, 1), (4_000, 2))
    trial_rounds: int = 3
    trial_seconds: float = 5.0


_QUICK: Final = Sizes(
    sizes=(1, 16, 64),
    senders=(1, 8),
    events=300,
    rounds=2,
    life=5_000,
    life_rounds=1,
    remembered=10_000,
    idle=0.5,
    seconds=1.5,
    warm_up=0.5,
    rates=(2_500, 10_000),
    trials=((1_000, 1),),
    trial_rounds=1,
    trial_seconds=2.0,
)


@attrs.define
class Table:
    """Numbers by row and column."""

    title: str
    first: str
    """What its rows are."""
    rows: dict[str, Mapping[str, float]] = attrs.field(factory=dict)

    def lines(self) -> Iterator[str]:
        columns = list(next(iter(self.rows.values())))
        yield from (f"### {self.title}", "")
        yield f"| {self.first} | {' | '.join(columns)} |"
        yield f"| --- |{' ---: |' * len(columns)}"
        for name, values in self.rows.items():
            yield f"| {name} | {' | '.join(_shown(value) for value in values.values())} |"
        yield ""

    def samples(self) -> Iterator[Sample]:
        for name, values in self.rows.items():
            for metric, value in values.items():
                yield Sample(self.title, name, metric, OURS, value)


def _shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 10 or value == int(value) else f"{value:.2g}"


def _us(seconds: float) -> float:
    return round(seconds * 1e6, 1)


def _percent(share: float) -> float:
    return round(100 * share, 1)


# What is measured


def calls_table(title: str, calls: list[Calls]) -> Table:
    table = Table(title, "processes, events a call")
    for each in calls:
        parts = {"store": each.store, "claim": each.claim, "done": each.done}
        table.rows[f"{each.senders}, {each.size}"] = {
            **{name: _us(part.seconds / each.size) for name, part in parts.items()},
            "together": _us(each.seconds),
        }
    return table


def costs_table(costs: Costs, rest: Rest) -> Table:
    table = Table("What the simulation is given, µs", "")
    calls = {
        "server: store": costs.store,
        "server: claim": costs.claim,
        "server: done": costs.done,
        "receiver": costs.receive,
        "worker": costs.work,
    }
    for name, cost in calls.items():
        table.rows[name] = {"a call": _us(cost.call), "and each event in it": _us(cost.event)}
    others = {
        "server: forget an event": costs.forget,
        "server: wake a worker": costs.ticket,
        "server: a process, each second": costs.renew,
        "server: an event that is claimed, each second": costs.hold,
        "network, one way": costs.network,
        "(server: to read a call and answer it, which is in all of these)": rest.ping,
    }
    for name, seconds in others.items():
        table.rows[name] = {"a call": _us(seconds), "and each event in it": 0}
    return table


def life_table(lives: Mapping[str, Life]) -> Table:
    table = Table("What an event takes in groups of 64", "")
    for name, life in lives.items():
        steps = (("stored", life.stored), ("handled", life.handled), ("forgotten", life.forgotten))
        for step, spent in steps:
            table.rows[f"{name}: {step}"] = {
                "server µs": _us(spent.seconds),
                "bytes received": round(spent.received),
                "bytes sent": round(spent.sent),
                "bytes of memory": round(spent.memory),
                "bytes logged": round(spent.logged),
            }
    return table


# What is simulated


def setup_of(sizes: Sizes, **others: object) -> Setup:
    """What the tables have in common."""
    setup = Setup(_RATE, sizes.seconds, 10, 30, _HANDLER, Chats(_CHATS, _SKEW), warm_up=sizes.warm_up)
    return attrs.evolve(setup, **others)  # type: ignore[arg-type]  # names of fields


def row_of(outcome: Outcome) -> dict[str, float]:
    return {
        "done/s": round(outcome.rate),
        "server %": _percent(outcome.server),
        "a receiver %": _percent(outcome.receiver),
        "a worker %": _percent(outcome.worker),
        "events a store": round(outcome.stored / max(1, outcome.stores), 1),
        "events a claim": round(outcome.claimed / max(1, outcome.claims), 1),
        **times_of(outcome),
        "in handlers": round(outcome.in_handlers),
        "left": outcome.left,
    }


def times_of(outcome: Outcome) -> dict[str, float]:
    """In milliseconds."""
    return {
        f"{name} p{percent} ms": round(1e3 * percentile(values, percent), 2)
        for name, values in (("answer", outcome.answers), ("wait", outcome.waits))
        for percent in (50, 99)
    }


def with_log(costs: Costs, lives: Mapping[str, Life]) -> Costs:
    """The same of a server that keeps a log."""
    without, log = lives[_NO_LOG], lives[_LOG]

    def more(step: Callable[[Life], Spent]) -> float:
        return max(0.0, step(log).seconds - step(without).seconds)

    return attrs.evolve(
        costs,
        store=Cost(costs.store.call, costs.store.event + more(lambda life: life.stored)),
        done=Cost(costs.done.call, costs.done.event + more(lambda life: life.handled)),
        forget=costs.forget + more(lambda life: life.forgotten),
    )


def simulated(sizes: Sizes, costs: Costs, logging_costs: Costs) -> Iterator[Table]:
    by_load = Table(f"By load: 10 receivers, 30 workers, handlers of {_HANDLER * 1e3:g} ms", "events/s")
    for rate in sizes.rates:
        by_load.rows[f"{rate:,}"] = row_of(simulate(setup_of(sizes, rate=rate), costs))
    for rate in (_RATE, _RATE * 5 // 4):
        outcome = simulate(setup_of(sizes, rate=rate), logging_costs)
        by_load.rows[f"{rate:,}, {_LOG}"] = row_of(outcome)
    by_load.rows[f"{_RATE:,}, forgotten 50 at a time"] = row_of(
        simulate(setup_of(sizes, forgotten=50), costs)
    )
    yield by_load

    by_processes = Table(f"By processes, {_RATE:,} events/s", "receivers, workers")
    for receivers, workers in ((2, 10), (5, 10), (10, 30), (25, 50), (50, 100)):
        setup = setup_of(sizes, receivers=receivers, workers=workers)
        by_processes.rows[f"{receivers}, {workers}"] = row_of(simulate(setup, costs))
    yield by_processes

    by_disk = Table(f"With `appendfsync always`, {_RATE:,} events/s", "ms an fsync")
    for fsync in (0.0001, 0.001, 0.005, 0.02):
        outcome = simulate(setup_of(sizes), attrs.evolve(logging_costs, fsync=fsync))
        by_disk.rows[f"{fsync * 1e3:g}"] = row_of(outcome)
    yield by_disk

    lanes = Table("One chat alone, which always has events", "ms a handler")
    for handler in (0.001, 0.01, 0.05, 1.0):
        setup = setup_of(
            sizes, rate=0, receivers=0, workers=2, handler=handler, chats=Chats(1, 0), backlog=100_000,
            seconds=max(sizes.seconds, 10_000 * handler) + sizes.warm_up,
        )  # fmt: skip
        outcome = simulate(setup, costs)
        turn = 1 / outcome.rate - outcome.in_handlers / outcome.rate
        lanes.rows[f"{handler * 1e3:g}"] = {"events/s": outcome.rate, "ms from one to the next": turn * 1e3}
    yield lanes

    shares = Table(f"% of {_RATE:,} events/s that are in chats which get more than they can handle", "skew")
    turn_around = lanes.rows["10"]["ms from one to the next"] / 1e3
    for skew in (0.3, 0.5, 0.7, 0.9):
        chats = Chats(_CHATS, skew)
        shares.rows[f"{skew}"] = {
            "busiest chat, events/s": round(chats.share(0) * _RATE, 1),
            **{
                f"handlers of {handler * 1e3:g} ms": _percent(
                    chats.share_of_busier(1 / (handler + turn_around) / _RATE)
                )
                for handler in (0.01, 0.05, 0.2, 1.0)
            },
        }
    yield shares

    drain = Table("A backlog while as much as ever comes in: workers were away", "events/s that come")
    for rate in (0, 5_000, 10_000):
        setup = setup_of(sizes, rate=rate, backlog=int(45_000 * sizes.seconds), warm_up=1.0)
        outcome = simulate(setup, costs)
        drain.rows[f"{rate:,}"] = {
            "done/s": round(outcome.rate),
            "s to drain a minute's 10,000/s": round(600_000 / max(1.0, outcome.rate - rate), 1),
            "answer p99 ms": round(1e3 * percentile(outcome.answers, 99), 1) if rate else 0,
        }
    yield drain


# What is held against reality


def compared(sizes: Sizes, costs: Costs) -> Table:
    """What is measured at a rate, and what the simulation tells of it, which knows only what the sender takes.

    Of several runs, the one beside which other programs had the least.
    """
    table = Table("Measured, and simulated for this machine", "events/s, workers")
    for rate, workers in sizes.trials:
        setup = Setup(rate, sizes.trial_seconds, 1, workers, 0.01, Chats(2_000, _SKEW))
        runs = [trial.run(setup, seed) for seed in range(sizes.trial_rounds)]
        real = min(runs, key=lambda each: each.others)
        told = simulate(attrs.evolve(setup, cores=os.cpu_count(), sender=real.sender), costs)
        for name, outcome in (("measured", real.outcome), ("simulated", told)):
            table.rows[f"{rate:,}, {workers}: {name}"] = {
                "server %": _percent(outcome.server),
                "receiver %": _percent(outcome.receiver),
                "a worker %": _percent(outcome.worker),
                **times_of(outcome),
                "others %": _percent(real.others),
            }
    return table


async def measure(sizes: Sizes) -> tuple[list[Calls], list[Calls], Rest, dict[str, Life]]:
    entries = Entries()
    events, rounds = sizes.events, sizes.rounds
    with Server.running() as server:
        rest = await measure_rest(server, entries, events, rounds, sizes.idle)
        calls = await measure_calls(server, entries, sizes.sizes, sizes.senders, events, rounds)
        again = await measure_calls(server, entries, (1, 64), (1,), events, rounds, sizes.remembered)
    lives = {}
    for name, options in ((_NO_LOG, {}), (_LOG, _AOF)):
        with Server.running(**options) as server:
            lives[name] = await measure_life(server, sizes.life, sizes.life_rounds)
    with Server.running() as server:
        lives["50 chats"] = await measure_life(server, sizes.life, sizes.life_rounds, chats=50)
    return calls, again, rest, lives


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small and short: to see that it works")
    arguments = parser.parse_args()
    sizes = _QUICK if arguments.quick else Sizes()
    logging.disable(logging.WARNING)
    calls, again, rest, lives = trio.run(measure, sizes)
    here = Costs(
        store=fitted(calls, lambda each: each.store),
        claim=fitted(calls, lambda each: each.claim),
        done=fitted(calls, lambda each: each.done),
        ticket=rest.ticket,
        renew=rest.renew,
        hold=rest.hold,
        receive=trial.cost_of_receiving(sizes.events),
        work=trial.cost_of_working(sizes.events),
        network=trial.network_seconds(),
    )
    costs = attrs.evolve(here, forget=lives[_NO_LOG].forgotten.seconds, network=_NETWORK)
    tables = [
        calls_table("Server µs an event", calls),
        calls_table(f"The same, {sizes.remembered:,} done events remembered", again),
        life_table(lives),
        costs_table(costs, rest),
        *simulated(sizes, costs, with_log(costs, lives)),
        compared(sizes, here),
    ]
    results = Results.here({"scale": attrs.asdict(sizes)})
    results.samples = [sample for table in tables for sample in table.samples()]
    text = "\n".join(line for table in tables for line in table.lines())
    print(text)
    if not arguments.quick:
        (_RESULTS / "scale.md").write_text(text)
        (_RESULTS / "scale.json").write_text(json.dumps(results.to_json(), indent=1) + "\n")


if __name__ == "__main__":
    main()
