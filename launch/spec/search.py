"""How a sweep chooses its trials: the section `search` of its file, checked key by key and as a whole."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from bel.errors import UserError, convert_to, one_of, within
from launch.spec.dimensions import Dimension, Finite

METHODS = ("grid", "random", "tpe", "cmaes", "gp")
SUGGESTING = ("tpe", "cmaes", "gp")  # what is tried next depends on what came of the trials before
SCHEDULERS = ("none", "asha", "hyperband", "median", "pbt")
PBT_FIELDS = (
    "lr",
    "head_lr_factor",
    "flip",
    "blur",
    "rotate",
    "zoom",
    "shift",
    "jitter",
    "erase",
)  # that can change within a run


@dataclass(frozen=True)
class Objective:
    """What trials are compared by: a metric of theirs, and whether to minimise or to maximise it."""

    metric: str
    direction: str


OBJECTIVES = {
    "val/mae_groups": Objective("val/best_mae_groups", "minimize"),  # the metric that holds its best epoch
    "val/mae": Objective("val/best_mae", "minimize"),
    "bits": Objective("bits", "minimize"),
    "images_per_s": Objective("images_per_s", "maximize"),
}


@dataclass(frozen=True)
class Search:
    """How trials are chosen, repeated and stopped early; `trials` is None for a grid, which runs whole.

    With `tune`, each combination of the other dimensions goes on with its best value of that one to all `folds`.
    """

    method: str = "grid"
    trials: int | None = None
    scheduler: str = "none"
    objective: tuple[str, ...] = ("val/mae_groups",)
    seed: int | None = None
    seeds: int | None = None
    tune: str | None = None
    folds: int | None = None

    @property
    def objectives(self) -> list[Objective]:
        """What trials are compared by, the validation error first."""
        return [OBJECTIVES[name] for name in self.objective]

    @property
    def suggests(self) -> bool:
        """Whether what is tried next depends on what came of the trials before."""
        return self.method in SUGGESTING

    @property
    def early(self) -> bool:
        """Whether a scheduler may stop a trial before its last epoch."""
        return self.scheduler != "none"


Check = Callable[[str, Any], Any]


def choice(choices: Sequence[str]) -> Check:
    """A check that a value is one of `choices`."""

    def check(what: str, value: Any) -> Any:
        one_of(what, value, choices)
        return value

    return check


def number(kind: type, low: float, high: float) -> Check:
    """A check that a value is a number of a kind in [low, high]."""

    def check(what: str, value: Any) -> Any:
        converted = convert_to(kind, what, value)
        within(what, converted, low, high)
        return converted

    return check


def objective(what: str, value: Any) -> tuple[str, ...]:
    """One name of `OBJECTIVES`, or a list of several; the validation error comes first."""
    names = value if isinstance(value, list) else [value]
    for name in names:
        one_of(what, name, OBJECTIVES)
    if isinstance(value, list) and not 2 <= len(set(names)) == len(names):
        raise UserError(f"{what} must be one name, or a list of two or three of {list(OBJECTIVES)}, got {value}")
    errors = [name for name in OBJECTIVES if name.startswith("val/")]
    if names[0] not in errors or set(errors) <= set(names):
        raise UserError(
            f"{what} must begin with one of {errors}, got {value!r}: add others behind it, as [{errors[0]}, ..]"
        )
    return tuple(names)


SEARCH: dict[str, Check] = {
    "method": choice(METHODS),
    "trials": number(int, 1, 1_000_000),
    "scheduler": choice(SCHEDULERS),
    "objective": objective,
    "seed": number(int, 0, 2**31),
    "seeds": number(int, 1, 1000),
    "tune": partial(convert_to, str),
    "folds": number(int, 2, 1000),
}


def check_search(search: Search, base: Mapping[str, Any], space: Mapping[str, Dimension]) -> None:
    """Raise `UserError` where the keys of a search do not go together, or not with what is fixed and what varies."""
    check_trials(search)
    check_objectives(search)
    check_tuning(search, space)
    check_seeds(search, space)
    check_folds(search, base, space)
    if search.method == "cmaes":
        check_cmaes(space)
    if search.scheduler == "pbt":
        check_pbt(search, space)


def check_trials(search: Search) -> None:
    """Raise `UserError` where `trials` or `seed` do not fit the method."""
    others = "random, tpe, cmaes and gp"
    if search.method == "grid" and search.trials is not None:
        raise UserError(f"search.trials belongs to the methods {others}; a grid runs whole: leave trials out")
    if search.method == "grid" and search.seed is not None:
        raise UserError(f"search.seed belongs to the methods {others}; a grid has nothing random: leave seed out")
    if search.method != "grid" and search.trials is None:
        raise UserError(f"search.method {search.method} needs search.trials: say how many")


def check_objectives(search: Search) -> None:
    """Raise `UserError` where several objectives meet a method or a scheduler that knows one."""
    if len(search.objective) > 1 and (search.early or search.method == "cmaes"):
        raise UserError(
            f"search.objective {list(search.objective)} needs whole trials and a method that can weigh them: use scheduler "
            f"none and method grid, random, tpe or gp, got scheduler {search.scheduler} and method {search.method}"
        )


def check_tuning(search: Search, space: Mapping[str, Dimension]) -> None:
    """Raise `UserError` where a tuned sweep lacks what it needs."""
    if search.tune is None:
        return
    if search.folds is None:
        raise UserError("search.tune and search.folds belong together: say how many folds the best go on to, 2 or more")
    one_of("search.tune", search.tune, space)
    if search.method != "grid" or search.early:
        raise UserError("search.tune compares all values of whole trials: use method grid and scheduler none")


def check_seeds(search: Search, space: Mapping[str, Dimension]) -> None:
    """Raise `UserError` where seeds would be repeated twice over, or chosen by their luck."""
    if "seed" not in space:
        return
    if search.seeds is not None:
        raise UserError(
            f"seed is decided by search.seeds, {search.seeds} from the one in base on: leave space.seed out"
        )
    if search.suggests or search.tune == "seed":
        chooser = "search.tune" if search.tune else f"search.method {search.method}"
        raise UserError(f"{chooser} would pick the luckiest seed: use search.seeds and leave space.seed out")


def check_folds(search: Search, base: Mapping[str, Any], space: Mapping[str, Dimension]) -> None:
    """Raise `UserError` where a sweep sets itself what `folds` decides; a tuned one has a hold-out of its own share."""
    if search.folds is None:
        return
    key, where = ("tune", "its hold-out and then on its folds") if search.tune else ("folds", "each of its folds")
    for name in ("folds", "fold", "selection") if search.tune else ("folds", "fold", "selection", "val_fraction"):
        if name in base or name in space:
            raise UserError(f"{name} is decided by search.{key}, on {where}: leave it out")


def check_cmaes(space: Mapping[str, Dimension]) -> None:
    """Raise `UserError` where CMA-ES is missing, or has not the one box of numbers that it searches."""
    if importlib.util.find_spec("cmaes") is None:
        raise UserError("search.method cmaes needs the package cmaes: pip install cmaes, or use tpe")
    for name, dimension in space.items():
        if isinstance(dimension, Finite):
            raise UserError(f"search.method cmaes takes intervals, and space.{name} is a list: use tpe")
    refuse_conditional("search.method cmaes", space)
    if len(space) < 2:
        raise UserError(f"search.method cmaes needs two intervals or more, got {list(space)}: use tpe")


def check_pbt(search: Search, space: Mapping[str, Dimension]) -> None:
    """Raise `UserError` where population based training would change what is fixed within a run."""
    if search.method != "random":
        raise UserError(f"search.scheduler pbt starts from a random population, got {search.method}: use method random")
    if search.seeds is not None or search.folds is not None:
        raise UserError("search.scheduler pbt makes each run another: leave search.seeds and search.folds out")
    if not space:
        raise UserError(f"search.scheduler pbt needs a dimension to change, one or more of {list(PBT_FIELDS)}")
    for name in space:
        one_of("a dimension of search.scheduler pbt, which changes within a run,", name, PBT_FIELDS)
    refuse_conditional("search.scheduler pbt", space)


def refuse_conditional(who: str, space: Mapping[str, Dimension]) -> None:
    """Raise `UserError` for a dimension that does not always vary."""
    for name, dimension in space.items():
        if dimension.when:
            raise UserError(f"{who} changes every dimension at once, and space.{name} has a when: take the when out")
