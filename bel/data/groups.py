"""Means over groups: a sequence or a photograph counts once, however many images it has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def group_means(values: NDArray[np.float64], groups: Sequence[str] | NDArray[np.str_]) -> NDArray[np.float64]:
    """Values of images (n, ...) -> means over the images of each group (groups, ...), in order of the groups' names."""
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    total = np.zeros((len(names), *values.shape[1:]))
    np.add.at(total, index, values)
    return total / np.bincount(index).reshape(-1, *[1] * (values.ndim - 1))
