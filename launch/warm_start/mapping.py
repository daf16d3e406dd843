"""Where a configuration of another sweep is in the space of this one."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from bel.errors import UserError
from launch.spec.combinations import Plan, Values, finite_values, varies
from launch.spec.dimensions import Finite
from launch.spec.sweep_file import Sweep


def map_fields(
    sweep: Sweep, plan: Plan, fields: Mapping[str, Any], generator: np.random.Generator
) -> tuple[Values, tuple[str, ...]]:
    """Return the values of a configuration in a space, and the names of those that were drawn, as it has none in their list.

    A value is drawn as a random search draws it. Raises `UserError` with the reason where a configuration has no place there.
    """
    kept: Values = {}
    for name in sweep.space:
        if varies(sweep, name, kept) and maps(sweep, name, fields.get(name)):
            kept[name] = fields[name]
    where = [one for one in plan.combinations if finite_values(sweep, kept).items() <= one.items()]
    if not where:
        raise UserError("no valid combination has its values")
    chosen = where[0] if len(where) == 1 else where[generator.integers(len(where))]
    values = chosen | {name: value for name, value in kept.items() if name in sweep.intervals}
    for name, interval in sweep.intervals.items():
        if varies(sweep, name, values) and name not in values:
            values[name] = interval.sample(generator)
    if not kept:
        raise UserError("none of its values is in the space")
    return values, tuple(name for name in values if name not in kept)


def maps(sweep: Sweep, name: str, value: Any) -> bool:
    """Return whether a dimension has a value. Raises `UserError` where it is a number outside the dimension's interval."""
    dimension = sweep.space[name]
    if isinstance(dimension, Finite):
        return value in dimension.values
    if value is not None and value not in dimension:
        raise UserError(f"{name} is outside its interval")
    return value is not None
