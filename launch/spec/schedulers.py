"""Schedulers: what each asks of the sweep file; `launch.schedule.schedulers` makes them."""

from collections.abc import Mapping

from bel.errors import UserError, one_of
from launch.spec.dimensions import Dimension, refuse_conditional
from launch.spec.methods import METHODS
from launch.spec.search import Search


class Scheduler:
    """A scheduler that may stop a trial before its last epoch."""

    compares = True  # trials with each other, by their error
    changes: tuple[str, ...] = ()  # fields that may take another value within a run

    def check(self, search: Search, space: Mapping[str, Dimension]) -> None:
        """Raise `UserError` where the sweep lacks what the scheduler needs, or has what it cannot take."""


class NoScheduler(Scheduler):
    """Every trial runs to its last epoch."""

    compares = False


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
    "asha": Scheduler(),
    "hyperband": Scheduler(),
    "median": Scheduler(),
    "pbt": PopulationBasedTraining(),
}
