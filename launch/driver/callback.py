"""Tune's callback: passes what trials report on to the runs of the sweep, to MLflow, the searcher and the display."""

import re
import time
from typing import Any

from ray.tune.progress_reporter import ProgressReporter, TrialProgressCallback

from bel.run_layout import BEST_SO_FAR, RANKED, Outcome
from launch.console.progress import ProgressDisplay
from launch.console.standings import Standing, in_order, tables
from launch.driver.mps import restore_gpu
from launch.driver.ray_cluster import RayDied, missing_resources, on_cluster, ray_died
from launch.runs import Run, SweepRuns, pareto_front
from launch.schedule.searcher import MAX_DEATHS, TrialSearcher
from launch.schedule.stopper import FULL, HOURS, NO_GPU, SweepStopper
from launch.spec.sweep_file import Sweep
from launch.steering.steering import Steering
from launch.steering.watch import Watch
from launch.tracking.logger import RunLogger


class NoReporter(ProgressReporter):
    """Shows nothing in the place of Tune's reporter, which in a notebook displays a table."""

    def should_report(self, trials: list[Any], done: bool = False) -> bool:
        """Return that there is nothing to report."""
        return False

    def report(self, trials: list[Any], done: bool, *sys_info: dict[str, Any]) -> None:
        """Show nothing."""


class SweepCallback(TrialProgressCallback):
    """Enters what Tune's trials report, and decides which checkpoints are kept.

    Tune adds no callback of its base class, which would print each trial that was cut off, as there is one already.
    """

    def __init__(
        self,
        sweep: Sweep,
        sweep_runs: SweepRuns,
        logger: RunLogger,
        stopper: SweepStopper,
        display: ProgressDisplay,
        hours_before: float,
        steering: Steering,
        watch: Watch,
    ) -> None:
        self.sweep, self.sweep_runs, self.logger, self.stopper, self.display = (
            sweep,
            sweep_runs,
            logger,
            stopper,
            display,
        )
        self.steering, self.watch = steering, watch
        steering.end = self.end
        self.searcher: TrialSearcher | None = None  # of the present stage
        self.shown: dict[str, int] = {}  # by key, the last epoch that was displayed
        self.standings: dict[tuple[Any, ...], Standing] = {}  # configurations as they stood after earlier trials
        self.missing: list[tuple[str, float]] = []  # resources that no node of the cluster has any more, as reported
        self.began, self.hours_before = time.monotonic(), hours_before

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: it stays in this process, though Tune makes a copy of all that it is given."""
        return {}

    @property
    def hours(self) -> float:
        """Hours that the sweep took, those of earlier calls included."""
        return self.hours_before + (time.monotonic() - self.began) / 3600

    def check_lease(self) -> None:
        """Raise `Lost` where another driver has taken over while this process stood still, or the store is gone."""
        if self.logger.store.lease:
            self.logger.store.lease.check_after_pause()

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Raise `Lost` before Tune asks the searcher or the scheduler about a sweep that is not ours any more.

        Raises `KeyboardInterrupt` where the sweep is to stop at once.
        """
        self.check_lease()
        self.heed()

    def heed(self) -> None:
        """Do what users ask for, and note what changed: also while nothing runs, where Tune makes no step."""
        if self.steering.heed():
            self.display.total, self.watch.changed = self.steering.workload.total, True
        self.watch.note(self.hours, self.searcher)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Open the run in MLflow, or go on with it."""
        self.check_lease()
        run = self.sweep_runs.begin(trial.config["key"], time.time())
        self.logger.begin(run)
        self.watch.began(run)
        self.display.trial_started(run)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Log the new epochs."""
        self.check_lease()
        run = self.sweep_runs.enter(trial.config["key"], result)  # a scheduler may have entered it before
        for note in result.get("notes", ()):
            self.display.say(f"{run.name}: {note}", always=True)
        self.logger.epochs(run)
        self.watch.changed = True
        shown, self.shown[run.key] = self.shown.get(run.key, 0), run.epoch
        self.display.epochs(run, [entry for entry in run.history if entry["epoch"] > max(shown, run.resumed)])

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """End the run with the outcome that it reports, or as stopped by the scheduler, or cut off with the sweep."""
        self.check_lease()
        run = self.sweep_runs.by_key[trial.config["key"]]
        if run.outcome == Outcome.WAITING and self.searcher and not self.stopper.reason:  # another one is to begin
            self.searcher.give_back(run)
            return
        if run.outcome == Outcome.WAITING and not run.begun:  # the sweep stopped before it could begin
            return
        ended = Outcome.CUT if self.stopper.reason and not run.stopped_by else run.halted or Outcome.STOPPED
        outcome = Outcome(trial.last_result.get("outcome") or ended)
        if outcome == Outcome.PAUSED and run.key in self.stopper.control.stops:  # at a rung, where Tune asked nobody
            self.sweep_runs.stop(run, {"by": self.stopper.control.stops[run.key], "epoch": run.epoch})
            outcome = Outcome.STOPPED
        if trial.last_result.get("disk_full"):
            self.stopper.request(FULL, f"the disk is full ({run.reason})")
        if outcome == Outcome.PAUSED and self.searcher is not None and not self.stopper.reason:
            self.pause(run)
        elif outcome in RANKED and (missing := self.logger.missing_files(run)):
            self.logger.folder.of(run.key).remove()
            why = f"{', '.join(missing)} of it are gone from its folder: it is trained again"
            self.requeue(run, why, failure=why)
        else:
            self.end(run, Outcome.CUT if outcome == Outcome.PAUSED else outcome)

    def pause(self, run: Run) -> None:
        """Let a run wait without a worker."""
        assert self.searcher is not None
        self.searcher.pause(run)
        self.logger.pause(run)
        self.watch.ended(run)
        if run.halted:
            self.display.say(f"{run.name}: paused after epoch {run.epoch}")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Give the run of a worker that died, perhaps before it could begin, to another one, while a GPU is there."""
        self.check_lease()
        if self.sweep.resources.gpu and not self.stopper.reason and not on_cluster() and not restore_gpu():
            self.stopper.request(NO_GPU, "no GPU is seen on this machine (nvidia-smi shows what is there)")
        self.on_worker_died(self.sweep_runs.begin(trial.config["key"], time.time()))

    def on_worker_died(self, run: Run) -> None:
        """Let another worker go on with a run, unless several died with it in one epoch."""
        epoch = run.epoch + 1
        failure = f"{MAX_DEATHS + 1} workers died in epoch {epoch}: out of memory?"
        self.requeue(run, f"its worker died in epoch {epoch}, another goes on", failure)

    def requeue(self, run: Run, why: str, failure: str) -> None:
        """Queue a run again, unless the sweep stops; where that happened too often it fails with the reason `failure`."""
        if self.stopper.reason:
            self.end(run, Outcome.CUT)
        elif self.searcher is not None and self.searcher.resubmit(run):
            self.display.say(f"{run.name}: {why}")
        else:
            self.end(run, Outcome.FAILED, failure)

    def on_ray_died(self) -> None:
        """Queue all runs again that Tune had: their workers died with Ray."""
        assert self.searcher is not None
        for run in [self.sweep_runs.by_key[key] for key in self.searcher.in_tune]:
            if run.outcome == Outcome.WAITING:
                self.searcher.resubmit(run)
            else:
                self.on_worker_died(run)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Update the display, check the budget of hours, and say what trials wait for. Raises `RayDied`."""
        if ray_died():
            raise RayDied
        self.check_lease()
        before, self.missing = self.missing, missing_resources(self.sweep) if on_cluster() else []
        if self.missing != before:
            for name, wanted in self.missing:
                self.display.say(
                    f"no node of the cluster has {wanted:g} {name} any more: trials wait for one", always=True
                )
        if self.sweep.budget.hours is not None and self.hours > self.sweep.budget.hours:
            self.stopper.request(HOURS, f"budget.hours {self.sweep.budget.hours:g} are over")
        self.display.refresh()

    def end(self, run: Run, outcome: Outcome, reason: str | None = None) -> None:
        """End a run: write it, say so, and tell the searcher."""
        self.sweep_runs.end(run, outcome, reason)
        self.watch.ended(run)
        if outcome in RANKED:
            self.drop_checkpoints()
        with self.stopper.on_full_disk():
            self.logger.end(run)
        ended = len(self.sweep_runs.ended)
        part = ended / max(self.display.total, len(self.sweep_runs.by_key))
        self.logger.parent.progress(self.hours, ended, self.best(), part)
        self.display.ended(run)
        if self.searcher is not None and outcome != Outcome.CUT:
            with self.stopper.on_full_disk():  # else it is told in the next call
                self.searcher.run_ended(run)

    def best(self) -> dict[str, float]:
        """The error of the best configuration so far, by protocol where there are several; a tuned sweep's of its hold-out."""
        found: dict[str, float] = {}
        for first, *_ in tables(self.sweep_runs, self.standings):
            config = first.best.config
            if not (self.sweep.search.tune and config.folds):
                name = BEST_SO_FAR.format("test" if config.selection == "test" else "val")
                if "protocol" in self.sweep.space:
                    name += "/" + re.sub("[^A-Za-z0-9_. -]", "_", config.protocol_name)
                found.setdefault(name, first.error)
        return found

    def drop_checkpoints(self, over: bool = False) -> None:
        """Delete all checkpoints but those of the best `keep` configurations of each table and of a Pareto front.

        Those of a tuned sweep's folds are all kept; until the sweep is `over`, those too of configurations that may be
        among the best when all their repeats have run.
        """
        for table in tables(self.sweep_runs, self.standings):
            if self.sweep.search.tune and table[0].runs[0].config.folds:
                continue
            best = table[: self.sweep.keep]
            best += [] if over else in_order(table, whole=False)[: self.sweep.keep]
            kept = {run.key for one in best for run in (*one.runs, *one.rest)}
            if len(self.sweep.search.objective) > 1:
                groups = [one.runs for one in table]
                kept |= {run.key for group in pareto_front(groups, self.sweep.search.objectives) for run in group}
            for run in (run for one in table for run in (*one.runs, *one.rest) if run.kept and run.key not in kept):
                self.sweep_runs.drop(run)
                self.logger.drop(run)

    def close(self) -> None:
        """End the runs that were cut off, and delete checkpoints that an earlier driver could not delete before it died."""
        for run in self.sweep_runs.having(Outcome.RUNNING, Outcome.PAUSED):
            self.end(run, Outcome.CUT)
        self.drop_checkpoints(over=not self.stopper.reason)
