"""States of trials in MLflow: how many are kept, which trial can go on from its own, and the way into a trial's folder."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mlflow.entities import Run as Logged
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient

from bel.config import TrainConfig
from bel.errors import UserError
from bel.run_layout import CHECKPOINT, CODE_VERSION, CONFIG, LABELS_FIGURE, LAST, PREDICTIONS, SPLIT, STATES, TRIAL
from bel.training import checkpoint
from bel.training.source import code_version
from launch.identity import Facts, data_key, trial_key
from launch.spec import yaml_text
from launch.tracking.trial_folder import Folder
from results.store.runs import artifact, file_names

NEEDED = (*STATES, SPLIT, PREDICTIONS["val"])  # files of a run from which another one can go on
FROM_START = "--from-start trains it from its first epoch instead"


@dataclass(frozen=True)
class Origin:
    """The run that a trial goes on from, and after which epoch; 0 where it trains from the start."""

    run: Logged
    epoch: int

    @property
    def run_id(self) -> str:
        """Its id in MLflow."""
        return str(self.run.info.run_id)


Origins = Mapping[str, Origin]  # by key of a trial


@dataclass(frozen=True)
class Longer:
    """A trial that is to have more epochs: its config, and the run with the config that it goes on from."""

    config: TrainConfig
    before: TrainConfig
    run: Logged

    def obstacle(self, facts: Facts) -> str:
        """Return why it cannot go on from the state of its run; empty where it can."""
        if missing := sorted({*NEEDED} - file_names(self.run)):
            return (
                f"the store has no {', '.join(missing)} of it: `keep_state: true` in a sweep file keeps the last state of the "
                "best `keep` trials"
            )
        tags = self.run.data.tags
        if tags.get(CODE_VERSION) != code_version():
            return (
                f"it was trained with code {tags.get(CODE_VERSION)}, and this is {code_version()}: put that source back"
            )
        if trial_key(self.before, facts[data_key(self.before)]) != tags[TRIAL]:
            return (
                "its images, its split or a file that it names (weights, code, plug-in) are not those that it was trained "
                "with, or its scheduler changed fields in it: put the files back"
            )
        return ""


def origins(
    longer: Sequence[Longer], facts: Facts, identify: Callable[[TrainConfig], str], from_start: bool
) -> Origins:
    """Return what each trial goes on from, by its key.

    With `from_start` one that cannot trains from the start. Raises `UserError` for one that cannot, otherwise.
    """
    found = {}
    for one in longer:
        why = one.obstacle(facts)
        if why and not from_start:
            name = f"{one.run.info.run_name} (run {one.run.info.run_id})"
            raise UserError(f"{name} cannot go on: {why}; {FROM_START}")
        found[identify(one.config)] = Origin(one.run, 0 if why else int(one.run.data.metrics["epoch"]))
    return found


def place(origin: Origin, config: TrainConfig, folder: Folder) -> None:
    """Copy the state that a trial goes on from into its folder, unless it has one; with it what the epochs of before wrote.

    The last epoch's is the last one, because a trial goes on from it. Raises `UserError` where the store fails.
    """
    if not origin.epoch or LAST in folder.names():
        return
    folder.write(CONFIG, lambda path: path.write_text(yaml_text.dump(config.as_dict())))
    for name in (SPLIT, LABELS_FIGURE, PREDICTIONS["val"]):
        with artifact(origin.run, name) as source:
            if source:
                folder.write(name, partial(shutil.copy, source))
    for name in STATES:
        state = read_state(origin, name) | {"config": config.as_dict()}  # as a run of this config would have it
        folder.write_state(name, state)


def read_state(origin: Origin, name: str) -> dict[str, Any]:
    """Read a state of a run. Raises `UserError` where it is gone or damaged."""
    with artifact(origin.run, name) as source:
        return checkpoint.load(source or Path(name))


def delete_states(run: Logged) -> None:
    """Delete the checkpoint of a run from the store, and its last state."""
    repository = get_artifact_repository(run.info.artifact_uri)
    for name in {file.path for file in repository.list_artifacts()} & {*STATES}:
        repository.delete_artifacts(name)


def count_states(run_ids: Sequence[str]) -> tuple[int, int]:
    """Return how many checkpoints of some runs are in the store, and their size in bytes with that of last states."""
    client = MlflowClient()
    files = [file for run_id in run_ids for file in client.list_artifacts(run_id) if file.path in STATES]
    return sum(file.path == CHECKPOINT for file in files), sum(file.file_size or 0 for file in files)
