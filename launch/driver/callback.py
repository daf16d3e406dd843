"""Hears what Tune's trials do, and passes it on: to the runs of the sweep, to MLflow, to the searcher, to the display."""

from __future__ import annotations

import re
import time
from typing import Any

from ray import tune

from bel.errors import sentence
from bel.run_layout import Outcome
from launch.console.progress import ProgressDisplay
from launch.console.standings import in_order, tables
from launch.console.summary import front
from launch.driver.ray_cluster import RayDied, joined, lacking, ray_died
from launch.runs import Run, SweepRuns
from launch.schedule.searcher import MOST_DEATHS, TrialSearcher
from launch.schedule.stopper import FULL, HOURS, SweepStopper
from launch.spec.sweep_file import Sweep
from launch.tracking.logger import RunLogger

BEST_SO_FAR = "best/{}_mae_groups"  # of the parent run


class SweepCallback(tune.Callback):
    """Tune's callback."""

    def __init__(
        self,
        sweep: Sweep,
        sweep_runs: SweepRuns,
        logger: RunLogger,
        stop: SweepStopper,
        display: ProgressDisplay,
        spent: float,
    ) -> None:
        self.sweep, self.sweep_runs, self.logger, self.stop, self.display = sweep, sweep_runs, logger, stop, display
        self.searcher: TrialSearcher | None = None  # of the present stage
        self.lacks: list[tuple[str, float]] = []  # what no node of the cluster has any more, as it was said
        self.began, self.spent = time.monotonic(), spent

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: it stays in this process, though Tune makes a copy of all that it is given."""
        return {}

    @property
    def hours(self) -> float:
        """Hours that the sweep took, in earlier calls too."""
        return self.spent + (time.monotonic() - self.began) / 3600

    def awake(self) -> None:
        """Raise `Lost` where another driver has taken over, as after this process stood still, or the store is gone."""
        if self.logger.store.lease:
            self.logger.store.lease.awake()

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Ask and tell nobody anything that is not ours any more."""
        self.awake()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Make the run, or go on with it."""
        self.awake()
        self.logger.begin(self.sweep_runs.begin(trial.config["key"], time.time()))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Log the epochs that are new."""
        self.awake()
        run = self.sweep_runs.enter(trial.config["key"], result)
        for note in result.get("notes", ()):
            self.display.say(f"{run.name}: {note}", always=True)
        self.logger.epochs(run)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Close the run: it says how it ended, or was stopped by the scheduler, or with the sweep."""
        self.awake()
        run = self.sweep_runs.by_key[trial.config["key"]]
        outcome = Outcome(trial.last_result.get("outcome") or (Outcome.CUT if self.stop.reason else Outcome.STOPPED))
        if trial.last_result.get("disk_full"):
            self.stop.ask(FULL, f"the disk is full ({run.reason}); when there is room again")
        if outcome in (Outcome.FINISHED, Outcome.STOPPED) and (lacking := self.logger.lacking(run)):
            self.logger.folder.of(run.key).remove()
            self.again(run, f"{', '.join(lacking)} of it are gone from its folder: it is trained again")
        else:
            self.end(run, outcome)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A worker died, perhaps before it could begin."""
        self.awake()
        self.died(self.sweep_runs.begin(trial.config["key"], time.time()))

    def died(self, run: Run) -> None:
        """Another worker goes on with a run, unless several died with it in one epoch."""
        self.again(run, f"its worker died in epoch {run.epoch + 1}, another goes on")

    def again(self, run: Run, why: str) -> None:
        """Send a run out again, unless it is time to stop or that happened too often."""
        if self.stop.reason:
            self.end(run, Outcome.CUT)
        elif self.searcher is not None and self.searcher.again(run):
            self.display.say(f"{run.name}: {why}")
        else:
            often = f"{MOST_DEATHS + 1} workers died in epoch {run.epoch + 1}: out of memory?"
            self.end(run, Outcome.FAILED, why if "trained again" in why else often)

    def ray_died(self) -> None:
        """All workers died, and what waited for one has to be sent out again."""
        assert self.searcher is not None
        for run in [self.sweep_runs.by_key[key] for key in self.searcher.out]:
            if run.outcome == Outcome.WAITING:
                self.searcher.again(run)
            else:
                self.died(run)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Keep the screen up to date, and the hours; say what trials wait for. Raises `RayDied`."""
        if ray_died():
            raise RayDied
        self.awake()
        before, self.lacks = self.lacks, lacking(self.sweep) if joined() else []
        if self.lacks != before:
            for name, wanted in self.lacks:
                self.display.say(
                    f"no node of the cluster has {wanted:g} {name} any more: trials wait for one", always=True
                )
        if self.sweep.budget.hours is not None and self.hours > self.sweep.budget.hours:
            self.stop.ask(HOURS, f"budget.hours {self.sweep.budget.hours:g} are over; with more of them")
        self.display.refresh()

    def end(self, run: Run, outcome: Outcome, reason: str | None = None) -> None:
        """Close a run and say so."""
        self.sweep_runs.end(run, outcome, reason)
        if outcome in (Outcome.FINISHED, Outcome.STOPPED):
            self.retain()
        try:
            self.logger.end(run)
        except OSError as error:
            self.stop.ask(FULL, f"the disk is full ({sentence(error)}); when there is room again")
        ended = len(self.sweep_runs.ended)
        part = ended / max(self.display.total, len(self.sweep_runs.by_key))
        self.logger.progress(self.hours, ended, self.best(), part)
        self.display.ended(run)
        if self.searcher is not None and outcome != Outcome.CUT:
            self.searcher.ended(run)

    def best(self) -> dict[str, float]:
        """The error of the best configuration so far, by protocol where there are several; a tuned sweep's of its hold-out."""
        found: dict[str, float] = {}
        for first, *_ in tables(self.sweep_runs):
            config = first.best.config
            if not (self.sweep.search.tune and config.folds):
                name = BEST_SO_FAR.format("test" if config.selection == "test" else "val")
                if "protocol" in self.sweep.space:
                    name += "/" + re.sub("[^A-Za-z0-9_. -]", "_", config.protocol_name)
                found.setdefault(name, first.error)
        return found

    def retain(self, over: bool = False) -> None:
        """Keep the checkpoints of the best configurations of each table and of a Pareto front; of a tuned sweep's folds all.

        Until the sweep is `over`, those too that would be among the best with the repeats that they still lack.
        """
        for table in tables(self.sweep_runs):
            if self.sweep.search.tune and table[0].runs[0].config.folds:
                continue
            best = table[: self.sweep.keep]
            best += [] if over else in_order(table, whole=False)[: self.sweep.keep]
            kept = {run.key for one in best for run in (*one.runs, *one.rest)}
            if len(self.sweep.search.objective) > 1:
                groups = [one.runs for one in table]
                kept |= {run.key for group in front(self.sweep, groups) for run in group}
            for run in (run for one in table for run in (*one.runs, *one.rest) if run.kept and run.key not in kept):
                self.sweep_runs.drop(run)
                self.logger.drop(run)

    def close(self) -> None:
        """Close the runs that were cut off, and drop the checkpoints that a driver did not come to drop before it died."""
        for run in self.sweep_runs.having(Outcome.RUNNING):
            self.end(run, Outcome.CUT)
        self.retain(over=not self.stop.reason)
