"""What a sweep prints at its end: its trials, the best first, and the next commands."""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from bel.output import Answer
from bel.run_layout import RANKED, SELECTION_SPLIT, Outcome
from bel.text import axis_cells, axis_titles, columns, selection, short
from launch.console.final import Values, front_values, table_values
from launch.console.standings import tables
from launch.runs import SweepRuns
from launch.spec.sweep_file import Sweep


def conclude(sweep: Sweep, sweep_runs: SweepRuns, parent_id: str, answer: Answer) -> None:
    """Print the tables of a sweep, and the commands that evaluate it further."""
    commands: list[Values] = []
    answer.values |= {"tables": [], "pareto_front": front_values(sweep, sweep_runs.having(Outcome.FINISHED))}
    for table in tables(sweep_runs):
        found = table_values(sweep, table)
        heading = selection(table[0].runs[0].facts[SELECTION_SPLIT]).heading
        what = {"what": "re-test the best on the test split", "command": re_test(found)}
        answer.values["tables"].append(found)
        commands.append(what)
        answer.say("\n".join([*table_lines(sweep, found, heading), *command_lines([what])]))
    if len(sweep.search.objective) > 1:
        answer.say("\n".join(front_lines(sweep, answer.values["pareto_front"])))
    for block in next_commands(sweep, sweep_runs, parent_id):
        commands += block
        answer.say("\n".join(command_lines(block)))
    answer.values["next_commands"] = commands


def re_test(table: Values) -> str:
    """Return the command that re-tests the best of a table."""
    return f"{beside('bel-eval')} --run-id {table['best_run_id']}"


def command_lines(steps: list[Values]) -> Iterator[str]:
    """Yield commands, each below what it does."""
    yield ""
    for number, step in enumerate(steps):
        if not number or steps[number - 1]["what"] != step["what"]:
            yield f"{step['what']}:"
        yield f"  {step['command']}"


def next_commands(sweep: Sweep, sweep_runs: SweepRuns, parent_id: str) -> Iterator[list[Values]]:
    """Yield the commands that evaluate a sweep further, with what they do, in blocks."""
    command = beside("bel-results")
    if sweep.search.tune and any(run.config.folds for run in sweep_runs.ended):
        folder, task = shlex.quote(f"runs/folds/{sweep.name}"), re.sub(r"[^\w-]+", "-", sweep.name)
        yield [
            {
                "what": "out-of-fold errors of each contender, compared by groups, and its test error",
                "command": f"{command} folds --run-id {parent_id} --out {folder}",
            },
            {
                "what": "its contenders as a task of a study, beside other sweeps",
                "command": f"{command} study runs/study --add {task}={parent_id}",
            },
        ]
    if len(sweep_runs.having(*RANKED)) > 1:
        rest = (f"leaderboard {parent_id}", f"report {parent_id} -o report.html")
        yield [{"what": "which differences are real, and pictures", "command": f"{command} {words}"} for words in rest]


def table_lines(sweep: Sweep, table: Values, heading: str) -> Iterator[str]:
    """Yield the trials of a table by split, and the means where there are repeats."""
    if not (table["folds"] and sweep.search.tune):  # of a contender the mean over its folds ranks, not each fold
        for split in table["splits"]:
            yield from split_lines(table, split, heading)
    if table["folds"] or table["seeds"] > 1:
        yield from mean_lines(table, heading)


def mean_lines(table: Values, heading: str) -> Iterator[str]:
    """Yield the mean of each configuration over its repeats, the best first."""
    yield ""
    yield f"means over {table['seeds']} seeds and {table['folds'] or 1} folds of the {heading}, whole configurations first"
    lines = [["    ", "mean", "least", "most", "runs", "configuration"]]
    for one in table["configurations"]:
        errors = [short(one[name]) for name in ("mae_groups", "least", "most")]
        lines.append([f"{one['rank']:>4}", *errors, f"{one['runs']}/{one['runs_wanted']}", one["configuration"]])
    yield from columns(lines, left=(5,))


def front_lines(sweep: Sweep, front: list[Values]) -> Iterator[str]:
    """Yield the Pareto front of several objectives, ordered by the first one."""
    names = sweep.search.objective
    said = selection(*(split for one in front for split in one["selections"]))
    yield ""
    yield (
        f"Pareto front of {', '.join(names)}: nothing is better in one without being worse in another; "
        f"errors are of {said.images} images"
    )
    lines = [[*(f"{name:>12}" for name in names), "trial"]]
    lines += [[*(f"{value:.4g}" for value in one["objectives"].values()), one["trial"]] for one in front]
    yield from columns(lines, left=(len(lines[0]) - 1,))


def split_lines(table: Values, split: Values, heading: str) -> Iterator[str]:
    """Yield trials that were measured on the same images, each with the rank of its configuration."""
    images = (
        f"{split['images']} {'TEST' if heading.startswith('TEST') else 'validation'} images of {split['groups']} groups"
    )
    fold = f"fold {split['fold']} of {table['folds']}, " if table["folds"] else ""
    yield ""
    yield (
        f"{table['protocol']}, crop {split['crop']}: MAE ({table['unit'] or 'own unit'}, mean over groups) on {images}, "
        f"{fold}split {split['split']}, {table['selection']}, seed in the name"
    )
    names = list(table["units"])
    if len(set(table["units"].values())) > 1:
        names = [f"{name} ({unit})" for name, unit in table["units"].items()]
    titles = [f"{title:>6}" for title in axis_titles(names)]
    lines = [["", heading, *titles, "by image", "epoch", "trial", "run"]]
    for run in split["runs"]:
        errors = axis_cells(run["by_axis"], table["widths"])
        own, by_image = short(run["mae_groups"]), short(run["mae"])
        lines.append([f"{run['rank']:>4}", own, *errors, by_image, str(run["epoch"]), run["name"], run["run_id"] or ""])
    yield from columns(lines, left=(len(lines[0]) - 2, len(lines[0]) - 1))
    if split["beyond"]:
        yield f"note: {split['beyond']}"


def beside(command: str) -> str:
    """Return how to type one of our commands, by its path where the environment is not activated."""
    return command if shutil.which(command) else os.path.relpath(Path(sys.executable).with_name(command))
