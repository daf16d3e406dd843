"""Labels of a prepared set by axis: the number on each level, the share beyond the levels, and their unit."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bel.angles import Axis, circular_median
from bel.errors import UserError
from bel.text import columns

DEGREES, RADIANS = ("deg", "degs", "degree", "degrees", "°", "º", "˚"), ("rad", "rads", "radian", "radians")
WIDE = 60  # degrees: labels within pi in an axis of such a range, or within 2 pi in one of twice the range, look like radians
TURN = 6.3  # radians of a turn, rounded up: pi in 32 bits or in three digits is larger than pi
FEWEST = 5  # labels from which a unit can be guessed
BARS = " ▁▂▃▄▅▆▇█"
COLUMNS = 50  # characters of a histogram in text


def histogram(values: Tensor, axis: Axis) -> Tensor:
    """Values in units (n,) -> their number on each level (levels,), those beyond counted on the first and the last."""
    return torch.bincount(axis.to_index(values), minlength=axis.levels)


def clamped(values: Tensor, axis: Axis) -> float:
    """Return the share of values in units (n,) beyond the range of the axis; 0 where they wrap."""
    if axis.period:
        return 0.0
    return ((values < axis.low) | (values > axis.low + axis.span)).double().mean().item()


def clamped_shares(targets: Tensor, axes: Sequence[Axis]) -> dict[str, float]:
    """Return `clamped` of targets in units (n, axes) by name of the axis."""
    return {axis.name: clamped(values, axis) for axis, values in zip(axes, targets.T, strict=True)}


def refuse_off_range(targets: Tensor, axes: Sequence[Axis], where: object) -> None:
    """Raise `UserError` where most targets (n, axes) of an axis are beyond its levels, by a wrong range or unit."""
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
    """Yield kind and sentence where targets (n, axes) look like radians in an axis of degrees, or span more than a turn.

    All axes of a pose must look so, as one axis alone may be within 3 degrees; whole numbers are not radians.
    """
    if len(targets) < FEWEST:
        return
    largest, checked = np.abs(targets).max(0), [i for i, axis in enumerate(axes) if axis.check_unit]
    wide = [i for i in checked if has_unit(axes[i], DEGREES) and axes[i].span >= WIDE]
    for group in [wide] if pose else [[i] for i in wide]:
        names = [axes[i].name for i in group]
        whole = bool(group) and targets[:, group].min() >= 0 and all(axes[i].span >= 2 * WIDE for i in group)
        if group and largest[group].max() <= (TURN if whole else TURN / 2) and (targets[:, group] % 1).any():
            bounds = "0..6.28" if whole else "+-3.14"
            found = f"all {len(targets)} labels {', '.join(names)} of {where} are within {bounds} degrees: radians?"
            yield "radians for degrees", f"{found} multiply them by 180 / pi, {unit_advice(names)}"
    for i in checked:
        axis, reach = axes[i], np.ptp(targets[:, i])
        found = f"the labels {axis.name} of {where}"
        if has_unit(axis, RADIANS) and largest[i] > TURN:
            found += f" reach {largest[i]:.4g} radians, more than a turn: degrees? multiply them by pi / 180, "
            yield "degrees for radians", found + unit_advice([axis.name])
        elif axis.period and reach > 1.001 * axis.period:
            found += f" span {reach:.4g}, more than the period of {axis.period:g}: bring them within one turn, "
            yield "beyond one turn", found + unit_advice([axis.name], "period")


def has_unit(axis: Axis, names: Sequence[str]) -> bool:
    """Return whether the unit of an axis is one of some names, in any spelling."""
    return axis.unit.strip(" .").lower() in names


def unit_advice(names: Sequence[str], what: str = "unit") -> str:
    """Return the advice for a unit or a period that looks wrong."""
    keys = " and ".join(f"targets.{name}.check_unit" for name in names)
    return f"correct the {what}, or if it is right set {keys} of a csv protocol to false"


def label_rows(targets: Tensor, axes: Sequence[Axis]) -> list[dict[str, Any]]:
    """Return by axis of targets in units (n, axes) its `axis_row` and the number of images on each level."""
    pairs = zip(axes, targets.T, strict=True)
    return [axis_row(values, axis) | {"by_level": histogram(values, axis).tolist()} for axis, values in pairs]


def sketch(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table of `label_rows`: range, median, share clamped and a histogram of the levels by axis."""
    titles = [f"{'axis':<10}", "levels", f"{'range':>16}", *(f"{name:>8}" for name in ("least", "median", "most"))]
    lines = [[*titles, "clamped", "images by level, first to last"]]
    for row in rows:
        numbers = [f"{row[name]:.4g}" for name in ("least", "median", "most")]
        facts = [str(row["levels"]), range_text(row), *numbers, f"{row['clamped_share']:.2%}"]
        lines.append([row["axis"], *facts, f"|{bars(torch.tensor(row['by_level']))}|"])
    return "\n".join(columns(lines, left=(0, len(lines[0]) - 1)))


def axis_row(values: Tensor, axis: Axis) -> dict[str, Any]:
    """Values in units (n,) -> range, least, median and largest value, and how many are beyond the levels, by name."""
    share = clamped(values, axis)
    row = {"axis": axis.name, "unit": axis.unit, "levels": axis.levels, "low": axis.low, "high": axis.low + axis.span}
    row |= dict(zip(("least", "median", "most"), least_median_most(values, axis), strict=True))
    return row | {"clamped": round(share * len(values)), "clamped_share": share}


def range_text(row: dict[str, Any]) -> str:
    """Return the range of an `axis_row`."""
    return f"{row['low']:g}..{row['high']:g} {row['unit']}"


def least_median_most(values: Tensor, axis: Axis) -> list[float]:
    """Return least, median and largest of values in units (n,), wrapped and the circular median on an axis with a period."""
    numbers: list[float] = axis.wrap(values).quantile(torch.tensor([0, 0.5, 1], dtype=values.dtype)).tolist()
    if axis.period:
        numbers[1] = circular_median(values.numpy(), axis.low, axis.period)
    return numbers


def bars(counts: Tensor) -> str:
    """Draw counts (levels,) in at most 50 characters: a full block for the largest, a blank for none."""
    count = min(COLUMNS, len(counts))
    edges = torch.arange(count + 1) * len(counts) // count
    sums = torch.stack([counts[a:b].double().mean() for a, b in pairwise(edges.tolist())])
    heights = (sums / sums.max() * (len(BARS) - 1)).ceil().int().tolist()
    return "".join(BARS[height] for height in heights)
