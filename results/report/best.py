"""The parts of a report about the best configurations, image by image; a sentence where predictions or images are missing."""

from __future__ import annotations

from html import escape

import numpy as np

from bel.data.checking.sheet import LEGEND
from bel.errors import UserError
from results.analysis.configurations import Configuration
from results.report import figures, figures_codes, figures_images
from results.report.figures import covered
from results.report.findings import Findings
from results.report.page import NAME, Part, counted, framed, image, paragraph, plot, row, table

MOST_CODES = 4
NO_PREDICTIONS = "Left out: the runs have stored no predictions."


def angles(all_of_it: Findings) -> Part:
    """Error against the true target."""
    title = "Error by target"
    if not all_of_it.predicted:
        return Part(title, paragraph(NO_PREDICTIONS, "absent"))
    axes = all_of_it.predicted[0].configuration.seeds[0].axes
    text = (
        f"Mean absolute error in bins of the true target, mean over images and seeds, and below the number of images; bins of "
        f"fewer than {figures.FEWEST} are left out. {all_of_it.held}: neighbouring images of a group are alike, so the ends "
        "of an axis often rest on few groups."
    )
    if len(axes) > figures.MOST_AXES:
        text += f" The first {figures.MOST_AXES} of {len(axes)} axes."
    return Part(title, plot(figures.by_target(all_of_it.predicted), text))


def codes(all_of_it: Findings) -> Part:
    """Code matrices beside their wrong bits."""
    title = "Codes and wrong bits"
    parts = []
    for standing in all_of_it.first.standings:
        one = standing.configuration
        if "code" not in one.params or not one.seeds:
            continue
        try:
            picture = figures_codes.draw_codes(one)
        except UserError as error:
            parts.append(paragraph(f"{one.name}: {error}", "absent"))
            continue
        if picture:
            parts.append(framed(image(picture, "png", f"code of {one.name}"), codes_caption(standing.rank, one)))
        if len(parts) == MOST_CODES:
            break
    if not parts:
        return Part(title, paragraph("Left out: no run of a fixed code has stored its wrong bits.", "absent"))
    text = (
        "Black is 1; a row is a level of an axis, a column a bit. Beside it, how often that bit was predicted wrong for images "
        "of that level, darker is more often; levels without images are grey. Errors gather where a column changes."
    )
    return Part(title, paragraph(text) + "".join(parts))


def codes_caption(rank: int, one: Configuration) -> str:
    """What a picture of a code shows."""
    used = min(len(one.runs), figures_codes.MOST_RUNS)
    text = f"{one.name} (rank {rank}): code {one.params['code']}, wrong bits over {counted(used, 'run')}."
    if (loss := one.params["loss"]) != "bce":
        text += f" Its loss {loss} judges levels, not single bits: these may stray from the code's at no cost."
    return text


def calibration(all_of_it: Findings) -> Part:
    """Whether posteriors say how wrong they are."""
    title = "Calibration"
    having = [one for one in all_of_it.predicted if "pit" in one.configuration.seeds[0].values]
    if not having:
        return Part(title, paragraph("Left out: none of the first configurations gives a posterior.", "absent"))
    text = (
        "Above, the posterior probability below the target (PIT), by rank: flat where the posterior is calibrated, a U where "
        "it is too narrow, a hill where it is too wide. Below, how many targets lie in central intervals of a nominal "
        f"probability. All axes and seeds together, {all_of_it.held}."
    )
    nominal = np.array([0.5, 0.8, 0.95])
    titles = [NAME, *(f"in {level:.0%}" for level in nominal)]
    lines = [
        row(titles, [one.configuration.name, *(f"{x:.1%}" for x in covered(one.configuration, nominal))], "", one.color)
        for one in having
    ]
    numbers = table(titles, [lines], "Share of targets in central intervals of 50, 80 and 95% of the posterior.")
    return Part(title, plot(figures.calibration(having), text) + numbers)


def spread(all_of_it: Findings) -> Part:
    """How the errors of images are distributed."""
    title = "Spread of errors"
    if not all_of_it.predicted:
        return Part(title, paragraph(NO_PREDICTIONS, "absent"))
    shares = [0.5, 0.75, 0.9, 0.95, 0.99, 1]
    titles = [NAME, "median", *(f"{share:.0%}" for share in shares[1:-1]), "greatest"]
    lines = []
    for one in all_of_it.predicted:
        values = np.quantile(one.configuration.errors, shares)
        lines.append(row(titles, [one.configuration.name, *(f"{value:.2f}" for value in values)], "", one.color))
    text = f"Share of the images with at most an error, mean over axes and seeds; {all_of_it.held}. It ends at 99%."
    numbers = table(titles, [lines], f"Quantiles of the errors of images ({all_of_it.unit}).")
    return Part(title, plot(figures.spread(all_of_it.predicted, all_of_it.unit), text) + numbers)


def images(all_of_it: Findings) -> Part:
    """The leader's worst images and those in the middle."""
    title, one = "Worst and median images", all_of_it.first.leader
    if not one.seeds:
        return Part(title, paragraph(NO_PREDICTIONS, "absent"))
    try:
        worst, middle = figures_images.tiles(one, all_of_it.changes)
    except UserError as error:
        return Part(title, paragraph(f"Left out: {error}.", "absent"))
    pose = bool(one.seeds[0].meaning["pose"])
    most = figures_images.most_of_a_group(one.seeds[0])
    shown = (
        f"Left with the true axes, right with the predicted ones ({', '.join(LEGEND.split('    '))}); " if pose else ""
    )
    text = (
        f"{shown}below, error and true → predicted values. {one.name}, seed {one.runs[0].data.params['seed']}. "
        f"The worst {len(worst)}, at most {most} of a group as neighbouring images fail alike."
    )
    html = framed(grid(worst), text) + framed(
        grid(middle), f"The {len(middle)} images in the middle of {len(one.seeds[0].names)}: what is usual."
    )
    return Part(title, html)


def grid(tiles: list[figures_images.Tile]) -> str:
    """Images with their names and numbers."""
    inner = "".join(
        f"<div>{image(tile.picture, 'jpeg', tile.name)}<b>{escape(tile.name)}</b><br>{escape(tile.text)}</div>"
        for tile in tiles
    )
    return f'<div class="tiles">{inner}</div>'
