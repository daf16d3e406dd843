"""Stop the sweep: on Ctrl-C, a spent budget, a full disk, a dead cluster, a GPU that is gone. Single trials: schedulers.py."""

import errno
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ray import tune

from bel.errors import sentence
from bel.run_layout import Outcome
from launch.runs import SweepRuns
from launch.schedule.control import Control

INTERRUPTED, HOURS, FULL, LOST, NO_GPU = "interrupted", "hours", "full", "lost", "no gpu"
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
HELD = "paused"  # only trials are left that a user has paused


class SweepStopper(tune.Stopper):
    """Stops each run after its current epoch once there is a reason, and the sweep when no run is left."""

    def __init__(self, sweep_runs: SweepRuns) -> None:
        self.sweep_runs = sweep_runs
        self.control = Control()  # what users ask of single trials, and for how many at once
        self.reason = ""
        self.text = ""
        self.interrupted = False  # by a signal, or by the caller
        self.at_once = False  # do not wait for the present epochs

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: it stays in this process, though Tune copies all that it is given."""
        return {}

    def request(self, reason: str, text: str) -> None:
        """Request a stop; only the first reason counts."""
        if not self.reason:
            self.reason, self.text = reason, text

    def interrupt(self, text: str = "interrupted") -> None:
        """Request a stop after the present epochs, as Ctrl-C does; the second time, at once."""
        self.at_once, self.interrupted = self.at_once or self.interrupted, True
        self.request(INTERRUPTED, text)

    @contextmanager
    def on_full_disk(self) -> Iterator[None]:
        """Request a stop where a file cannot be written meanwhile."""
        try:
            yield
        except OSError as error:
            what = "the disk is full" if error.errno in NO_ROOM else "a file cannot be written"
            self.request(FULL, f"{what} ({sentence(error)})")

    def check(self) -> None:
        """Raise `KeyboardInterrupt` where the sweep is to stop at once."""
        if self.at_once:
            raise KeyboardInterrupt

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return whether a run that has just reported stops here."""
        return bool(self.reason)

    def stop_all(self) -> bool:
        """Return whether to drop the trials that wait: no run is left."""
        return bool(self.reason) and not self.sweep_runs.having(Outcome.RUNNING)

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Stop the sweep after the current epochs on Ctrl-C or SIGTERM, and at once on a second one.

        Only the main thread gets signals: in another one nothing is changed.
        """

        def handle(number: int, frame: FrameType | None) -> None:
            self.interrupt()
            self.check()
            # not print, which the signal may have interrupted
            os.write(2, b"stopping after the present epochs; press Ctrl-C again to stop immediately\n")

        numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
        handlers = {number: signal.signal(number, handle) for number in numbers}
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
