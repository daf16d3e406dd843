"""The sweep of trials that are those of another one with more epochs: a list of configs, without a search or a scheduler."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bel.config import TrainConfig
from launch.spec.combinations import Plan, Values
from launch.spec.dimensions import Finite
from launch.spec.search import Search
from launch.spec.sections import checked, section
from launch.spec.sweep_file import PLAIN_KEYS, Resources, Sweep


@dataclass(frozen=True)
class Extension(Sweep):
    """A sweep whose trials are those of another one, whose first parent run is `root`, with more epochs: its `points`."""

    root: str = ""
    epochs: int = 0

    def plan(self, configs: Sequence[TrainConfig]) -> Plan:
        """Return the plan of its configs, in the order of its points."""
        return Plan(self.points, list(configs), Counter())


def extension(
    content: Mapping[str, Any], name: str, root: str, epochs: int, configs: Sequence[TrainConfig]
) -> Extension:
    """Return the sweep of some configs in the experiment `name`, with what the file of the sweep before says beside its search.

    Raises `UserError` for a file that this version cannot read.
    """
    fields = varied(content.get("space") or {}, configs)
    points = [{name: value for name in fields if (value := getattr(one, name, None)) is not None} for one in configs]
    objective = (content.get("search") or {}).get("objective") or []
    plain = [f for f in PLAIN_KEYS if content.get(f.name) is not None and f.name != "warm_start"]  # nothing is searched
    return Extension(
        name=name,
        description=f"The best trials of run {root}, trained on to {epochs} epochs.",
        base={field: value for field, value in configs[0].as_dict().items() if field not in (*fields, "cache_dir")},
        space={field: Finite(distinct(points, field)) for field in fields},
        points=points,
        search=section(Search, "search", {"objective": objective[0] if len(objective) == 1 else objective or None}),
        resources=section(Resources, "resources", content.get("resources")),
        root=root,
        epochs=epochs,
        **{f.name: checked(Sweep, f, f.name, content[f.name]) for f in plain},
    )


def varied(space: Mapping[str, Any], configs: Sequence[TrainConfig]) -> list[str]:
    """Return the fields that a sweep varied, those that differ among some configs, and what is new: epochs and restarts."""
    values = [config.as_dict() for config in configs]
    differing = [name for name in values[0] if len({str(one[name]) for one in values}) > 1 and name != "plugin_options"]
    names = dict.fromkeys([*space, *differing, "epochs", "restarts"])
    return [name for name in names if any(getattr(config, name, None) is not None for config in configs)]


def distinct(points: Sequence[Values], field: str) -> tuple[Any, ...]:
    """Return the values of a field, each once."""
    found: list[Any] = []
    for point in points:
        if field in point and point[field] not in found:
            found.append(point[field])
    return tuple(found)
