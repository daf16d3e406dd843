"""Dimensions of a sweep's space: lists and intervals of a config field, and the conditions under which they vary."""

import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from bel.config import convert
from bel.config_fields import FIELDS, HINTS
from bel.errors import UserError, convert_to, one_of, refuse_unknown
from bel.heads import OPTIONS
from launch.spec.sections import mapping

STEP_TOLERANCE = 1e-8  # of a step: the rounding error of a number on a step

Conditions = dict[str, tuple[Any, ...]]  # field -> the values with which the condition holds


def owner(name: str) -> str | None:
    """Return the field that decides whether another one is used; None for a field of every config."""
    return "head" if name in OPTIONS else "regulariser" if name == "regulariser_weight" else None


@dataclass(frozen=True)
class Finite:
    """A dimension with a list of values (`grid` or `choice`), which varies where all of `when` holds."""

    values: tuple[Any, ...]
    when: Conditions = field(default_factory=dict)

    def suggest(self, trial: Any, name: str) -> Any:
        """Return the value that an Optuna trial suggests for a parameter."""
        return trial.suggest_categorical(name, list(self.values))

    def check(self, what: str, value: Any) -> Any:
        """Return a value of this list. Raises `UserError` where it is none."""
        one_of(what, value, self.values)
        return value


@dataclass(frozen=True)
class Interval:
    """A dimension over [low, high], both ends included: uniform or log-uniform, in steps of `step`, or of whole numbers."""

    low: float
    high: float
    log: bool = False
    step: float | None = None
    whole: bool = False
    when: Conditions = field(default_factory=dict)

    def suggest(self, trial: Any, name: str) -> float:
        """Return the number that an Optuna trial suggests for a parameter."""
        if self.whole:
            return self.nearest(trial.suggest_int(name, self.low, self.high, step=self.step or 1, log=self.log))
        return self.nearest(trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log))

    def sample(self, generator: np.random.Generator) -> float:
        """Return one draw; bounds are half a step outside, so that every number on a step is equally likely."""
        margin = (self.step or self.whole) / 2
        if self.log:
            return self.nearest(float(np.exp(generator.uniform(np.log(self.low - margin), np.log(self.high + margin)))))
        return self.nearest(float(generator.uniform(self.low - margin, self.high + margin)))

    def probes(self, most: int) -> list[float]:
        """Return what to check beside the lower bound: the upper bound, and up to `most` whole numbers between them."""
        if not self.whole:
            return [self.high]
        spacing = int(self.step or 1)
        return [*range(int(self.low) + spacing, int(self.high), spacing)[:most], self.high]

    def nearest(self, value: float) -> float:
        """Return the number of this interval that is nearest to `value`."""
        if step := self.step or self.whole:
            value = self.low + round((value - self.low) / step) * step
            value = value if self.whole else float(f"{value:.12g}")  # 0.3, not 0.30000000000000004
        return min(max(value, self.low), self.high)

    def __contains__(self, value: float) -> bool:
        """Return whether `value` is a number of this interval."""
        return self.low <= value <= self.high and on_step(value - self.low, self.step)

    def check(self, what: str, value: float | None) -> float:
        """Return the number of this interval that `value` means. Raises `UserError` where it is none."""
        if value is None or value not in self:
            steps = f" in steps of {self.step:g}" if self.step else ""
            raise UserError(f"{what} must be from {self.low:g} to {self.high:g}{steps}, got {value!r}")
        return self.nearest(value)


Dimension = Finite | Interval


def on_step(distance: float, step: float | None) -> bool:
    """Return whether a distance is a whole number of steps, if there are any."""
    return not step or abs(distance / step - round(distance / step)) < STEP_TOLERANCE


def dimensions(space: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Dimension]:
    """Return the dimensions of a space, each after those that it depends on. Raises `UserError` naming the key."""
    refuse_unknown("config field in space", space, FIELDS)
    parsed = {name: dimension(name, value) for name, value in space.items()}
    for name, value in space.items():
        if "when" in value:
            when = conditions(f"space.{name}.when", value["when"], parsed, base)
            if name in when:
                raise UserError(f"space.{name}.when must name other fields, got {name} itself: take it out")
            parsed[name] = replace(parsed[name], when=when)
        elif name in base:
            raise UserError(f"{name} is in base and in space: remove one of them, or say when it varies")
    return in_order(parsed)


def in_order(space: dict[str, Dimension]) -> dict[str, Dimension]:
    """Return the dimensions in their order, but each after the fields of its `when`, and an option after its owner."""
    needs = {n: (d.when.keys() | {owner(n) or n} - {n}) & space.keys() for n, d in space.items()}
    ordered: dict[str, Dimension] = {}
    while rest := [name for name in space if name not in ordered]:
        ready = next((name for name in rest if needs[name] <= ordered.keys()), None)
        if ready is None:
            circle = " and ".join(f"space.{name}" for name in rest)
            raise UserError(f"{circle} wait for each other in a circle: take the when of one of them out")
        ordered[ready] = space[ready]
    return ordered


def conditions(what: str, value: Any, space: Mapping[str, Dimension], base: Mapping[str, Any]) -> Conditions:
    """Return the conditions in a mapping: fields of base or lists of space, each with a value or a list of values.

    Raises `UserError` for a value that its field never has; what names a field of base alone therefore always holds.
    """
    entries = mapping(what, value)
    possible = {name: (convert(FIELDS[name], fixed),) for name, fixed in base.items()}
    possible |= {name: d.values for name, d in space.items() if isinstance(d, Finite)}
    if not entries:
        raise UserError(f"{what} must name a field and its values, got {value!r}: choose from {list(possible)}")
    found: Conditions = {}
    for name, allowed in entries.items():
        if isinstance(space.get(name), Interval):
            raise UserError(f"{what} names {name}, an interval: choose from base and the lists, {list(possible)}")
        refuse_unknown(f"field of base or list of space in {what}", [name], possible)
        found[name] = tuple(convert(FIELDS[name], v) for v in (allowed if isinstance(allowed, list) else [allowed]))
        if not found[name]:
            raise UserError(f"{what}.{name} must be a value or a list of values, got []: choose from {possible[name]}")
        for one in found[name]:
            one_of(f"{what}.{name}", one, possible[name])
    return found


def holds(when: Conditions, values: Mapping[str, Any], space: Mapping[str, Dimension]) -> bool:
    """Return whether conditions hold in a combination; one on a dimension that does not vary there does not hold."""
    return all(n not in space or (n in values and values[n] in allowed) for n, allowed in when.items())


def refuse_conditional(who: str, space: Mapping[str, Dimension]) -> None:
    """Raise `UserError` for a dimension with a condition."""
    for name, dimension in space.items():
        if dimension.when:
            raise UserError(f"{who} changes every dimension at once, and space.{name} has a when: take the when out")


def as_text(when: Conditions) -> str:
    """Return conditions as a line of YAML."""
    entries = (f"{n}: {allowed[0] if len(allowed) == 1 else list(allowed)}" for n, allowed in when.items())
    return f"{{{', '.join(entries)}}}"


def dimension(name: str, value: Any) -> Dimension:
    """Return the dimension of a config field without its `when`, e.g. {grid: [..]} or {loguniform: [low, high]}."""
    what = f"space.{name}"
    number = (typing.get_args(HINTS[name]) or (HINTS[name],))[0]
    fits = [*LISTS, *(kind for kind, (of, *_) in INTERVALS.items() if of is number)]
    given = [kind for kind in value if kind != "when"] if isinstance(value, Mapping) else []
    if len(given) != 1:
        raise UserError(f"{what} must be one of {{{', '.join(fits)}}}: [..], and may have a when, got {value!r}")
    kind, arguments = given[0], value[given[0]]
    one_of(f"kind of {what}", kind, fits)
    if not isinstance(arguments, list) or not arguments:
        raise UserError(f"{what}.{kind} must be a list with values, got {arguments!r}")
    return finite(name, kind, arguments) if kind in LISTS else interval(f"{what}.{kind}", arguments, *INTERVALS[kind])


def finite(name: str, kind: str, arguments: list[Any]) -> Finite:
    """Return a list of plain values of a config field. Raises `UserError` for one twice."""
    what = f"space.{name}.{kind}"
    for value in arguments:
        if not isinstance(value, (str, int, float, type(None))):
            raise UserError(f"{what} must hold plain values, got {value!r}")
    values = tuple(convert(FIELDS[name], value) for value in arguments)
    if len(set(values)) < len(values):
        raise UserError(f"{what} holds a value twice: {arguments}")
    return Finite(values)


def interval(what: str, arguments: list[Any], kind: type, log: bool, stepped: bool) -> Interval:
    """Return the interval in [low, high] or [low, high, step]. Raises `UserError` for bounds that are none."""
    rule = f"[low, high{', step' * stepped}] with {'0 < ' * log}low < high{' and step > 0' * stepped}"
    numbers = [convert_to(kind, what, value) for value in arguments]
    positive = [*numbers[: int(log)], *numbers[2:]]
    if len(numbers) != 2 + stepped or not numbers[0] < numbers[1] or min(positive, default=1) <= 0:
        raise UserError(f"{what} must be {rule}, got {arguments}")
    low, high, step = (*numbers, None)[:3]
    if not on_step(high - low, step):
        end = low + max(1, (high - low) // step) * step
        raise UserError(f"{what} must end a whole number of steps of {step:g} above {low:g}, got {high:g}: try {end:g}")
    return Interval(low, high, log, step, kind is int)


LISTS = ("grid", "choice")
INTERVALS: dict[str, tuple[type, bool, bool]] = {  # by kind: type of its numbers, whether log-uniform, whether in steps
    "uniform": (float, False, False),
    "loguniform": (float, True, False),
    "quniform": (float, False, True),
    "int": (int, False, False),
    "logint": (int, True, False),
    "qint": (int, False, True),
}
