"""The section `search` of a sweep file: how trials are chosen, compared, stopped and repeated.

`launch.schedule.studies` has the samplers of the methods; `launch.schedule.schedulers` makes the schedulers;
`launch.spec.search_checks` says what goes together.
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
    several_objectives = False  # it takes no single one
    changes: tuple[str, ...] = ()  # fields that may take another value within a run

    def check(self, search: Search, space: Mapping[str, Dimension]) -> None:
        """Raise `UserError` where the sweep lacks what the scheduler needs, or has what it cannot take."""


class NoScheduler(Scheduler):
    """Every trial runs to its last epoch."""

    compares = False


class SuccessiveHalving(Scheduler):
    """Synchronous successive halving (Jamieson and Talwalkar, 2016)."""

    halves = True


class Domination(Scheduler):
    """Stops what is dominated in several objectives."""

    several_objectives = True

    def check(self, search: Search, space: Mapping[str, Dimension]) -> None:
        """Raise `UserError` for a single objective."""
        if len(search.objective) < 2:
            raise UserError(
                f"search.scheduler pareto weighs several objectives, got {search.objective[0]} alone: name two or three in "
                "search.objective, or use sha or asha"
            )


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
    "pareto": Domination(),
    "pbt": PopulationBasedTraining(),
}
