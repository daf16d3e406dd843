"""What the driver notes about the sweep in its parent run: queue, running trials, time left, cost, the last stops and why."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

from bel.run_layout import Outcome
from launch.console.final import trial_counts
from launch.console.progress import ProgressDisplay
from launch.console.standings import RANKS, tables
from launch.runs import Run, SweepRuns
from launch.schedule.control import Control
from launch.steering.commands import now
from launch.steering.status import MOST, NAMED, as_text, from_tag
from launch.tracking.parent_logger import ParentLogger
from results.analysis.ranking import configuration_name

if TYPE_CHECKING:
    from launch.schedule.searcher import TrialSearcher

PERIOD = 5.0  # seconds between two notes at least


class Watch:
    """Notes the state of a sweep: after an epoch or another event, and not more often than each `PERIOD`."""

    def __init__(
        self,
        sweep_runs: SweepRuns,
        control: Control,
        display: ProgressDisplay,
        parent: ParentLogger,
        gpu: float,
        noted: str,
    ) -> None:
        self.sweep_runs, self.control, self.display, self.parent, self.gpu = sweep_runs, control, display, parent, gpu
        before = from_tag(noted) or {}
        self.spent = 3600 * before.get("trial_hours", 0.0)  # seconds that trials had a worker
        self.spent_gpu = 3600 * before.get("gpu_hours", 0.0)
        self.decisions: deque[dict[str, Any]] = deque(before.get("decisions", []), NAMED)
        self.working: dict[str, float] = {}  # key -> since when a trial has a worker
        self.changed, self.written = True, -PERIOD

    def began(self, run: Run) -> None:
        """Note that a trial has a worker."""
        self.working[run.key] = time.monotonic()
        self.changed = True

    def ended(self, run: Run) -> None:
        """Note that a trial has none any more, and why it was stopped."""
        seconds = time.monotonic() - self.working.pop(run.key, time.monotonic())
        self.spent, self.spent_gpu = self.spent + seconds, self.spent_gpu + self.gpu * seconds
        if run.outcome == Outcome.STOPPED and run.stopped_by:
            self.decisions.append({"name": run.name, "trial": run.key, "at": now(), **run.stopped_by})
        self.changed = True

    def lost(self, name: str, key: str, found: dict[str, Any]) -> None:
        """Note that a configuration gets no more repeats; `key` is of its first one."""
        self.decisions.append({"name": name, "trial": key, "at": now(), "by": "race", **found})
        self.changed = True

    def note(self, hours: float, searcher: TrialSearcher | None, always: bool = False) -> None:
        """Write what changed, unless that was done just now."""
        if always or (self.changed and time.monotonic() - self.written >= PERIOD):
            self.changed, self.written = False, time.monotonic()
            values = self.values(hours, searcher)
            self.parent.watch(values, as_text(values))

    def values(self, hours: float, searcher: TrialSearcher | None) -> dict[str, Any]:
        """Return the state as plain values."""
        running = self.sweep_runs.having(Outcome.RUNNING)
        counts = trial_counts(self.sweep_runs, self.display.total)
        held = [run.name for run in self.sweep_runs if run.key in self.control.held and run.outcome in UNENDED]
        waiting = counts["total"] - len(self.sweep_runs.ended) - len(running) - len(held)
        since = sum(time.monotonic() - at for at in self.working.values())
        return {
            "at": now(),
            "paused": self.control.paused,
            "at_once": self.control.at_once,
            "trials": counts,
            "best": self.best(),
            "queue": {"trials": max(waiting, 0), "next": self.upcoming(searcher)},
            "running": [self.running(run) for run in running[:MOST]],
            "waiting_for_resume": held[:MOST],
            "decisions": list(self.decisions),
            "eta_s": None if self.control.paused or searcher is None else self.display.seconds_left(),
            "hours": hours,
            "trial_hours": (self.spent + since) / 3600,
            "gpu_hours": (self.spent_gpu + self.gpu * since) / 3600,
        }

    def upcoming(self, searcher: TrialSearcher | None) -> list[str]:
        """Return names of the trials that begin next, as far as they are known."""
        if searcher is None:
            return []
        in_tune = [run for run in map(self.sweep_runs.by_key.__getitem__, searcher.in_tune) if run.outcome in UNBEGUN]
        queued = [run.name for run in (*in_tune, *sorted(searcher.ready, key=self.control.rank))]
        begun = {run.name for run in self.sweep_runs if run.outcome not in UNBEGUN or run.decided_earlier}
        names = (self.sweep_runs.label(config) for config in searcher.source.upcoming(NAMED + len(begun)))
        return [*queued, *(name for name in names if name not in begun)][:NAMED]

    def best(self) -> dict[str, Any] | None:
        """Return name and error of the best configuration so far, of the first table."""
        found = tables(self.sweep_runs)[:1]
        if not found:
            return None
        best, name = found[0][0], found[0][0].best.name
        return {"name": configuration_name(name) if len(best.runs) > 1 else name, "mae_groups": best.error}

    @staticmethod
    def running(run: Run) -> dict[str, Any]:
        """Return how far a running trial is."""
        error = run.metrics.get(RANKS.metric)
        return {
            "name": run.name,
            "trial": run.key,
            "epoch": run.epoch,
            "epochs": run.config.epochs,
            "mae_groups": error,
        }


UNBEGUN = (Outcome.WAITING, Outcome.PAUSED)
UNENDED = (*UNBEGUN, Outcome.RUNNING)
