"""What is wrong with an MLflow store and what to do about it, for every command. Imports nothing of MLflow."""

import functools
import os
import re
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import unquote

from bel.output import command

SERVICES = {"mlflow", "sqlalchemy", "alembic", "requests", "urllib3"}  # packages whose errors are a store's
ADVICE = {  # by a pattern of a message, the first that is found
    "code 401|401 Client|UNAUTHENTICATED|not authenticated": "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
    "MLFLOW_TRACKING_TOKEN, to those of a user of that server",
    "code 403|403 Client|PERMISSION_DENIED": "ask its owner for the permission, give the sweep a name of your own, or set "
    "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to those of another user",
    "code 404|ENDPOINT_NOT_FOUND|valid JSON": "set MLFLOW_TRACKING_URI to the address of an MLflow server, as its UI has it",
    r"code 5\d\d|5\d\d Server|too many 5\d\d|INTERNAL_ERROR": "its server fails: see the server's log, and try again",
    "out-of-date|locate revision": "its tables are of another MLflow: install that version where it is the newer one, else "
    "take a backup and run `mlflow db upgrade URI`",
    "readonly|read-only": "make the file and its folder writable, or set MLFLOW_TRACKING_URI to another store",
    "locked": "another program holds it: try again when that has ended",
    "No module named": "install that package, or set MLFLOW_TRACKING_URI to another store",
}
SET = "set MLFLOW_TRACKING_URI, e.g. to sqlite:////folder/mlflow.db or http://host:5000"
LONGEST = 300  # characters of what a store said; a page of HTML is no sentence
SETTLED = 3.0  # seconds without a new table, after which nobody is making a database any more


def explain(error: BaseException) -> str | None:
    """Return what a store or its server said in a line, and what to do; None for an error of anything else."""
    if type(error).__module__.split(".")[0] not in SERVICES:
        return None
    said = " ".join(re.split(r"\n\[SQL|\n\(Background", str(error))[0].split()) or type(error).__name__
    advice = next((what for pattern, what in ADVICE.items() if re.search(pattern, said)), SET)
    return f"{said[:LONGEST]}: {advice}"


store_command = functools.partial(command, explain=explain)  # of a command that reads or writes a store


def reason(error: BaseException) -> str:
    """Explain an error of a store or of the system."""
    return explain(error) or f"{error}: {SET}"


def sqlite_path(uri: str) -> Path | None:
    """Return the file of a SQLite store; None for another store."""
    scheme, _, rest = uri.partition("://")
    return Path(unquote(rest.removeprefix("/").split("?")[0])) if scheme in ("sqlite", "sqlite+pysqlite") else None


def fault(uri: str, write: bool) -> str | None:
    """Return what is wrong with the file of a local store and what to do, before MLflow tries for minutes; None: nothing."""
    path = sqlite_path(uri)
    if path is None:
        return None
    if str(path) in (".", ":memory:"):
        return f"it names no file, and would be lost with this command: {SET}"
    if path.is_dir():
        return f"it is a folder: {SET}"
    if not path.exists():
        parent = next(folder for folder in path.absolute().parents if folder.exists())
        return None if os.access(parent, os.W_OK) and parent.is_dir() else f"{parent} cannot be written: {SET}"
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=1)) as database:
            names = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if write and not os.access(path.absolute().parent, os.W_OK):
                raise sqlite3.OperationalError("its folder is read-only")
            if write:
                database.execute("BEGIN IMMEDIATE")
    except sqlite3.Error as error:
        locked = "locked" in str(error)  # only for a while, which the caller waits for
        return None if locked else f"{error}: {next((ADVICE[p] for p in ADVICE if re.search(p, str(error))), SET)}"
    if names and not names & {"experiments", "alembic_version"}:
        return f"it is a database of something else, with tables {sorted(names)[:3]}: {SET}"
    return None


def wait_until_made(uri: str) -> None:
    """Wait while another process, such as `mlflow ui`, creates the tables of a local store: two at once would break it."""
    path, since, before = sqlite_path(uri), time.monotonic(), -1
    while path and path.exists() and time.monotonic() - since < SETTLED:
        with suppress(sqlite3.Error), closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as file:
            (version,) = file.execute("PRAGMA schema_version").fetchone()
            if version != before:
                since, before = time.monotonic(), version
            if file.execute("SELECT 1 FROM experiments").fetchone():  # the last thing that MLflow makes
                return
        time.sleep(0.1)
