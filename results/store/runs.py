"""MLflow reads: a run by its id, what a sweep's file said, the checkpoint of a run."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import mlflow
from alembic.util.exc import CommandError
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.file_utils import local_file_uri_to_path
from sqlalchemy import create_engine
from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError

from bel.errors import UserError
from bel.run_layout import CHECKPOINT, LONG_PARAMETERS, SWEEP_FILE
from results.store.faults import fault, reason, sqlite_path, wait_until_made
from results.store.sqlite_file import settle, sqlite_url

UNKNOWN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "BAD_REQUEST")  # what was asked for, not the store


def find_run(run_id: str) -> Run:
    """The run of an id. Raises `UserError` where the store has none, or cannot be read."""
    client = reach()
    try:
        return whole(client.get_run(run_id))
    except MlflowException as error:
        if error.error_code not in UNKNOWN:  # it may not be read, or the server fails: the command says so
            raise
        raise UserError(
            f"no run {run_id!r} in the MLflow store {mlflow.get_tracking_uri()}: copy an id from the sweep's table or from "
            f"`make ui`, and set MLFLOW_TRACKING_URI if the sweep wrote to another store ({str(error).splitlines()[0]})"
        ) from error


def whole(run: Run) -> Run:
    """A run with its long parameters in full, of which MLflow has digests."""
    if any(value.endswith(LONG_PARAMETERS) for value in run.data.params.values()):
        with artifact(run, LONG_PARAMETERS) as path:
            run.data.params.update({} if path is None else json.loads(path.read_text(encoding="utf-8")))
    return run


def reach() -> MlflowClient:
    """The MLflow store, which is not made where there is none. Raises `UserError` where it cannot be read."""
    if not mlflow.is_tracking_uri_set():
        mlflow.set_tracking_uri(sqlite_url(Path("mlflow.db")))
    uri = mlflow.get_tracking_uri()
    local = sqlite_path(uri)
    try:
        if local and not local.exists():
            raise FileNotFoundError("there is no such file")
        if wrong := fault(uri, write=False):
            raise UserError(f"cannot read the MLflow store {uri}: {wrong}")
        wait_until_made(uri)
        if local:
            settle(local)
        if "://" in uri and not local and not uri.startswith("http"):  # MLflow itself would ask for minutes
            with suppress(NoSuchModuleError):
                create_engine(uri).connect().close()
        client = MlflowClient()
        client.search_experiments(max_results=1)
        return client
    except (MlflowException, SQLAlchemyError, CommandError, ImportError, OSError) as error:
        raise UserError(f"cannot read the MLflow store {uri}: {reason(error)}") from error


def section_of(parent: Run, name: str) -> dict[str, Any]:
    """A section of a sweep's file, such as `search`; empty for a run without one, or whose file is none of ours."""
    try:
        content = mlflow.artifacts.load_dict(f"runs:/{parent.info.run_id}/{SWEEP_FILE}")
    except (MlflowException, OSError, ValueError, RecursionError):
        return {}
    found = content.get(name) if isinstance(content, dict) else None
    return found if isinstance(found, dict) else {}


def on_fold(run: Run) -> bool:
    """Whether a trial of a tuned sweep is on a fold, not on the hold-out."""
    return "fold" in run.data.params


@contextmanager
def artifact(run: Run, name: str) -> Iterator[Path | None]:
    """A file of a run as a local path while it is used; None where it has none. Raises `UserError` where the store fails."""
    place = run.info.artifact_uri
    if place.startswith(("/", "file:")):  # without a copy, and without asking the store
        path = Path(local_file_uri_to_path(place)) / name
        yield path if path.is_file() else None
        return
    with tempfile.TemporaryDirectory() as folder:
        yield download(run, name, folder)


def download(run: Run, name: str, folder: str) -> Path | None:
    """A file of a run, copied into a folder; None where it has none. Raises `UserError` where the store fails."""
    client = MlflowClient()
    try:
        if not any(file.path == name for file in client.list_artifacts(run.info.run_id)):
            return None
        return Path(client.download_artifacts(run.info.run_id, name, folder))
    except (MlflowException, OSError) as error:
        raise UserError(f"cannot read {name} of run {run.info.run_id}: {str(error).splitlines()[0]}") from error


def fetch_checkpoint(run: Run, folder: Path) -> Path:
    """Download a run's best checkpoint into a folder. Raises `UserError` where the run has none."""
    try:
        return Path(MlflowClient().download_artifacts(run.info.run_id, CHECKPOINT, str(folder)))
    except (MlflowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"run {run.info.run_id} ({run.info.status}) has no {CHECKPOINT} that can be read: {reason}"
        ) from error
