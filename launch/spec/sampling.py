"""From a sweep to its trials: which combinations are valid, and which of them a search takes."""

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from bel.config import TrainConfig
from bel.errors import UserError
from launch.spec.combinations import (
    Values,
    check_combination,
    combinations,
    finite_values,
    make_config,
    refuse_bad_bounds,
    refuse_bad_points,
    refuse_idle_rules,
    refuse_useless,
    varies,
)
from launch.spec.dimensions import Dimension, Finite
from launch.spec.sweep_file import Sweep

DRAWS_PER_TRIAL = 20  # draws of a random search for each of its trials, after which its space counts as exhausted


@dataclass(frozen=True)
class Plan:
    """The valid combinations of the finite dimensions, their configs, and how many others were dropped, by reason."""

    combinations: list[Values]
    configs: list[TrainConfig]  # of the combinations, every interval at its lower bound
    dropped: Counter[str]

    @cached_property
    def built(self) -> dict[str, TrainConfig]:
        """Return the configs by the values of their combination."""
        return {str(values): config for values, config in zip(self.combinations, self.configs, strict=True)}

    def config(self, sweep: Sweep, values: Values) -> TrainConfig:
        """Return the config of values; that of a combination is built already."""
        return self.built.get(str(values)) or make_config(sweep, values)

    def upper_configs(self, sweep: Sweep) -> list[TrainConfig]:
        """Return the configs of the combinations with every interval at its upper bound."""
        upper = {name: dimension.high for name, dimension in sweep.intervals.items()}
        return [make_config(sweep, values | upper) for values in self.combinations] if upper else self.configs


def make_plan(sweep: Sweep) -> Plan:
    """Return all valid combinations, each once. Raises `UserError` where a value is valid in none, or an interval in part."""
    valid: dict[str, tuple[Values, TrainConfig]] = {}  # by config: several values may say the same
    dropped: list[tuple[Values, str]] = []
    for values in combinations(sweep):
        try:
            config = check_combination(sweep, values)
            valid.setdefault(str(config), (values, config))
        except UserError as error:
            dropped.append((values, str(error)))
    reasons = Counter(reason for _, reason in dropped)
    if not valid:
        where = "no combination of space is valid: " if sweep.space else ""
        raise UserError(f"{where}{reasons.most_common(1)[0][0]}")
    plan = Plan([values for values, _ in valid.values()], [config for _, config in valid.values()], reasons)
    refuse_idle_rules(sweep, plan.dropped)
    refuse_useless(sweep, plan.combinations, dropped)
    refuse_bad_bounds(sweep, plan.combinations)
    refuse_bad_points(sweep, plan.combinations)
    refuse_incomparable(sweep, plan)
    refuse_tuning_on_test(sweep, plan)
    return plan


SPLIT = ("selection", "val_fraction", "folds", "fold", "split_seed")
COMPARABLE = ("protocol", "data_root", "on_missing", "frame_stride", *SPLIT)  # decide the validation images


def refuse_incomparable(sweep: Sweep, plan: Plan) -> None:
    """Raise `UserError` where a search or a scheduler would compare errors on different validation images."""
    if not compares(sweep):
        return
    for name in COMPARABLE:
        varied = name in sweep.intervals or len({str(getattr(config, name)) for config in plan.configs}) > 1
        if varied and not (name == "protocol" and name in sweep.finite):
            raise UserError(
                f"search compares trials by one number, and those of different {name} are not comparable: "
                "use method grid or random and scheduler none, without tune, or one sweep each"
            )


def refuse_tuning_on_test(sweep: Sweep, plan: Plan) -> None:
    """Raise `UserError` where a tuned sweep would choose its values on the test split."""
    if sweep.search.tune and any(config.selection != "val" for config in plan.configs):
        raise UserError(
            "search.tune chooses on held-out training groups, and recipe published selects on test: set recipe to clean"
        )


def compares(sweep: Sweep) -> bool:
    """Return whether a search or a scheduler decides by comparing trials."""
    return sweep.scheduler.compares or sweep.method.suggests or sweep.search.tune is not None


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
