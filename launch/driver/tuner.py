"""Ray Tune's part: it places trials on GPUs and CPUs and asks the scheduler; what is to last is not kept with it."""

from __future__ import annotations

from typing import Any

from ray import tune
from ray.tune.schedulers import TrialScheduler

from launch.driver.callback import Tracker
from launch.driver.trainable import Trial
from launch.schedule.searcher import Proposer
from launch.spec.sweep_file import Sweep
from launch.tracking.trial_folder import Folder

ENDLESS = 10**9  # the proposer says when it is over


def tuner(
    sweep: Sweep, proposer: Proposer, tracker: Tracker, schedule: TrialScheduler | None, folder: Folder
) -> tune.Tuner:
    """Ray's tuner of a stage, with a folder for files of its own that nobody needs afterwards."""
    return tune.Tuner(
        tune.with_resources(Trial, {"cpu": sweep.resources.cpu, "gpu": sweep.resources.gpu}),
        tune_config=tune.TuneConfig(
            num_samples=ENDLESS,
            search_alg=proposer,
            scheduler=schedule,
            reuse_actors=True,
            trial_dirname_creator=dirname,
        ),
        run_config=tune.RunConfig(
            name="stage",
            storage_path=folder.url,
            callbacks=[tracker],
            stop=tracker.stop,
            failure_config=tune.FailureConfig(max_failures=0),  # the proposer sends a run out again whose worker died
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            verbose=0,
        ),
    )


def dirname(trial: Any) -> str:
    """A short name for a trial's folder of Tune's own."""
    return str(trial.trial_id)
