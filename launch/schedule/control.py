"""What users asked of a running sweep, which searcher and scheduler heed: pauses, stops, an order, how many trials at once."""

from collections.abc import Sequence

from bel.run_layout import Outcome
from launch.runs import Run


class Control:
    """Changed by the driver's thread alone, between two steps of Tune."""

    def __init__(self) -> None:
        self.paused = False  # no trial begins, and those that run wait after their present epoch
        self.at_once: int | None = None  # trials that run at most, though more may fit
        self.held: set[str] = set()  # keys of trials that wait until somebody resumes them
        self.stops: dict[str, str] = {}  # by key of a trial that is to end after its present epoch: who asked for it
        self.first: list[str] = []  # keys of trials that begin before others, the first of all first
        self.recall = False  # trials that Tune has and that did not begin are to be taken back

    def verdict(self, run: Run, running: Sequence[Run]) -> Outcome | None:
        """Return how a run ends that has trained an epoch, itself one of those `running`; None where it goes on.

        Of more runs than may run at once those that began last wait.
        """
        if run.key in self.stops:
            return Outcome.STOPPED
        longest = sorted(running, key=lambda one: (self.rank(one), one.begun))
        beyond = self.at_once is not None and run not in longest[: self.at_once]
        return Outcome.PAUSED if self.paused or run.key in self.held or beyond else None

    def rank(self, run: Run) -> int:
        """Return the place of a run among those that begin before others; behind them all are equal."""
        return self.first.index(run.key) if run.key in self.first else len(self.first)

    def prioritise(self, key: str) -> None:
        """Let a trial begin before all others."""
        self.first = [key, *(other for other in self.first if other != key)]
