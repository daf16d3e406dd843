"""Ray's schedulers that stop trials, with what a trial was worse than."""

from typing import Any, NamedTuple

import numpy as np
from ray.tune.schedulers import ASHAScheduler, MedianStoppingRule, TrialScheduler


class KeyedTrial(NamedTuple):
    """A run as a scheduler sees it."""

    trial_id: str


class Explained(TrialScheduler):
    """A scheduler that says against what value a trial lost which it has just stopped."""

    def lost_against(self, trial: KeyedTrial, epoch: int) -> dict[str, float]:
        """Return its `value` at an epoch and the one it lost `against`, both as errors."""
        raise NotImplementedError


class Asha(ASHAScheduler, Explained):
    """Ray's scheduler, with the cutoff of the rung at which it stopped a trial."""

    def lost_against(self, trial: KeyedTrial, epoch: int) -> dict[str, float]:
        """Return its error at the rung, and the cutoff of those that were there before."""
        bracket = self._trial_info[trial.trial_id]
        rung = next(recorded for _, recorded in bracket._rungs if trial.trial_id in recorded)
        cutoff = bracket.cutoff({other: value for other, value in rung.items() if other != trial.trial_id})
        return {"value": self._metric_op * rung[trial.trial_id], "against": self._metric_op * float(cutoff)}


class Median(MedianStoppingRule, Explained):
    """Ray's rule, without its assertion that a stopped run never reports again: one may when a sweep resumes."""

    def lost_against(self, trial: KeyedTrial, epoch: int) -> dict[str, float]:
        """Return its best error, and the median of the other trials' mean errors up to the epoch."""
        means = [self._running_mean(other, epoch) for other in self._trials_beyond_time(epoch) if other != trial]
        return {
            "value": float(self._best_result(trial)),
            "against": float(np.median([m for m in means if np.isfinite(m)])),
        }

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Return the decision on an epoch."""
        self._stopped_trials.discard(trial)
        return str(super().on_trial_result(tune_controller, trial, result))
