"""What goes together in the section `search` of a sweep file, and with what is fixed and what varies."""

from collections.abc import Mapping
from typing import Any

from bel.errors import UserError, one_of
from launch.spec.dimensions import Dimension
from launch.spec.search import METHODS, SCHEDULERS, Search


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
    scheduler = SCHEDULERS[search.scheduler]
    *others, last = [name for name, method in METHODS.items() if method.several_objectives]
    takes_several = scheduler.several_objectives or not scheduler.compares
    if len(search.objective) > 1 and not (takes_several and METHODS[search.method].several_objectives):
        raise UserError(
            f"search.objective {list(search.objective)} needs a scheduler and a method that can weigh them: use scheduler none "
            f"or pareto and method {', '.join(others)} or {last}, got scheduler {search.scheduler} and method {search.method}"
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
