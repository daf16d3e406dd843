"""Progress of a running sweep for another program: events, with `--progress json` a JSON object in each line of stderr."""

import json
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import Any, TypedDict, cast

from bel.output import plain
from bel.run_layout import BY_IMAGE, RANKED
from launch.console.final import trial_counts
from launch.console.progress import ProgressDisplay
from launch.console.standings import RANKS
from launch.runs import Entry, Run, SweepRuns

KINDS = ("sweep_started", "trial_started", "epoch", "trial_ended", "sweep_ended", "note")


class AnyEvent(TypedDict):
    """What every event has: its kind, and when it was, UTC in ISO 8601."""

    event: str
    time: str


class Event(AnyEvent, total=False):
    """What happened in a sweep; which keys are there is in results/README.md, by kind of event."""

    run_id: str | None
    name: str
    trial: str
    epoch: int
    epochs: int
    metrics: dict[str, float | None]
    outcome: str
    reason: str
    mae_groups: float | None
    mae: float | None
    ended: int
    total: int
    trials: dict[str, int]
    status: str
    stopped: str | None
    exit_code: int
    hours: float
    problems: list[str]
    text: str


def print_event(event: Event) -> None:
    """Print an event as a line of JSON on stderr."""
    print(json.dumps(event, allow_nan=False), file=sys.stderr, flush=True)


class Events(ProgressDisplay):
    """Gives events to `emit` in the place of lines and a table; `run_id` returns the id of a run in MLflow, once it has one."""

    def __init__(
        self,
        sweep_runs: SweepRuns,
        total: int,
        run_id: Callable[[Run], str | None],
        emit: Callable[[Event], None] = print_event,
    ) -> None:
        super().__init__(sweep_runs, total, quiet=True)
        self.run_id, self.emit = run_id, emit

    def event(self, kind: str, /, **values: Any) -> None:
        """Emit an event."""
        found = {"event": kind, "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds")} | values
        self.emit(cast(Event, plain(found)))

    def of_run(self, run: Run) -> dict[str, Any]:
        """Return which run an event is of."""
        return {"run_id": self.run_id(run), "name": run.name, "trial": run.key}

    def say(self, text: str, always: bool = False) -> None:
        """Emit a note."""
        self.event("note", text=text)

    def refresh(self) -> None:
        """Emit nothing: each epoch is an event."""

    def sweep_started(self, name: str, parent_id: str) -> None:
        """Emit that the sweep goes on, and how many trials it has."""
        self.event("sweep_started", run_id=parent_id, name=name, trials=trial_counts(self.sweep_runs, self.total))

    def trial_started(self, run: Run) -> None:
        """Emit that a worker has a trial."""
        self.event("trial_started", **self.of_run(run), epoch=run.epoch, epochs=run.config.epochs)

    def epochs(self, run: Run, entries: Sequence[Entry]) -> None:
        """Emit epochs that ended."""
        for entry in entries:
            metrics = {name: value for name, value in entry.items() if name not in ("epoch", "time")}
            numbers = {"epoch": int(entry["epoch"]), "epochs": run.config.epochs}
            self.event("epoch", **self.of_run(run), **numbers, metrics=metrics)

    def ended(self, run: Run) -> None:
        """Emit that a trial ended, with its error where it has one."""
        ranked = run.outcome in RANKED
        errors = {"mae_groups": run.metrics[RANKS.metric], "mae": run.metrics[BY_IMAGE]} if ranked else {}
        ended = {"ended": len(self.sweep_runs.ended), "total": max(self.total, len(self.sweep_runs.by_key))}
        values = {"mae_groups": None, "mae": None} | errors | ended
        facts = {"outcome": run.outcome, "reason": run.reason, "epoch": run.epoch}
        self.event("trial_ended", **self.of_run(run), **facts, **values)

    def sweep_ended(self, found: dict[str, Any]) -> None:
        """Emit what the call came to."""
        names = ("status", "stopped", "exit_code", "hours", "trials", "problems")
        self.event(
            "sweep_ended", run_id=found["sweep_id"], name=found["sweep"], **{name: found[name] for name in names}
        )
