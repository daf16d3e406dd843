"""Ray's schedulers, wrapped to identify a run by its key, so that it is recognised when it resumes."""

import math
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.schedulers.pbt import PopulationBasedTraining

from bel.run_layout import Outcome
from launch.runs import Entry, SweepRuns
from launch.schedule.explained import Asha, Explained, KeyedTrial, Median
from launch.schedule.halving import FACTOR
from launch.schedule.pareto import Pareto
from launch.schedule.stopper import SweepStopper
from launch.spec.dimensions import Interval
from launch.spec.sweep_file import Sweep

BRACKETS = 3  # of hyperband


class Stopping(FIFOScheduler):
    """Ray's order of trials, of which none begins any more once the sweep stops."""

    stopper: SweepStopper
    name = "none"  # in `SCHEDULERS`

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Return the trial that begins next, if one does; those that are to begin later are taken back first."""
        recall, self.stopper.control.recall = self.stopper.control.recall, False
        if not (self.stopper.reason or recall):
            chosen = super().choose_trial_to_run(tune_controller)
            return without_worker(tune_controller, chosen) or chosen
        for trial in tune_controller.get_trials():
            if trial.status == Trial.PENDING:
                trial.init_local_path()  # Tune asks for it at its end, also of one that it never gave a worker
                tune_controller.stop_trial(trial)
        return None

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Return the decision on an epoch: the scheduler's, and where the run may go on, what a user asked for."""
        runs = self.stopper.sweep_runs
        run, epoch = runs.by_key[trial.config["key"]], int(result["epoch"])
        decision = self.decide(tune_controller, trial, result)
        if decision == TrialScheduler.STOP:
            runs.stop(run, {"by": self.name, "epoch": epoch, **self.lost_against(run.key, epoch)})
        if decision != TrialScheduler.CONTINUE:
            return decision
        asked = self.stopper.control.verdict(run, runs.having(Outcome.RUNNING))
        if asked is None:
            return decision
        runs.halt(run, asked)
        if asked == Outcome.STOPPED:
            runs.stop(run, {"by": self.stopper.control.stops[run.key], "epoch": epoch})
        return str(TrialScheduler.STOP)

    def decide(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Return the scheduler's own decision."""
        return str(super().on_trial_result(tune_controller, trial, result))

    def lost_against(self, key: str, epoch: int) -> dict[str, float]:
        """Return the `value` with which a run was stopped, and `against` what it was worse; nothing without a comparison."""
        return {}


def without_worker(tune_controller: Any, chosen: Any) -> Any:
    """Return the first trial that waits for a worker, where the worker of the `chosen` one is starting; else None.

    Tune would give the next free worker to the chosen one and end the one that starts: trials that are shorter than a
    worker's start would all run on one worker.
    """

    tune = tune_controller._tune_controller  # Ray gives schedulers a wrapper, which hides this

    def starts(trial: Any) -> bool:
        actor = tune._trial_to_actor.get(trial)
        return actor is not None and bool(tune._actor_manager.is_actor_started(actor))

    if chosen is None or not starts(chosen):
        return None
    return next((t for t in tune.get_trials() if t.status == Trial.PENDING and not starts(t)), None)


class ByKey(Stopping):
    """Asks a scheduler about the first run of each configuration, all on the same seed and fold, after each of its epochs."""

    def __init__(self, inner: TrialScheduler, sweep_runs: SweepRuns) -> None:
        super().__init__()
        self.inner, self.sweep_runs = inner, sweep_runs
        self.reported: dict[str, int] = {}  # key -> the last epoch that the inner scheduler knows

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: it stays in this process, though Tune copies all that it is given."""
        return {}

    def judge(self, key: str, history: list[Entry]) -> str:
        """Return the decision on a run's last epoch; epochs before it that were not reported yet are reported first."""
        trial, decision = KeyedTrial(key), TrialScheduler.CONTINUE
        if key not in self.reported:
            self.reported[key] = 0
            self.inner.on_trial_add(None, trial)
        for entry in history:
            if entry["epoch"] > self.reported[key]:
                self.reported[key] = int(entry["epoch"])
                decision = self.inner.on_trial_result(None, trial, entry)
        return decision

    def decide(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Return the decision on an epoch; Tune does not ask after a run's last one."""
        run = self.sweep_runs.enter(trial.config["key"], result)
        return self.judge(run.key, run.history) if run.is_scheduled else TrialScheduler.CONTINUE

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Report the last epoch, which counts in decisions on other runs."""
        run = self.sweep_runs.by_key[trial.config["key"]]
        if run.is_scheduled:
            self.judge(run.key, run.history)

    def lost_against(self, key: str, epoch: int) -> dict[str, float]:
        """Return the value with which a run was stopped, and the one that it was worse than."""
        return self.inner.lost_against(KeyedTrial(key), epoch) if isinstance(self.inner, Explained) else {}


def median(sweep: Sweep, comparison: dict[str, str], longest: int) -> TrialScheduler:
    """Return the median stopping rule (Golovin et al., 2017), which never pauses a run to make room for another."""
    return Median(**comparison, grace_period=max(1, longest // 4), min_time_slice=math.inf)


def halving(sweep: Sweep, comparison: dict[str, str], longest: int, brackets: int) -> TrialScheduler:
    """Return asynchronous successive halving (Li et al., 2020); of several brackets the first begins with epoch 1."""
    return Asha(
        **comparison,
        max_t=longest,
        grace_period=max(1, longest // 4) if brackets == 1 else 1,
        reduction_factor=FACTOR,
        brackets=brackets,
        stop_last_trials=False,
    )


class Population(Stopping, PopulationBasedTraining):
    """Ray's scheduler beside a searcher; a run that goes on with another run's state keeps its own key and folder."""

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Add a trial without a searcher: Ray refuses all of them, because most would learn from fields that change."""
        super().on_trial_add(SimpleNamespace(search_alg=None), trial)

    def _get_new_config(self, trial: Any, trial_to_clone: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return Tune's config of a run that goes on with another run's state, and how each field was changed."""
        config, operations = super()._get_new_config(trial, trial_to_clone)
        return trial.config | {"values": config["values"]}, operations


def population(sweep: Sweep, comparison: dict[str, str], longest: int) -> Population:
    """Return the scheduler of Jaderberg et al. (2017): the worst quarter goes on with state and fields of the best quarter."""
    generator = np.random.default_rng(sweep.search.seed or 0)
    fields = {
        name: partial(d.sample, generator) if isinstance(d, Interval) else list(d.values)
        for name, d in sweep.space.items()
    }
    return Population(
        **comparison,
        perturbation_interval=max(1, longest // 5),
        hyperparam_mutations={"values": fields},
        custom_explore_fn=partial(within_bounds, sweep),
        log_config=False,
    )


def within_bounds(sweep: Sweep, config: dict[str, Any]) -> dict[str, Any]:
    """Return Tune's config with every field of an interval moved into that interval."""
    moved = {name: dimension.nearest(config["values"][name]) for name, dimension in sweep.intervals.items()}
    return config | {"values": config["values"] | moved}


MAKERS: dict[str, Callable[[Sweep, dict[str, str], int], TrialScheduler]] = {  # by name in SCHEDULERS
    "none": lambda sweep, comparison, longest: Stopping(),
    "sha": lambda sweep, comparison, longest: Stopping(),  # the searcher halves: see halving.py
    "asha": partial(halving, brackets=1),
    "hyperband": partial(halving, brackets=BRACKETS),
    "median": median,
    "pareto": lambda sweep, comparison, longest: Pareto(sweep.search.objectives, max(1, longest // 4)),
    "pbt": population,
}


def make_scheduler(
    sweep: Sweep, longest: int, sweep_runs: SweepRuns, before: dict[str, list[Entry]], stopper: SweepStopper
) -> Stopping:
    """Return the scheduler that a sweep asks for, which knows the epochs of runs `before` this call.

    `longest` is the most epochs that a run takes.
    """
    comparison = {"time_attr": "epoch", "metric": sweep.search.objectives[0].metric, "mode": "min"}
    inner = MAKERS[sweep.search.scheduler](sweep, comparison, longest)
    # a run whose fields change is no longer the run of its key
    keyed = inner if isinstance(inner, Stopping) else ByKey(inner, sweep_runs)
    keyed.stopper, keyed.name = stopper, sweep.search.scheduler
    if isinstance(keyed, ByKey):
        for key, history in before.items():
            keyed.judge(key, history)
    return keyed
