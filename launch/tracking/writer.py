"""MLflow writes from one thread, in order; one that fails because the store is away is tried until it is back."""

from __future__ import annotations

import queue
import re
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from alembic.util.exc import CommandError
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from requests.exceptions import RequestException
from sqlalchemy.exc import SQLAlchemyError

from bel.errors import sentence

T = TypeVar("T")
Write = Callable[[MlflowClient], None]  # may run again after it failed half way: it must not do a thing twice
AWAY = (
    "INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"
)  # fmt: skip
PAUSE = 2.0  # seconds between tries


class Lost(BaseException):
    """This process must write no more: another driver has the sweep, or its store is gone. It passes through Tune."""


def is_away(error: Exception) -> bool:
    """Whether the store may take the same write later: it is locked, full, restarting or out of reach."""
    if re.search("locate revision|out-of-date database schema", str(error)):  # the tables are of another MLflow
        return False
    if re.search("UNIQUE constraint|UniqueViolation|[Dd]uplicate (key|entry)", str(error)):  # another wrote the same
        return True
    if isinstance(error, MlflowException):
        return error.error_code in AWAY
    for_good = isinstance(error, (FileNotFoundError, PermissionError))
    return isinstance(error, (SQLAlchemyError, CommandError, RequestException, OSError)) and not for_good


def patiently(read: Callable[[], T], seconds: float = 120) -> T:
    """The result of a read, tried again for a while where the store is away."""
    end = time.monotonic() + seconds
    while True:
        try:
            return read()
        except Exception as error:
            if not is_away(error) or time.monotonic() > end:
                raise
            time.sleep(PAUSE)


class Writer:
    """The one writer of a sweep. What it has not written yet is in the trials' folders, so that nothing is lost with it."""

    def __init__(self, guard: Callable[[], None] = lambda: None) -> None:
        self.guard = guard  # asked before each write; raises `Lost`
        self.lost = ""  # why nothing is written any more
        self.writes: queue.Queue[Write] = queue.Queue()
        self.away_since: float | None = None  # time.monotonic of the first failure of the write at hand
        self.reason = ""
        self.refused: list[str] = []  # writes that the store will never take, and why
        threading.Thread(target=self.work, daemon=True, name="mlflow").start()

    def put(self, write: Write) -> None:
        """Write after all that was put before."""
        self.writes.put(write)

    def work(self) -> None:
        """Do the writes as they come, until they are to end for good."""
        client = MlflowClient()
        while not self.lost:
            write = self.writes.get()
            while not self.done(write, client):
                time.sleep(PAUSE)
            self.away_since = None
            self.writes.task_done()

    def done(self, write: Write, client: MlflowClient) -> bool:
        """Whether a write is over: done, or refused for good."""
        try:
            self.guard()
            write(client)
        except Lost as error:
            self.lost = str(error)
        except Exception as error:
            self.reason = sentence(error)
            if is_away(error):
                self.away_since = self.away_since or time.monotonic()
                return False
            self.refused.append(self.reason)
        return True

    def drain(self, patience: float, say: Callable[[str], Any]) -> bool:
        """Wait until all is written; False where the store stays away for `patience` seconds, or is lost."""
        said, began = False, time.monotonic()
        while self.writes.unfinished_tasks and not self.lost:
            away = time.monotonic() - max(self.away_since or time.monotonic(), began)
            if away > 5 and not said:
                said = True
                say(f"the MLflow store does not answer ({self.reason}): waiting for it, {patience:g} s at most")
            if away > patience:
                return False
            time.sleep(0.02)
        return not self.lost
