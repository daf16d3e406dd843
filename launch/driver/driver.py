"""One call's work on a sweep: stage by stage, until it is done, its budget is spent or it is stopped."""

import shlex
from collections.abc import Callable
from pathlib import Path

from bel.config import TrainConfig
from bel.errors import shown
from bel.output import Answer
from bel.run_layout import LAST, STATUS
from bel.text import listed
from launch.console.events import Event, Events
from launch.console.progress import ProgressDisplay
from launch.driver.callback import SweepCallback
from launch.driver.conclusion import Conclusion
from launch.driver.live_progress import latest_pace
from launch.driver.preparation import ReadySweep
from launch.driver.stage import Stage
from launch.schedule.stopper import HELD, INTERRUPTED, SweepStopper
from launch.schedule.studies import journal, open_study, take_over
from launch.schedule.suggestions import ListSource, Source, StudySource, TunedSource
from launch.spec.combinations import Plan
from launch.steering.steering import Steering
from launch.steering.watch import Watch
from launch.tracking.logger import RunLogger
from launch.tracking.parent_run import claim_folder
from launch.tracking.provenance import diff_to_keep, provenance

PATIENCE = 600.0  # seconds that a sweep waits at its end for an MLflow store that is away
PATIENCE_INTERRUPTED = 5.0  # after a second Ctrl-C


class Driver:
    """Runs what is not decided yet of a workload, writes all of it into MLflow, and answers with its tables.

    Progress goes to `emit` as events, or is printed where that is None.
    """

    def __init__(
        self, ready: ReadySweep, answer: Answer, quiet: bool = False, emit: Callable[[Event], None] | None = None
    ) -> None:
        self.workload, self.store, self.storage = workload, store, storage = ready.workload, ready.store, ready.storage
        self.sweep, self.sweep_runs = workload.sweep, workload.sweep_runs
        self.folder = storage.of(f"{workload.sweep.name}-{store.key[:8]}")
        self.trials, self.tune = self.folder.of("trials"), self.folder.of("tune")
        curves = self.local("tensorboard") / f"{workload.sweep.name}-{store.parent_id[:8]}"
        self.events_at = curves if "tensorboard" in workload.sweep.log_to else None
        self.logger = RunLogger(
            store, self.trials, provenance(), diff_to_keep(), self.events_at, workload.sweep.keep_state, ready.origins
        )
        self.display = self.display_of(quiet, emit)
        self.stopper = SweepStopper(self.sweep_runs)
        self.steering, watch = self.steering_of(ready.admit)
        self.callback = SweepCallback(
            self.sweep, self.sweep_runs, self.logger, self.stopper, self.display, store.hours, self.steering, watch
        )
        self.conclusion = Conclusion(workload, self.logger, self.stopper, self.display.say, answer)

    def steering_of(self, admit: Callable[[TrainConfig], None]) -> tuple[Steering, Watch]:
        """Return what does as users ask, and what notes the state of the sweep."""
        begun = lambda key: LAST in self.trials.of(key).names()  # noqa: E731
        say = lambda text: self.display.say(text, always=True)  # noqa: E731
        steering = Steering(self.workload, self.store, self.stopper, admit, begun, say)
        gpu, display = float(self.sweep.resources.gpu), self.display
        control, noted = self.stopper.control, steering.tags.get(STATUS, "")
        return steering, Watch(self.sweep_runs, control, display, self.logger.parent, gpu, noted)

    def run(self) -> int:
        """Run the stages, write all of it, conclude and run `on_end`; return the exit code."""
        patience, raised = PATIENCE, False
        self.display.sweep_started(self.sweep.name, self.store.parent_id)
        if self.events_at:
            self.display.say(f"curves of its trials: tensorboard --logdir {shlex.quote(shown(self.events_at))}")
        claim_folder(self.folder, self.store, self.display.say)
        self.tune.remove()  # of a driver that was killed
        self.logger.replay(self.sweep_runs)
        self.resume_steering()
        try:
            with self.stopper.on_signals():
                self.run_stages()
        except KeyboardInterrupt:
            patience = PATIENCE_INTERRUPTED
        except Exception:
            raised = True
            self.stopper.request(INTERRUPTED, "an error")  # so that the parent is not taken for finished
            raise
        finally:
            written = self.close(patience)
            if raised:
                self.conclusion.notify(1)
        code = self.conclusion.conclude(written, self.callback.hours)
        if self.conclusion.complete(written):
            self.folder.remove()
        self.display.sweep_ended(self.conclusion.answer.values)
        self.conclusion.notify(code)
        return code

    def local(self, name: str) -> Path:
        """Return a path beside the trials, or in the working folder's `runs` where they are in a bucket."""
        return Path(self.storage.path if self.storage.local else "runs").absolute() / name

    def resume_steering(self) -> None:
        """Do again what users asked in earlier calls, and say how many trials are to run where these changed it."""
        announced = self.workload.left
        self.steering.start()
        self.display.total = self.workload.total
        if (left := self.workload.left) != announced:
            self.display.say(f"{left} trials to run with what users added and set in earlier calls")

    def display_of(self, quiet: bool, emit: Callable[[Event], None] | None) -> ProgressDisplay:
        """Return what shows progress: by lines and a table, or by events."""
        if emit:
            run_id = lambda run: run.run_id or self.logger.run_ids.get(run.key)  # noqa: E731
            return Events(self.sweep_runs, self.workload.total, run_id, emit)
        pace = lambda run: latest_pace(self.trials.of(run.key).url)  # noqa: E731
        return ProgressDisplay(self.sweep_runs, self.workload.total, quiet, pace)

    def close(self, patience: float) -> bool:
        """Close all runs and wait at most `patience` seconds for their writes; return whether all is written."""
        self.callback.close()
        if lacking := [run for run in self.sweep_runs if run.decided_earlier and self.logger.event_files.lacks(run)]:
            self.display.say(f"{len(lacking)} trials that ended before have no event file: MLflow has their curves")
        self.callback.watch.note(self.callback.hours, None, always=True)
        self.steering.close(patience)
        self.logger.parent.progress(self.callback.hours)
        self.logger.parent.finish(self.conclusion.status)
        self.display.close()
        written = self.logger.writer.drain(patience, self.display.say)
        self.sweep_runs.written(dict(self.logger.run_ids))
        if not self.conclusion.lost:  # else another driver may be at work there
            self.tune.remove()
        return written

    def run_stages(self) -> None:
        """Run each protocol that is searched by itself."""
        due = list(range(len(self.workload.plans)))
        while due and not self.stopper.reason:
            number = due.pop(0)
            plan = self.workload.plans[number]  # a user may have widened it
            self.run_stage(plan, self.source(number, plan), number)
            due = sorted(self.steering.end_stage().union(due))
            self.display.total = self.workload.total
        if held := self.steering.held:
            self.stopper.request(HELD, f"only trials that are paused are left, {listed(run.name for run in held)}")

    def source(self, number: int, plan: Plan) -> Source:
        """Return what suggests the configurations of a stage."""
        if self.sweep.search.tune:
            return TunedSource(self.workload.contenders(number), self.workload.best_on_folds)
        if not self.sweep.method.suggests:
            return ListSource(self.workload.listed(number))
        name = f"{self.sweep.name} {self.store.parent_id[:8]}" + (f" {number}" if number else "")
        kept = self.local("optuna") / f"{name.replace(' ', '-')}.journal"
        take_over(name, self.local("optuna.db"), kept)
        storage = journal(kept)
        study = open_study(self.sweep, name, storage)
        told = self.workload.warm_start.stages[number] if self.workload.warm_start else ()
        return StudySource(
            self.workload.sweep, plan, study, self.workload.sweep.search.trials or 0, told, storage.at_once
        )

    def run_stage(self, plan: Plan, source: Source, number: int) -> None:
        """Let Tune run the configurations of a source, unless all of them are decided."""
        self.steering.begin_stage(source, number)
        stage = Stage(self.workload, plan, source, self.store, self.stopper, self.logger, self.callback, self.tune)
        self.steering.take_stage(stage.searcher)
        if stage.searcher.fill_queue():
            stage.run(self.display.say)
