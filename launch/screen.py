"""What a sweep shows while it goes on: a live table in a terminal, elsewhere a line for each trial that ends."""

from __future__ import annotations

import sys
import time

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from launch.book import CUT, FINISHED, RUNNING, STOPPED, Book, Run
from launch.search import Objective

EVERY = 1.0  # seconds between two states of the table


class Screen:
    """Lines and a table on stdout; `quiet` leaves out all but what went wrong."""

    def __init__(self, book: Book, objective: Objective, total: int, quiet: bool) -> None:
        self.book, self.objective, self.total, self.quiet = book, objective, total, quiet
        self.console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
        self.began = self.shown = time.monotonic()
        self.live: Live | None = None
        if self.console.is_terminal and not quiet:
            self.live = Live(console=self.console, auto_refresh=False, transient=True)
            self.live.start()

    def close(self) -> None:
        """Take the table away; what was said stays."""
        if self.live:
            self.live.stop()
            self.live = None

    def say(self, text: str, always: bool = False) -> None:
        """A line above the table."""
        if always or not self.quiet:
            self.console.print(Text(text))

    def ended(self, run: Run) -> None:
        """A line about a run that ended."""
        text = f"after epoch {run.epoch}" if run.outcome == CUT else run.reason
        if run.outcome in (FINISHED, STOPPED):
            text = f"epoch {run.epoch}  val MAE {run.metrics['val/best_mae']:.3f}"
        done = len(self.book.ended)
        bad = run.outcome not in (FINISHED, STOPPED, CUT)
        self.say(f"[{done}/{max(done, self.total)}] {run.name:<32} {run.outcome:<8} {text}", always=bad)

    def refresh(self) -> None:
        """Draw the table again, at most once a second."""
        if self.live and time.monotonic() - self.shown >= EVERY:
            self.shown = time.monotonic()
            self.live.update(Group(self.table(), Text(self.summary())), refresh=True)

    def table(self) -> Table:
        """The runs that are being trained."""
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name, justify in (("trial", "left"), ("epoch", "right"), ("val MAE", "right"), ("best", "right")):
            table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
        for run in self.book.having(RUNNING):
            values = [f"{run.metrics[name]:.3f}" if name in run.metrics else "" for name in ("val/mae", "val/best_mae")]
            table.add_row(run.name, f"{run.epoch}/{run.config.epochs}", *values)
        return table

    def summary(self) -> str:
        """Progress of the whole sweep, the best so far, and when it may end."""
        runs = self.book.having(FINISHED, STOPPED)
        best = min(runs, key=lambda run: run.value(self.objective), default=None)
        text = f"{len(self.book.ended)} of {max(self.total, len(self.book.runs))} trials"
        if best:
            text += f", best {best.value(self.objective):.3f} ({best.name})"
        return f"{text}{self.eta()}"

    def eta(self) -> str:
        """When the sweep ends at the pace so far, counted in epochs."""
        now = [run for run in self.book if not run.before]
        done = sum(run.epoch - run.resumed for run in now)
        if not done or not now:
            return ""
        longest = sum(run.config.epochs for run in now) / len(now)
        ended = [run.epoch for run in now if run.outcome in (FINISHED, STOPPED)]
        usual = sum(ended) / len(ended) if ended else longest
        left = max(self.total - len(self.book.ended), 0) * usual - sum(run.epoch for run in self.book.having(RUNNING))
        seconds = max(left, 0) * (time.monotonic() - self.began) / done
        return f", about {seconds / 3600:.1f} h left" if seconds > 5400 else f", about {seconds / 60:.0f} min left"
