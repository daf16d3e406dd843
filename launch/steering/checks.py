"""What a running sweep may be given: the checks of a sweep file, for the command and again for the driver that takes it."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from bel.config import TrainConfig, convert
from bel.config_fields import FIELDS
from bel.errors import UserError, convert_to, one_of, refuse_unknown, within
from launch.spec.combinations import (
    COMPARABLE,
    Plan,
    Values,
    active,
    compares,
    exclusion,
    finite_values,
    make_config,
    make_plan,
    varies,
)
from launch.spec.dimensions import Finite, holds
from launch.spec.search import Search
from launch.spec.sections import checked
from launch.spec.sweep_file import STRUCTURED, Sweep
from launch.steering.commands import SETTINGS

NONE = "none"  # of `at_once`: as many as fit
MOST_AT_ONCE = 1_000_000


def refuse_fixed(sweep: Sweep) -> None:
    """Raise `UserError` for a sweep whose trials belong together from its start on."""
    if sweep.search.tune:
        raise UserError(
            f"search.tune decides by the values of {sweep.search.tune} that a contender has at its start: add them to the "
            "sweep file, which is then another sweep that reuses what is trained"
        )
    if sweep.scheduler.changes:
        raise UserError(f"the population of search.scheduler {sweep.search.scheduler} is fixed: add to the sweep file")


def check_configuration(sweep: Sweep, given: Mapping[str, Any]) -> tuple[Values, TrainConfig]:
    """Return the values of a configuration, of text or of their types, and its config: fields over the base.

    It names every dimension that varies, with a value of its field that need not be in its list or interval. Raises
    `UserError` for what a sweep file may not have.
    """
    refuse_fixed(sweep)
    refuse_unknown("config field", given, FIELDS)
    values = {name: convert(FIELDS[name], value) for name, value in given.items()}
    for name in STRUCTURED:
        if name in values and name not in sweep.space:
            raise UserError(f"{name} is one for all of a sweep: leave it out, or make another sweep")
    refuse_decided(sweep, values)
    chosen = {name: value for name, value in values.items() if name in sweep.space}
    kept = active(sweep, chosen)
    for name in sweep.space:
        if name in chosen and name not in kept:
            raise UserError(f"{name} does not vary beside the other values of this configuration: leave it out")
        if name not in chosen and varies(sweep, name, kept):
            raise UserError(
                f"{name} is lacking: a configuration names every dimension that varies, {list(sweep.space)}"
            )
    for rule in sweep.exclude:
        if holds(rule, values, sweep.space):
            raise UserError(f"this configuration is {exclusion(rule)} of the sweep file: leave it out")
    return values, make_config(sweep, values)


def refuse_decided(sweep: Sweep, values: Values) -> None:
    """Raise `UserError` for a field that the search decides, or that would make errors incomparable."""
    by_search = {"seed": sweep.search.seeds is not None or sweep.method.suggests}
    by_search |= dict.fromkeys(("folds", "fold", "selection", "val_fraction"), sweep.search.folds is not None)
    for name, value in values.items():
        if by_search.get(name) and name not in sweep.space:
            raise UserError(f"{name} is decided by the search of this sweep: leave it out")
        fixed = sweep.base.get(name, getattr(TrainConfig, name, None))
        if name in COMPARABLE and name not in sweep.space and compares(sweep) and str(value) != str(fixed):
            raise UserError(
                f"this sweep compares trials by one number, and those of another {name} are not comparable: leave it out"
            )


def inside(sweep: Sweep, values: Values) -> bool:
    """Return whether values are of the sweep's own space, so that its search may learn from them."""
    try:
        for name, value in values.items():
            sweep.space[name].check(name, value)
    except (UserError, KeyError):
        return False
    return True


def widen(sweep: Sweep, name: str, value: Any) -> tuple[Sweep, list[Values]]:
    """Return the sweep with one more value of a list, of text or its type, and the combinations that have it.

    Raises `UserError` where the field has no list, has the value, or where the search cannot take it.
    """
    refuse_fixed(sweep)
    refuse_unknown("list of this sweep", [name], sweep.finite)
    if name == "protocol" and compares(sweep):
        raise UserError("each protocol of this sweep is searched by itself: add it to the sweep file")
    if sweep.method.suggests and sweep.search.method != "tpe":
        raise UserError(
            f"search.method {sweep.search.method} learns from lists that stay: add configurations, or use tpe"
        )
    if not sweep.method.suggests and sweep.intervals:
        raise UserError(f"the draws of {list(sweep.intervals)} are made: add configurations, which name their values")
    dimension, new = sweep.space[name], convert(FIELDS[name], value)
    assert isinstance(dimension, Finite)
    if new in dimension.values:
        raise UserError(f"{name} has the value {new!r} already, beside {list(dimension.values)}: choose another one")
    wider = replace(sweep, space=sweep.space | {name: replace(dimension, values=(*dimension.values, new))})
    return wider, [values for values in make_plan(wider).combinations if values.get(name) == new]


def wider_plan(sweep: Sweep, plan: Plan) -> Plan:
    """Return the plan of a sweep that was widened."""
    made = make_plan(sweep)
    return Plan(made.combinations, made.configs, plan.dropped)


def check_trials(sweep: Sweep, value: Any) -> int:
    """Return a number of trials, as `search.trials` takes it. Raises `UserError` for a grid, too."""
    if sweep.method.exhaustive:
        raise UserError("search.trials belongs to searches and random draws; a grid runs whole: add configurations")
    if sweep.scheduler.halves:
        raise UserError(
            f"search.scheduler {sweep.search.scheduler} compares its trials together, and more of them would change what was "
            "decided: raise search.trials in the file and run it again once it has ended, or add single configurations"
        )
    known = {f.name: f for f in fields(Search)}
    return int(checked(Search, known["trials"], "search.trials", value))


def check_at_once(value: Any) -> int | None:
    """Return how many trials run at most at once; None for as many as fit. Raises `UserError`."""
    if value is None:
        return None
    number = convert_to(int, "at_once", value, (NONE,))
    if number == NONE:
        return None
    within("at_once", number, 1, MOST_AT_ONCE)
    return int(number)


def check_setting(sweep: Sweep, name: str, value: Any) -> int | None:
    """Return the value of a setting of a running sweep. Raises `UserError`."""
    one_of("a setting of a running sweep", name, SETTINGS)
    return check_trials(sweep, value) if name == "trials" else check_at_once(value)


def points_of(sweep: Sweep, values: Values) -> Values:
    """Return the values of a configuration that belong to dimensions, those of lists first, as points have them."""
    return finite_values(sweep, values) | {name: values[name] for name in sweep.intervals if name in values}
