"""Which combinations of a sweep's dimensions are valid: its plan; each is checked by making its config."""

import itertools
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bel.config import TrainConfig
from bel.errors import UserError
from bel.heads import HEADS
from bel.regularisers import NONE
from launch.spec.dimensions import Conditions, as_text, holds, owner
from launch.spec.sweep_file import Sweep

MAX_COMBINATIONS = 50_000  # combinations of a space
MAX_PROBES = 20_000  # whole numbers of an interval that are checked, over all combinations

Values = dict[str, Any]


def make_config(sweep: Sweep, values: Values) -> TrainConfig:
    """Return the config of a combination; device auto becomes cuda or cpu. Raises `UserError` where it is not valid."""
    chosen = sweep.base | active(sweep, values)
    if chosen.get("device", TrainConfig.device) == "auto":
        chosen["device"] = "cuda" if sweep.resources.gpu else "cpu"
    return TrainConfig.make({name: value for name, value in chosen.items() if belongs(sweep, name, chosen)})


def active(sweep: Sweep, values: Values) -> Values:
    """Return the values without those of dimensions that do not vary in this combination."""
    kept = {name: value for name, value in values.items() if name not in sweep.space}
    for name in sweep.space:
        if name in values and varies(sweep, name, kept):
            kept[name] = values[name]
    return kept


def varies(sweep: Sweep, name: str, values: Values) -> bool:
    """Return whether a dimension varies, given the values of the dimensions before it."""
    return holds(sweep.space[name].when, values, sweep.space) and belongs(sweep, name, sweep.base | values)


def belongs(sweep: Sweep, name: str, values: Values) -> bool:
    """Return whether a field applies to the head or the regulariser of `values`; it does where its owner does not vary."""
    by = owner(name)
    if by is None or by not in sweep.space:
        return True
    chosen = str(values.get(by, getattr(TrainConfig, by)))
    if by == "regulariser":
        return chosen != NONE
    return chosen not in HEADS or name in HEADS[chosen].options


def combinations(sweep: Sweep) -> list[Values]:
    """Return all combinations of the finite dimensions. Raises `UserError` for too many."""
    found: list[Values] = [{}]
    for name, values in sweep.finite.items():
        choices: list[Values] = [{name: value} for value in values]
        options: list[list[Values]] = [choices if varies(sweep, name, begun) else [{}] for begun in found]
        total = sum(len(some) for some in options)
        if total > MAX_COMBINATIONS:
            raise UserError(
                f"space has {total} combinations or more, at most {MAX_COMBINATIONS} can be laid out: shorten the lists"
            )
        found = [begun | more for begun, some in zip(found, options, strict=True) for more in some]
    return found


def check_combination(sweep: Sweep, values: Values) -> TrainConfig:
    """Return the config of a combination, every interval at its lower bound. Raises `UserError` where it is dropped."""
    for rule in sweep.exclude:
        if holds(rule, values, sweep.space):
            raise UserError(exclusion(rule))
    return make_config(sweep, values | lower_bounds(sweep))


def exclusion(rule: Conditions) -> str:
    """Return the reason with which a rule drops a combination."""
    return f"excluded by {as_text(rule)}"


def lower_bounds(sweep: Sweep) -> Values:
    """Return the lower bound of every interval."""
    return {name: dimension.low for name, dimension in sweep.intervals.items()}


def finite_values(sweep: Sweep, values: Values) -> Values:
    """Return the values of the finite dimensions."""
    return {name: value for name, value in values.items() if name in sweep.finite}


def refuse_idle_rules(sweep: Sweep, reasons: Counter[str]) -> None:
    """Raise `UserError` for a rule that drops nothing."""
    for place, rule in enumerate(sweep.exclude, 1):
        if exclusion(rule) not in reasons or rule in sweep.exclude[: place - 1]:
            raise UserError(
                f"exclude.{place} {as_text(rule)} drops no combination, or none that a rule before it leaves: take it out"
            )


def refuse_useless(sweep: Sweep, valid: list[Values], dropped: list[tuple[Values, str]]) -> None:
    """Raise `UserError` for a dimension that varies in no valid combination, and for a value in none."""
    for name, dimension in sweep.space.items():
        if not any(varies(sweep, name, values) for values in valid):
            without_owner = f"space.{name} belongs to no {owner(name)} of this sweep"
            without_when = f"space.{name}.when {as_text(dimension.when)} holds in no valid combination"
            raise UserError(f"{without_when if dimension.when else without_owner}: leave it out")
    for name, values in sweep.finite.items():
        used = [some[name] for some in valid if name in some]
        for value in values:
            if value not in used:
                reasons = Counter(reason for wrong, reason in dropped if wrong.get(name) == value)
                why = reasons.most_common(1)[0][0] if reasons else "it says the same as another value"
                raise UserError(f"space.{name}: {value!r} is valid in no combination: {why}")


def refuse_bad_bounds(sweep: Sweep, valid: list[Values]) -> None:
    """Raise `UserError` for an interval that is not valid wherever it varies, and for a grid over one."""
    for name, dimension in sweep.intervals.items():
        where = [values for values in valid if varies(sweep, name, values)]
        for values, probe in itertools.product(where, dimension.probes(MAX_PROBES // len(where))):
            try:
                make_config(sweep, values | lower_bounds(sweep) | {name: probe})
            except UserError as error:
                raise UserError(f"space.{name} is not valid at {probe:g}: {error}") from None
        if sweep.method.exhaustive:
            raise UserError(f"a grid needs lists, and space.{name} is an interval: use random or tpe")


def refuse_bad_points(sweep: Sweep, valid: list[Values]) -> None:
    """Raise `UserError` for a point that is no trial of the sweep, or is there twice."""
    for place, point in enumerate(sweep.points, 1):
        what, kept = f"points.{place}", active(sweep, point)
        for name in sweep.space:
            if name in point and name not in kept:
                raise UserError(f"{what} names {name}, which does not vary beside its other values: leave it out")
            if name not in point and varies(sweep, name, kept):
                raise UserError(f"{what} lacks {name}: a point names every dimension that varies, {list(sweep.space)}")
        try:
            check_combination(sweep, finite_values(sweep, point))
            make_config(sweep, point)
        except UserError as error:
            raise UserError(f"{what} is no trial of this sweep: {error}") from None
        if finite_values(sweep, point) not in valid:
            raise UserError(f"{what} says the same as another combination of space: {point}: write that one")
        if point in sweep.points[: place - 1]:
            raise UserError(f"{what} is there twice: {point}: leave one of them out")


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
    return plan


SPLIT = ("selection", "val_fraction", "folds", "fold", "split_seed")
COMPARABLE = ("protocol", "data_root", "on_missing", "frame_stride", *SPLIT)  # decide the validation images


def refuse_incomparable(sweep: Sweep, plan: Plan) -> None:
    """Raise `UserError` where a sweep would compare errors on different validation images, or tune on the test split."""
    if not compares(sweep):
        return
    for name in COMPARABLE:
        varied = name in sweep.intervals or len({str(getattr(config, name)) for config in plan.configs}) > 1
        if varied and not (name == "protocol" and name in sweep.finite):
            raise UserError(
                f"search compares trials by one number, and those of different {name} are not comparable: "
                "use method grid or random and scheduler none, without tune, or one sweep each"
            )
    if sweep.search.tune and any(config.selection != "val" for config in plan.configs):
        raise UserError(
            "search.tune chooses on held-out training groups, and recipe published selects on test: set recipe to clean"
        )


def compares(sweep: Sweep) -> bool:
    """Return whether a search, a scheduler or a race decides by comparing trials."""
    return sweep.scheduler.compares or sweep.method.suggests or sweep.search.race or sweep.search.tune is not None
