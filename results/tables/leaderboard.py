"""Leaderboards as text for a terminal, Markdown, CSV, LaTeX and JSON, all of them made of `table_columns`."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import pandas as pd

from bel.output import as_json as json_document
from bel.run_layout import BEST_EPOCH, EXTENDS, SELECTION_SPLIT
from bel.text import axis_cells, axis_titles, cell, columns, harmless, markdown_table
from results.analysis.configurations import Configuration
from results.analysis.leaderboard import Board, Standing, method
from results.analysis.statistics import LEVEL
from results.tables.frames import flat

MARKS = {"no difference shown": "=", "cannot tell": "?"}  # before a rank, by verdict
PARAMETERS = ("head", "code", "code_bits", "loss", "lr")  # of a run, in JSON and CSV


def formatted(value: Any, form: str) -> str:
    """Format a number, an interval or a text; empty for None and NaN."""
    if isinstance(value, tuple):
        return f"{value[0]:{form}} to {value[1]:{form}}"
    return "" if value is None or value != value else f"{value:{form}}"


class Column(NamedTuple):
    """A column: its value in a row, its name in JSON and CSV, its title and format elsewhere; None: it is not there."""

    value: Callable[[Standing], Any]
    name: str | None = None
    title: str | None = None
    form: str = ""


def table_columns(board: Board) -> list[Column]:
    """Return all columns of a leaderboard in their order: the one place where a column is added."""
    interval = f"{LEVEL:.0%} interval"
    return [
        Column(lambda s: s.rank, "rank"),
        Column(marked_rank, title=""),
        Column(lambda s: s.configuration.name, "configuration"),
        Column(full_name, title="configuration"),
        *map(parameter_column, PARAMETERS),
        Column(lambda s: extended_runs(s.configuration), "extends"),
        Column(partial(goes_on_from, board), title="goes on from"),
        Column(lambda s: s.configuration.seed_count, "seeds"),
        Column(partial(seeds, board), title="seeds"),
        Column(lambda s: len(s.configuration.runs), "runs"),
        Column(lambda s: s.configuration.mae, "mae", board.heading, ".3f"),
        Column(lambda s: s.configuration.mean, "mean_over"),
        Column(lambda s: s.configuration.interval, "interval", interval, ".3f"),
        Column(lambda s: s.configuration.image_mae, "mae_by_image"),
        Column(lambda s: s.configuration.seed_spread, "seed_sd", "seed sd", ".3f"),
        Column(partial(image_error, board), title="by image"),
        *axis_columns(board),
        Column(lambda s: s.difference and s.difference.mean, "minus_first", "minus first", "+.3f"),
        Column(lambda s: s.difference and s.difference.interval, "minus_first_interval", interval, "+.3f"),
        Column(lambda s: s.verdict, "verdict", ""),
        Column(lambda s: s.configuration.stopped, "stopped_early"),
        Column(lambda s: "; ".join(s.configuration.lacking), "lacking"),
        Column(lambda s: s.configuration.lost_race, "lost_race"),
        Column(lambda s: s.configuration.metric(BEST_EPOCH), "epoch"),
        Column(lambda s: s.configuration.metric("bits"), "bits", "bits", ".0f"),
        Column(lambda s: s.configuration.metric("parameters"), "parameters"),
        Column(lambda s: millions(s.configuration.metric("parameters")), title="parameters"),
        Column(lambda s: s.configuration.metric("images_per_s"), "images_per_s", "images/s", ".0f"),
        Column(lambda s: s.configuration.hours, "hours", "hours", ".2f"),
        Column(lambda s: [run.info.run_id for run in s.configuration.runs], "run_ids"),
    ]


def parameter_column(name: str) -> Column:
    """Return the column of a parameter of a configuration's runs."""
    return Column(lambda s: s.configuration.params.get(name), name)


def axis_columns(board: Board) -> list[Column]:
    """Return the columns of errors by axis: in JSON and CSV of each, elsewhere of each of few or of the worst and the best."""
    axes = list(board.leader.by_axis)

    def cells(standing: Standing) -> list[str]:
        one = standing.configuration
        return axis_cells({axis: one.by_axis.get(axis, math.nan) for axis in axes}, one.scale, board.all_axes)

    def shown(i: int, title: str) -> Column:
        return Column(lambda s: cells(s)[i], title=title)

    def named(axis: str) -> Column:
        return Column(lambda s: s.configuration.by_axis.get(axis), f"mae_{axis}")

    return [*map(named, axes), *(shown(i, title) for i, title in enumerate(axis_titles(axes, board.all_axes)))]


def marked_rank(standing: Standing) -> str:
    """Return a rank behind its mark: `*` stopped early, `=` a tie with the first, `?` too few groups to tell."""
    return f"{'*' if standing.configuration.stopped else MARKS.get(standing.verdict, '')}{standing.rank}"


def full_name(standing: Standing) -> str:
    """Return a configuration's name with what it lacks."""
    one = standing.configuration
    return one.name + (f" ({'; '.join(one.lacking)})" if one.lacking else "")


def extended_runs(one: Configuration) -> list[str]:
    """Return the ids of the runs that a configuration's runs are with more epochs."""
    return [run.data.tags[EXTENDS] for run in one.runs if EXTENDS in run.data.tags]


def goes_on_from(board: Board, standing: Standing) -> str:
    """Return the rank of the configuration that one is with more epochs; empty for none, or one that is not in the table."""
    decoder = standing.configuration.decoder
    rows = [row for run in extended_runs(standing.configuration) for row in board.by_run.get(run, [])]
    ranks = {row.rank for row in rows if row.configuration.decoder == decoder}
    return " ".join(f"rank {rank}" for rank in sorted(ranks))


def seeds(board: Board, standing: Standing) -> str:
    """Return how many seeds a configuration has, of how many where others have more."""
    count, most = standing.configuration.seed_count, board.most_seeds
    return str(count) if count == most else f"{count} of {most}"


def image_error(board: Board, standing: Standing) -> str:
    """Return the mean error over images; empty where it is the one over groups in every row."""
    return formatted(standing.configuration.image_mae, ".3f") if board.over_images else ""


def millions(value: float | None) -> str:
    """Format a number of parameters in millions; empty for None."""
    return "" if value is None else f"{value / 1e6:.2f}M"


def table_lines(board: Board) -> list[list[str]]:
    """Return the titles, then the cells of each configuration, the best first; columns without a text are left out."""
    wanted = [column for column in table_columns(board) if column.title is not None]
    cells = [
        [column.title, *(formatted(column.value(one), column.form) for one in board.standings)] for column in wanted
    ]
    return [list(line) for line in zip(*(column for column in cells if any(column[1:])), strict=True)]


def caption(board: Board) -> str:
    """Say what the numbers of a leaderboard travel with, and how they were compared."""
    facts = board.facts
    held = f"{facts['images']} images of {facts['groups']} groups"
    tuned = (
        ", tuned fields (if any) chosen on a hold-out of the same groups"
        if board.leader.params[SELECTION_SPLIT] == "last"
        else ""
    )
    place = (
        f"out of fold on {held}, {facts['split']}{tuned}" if facts["folds"] else f"on {held}, split {facts['split']}"
    )
    mean = f"mean over {board.leader.mean}" + (
        ", as an earlier version logged" if board.leader.mean == "images" else ""
    )
    text = (
        f"{facts['protocol']}, crop {facts['crop']}: {board.heading} ({facts['unit'] or 'own unit'}, {mean}) {place}, "
        f"{facts['selection']}; seeds {facts['seeds']}; code {facts['code']}. {method(board)[:1].upper()}{method(board)[1:]}. "
        "Intervals are over groups, errors averaged over seeds."
    )
    if beyond := facts["beyond"]:
        text += f" {beyond[:1].upper()}{beyond[1:]}."
    if any(standing.difference and standing.difference.mean < 0 for standing in board.standings):
        text += " Whole ones come first: those with less error further down lack seeds or folds, or were stopped early."
    if any(standing.configuration.lost_race for standing in board.standings):
        text += " Those with fewer repeats lost the race: all repeats would have shown them as worse."
    if any(standing.configuration.stopped for standing in board.standings):
        text += " * early stopping ended it: its error is of fewer epochs."
    return harmless(f"Not comparable with the first table: {board.reason}. {text}" if board.reason else text)


def text(boards: Sequence[Board], table: Callable[..., list[str]] = columns) -> str:
    """Return leaderboards for a terminal, or as another `table`: names to the left, numbers to the right."""
    parts = []
    for board in boards:
        cells = table_lines(board)
        parts.append("\n".join([caption(board), "", *table(cells, left=(cells[0].index("configuration"),))]))
    return "\n\n".join(parts) + "\n"


def markdown(boards: Sequence[Board]) -> str:
    """Return leaderboards for a document."""
    return text(boards, markdown_table)


SPECIAL = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"} | {"~": r"\textasciitilde{}", "^": r"\^{}", "\\": r"\textbackslash{}"}
)


def latex(boards: Sequence[Board]) -> str:
    """Return leaderboards for a paper; they need the package booktabs."""
    parts = []
    for board in boards:
        titles, *rows = ([cell.translate(SPECIAL) for cell in line] for line in table_lines(board))
        kinds = "".join("l" if title == "configuration" else "r" for title in titles)
        frame = pd.DataFrame(rows, columns=titles)
        parts.append(
            frame.to_latex(index=False, escape=False, column_format=kinds, caption=caption(board).translate(SPECIAL))
        )
    return "\n".join(parts)


def records(boards: Sequence[Board]) -> list[dict[str, Any]]:
    """Return the facts, the reason why it is not comparable, and the rows of each leaderboard in plain values."""
    return [
        {
            "facts": board.facts,
            "fenced": board.reason,
            "method": method(board),
            "rows": [
                {column.name: column.value(one) for column in table_columns(board) if column.name}
                for one in board.standings
            ],
        }
        for board in boards
    ]


def as_json(boards: Sequence[Board]) -> str:
    """Return leaderboards for another program."""
    return json_document(records(boards))


def as_csv(boards: Sequence[Board]) -> str:
    """Return a row for each configuration, with the facts of its leaderboard behind, for a spreadsheet or pandas."""
    rows = [
        {"table": number}
        | {name: " ".join(value) if isinstance(value, list) else value for name, value in flat(row).items()}
        | {"table_fenced": record["fenced"]}
        | {f"table_{name}": value for name, value in record["facts"].items()}
        for number, record in enumerate(records(boards), 1)
        for row in record["rows"]
    ]
    return pd.DataFrame(rows, dtype=object).map(cell).to_csv(index=False)


FORMATS: dict[str, Callable[[Sequence[Board]], str]] = {
    "text": text,
    "markdown": markdown,
    "csv": as_csv,
    "latex": latex,
    "json": as_json,
}
