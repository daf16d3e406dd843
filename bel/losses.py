"""Losses of one axis, with the published reductions (BEL, section 4): sums over bits and images, means over levels.

The published `L1` is L1 on yaw only and MSE elsewhere; ours is L1 on every axis.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor


def bce(logits: Tensor, bits: Tensor) -> Tensor:
    """Logits (B, bits) against code words (B, bits): binary cross-entropy, summed."""
    return F.binary_cross_entropy_with_logits(logits, bits, reduction="sum")


def ce(scores: Tensor, index: Tensor) -> Tensor:
    """Scores (B, levels) against int64 levels (B,): cross-entropy, summed."""
    return F.cross_entropy(scores, index, reduction="sum")


def mse(level: Tensor, target: Tensor) -> Tensor:
    """Float levels (B,) against unclamped float levels (B,): squared error, mean."""
    return F.mse_loss(level, target)


def l1(level: Tensor, target: Tensor) -> Tensor:
    """Float levels (B,) against unclamped float levels (B,): absolute error, mean."""
    return F.l1_loss(level, target)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"bce": bce, "ce": ce, "mse": mse, "l1": l1}
