"""Connect to the MLflow store: to read it, or to write, which creates a local one; and try again while it is away."""

import logging
import os
import re
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import mlflow
from alembic.util.exc import CommandError
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from requests.exceptions import HTTPError, RequestException
from sqlalchemy import create_engine
from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError

from bel.errors import UserError
from results.store.faults import fault, reason, sqlite_path, wait_until_made
from results.store.sqlite_file import relocate, sqlite_url

# After MLflow is imported, which sets levels of its own.
logging.getLogger("mlflow.tracking.context.registry").setLevel(logging.ERROR)  # that this user has no name
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # a locked database: it is said, or tried again

T = TypeVar("T")
AWAY = (
    "INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"
)  # fmt: skip
BUSY = (408, 425, 429)  # statuses of HTTP with which a server asks for another try
PAUSE = 2.0  # seconds between tries
CREATING = 60.0  # seconds for which a database is tried again while other processes create its tables, or lock it


def connect(write: bool = False) -> MlflowClient:
    """Connect to the MLflow store; a local one is created where `write` and there is none, whole or not at all.

    Raises `UserError` where it cannot be used.
    """
    if not mlflow.is_tracking_uri_set():
        mlflow.set_tracking_uri(sqlite_url(Path("mlflow.db")))
    uri = mlflow.get_tracking_uri()
    local, cannot = sqlite_path(uri), f"cannot {'use' if write else 'read'} the MLflow store {uri}"
    if write:
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # the writer of a sweep tries again, and says so
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    try:
        if local and not write and not local.exists():
            raise FileNotFoundError("there is no such file")
        if wrong := fault(uri, write):
            raise UserError(f"{cannot}: {wrong}")
        if local and write:
            create_database(local)
        wait_until_made(uri)
        if local:
            relocate(local)
        answers = bool(local) or database_answers(uri)
        return retry(answering_client, CREATING if write and answers else 0)
    except (MlflowException, SQLAlchemyError, CommandError, ImportError, OSError) as error:
        raise UserError(f"{cannot}: {reason(error)}") from error


def answering_client() -> MlflowClient:
    """Return a client that the store answers; to make one already creates the tables of a database that has none."""
    client = MlflowClient()
    client.search_experiments(max_results=1)
    return client


def database_answers(uri: str) -> bool:
    """Whether a store is a database that answers; MLflow itself would ask one that does not for minutes."""
    if "://" in uri and not uri.startswith("http"):
        with suppress(NoSuchModuleError):
            create_engine(uri).connect().close()
            return True
    return False


def create_database(path: Path) -> None:
    """Create the file of a local store in a folder beside it, and link it to its place unless another process was first."""
    path = path.absolute()
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".mlflow", dir=path.parent) as work:
        created = Path(work) / path.name
        MlflowClient(sqlite_url(created)).search_experiments(max_results=1)
        try:
            os.link(created, path)
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            if not path.exists():
                os.rename(created, path)


def is_away(error: Exception) -> bool:
    """Whether a store may accept the same request later: it is locked, full, restarting or out of reach."""
    if re.search("locate revision|out-of-date database schema", str(error)):  # the tables are of another MLflow
        return False
    if re.search("UNIQUE constraint|UniqueViolation|[Dd]uplicate (key|entry)", str(error)):  # another wrote the same
        return True
    if isinstance(error, MlflowException):
        return error.error_code in AWAY
    if isinstance(error, HTTPError) and error.response is not None:  # of an artifact proxy
        return error.response.status_code >= 500 or error.response.status_code in BUSY
    permanent = isinstance(error, (FileNotFoundError, PermissionError))
    return isinstance(error, (SQLAlchemyError, CommandError, RequestException, OSError)) and not permanent


def retry(request: Callable[[], T], seconds: float = 120) -> T:
    """Return the result of a request, which is tried again for some seconds while the store is away."""
    end = time.monotonic() + seconds
    while True:
        try:
            return request()
        except Exception as error:
            if not is_away(error) or time.monotonic() > end:
                raise
            time.sleep(PAUSE)
