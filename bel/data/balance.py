"""Weights of training images by how dense their labels are, for targets that are skewed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import convolve1d, gaussian_filter1d
from torch import Tensor

from bel.angles import Axis
from bel.errors import UserError
from bel.precision import copy_to

BALANCES = ("none", "lds")
FEWEST, MOST = 5, 1000  # images of a level that are counted, at least and at most
SIZE, SIGMA = 5, 2.0  # of the kernel, in levels


def kernel() -> NDArray[np.float64]:
    """Return the kernel (5,) of the source: a blurred 1, with reflected ends, over its peak: flatter than a Gaussian."""
    blurred = gaussian_filter1d(np.eye(SIZE)[SIZE // 2], SIGMA)
    return np.asarray(blurred / blurred.max())


def lds(counts: NDArray[np.int64], circle: bool = False) -> NDArray[np.float64]:
    """Images of each level (levels,), on a circle or not -> weights (levels,), whose mean over these images is 1.

    Label distribution smoothing (Yang, Zha, Chen, Wang, Katabi: Delving into Deep Imbalanced Regression, ICML 2021, section
    3.1) in the variant `inverse`: one over the clipped counts, smoothed, in whole numbers, with nothing beyond both ends.
    """
    clipped = np.clip(counts, FEWEST, MOST).astype(np.float64)
    density = np.trunc(convolve1d(clipped, kernel(), mode="wrap" if circle else "constant"))
    return np.asarray(counts.sum() / (counts / density).sum() / density)


class Balance:
    """The weights of images by the level of each target, from training targets in units (n, axes).

    Levels are those of the protocol, whatever head is trained. Raises `UserError` where all would count alike.
    """

    def __init__(self, targets: Tensor, axes: Sequence[Axis]) -> None:
        self.axes = tuple(axes)
        self.tables, most = [], 0
        for y, axis in zip(targets.cpu().unbind(-1), self.axes, strict=True):
            counts = np.bincount(axis.to_index(y).numpy(), minlength=axis.levels)
            self.tables.append(torch.from_numpy(lds(counts, axis.period is not None)))
            most = max(most, int(counts.max()))
        if most <= FEWEST:
            raise UserError(
                f"balance lds counts a level of fewer than {FEWEST} images as {FEWEST}, and none of the training "
                "images' levels has more, so that all would weigh alike: give the targets fewer levels, or set balance to none"
            )

    def to(self, device: torch.device) -> Balance:
        """Move to a device."""
        self.tables = [copy_to(table, device) for table in self.tables]
        return self

    def __call__(self, targets: Tensor) -> Tensor:
        """Targets in units (B, axes) on the device -> weights (B, axes), float64 where the device has it."""
        columns = zip(self.tables, targets.unbind(-1), self.axes, strict=True)
        return torch.stack([table[axis.to_index(y)] for table, y, axis in columns], -1)
