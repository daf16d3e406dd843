"""MLflow reads: sweeps by name or id, their trials, the files that a run logged. Imports no torch."""

import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.file_utils import local_file_uri_to_path

from bel.errors import UserError
from bel.output import without_collection
from bel.run_layout import EXTENDS, LONG_PARAMETERS, OUTCOME, PARENT, PREDICTIONS, RANKED, SWEEP_FILE, TRIAL, Outcome
from results.store.connect import connect
from results.store.predictions import Predictions, read

RUN_ID = re.compile(r"[0-9a-f]{32}")
# Error codes of MLflow that are the request's fault, not the store's.
NOT_FOUND = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "BAD_REQUEST")
STATUS = {
    "FINISHED": Outcome.FINISHED,
    "RUNNING": Outcome.RUNNING,
    "SCHEDULED": Outcome.PAUSED,
    "KILLED": Outcome.CUT,
}  # of a run without the tag


def search(experiments: list[str] | None, condition: str, **options: Any) -> list[Run]:
    """Find all runs, of some experiments or of all, that meet one of MLflow's filters, the newest first."""
    everywhere = experiments is None
    with without_collection():
        found = mlflow.search_runs(
            experiments, condition, output_format="list", search_all_experiments=everywhere, **options
        )
    return list(found)


def find_run(run_id: str) -> Run:
    """Find a run by its id. Raises `UserError` where the store has none, or cannot be read."""
    client = connect()
    try:
        return with_long_parameters(client.get_run(run_id))
    except MlflowException as error:
        if error.error_code not in NOT_FOUND:  # it may not be read, or the server fails: the command says so
            raise
        raise UserError(
            f"no run {run_id!r} in the MLflow store {mlflow.get_tracking_uri()}: copy an id from the sweep's table or from "
            f"`make ui`, and set MLFLOW_TRACKING_URI if the sweep wrote to another store ({str(error).splitlines()[0]})"
        ) from error


def with_long_parameters(run: Run) -> Run:
    """Return a run with its long parameters in full, of which MLflow has digests."""
    if any(value.endswith(LONG_PARAMETERS) for value in run.data.params.values()):
        with artifact(run, LONG_PARAMETERS) as path:
            run.data.params.update({} if path is None else json.loads(path.read_text(encoding="utf-8")))
    return run


def sweep_file(parent: Run) -> dict[str, Any]:
    """Return a sweep's file; empty for a run without one, or with a file of another kind."""
    try:
        content = mlflow.artifacts.load_dict(f"runs:/{parent.info.run_id}/{SWEEP_FILE}")
    except (MlflowException, OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def section_of(parent: Run, name: str) -> dict[str, Any]:
    """Return a section of a sweep's file, such as `search`; empty where there is none."""
    found = sweep_file(parent).get(name)
    return found if isinstance(found, dict) else {}


def on_fold(run: Run) -> bool:
    """Say whether a trial of a tuned sweep is on a fold, not on the hold-out."""
    return "fold" in run.data.params


def find_sweeps(names: Sequence[str]) -> list[Run]:
    """Find the parent runs of sweeps, each by its run id (or a trial's), or by its experiment's name: then the latest one.

    Raises `UserError` for a name that no sweep has.
    """
    return [parent_of(find_run(name)) if RUN_ID.fullmatch(name) else latest_sweep(name) for name in names]


def parent_of(run: Run) -> Run:
    """Return the parent run of a trial; another run is its own."""
    return find_run(run.data.tags[PARENT]) if PARENT in run.data.tags else run


def latest_sweep(name: str) -> Run:
    """Find the latest sweep of an experiment, for an extension the sweep before. Raises `UserError` where there is none."""
    client = connect()
    if experiment := client.get_experiment_by_name(name):
        for run in client.search_runs([experiment.experiment_id], max_results=1, order_by=["start_time DESC"]):
            return first_of(parent_of(run))
    known = [e.name for e in mlflow.search_experiments() if e.name != "Default"]
    raise UserError(
        f"no sweep {name!r} in the MLflow store {mlflow.get_tracking_uri()}: it has {known}; or give a run id"
    )


def first_of(sweep: Run) -> Run:
    """Return the sweep whose best trials a sweep made longer, where the store still has it; another sweep is its own."""
    try:
        return find_run(sweep.data.tags[EXTENDS]) if EXTENDS in sweep.data.tags else sweep
    except UserError:
        return sweep


def family(sweep: Run) -> list[str]:
    """Return the ids of the parent runs of a sweep and of those that made its best trials longer, the first sweep's first."""
    first = sweep.data.tags.get(EXTENDS, sweep.info.run_id)
    longer = search([sweep.info.experiment_id], f"tags.`{EXTENDS}` = '{first}'")
    return list(dict.fromkeys([first, *(run.info.run_id for run in longer), sweep.info.run_id]))


def trials(sweeps: Sequence[Run], condition: str = "") -> list[Run]:
    """Find all trials of some sweeps, and of those that made them longer, however they ended, each once.

    `condition` is one of MLflow's filters. Raises `UserError` for one that MLflow refuses.
    """
    found: dict[str, Run] = {}
    parents = {run_id: sweep.info.experiment_id for sweep in sweeps for run_id in family(sweep)}
    for parent_id, experiment_id in parents.items():
        where = f"tags.`{PARENT}` = '{parent_id}'" + (f" and {condition}" if condition else "")
        try:
            runs = search([experiment_id], where)
        except MlflowException as error:
            if error.error_code not in NOT_FOUND:
                raise
            raise UserError(f"MLflow refuses the filter {condition!r}: {str(error).splitlines()[0]}") from error
        for run in runs:
            key = run.data.tags.get(TRIAL, run.info.run_id)
            if key not in found or (outcome(run) in RANKED and outcome(found[key]) not in RANKED):
                found[key] = run
    return [with_long_parameters(run) for run in found.values()]


def outcome(run: Run) -> Outcome:
    """Return the outcome of a trial; without a tag that this version knows, by the run's status in MLflow."""
    try:
        return Outcome(run.data.tags[OUTCOME])
    except (KeyError, ValueError):
        return STATUS.get(run.info.status, Outcome.FAILED)


def local_folder(run: Run) -> Path | None:
    """Return the folder of a run's files where they are on this machine; else None."""
    place = run.info.artifact_uri
    return Path(local_file_uri_to_path(place)) if place.startswith(("/", "file:")) else None


def file_names(run: Run) -> set[str]:
    """Return the names of a run's files; on this machine without asking the store."""
    if (folder := local_folder(run)) is None:
        return {file.path for file in MlflowClient().list_artifacts(run.info.run_id)}
    return {path.name for path in folder.iterdir() if path.is_file()} if folder.is_dir() else set()


@contextmanager
def artifact(run: Run, name: str) -> Iterator[Path | None]:
    """Provide a file of a run as a local path; None where it has none. Raises `UserError` where the store fails."""
    if folder := local_folder(run):  # without a copy
        path = folder / name
        yield path if path.is_file() else None
        return
    with tempfile.TemporaryDirectory() as copies:
        yield download(run, name, copies)


def download(run: Run, name: str, folder: str) -> Path | None:
    """Copy a file of a run into a folder; None where it has none. Raises `UserError` where the store fails."""
    try:
        if name not in file_names(run):
            return None
        return Path(MlflowClient().download_artifacts(run.info.run_id, name, folder))
    except (MlflowException, OSError) as error:
        raise UserError(f"cannot read {name} of run {run.info.run_id}: {str(error).splitlines()[0]}") from error


def fetch_predictions(run: Run, split: str = "val", bits: bool = True) -> Predictions | None:
    """Read a run's predictions on a split; None where it has none (an older run, or one that ended before its first epoch)."""
    with artifact(run, PREDICTIONS[split]) as path:
        return None if path is None else read(path, bits)


def existing_predictions(run: Run, split: str, bits: bool = True) -> Predictions:
    """Read a run's predictions on a split. Raises `UserError` where it has none, with what to do."""
    found = fetch_predictions(run, split, bits)
    if found is None:
        remedy = (
            f"run `bel-eval --run-id {run.info.run_id}` first"
            if split == "test"
            else "it came to no epoch, or is older than these files: run its sweep again"
            if PARENT in run.data.tags
            else "train it again"
        )
        raise UserError(f"run {run.info.run_id} ({run.info.run_name}) has no {PREDICTIONS[split]}: {remedy}")
    return found
