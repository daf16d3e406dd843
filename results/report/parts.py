"""The parts of a report about a sweep as a whole: its tables, its epochs, what was varied and what matters.

A part is a sentence where not enough is known.
"""

from __future__ import annotations

from html import escape

import numpy as np
from mlflow.tracking import MlflowClient

from bel.run_layout import OBJECTIVE
from results.analysis.configurations import Configuration, error_of
from results.analysis.leaderboard import Board
from results.analysis.ranking import rank_key
from results.report import figures, figures_space
from results.report.figures import Marked
from results.report.findings import Findings
from results.report.page import NAME, Part, counted, named, paragraph, plot, row, table
from results.report.references import PROTOCOL, references
from results.report.varied import LEAST, Field, best_share, encoding, importance
from results.store.predictions import Floats
from results.tables.leaderboard import caption, header, rows

MOST_ROWS, MOST_CURVES = 40, 50
SHORTER = {"no difference shown": "tie"}


def leaderboard(all_of_it: Findings) -> Part:
    """The tables, with published numbers below the first, and the first as a figure."""
    parts = []
    for i, board in enumerate(all_of_it.boards):
        if i:
            parts.append(f"<h3>{escape('Fenced off: ' + board.reason)}</h3>")
        parts.append(standings(board, all_of_it.best if i == 0 else []))
        if i == 0:
            parts.append(plot(figures.dots(board, all_of_it.best, all_of_it.unit), dots_caption(all_of_it)))
    return Part("Leaderboard", "".join(parts))


def dots_caption(all_of_it: Findings) -> str:
    """What the figure of the table shows."""
    count = len(all_of_it.found)
    first = f"the first {figures.MOST_DOTS} of " if count > figures.MOST_DOTS else ""
    text = f"Errors of {first}{counted(count, 'configuration')}"
    if not all_of_it.first.leader.interval:
        return f"{text}; there are no intervals, of too few groups or without predictions."
    return (
        f"{text} with 95% intervals over groups; filled are the leader and what is tied with it. Overlapping intervals say "
        "little of a difference: configurations are compared group by group, in the column “minus first” of the table."
    )


def standings(board: Board, best: list[Marked]) -> str:
    """A board as a table: the first rows in sight, the others below it to unfold."""
    titles, lines = header(board), rows(board)
    colors = {id(one.configuration): one.color for one in best}
    made = [
        row(
            titles,
            [SHORTER.get(cell, cell) for cell in cells],
            "tie" if standing.tied or standing.rank == 1 else "",
            colors.get(id(standing.configuration), ""),
        )
        for standing, cells in zip(board.standings, lines, strict=True)
    ]
    notes = [
        reference_row(titles, titles.index(board.heading), *line)
        for line in references(board.leader.params["protocol"])
    ]
    text = caption(board) + " Shaded rows are the first and its ties." + (PROTOCOL if notes else "")
    html = table(titles, [made[:MOST_ROWS], notes], text)
    if len(made) > MOST_ROWS:
        html += (
            f"<details><summary>the other {len(made) - MOST_ROWS} rows</summary>{table(titles, [made[MOST_ROWS:]], '')}"
        )
        html += "</details>"
    return html


def reference_row(titles: list[str], place: int, name: str, value: str, protocol: str) -> str:
    """A published number in the columns of a table, its protocol in those behind it."""
    cells = [""] * place
    cells[titles.index(NAME)] = name
    front = "".join(f"<td{named(title, cell)}>{escape(cell)}</td>" for title, cell in zip(titles, cells, strict=False))
    rest = f'<td class="text" colspan="{len(titles) - place - 1}">{escape(protocol)}</td>'
    return f'<tr class="reference">{front}<td>{escape(value)}</td>{rest}</tr>'


def learning_curves(all_of_it: Findings) -> Part:
    """Validation error by epoch of the best runs."""
    runs = [(run, one) for one in all_of_it.found for run in one.runs]
    runs.sort(key=lambda pair: rank_key(error_of(pair[0]), pair[0].info.run_name, stopped=pair[1].stopped))
    older = any(OBJECTIVE not in run.data.metrics for run, _ in runs[:MOST_CURVES])
    groups: dict[str, list[tuple[Configuration, Floats]]] = {}
    for run, one in runs[:MOST_CURVES]:
        history = epochs(run.info.run_id, "val/mae" if older else "val/mae_groups")
        if len(history):
            groups.setdefault(encoding(one.params), []).append((one, history))
    if not groups:
        return Part("Learning curves", paragraph("Left out: no run has logged an error by epoch.", "absent"))
    text = f"{all_of_it.heading} after each epoch, mean over {'images' if older else 'groups'}, a line a run"
    if len(groups) > 1:
        text += ", a panel for each code or head in order of its best run; pale lines are the runs of the other panels"
    text += f". {picked_runs(len(runs))}; those of the first configurations have their colours of table 1."
    if older:
        text += (
            " An earlier version logged some of them, which knew no means over groups by epoch: those are the table's."
        )
    if min(len(runs), MOST_CURVES) >= figures.CUT_FROM:
        text += f" The scale ends where {figures.CUT:.0%} of all values are."
    if len(groups) > figures.MOST_PANELS:
        text += f" {len(groups) - figures.MOST_PANELS} more codes have no panel."
    return Part(
        "Learning curves", plot(figures.curves(groups, all_of_it.best, all_of_it.unit, all_of_it.heading), text)
    )


def picked_runs(count: int) -> str:
    """Which runs are drawn."""
    return f"The {MOST_CURVES} best of {count} runs" if count > MOST_CURVES else f"In all {counted(count, 'run')}"


def epochs(run_id: str, metric: str) -> Floats:
    """Epochs with finite validation errors (epochs, 2) of a run."""
    values = {point.step: point.value for point in MlflowClient().get_metric_history(run_id, metric)}
    kept = [(step, value) for step, value in sorted(values.items()) if np.isfinite(value)]
    return np.array(kept, np.float64).reshape(-1, 2)


def space(all_of_it: Findings) -> Part:
    """What the configurations differ in, and their errors."""
    title = "What was varied"
    if not all_of_it.varied:
        return Part(title, paragraph("Left out: there is one configuration only.", "absent"))
    figure = figures_space.parallel(all_of_it.found, all_of_it.varied, all_of_it.unit, all_of_it.heading)
    text = (
        f"{len(all_of_it.found)} configurations, a line each from value to value, coloured by error up to its ninetieth "
        f"percentile, the best darkest. {logarithmic(all_of_it.varied)}“none” means that a configuration has no such field; "
        "encoding is the code, or the head of one without a code. Where an axis has few values, lines are spread a little "
        "about them, so that they do not hide each other. On screen, drag along an axis to pick."
    )
    return Part(title, plot(figure, text))


def logarithmic(columns: list[Field]) -> str:
    """Which axes are logarithmic."""
    names = [column.name for column in columns if column.logarithmic]
    return f"Logarithmic: {', '.join(names)}. " if names else ""


def what_matters(all_of_it: Findings) -> Part:
    """Importance of the varied fields by Optuna."""
    title, count = "What matters", len(all_of_it.found)
    if count < LEAST or not all_of_it.varied:
        why = f"Left out: {counted(count, 'configuration')} cannot say what matters (at least {LEAST})."
        return Part(title, paragraph(why, "absent"))
    if len({one.mae for one in all_of_it.found}) == 1:
        return Part(title, paragraph("Left out: all configurations have the same error.", "absent"))
    shares = importance(all_of_it.found, all_of_it.varied)
    if not any(shares.values()):
        return Part(title, paragraph("Left out: no field separates the best configurations.", "absent"))
    partial = [c.name for c in all_of_it.varied if c.conditional and c.name in shares]
    missing = [c.name for c in all_of_it.varied if c.name not in shares]
    text = (
        f"Share of each field in whether a configuration is among the best {best_share(count):.0%} (PED-ANOVA of Optuna, on "
        f"{count} configurations, errors averaged over seeds). It says what told good from bad within the values that were "
        "tried, one field at a time: no interactions, no causes"
        f"{', and with so few configurations it is a hint' if count < 50 else ''}. "
    )
    if partial:
        text += f"Not every configuration has {', '.join(partial)}: judged among those that have it. "
    if missing:
        text += f"PED-ANOVA only treats fields that all configurations have: not {', '.join(missing)}."
    return Part(title, plot(figures_space.bars(shares), text))
