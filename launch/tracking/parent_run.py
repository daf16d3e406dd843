"""The experiment, the parent run and the folder of a sweep: one each, however many processes start it at once."""

import os
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

from bel.errors import UserError, shown
from bel.files import refuse_folder
from bel.run_layout import DRIVER, EXPERIMENT_KIND, EXTENDS, FRESH, GENERATION, NOTE, PARENT, STORE, SWEEP, SWEEP_FILE
from launch.spec.extension import Extension
from launch.spec.sweep_file import Sweep
from launch.tracking.lease import acquire, is_free, process_alive, process_identity
from launch.tracking.provenance import context
from launch.tracking.store import Store, generation, knows, newest, read, refuse_deleted, tagged
from launch.tracking.trial_folder import Folder
from results.store.connect import retry
from results.store.faults import sqlite_path
from results.store.runs import search

MOST_NOTE = MAX_TAG_VAL_LENGTH // 2  # characters of a description: a published leaderboard has to fit beside it
TRIES = 20  # to log the dataset that elects a parent run
CLAIM = ("parent", "store", "driver")  # keys of `DRIVER`


def open_store(sweep: Sweep, key: str, fresh: bool, say: Callable[[str], Any] = print) -> Store:
    """Find or create the experiment and the parent run of a sweep, and acquire the lease on it.

    Raises `UserError` where another driver is running it.
    """
    client = MlflowClient()
    experiment_id = find_experiment(client, sweep.name)
    while True:
        found = newest(experiment_id, key)
        parent = found or elect(client, experiment_id, sweep, key, 0, fresh)
        with ExitStack() as held:
            lease = held.enter_context(acquire(client, parent.info.run_id, say))
            if found and fresh:  # while its lease is held nobody else creates the next one
                parent = elect(client, experiment_id, sweep, key, generation(found) + 1, fresh)
                newer = acquire(client, parent.info.run_id, say)
                held.close()
                lease = held.enter_context(newer)
            present = newest(experiment_id, key)
            if present and present.info.run_id == parent.info.run_id:  # else another driver started afresh meanwhile
                close_abandoned(client, experiment_id, parent)
                client.update_run(parent.info.run_id, status="RUNNING")
                store = replace(read(experiment_id, key, present, fresh), lease=lease)
                held.pop_all()
                return store


def find_experiment(client: MlflowClient, name: str) -> str:
    """Find or create the experiment; return its id. In a local store its files lie in the working folder's `mlruns`."""
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        file, location, tags = (
            sqlite_path(mlflow.get_tracking_uri()),
            None,
            {EXPERIMENT_KIND: "custom_model_development"},
        )
        if file:
            files = Path.cwd() / "mlruns" / name
            refuse_folder("the folder of artifacts", files)
            location, tags = files.as_uri(), tags | {STORE: str(file.resolve())}
        try:
            return str(client.create_experiment(name, location, tags))
        except MlflowException:
            experiment = client.get_experiment_by_name(name)
            if experiment is None:  # not because another process has just created it
                raise
    refuse_deleted(experiment)
    return str(experiment.experiment_id)


def elect(client: MlflowClient, experiment_id: str, sweep: Sweep, key: str, number: int, fresh: bool) -> Run:
    """Create the parent run of a sweep's generation; of several processes that do so at once all return the same run.

    It is the first that is logged as the source of a dataset: MLflow keeps one dataset of a name and digest.
    """
    made = make_parent(client, experiment_id, sweep, number, fresh)
    try:
        elected = log_dataset(client, made, key, number)
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
    retry(lambda: describe(client, run, sweep, key))
    return run


def log_dataset(client: MlflowClient, made: Run, key: str, number: int) -> str:
    """Log a run as the source of a generation's dataset, unless another one is; return the id of the run that is."""
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
    """Create a candidate for the parent run."""
    tags = context() | {GENERATION: str(number), NOTE: about(sweep)}
    tags |= {FRESH: "yes"} if fresh else {}
    how = sweep.search.method
    if isinstance(sweep, Extension):
        tags, how = tags | {EXTENDS: sweep.root}, f"to {sweep.epochs} epochs"
    return client.create_run(experiment_id, tags=tags, run_name=f"{sweep.name} ({how})")


def about(sweep: Sweep) -> str:
    """Return the description for the UI, cut where it is long."""
    if len(sweep.description) <= MOST_NOTE:
        return sweep.description
    return f"{sweep.description[:MOST_NOTE]} ... (all of it is in {SWEEP_FILE})"


def describe(client: MlflowClient, parent: Run, sweep: Sweep, key: str) -> None:
    """Tag an elected run with the sweep's key and log the sweep's file, unless that is done."""
    if SWEEP not in parent.data.tags:
        described = {name: value for name, value in asdict(sweep).items() if name != "on_end"}  # it may hold a token
        client.log_dict(parent.info.run_id, described, SWEEP_FILE)
        client.set_tag(parent.info.run_id, SWEEP, key)


def close_abandoned(client: MlflowClient, experiment_id: str, present: Run) -> None:
    """Close the runs of other sweeps in the experiment that drivers of this machine left running when they died."""
    for run in search([experiment_id], f"tags.`{SWEEP}` LIKE '%' and attributes.status = 'RUNNING'"):
        if run.info.run_id != present.info.run_id and is_free(run):
            for child in search([experiment_id], tagged({PARENT: run.info.run_id})):
                if child.info.status == "RUNNING":
                    client.set_terminated(child.info.run_id, "KILLED")
            client.set_terminated(run.info.run_id, "KILLED")


def claim_folder(folder: Folder, store: Store, say: Callable[[str], Any]) -> None:
    """Note in a sweep's folder which parent run its states are of; remove those of a parent run that a newer one replaced.

    Raises `UserError` where a driver of this machine uses the folder for another store.
    """
    own = process_identity(os.getpid())
    before = folder.read_json(DRIVER)
    if not (isinstance(before, dict) and all(isinstance(before.get(name), str) for name in CLAIM)):
        before = None  # there is no note, or a damaged one
    if before and before["parent"] != store.parent_id:
        if before["driver"] != own and process_alive(before["driver"]):
            raise UserError(
                f"process {before['driver'].split()[1]} is running this very sweep in {shown(folder.url)}, for the MLflow "
                f"store {before['store']}: wait for it, or give --storage another folder"
            )
        if store.fresh or knows(before["parent"]):
            folder.remove()
        else:
            say(f"taking up what was trained for a store that is gone, from {shown(folder.url)}")
    folder.write_json(DRIVER, {"parent": store.parent_id, "store": shown(mlflow.get_tracking_uri()), "driver": own})
