"""Search methods: what each asks of the sweep file; `launch.schedule.suggestions` has their samplers."""

import importlib.util
from collections.abc import Mapping

from bel.errors import UserError
from launch.spec.dimensions import Dimension, Finite, refuse_conditional
from launch.spec.search import Search


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
        if search.trials is not None:
            raise UserError(f"search.trials {belongs} runs whole: leave trials out")
        if search.seed is not None:
            raise UserError(f"search.seed {belongs} has nothing random: leave seed out")


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
