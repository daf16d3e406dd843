"""One call's work on a sweep: stage by stage, until it is done, its budget is spent or it is stopped; then its table."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from mlflow.exceptions import MlflowException
from ray.tune.schedulers import TrialScheduler
from sqlalchemy.exc import SQLAlchemyError

from bel.config import TrainConfig
from bel.errors import shown
from bel.run_layout import Outcome
from bel.source import code_version
from launch.console.progress import ProgressDisplay
from launch.console.standings import tables
from launch.console.summary import print_folds, print_questions, print_tables
from launch.driver.callback import SweepCallback
from launch.driver.live_progress import heard
from launch.driver.ray_cluster import RayDied, joined, ray_died, restart_ray
from launch.driver.trainable import changed_fields
from launch.driver.tuner import tuner
from launch.identity import file_digests
from launch.pace import Pace
from launch.runs import Run
from launch.schedule.repeats import best_of_each, repeats
from launch.schedule.schedulers import ByKey, make_scheduler
from launch.schedule.searcher import TrialSearcher
from launch.schedule.stopper import FULL, INTERRUPTED, LOST, SweepStopper
from launch.schedule.suggestions import Listed, Source, Suggested, database_url, open_study
from launch.schedule.workload import Workload
from launch.spec.combinations import lower_bounds, make_config
from launch.spec.sampling import Plan
from launch.tracking.claim import claim
from launch.tracking.logger import RunLogger
from launch.tracking.provenance import kept_changes, provenance
from launch.tracking.store import Store, judged_before
from launch.tracking.trial_folder import Folder
from launch.tracking.writer import Lost

PATIENCE = 600.0  # seconds that a sweep waits at its end for an MLflow store that is away
HURRY = 5.0  # after a second Ctrl-C


class Driver:
    """One call's work on a workload: runs what is not decided yet, writes all of it, prints the table."""

    def __init__(self, workload: Workload, store: Store, storage: Folder, quiet: bool) -> None:
        self.workload, self.sweep, self.sweep_runs, self.store = workload, workload.sweep, workload.sweep_runs, store
        self.storage = storage
        self.folder = storage.of(f"{workload.sweep.name}-{store.key[:8]}")
        self.trials, self.tune = self.folder.of("trials"), self.folder.of("tune")
        tags = provenance() | {"code_version": code_version()}
        self.logger = RunLogger(store, self.trials, tags, kept_changes())
        self.display = ProgressDisplay(self.sweep_runs, workload.total, quiet, self.pace)
        self.stop = SweepStopper(self.sweep_runs)
        self.callback = SweepCallback(self.sweep, self.sweep_runs, self.logger, self.stop, self.display, store.hours)

    def pace(self, run: Run) -> Pace | None:
        """How far the worker of a run said that it is."""
        return heard(self.trials.of(run.key).url)

    def work(self) -> int:
        """Run the stages and conclude; the exit code."""
        patience, broken = PATIENCE, False
        self.display.say(f"parent run {self.store.parent_id}")
        claim(self.folder, self.store, self.display.say)
        self.tune.remove()  # of a driver that was killed
        self.logger.replay(self.sweep_runs)
        try:
            with self.stop.on_signals():
                self.stages()
        except KeyboardInterrupt:
            patience = HURRY
        except Exception:
            broken = True
            self.stop.ask(INTERRUPTED, "an error")  # so that the parent is not taken for finished
            raise
        finally:
            self.callback.close()
            self.logger.progress(self.callback.hours)
            self.logger.finish(self.status())
            self.display.close()
            written = self.logger.writer.drain(patience, self.display.say)
            self.sweep_runs.written(dict(self.logger.ids))
            if not self.lost:  # else another driver may be at work there
                self.tune.remove()
            if broken:
                self.notify(1)
        return self.conclude(written)

    @property
    def lost(self) -> str:
        """Why this process must not go on with the sweep."""
        return self.logger.writer.lost or (self.store.lease.why if self.store.lease else "")

    def stages(self) -> None:
        """Each protocol that is searched by itself; then the folds of a tuned sweep."""
        for number, plan in enumerate(self.workload.strata):
            if not self.stop.reason:
                self.stage(plan, self.source(number, plan), self.workload.repeats)
        if self.sweep.search.tune and not self.stop.reason:
            best = best_of_each(self.sweep, self.workload.configs, self.sweep_runs)
            self.stage(self.workload.plan, Listed(best), lambda config: repeats(self.sweep, config))

    def source(self, number: int, plan: Plan) -> Source:
        """Where a stage's configurations come from."""
        if not self.sweep.method.suggests:
            return Listed(self.workload.listed[number])
        database = Path(self.storage.path if self.storage.local else "runs").absolute() / "optuna.db"
        database.parent.mkdir(parents=True, exist_ok=True)
        name = f"{self.sweep.name} {self.store.parent_id[:8]}" + (f" {number}" if number else "")
        study = open_study(self.sweep, name, database_url(database))
        return Suggested(self.sweep, plan, study, self.sweep.search.trials or 0)

    def stage(self, plan: Plan, source: Source, repeated: Callable[[TrainConfig], list[TrainConfig]]) -> None:
        """Let Tune run what a source gives, unless all of it is decided."""
        for config in source.before:
            self.sweep_runs.recall(repeated(config))
        searcher = TrialSearcher(
            self.sweep, source, repeated, self.sweep_runs, self.stop, self.logger.adopt, self.order
        )
        if searcher.look_ahead():
            self.callback.searcher = searcher
            protocols = {make_config(self.sweep, v | lower_bounds(self.sweep)).protocol_name for v in plan.combinations}
            metric = self.sweep.search.objectives[0].metric
            before = judged_before(self.store, protocols, metric) if self.sweep.scheduler.compares else {}
            schedule = make_scheduler(self.sweep, self.workload.longest, self.sweep_runs, before)
            while not self.tuned(searcher, schedule):
                self.callback.ray_died()
                if self.stop.reason:
                    break
                self.display.say("Ray has died on this machine: it is started again, and the trials go on", always=True)
                self.tune.remove()
                restart_ray()
                if not isinstance(schedule, ByKey):  # it knows trials of the Tune that is gone
                    schedule = make_scheduler(self.sweep, self.workload.longest, self.sweep_runs, before)

    def tuned(self, searcher: TrialSearcher, schedule: TrialScheduler | None) -> bool:
        """Let Tune run what the searcher gives; False where Ray dies on the way."""
        try:
            tuner(self.sweep, searcher, self.callback, schedule, self.tune).fit()
            return True
        except RayDied:
            pass
        except Lost as lost:
            self.stop.ask(LOST, str(lost))
        except Exception:
            if not ray_died(now=True):
                raise
        if not self.stop.reason and joined():  # it is not ours to start again
            self.stop.ask(LOST, "Ray has died on this node of its cluster; when it is there again")
        ray.shutdown()  # before Tune's objects are let go, each of which would ask it for something
        return False

    def order(self, run: Run) -> dict[str, Any]:
        """Tune's config of a run: what its worker needs to know."""
        facts: dict[str, Any] = {"data_digest": run.facts["data_digest"], "code_version": code_version()}
        facts |= {"file_digests": file_digests(run.config), "driver_host": socket.gethostname()}
        folder = self.trials.of(run.key)
        values = run.config.as_dict() | changed_fields(folder, self.sweep.scheduler.changes)
        return facts | {"key": run.key, "values": values, "folder": folder.url}

    def status(self) -> str:
        """MLflow's status of the parent."""
        if self.stop.reason in (INTERRUPTED, FULL, LOST):
            return "KILLED"
        return "FAILED" if self.sweep_runs.having(Outcome.FAILED) else "FINISHED"

    def conclude(self, written: bool) -> int:
        """Print the table and what is to be done next; the exit code."""
        print_tables(self.sweep, self.sweep_runs)
        if self.sweep.search.tune and any(run.config.folds for run in self.sweep_runs.ended):
            print_folds(self.sweep, self.store.parent_id)
        if len(self.sweep_runs.having(Outcome.FINISHED, Outcome.STOPPED)) > 1:
            print_questions(self.store.parent_id)
        idle = (
            not self.sweep_runs.having(Outcome.FINISHED, Outcome.STOPPED) and not self.stop.reason
        )  # a spent budget is no fault
        code = 1 if self.sweep_runs.having(Outcome.FAILED) or idle else 0
        refused = self.logger.writer.refused
        if refused:
            print(f"MLflow refused {len(refused)} writes, the first of them: {refused[0]}", file=sys.stderr)
            code = 1
        if self.logger.unstored:
            lacking = ", ".join(self.logger.unstored[:3])
            print(
                f"files of {lacking} did not arrive in the store: the same command trains them again", file=sys.stderr
            )
            code = 1
        if self.lost:
            print(f"{self.lost}: what was trained is in {shown(self.trials.url)}", file=sys.stderr)
            self.notify(1)
            return 1
        if self.stop.reason:
            print(f"{self.stop.text}: the same command goes on with the trials that are not finished", file=sys.stderr)
            code = {INTERRUPTED: 130, FULL: 2, LOST: 1}.get(self.stop.reason, code)
        if not written:
            print(
                f"the MLflow store is away ({self.logger.writer.reason}): what it lacks is in {shown(self.trials.url)}, and "
                "the same command writes it",
                file=sys.stderr,
            )
            code = code or 1
        elif not refused:
            with suppress(MlflowException, SQLAlchemyError):  # a count is not worth an error
                count, size = self.logger.kept(self.sweep_runs.having(Outcome.FINISHED, Outcome.STOPPED))
                self.display.say(
                    f"checkpoints kept: {count} of {len(self.sweep_runs.ended)} trials, {size / 1e9:.3f} GB"
                )
            if not self.stop.reason and not self.sweep_runs.having(Outcome.FAILED):
                self.folder.remove()
        self.notify(code)
        return code

    def notify(self, code: int) -> None:
        """Run the command that the sweep names for its end, which finds in its environment what came of it."""
        if not self.sweep.on_end:
            return
        first = next((table[0] for table in tables(self.sweep_runs)), None)
        told = {
            "BEL_SWEEP": self.sweep.name,
            "BEL_PARENT": self.store.parent_id,
            "BEL_EXIT": str(code),
            "BEL_STATUS": self.status(),
        }
        if first:
            told |= {
                "BEL_BEST": f"{first.error:.6g}",
                "BEL_BEST_RUN": str(first.best.run_id),
                "BEL_BEST_NAME": first.best.name,
            }
        done = subprocess.run(self.sweep.on_end, shell=True, env=os.environ | told)
        if done.returncode:
            print(f"on_end ended with exit code {done.returncode}: {self.sweep.on_end}", file=sys.stderr)
