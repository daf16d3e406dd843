"""Files of a run: its checkpoint, its predictions, anything else that it logged. Imports no torch."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.file_utils import local_file_uri_to_path

from bel.errors import UserError
from bel.run_layout import CHECKPOINT, PARENT, PREDICTIONS
from results.store.predictions import Predictions, read


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


def fetch_checkpoint(run: Run, folder: Path) -> Path:
    """Download a run's best checkpoint into a folder. Raises `UserError` where the run has none."""
    try:
        return Path(MlflowClient().download_artifacts(run.info.run_id, CHECKPOINT, str(folder)))
    except (MlflowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"run {run.info.run_id} ({run.info.status}) has no {CHECKPOINT} that can be read: {reason}"
        ) from error
