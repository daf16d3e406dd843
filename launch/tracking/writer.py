"""Writes into MLflow from one thread, in order; a write is tried again while the store is away."""

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from mlflow.tracking import MlflowClient

from bel.errors import sentence
from results.store.connect import PAUSE, is_away

Write = Callable[[MlflowClient], None]  # may run again after it failed half way, so it must be idempotent


class Lost(BaseException):
    """This process must not write any more: another driver has the sweep, or its store is gone. Tune does not catch it."""


class Writer:
    """The one writer of a sweep; until a write is done its data is in the trial's folder, so that nothing is lost."""

    def __init__(self, guard: Callable[[], None] = lambda: None) -> None:
        self.guard = guard  # called before each write; raises `Lost`
        self.lost = ""  # why nothing is written any more; empty while it is
        self.writes: queue.Queue[Write] = queue.Queue()
        self.away_since: float | None = None  # time of the first failure of the present write
        self.reason = ""
        self.refused: list[str] = []  # why the store refused writes
        threading.Thread(target=self.work, daemon=True, name="mlflow").start()

    def put(self, write: Write) -> None:
        """Queue a write."""
        self.writes.put(write)

    def work(self) -> None:
        """Do the writes in order, until the sweep is lost."""
        client = MlflowClient()
        while not self.lost:
            write = self.writes.get()
            while not self.done(write, client):
                time.sleep(PAUSE)
            self.away_since = None
            self.writes.task_done()

    def done(self, write: Write, client: MlflowClient) -> bool:
        """Try a write; return whether it is over, done or refused."""
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
        """Wait until all is written; return False where the store stays away for `patience` seconds, or is lost."""
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
