"""The experiment and the parent run of a sweep: one, however many begin it at once, and one driver at work on it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Dataset, DatasetInput, Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.validation import MAX_TAG_VAL_LENGTH

from bel.files import refuse_folder
from bel.run_layout import FRESH, GENERATION, PARENT, STORE, SWEEP, SWEEP_FILE
from launch.spec.sweep_file import Sweep
from launch.tracking.lease import left, take
from launch.tracking.provenance import context
from launch.tracking.store import Store, generation, newest, read, refuse_deleted, search
from launch.tracking.writer import patiently
from results.store.faults import sqlite_path

MOST_NOTE = MAX_TAG_VAL_LENGTH // 2  # characters: a published leaderboard has to fit beside them

TRIES = 20  # to note a run as the one that is elected


def open_store(sweep: Sweep, key: str, fresh: bool, say: Callable[[str], Any] = print) -> Store:
    """Find or make the experiment and the parent run of a sweep, and take the lease on it: nobody else drives it now.

    Raises `UserError` where another driver is at work on it.
    """
    client = MlflowClient()
    experiment_id = find_experiment(client, sweep.name)
    while True:
        found = newest(client, experiment_id, key)
        parent = found or elect(client, experiment_id, sweep, key, 0, fresh)
        with ExitStack() as held:
            lease = held.enter_context(take(client, parent.info.run_id, say))
            if found and fresh:  # whose lease lets nobody else make the next one
                parent = elect(client, experiment_id, sweep, key, generation(found) + 1, fresh)
                newer = take(client, parent.info.run_id, say)
                held.close()
                lease = held.enter_context(newer)
            present = newest(client, experiment_id, key)
            if present and present.info.run_id == parent.info.run_id:  # else another driver began anew meanwhile
                bury(client, experiment_id, parent)
                client.update_run(parent.info.run_id, status="RUNNING")
                store = replace(read(client, experiment_id, key, present, fresh), lease=lease)
                held.pop_all()
                return store


def find_experiment(client: MlflowClient, name: str) -> str:
    """Id of the experiment; one made in a local store keeps its files beside it, by an absolute path."""
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        file, location, tags = sqlite_path(mlflow.get_tracking_uri()), None, {}
        if file:
            files = Path.cwd() / "mlruns" / name
            refuse_folder("the folder of artifacts", files)
            location, tags = files.as_uri(), {STORE: str(file.resolve())}
        try:
            return str(client.create_experiment(name, location, tags))
        except MlflowException:
            experiment = client.get_experiment_by_name(name)
            if experiment is None:  # it is not that another one has just made it
                raise
    refuse_deleted(experiment)
    return str(experiment.experiment_id)


def elect(client: MlflowClient, experiment_id: str, sweep: Sweep, key: str, number: int, fresh: bool) -> Run:
    """The parent run of a sweep's generation, one for all who make one at the same time.

    It is the one that was first noted as the source of a dataset: MLflow keeps one of a name and digest in an experiment.
    """
    made = make_parent(client, experiment_id, sweep, number, fresh)
    try:
        elected = note(client, made, key, number)
    except BaseException:
        client.delete_run(made.info.run_id)
        raise
    if elected != made.info.run_id:
        client.delete_run(made.info.run_id)
    try:
        run = client.get_run(elected)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        run = None  # `mlflow gc` has taken it away
    if run is None or run.info.lifecycle_stage != "active":  # or a user has deleted it
        return elect(client, experiment_id, sweep, key, number + 1, fresh)
    patiently(lambda: describe(client, run, sweep, key))
    return run


def note(client: MlflowClient, made: Run, key: str, number: int) -> str:
    """Note a run as the source of a generation's dataset, unless another one is; the id of the run that is noted."""
    dataset = Dataset(f"sweep {key}", str(number), "run", made.info.run_id)
    for tried in range(TRIES):
        try:
            client.log_inputs(made.info.run_id, [DatasetInput(dataset)])
            return str(client.get_run(made.info.run_id).inputs.dataset_inputs[0].dataset.source)
        except MlflowException:  # two at once: one of them has to try again
            if tried == TRIES - 1:
                raise
            time.sleep(0.2)
    raise AssertionError


def make_parent(client: MlflowClient, experiment_id: str, sweep: Sweep, number: int, fresh: bool) -> Run:
    """A run that a sweep's trials may be children of, once it is elected."""
    tags = context() | {GENERATION: str(number), "mlflow.note.content": about(sweep)}
    tags |= {FRESH: "yes"} if fresh else {}
    return client.create_run(experiment_id, tags=tags, run_name=f"{sweep.name} ({sweep.search.method})")


def about(sweep: Sweep) -> str:
    """The description that MLflow shows: of a long one the beginning, the whole of which is in an artifact."""
    if len(sweep.description) <= MOST_NOTE:
        return sweep.description
    return f"{sweep.description[:MOST_NOTE]} ... (all of it is in sweep.json)"


def describe(client: MlflowClient, parent: Run, sweep: Sweep, key: str) -> None:
    """Make an elected run known as the sweep's, unless that is done."""
    if SWEEP not in parent.data.tags:
        described = {name: value for name, value in asdict(sweep).items() if name != "on_end"}  # it may hold a token
        client.log_dict(parent.info.run_id, described, SWEEP_FILE)
        client.set_tag(parent.info.run_id, SWEEP, key)


def bury(client: MlflowClient, experiment_id: str, present: Run) -> None:
    """Close what dead drivers of other sweeps on this machine left running in the experiment."""
    for run in client.search_runs([experiment_id], f"tags.`{SWEEP}` LIKE '%' and attributes.status = 'RUNNING'"):
        if run.info.run_id != present.info.run_id and left(run):
            for child in search(client, [experiment_id], {PARENT: run.info.run_id}):
                if child.info.status == "RUNNING":
                    client.set_terminated(child.info.run_id, "KILLED")
            client.set_terminated(run.info.run_id, "KILLED")
