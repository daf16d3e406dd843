"""What the folds of a tuned sweep say, as a table in text and Markdown and as CSV files."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import torch
from mlflow.entities import Run

from bel.run_layout import BY_IMAGE, CODE_VERSION
from bel.text import axis_cells, axis_titles, beyond_of, cell, columns, harmless, markdown_table
from bel.training.evaluate import Evaluation, unit, width
from results.analysis.configurations import error_of
from results.analysis.folds import Contender
from results.analysis.statistics import LEVEL, paired_difference


def header(found: Sequence[Contender], all_axes: bool = False) -> list[str]:
    """Column titles of the table."""
    first = found[0].out_of_fold
    rotation = ["geodesic"] if first.pose else []
    axes = axis_titles([axis.name for axis in first.axes], all_axes)
    return [
        "",
        "contender",
        "MAE",
        *axes,
        *rotation,
        "minus the first",
        f"{LEVEL:.0%} interval",
        "",
        "test MAE",
        "of folds",
    ]


def row(rank: int, one: Contender, first: Contender, rivals: int, all_axes: bool = False) -> list[str]:
    """Cells of a contender: mean over groups, by axis, difference from the first, mean and range of the test errors."""
    held, means = one.out_of_fold, torch.stack(list(one.by_group().values())).mean(0).tolist()
    scale = {axis.name: width(axis, held.axes) / axis.span for axis in held.axes}
    by_axis = axis_cells(dict(zip(scale, means, strict=True)), scale, all_axes)
    rotation = [one.geodesic()] if held.pose else []
    difference = paired_difference(one.group_maes(), first.group_maes(), rivals)
    low_high = "" if difference.interval is None else "{:+.3f} to {:+.3f}".format(*difference.interval)
    against = ["", "", "first"] if one is first else [f"{difference.mean:+.3f}", low_high, difference.verdict]
    tests = one.test_maes
    numbers = [f"{one.mae:.3f}", *by_axis, *(f"{value:.3f}" for value in rotation)]
    mean = f"{sum(tests) / len(tests):.3f}"
    return [str(rank), one.name, *numbers, *against, mean, f"{min(tests):.3f} to {max(tests):.3f}"]


def caption(found: Sequence[Contender]) -> str:
    """What the numbers of the table travel with, and what they do not say."""
    held, test, field = found[0].out_of_fold, found[0].tests[0], found[0].tuned.field
    facts = {name: said(found, name) for name in ("protocol", "crop", "folds", "split_seed", "seed")}
    codes = ", ".join(sorted({run.data.tags[CODE_VERSION] for one in found for run in one.runs}))
    beyond = beyond_of(run.data.params for one in found for run in one.runs)
    ends = ", ".join(one.name for one in found if one.tuned.at_end)
    return harmless(
        f"{facts['protocol']}, crop {facts['crop']}: MAE ({unit(held.axes) or 'own unit'}) out of fold on "
        f"{len(held.names)} training images, mean over their {len(set(held.groups))} groups; {facts['folds']} "
        f"folds, split seed {facts['split_seed']}, seed {facts['seed']}, last epoch, each contender's headline "
        f"read-out, {field} tuned on a hold-out of the same groups. "
        f"Differences are paired over the groups, their intervals wide enough to hold for all {len(found)} contenders at once "
        f"(Tukey's studentised range). Test: {len(test.names)} images of {len(set(test.groups))} groups, mean "
        f"over images, and over the folds' networks, with their range. Code {codes}."
        + (f" {beyond[:1].upper()}{beyond[1:]}." if beyond else "")
        + (f" Best {field} at an end of its grid, so perhaps beyond it: {ends}." if ends else "")
    )


def said(found: Sequence[Contender], name: str) -> str:
    """The values of a parameter among all runs."""
    return " and ".join(sorted({run.data.params[name] for one in found for run in one.runs}))


def rows(found: Sequence[Contender], all_axes: bool = False) -> list[list[str]]:
    """Header and one row a contender, the best first."""
    lines = (row(rank, one, found[0], len(found), all_axes) for rank, one in enumerate(found, 1))
    return [header(found, all_axes), *lines]


def text(found: Sequence[Contender], all_axes: bool = False) -> str:
    """The table for a terminal."""
    cells = rows(found, all_axes)
    return "\n".join([caption(found), "", *columns(cells, left=(cells[0].index("contender"),))])


def markdown(found: Sequence[Contender]) -> str:
    """The table for a document."""
    cells = rows(found)
    return "\n".join([caption(found), "", *markdown_table(cells, left=(cells[0].index("contender"),)), ""])


def write(found: Sequence[Contender], folder: Path) -> None:
    """Table, run ids, errors by group, and errors of every image by contender and axis, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table.md").write_text(markdown(found), encoding="utf-8")
    write_csv(folder / "runs.csv", run_rows(found))
    maes = [one.group_maes().tolist() for one in found]
    groups = list(found[0].by_group())
    head = ["group", *(one.name for one in found)]
    write_csv(folder / "groups.csv", [head, *([g, *(f"{m[i]:.4f}" for m in maes)] for i, g in enumerate(groups))])
    held = [(one.name, one.out_of_fold, one.out_of_fold.errors(one.out_of_fold.headline)) for one in found]
    tested = [(one.name, one.tests[0], one.test_errors()) for one in found]
    write_csv(folder / "errors_out_of_fold.csv", image_rows(held))
    write_csv(folder / "errors_test.csv", image_rows(tested))


def run_rows(found: Sequence[Contender]) -> list[list[str]]:
    """Trial, fold (none on the hold-out), error there and on test, and id of every run."""
    lines = [["trial", "fold", "val_mae", "val_mae_groups", "test_mae", "run_id"]]
    for run in (run for one in found for run in one.tuned.runs):
        lines.append([run.info.run_name, "", *logged(run), "", run.info.run_id])
    for one in found:
        for run, test in zip(one.runs, one.test_maes, strict=True):
            lines.append([one.name, run.data.params["fold"], *logged(run), f"{test:.4f}", run.info.run_id])
    return lines


def logged(run: Run) -> list[str]:
    """Cells of a run's validation error over images and over groups."""
    return [f"{error:.4f}" for error in (run.data.metrics[BY_IMAGE], error_of(run))]


def image_rows(parts: Sequence[tuple[str, Evaluation, torch.Tensor]]) -> list[list[str]]:
    """Image, group, and absolute errors in units by contender and axis; images in the order of the first contender."""
    _, first, _ = parts[0]
    names = [f"{name} {axis.name}" for name, evaluation, _ in parts for axis in evaluation.axes]
    places = [{name: i for i, name in enumerate(evaluation.names)} for _, evaluation, _ in parts]
    values = [errors.tolist() for _, _, errors in parts]
    lines = [["image", "group", *names]]
    for name, group in zip(first.names, first.groups, strict=True):
        cells = chain.from_iterable(value[place[name]] for value, place in zip(values, places, strict=True))
        lines.append([name, group, *(f"{cell:.3g}" for cell in cells)])
    return lines


def write_csv(path: Path, lines: Sequence[Sequence[str]]) -> None:
    """Rows of cells into a file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([cell(value) for value in line] for line in lines)
