"""Progress of a running sweep: a live table in a terminal, elsewhere a line for each trial that ends."""

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bel.run_layout import Outcome
from bel.text import duration, harmless, selection
from launch.console.standings import RANKS, tables
from launch.pace import Pace
from launch.runs import Entry, Run, SweepRuns

REFRESH = 1.0  # seconds between two states of the table
LINE = 60.0  # seconds without a line after which one reports progress, where there is no table
NAMED = 3  # runs in such a line
MOST_TABLES = 3  # for which the best run is shown


class ProgressDisplay:
    """Prints lines and a table to stdout, `quiet` only problems; `pace` returns the progress of a run within its epoch."""

    def __init__(
        self, sweep_runs: SweepRuns, total: int, quiet: bool, pace: Callable[[Run], Pace | None] = lambda run: None
    ) -> None:
        self.sweep_runs, self.total, self.quiet, self.pace = sweep_runs, total, quiet, pace
        self.paces: dict[str, Pace] = {}  # by key, of the runs that are within an epoch
        self.console = Console(file=getattr(sys.stdout, "obeyed", sys.stdout), highlight=False, soft_wrap=True)
        self.began = self.shown = time.monotonic()
        self.live: Live | None = None
        if self.console.is_terminal and not quiet:
            self.live = Live(console=self.console, auto_refresh=False, transient=True)
            self.live.start()

    def close(self) -> None:
        """Remove the table; printed lines stay."""
        if self.live:
            self.live.stop()
            self.live = None

    def say(self, text: str, always: bool = False) -> None:
        """Print a line above the table."""
        if always or not self.quiet:
            self.console.print(Text(harmless(text)))
            if not self.live:
                self.shown = time.monotonic()

    def sweep_started(self, name: str, parent_id: str) -> None:
        """Print the id of the sweep in MLflow."""
        self.say(f"parent run {parent_id}")

    def trial_started(self, run: Run) -> None:
        """Print nothing: the table has it."""

    def epochs(self, run: Run, entries: Sequence[Entry]) -> None:
        """Print nothing: the table has the last one."""

    def sweep_ended(self, found: dict[str, Any]) -> None:
        """Print nothing: the summary says it."""

    def ended(self, run: Run) -> None:
        """Print a line about a run that ended."""
        text = f"after epoch {run.epoch}" if run.outcome == Outcome.CUT else run.reason
        if run.outcome in (Outcome.FINISHED, Outcome.STOPPED):
            text = f"epoch {run.epoch}  {selection(run.config.selection).heading} {run.value(RANKS):.3f}"
        done = len(self.sweep_runs.ended)
        bad = run.outcome not in (Outcome.FINISHED, Outcome.STOPPED, Outcome.CUT)
        self.say(f"[{done}/{max(done, self.total)}] {run.name:<32} {run.outcome:<8} {text}", always=bad)

    def refresh(self) -> None:
        """Redraw the table, at most once a second; where there is none print a line, at most once a minute."""
        if self.quiet or time.monotonic() - self.shown < (REFRESH if self.live else LINE):
            return
        self.shown = time.monotonic()
        found = [(run, self.pace(run)) for run in self.sweep_runs.having(Outcome.RUNNING)]
        self.paces = {run.key: pace for run, pace in found if pace and pace.epoch > run.epoch}
        if self.live:
            self.live.update(Group(self.table(), Text(self.summary())), refresh=True)
        else:
            self.say(self.line())

    def line(self) -> str:
        """Return the summary and the progress of some runs."""
        runs = [run for run in self.sweep_runs.having(Outcome.RUNNING) if run.key in self.paces]
        more = [f"and {len(runs) - NAMED} more"] if len(runs) > NAMED else []
        return "; ".join([self.summary(), *(f"{run.name} {self.paces[run.key]}" for run in runs[:NAMED]), *more])

    def table(self) -> Table:
        """Return a table of the running trials."""
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("trial", no_wrap=True)
        heading = selection(*(run.config.selection for run in self.sweep_runs.having(Outcome.RUNNING))).heading
        for name in ("epoch", "of it", "step", "images/s", "left", heading, "best"):
            table.add_column(name, justify="right", no_wrap=True)
        for run in self.sweep_runs.having(Outcome.RUNNING):
            names = ("val/mae_groups", RANKS.metric)
            values = [f"{run.metrics[name]:.3f}" if name in run.metrics else "" for name in names]
            pace = self.paces.get(run.key)
            within = pace.cells if pace else [""] * 4
            epoch = pace.epoch if pace else run.epoch
            table.add_row(harmless(run.name), f"{epoch}/{run.config.epochs}", *within, *values)
        return table

    def summary(self) -> str:
        """Return the progress of the sweep, the best errors so far and the time left."""
        text = f"{len(self.sweep_runs.ended)} of {max(self.total, len(self.sweep_runs.by_key))} trials"
        for table in tables(self.sweep_runs)[:MOST_TABLES]:
            best = table[0].best
            on_test = " on TEST" if best.config.selection == "test" else ""
            text += f", best {table[0].error:.3f}{on_test} ({best.name})"
        return f"{text}{self.eta()}"

    def eta(self) -> str:
        """Return the time left, as text."""
        left = self.seconds_left()
        return "" if left is None else f", about {duration(left)} left"

    def seconds_left(self) -> float | None:
        """Return the time left at the pace so far, counted in epochs; None before there is one."""
        now = [run for run in self.sweep_runs if not run.decided_earlier]
        begun = sum(pace.part for pace in self.paces.values())
        done = sum(run.epoch - run.resumed for run in now) + begun
        if not done or not now:
            return None
        longest = sum(run.config.epochs for run in now) / len(now)
        ended = [run.epoch for run in now if run.outcome in (Outcome.FINISHED, Outcome.STOPPED)]
        usual = sum(ended) / len(ended) if ended else longest
        left = max(self.total - len(self.sweep_runs.ended), 0) * usual - sum(
            run.epoch for run in self.sweep_runs.having(Outcome.RUNNING, Outcome.PAUSED)
        )
        return max(left - begun, 0) * (time.monotonic() - self.began) / done
