"""Stops a trial early where several objectives count: once another one dominates it by a margin."""

from bisect import bisect_right
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

from ray.tune.schedulers import TrialScheduler

from launch.runs import Entry
from launch.schedule.explained import Explained, KeyedTrial
from launch.spec.search import Objective

MARGIN = 0.15  # of its error: the one that dominates has a smaller one by more
NOISE = 0.05  # of a speed, which is measured: within it two are equal


class Pareto(Explained):
    """Stops a trial that another one dominates by a margin, after no more epochs, from epoch `first` on.

    It does where its error is smaller by more than `MARGIN` and nothing else of it is worse, a speed by more than its noise.
    """

    def __init__(self, objectives: Sequence[Objective], first: int) -> None:
        super().__init__()
        self.error, *self.others = objectives
        self.first = first
        self.entries: dict[str, list[Entry]] = {}  # the epochs of each trial

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Expect a trial, of which nothing is known before its first epoch."""

    def on_trial_result(self, tune_controller: Any, trial: KeyedTrial, result: Entry) -> str:
        """Return the decision on an epoch."""
        epoch = int(result["epoch"])
        self.entries.setdefault(trial.trial_id, []).append(result)
        dominated = epoch >= self.first and self.dominating(result, epoch)
        return str(TrialScheduler.STOP if dominated else TrialScheduler.CONTINUE)

    def dominating(self, own: Entry, epoch: int) -> list[Entry]:
        """Return the entries, each its last one up to an epoch, of the trials that dominate one by the margin."""
        counts = ((bisect_right(entries, epoch, key=itemgetter("epoch")), entries) for entries in self.entries.values())
        return [entries[n - 1] for n, entries in counts if n and self.dominates(entries[n - 1], own)]

    def dominates(self, other: Entry, own: Entry) -> bool:
        """Return whether an epoch of a trial dominates that of another one by the margin."""
        better = other[self.error.metric] < (1 - MARGIN) * own[self.error.metric]
        return better and not any(worse(objective, other, own) for objective in self.others)

    def lost_against(self, trial: KeyedTrial, epoch: int) -> dict[str, float]:
        """Return a trial's error in an epoch, and the smallest one of those that dominate it."""
        own = next(entry for entry in self.entries[trial.trial_id] if entry["epoch"] == epoch)
        against = min(other[self.error.metric] for other in self.dominating(own, epoch))
        return {"value": own[self.error.metric], "against": against}


def worse(objective: Objective, other: Entry, own: Entry) -> bool:
    """Return whether an epoch is worse than another one in an objective; larger ones are speeds."""
    if objective.direction == "maximize":
        return other[objective.metric] < (1 - NOISE) * own[objective.metric]
    return other[objective.metric] > own[objective.metric]
