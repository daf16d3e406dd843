"""What a search over two objectives keeps of the Pareto front where trials stop early: `python tests/benchmarks/pareto.py`.

Replays all cells of sizes.csv (of record_grid.py) in a random order with four workers, without training: with the project's
scheduler, and with the rule of OptunaHub's multi-metric pruner (each epoch's rank in nondominated sorting, judged by one of
Optuna's pruners). Of the trials that finish: the share of the whole grid's hypervolume, and the epochs of all trials. 1 where a
bar is missed.
"""

from __future__ import annotations

import argparse
import csv
import heapq
import itertools
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.pruners import BasePruner, MedianPruner, PercentilePruner
from optuna.trial import TrialState, create_trial
from ray.tune.schedulers import TrialScheduler

from launch.runs import Entry
from launch.schedule.explained import KeyedTrial
from launch.schedule.pareto import Pareto
from launch.spec.search import OBJECTIVES

TABLE = Path(__file__).with_name("sizes.csv")
GOALS = [OBJECTIVES["val/mae_groups"], OBJECTIVES["images_per_s"]]
ERROR, SPEED = (goal.metric for goal in GOALS)
WORKERS = 4
KEPT, EPOCHS = 0.98, 0.5  # the bars: of the hypervolume at least, of the epochs at most

Table = list[list[Entry]]
Judge = Callable[[int, Entry], bool]  # of a trial and its epoch: whether it stops


def read(path: Path = TABLE) -> Table:
    """The epochs of every cell."""
    names = ("epoch", ERROR, SPEED, "seconds")
    cells: dict[tuple[str, ...], list[Entry]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(line for line in file if not line.startswith("#")):
            cell = tuple(value for name, value in row.items() if name not in names)
            cells.setdefault(cell, []).append({name: float(row[name]) for name in names})
    return list(cells.values())


def front(ends: Sequence[Entry]) -> list[tuple[float, float]]:
    """Error and speed of the trials that none dominates, the fastest first."""
    found: list[tuple[float, float]] = []
    for error, speed in sorted(((end[ERROR], end[SPEED]) for end in ends), key=lambda point: (-point[1], point[0])):
        if not found or error < found[-1][0]:
            found.append((error, speed))
    return found


def hypervolume(points: Sequence[tuple[float, float]], worst: tuple[float, float]) -> float:
    """The area that a front dominates, up to an error and down to a speed."""
    area, limit = 0.0, worst[0]
    for error, speed in points:
        area += max(0.0, limit - error) * max(0.0, speed - worst[1])
        limit = min(limit, error)
    return area


def ours(longest: int) -> Judge:
    """The project's scheduler."""
    inner = Pareto(GOALS, max(1, longest // 4))
    return lambda trial, entry: inner.on_trial_result(None, KeyedTrial(str(trial)), entry) == TrialScheduler.STOP


class Ranks:
    """The rule of OptunaHub's multi-metric pruner: a pruner of Optuna's sees, as errors, the ranks of each epoch."""

    def __init__(self, pruner: BasePruner) -> None:
        self.pruner = pruner
        self.trials: dict[int, dict[int, Entry]] = {}
        self.over: set[int] = set()

    def __call__(self, trial: int, entry: Entry) -> bool:
        """Whether a trial stops after an epoch."""
        self.trials.setdefault(trial, {})[int(entry["epoch"])] = entry
        ranks = {epoch: self.ranks(epoch) for epoch in self.trials[trial]}
        study = optuna.create_study()
        for other in self.over:
            self.add(study, TrialState.COMPLETE, {epoch: one[other] for epoch, one in ranks.items() if other in one})
        asked = create_trial(
            state=TrialState.RUNNING, intermediate_values={epoch: one[trial] for epoch, one in ranks.items()}
        )
        return self.pruner.prune(study, asked)

    @staticmethod
    def add(study: optuna.Study, state: TrialState, ranks: dict[int, float]) -> None:
        """Add a trial that is over to a study."""
        study.add_trial(create_trial(state=state, value=ranks[max(ranks)], intermediate_values=ranks))

    def ranks(self, epoch: int) -> dict[int, float]:
        """The number of fronts before that of each trial in an epoch."""
        left = {trial: entries[epoch] for trial, entries in self.trials.items() if epoch in entries}
        found: dict[int, float] = {}
        for rank in itertools.count():
            if not left:
                return found
            best = front(list(left.values()))
            first = [trial for trial, entry in left.items() if (entry[ERROR], entry[SPEED]) in best]
            found |= dict.fromkeys(first, float(rank))
            left = {trial: entry for trial, entry in left.items() if trial not in first}
        raise AssertionError


def replay(table: Table, judge: Judge, order: Iterator[int], over: set[int] | None = None) -> tuple[list[Entry], int]:
    """The last epochs of the trials that finish, and the epochs of all."""
    ends: list[Entry] = []
    spent = 0
    counter = itertools.count()
    busy: list[tuple[float, int, int, int]] = []  # when the epoch ends, which began first, the trial, its epoch from 0

    def begin(now: float, trial: int | None, epoch: int = 0) -> None:
        if trial is not None:
            heapq.heappush(busy, (now + table[trial][epoch]["seconds"], next(counter), trial, epoch))

    for _ in range(WORKERS):
        begin(0.0, next(order, None))
    while busy:
        now, _, trial, epoch = heapq.heappop(busy)
        entry, spent = table[trial][epoch], spent + 1
        stopped, last = judge(trial, entry), epoch + 1 == len(table[trial])
        if not (stopped or last):
            begin(now, trial, epoch + 1)
            continue
        if last:
            ends.append(entry)
        if over is not None:
            over.add(trial)
        begin(now, next(order, None))
    return ends, spent


def shares(table: Table, name: str, seeds: range) -> list[tuple[float, float]]:
    """The shares of hypervolume and epochs of some orders."""
    longest = max(len(epochs) for epochs in table)
    whole = front([epochs[-1] for epochs in table])
    worst = (1.1 * whole[0][0], whole[-1][1] / 1.1)
    best, all_epochs = hypervolume(whole, worst), sum(map(len, table))
    found = []
    for seed in seeds:
        order = iter(np.random.default_rng(seed).permutation(len(table)).tolist())
        judge: Any = ours(longest) if name == "ours" else Ranks(PRUNERS[name](max(1, longest // 4)))
        ends, spent = replay(table, judge, order, getattr(judge, "over", None))
        found.append((hypervolume(front(ends), worst) / best, spent / all_epochs))
    return found


PRUNERS: dict[str, Callable[[int], BasePruner]] = {  # that judge ranks, from their first epoch on
    "ranks, median": lambda first: MedianPruner(n_startup_trials=5, n_warmup_steps=first),
    "ranks, best third": lambda first: PercentilePruner(100 / 3, n_startup_trials=5, n_warmup_steps=first),
}


def main() -> int:
    """Print what each rule keeps and spends; 1 where ours misses a bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, default=TABLE, help="a table of record_grid.py --grid sizes")
    parser.add_argument("--replays", type=int, default=100, help="orders, seeds from 0 (%(default)s)")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    table = read(arguments.table)
    print(f"{len(table)} cells, {sum(map(len, table))} epochs, a front of {len(front([e[-1] for e in table]))}")
    print(f"median, 5 % and 95 % of {arguments.replays} orders, {WORKERS} workers")
    print(f"{'rule':<20} {'hypervolume':>11} {'5 to 95 %':>15} {'epochs':>8} {'5 to 95 %':>15}")
    medians = {}
    for name in ("ours", *PRUNERS):
        parts = list(zip(*shares(table, name, range(arguments.replays)), strict=True))
        medians[name] = [statistics.median(part) for part in parts]
        quantiles = [np.quantile(part, [0.05, 0.95]) for part in parts]
        kept, epochs = (
            f"{m:.3f} {low:8.3f} {high:6.3f}" for m, (low, high) in zip(medians[name], quantiles, strict=True)
        )
        print(f"{name:<20} {kept:>27} {epochs:>24}", flush=True)
    kept, spent = medians["ours"]
    print(f"bar: hypervolume at least {KEPT}, epochs at most {EPOCHS}; measured {kept:.3f} and {spent:.3f}")
    return int(not (kept >= KEPT and spent <= EPOCHS))


if __name__ == "__main__":
    sys.exit(main())
