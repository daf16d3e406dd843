"""What a sweep prints at its end: its trials, the best first, and the next commands."""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from bel.run_layout import BEST_EPOCH, BY_IMAGE, RANKED, SELECTION_SPLIT, SPLIT_HASH, VAL_GROUPS, VAL_IMAGES, Outcome
from bel.text import axis_cells, axis_titles, beyond_of, columns, selection, short
from bel.training.evaluate import unit, width
from launch.console.standings import RANKS, Standing, tables
from launch.runs import Run, SweepRuns, by_configuration, mean, pareto_front
from launch.spec.sweep_file import Sweep
from results.analysis.ranking import configuration_name


def print_results(sweep: Sweep, sweep_runs: SweepRuns, parent_id: str) -> None:
    """Print the tables of a sweep, and the commands that evaluate it further."""
    print_tables(sweep, sweep_runs)
    command = beside("bel-results")
    if sweep.search.tune and any(run.config.folds for run in sweep_runs.ended):
        folder, task = shlex.quote(f"runs/folds/{sweep.name}"), re.sub(r"[^\w-]+", "-", sweep.name)
        print(
            f"\nout-of-fold errors of each contender, compared by groups, and its test error:\n"
            f"  {command} folds --run-id {parent_id} --out {folder}\n"
            f"its contenders as a task of a study, beside other sweeps:\n"
            f"  {command} study runs/study --add {task}={parent_id}",
            flush=True,
        )
    if len(sweep_runs.having(*RANKED)) > 1:
        print(
            f"\nwhich differences are real, and pictures:\n  {command} leaderboard {parent_id}\n"
            f"  {command} report {parent_id} -o report.html",
            flush=True,
        )


def print_tables(sweep: Sweep, sweep_runs: SweepRuns) -> None:
    """Print the trials that have an error, a table for those that may be compared, and the best of each table."""
    for table in tables(sweep_runs):
        folds = table[0].runs[0].config.folds
        if not (folds and sweep.search.tune):  # of a contender the mean over its folds ranks, not each fold
            rows = [(rank, run) for rank, one in enumerate(table, 1) for run in (*one.ordered, *one.rest)]
            for split in sorted({run.facts[SPLIT_HASH] for _, run in rows}):
                print_rows(split, [(rank, run) for rank, run in rows if run.facts[SPLIT_HASH] == split])
        seeds = max(sweep.search.seeds or 1, *(one.seeds for one in table))
        if folds or seeds > 1:
            print_means(table, seeds, folds or 1)
        print(
            f"\nre-test the best on the test split:\n  {beside('bel-eval')} --run-id {table[0].best.run_id}", flush=True
        )
    if len(sweep.search.objective) > 1:
        print_front(sweep, sweep_runs.having(Outcome.FINISHED))


def print_means(table: list[Standing], seeds: int, folds: int) -> None:
    """Print the mean of each configuration over its repeats, the best first."""
    heading = selection(table[0].runs[0].facts[SELECTION_SPLIT]).heading
    print(f"\nmeans over {seeds} seeds and {folds} folds of the {heading}, whole configurations first")
    lines = [["    ", "mean", "least", "most", "runs", "configuration"]]
    for rank, one in enumerate(table, 1):
        values = [run.value(RANKS) for run in one.runs]
        runs = f"{len(one.runs)}/{seeds * folds}"
        lines.append(
            [f"{rank:>4}", *map(short, (one.error, min(values), max(values))), runs, configuration_name(one.best.name)]
        )
    print("\n".join(columns(lines, left=(5,))))


def print_front(sweep: Sweep, runs: Iterable[Run]) -> None:
    """Print the Pareto front of several objectives, ordered by the first one."""
    front = pareto_front(by_configuration(runs).values(), sweep.search.objectives)
    best = sorted(front, key=lambda group: mean(group, sweep.search.objectives[0]))
    said = selection(*(run.facts[SELECTION_SPLIT] for group in best for run in group))
    print(
        f"\nPareto front of {', '.join(sweep.search.objective)}: nothing is better in one without being worse in another; "
        f"errors are of {said.images} images"
    )
    lines = [[*(f"{name:>12}" for name in sweep.search.objective), "trial"]]
    lines += [[*(f"{mean(group, o):.4g}" for o in sweep.search.objectives), group[0].name] for group in best]
    print("\n".join(columns(lines, left=(len(lines[0]) - 1,))))


def print_rows(split: str, rows: list[tuple[int, Run]]) -> None:
    """Print trials that were measured on the same images, each with the rank of its configuration."""
    first = rows[0][1]
    facts, config = first.facts, first.config
    said = selection(facts[SELECTION_SPLIT])
    images = f"{facts[VAL_IMAGES]} {said.images} images of {facts[VAL_GROUPS]} groups"
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
        epoch = f"{run.metrics[BEST_EPOCH]:.0f}"
        lines.append([f"{rank:>4}", own, *errors, by_image, epoch, run.name, run.run_id or ""])
    print("\n".join(columns(lines, left=(len(lines[0]) - 2, len(lines[0]) - 1))))
    if beyond := beyond_of(run.facts for _, run in rows):
        print(f"note: {beyond}")


def beside(command: str) -> str:
    """Return how to type one of our commands, by its path where the environment is not activated."""
    return command if shutil.which(command) else os.path.relpath(Path(sys.executable).with_name(command))
