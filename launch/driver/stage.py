"""A stage of a sweep in Ray Tune: its searcher, its scheduler and its tuner, started again where Ray dies."""

import socket
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import TrialScheduler

from bel.plugins.registry import sources
from bel.run_layout import DATA_DIGEST
from bel.training.source import code_version
from launch.driver.callback import NoReporter, SweepCallback
from launch.driver.ray_cluster import RayDied, on_cluster, ray_died, restart_ray, trials_at_once
from launch.driver.trainable import Trial
from launch.identity import file_digests
from launch.raced import group_errors, note_lost
from launch.runs import Run
from launch.schedule.halving import Halving
from launch.schedule.racing import Race
from launch.schedule.schedulers import ByKey, make_scheduler
from launch.schedule.searcher import TrialSearcher
from launch.schedule.stopper import LOST, SweepStopper
from launch.schedule.suggestions import Source
from launch.schedule.workload import Workload
from launch.spec.combinations import Plan
from launch.states import place
from launch.tracking.logger import RunLogger
from launch.tracking.store import Store, history, scheduled_histories
from launch.tracking.trial_folder import Folder, changed_fields
from launch.tracking.writer import Lost

UNLIMITED = 10**9  # trials of a stage: the searcher says when it is over


class Stage:
    """Lets Tune, in `folder`, run the configurations of a source that its searcher hands out."""

    def __init__(
        self,
        workload: Workload,
        plan: Plan,
        source: Source,
        store: Store,
        stopper: SweepStopper,
        logger: RunLogger,
        callback: SweepCallback,
        folder: Folder,
    ) -> None:
        self.workload, self.plan, self.store, self.stopper = workload, plan, store, stopper
        self.sweep, self.sweep_runs = workload.sweep, workload.sweep_runs
        self.logger, self.callback, self.folder = logger, callback, folder
        before = [self.sweep_runs.restore_known(workload.repeats(config)) for config in source.before]
        self.searcher = callback.searcher = TrialSearcher(
            self.sweep,
            source,
            workload.repeats,
            self.sweep_runs,
            stopper,
            logger.adopt,
            self.worker_config,
            lambda: trials_at_once(self.sweep.resources),
            self.halving(source),
            callback.end,
            callback.heed,
            self.race(before),
        )

    def run(self, say: Callable[..., None]) -> None:
        """Let Tune run until the searcher is over, and start Ray again where it dies on this machine."""
        trial_scheduler = self.scheduler()
        while not self.fit(trial_scheduler):
            self.callback.on_ray_died()
            if self.stopper.reason:
                break
            say("Ray has died on this machine: it is started again, and the trials go on", always=True)
            self.folder.remove()
            restart_ray()
            if not isinstance(trial_scheduler, ByKey):  # it knows the trials of the Tune that is gone
                trial_scheduler = self.scheduler()

    def scheduler(self) -> TrialScheduler:
        """Return the scheduler of the stage, which knows the epochs of the trials that earlier calls ran."""
        protocols = {config.protocol_name for config in self.plan.configs}
        metrics = [objective.metric for objective in self.sweep.search.objectives]
        judged = self.sweep.scheduler.compares and not self.sweep.scheduler.halves
        before = scheduled_histories(self.store, protocols, metrics) if judged else {}
        return make_scheduler(self.sweep, self.workload.longest, self.sweep_runs, before, self.stopper)

    def halving(self, source: Source) -> Halving | None:
        """Return what halves the trials of a stage, where its scheduler does."""
        if not self.sweep.scheduler.halves:
            return None
        objective, learns = self.sweep.search.objectives[0], self.sweep.method.suggests
        logged = cache(partial(history, metrics=(objective.metric,)))
        epochs = lambda run: logged(run.logged.info.run_id) if run.logged else run.history  # noqa: E731
        told = sum(not self.workload.is_added(config) for config in source.ended)
        beside = lambda run: self.workload.is_added(run.config)  # noqa: E731
        return Halving(self.workload.longest, objective, learns, told, epochs, beside)

    def race(self, before: list[list[Run]]) -> Race | None:
        """Return the race of the stage, if the sweep has one, with the configurations of earlier calls, by their repeats."""
        if not self.sweep.search.race:
            return None
        note = partial(note_lost, logger=self.logger, watch=self.callback.watch, display=self.callback.display)
        race = Race(partial(group_errors, logger=self.logger), note)
        for runs in before:
            race.add(runs)
        return race

    def fit(self, trial_scheduler: TrialScheduler) -> bool:
        """Let Tune run what the searcher suggests; return False where Ray dies on the way."""
        try:
            self.tuner(trial_scheduler).fit()
            return True
        except RayDied:
            pass
        except Lost as lost:
            self.stopper.request(LOST, str(lost))
        except Exception:
            if not ray_died(now=True):
                raise
        if not self.stopper.reason and on_cluster():  # it is not ours to start again
            self.stopper.request(LOST, "Ray has died on this node of its cluster")
        ray.shutdown()  # before Tune's objects are let go, each of which would ask it for something
        return False

    def tuner(self, trial_scheduler: TrialScheduler) -> tune.Tuner:
        """Return Ray's tuner of a stage; nobody needs the files in its folder afterwards."""
        return tune.Tuner(
            tune.with_resources(Trial, {"cpu": self.sweep.resources.cpu, "gpu": self.sweep.resources.gpu}),
            tune_config=tune.TuneConfig(
                num_samples=UNLIMITED,
                search_alg=self.searcher,
                scheduler=trial_scheduler,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: str(trial.trial_id),
            ),
            run_config=tune.RunConfig(
                name="stage",
                storage_path=self.folder.url,
                callbacks=[self.callback],
                progress_reporter=NoReporter(),
                stop=self.stopper,
                failure_config=tune.FailureConfig(max_failures=0),  # the searcher gives a run to another worker
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                verbose=0,
            ),
        )

    def worker_config(self, run: Run) -> dict[str, Any]:
        """Return Tune's config of a run: what its worker needs to know."""
        folder = self.logger.folder.of(run.key)
        if run.key in self.logger.origins:
            place(self.logger.origins[run.key], run.config, folder)
        return {
            "key": run.key,
            "values": run.config.as_dict() | changed_fields(folder, self.sweep.scheduler.changes),
            "folder": folder.url,
            "data_digest": run.facts[DATA_DIGEST],
            "file_digests": file_digests(run.config),
            "plugins": sources(run.config.as_dict()),
            "code_version": code_version(),
            "driver_host": socket.gethostname(),
            "system_metrics": self.sweep.system_metrics,
            "keep_state": self.sweep.keep_state,
        }
