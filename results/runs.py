"""MLflow reads: a run by its id, the best child of a sweep, the checkpoint of a run."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")

import mlflow
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from bel.errors import UserError

PARENT = "mlflow.parentRunId"
OBJECTIVE = "val/best_mae"
CHECKPOINT = "best.pt"


def find_run(run_id: str) -> Run:
    """The run of an id; for a sweep's parent its best child. Raises `UserError` where there is none with a checkpoint."""
    store = mlflow.get_tracking_uri()
    try:
        run = MlflowClient().get_run(run_id)
    except MlflowException as error:
        raise UserError(
            f"no run {run_id!r} in the MLflow store {store}: copy an id from the sweep's table or from `make ui`, "
            f"and set MLFLOW_TRACKING_URI if the sweep wrote to another store ({str(error).splitlines()[0]})"
        ) from error
    return run if PARENT in run.data.tags else best_child(run)


def best_child(parent: Run) -> Run:
    """The finished child with the least validation error. Raises `UserError` where none finished, or protocols differ."""
    children = MlflowClient().search_runs(
        [parent.info.experiment_id],
        f"tags.`{PARENT}` = '{parent.info.run_id}' and attributes.status = 'FINISHED'",
        order_by=[f"metrics.`{OBJECTIVE}` ASC"],
    )
    if not children:
        raise UserError(f"run {parent.info.run_id} is a sweep without a finished trial: run the sweep again to go on")
    protocols = {child.data.params["protocol"] for child in children}
    if len(protocols) > 1:
        raise UserError(
            f"run {parent.info.run_id} is a sweep over the protocols {sorted(protocols)}, which have a best trial each: "
            "give the id of one of its trials"
        )
    return children[0]


def fetch_checkpoint(run: Run, folder: Path) -> Path:
    """Download a run's best checkpoint into a folder. Raises `UserError` where the run has none."""
    try:
        return Path(MlflowClient().download_artifacts(run.info.run_id, CHECKPOINT, str(folder)))
    except (MlflowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"run {run.info.run_id} ({run.info.status}) has no {CHECKPOINT} that can be read: {reason}"
        ) from error
