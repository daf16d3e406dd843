"""From a sweep to its trials: which combinations are legal, and which of them a search takes."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from bel.errors import UserError
from launch.spec.combinations import (
    Values,
    check_combination,
    combinations,
    listed,
    lower_bounds,
    make_config,
    refuse_bad_ends,
    refuse_bad_points,
    refuse_idle_rules,
    refuse_useless,
    varies,
)
from launch.spec.dimensions import Dimension, Finite
from launch.spec.sweep_file import Sweep

TRIES = 20  # draws for each trial that is wanted, after which a random search takes its space for exhausted


@dataclass(frozen=True)
class Plan:
    """The legal combinations of the finite dimensions, and how many others were dropped, by reason."""

    combinations: list[Values]
    dropped: Counter[str]


def make_plan(sweep: Sweep) -> Plan:
    """All legal combinations, each once. Raises `UserError` where a value is legal in none, or an interval in part."""
    legal: dict[str, Values] = {}
    dropped: list[tuple[Values, str]] = []
    for values in combinations(sweep):
        try:
            legal.setdefault(json.dumps(check_combination(sweep, values).as_dict()), values)
        except UserError as error:
            dropped.append((values, str(error)))
    plan = Plan(list(legal.values()), Counter(reason for _, reason in dropped))
    if not plan.combinations:
        where = "no combination of space is legal: " if sweep.space else ""
        raise UserError(f"{where}{plan.dropped.most_common(1)[0][0]}")
    refuse_idle_rules(sweep, plan.dropped)
    refuse_useless(sweep, plan.combinations, dropped)
    refuse_bad_ends(sweep, plan.combinations)
    refuse_bad_points(sweep, plan.combinations)
    refuse_unlike(sweep, plan)
    refuse_tuning_on_test(sweep, plan)
    return plan


SPLIT = ("selection", "val_fraction", "folds", "fold", "split_seed")
COMPARABLE = ("protocol", "data_root", "on_missing", "frame_stride", *SPLIT)  # decide the validation images


def refuse_unlike(sweep: Sweep, plan: Plan) -> None:
    """Raise `UserError` where a search or a scheduler would compare errors on different validation images."""
    if not compares(sweep):
        return
    configs = [make_config(sweep, legal | lower_bounds(sweep)) for legal in plan.combinations]
    for name in COMPARABLE:
        varied = name in sweep.intervals or len({str(getattr(config, name)) for config in configs}) > 1
        if varied and not (name == "protocol" and name in sweep.finite):
            raise UserError(
                f"search compares trials by one number, and those of different {name} are not comparable: "
                "use method grid or random and scheduler none, without tune, or one sweep each"
            )


def refuse_tuning_on_test(sweep: Sweep, plan: Plan) -> None:
    """Raise `UserError` where a tuned sweep would choose its values on the test split."""
    if sweep.search.tune and any(make_config(sweep, values).selection != "val" for values in plan.combinations):
        raise UserError(
            "search.tune chooses on held-out training groups, and recipe published selects on test: set recipe to clean"
        )


def compares(sweep: Sweep) -> bool:
    """Whether a search or a scheduler decides by comparing trials."""
    return sweep.scheduler.compares or sweep.method.suggests or sweep.search.tune is not None


def strata(sweep: Sweep, plan: Plan) -> list[Plan]:
    """The plans that are searched one after the other: one for each protocol, where trials are compared."""
    if not compares(sweep) or "protocol" not in sweep.finite:
        return [plan]
    by_protocol: dict[str | None, list[Values]] = {}
    for legal in plan.combinations:
        by_protocol.setdefault(legal.get("protocol"), []).append(legal)
    return [Plan(legal, Counter() if i else plan.dropped) for i, legal in enumerate(by_protocol.values())]


def points(sweep: Sweep, plan: Plan) -> list[Values]:
    """The points of the sweep that belong to a plan, in order."""
    return [point for point in sweep.points if listed(sweep, point) in plan.combinations]


def draw(sweep: Sweep, plan: Plan) -> list[Values]:
    """The trials of a grid or of a random search, in order: its points first, then others, none twice."""
    first = points(sweep, plan)
    if sweep.method.exhaustive:
        return [*first, *(legal for legal in plan.combinations if legal not in first)]
    trials = sweep.search.trials or 0
    drawn: dict[str, Values] = {}
    for values in itertools.chain(first, itertools.islice(at_random(sweep, plan), TRIES * trials)):
        if len(drawn) == trials:
            break
        drawn.setdefault(json.dumps(values, sort_keys=True), values)
    return list(drawn.values())


def at_random(sweep: Sweep, plan: Plan) -> Iterator[Values]:
    """Combinations at random: of lists alone each once, else without end."""
    generator = np.random.default_rng(sweep.search.seed or 0)
    if not sweep.intervals:
        yield from (plan.combinations[i] for i in generator.permutation(len(plan.combinations)))
        return
    while True:
        legal = plan.combinations[generator.integers(len(plan.combinations))]
        yield legal | {
            name: dimension.sample(generator)
            for name, dimension in sweep.intervals.items()
            if varies(sweep, name, legal)
        }


def suggest(sweep: Sweep, plan: Plan, trial: Any) -> Values:
    """One legal combination from an Optuna trial, field by field."""
    return decide(sweep, plan, lambda name, offered: offered.ask(trial, parameter(name, offered)))


def as_parameters(sweep: Sweep, plan: Plan, values: Values) -> dict[str, Any]:
    """The parameters of an Optuna trial of which `suggest` makes exactly these values."""
    parameters = {}

    def remember(name: str, offered: Dimension) -> Any:
        parameters[parameter(name, offered)] = values[name]
        return values[name]

    decide(sweep, plan, remember)
    return parameters


def decide(sweep: Sweep, plan: Plan, pick: Callable[[str, Dimension], Any]) -> Values:
    """A legal combination of which `pick` chooses each value, among those that can still become legal."""
    candidates, values = plan.combinations, {}
    for name in sweep.finite:
        offered = tuple(dict.fromkeys(c[name] for c in candidates if name in c))
        if offered:
            values[name] = offered[0] if len(offered) == 1 else pick(name, Finite(offered))
            candidates = [c for c in candidates if c.get(name) == values[name]]
    for name, dimension in sweep.intervals.items():
        if varies(sweep, name, values):
            values[name] = pick(name, dimension)
    return values


def parameter(name: str, offered: Dimension) -> str:
    """What Optuna calls a dimension: it wants a parameter's choices fixed, so that a list is named by them too."""
    return f"{name} {list(offered.values)}" if isinstance(offered, Finite) else name
