"""Which keys of the section `search` go together, and with what a sweep file fixes and varies."""

from collections.abc import Mapping
from typing import Any

from bel.errors import UserError, one_of
from launch.spec.dimensions import Dimension
from launch.spec.methods import METHODS
from launch.spec.schedulers import SCHEDULERS
from launch.spec.search import Search


def check_search(search: Search, base: Mapping[str, Any], space: Mapping[str, Dimension]) -> None:
    """Raise `UserError` where the keys of a search do not go together, or not with what is fixed and what varies."""
    one_of("search.method", search.method, METHODS)
    one_of("search.scheduler", search.scheduler, SCHEDULERS)
    METHODS[search.method].check(search, space)
    check_objectives(search)
    check_tuning(search, space)
    check_seeds(search, space)
    check_folds(search, base, space)
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
