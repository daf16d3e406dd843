"""The sections of a report about a sweep as a whole: leaderboards, learning curves, what was varied and its importance."""

import numpy as np
from mlflow.tracking import MlflowClient

from bel.run_layout import OBJECTIVE
from results.analysis.configurations import Configuration, error_of
from results.analysis.leaderboard import Board
from results.analysis.ranking import rank_key
from results.report import figures, hyperparameters
from results.report.page import NAME, Block, Content, Figure, Row, Table, Text, plural
from results.report.report_data import ReportData
from results.store.predictions import Floats
from results.tables.leaderboard import caption, table_lines

MOST_ROWS, MOST_CURVES = 40, 50
SHORTER = {"no difference shown": "tie"}
CAPTION = (
    " Grey rows are published numbers, for orientation: their crops, splits, test images and choice of the epoch differ from "
    "ours and among them, so they are not comparable with these rows."
)
SPLITS = "BIWI, 70/30 by sequence; the split differs between papers"
LARGE = "300W_LP → AFLW2000, as published"
RECORD = "BIWI, 4,647 test frames, best epoch on test, random crops: the record in BEL's repository"

# Mean errors of yaw, pitch and roll in degrees by our protocol: name, error, protocol of the paper.
PUBLISHED: dict[str, list[tuple[str, str, str]]] = {
    "biwi": [
        ("WQuatNet (2025)", "2.28", SPLITS),
        ("TokenHPE", "2.43", SPLITS),
        ("6DRepNet", "2.66", SPLITS),
        ("HopeNet (a=1)", "3.23", SPLITS),
        ("FDN", "3.29", SPLITS),
        ("RAFA-Net", "3.40", SPLITS),
        ("BEL-J, expected", "3.4052", RECORD),
        ("BEL-J, native", "3.4243", RECORD),
        ("FSA-Net", "3.60", SPLITS),
    ],
    "aflw2000": [
        ("WQuatNet (2025)", "3.75", LARGE),
        ("6DRepNet", "3.97", LARGE),
        ("RAFA-Net", "4.12", LARGE),
        ("FDN", "4.42", LARGE),
        ("TokenHPE", "4.66", LARGE),
        ("FSA-Net", "5.07", LARGE),
        ("HopeNet (a=1)", "6.41", LARGE),
    ],
}


def leaderboard(data: ReportData) -> Content:
    """Return the leaderboards, with published numbers below the first, and the first as a figure."""
    blocks: list[Block] = []
    for i, board in enumerate(data.boards):
        if i:
            blocks.append(Text(f"Fenced off: {board.reason}", "heading"))
        blocks += board_tables(board, {id(one.configuration): one.color for one in data.best} if i == 0 else {})
        if i == 0:
            blocks.append(Figure(intervals_caption(data), figures.error_intervals(board, data.best, data.unit)))
    return blocks


def intervals_caption(data: ReportData) -> str:
    """Return the caption of the figure of a leaderboard."""
    count = len(data.configurations)
    first = f"the first {figures.MOST_INTERVALS} of " if count > figures.MOST_INTERVALS else ""
    text = f"Errors of {first}{plural(count, 'configuration')}"
    if not data.board.leader.interval:
        return f"{text}; there are no intervals, of too few groups or without predictions."
    return (
        f"{text} with 95% intervals over groups; filled are the leader and what is tied with it. Overlapping intervals say "
        "little of a difference: configurations are compared group by group, in the column “minus first” of the table."
    )


def board_tables(board: Board, colors: dict[int, str]) -> list[Block]:
    """Return a leaderboard as a table of its first rows, and a folded one of the others."""
    titles, *rows = table_lines(board)
    lines = [
        Row(
            [SHORTER.get(cell, cell) for cell in cells],
            "tie" if standing.tied or standing.rank == 1 else "",
            colors.get(id(standing.configuration), ""),
        )
        for standing, cells in zip(board.standings, rows, strict=True)
    ]
    published = published_rows(board, titles)
    text = caption(board) + " Shaded rows are the first and its ties." + (CAPTION if published else "")
    tables: list[Block] = [Table(titles, [lines[:MOST_ROWS], published], text)]
    if rest := lines[MOST_ROWS:]:
        tables.append(Table(titles, [rest], summary=f"the other {len(rest)} rows"))
    return tables


def published_rows(board: Board, titles: list[str]) -> list[Row]:
    """Return the published numbers for the protocol of a leaderboard in its columns, each with its own protocol."""
    front = [""] * titles.index(board.heading)
    name = titles.index(NAME)
    return [
        Row([*front[:name], method, *front[name + 1 :], error, protocol], "reference")
        for method, error, protocol in PUBLISHED.get(board.leader.params["protocol"], [])
    ]


def learning_curves(data: ReportData) -> Content:
    """Return the validation error by epoch of the best runs."""
    runs = [(run, one) for one in data.configurations for run in one.runs]
    runs.sort(key=lambda pair: rank_key(error_of(pair[0]), pair[0].info.run_name, stopped=pair[1].stopped))
    by_image = any(OBJECTIVE not in run.data.metrics for run, _ in runs[:MOST_CURVES])
    panels: dict[str, list[tuple[Configuration, Floats]]] = {}
    for run, one in runs[:MOST_CURVES]:
        history = error_by_epoch(run.info.run_id, "val/mae" if by_image else "val/mae_groups")
        if len(history):
            panels.setdefault(hyperparameters.encoding(one.params), []).append((one, history))
    if not panels:
        return "no run has logged an error by epoch"
    text = curves_caption(data.board.heading, by_image, len(runs), len(panels))
    return [Figure(text, figures.learning_curves(panels, data.best, data.unit, data.board.heading))]


def curves_caption(heading: str, by_image: bool, runs: int, panels: int) -> str:
    """Return the caption of learning curves."""
    text = f"{heading} after each epoch, mean over {'images' if by_image else 'groups'}, a line a run"
    if panels > 1:
        text += ", a panel for each code or head in order of its best run; pale lines are the runs of the other panels"
    drawn = f"The {MOST_CURVES} best of {runs} runs" if runs > MOST_CURVES else f"In all {plural(runs, 'run')}"
    text += f". {drawn}; those of the first configurations have their colours of table 1."
    if by_image:
        text += (
            " An earlier version logged some of them, which knew no means over groups by epoch: those are the table's."
        )
    if min(runs, MOST_CURVES) >= figures.CUT_FROM:
        text += f" The scale ends where {figures.CUT:.0%} of all values are."
    if panels > figures.MOST_PANELS:
        text += f" {panels - figures.MOST_PANELS} more codes have no panel."
    return text


def error_by_epoch(run_id: str, metric: str) -> Floats:
    """Return the epochs of a run with finite validation errors (epochs, 2)."""
    values = {point.step: point.value for point in MlflowClient().get_metric_history(run_id, metric)}
    history = np.array(sorted(values.items()), np.float64).reshape(-1, 2)
    return history[np.isfinite(history[:, 1])]


def space(data: ReportData) -> Content:
    """Return the values and the errors of all configurations in parallel coordinates."""
    if not data.hyperparameters:
        return "there is one configuration only"
    figure = hyperparameters.parallel_coordinates(
        data.configurations, data.hyperparameters, data.unit, data.board.heading
    )
    logarithmic = ", ".join(column.name for column in data.hyperparameters if column.logarithmic)
    text = (
        f"{len(data.configurations)} configurations, a line each from value to value, coloured by error up to its ninetieth "
        f"percentile, the best darkest. {f'Logarithmic: {logarithmic}. ' if logarithmic else ''}“none” means that a "
        "configuration has no such field; encoding is the code, or the head of one without a code. Where an axis has few "
        "values, lines are spread a little about them, so that they do not hide each other. On screen, drag along an axis to "
        "pick."
    )
    return [Figure(text, figure)]


def importance(data: ReportData) -> Content:
    """Return the importance of the varied fields by Optuna."""
    count = len(data.configurations)
    if count < hyperparameters.FEWEST or not data.hyperparameters:
        return f"{plural(count, 'configuration')} cannot say what matters (at least {hyperparameters.FEWEST})"
    if len({one.mae for one in data.configurations}) == 1:
        return "all configurations have the same error"
    shares = hyperparameters.importances(data.configurations, data.hyperparameters)
    if not any(shares.values()):
        return "no field separates the best configurations"
    partial = [c.name for c in data.hyperparameters if c.conditional and c.name in shares]
    missing = [c.name for c in data.hyperparameters if c.name not in shares]
    text = (
        f"Share of each field in whether a configuration is among the best {hyperparameters.good_share(count):.0%} "
        f"(PED-ANOVA of Optuna, on {count} configurations, errors averaged over seeds). It says what separated good from bad "
        "within the values that were tried, one field at a time: no interactions, no causes"
        f"{', and with so few configurations it is a hint' if count < 50 else ''}. "
    )
    if partial:
        text += f"Not every configuration has {', '.join(partial)}: judged among those that have it. "
    if missing:
        text += f"PED-ANOVA only treats fields that all configurations have: not {', '.join(missing)}."
    return [Figure(text, hyperparameters.importance_bars(shares))]
