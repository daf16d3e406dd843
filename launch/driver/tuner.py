"""Ray Tune's part: it places trials on GPUs and CPUs and asks the scheduler; what is to last is not kept with it."""

from __future__ import annotations

from typing import Any

from ray import tune
from ray.tune.schedulers import TrialScheduler

from launch.driver.callback import SweepCallback
from launch.driver.trainable import Trial
from launch.schedule.searcher import TrialSearcher
from launch.spec.sweep_file import Sweep
from launch.tracking.trial_folder import Folder

ENDLESS = 10**9  # the searcher says when it is over


def tuner(
    sweep: Sweep, searcher: TrialSearcher, callback: SweepCallback, schedule: TrialScheduler | None, folder: Folder
) -> tune.Tuner:
    """Ray's tuner of a stage, with a folder for files of its own that nobody needs afterwards."""
    return tune.Tuner(
        tune.with_resources(Trial, {"cpu": sweep.resources.cpu, "gpu": sweep.resources.gpu}),
        tune_config=tune.TuneConfig(
            num_samples=ENDLESS,
            search_alg=searcher,
            scheduler=schedule,
            reuse_actors=True,
            trial_dirname_creator=dirname,
        ),
        run_config=tune.RunConfig(
            name="stage",
            storage_path=folder.url,
            callbacks=[callback],
            stop=callback.stop,
            failure_config=tune.FailureConfig(max_failures=0),  # the searcher sends a run out again whose worker died
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            verbose=0,
        ),
    )


def dirname(trial: Any) -> str:
    """A short name for a trial's folder of Tune's own."""
    return str(trial.trial_id)
