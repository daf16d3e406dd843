"""The sections of a report about the best configurations, image by image; a reason where predictions or images are missing."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bel.data.checking.sheet import LEGEND
from bel.errors import UserError
from results.analysis.configurations import Configuration
from results.report import figures, pictures
from results.report.figures import Highlight, coverage
from results.report.page import NAME, Block, Content, Figure, Picture, Row, Table, Text, plural
from results.report.report_data import ReportData
from results.store.calibration import fetch_calibration

MOST_CODES = 4
NO_PREDICTIONS = "the runs have stored no predictions"
SHARES = [0.5, 0.75, 0.9, 0.95, 0.99, 1]  # of the images, in the table of quantiles
NOMINAL = np.array([0.5, 0.8, 0.95])  # probabilities, in the table of coverage


def error_by_target(data: ReportData) -> Content:
    """Return the error by the true target."""
    if not data.with_predictions:
        return NO_PREDICTIONS
    axes = data.with_predictions[0].configuration.seeds[0].axes
    text = (
        f"Mean absolute error in bins of the true target, mean over images and seeds, and below the number of images; bins of "
        f"fewer than {figures.FEWEST} are left out. {data.measured_on}: neighbouring images of a group are alike, so the ends "
        "of an axis often rest on few groups."
    )
    if len(axes) > figures.MOST_AXES:
        text += f" The first {figures.MOST_AXES} of {len(axes)} axes."
    return [Figure(text, figures.error_by_target(data.with_predictions))]


def wrong_bits(data: ReportData) -> Content:
    """Return code matrices beside their wrong bits."""
    blocks: list[Block] = []
    for standing in data.board.standings:
        one = standing.configuration
        if "code" not in one.params or not one.seeds or len(blocks) == MOST_CODES:
            continue
        try:
            picture = pictures.draw_codes(one)
        except UserError as error:
            blocks.append(Text(f"{one.name}: {error}", "absent"))
            continue
        if picture:
            drawn = Picture(picture, "image/png", f"code of {one.name}")
            blocks.append(Figure(code_caption(standing.rank, one), picture=drawn))
    text = (
        "Black is 1; a row is a level of an axis, a column a bit. Beside it, how often that bit was predicted wrong for images "
        "of that level, darker is more often; levels without images are grey. Errors gather where a column changes."
    )
    return [Text(text), *blocks] if blocks else "no run of a fixed code has stored its wrong bits"


def code_caption(rank: int, one: Configuration) -> str:
    """Return the caption of the picture of a code."""
    used = min(len(one.runs), pictures.MOST_RUNS)
    text = f"{one.name} (rank {rank}): code {one.params['code']}, wrong bits over {plural(used, 'run')}."
    if (loss := one.params["loss"]) != "bce":
        text += f" Its loss {loss} judges levels, not single bits: these may stray from the code's at no cost."
    return text


def calibration(data: ReportData) -> Content:
    """Return whether posteriors say how wrong they are."""
    best = [one for one in data.with_predictions if "pit" in one.configuration.seeds[0].values]
    measured = intervals(data.with_predictions)
    if not best:
        return measured or "none of the first configurations gives a posterior"
    text = (
        "Above, the posterior probability below the target (PIT), by rank: flat where the posterior is calibrated, a U where "
        "it is too narrow, a hill where it is too wide. Below, how many targets lie in central intervals of a nominal "
        f"probability. All axes and seeds together, {data.measured_on}."
    )
    titles = [f"in {level:.0%}" for level in NOMINAL]
    lines = {one: [f"{share:.1%}" for share in coverage(one.configuration, NOMINAL)] for one in best}
    caption = "Share of targets in central intervals of 50, 80 and 95% of the posterior."
    return [Figure(text, figures.calibration(best)), table_of(lines, titles, caption), *measured]


def intervals(best: Sequence[Highlight]) -> list[Block]:
    """Return the coverage of the intervals of `bel-results calibrate` beside the posterior's; nothing without a calibration."""
    found = {one: facts for one in best for facts in map(fetch_calibration, one.configuration.runs[:1]) if facts}
    rows = [
        Row([one.configuration.name, f"{facts['level']:.0%}", *interval_cells(place, measured)], color=one.color)
        for one, facts in found.items()
        for place, measured in facts["measured"].items()
    ]
    caption = (
        "Intervals by bel-results calibrate: share of targets in the interval of a nominal level, of the posterior (raw), of "
        "the posterior at its temperature (tempered), and of conformal prediction over groups, with its mean width; means over "
        "axes and over groups that did not calibrate: each left out, or those of the test split."
    )
    titles = ["level", "measured on", "raw", "tempered", "conformal", "width"]
    return [Table([NAME, *titles], [rows], caption)] if rows else []


def interval_cells(place: str, measured: dict[str, Any]) -> list[str]:
    """Return the groups, the coverage by each kind of interval and the width of the last one, means over axes."""
    coverage = [measured["coverage"].get(kind, {}) for kind in ("raw", "tempered", "conformal")]
    shares = ["" if not by_axis else f"{np.mean([*by_axis.values()]):.1%}" for by_axis in coverage]
    width = np.mean([*measured["width"]["conformal"].values()])
    return [f"{place.replace('_', ' ')}, {plural(measured['groups'], 'group')}", *shares, f"{width:.2f}"]


def error_distribution(data: ReportData) -> Content:
    """Return how the errors of images are distributed."""
    best = data.with_predictions
    if not best:
        return NO_PREDICTIONS
    titles = ["median", *(f"{share:.0%}" for share in SHARES[1:-1]), "greatest"]
    lines = {one: [f"{error:.2f}" for error in np.quantile(one.configuration.errors, SHARES)] for one in best}
    text = f"Share of the images with at most an error, mean over axes and seeds; {data.measured_on}. It ends at 99%."
    table = table_of(lines, titles, f"Quantiles of the errors of images ({data.unit}).")
    return [Figure(text, figures.error_distribution(best, data.unit)), table]


def table_of(lines: dict[Highlight, list[str]], titles: list[str], caption: str) -> Table:
    """Return a table with a row for each of the best configurations, in its colour."""
    rows = [Row([one.configuration.name, *cells], color=one.color) for one, cells in lines.items()]
    return Table([NAME, *titles], [rows], caption)


def images(data: ReportData) -> Content:
    """Return the images of the leader's greatest errors and of those in the middle."""
    one = data.board.leader
    if not one.seeds:
        return NO_PREDICTIONS
    try:
        worst, median = pictures.tiles(one, data.changes)
    except UserError as error:
        return str(error)
    axes = f"Left with the true axes, right with the predicted ones ({', '.join(LEGEND.split('    '))}); "
    text = (
        f"{axes if one.seeds[0].meaning['pose'] else ''}below, error and true → predicted values. {one.name}, seed "
        f"{one.runs[0].data.params['seed']}. The worst {len(worst)}, at most {pictures.most_of_a_group(one.seeds[0])} "
        "of a group as neighbouring images fail alike."
    )
    usual = f"The {len(median)} images in the middle of {len(one.seeds[0].names)}: what is usual."
    return [Figure(text, tiles=worst), Figure(usual, tiles=median)]
