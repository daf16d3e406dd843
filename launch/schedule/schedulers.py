"""Early stopping: Ray's schedulers, which here see a run by its key, so that one that goes on after a crash is the same."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    TrialScheduler,
)

from launch.runs import Entry, SweepRuns
from launch.spec.dimensions import Interval
from launch.spec.sweep_file import Sweep

FACTOR = 3  # of the runs that reach a rung, one in so many goes on


@dataclass(frozen=True)
class Known:
    """A run as a scheduler sees it."""

    trial_id: str


class ByKey(FIFOScheduler):
    """Judges the runs that are first of their configuration, all of them on the same seed and fold, on all their epochs."""

    def __init__(self, inner: TrialScheduler, sweep_runs: SweepRuns) -> None:
        super().__init__()
        self.inner, self.sweep_runs = inner, sweep_runs
        self.told: dict[str, int] = {}  # key -> the last epoch that the inner scheduler knows

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: it stays in this process, though Tune makes a copy of all that it is given."""
        return {}

    def judge(self, key: str, history: list[Entry]) -> str:
        """The decision on a run's last epoch, after the epochs before it that are not told yet."""
        known, decision = Known(key), TrialScheduler.CONTINUE
        if key not in self.told:
            self.told[key] = 0
            self.inner.on_trial_add(None, known)
        for entry in history:
            if entry["epoch"] > self.told[key]:
                self.told[key] = int(entry["epoch"])
                decision = self.inner.on_trial_result(None, known, entry)
        return decision

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Tune asks after each epoch but a run's last one."""
        run = self.sweep_runs.enter(trial.config["key"], result)
        return self.judge(run.key, run.history) if run.judged else TrialScheduler.CONTINUE

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """The last epoch counts for the others."""
        run = self.sweep_runs.by_key[trial.config["key"]]
        if run.judged:
            self.judge(run.key, run.history)


class Median(MedianStoppingRule):
    """Ray's rule, for runs of which it may hear after it stopped them, and which no other run waits for."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """The decision on an epoch; a run that has more of them was not stopped, or by another call."""
        self._stopped_trials.discard(trial)
        return str(super().on_trial_result(tune_controller, trial, result))

    def _on_insufficient_samples(self, tune_controller: Any, trial: Any, time: float) -> str:
        """Go on, where Ray would look for a trial to make room for."""
        return str(TrialScheduler.CONTINUE)


class Population(PopulationBasedTraining):
    """Ray's, with a searcher beside it; a run that takes over another's state and fields keeps its own key and folder."""

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Ray refuses all searchers here, because most of them would learn from runs whose fields change."""
        super().on_trial_add(SimpleNamespace(search_alg=None), trial)

    def _get_new_config(self, trial: Any, trial_to_clone: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Tune's config of a run that takes over another's state, and what was done to the fields."""
        config, operations = super()._get_new_config(trial, trial_to_clone)
        return trial.config | {"values": config["values"]}, operations


def scheduler(
    sweep: Sweep, longest: int, sweep_runs: SweepRuns, before: dict[str, list[Entry]]
) -> TrialScheduler | None:
    """The scheduler that a sweep asks for, which knows the epochs of runs `before` this call; None for none.

    `longest` is the most epochs that a run takes.
    """
    common = {"time_attr": "epoch", "metric": sweep.search.objectives[0].metric, "mode": "min"}
    name = sweep.search.scheduler
    if name == "none":
        return None
    if name == "pbt":
        return population(sweep, common, longest)
    made = ByKey(inner_scheduler(name, common, longest), sweep_runs)
    for key, history in before.items():
        made.judge(key, history)
    return made


def inner_scheduler(name: str, common: dict[str, str], longest: int) -> TrialScheduler:
    """Median stopping, or successive halving with one bracket (asha) or three (hyperband), all of them asynchronous."""
    if name == "median":
        return Median(**common, grace_period=max(1, longest // 4))
    return ASHAScheduler(
        **common,
        max_t=longest,
        grace_period=max(1, longest // 4) if name == "asha" else 1,
        reduction_factor=FACTOR,
        brackets=3 if name == "hyperband" else 1,
        stop_last_trials=False,
    )


def population(sweep: Sweep, common: dict[str, str], longest: int) -> Population:
    """Population-based training (Jaderberg et al., 2017): the worst quarter takes over state and fields of the best one."""
    generator = np.random.default_rng(sweep.search.seed or 0)
    fields = {
        name: partial(d.sample, generator) if isinstance(d, Interval) else list(d.values)
        for name, d in sweep.space.items()
    }
    return Population(
        **common,
        perturbation_interval=max(1, longest // 5),
        hyperparam_mutations={"values": fields},
        custom_explore_fn=partial(within_bounds, sweep),
        log_config=False,
    )


def within_bounds(sweep: Sweep, config: dict[str, Any]) -> dict[str, Any]:
    """Tune's config with every field of an interval moved into it."""
    moved = {name: dimension.settle(config["values"][name]) for name, dimension in sweep.intervals.items()}
    return config | {"values": config["values"] | moved}
