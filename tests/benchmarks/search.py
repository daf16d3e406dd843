"""Epochs until a search is within 2 % of the best cell of grid.csv: `python tests/benchmarks/search.py [--replays 100]`.

Replays the project's own sources and schedulers on recorded epochs, with four workers and without training; every source
ends after as many configurations as the grid has. 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import csv
import heapq
import itertools
import math
import statistics
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import optuna

from bel.config import TrainConfig
from bel.run_layout import Outcome
from launch.runs import Entry, Run, SweepRuns
from launch.schedule.schedulers import ByKey, make_scheduler
from launch.schedule.stopper import SweepStopper
from launch.schedule.studies import sampler
from launch.schedule.suggestions import ListSource, Source, StudySource
from launch.spec.combinations import Plan, make_plan
from launch.spec.sampling import draw
from launch.spec.sweep_file import Sweep, parse

GRID = Path(__file__).with_name("grid.csv")
DIMENSIONS = ("loss", "lr", "code")
BASE = {"backbone": "resnet10", "weights": "none", "code_bits": 76, "device": "cpu"}
WORKERS = 4
WITHIN = 1.02  # times the error of the best cell
BAR = 0.30  # of the grid's epochs, at most, for tpe + asha in the median
CONTENDERS = (("random", "none"), ("random", "asha"), ("tpe", "none"), ("tpe", "asha"))

Cell = tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """The epochs of every cell of a grid: number, error so far, seconds."""

    cells: dict[Cell, list[Entry]]

    @property
    def longest(self) -> int:
        """Epochs of a cell."""
        return max(len(epochs) for epochs in self.cells.values())

    @property
    def epochs(self) -> int:
        """Epochs of the whole grid."""
        return sum(len(epochs) for epochs in self.cells.values())

    @property
    def goal(self) -> float:
        """The error that a search has to reach."""
        return WITHIN * min(epochs[-1]["val/best_mae"] for epochs in self.cells.values())


def read(path: Path = GRID) -> Table:
    """The table in a CSV of record_grid.py."""
    cells: dict[Cell, list[Entry]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(line for line in file if not line.startswith("#")):
            entry = {name: float(row[name]) for name in ("epoch", "val/best_mae", "seconds")}
            cells.setdefault(tuple(row[name] for name in DIMENSIONS), []).append(entry)
    return Table(cells)


def make_sweep(table: Table, **search: Any) -> Sweep:
    """The sweep that would search the grid, over lists."""
    lists = [list(dict.fromkeys(values)) for values in zip(*table.cells, strict=True)]
    space = {name: {"choice": values} for name, values in zip(DIMENSIONS, lists, strict=True)}
    search = {"trials": len(table.cells), "objective": "val/mae"} | search  # as the grid was recorded
    return parse({"name": "replay", "base": BASE | {"epochs": table.longest}, "space": space, "search": search})


def make_source(sweep: Sweep, plan: Plan) -> Source:
    """Where the sweep's configurations come from; a study is kept in memory."""
    if not sweep.method.suggests:
        return ListSource(plan.config(sweep, values) for values in draw(sweep, plan))
    study = optuna.create_study(sampler=sampler(sweep, sweep.search.seed or 0))
    return StudySource(sweep, plan, study, len(plan.combinations))


def cell(config: TrainConfig) -> Cell:
    """The cell of a config."""
    return tuple(str(getattr(config, name)) for name in DIMENSIONS)


class Pool:
    """Workers that take the recorded seconds for an epoch; `spent` counts the epochs that were begun."""

    def __init__(self, table: Table, source: Source, schedule: ByKey | None) -> None:
        self.table, self.source, self.schedule = table, source, schedule
        self.spent = 0
        self.order = itertools.count()
        self.busy: list[tuple[float, int, Run]] = []  # when the epoch ends, which began first

    def begin(self, now: float) -> None:
        """Let a free worker take the next configuration, if there is one."""
        config = self.source.ask()
        if config is not None:
            name = str(config)
            self.go_on(now, Run(key=name, config=config, name=name, facts={"val_groups": "1"}, group=name))

    def go_on(self, now: float, run: Run) -> None:
        """Begin the next epoch of a run."""
        self.spent += 1
        seconds = self.table.cells[cell(run.config)][run.epoch]["seconds"]
        heapq.heappush(self.busy, (now + seconds, next(self.order), run))

    def end(self, now: float, run: Run) -> None:
        """Judge the epoch that has ended, and go on with the run or with another one."""
        decision = self.schedule.judge(run.key, run.history) if self.schedule else "CONTINUE"
        if run.epoch < run.config.epochs and decision == "CONTINUE":
            self.go_on(now, run)
            return
        run.outcome = Outcome.FINISHED if run.epoch == run.config.epochs else Outcome.STOPPED
        self.source.tell(run.config, [run])
        self.begin(now)

    def epochs_to(self, goal: float) -> float:
        """Epochs that were begun when a run first reached an error; infinity where none does."""
        for _ in range(WORKERS):
            self.begin(0.0)
        while self.busy:
            now, _, run = heapq.heappop(self.busy)
            run.history.append(self.table.cells[cell(run.config)][run.epoch])
            if run.metrics["val/best_mae"] <= goal:
                return self.spent
            self.end(now, run)
        return math.inf


def replay(table: Table, plan: Plan, method: str, stopping: str, seed: int) -> float:
    """The share of the grid's epochs that one search takes."""
    sweep = make_sweep(table, method=method, scheduler=stopping, seed=seed)
    nothing = cast(SweepRuns, None)  # serves Tune's own questions alone
    schedule = make_scheduler(sweep, table.longest, nothing, {}, SweepStopper(nothing))
    return (
        Pool(table, make_source(sweep, plan), schedule if isinstance(schedule, ByKey) else None).epochs_to(table.goal)
        / table.epochs
    )


def shares(table: Table, method: str, stopping: str, seeds: Iterable[int]) -> list[float]:
    """What the searches of some seeds take."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    plan = make_plan(make_sweep(table, method="random"))
    assert len(plan.combinations) == len(table.cells)
    return [replay(table, plan, method, stopping, seed) for seed in seeds]


def describe(name: str, found: list[float]) -> str:
    """A line of the table."""
    ordered = sorted(found)
    low, high = ordered[len(ordered) // 4], ordered[-1 - len(ordered) // 4]
    within, never = (sum(share <= BAR for share in found), found.count(math.inf))
    middle = f"{statistics.median(found):7.3f} {low:7.3f}{high:7.3f}"
    return f"{name:<14} {middle} {within / len(found):11.0%} {never / len(found):6.0%}"


def main() -> int:
    """Print what each search takes; 1 where tpe + asha misses its bar or random + asha does as well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, default=GRID, help="a table of record_grid.py")
    parser.add_argument("--replays", type=int, default=100, help="searches of each kind, seeds from 0 (%(default)s)")
    arguments = parser.parse_args()
    table = read(arguments.table)
    near = sum(epochs[-1]["val/best_mae"] <= table.goal for epochs in table.cells.values())
    print(
        f"{len(table.cells)} cells, {table.epochs} epochs, best {table.goal / WITHIN:g}; within 2 % of it: {near} cells"
    )
    print(f"share of the epochs until one of them is found, {arguments.replays} replays, {WORKERS} workers")
    print(f"{'search':<14} {'median':>7} {'quartiles':>14} {f'within {BAR:.0%}':>11} {'never':>6}")
    medians = {}
    for method, stopping in CONTENDERS:
        found = shares(table, method, stopping, range(arguments.replays))
        medians[method, stopping] = statistics.median(found)
        print(describe(f"{method} + {stopping}".removesuffix(" + none"), found), flush=True)
    ours, other = medians["tpe", "asha"], medians["random", "asha"]
    print(f"bar: tpe + asha at most {BAR:g} and below random + asha; measured {ours:.3f} against {other:.3f}")
    return int(not (ours <= BAR and ours < other))


if __name__ == "__main__":
    sys.exit(main())
