"""What a sweep prints at its end: its finished trials, best first, and the next command to type."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from bel.run_layout import BY_IMAGE, Outcome
from bel.text import axis_cells, axis_titles, beyond_of, columns, selection, short
from bel.training.evaluate import unit, width
from launch.console.standings import RANKS, Standing, tables
from launch.runs import Run, SweepRuns, by_configuration, mean
from launch.spec.sweep_file import Sweep
from results.analysis.ranking import configuration_name


def print_tables(sweep: Sweep, sweep_runs: SweepRuns) -> None:
    """Print the trials that came to an error, one table for what may be compared, with the best of each."""
    for table in tables(sweep_runs):
        folds = table[0].runs[0].config.folds
        if not (folds and sweep.search.tune):  # a contender's folds are no ranking each: their means are
            rows = [(rank, run) for rank, one in enumerate(table, 1) for run in (*one.ordered, *one.rest)]
            for split in sorted({run.facts["split_hash"] for _, run in rows}):
                print_rows(split, [(rank, run) for rank, run in rows if run.facts["split_hash"] == split])
        seeds = max(sweep.search.seeds or 1, *(one.seeds for one in table))
        if folds or seeds > 1:
            print_means(table, seeds, folds or 1)
        print(
            f"\nre-test the best on the test split:\n  {beside('bel-eval')} --run-id {table[0].best.run_id}", flush=True
        )
    if len(sweep.search.objective) > 1:
        print_front(sweep, sweep_runs.having(Outcome.FINISHED))


def print_means(table: list[Standing], seeds: int, folds: int) -> None:
    """Print each configuration's mean over its repeats, the best first."""
    heading = selection(table[0].runs[0].facts["selection_split"]).heading
    print(f"\nmeans over {seeds} seeds and {folds} folds of the {heading}, whole configurations first")
    print(f"{'':>4}{'mean':>9}{'least':>9}{'most':>9}{'runs':>8}  configuration")
    for rank, one in enumerate(table, 1):
        values = [run.value(RANKS) for run in one.runs]
        cells = f"{one.error:9.3f}{min(values):9.3f}{max(values):9.3f}"
        print(f"{rank:>4}{cells}{len(one.runs):>5}/{seeds * folds:<2}  {configuration_name(one.best.name)}")


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
    said = selection(*(run.facts["selection_split"] for group in best for run in group))
    print(
        f"\nPareto front of {', '.join(sweep.search.objective)}: nothing is better in one without being worse in another; "
        f"errors are of {said.images} images"
    )
    lines = [[*(f"{name:>12}" for name in sweep.search.objective), "trial"]]
    lines += [[*(f"{mean(group, o):.4g}" for o in sweep.search.objectives), group[0].name] for group in best]
    print("\n".join(columns(lines, left=(len(lines[0]) - 1,))))


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


def print_rows(split: str, rows: list[tuple[int, Run]]) -> None:
    """Trials that were measured on the same images, each with the rank of its configuration."""
    first = rows[0][1]
    facts, config = first.facts, first.config
    said = selection(facts["selection_split"])
    images = f"{facts['val_images']} {said.images} images of {facts['val_groups']} groups"
    crops = " and ".join(sorted({str(run.config.crop) for _, run in rows}))
    fold = f"fold {config.fold} of {config.folds}, " if config.folds else ""
    print(
        f"\n{facts['protocol']}, crop {crops}: MAE ({unit(config.axes) or 'own unit'}, mean over groups) on {images}, "
        f"{fold}split {split}, {said.chosen}, seed in the name"
    )
    names = [axis.name for axis in config.axes]
    if len({axis.unit for axis in config.axes}) > 1:
        names = [f"{axis.name} ({axis.unit})" for axis in config.axes]
    scale = {axis.name: width(axis, config.axes) / axis.span for axis in config.axes}
    titles = [f"{title:>6}" for title in axis_titles(names)]
    lines = [["", said.heading, *titles, "by image", "epoch", "trial", "run"]]
    for rank, run in rows:
        errors = axis_cells({name: run.metrics[f"{RANKS.metric}_{name}"] for name in scale}, scale)
        own, by_image = (short(run.metrics[name]) for name in (RANKS.metric, BY_IMAGE))
        epoch = f"{run.metrics['val/best_epoch']:.0f}"
        lines.append([f"{rank:>4}", own, *errors, by_image, epoch, run.name, run.run_id or ""])
    print("\n".join(columns(lines, left=(len(lines[0]) - 2, len(lines[0]) - 1))))
    if beyond := beyond_of(run.facts for _, run in rows):
        print(f"note: {beyond}")


def beside(command: str) -> str:
    """How to type a command of ours, where the environment may not be activated."""
    return command if shutil.which(command) else os.path.relpath(Path(sys.executable).with_name(command))
