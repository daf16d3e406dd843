"""When a sweep ends before its trials do: Ctrl-C, a spent budget, a full disk, a cluster that is gone."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ray import tune

from bel.run_layout import Outcome
from launch.runs import SweepRuns

INTERRUPTED, HOURS, FULL, LOST = "interrupted", "hours", "full", "lost"


class SweepStopper(tune.Stopper):
    """Ends each run after its present epoch once there is a reason, and the sweep when none is left running."""

    def __init__(self, sweep_runs: SweepRuns) -> None:
        self.sweep_runs = sweep_runs
        self.reason = ""
        self.text = ""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: it stays in this process, though Tune makes a copy of all that it is given."""
        return {}

    def request(self, reason: str, text: str) -> None:
        """SweepStopper, for the first reason that is given."""
        if not self.reason:
            self.reason, self.text = reason, text

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether a run that has just reported ends here."""
        return bool(self.reason)

    def stop_all(self) -> bool:
        """Whether what only waits shall be dropped."""
        return bool(self.reason) and not self.sweep_runs.having(Outcome.RUNNING)

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Ctrl-C or SIGTERM ends the sweep after the present epochs, a second one at once."""

        def handle(number: int, frame: FrameType | None) -> None:
            if self.reason == INTERRUPTED:
                raise KeyboardInterrupt
            self.request(INTERRUPTED, "interrupted")
            os.write(2, b"stopping after the present epochs; once more stops now\n")  # print may be at work just now

        before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
