"""The labels of a prepared set in every direction: how many fall on each level, and how many beyond the levels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bel.angles import Axis
from bel.errors import UserError
from bel.text import columns

DEGREES, RADIANS = ("deg", "degs", "degree", "degrees", "°", "º", "˚"), ("rad", "rads", "radian", "radians")
WIDE = 60  # degrees of a range of which labels within half a turn in radians are no likely part; twice that of a turn
TURN = 6.3  # radians of a turn as they are written: 32 bits, or three digits, of pi are more than pi
FEWEST = 5  # images that say something of a set
BARS = " ▁▂▃▄▅▆▇█"
COLUMNS = 50  # of a histogram in text


def histogram(values: Tensor, axis: Axis) -> Tensor:
    """Values in units (n,) -> number of them on each level (levels,), those beyond on the outermost ones."""
    return torch.bincount(axis.to_index(values), minlength=axis.levels)


def clamped(values: Tensor, axis: Axis) -> float:
    """Share of the values in units (n,) that are beyond the axis's range, for which a head has no level."""
    return ((values < axis.low) | (values > axis.low + axis.span)).double().mean().item()


def clamped_shares(targets: Tensor, axes: Sequence[Axis]) -> dict[str, float]:
    """`clamped` of targets in units (n, axes) by the axis's name."""
    return {axis.name: clamped(values, axis) for axis, values in zip(axes, targets.T, strict=True)}


def refuse_off_range(targets: Tensor, axes: Sequence[Axis], where: object) -> None:
    """Raise `UserError` where most targets (n, axes) of an axis are beyond its levels: the range or the unit is wrong."""
    for axis, values in zip(axes, targets.T, strict=True):
        if clamped(values, axis) > 0.5:
            raise UserError(
                f"{clamped(values, axis):.0%} of the labels {axis.name} in {where} are outside its range {axis.low:g}.."
                f"{axis.low + axis.span:g} {axis.unit}: they are {values.min():g}..{values.max():g}; correct range or unit"
            )


def refuse_units(targets: NDArray[np.float64], axes: Sequence[Axis], pose: bool, where: object) -> None:
    """Raise `UserError` where targets in units (n, axes) contradict the unit of their axis."""
    for _, sentence in odd_units(targets, axes, pose, where):
        raise UserError(sentence)


def odd_units(
    targets: NDArray[np.float64], axes: Sequence[Axis], pose: bool, where: object
) -> Iterator[tuple[str, str]]:
    """Kind and sentence of what in targets (n, axes) looks like radians in an axis in degrees, or the other way round.

    One axis of a pose may well be within 3 degrees, all of them hardly; and whole numbers are no radians.
    """
    if len(targets) < FEWEST:
        return
    largest, checked = np.abs(targets).max(0), [i for i, axis in enumerate(axes) if axis.check_unit]
    wide = [i for i in checked if is_in(axes[i], DEGREES) and axes[i].span >= WIDE]
    for group in [wide] if pose else [[i] for i in wide]:
        names = [axes[i].name for i in group]
        whole = bool(group) and targets[:, group].min() >= 0 and all(axes[i].span >= 2 * WIDE for i in group)
        if group and largest[group].max() <= (TURN if whole else TURN / 2) and (targets[:, group] % 1).any():
            bounds = "0..6.28" if whole else "+-3.14"
            found = f"all {len(targets)} labels {', '.join(names)} of {where} are within {bounds} degrees: radians?"
            yield "radians for degrees", f"{found} multiply them by 180 / pi, {override(names)}"
    for i in checked:
        if is_in(axes[i], RADIANS) and largest[i] > TURN:
            found = f"the labels {axes[i].name} of {where} reach {largest[i]:.4g} radians, more than a turn: degrees?"
            yield "degrees for radians", f"{found} multiply them by pi / 180, {override([axes[i].name])}"


def is_in(axis: Axis, names: Sequence[str]) -> bool:
    """Whether the unit of an axis is one of some names, as people write them."""
    return axis.unit.strip(" .").lower() in names


def override(names: Sequence[str]) -> str:
    """What to do where a unit is right though it does not look so."""
    keys = " and ".join(f"targets.{name}.check_unit" for name in names)
    return f"correct the unit, or if it is right set {keys} of a csv protocol to false"


def sketch(targets: Tensor, axes: Sequence[Axis]) -> str:
    """Lines of text for targets in units (n, axes): range, median, share clamped and a histogram of the levels by axis."""
    titles = [f"{'axis':<10}", "levels", f"{'range':>16}", *(f"{name:>8}" for name in ("least", "median", "most"))]
    lines = [[*titles, "clamped", "images by level, first to last"]]
    for axis, values in zip(axes, targets.T, strict=True):
        numbers = values.quantile(torch.tensor([0, 0.5, 1], dtype=values.dtype)).tolist()
        span = f"{axis.low:g}..{axis.low + axis.span:g} {axis.unit}"
        facts = [str(axis.levels), span, *(f"{number:.4g}" for number in numbers), f"{clamped(values, axis):.2%}"]
        lines.append([axis.name, *facts, f"|{bars(histogram(values, axis))}|"])
    return "\n".join(columns(lines, left=(0, len(lines[0]) - 1)))


def bars(counts: Tensor) -> str:
    """Counts (levels,) as at most 50 characters, the fullest one a full block; no image gives a blank."""
    count = min(COLUMNS, len(counts))
    edges = torch.arange(count + 1) * len(counts) // count
    sums = torch.stack([counts[a:b].double().mean() for a, b in pairwise(edges.tolist())])
    heights = (sums / sums.max() * (len(BARS) - 1)).ceil().int().tolist()
    return "".join(BARS[height] for height in heights)
