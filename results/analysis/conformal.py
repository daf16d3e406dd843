"""Intervals whose coverage is guaranteed for new groups, whatever the errors are: conformal prediction over groups.

Images of a group are not exchangeable with those of another, the groups are. Libraries of conformal prediction (MAPIE,
crepes) take single rows as the unit, or calibrate each group by itself, neither of which says anything of a person who
was never seen; so the few lines are ours.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
ROUNDED = 1e-9  # of a sum of masses


def least_groups(level: float) -> int:
    """Return how many groups intervals of a level need: below, the mass at infinity is more than what may lie outside."""
    return math.ceil(1 / (1 - level) - ROUNDED) - 1


def greatest_level(groups: int) -> float:
    """Return the greatest level for which so many groups are enough."""
    return groups / (groups + 1)


def pooled_share(groups: int, level: float) -> float:
    """Return which share of the pooled scores of K groups must be below the quantile: level * (K + 1) / K; above 1: none is.

    Each of the groups has the mass 1 / (K + 1), spread evenly over its images, and the last 1 / (K + 1) is at infinity. An
    image drawn from a new group, exchangeable with these, then has a score of at most the quantile with a probability of at
    least `level`, at any K (Lee, Barber, Willett: Distribution-free inference with hierarchical data, 2023, section 3; Dunn,
    Wasserman, Ramdas: Distribution-free prediction sets for two-layer hierarchical models, JASA 2022).
    """
    return level * (groups + 1) / groups


def grouped_quantile(scores: Floats, groups: Sequence[str] | NDArray[np.str_], share: float) -> Floats:
    """Scores (n, axes) of images -> the least ones (axes,) with a share of all below or at them, each group weighing the same.

    Infinite where the share is above 1.
    """
    _, index, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    mass = 1 / (len(sizes) * sizes[index])
    order = np.argsort(scores, axis=0, kind="stable")
    first = (np.cumsum(mass[order], axis=0) < share - ROUNDED).sum(0)
    extended = np.append(np.take_along_axis(scores, order, 0), np.full((1, scores.shape[1]), np.inf), 0)
    found: Floats = np.take_along_axis(extended, first[None], 0)[0]
    return found
