"""A sweep file: YAML with name, base, space, search and resources, checked key by key."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from bel.config import HINTS, TrainConfig, convert
from bel.errors import UserError, one_of
from bel.values import convert_to, refuse_unknown, within
from launch.search import SEARCH, Search, check_search, check_tuning

FIELDS = {f.name: f for f in fields(TrainConfig)}


@dataclass(frozen=True)
class Finite:
    """A dimension with a list of values (`grid` or `choice`)."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Interval:
    """A continuous dimension over [low, high], uniform or uniform in the logarithm."""

    low: float
    high: float
    log: bool


@dataclass(frozen=True)
class Resources:
    """What one trial takes of the machine; `gpu` may be a fraction."""

    cpu: float = 1.0
    gpu: float = 0.0


@dataclass(frozen=True)
class Sweep:
    """One experiment: fixed fields, dimensions by config field, search and resources."""

    name: str
    description: str = ""
    base: dict[str, Any] = field(default_factory=dict)
    space: dict[str, Finite | Interval] = field(default_factory=dict)
    search: Search = field(default_factory=Search)
    resources: Resources = field(default_factory=Resources)

    @property
    def finite(self) -> dict[str, tuple[Any, ...]]:
        """Values of the finite dimensions by config field."""
        return {name: d.values for name, d in self.space.items() if isinstance(d, Finite)}

    @property
    def intervals(self) -> dict[str, Interval]:
        """The continuous dimensions by config field."""
        return {name: d for name, d in self.space.items() if isinstance(d, Interval)}


def read_sweep(path: Path, settings: Sequence[str] = ()) -> Sweep:
    """The sweep in a YAML file, with `KEY=VALUE` settings applied. Raises `UserError` naming the key that is wrong."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no sweep file {path}: those that come with the project are in sweeps/") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path} is not readable YAML: {' '.join(str(error).split())}") from error
    content = mapping(f"{path}", content)
    for setting in settings:
        apply(content, setting)
    return parse(content)


def mapping(what: str, value: Any) -> dict[str, Any]:
    """A copy of a mapping with text keys; None counts as empty. Raises `UserError` for anything else."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise UserError(f"{what} must be a mapping of names to values, got {value!r}")
    return dict(value)


def apply(content: dict[str, Any], setting: str) -> None:
    """Set one key: a dotted path into the file, or the name of a config field, which is then fixed in `base`."""
    key, equals, value = setting.partition("=")
    if not equals:
        raise UserError(f"--set wants KEY=VALUE, got {setting!r}")
    parsed = parse_value(key, value)
    if key.partition(".")[0] in FIELDS:
        content["space"] = {k: v for k, v in mapping("space", content.get("space")).items() if k != key}
        key = f"base.{key}"
    *folders, leaf = key.split(".")
    for folder in folders:
        content[folder] = mapping(folder, content.get(folder))
        content = content[folder]
    content[leaf] = parsed


def parse_value(key: str, value: str) -> Any:
    """The value of a setting, read as YAML. Raises `UserError` where it is none."""
    try:
        return yaml.safe_load(value)
    except (ValueError, yaml.YAMLError):
        raise UserError(f"the value of {key} is not YAML: {value!r}") from None


def parse(content: dict[str, Any]) -> Sweep:
    """The sweep in a mapping. Raises `UserError` naming the key that is wrong."""
    refuse_unknown("key of a sweep", content, [f.name for f in fields(Sweep)])
    name = content.get("name")
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w .-]*", name):
        raise UserError(
            f"name must be letters, digits, _, -, . and blanks, got {name!r}: it names experiment and folders"
        )
    base = mapping("base", content.get("base"))
    refuse_unknown("config field in base", base, FIELDS)
    space = mapping("space", content.get("space"))
    refuse_unknown("config field in space", space, FIELDS)
    for key in space:
        if key in base:
            raise UserError(f"{key} is in base and in space: remove one of them")
    search = check_search(Search(**section("search", content, SEARCH)))
    check_tuning(search, base, space)
    return Sweep(
        name=name,
        description=str(content.get("description") or ""),
        base=base,
        space={key: dimension(key, value) for key, value in space.items()},
        search=search,
        resources=Resources(**section("resources", content, RESOURCES)),
    )


def dimension(name: str, value: Any) -> Finite | Interval:
    """The dimension of a config field, e.g. {grid: [..]} or {loguniform: [low, high]}."""
    what = f"space.{name}"
    if not isinstance(value, Mapping) or len(value) != 1:
        raise UserError(f"{what} must be one of {{{', '.join(DIMENSIONS)}}}: [..], got {value!r}")
    kind, arguments = next(iter(value.items()))
    one_of(f"kind of {what}", kind, DIMENSIONS)
    if not isinstance(arguments, list) or not arguments:
        raise UserError(f"{what}.{kind} must be a list with values, got {arguments!r}")
    parsed = DIMENSIONS[kind](f"{what}.{kind}", arguments)
    if isinstance(parsed, Interval):
        if HINTS[name] is not float:
            raise UserError(f"{what} takes a list of values, not an interval: use grid or choice")
        return parsed
    values = tuple(convert(FIELDS[name], value) for value in parsed.values)
    if len(set(values)) < len(values):
        raise UserError(f"{what}.{kind} holds a value twice: {arguments}")
    return Finite(values)


def finite(what: str, arguments: list[Any]) -> Finite:
    """A list of plain values."""
    for value in arguments:
        if not isinstance(value, (str, int, float, type(None))):
            raise UserError(f"{what} must hold plain values, got {value!r}")
    return Finite(tuple(arguments))


def interval(what: str, arguments: list[Any], log: bool) -> Interval:
    """[low, high] with low < high, above 0 for a logarithm."""
    low, high = (convert_to(float, what, value) for value in arguments) if len(arguments) == 2 else (1.0, 0.0)
    if not low < high or (log and low <= 0):
        raise UserError(f"{what} must be [low, high] with {'0 < ' if log else ''}low < high, got {arguments}")
    return Interval(low, high, log)


DIMENSIONS: dict[str, Callable[[str, list[Any]], Finite | Interval]] = {
    "grid": finite,
    "choice": finite,
    "uniform": lambda what, arguments: interval(what, arguments, log=False),
    "loguniform": lambda what, arguments: interval(what, arguments, log=True),
}


RESOURCES: dict[str, Callable[[str, Any], Any]] = {
    "cpu": partial(convert_to, float),
    "gpu": partial(convert_to, float),
}


def section(name: str, content: dict[str, Any], checks: Mapping[str, Callable[[str, Any], Any]]) -> dict[str, Any]:
    """The checked values of one section of the file."""
    values = mapping(name, content.get(name))
    refuse_unknown(f"key in {name}", values, checks)
    checked = {key: checks[key](f"{name}.{key}", value) for key, value in values.items() if value is not None}
    if name == "resources":
        within("resources.cpu", checked.get("cpu"), 0.1, 10_000)
        within("resources.gpu", checked.get("gpu"), 0, 10_000)
    return checked
