"""Trials until a search is within 2 % of the best, with and without `warm_start`: `python tests/benchmarks/warm_start.py`.

Replays the project's own source of suggestions on recorded errors, one trial after the other, without training. Two tables: the
study of encodings (results/study: 21 or 22 contenders x 5 learning rates, three tasks of other data), and grid.csv (144 cells,
of which an earlier sweep had other lists). An earlier sweep is a random search of some of its table.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import optuna

from bel.config import TrainConfig
from bel.errors import UserError
from bel.run_layout import Outcome
from launch.runs import Run
from launch.schedule.guide import Told
from launch.schedule.studies import sampler
from launch.schedule.suggestions import StudySource
from launch.spec.combinations import Plan, make_plan
from launch.spec.sweep_file import Sweep, parse, read_content
from launch.warm_start.mapping import map_fields
from tests.benchmarks import search
from tests.conftest import PROJECT

RATES = ("0.0002", "0.0005", "0.0012", "0.003", "0.008")  # that each contender of the study was tuned on, or more
EARLIER = 40  # trials of the earlier sweep
WITHIN = 1.02  # times the error of the best cell
METRIC = "val/best_mae_groups"
FIELDS = ("head", "code", "loss", "lr")

Cell = tuple[Any, ...]
Errors = Mapping[Cell, float]


@dataclass(frozen=True)
class Pair:
    """An earlier sweep's table and a sweep's own, both errors by `FIELDS`; `exact`: of the same data and settings."""

    name: str
    earlier: Errors
    sweep: Sweep
    own: Errors
    epochs: int
    exact: bool


def study(task: str) -> Errors:
    """The errors of a task of the study on its hold-out."""
    content = json.loads((PROJECT / "results" / "study" / task / "contenders.json").read_text())
    named = [(one["params"], one["tuning"]) for one in content["contenders"]]
    return {
        (params["head"], params.get("code"), params["loss"], float(rate)): tuning[rate]
        for params, tuning in named
        for rate in RATES
    }


def study_pair(earlier: str, task: str) -> Pair:
    """One task of the study after another one."""
    content = read_content(PROJECT / "sweeps" / f"study_{task}.yaml") | {"search": {"method": "tpe", "trials": 1}}
    return Pair(f"{task} after {earlier}", study(earlier), parse(content), study(task), 6, False)


def grid_pair() -> Pair:
    """The grid of BIWI over all codes and two losses, after one over three codes with the third loss as well."""
    table = search.read()
    cells = {
        ("bel", code, loss, float(lr)): epochs[-1]["val/best_mae"] for (loss, lr, code), epochs in table.cells.items()
    }
    earlier = {cell: error for cell, error in cells.items() if cell[1] in ("u", "hex16", "had")}
    own = {cell: error for cell, error in cells.items() if cell[2] != "l1"}
    lists = [list(dict.fromkeys(cell[place] for cell in own)) for place in (1, 2, 3)]
    space = {name: {"choice": values} for name, values in zip(FIELDS[1:], lists, strict=True)}
    made = parse({"name": "t", "base": search.BASE, "space": space, "search": {"method": "tpe", "trials": 1}})
    return Pair("all codes after three", earlier, made, own, table.longest, True)


def told(pair: Pair, plan: Plan, generator: np.random.Generator, trials: int) -> Iterator[Told]:
    """Yield what a search is told of an earlier one that drew its trials at random."""
    cells = list(pair.earlier)
    for place in generator.permutation(len(cells))[:trials]:
        fields = dict(zip(FIELDS, cells[place], strict=True))
        try:
            values, drawn = map_fields(pair.sweep, plan, fields, generator)
        except UserError:
            continue
        error = pair.earlier[cells[place]]
        yield Told(
            "earlier", (str(place),), values, Outcome.FINISHED, (error,), pair.epochs, pair.exact and not drawn, drawn
        )


def cell(config: TrainConfig) -> Cell:
    """The cell of a config."""
    return tuple(getattr(config, name) for name in FIELDS)


def trials_to_best(pair: Pair, plan: Plan, seed: int, trials: int) -> float:
    """The number of trials until one is within 2 % of the best."""
    made = replace(pair.sweep, search=replace(pair.sweep.search, seed=seed))
    known = list(told(pair, plan, np.random.default_rng(seed), trials))
    source = StudySource(made, plan, optuna.create_study(sampler=sampler(made, 0)), len(plan.combinations), known)
    goal = WITHIN * min(pair.own.values())
    for number in range(1, len(plan.combinations) + 1):
        config = source.ask()
        assert config is not None
        error = pair.own[cell(config)]
        if error <= goal:
            return number
        run = Run(str(number), config, "", {"val_groups": "1"}, str(number), [{"epoch": pair.epochs, METRIC: error}])
        run.outcome = Outcome.FINISHED
        source.tell(config, [run])
    return math.inf


def replays(pair: Pair, trials: int, seeds: range) -> list[float]:
    """What the searches of some seeds take, in order."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    plan = make_plan(pair.sweep)
    assert len(plan.combinations) == len(pair.own)
    return sorted(trials_to_best(pair, plan, seed, trials) for seed in seeds)


PAIRS: dict[str, Callable[[], Pair]] = {
    "grid": grid_pair,
    "age": lambda: study_pair("pose", "age"),
    "pose": lambda: study_pair("age", "pose"),
    "steering": lambda: study_pair("pose", "steering"),
}


def main() -> int:
    """Print what each search takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replays", type=int, default=100, help="searches of each kind, seeds from 0 (%(default)s)")
    parser.add_argument("--pairs", nargs="*", choices=PAIRS, default=list(PAIRS))
    arguments = parser.parse_args()
    print(
        f"epochs until a trial is within 2 % of the best, {arguments.replays} searches by tpe; {EARLIER} earlier trials"
    )
    print(
        f"{'sweep':<24} {'cells':>5} {'warm_start':>10} {'median':>7} {'quartiles':>14} {'nine of ten':>11}", flush=True
    )
    for name in arguments.pairs:
        pair = PAIRS[name]()
        for trials in (0, EARLIER):
            found = [pair.epochs * count for count in replays(pair, trials, range(arguments.replays))]
            quartiles = f"{found[len(found) // 4]:7.0f}{found[-1 - len(found) // 4]:7.0f}"
            row = f"{statistics.median(found):7.0f} {quartiles} {found[int(0.9 * len(found))]:11.0f}"
            print(f"{pair.name:<24} {len(pair.own):5} {'yes' if trials else 'no':>10} {row}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
