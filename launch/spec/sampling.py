"""From a plan to trials: the combinations that a grid, a random search or an Optuna trial takes."""

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from launch.spec.combinations import Plan, Values, compares, finite_values, varies
from launch.spec.dimensions import Dimension, Finite
from launch.spec.sweep_file import Sweep

DRAWS_PER_TRIAL = 20  # draws of a random search for each of its trials, after which its space counts as exhausted


def plans_by_protocol(sweep: Sweep, plan: Plan) -> list[Plan]:
    """Return a plan for each protocol where trials are compared, to be searched one after the other; else the plan."""
    if not compares(sweep) or "protocol" not in sweep.finite:
        return [plan]
    by_protocol: dict[str | None, Plan] = {}
    for values, config in zip(plan.combinations, plan.configs, strict=True):
        dropped = Counter() if by_protocol else plan.dropped
        one = by_protocol.setdefault(values.get("protocol"), Plan([], [], dropped))
        one.combinations.append(values)
        one.configs.append(config)
    return list(by_protocol.values())


def points(sweep: Sweep, plan: Plan) -> list[Values]:
    """Return the points of the sweep that belong to a plan, in order."""
    return [point for point in sweep.points if finite_values(sweep, point) in plan.combinations]


def draw(sweep: Sweep, plan: Plan) -> list[Values]:
    """Return the trials of a grid or of a random search in order: the points first, and no trial twice."""
    first = points(sweep, plan)
    if sweep.method.exhaustive:
        return [*first, *(values for values in plan.combinations if values not in first)]
    trials = sweep.search.trials or 0
    drawn: dict[str, Values] = {}
    for values in itertools.chain(first, itertools.islice(random_values(sweep, plan), DRAWS_PER_TRIAL * trials)):
        if len(drawn) == trials:
            break
        drawn.setdefault(json.dumps(values, sort_keys=True), values)
    return list(drawn.values())


def random_values(sweep: Sweep, plan: Plan) -> Iterator[Values]:
    """Yield combinations at random: each once in a space of lists, without end in one with intervals."""
    generator = np.random.default_rng(sweep.search.seed or 0)
    if not sweep.intervals:
        yield from (plan.combinations[i] for i in generator.permutation(len(plan.combinations)))
        return
    while True:
        values = plan.combinations[generator.integers(len(plan.combinations))]
        yield values | {
            name: dimension.sample(generator)
            for name, dimension in sweep.intervals.items()
            if varies(sweep, name, values)
        }


def suggest(sweep: Sweep, plan: Plan, trial: Any) -> Values:
    """Return one valid combination from an Optuna trial, field by field."""
    return choose_values(sweep, plan, lambda name, offered: offered.suggest(trial, parameter_name(name, offered)))


def as_parameters(sweep: Sweep, plan: Plan, values: Values) -> dict[str, Any]:
    """Return the parameters of an Optuna trial for which `suggest` returns exactly these values."""
    parameters: dict[str, Any] = {}
    choose_values(sweep, plan, lambda name, offered: parameters.setdefault(parameter_name(name, offered), values[name]))
    return parameters


def choose_values(sweep: Sweep, plan: Plan, pick: Callable[[str, Dimension], Any]) -> Values:
    """Return a valid combination; `pick` chooses each value among those that lead to one."""
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


def parameter_name(name: str, offered: Dimension) -> str:
    """Return Optuna's name of a dimension; a list's contains its choices, which Optuna wants fixed for a parameter."""
    return f"{name} {list(offered.values)}" if isinstance(offered, Finite) else name
