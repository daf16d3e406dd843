"""Reach the MLflow store before anything is begun: a local one is made where there is none, whole or not at all."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

import mlflow
import sqlalchemy
from alembic.util.exc import CommandError
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from sqlalchemy.exc import SQLAlchemyError

from bel.errors import UserError
from launch.tracking.writer import patiently
from results.store.faults import fault, reason, sqlite_path, wait_until_made
from results.store.sqlite_file import relocate, sqlite_url

RACE = 60.0  # seconds in which a database that others make the tables of, or hold, is tried again


def reach_store() -> None:
    """Raise `UserError` where the MLflow store cannot be used."""
    if not mlflow.is_tracking_uri_set():
        mlflow.set_tracking_uri(sqlite_url(Path("mlflow.db")))
    uri = mlflow.get_tracking_uri()
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # the writer tries again itself, and says so
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    local = sqlite_path(uri)
    try:
        if wrong := fault(uri, write=True):
            raise UserError(f"cannot use the MLflow store {uri}: {wrong}")
        if local:
            make_database(local)
            relocate(local)
        patient = RACE if local or connects(uri) else 0
        patiently(lambda: MlflowClient().search_experiments(max_results=1), patient)
    except (MlflowException, SQLAlchemyError, CommandError, ImportError, OSError) as error:
        raise UserError(f"cannot use the MLflow store {uri}: {reason(error)}") from error


def connects(uri: str) -> bool:
    """Whether it is a database that answers; MLflow itself would ask one that does not for minutes."""
    if "://" in uri and not uri.startswith("http"):
        with suppress(sqlalchemy.exc.NoSuchModuleError):
            sqlalchemy.create_engine(uri).connect().close()
            return True
    return False


def make_database(path: Path) -> None:
    """Make the file of a local store in a folder beside its place and put it there, where nobody was faster."""
    path = path.absolute()
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".mlflow", dir=path.parent) as work:
            made = Path(work) / path.name
            MlflowClient(sqlite_url(made)).search_experiments(max_results=1)
            try:
                os.link(made, path)
            except FileExistsError:
                pass
            except OSError:  # a file system without links
                if not path.exists():
                    os.rename(made, path)
    wait_until_made(sqlite_url(path))
