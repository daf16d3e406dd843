"""Synchronous successive halving: a cohort of configurations meets at each rung, and its best third goes on from there."""

import math
from collections.abc import Callable
from typing import Any

from bel.run_layout import DECIDED, Outcome
from launch.runs import Entry, Run
from launch.spec.search import Objective

FACTOR = 3  # one of so many runs that reach a rung goes on


def rungs(longest: int) -> list[int]:
    """Return the epochs at which runs are compared: a quarter of the longest run's, and each time three times as many."""
    found, epoch = [], max(1, longest // 4)
    while epoch < longest:
        found.append(epoch)
        epoch *= FACTOR
    return found


class Halving:
    """Decides which runs of a cohort go on (Jamieson and Talwalkar, 2016), from their errors at its rungs alone.

    So neither the time at which a run arrives, nor how many run at once, nor an interruption changes a decision. Only first
    repeats are in it. Where a search learns from results (`learns`), a cohort has three configurations for each time that a
    third goes on, and the next one begins after it; else all are in one. `epochs_of` gives the epochs of a run; one that is
    `beside` the cohorts, because a user added it, runs to its end.
    """

    def __init__(
        self,
        longest: int,
        objective: Objective,
        learns: bool = False,
        told: int = 0,
        epochs_of: Callable[[Run], list[Entry]] = lambda run: run.history,
        beside: Callable[[Run], bool] = lambda run: False,
    ) -> None:
        self.beside = beside
        self.rungs, self.objective, self.epochs_of = rungs(longest), objective, epochs_of
        self.most = FACTOR ** len(self.rungs) if learns else math.inf
        self.begin(self.most - told % self.most)  # a driver may have died while it told the results of a cohort

    def begin(self, room: float | None = None) -> None:
        """Begin a cohort of at most `room` configurations."""
        self.room, self.closed, self.rung = room or self.most, False, 0
        self.cohort: list[Run] = []
        self.alive: list[Run] = []  # those that no rung has sorted out

    def add(self, run: Run) -> None:
        """Add the first repeat of a configuration to the cohort, unless it is beside all of them."""
        if self.beside(run):
            return
        self.cohort.append(run)
        self.alive.append(run)
        self.closed = len(self.cohort) >= self.room

    def until(self, run: Run) -> int | None:
        """Return the epoch after which a run waits for the others; None where it may end."""
        return self.rungs[self.rung] if run in self.alive and self.rung < len(self.rungs) else None

    def decide(self) -> tuple[list[Run], dict[str, dict[str, Any]]]:
        """Return the runs that go on, best first, and by key why others stop, as far as all that are to meet are there.

        They lost with their `value` against the error of the last one that goes on.
        """
        stopped: dict[str, dict[str, Any]] = {}
        while self.closed and self.rung < len(self.rungs) and all(map(self.arrived, self.alive)):
            ranked = sorted(self.alive, key=self.error)
            count = math.ceil(len(ranked) / FACTOR)
            epoch, last = self.rungs[self.rung], self.error(ranked[count - 1]) if ranked else math.nan
            self.alive, others = ranked[:count], ranked[count:]
            why = {"by": "sha", "epoch": epoch, "against": last}
            stopped |= {run.key: why | {"value": self.error(run)} for run in others}
            self.rung += 1
        return self.alive, stopped

    def arrived(self, run: Run) -> bool:
        """Return whether a run is at the present rung, or over."""
        return run.outcome in (*DECIDED, Outcome.FAILED) or (
            run.outcome == Outcome.PAUSED and run.epoch >= self.rungs[self.rung]
        )

    def error(self, run: Run) -> float:
        """Return a run's value at the present rung; infinity where it did not come that far."""
        reached = [entry for entry in self.epochs_of(run) if entry["epoch"] <= self.rungs[self.rung]]
        whole = reached and (reached[-1]["epoch"] == self.rungs[self.rung] or run.outcome == Outcome.FINISHED)
        return reached[-1][self.objective.metric] if whole else math.inf
