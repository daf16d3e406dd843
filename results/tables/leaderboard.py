"""Boards as tables: for a terminal, Markdown, CSV, LaTeX and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from bel.text import axis_cells, axis_titles, cell, columns, harmless, markdown_row
from results.analysis.configurations import Configuration
from results.analysis.leaderboard import Board, Standing, method
from results.analysis.pairwise import plain
from results.analysis.statistics import LEVEL

MARK = {"better": "", "worse": "", "no difference shown": "=", "cannot tell": "?"}


def number(value: float | None, digits: int = 3) -> str:
    """A number of a cell; empty for None."""
    return "" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def span(interval: tuple[float, float] | None, sign: str = "") -> str:
    """An interval of a cell; empty for None."""
    return "" if interval is None else f"{interval[0]:{sign}.3f} to {interval[1]:{sign}.3f}"


def values(board: Board, standing: Standing) -> dict[str, Any]:
    """All that is known of a row, by the names of the JSON and CSV columns."""
    one, difference = standing.configuration, standing.difference
    known: dict[str, Any] = {
        "rank": standing.rank,
        "configuration": one.name,
        **{name: one.params.get(name) for name in ("head", "code", "code_bits", "loss", "lr")},
        "seeds": one.seed_count,
        "runs": len(one.runs),
        "mae": one.mae,
        "mean_over": one.mean,
        "interval": one.interval,
        "mae_by_image": one.image_mae,
        "seed_sd": one.seed_spread,
        **{f"mae_{axis}": error for axis, error in one.by_axis.items()},
        "minus_first": difference.mean if difference else None,
        "minus_first_interval": difference.interval if difference else None,
        "verdict": "first" if one is board.leader else difference.verdict if difference else "",
        "stopped_early": one.stopped,
        "lacking": "; ".join(one.lacking),
        "epoch": one.metric("val/best_epoch"),
    }
    for name in ("bits", "parameters", "images_per_s"):
        known[name] = one.metric(name)
    return known | {"hours": one.hours, "run_ids": [run.info.run_id for run in one.runs]}


def cells(known: dict[str, Any], axes: Sequence[str], most: int) -> list[str]:
    """A row as text, around the cells of its axes."""
    mark = "*" if known["stopped_early"] else MARK.get(known["verdict"], "")
    seeds = str(known["seeds"]) if known["seeds"] == most else f"{known['seeds']} of {most}"
    named = known["configuration"] + (f" ({known['lacking']})" if known["lacking"] else "")
    return [
        f"{mark}{known['rank']}",
        named,
        seeds,
        number(known["mae"]),
        span(known["interval"]),
        number(known["seed_sd"]),
        number(known["mae_by_image"]),
        *axes,
        "" if known["minus_first"] is None else f"{known['minus_first']:+.3f}",
        span(known["minus_first_interval"], "+"),
        known["verdict"],
        number(known["bits"], 0),
        "" if known["parameters"] is None else f"{known['parameters'] / 1e6:.2f}M",
        number(known["images_per_s"], 0),
        number(known["hours"], 2),
    ]


def full_header(board: Board) -> list[str]:
    """Column titles, of all columns."""
    interval = f"{LEVEL:.0%} interval"
    front = ["", "configuration", "seeds", board.heading, interval, "seed sd", "by image"]
    against = ["minus first", interval, "", "bits", "parameters", "images/s", "hours"]
    return [*front, *axis_titles(list(board.leader.by_axis), board.all_axes), *against]


def full_rows(board: Board) -> list[list[str]]:
    """A row a configuration, of all columns."""
    most = max(standing.configuration.seed_count for standing in board.standings)
    return [cells(values(board, one), axes_of(board, one.configuration), most) for one in board.standings]


def axes_of(board: Board, one: Configuration) -> list[str]:
    """The cells of a configuration's axes, which are those of the first one."""
    errors = {axis: one.by_axis.get(axis, math.nan) for axis in board.leader.by_axis}
    return axis_cells(errors, one.scale, board.all_axes)


def shown(board: Board) -> list[int]:
    """The columns that say something: not empty in every row, nor the mean over images where it is that over groups."""
    titles, filled = full_header(board), list(zip(*full_rows(board), strict=True))
    same = filled[titles.index(board.heading)]
    return [i for i, column in enumerate(filled) if any(column) and not (titles[i] == "by image" and column == same)]


def header(board: Board) -> list[str]:
    """Column titles."""
    titles = full_header(board)
    return [titles[i] for i in shown(board)]


def rows(board: Board) -> list[list[str]]:
    """Cells of each configuration, the best first; a column that would be empty is left out."""
    places = shown(board)
    return [[row[i] for i in places] for row in full_rows(board)]


def caption(board: Board) -> str:
    """What the numbers of a board travel with, and how differences were judged."""
    facts = board.facts
    held = f"{facts['images']} images of {facts['groups']} groups"
    tuned = (
        ", tuned fields (if any) chosen on a hold-out of the same groups"
        if board.leader.params["selection_split"] == "last"
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
    if any(standing.configuration.stopped for standing in board.standings):
        text += " * early stopping ended it: its error is of fewer epochs."
    return harmless(f"Not comparable with the first table: {board.reason}. {text}" if board.reason else text)


def text(boards: Sequence[Board]) -> str:
    """For a terminal."""
    return "\n\n".join(f"{caption(board)}\n\n{aligned(board)}" for board in boards)


def aligned(board: Board) -> str:
    """Columns in line; names to the left, numbers to the right."""
    titles = header(board)
    return "\n".join(columns([titles, *rows(board)], left=(titles.index("configuration"),)))


def markdown(boards: Sequence[Board]) -> str:
    """For a document."""
    parts = []
    for board in boards:
        titles = header(board)
        marks = ["---" if name == "configuration" else "--:" for name in titles]
        lines = [markdown_row(line) for line in (titles, marks, *rows(board))]
        parts.append("\n".join([caption(board), "", *lines]))
    return "\n\n".join(parts) + "\n"


SPECIAL = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"} | {"~": r"\textasciitilde{}", "^": r"\^{}", "\\": r"\textbackslash{}"}
)


def latex(boards: Sequence[Board]) -> str:
    """For a paper; needs the package booktabs."""
    parts = []
    for board in boards:
        titles = header(board)
        kinds = "".join("l" if name == "configuration" else "r" for name in titles)
        lines = [" & ".join(cell.translate(SPECIAL) for cell in line) + r" \\" for line in (titles, *rows(board))]
        body = [lines[0], r"\midrule", *lines[1:]]
        parts.append(
            "\n".join(
                [
                    r"\begin{table}",
                    rf"\caption{{{caption(board).translate(SPECIAL)}}}",
                    rf"\begin{{tabular}}{{{kinds}}}",
                    r"\toprule",
                    *body,
                    r"\bottomrule",
                    r"\end{tabular}",
                    r"\end{table}",
                ]
            )
        )
    return "\n\n".join(parts) + "\n"


def records(boards: Sequence[Board]) -> list[dict[str, Any]]:
    """Facts, reason and rows of each board, in plain values."""
    return [
        {
            "facts": b.facts,
            "fenced": b.reason,
            "method": method(b),
            "rows": [values(b, standing) for standing in b.standings],
        }
        for b in boards
    ]


def as_json(boards: Sequence[Board]) -> str:
    """For another program."""
    return json.dumps(plain(records(boards)), indent=1) + "\n"


def as_csv(boards: Sequence[Board]) -> str:
    """A row a configuration, with the facts of its board behind, for a spreadsheet or pandas."""
    lines = []
    for table, record in enumerate(records(boards), 1):
        for row in record["rows"]:
            flat = {}
            for name, value in row.items():
                if name.endswith("interval"):
                    flat[name.replace("interval", "low")], flat[name.replace("interval", "high")] = value or (
                        None,
                        None,
                    )
                else:
                    flat[name] = " ".join(value) if isinstance(value, list) else value
            facts = {f"table_{name}": value for name, value in record["facts"].items()}
            lines.append({"table": table, **flat, "table_fenced": record["fenced"], **facts})
    file = io.StringIO()
    names = list(dict.fromkeys(name for line in lines for name in line))
    writer = csv.DictWriter(file, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: cell(value) for name, value in line.items()} for line in lines)
    return file.getvalue()


FORMATS: dict[str, Callable[[Sequence[Board]], str]] = {
    "text": lambda boards: text(boards) + "\n",
    "markdown": markdown,
    "csv": as_csv,
    "latex": latex,
    "json": as_json,
}
