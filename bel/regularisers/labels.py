"""How far apart the labels of two images are, and which of them are the same: what every regulariser asks of targets.

Both are in levels of the protocol's axes, whatever head is trained: in years for ages with one level a year. One axis gives
the differences in levels for which the constants of the sources are made. With several axes a distance is the sum over
axes of differences, each over the span of its axis and over the number of axes, times the largest number of levels: all
axes count alike, and distances run over the same levels as with one. Labels are the same where their levels are on every
axis, as real-valued targets never repeat.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from bel.angles import Axis, differences

EXACT = "donot_use_mm_for_euclid_dist"  # a matrix product would lose the digits of small distances


def label_distances(targets: Tensor, axes: Sequence[Axis]) -> Tensor:
    """Targets in units (n, axes) -> distances (n, n) between them, in levels of the axis with the most; shorter way round."""
    most = max(axis.levels for axis in axes) / len(axes)
    apart = differences(targets[:, None], targets, [axis.period for axis in axes]).abs()
    return torch.stack([d / (axis.span / most) for d, axis in zip(apart.unbind(-1), axes, strict=True)]).sum(0)


def levels_of(targets: Tensor, axes: Sequence[Axis]) -> Tensor:
    """Targets in units (n, axes) -> their levels (n, axes), int64."""
    return torch.stack([axis.to_index(y) for y, axis in zip(targets.unbind(-1), axes, strict=True)], -1)


def at_levels(targets: Tensor, axes: Sequence[Axis]) -> Tensor:
    """Targets in units (n, axes) -> the values of their levels (n, axes), in units."""
    levels = levels_of(targets, axes).to(targets.dtype)
    return torch.stack([axis.to_value(level) for level, axis in zip(levels.unbind(-1), axes, strict=True)], -1)


def same_levels(levels: Tensor) -> Tensor:
    """Levels (n, axes) -> whether two images have the same on every axis (n, n)."""
    return (levels[:, None] == levels).all(-1)


def sorted_by_level(levels: Tensor) -> Tensor:
    """Levels (n, axes) -> the rows (n,) in order of the first axis, then of the next; equal ones in the order given."""
    order = torch.arange(len(levels), device=levels.device)
    for column in levels.unbind(-1)[::-1]:
        order = order[column[order].argsort(stable=True)]
    return order
