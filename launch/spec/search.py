"""The section `search` of a sweep file: how trials are chosen, compared, stopped and repeated, and what goes together.

`launch.schedule.samplers` has the samplers of the methods; `launch.schedule.schedulers` makes the schedulers.
"""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bel.errors import UserError, one_of
from launch.spec.dimensions import Dimension, Finite, refuse_conditional
from launch.spec.sections import key


@dataclass(frozen=True)
class Objective:
    """A metric by which trials are compared, and whether to minimise or to maximise it."""

    metric: str
    direction: str


OBJECTIVES = {
    "val/mae_groups": Objective("val/best_mae_groups", "minimize"),  # the metric of a trial's best epoch
    "val/mae": Objective("val/best_mae", "minimize"),
    "bits": Objective("bits", "minimize"),
    "images_per_s": Objective("images_per_s", "maximize"),
}


def objective_names(what: str, value: Any) -> tuple[str, ...]:
    """Return one or several names of `OBJECTIVES`, the validation error first. Raises `UserError`."""
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


@dataclass(frozen=True)
class Search:
    """How trials are chosen, repeated and stopped early; `trials` is None for a grid, which runs whole.

    With `race`, repeats over seeds and folds go to the configurations that may be the best. With `tune`, each combination of
    the other dimensions goes on to all `folds` with its best value of that dimension.
    """

    method: str = key("grid")
    trials: int | None = key(None, 1, 1_000_000)
    scheduler: str = key("none")
    objective: tuple[str, ...] = key(("val/mae_groups",), check=objective_names)
    seed: int | None = key(None, 0, 2**31)
    seeds: int | None = key(None, 1, 1000)
    tune: str | None = key(None)
    folds: int | None = key(None, 2, 1000)
    race: bool = key(False)

    @property
    def objectives(self) -> list[Objective]:
        """Return what trials are compared by, the validation error first."""
        return [OBJECTIVES[name] for name in self.objective]


class Method:
    """A search by an Optuna sampler, in lists and intervals."""

    suggests = True  # what is tried next depends on the results of the trials before
    exhaustive = False  # every combination is a trial, so that trials and seed have no meaning
    several_objectives = True

    def check(self, search: Search, space: Mapping[str, Dimension]) -> None:
        """Raise `UserError` where the sweep lacks what the method needs, or has what it cannot take."""
        if search.trials is None:
            raise UserError(f"search.method {search.method} needs search.trials: say how many")


class Grid(Method):
    """All combinations."""

    suggests = False
    exhaustive = True

    def check(self, search: Search, space: Mapping[str, Dimension]) -> None:
        """Raise `UserError` where trials or seed are given."""
        *others, last = [name for name, method in METHODS.items() if not method.exhaustive]
        belongs = f"belongs to the methods {', '.join(others)} and {last}; a grid"
        for name, why in (("trials", "runs whole"), ("seed", "has nothing random")):
            if getattr(search, name) is not None:
                raise UserError(f"search.{name} {belongs} {why}: leave {name} out")


class Random(Method):
    """Independent draws."""

    suggests = False


class CmaEs(Method):
    """CMA-ES (Hansen, 2016), in a box of numbers."""

    several_objectives = False

    def check(self, search: Search, space: Mapping[str, Dimension]) -> None:
        """Raise `UserError` where the package is missing, or the space is no box of two intervals or more."""
        super().check(search, space)
        if importlib.util.find_spec("cmaes") is None:
            raise UserError("search.method cmaes needs the package cmaes: pip install cmaes, or use tpe")
        for name, dimension in space.items():
            if isinstance(dimension, Finite):
                raise UserError(f"search.method cmaes takes intervals, and space.{name} is a list: use tpe")
        refuse_conditional("search.method cmaes", space)
        if len(space) < 2:
            raise UserError(f"search.method cmaes needs two intervals or more, got {list(space)}: use tpe")


METHODS: dict[str, Method] = {
    "grid": Grid(),
    "random": Random(),
    "tpe": Method(),
    "cmaes": CmaEs(),
    "gp": Method(),
}


class Scheduler:
    """A scheduler that may stop a trial before its last epoch."""

    compares = True  # trials with each other, by their error
    halves = False  # all trials that it compares wait for each other
    changes: tuple[str, ...] = ()  # fields that may take another value within a run

    def check(self, search: Search, space: Mapping[str, Dimension]) -> None:
        """Raise `UserError` where the sweep lacks what the scheduler needs, or has what it cannot take."""


class NoScheduler(Scheduler):
    """Every trial runs to its last epoch."""

    compares = False


class SuccessiveHalving(Scheduler):
    """Synchronous successive halving (Jamieson and Talwalkar, 2016)."""

    halves = True


class PopulationBasedTraining(Scheduler):
    """Population-based training (Jaderberg et al., 2017): bad trials go on with the state and changed fields of good ones."""

    changes = ("lr", "head_lr_factor", "flip", "blur", "rotate", "zoom", "shift", "jitter", "erase")

    def check(self, search: Search, space: Mapping[str, Dimension]) -> None:
        """Raise `UserError` for repeats, for another method than random, and for a dimension that is fixed within a run."""
        method = METHODS[search.method]
        if method.suggests or method.exhaustive:
            raise UserError(
                f"search.scheduler pbt starts from a random population, got {search.method}: use method random"
            )
        if search.seeds is not None or search.folds is not None:
            raise UserError("search.scheduler pbt makes each run another: leave search.seeds and search.folds out")
        if not space:
            raise UserError(f"search.scheduler pbt needs a dimension to change, one or more of {list(self.changes)}")
        for name in space:
            one_of("a dimension of search.scheduler pbt, which changes within a run,", name, self.changes)
        refuse_conditional("search.scheduler pbt", space)


SCHEDULERS: dict[str, Scheduler] = {
    "none": NoScheduler(),
    "sha": SuccessiveHalving(),
    "asha": Scheduler(),
    "hyperband": Scheduler(),
    "median": Scheduler(),
    "pbt": PopulationBasedTraining(),
}


def check_search(search: Search, base: Mapping[str, Any], space: Mapping[str, Dimension]) -> None:
    """Raise `UserError` where the keys of a search do not go together, or not with what is fixed and what varies."""
    one_of("search.method", search.method, METHODS)
    one_of("search.scheduler", search.scheduler, SCHEDULERS)
    METHODS[search.method].check(search, space)
    check_objectives(search)
    check_tuning(search, space)
    check_seeds(search, space)
    check_folds(search, base, space)
    check_race(search)
    SCHEDULERS[search.scheduler].check(search, space)


def check_objectives(search: Search) -> None:
    """Raise `UserError` for several objectives with a method or a scheduler that takes one."""
    *others, last = [name for name, method in METHODS.items() if method.several_objectives]
    takes_several = METHODS[search.method].several_objectives and not SCHEDULERS[search.scheduler].compares
    if len(search.objective) > 1 and not takes_several:
        raise UserError(
            f"search.objective {list(search.objective)} needs whole trials and a method that can weigh them: use scheduler "
            f"none and method {', '.join(others)} or {last}, got scheduler {search.scheduler} and method {search.method}"
        )


def check_tuning(search: Search, space: Mapping[str, Dimension]) -> None:
    """Raise `UserError` where a tuned sweep lacks what it needs."""
    if search.tune is None:
        return
    if search.folds is None:
        raise UserError("search.tune and search.folds belong together: say how many folds the best go on to, 2 or more")
    one_of("search.tune", search.tune, space)
    if not METHODS[search.method].exhaustive or SCHEDULERS[search.scheduler].compares:
        raise UserError("search.tune compares all values of whole trials: use method grid and scheduler none")


def check_seeds(search: Search, space: Mapping[str, Dimension]) -> None:
    """Raise `UserError` where both space and search repeat seeds, or the best seed would be selected."""
    if "seed" not in space:
        return
    if search.seeds is not None:
        raise UserError(
            f"seed is decided by search.seeds, {search.seeds} from the one in base on: leave space.seed out"
        )
    if METHODS[search.method].suggests or search.tune == "seed":
        chooser = "search.tune" if search.tune else f"search.method {search.method}"
        raise UserError(f"{chooser} would pick the luckiest seed: use search.seeds and leave space.seed out")


def check_folds(search: Search, base: Mapping[str, Any], space: Mapping[str, Dimension]) -> None:
    """Raise `UserError` where a sweep sets a field that `folds` decides; a tuned sweep may set the share of its hold-out."""
    if search.folds is None:
        return
    key, where = ("tune", "its hold-out and then on its folds") if search.tune else ("folds", "each of its folds")
    for name in ("folds", "fold", "selection") if search.tune else ("folds", "fold", "selection", "val_fraction"):
        if name in base or name in space:
            raise UserError(f"{name} is decided by search.{key}, on {where}: leave it out")


def check_race(search: Search) -> None:
    """Raise `UserError` where a race has no repeats to give, or nothing that decides it."""
    if not search.race:
        return
    if (search.seeds or 1) * (search.folds or 1) < 2:
        raise UserError(
            "search.race gives repeats to the configurations that may be the best: set search.seeds or search.folds"
        )
    if search.tune is not None:
        raise UserError("search.race and search.tune do not go together: the best of a tuned sweep go to all folds")
    if len(search.objective) > 1:
        raise UserError(
            f"search.race compares errors alone, got search.objective {list(search.objective)}: name one, or leave race out"
        )
