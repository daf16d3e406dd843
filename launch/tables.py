"""What a sweep prints at its end: its finished trials, best first, and the next command to type."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from bel.evaluate import unit, width
from bel.text import axis_cells, axis_titles, beyond_of, columns, short
from launch.book import FINISHED, STOPPED, Book, Run, by_configuration, mean
from launch.space import Sweep

# Whose error a table shows, by the split that selects, and how the epoch was chosen.
SELECTED = {
    "val": ("validation images of {} held-out groups", "selected on them"),
    "last": ("validation images of {} held-out groups", "last epoch, selected on nothing"),
    "test": ("TEST images of {} groups", "SELECTED ON TEST: not to be compared with clean runs"),
}


def print_tables(sweep: Sweep, book: Book) -> None:
    """Print the trials that came to an error, one table for each protocol and validation split."""
    runs = book.having(FINISHED, STOPPED)
    if sweep.search.tune:  # a fold's trials are no ranking: their errors are put together by bel-results
        runs = [run for run in runs if run.config.folds is None]
    objective = sweep.search.objectives[0]
    tables: dict[tuple[str, str], list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.value(objective)):
        tables.setdefault((run.facts["protocol"], run.facts["split_hash"]), []).append(run)
    for (protocol, split), rows in sorted(tables.items()):
        print_rows(protocol, split, rows)
    if (sweep.search.seeds or 1) > 1 or (sweep.search.folds and not sweep.search.tune):
        print_means(sweep, [run for run in runs if run.outcome == FINISHED])
    if len(sweep.search.objective) > 1:
        print_front(sweep, [run for run in runs if run.outcome == FINISHED])


def print_means(sweep: Sweep, runs: Iterable[Run]) -> None:
    """Print each configuration's mean over the repeats that finished, the best first."""
    objective, whole = sweep.search.objectives[0], (sweep.search.seeds or 1) * (sweep.search.folds or 1)
    groups = sorted(by_configuration(runs).values(), key=lambda group: (-len(group), mean(group, objective)))
    print(
        f"\nmeans over {sweep.search.seeds or 1} seeds and {sweep.search.folds or 1} folds, whole configurations first"
    )
    print(f"{'':>4}{'mean':>9}{'least':>9}{'most':>9}{'runs':>8}  first run")
    for rank, group in enumerate(groups, 1):
        values = [run.value(objective) for run in group]
        cells = f"{mean(group, objective):9.3f}{min(values):9.3f}{max(values):9.3f}"
        print(f"{rank:>4}{cells}{len(group):>5}/{whole:<2}  {group[0].name}")


def front(sweep: Sweep, groups: Iterable[list[Run]]) -> list[list[Run]]:
    """The configurations that no other is at least as good as in every objective, and better in one."""
    objectives = sweep.search.objectives

    def scores(group: list[Run]) -> list[float]:
        return [mean(group, o) * (1 if o.direction == "minimize" else -1) for o in objectives]

    scored = [(scores(group), group) for group in groups]
    return [
        group
        for mine, group in scored
        if not any(other != mine and all(o <= m for o, m in zip(other, mine, strict=True)) for other, _ in scored)
    ]


def print_front(sweep: Sweep, runs: Iterable[Run]) -> None:
    """Print the Pareto front of several objectives, by the first."""
    best = sorted(front(sweep, by_configuration(runs).values()), key=lambda g: mean(g, sweep.search.objectives[0]))
    print(
        f"\nPareto front of {', '.join(sweep.search.objective)}: nothing is better in one without being worse in another"
    )
    print("".join(f"{name:>14}" for name in sweep.search.objective) + "  trial")
    for group in best:
        print("".join(f"{mean(group, o):14.4g}" for o in sweep.search.objectives) + f"  {group[0].name}")


def print_questions(parent_id: str) -> None:
    """Print the commands that tell which differences are real, and draw them."""
    command = beside("bel-results")
    print(
        f"\nwhich differences are real, and pictures:\n  {command} leaderboard {parent_id}\n"
        f"  {command} report {parent_id} -o report.html",
        flush=True,
    )


def print_folds(sweep: Sweep, parent_id: str) -> None:
    """Print the command that puts a tuned sweep's folds together."""
    line = f"{beside('bel-results')} folds --run-id {parent_id} --out {shlex.quote(f'results/{sweep.name}')}"
    print(f"\nout-of-fold errors of each contender, compared by groups, and its test error:\n  {line}", flush=True)


def print_rows(protocol: str, split: str, runs: list[Run]) -> None:
    """Trials that were measured on the same images, and the next command to type."""
    first = runs[0]
    facts, config = first.facts, first.config
    images, selected = SELECTED[facts["selection_split"]]
    images = f"{facts['val_images']} {images.format(facts['val_groups'])}"
    crops = " and ".join(sorted({str(run.config.crop) for run in runs}))
    fold = f"fold {config.fold} of {config.folds}, " if config.folds else ""
    print(
        f"\n{protocol}, crop {crops}: MAE ({unit(config.axes) or 'own unit'}) on {images}, {fold}split {split}, "
        f"{selected}, seed in the name"
    )
    names = [axis.name for axis in config.axes]
    if len({axis.unit for axis in config.axes}) > 1:
        names = [f"{axis.name} ({axis.unit})" for axis in config.axes]
    scale = {axis.name: width(axis, config.axes) / axis.span for axis in config.axes}
    lines = [["", "val MAE", *(f"{title:>6}" for title in axis_titles(names)), "epoch", "trial", "run"]]
    for rank, run in enumerate(runs, 1):
        errors = axis_cells({name: run.metrics[f"val/best_mae_{name}"] for name in scale}, scale)
        epoch = f"{run.metrics['val/best_epoch']:.0f}"
        lines.append([f"{rank:>4}", short(run.metrics["val/best_mae"]), *errors, epoch, run.name, run.run_id or ""])
    print("\n".join(columns(lines, left=(len(lines[0]) - 2, len(lines[0]) - 1))))
    if beyond := beyond_of(run.facts for run in runs):
        print(f"note: {beyond}")
    print(f"\nre-test the best on the test split:\n  {beside('bel-eval')} --run-id {first.run_id}", flush=True)


def beside(command: str) -> str:
    """How to type a command of ours, where the environment may not be activated."""
    return command if shutil.which(command) else os.path.relpath(Path(sys.executable).with_name(command))
