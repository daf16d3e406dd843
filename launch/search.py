"""How a sweep chooses its trials: the section `search` of its file, checked key by key and as a whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from bel.errors import UserError, one_of
from bel.values import convert_to, within

METHODS = ("grid", "random", "tpe")
SCHEDULERS = ("none", "asha")
OBJECTIVES = {"val/mae": "val/best_mae"}  # what is minimised: the metric that holds its best epoch


@dataclass(frozen=True)
class Search:
    """How trials are chosen and stopped early; `trials` is None for a grid, which runs whole.

    With `tune`, each combination of the other dimensions goes on with its best value of that one to all `folds`.
    """

    method: str = "grid"
    trials: int | None = None
    scheduler: str = "none"
    objective: str = "val/mae"
    seed: int | None = None
    tune: str | None = None
    folds: int | None = None


def choice(choices: Sequence[str]) -> Callable[[str, Any], Any]:
    """A check that a value is one of `choices`."""

    def check(what: str, value: Any) -> Any:
        one_of(what, value, choices)
        return value

    return check


SEARCH: dict[str, Callable[[str, Any], Any]] = {
    "method": choice(METHODS),
    "trials": partial(convert_to, int),
    "scheduler": choice(SCHEDULERS),
    "objective": choice(list(OBJECTIVES)),
    "seed": partial(convert_to, int),
    "tune": partial(convert_to, str),
    "folds": partial(convert_to, int),
}


def check_search(search: Search) -> Search:
    """Raise `UserError` where `trials` does not fit the method."""
    if search.method == "grid" and search.trials is not None:
        raise UserError("search.trials belongs to the methods random and tpe; a grid runs whole: leave trials out")
    if search.method == "grid" and search.seed is not None:
        raise UserError("search.seed belongs to the methods random and tpe; a grid has nothing random: leave seed out")
    within("search.seed", search.seed, 0, 2**31)
    if search.method != "grid" and search.trials is None:
        raise UserError(f"search.method {search.method} needs search.trials: say how many")
    within("search.trials", search.trials, 1, 1_000_000)
    return search


def check_tuning(search: Search, base: Mapping[str, Any], space: Mapping[str, Any]) -> None:
    """Raise `UserError` where a tuned sweep lacks what it needs, or sets itself what the tuning decides."""
    if (search.tune is None) != (search.folds is None):
        raise UserError(
            "search.tune and search.folds belong together: a dimension to tune, and how many folds to go on to"
        )
    if search.tune is None:
        return
    within("search.folds", search.folds, 2, 1000)
    one_of("search.tune", search.tune, space)
    if search.method != "grid" or search.scheduler != "none":
        raise UserError("search.tune compares all values of whole trials: use method grid and scheduler none")
    for name in ("folds", "fold", "selection"):
        if name in base or name in space:
            raise UserError(f"{name} is decided by search.tune, on its hold-out and then on its folds: leave it out")
