"""A sweep file: YAML with name, base, space, search and more, checked key by key."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from bel.config import convert
from bel.config_fields import FIELDS
from bel.errors import TINY, UserError, refuse_unknown, setting_of
from bel.plugins.module import refuse_changed
from bel.plugins.registry import load
from launch.spec import yaml_text
from launch.spec.dimensions import Conditions, Dimension, Finite, Interval, conditions, dimensions
from launch.spec.plain_keys import command_line, gpu_share, log_targets, sweep_names
from launch.spec.search import METHODS, SCHEDULERS, Method, Scheduler, Search
from launch.spec.search_checks import check_search
from launch.spec.sections import checked, key, mapping, section

STRUCTURED = ("protocol", "plugins", "plugin_options")  # config fields that may be lists or mappings
TEXTS = ("name", "description", "on_end")  # keys of a sweep that hold text
SHIPPED = Path(__file__).parents[2] / "sweeps"  # also where the package is installed
MAX_NAME_BYTES = 200  # a folder's name has 255 at most, and more is added to a sweep's


@dataclass(frozen=True)
class Resources:
    """What one trial takes of the machine; `gpu` may be a fraction or auto; with `mps` trials on one GPU compute at once."""

    cpu: float = key(1.0, 0.1, 10_000)
    gpu: float | str = key(0.0, check=gpu_share)
    mps: bool = key(True)

    @property
    def shared(self) -> bool:
        """Return whether several trials may be on one GPU."""
        return self.gpu == "auto" or (isinstance(self.gpu, float) and 0 < self.gpu < 1)


@dataclass(frozen=True)
class Budget:
    """What ends a sweep before its last trial: hours, trials, or a number of configurations in a row without a better one."""

    hours: float | None = key(None, TINY, 10_000)
    trials: int | None = key(None, 1, 1_000_000)
    patience: int | None = key(None, 1, 1_000_000)


@dataclass(frozen=True)
class Sweep:
    """One experiment: fixed fields, dimensions by config field, search, resources, budget, how many checkpoints to keep.

    `keep_state` says whether these keep their last state, too; `system_metrics` whether trials log how their machine is used;
    `warm_start` names the sweeps whose trials the searcher learns from.
    """

    name: str
    description: str = ""
    base: dict[str, Any] = field(default_factory=dict)
    space: dict[str, Dimension] = field(default_factory=dict)
    exclude: list[Conditions] = field(default_factory=list)
    points: list[dict[str, Any]] = field(default_factory=list)
    search: Search = field(default_factory=Search)
    resources: Resources = field(default_factory=Resources)
    budget: Budget = field(default_factory=Budget)
    keep: int = key(20, 1, 1_000_000)
    keep_state: bool = key(False)
    system_metrics: bool = key(False)
    log_to: tuple[str, ...] = key((), check=log_targets)
    warm_start: tuple[str, ...] = key((), check=sweep_names)
    on_end: str | None = key(None, check=command_line)

    @property
    def method(self) -> Method:
        """Return the search method."""
        return METHODS[self.search.method]

    @property
    def scheduler(self) -> Scheduler:
        """Return what the scheduler asks of the sweep."""
        return SCHEDULERS[self.search.scheduler]

    @property
    def finite(self) -> dict[str, tuple[Any, ...]]:
        """Return the values of the finite dimensions by config field."""
        return {name: d.values for name, d in self.space.items() if isinstance(d, Finite)}

    @property
    def intervals(self) -> dict[str, Interval]:
        """Return the intervals by config field."""
        return {name: d for name, d in self.space.items() if isinstance(d, Interval)}


PLAIN_KEYS = [f for f in fields(Sweep) if f.metadata]  # checked keys that are no section


def read_sweep(path: Path, settings: Sequence[str] = ()) -> Sweep:
    """Return the sweep of a YAML file or a shipped name, with `KEY=VALUE` settings. Raises `UserError` naming the wrong key."""
    content = read_content(path)
    for setting in sorted(settings, key=lambda setting: not setting.removeprefix("base.").startswith("plugins=")):
        key, text = setting_of(setting)
        key = key.removeprefix("base.")
        apply(content, key, parse_value(key, text))
        if key == "plugins":
            content = with_plugins(content, Path.cwd())
    return parse(content)


def make_sweep(source: str | os.PathLike[str] | Mapping[str, Any], overrides: Mapping[str, Any]) -> Sweep:
    """Return the sweep of a file, a shipped name or a mapping of the same keys, with other values for some keys.

    Raises `UserError` naming the wrong key.
    """
    if isinstance(source, str | os.PathLike):
        content = read_content(Path(source))
    elif isinstance(source, Mapping):
        content = with_plugins(yaml_text.as_read("the mapping of a sweep", source), Path.cwd())
    else:
        raise UserError(f"a sweep is a file, the name of a shipped one or a mapping of its keys, got {source!r}")
    for given, value in yaml_text.as_read("the overrides", overrides).items():
        name = given.removeprefix("base.")
        apply(content, name, convert(FIELDS[name], value) if name in FIELDS and name not in STRUCTURED else value)
    return parse(content)


def read_content(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file or of a shipped name, its plug-ins registered. Raises `UserError` without it."""
    names = sorted(file.stem for file in SHIPPED.glob("*.yaml"))
    content = yaml_text.load(
        SHIPPED / f"{path}.yaml" if str(path) in names and not path.is_file() else path,
        f"no sweep file {path}; with the project come, by name, {', '.join(names)}",
    )
    return with_plugins(content, path.parent)


def with_plugins(content: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return a sweep with its `plugins`, which are beside it, registered, and as a field in `base`. Raises `UserError`."""
    base = mapping("base", content.get("base"))
    if content.get("plugins") is not None and base.get("plugins") is not None:
        raise UserError("plugins is given twice, by itself and in base: leave one of them out")
    refuse_changed()
    names = load(content.get("plugins") or base.get("plugins"), folder)
    rest = {name: value for name, value in content.items() if name != "plugins"}
    return rest | ({"base": base | {"plugins": names}} if names else {})


def apply(content: dict[str, Any], key: str, value: Any) -> None:
    """Set one key: a dotted path into the file, or the name of a config field, which is then fixed in `base`."""
    if key.partition(".")[0] in FIELDS:
        content["space"] = {k: v for k, v in mapping("space", content.get("space")).items() if k != key}
        key = f"base.{key}"
    *folders, leaf = key.split(".")
    for folder in folders:
        content[folder] = mapping(folder, content.get(folder))
        content = content[folder]
    content[leaf] = value


def parse_value(key: str, text: str | None) -> Any:
    """Return the value of a setting: a list or a mapping where its key may have one, else the text as it is typed."""
    if key in FIELDS and key not in STRUCTURED:
        return convert(FIELDS[key], text)
    if key not in TEXTS and text and text[0] + text[-1] in ("[]", "{}"):
        return yaml_text.parse(f"the value of {key}", text)
    return None if text == "null" else text


def parse(content: dict[str, Any]) -> Sweep:
    """Return the sweep in a mapping. Raises `UserError` naming the key that is wrong."""
    content = with_plugins(content, Path.cwd())
    refuse_unknown("key of a sweep", content, [*(f.name for f in fields(Sweep)), "plugins"])
    name = content.get("name")
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w .-]*", name):
        raise UserError(
            f"name must be letters, digits, _, -, . and blanks, got {name!r}: it names experiment and folders"
        )
    if len(name.encode()) > MAX_NAME_BYTES:
        raise UserError(
            f"name must be of {MAX_NAME_BYTES} bytes at most, got {len(name.encode())}: it names folders; {name} is too long"
        )
    base = mapping("base", content.get("base"))
    refuse_unknown("config field in base", base, FIELDS)
    space = dimensions(mapping("space", content.get("space")), base)
    search = section(Search, "search", content.get("search"))
    check_search(search, base, space)
    budget = section(Budget, "budget", content.get("budget"))
    if search.tune and budget.patience is not None:
        raise UserError(
            "budget.patience ends a search that finds nothing better, and search.tune tries all values of every contender: "
            "leave budget.patience out, or use budget.hours or budget.trials"
        )
    if content.get("warm_start") and not METHODS[search.method].suggests:
        raise UserError(
            f"warm_start tells a searcher of other trials, and search.method {search.method} asks none: use tpe"
        )
    return Sweep(
        name=name,
        description=str(content.get("description") or ""),
        base=base,
        space=space,
        exclude=[conditions(what, rule, space, base) for what, rule in entries("exclude", content)],
        points=[point(what, values, space) for what, values in entries("points", content)],
        search=search,
        resources=section(Resources, "resources", content.get("resources")),
        budget=budget,
        **{f.name: checked(Sweep, f, f.name, content[f.name]) for f in PLAIN_KEYS if content.get(f.name) is not None},
    )


def entries(name: str, content: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return the entries of a list of the file, each with its name in messages, e.g. points.1."""
    values = content.get(name)
    if values is None:
        return []
    if not isinstance(values, list):
        raise UserError(f"{name} must be a list of mappings of names to values, got {values!r}")
    return [(f"{name}.{place}", value) for place, value in enumerate(values, 1)]


def point(what: str, value: Any, space: Mapping[str, Dimension]) -> dict[str, Any]:
    """Return the values of a point in the order of the space. Raises `UserError` for one outside its dimension."""
    given = mapping(what, value)
    refuse_unknown(f"dimension in {what}", given, space)
    chosen = {name: convert(FIELDS[name], given[name]) for name in space if name in given}
    return {name: space[name].check(f"{what}.{name}", value) for name, value in chosen.items()}
